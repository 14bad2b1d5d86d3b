"""Scores of forecasts by hand and by known laws, and ways to foretell that find the process that made a series."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from maquette.core.seeds import Seeds
from maquette.evaluate.extractor import Values
from maquette.evaluate.forecasts import (
    FUTURES,
    Process,
    crps,
    drawn_from,
    foretold,
    pinball,
    scored,
    seasonal,
    simpler,
)
from maquette.media.base import interval

RNG = np.random.default_rng(0)


def futures(*values: float) -> np.ndarray:
    """One window, one step, one column."""
    return np.array(values)[None, :, None, None]


# -- scores -----------------------------------------------------------------------------------------------------------


def test_crps_by_hand() -> None:
    """|1 - 2| and |4 - 2| are 1.5 on average, and the two draws are 3 apart: 1.5 - 3 / 2 = 0."""
    assert crps(futures(1, 4), futures(2)[:, 0])[0, 0, 0] == 0
    assert crps(futures(3, 3, 3), futures(5)[:, 0])[0, 0, 0] == 2
    assert crps(futures(0, 3, 9), futures(4)[:, 0])[0, 0, 0] == pytest.approx((4 + 1 + 5) / 3 - (3 + 9 + 6) / 3 / 2)


def test_crps_is_that_of_the_law_whatever_the_number_of_draws() -> None:
    """Of the standard normal law at y it is y (2 Phi(y) - 1) + 2 phi(y) - 1 / sqrt(pi) (Gneiting and Raftery 2007)."""
    y = 0.7
    exact = y * (2 * norm.cdf(y) - 1) + 2 * norm.pdf(y) - 1 / np.sqrt(np.pi)
    for m in (2, 5, 50):
        draws = RNG.normal(size=(200_000 // m, m, 1, 1))
        assert crps(draws, np.full((len(draws), 1, 1), y)).mean() == pytest.approx(exact, abs=0.01)


def test_pinball_by_hand() -> None:
    """The deciles of the draws 1 … 9 are these; at a truth of 3 the q-th costs q (3 - 10 q) where that is positive."""
    expected = np.mean([max(q * (3 - 10 * q), (q - 1) * (3 - 10 * q)) for q in np.arange(1, 10) / 10])
    assert pinball(futures(*range(1, 10)), futures(3)[:, 0])[0, 0, 0] == pytest.approx(expected)


def test_an_interval_holds_its_share_of_further_draws() -> None:
    for n, share in ((39, 0.95), (39, 0.5), (79, 0.8), (FUTURES, 0.8), (FUTURES, 0.95)):
        draws = RNG.exponential(size=(n + 1, 40_000))
        low, high = interval(draws[1:], share)
        assert ((low <= draws[0]) & (draws[0] <= high)).mean() == pytest.approx(share, abs=0.006)


def test_every_score_is_a_mean_over_windows() -> None:
    made, truth = np.stack([np.arange(39.0)] * 2)[:, :, None, None], np.array([19.0, 38.5])[:, None, None]
    found = scored(made, truth)
    assert found["mase"].value == pytest.approx((0 + 19.5) / 2)
    assert found["interval_80"].value == found["interval_95"].value == 0.5
    assert found["interval_95"].low == 0 and found["interval_95"].high == 1


# -- simpler ways -----------------------------------------------------------------------------------------------------


def test_the_last_season_comes_again_with_its_errors() -> None:
    """1 2 3 | 2 4 3: errors 1, 2, 0, of which uniform numbers choose; the fourth step is a season after the first."""
    known = np.array([1.0, 2, 3, 2, 4, 3])[None, :, None]
    chance = np.array([0.0, 0.5, 0.9, 0.5])[None, None, :, None]
    assert drawn_from(known, chance)[0, 0, :, 0].tolist() == [1, 2, 3, 2]
    assert seasonal(known, 3, chance)[0, 0, :, 0].tolist() == [2 + 1, 4 + 2, 3 + 0, 3 + 2]


def test_ways_without_a_model_go_on_where_the_past_ended() -> None:
    known = (3.0 * np.arange(20) + 7)[None, :, None]
    ways = simpler(known, 4, 5, [Process.learnt(known[:, :, 0], 3)], Seeds.for_samples(0, 1))
    line = 7 + 3 * np.arange(20, 24)
    assert np.allclose(ways["drift"], line[None, None, :, None])
    assert np.allclose(ways["naive"], known[0, -1, 0])
    assert np.allclose(ways["seasonal naive"], line[None, None, :, None]), "each season is 15 above the one before"
    assert ways["AR"].shape == (1, FUTURES, 4, 1)


def autoregressive(n: int, weights: tuple[float, ...], length: int, rng: np.random.Generator) -> np.ndarray:
    """Stretches [n, length] of a process with standard normal errors, from well within it."""
    x = np.zeros((n, 200 + length))
    for t in range(len(weights), x.shape[1]):
        x[:, t] = sum(w * x[:, t - i] for i, w in enumerate(weights, 1)) + rng.normal(size=n)
    return x[:, 200:]


def test_least_squares_finds_the_process_and_aic_its_order() -> None:
    series = 2 + autoregressive(400, (0.5, -0.3), 60, RNG)
    process = Process.learnt(series, 8)
    assert len(process.weights) in (2, 3, 4) and np.allclose(process.weights[:2], [0.5, -0.3], atol=0.02)
    assert process.constant == pytest.approx(2 * 0.8, abs=0.1) and process.errors.std() == pytest.approx(1, abs=0.02)


def test_forecasts_of_an_autoregressive_process_are_its_conditional_law() -> None:
    """Given x_T, step h of AR(1) is normal about phi^h x_T with variance (1 - phi^(2 h)) / (1 - phi^2); the CRPS of a
    normal law at its own draws is sigma / sqrt(pi) on average."""
    phi, horizon, n = 0.8, 6, 600
    series = autoregressive(n, (phi,), 60 + horizon, RNG)[:, :, None]
    known, truth = series[:, :60], series[:, 60:]
    process = Process.learnt(autoregressive(300, (phi,), 60, RNG), 5)
    chance = Seeds.for_samples(0, n).uniform(FUTURES, horizon, 1).double().numpy()
    made = np.stack([process.onward(known[:, :, 0], chance[:, :, :, 0])], 3)
    steps = np.arange(1, horizon + 1)
    spread = np.sqrt((1 - phi ** (2 * steps)) / (1 - phi**2))
    assert np.allclose(made.mean(1)[:, :, 0], phi**steps * known[:, -1], atol=0.8)
    assert np.allclose(made.std(1).mean(0)[:, 0], spread, rtol=0.04)
    found = scored(made, truth)
    assert found["crps"].value == pytest.approx((spread / np.sqrt(np.pi)).mean(), rel=0.05)
    assert found["interval_80"].value == pytest.approx(0.8, abs=0.03)
    assert found["interval_95"].value == pytest.approx(0.95, abs=0.02)


def test_forecasts_follow_the_units_of_the_past() -> None:
    known = autoregressive(3, (0.9,), 40, RNG)[:, :, None]
    process, chance = [Process.learnt(autoregressive(50, (0.9,), 40, RNG), 3)], RNG.random((3, 5, 4, 1))
    assert np.allclose(foretold(known * 50 - 9, process, chance), foretold(known, process, chance) * 50 - 9)


def test_features_of_windows_are_their_values() -> None:
    look = Values().look
    x = torch.arange(24.0).view(2, 2, 6)
    assert torch.equal(look(x)[0], x.flatten(1))
    assert look(torch.ones(3, 2, 1000))[0].shape == (3, Values.MOST)
