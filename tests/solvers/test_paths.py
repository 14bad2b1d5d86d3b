"""Every path and prediction becomes the one canonical denoiser, and back, in float64."""

import math

import pytest
import torch

from maquette.solvers import paths
from maquette.solvers.paths import PATHS, PREDICTIONS, denoised, per_sample, target

S = torch.logspace(-3, 2, 21, dtype=torch.float64)
G = torch.Generator().manual_seed(0)
X, NOISE = torch.randn(2, 21, 3, 4, generator=G, dtype=torch.float64)
Y = X + per_sample(S, X) * NOISE


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_target_leads_back_to_x(path: str, prediction: str) -> None:
    alpha, predict = PATHS[path].alpha(S), PREDICTIONS[prediction]
    said = target(predict, alpha, S, Y, X)
    torch.testing.assert_close(denoised(predict, alpha, S, Y, said), X, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(target(predict, alpha, S, Y, denoised(predict, alpha, S, Y, NOISE)), NOISE)


@pytest.mark.parametrize("path", PATHS)
def test_targets_are_what_the_papers_say(path: str) -> None:
    s, alpha = per_sample(S, X), PATHS[path].alpha(S)
    says = {name: target(predict, alpha, S, Y, X) for name, predict in PREDICTIONS.items()}
    a, sigma = per_sample(alpha, X), per_sample(alpha, X) * s
    torch.testing.assert_close(says["noise"], NOISE)
    torch.testing.assert_close(says["x"], X)
    torch.testing.assert_close(says["v"], a * NOISE - sigma * X) if path != "flow" else None
    torch.testing.assert_close(says["velocity"], NOISE - X)


@pytest.mark.parametrize("path", PATHS)
def test_clocks_run_forward_and_invert(path: str) -> None:
    t = PATHS[path].time(S)
    assert (t.diff() > 0).all()
    torch.testing.assert_close(PATHS[path].level(t), S, rtol=1e-8, atol=1e-12)


def test_a_path_mixes_by_alpha_and_sigma() -> None:
    for name in "cosine", "linear", "edm":
        alpha = PATHS[name].alpha(S)
        torch.testing.assert_close(alpha**2 + (S * alpha) ** 2, torch.ones_like(S))
    alpha = PATHS["flow"].alpha(S)
    torch.testing.assert_close(alpha + S * alpha, torch.ones_like(S))  # x_t = (1 - t) x + t noise


def test_known_moments_of_the_schedules() -> None:
    half = torch.tensor(0.5, dtype=torch.float64)
    assert PATHS["cosine"].level(half).item() == pytest.approx(1.0)
    assert PATHS["flow"].level(half).item() == pytest.approx(1.0)
    # Ho et al.'s 1000 steps of beta from 1e-4 to 0.02 end at alpha_bar = 4.036e-5; this is their continuous limit
    last = PATHS["linear"].alpha(PATHS["linear"].level(torch.ones(1, dtype=torch.float64)))
    assert (last**2).item() == pytest.approx(4.036e-5, rel=0.1)
    # the largest level of the defaults is not yet the end of flow, where s is infinite
    assert PATHS["flow"].time(torch.tensor(80.0)).item() == pytest.approx(80 / 81)


def test_v_on_a_preserving_path_is_karras_preconditioning() -> None:
    d = 0.5  # sigma_data; table 1 of Karras et al. 2022
    c_skip, c_out, c_in = d**2 / (S**2 + d**2), S * d / (S**2 + d**2).sqrt(), 1 / (S**2 + d**2).sqrt()
    r, alpha = S / d, PATHS["edm"].alpha(S / d)
    skip, out = paths.predicts_v(alpha, r)
    torch.testing.assert_close(skip, c_skip)
    torch.testing.assert_close(out * d, -c_out)
    torch.testing.assert_close(alpha / d, c_in)
    torch.testing.assert_close(PATHS["edm"].time(r), (S / d).log() / 4)


def test_levels_fall_from_the_highest_to_zero() -> None:
    for levels in (
        paths.karras_levels(10, 0.01, 80.0),
        paths.log_snr_levels(10, 0.01, 80.0),
        *(paths.uniform_levels(10, 0.01, 80.0, path) for path in PATHS.values()),
    ):
        assert len(levels) == 11 and (levels.diff() < 0).all()
        torch.testing.assert_close(levels[[0, -2, -1]], torch.tensor([80.0, 0.01, 0.0]), rtol=1e-4, atol=0)


def test_levels_are_spaced_as_their_names_say() -> None:
    assert paths.karras_levels(3, 1.0, 128.0)[1].item() == pytest.approx(1.5**7, rel=1e-5)
    gaps = paths.log_snr_levels(9, 0.01, 80.0)[:-1].log().diff()
    torch.testing.assert_close(gaps, torch.full_like(gaps, -math.log(8000) / 8), rtol=1e-4, atol=0)
    times = PATHS["cosine"].time(paths.uniform_levels(9, 0.01, 80.0, PATHS["cosine"])[:-1]).diff()
    torch.testing.assert_close(times, times.mean().expand(8), rtol=1e-3, atol=0)
