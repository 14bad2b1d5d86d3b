"""Crafts along time: gaps in sound and films, lower rates, noise in sound, and what classical ways make of them."""

import numpy as np
import pytest
import torch
from scipy import signal
from torch import Tensor

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Real
from maquette.crafts import gap, hiding, lpc, mask, mel, noise, period, shrink

SOUND, FILM = Real((1, 2000), levels=65536), Real((1, 9, 8, 8), levels=256)
TIME = np.arange(SOUND.shape[1])


def tones(n: int = 3) -> Tensor:
    """Three steady tones each, [n, 1, 2000]."""
    pitches = np.array([0.05, 0.13, 0.4])[:, None] * (1 + 0.1 * np.arange(n))[:, None, None]
    return torch.from_numpy((0.3 * np.sin(pitches * TIME + np.array([[0.0], [1], [2]]))).sum(1)).float()[:, None]


def brighter(n: int = 2) -> Tensor:
    """Films [n, 1, 9, 8, 8] of which each pixel changes steadily."""
    first, step = (Seeds.for_samples(seed, n).uniform(1, 1, 8, 8) for seed in (0, 9))
    return 0.5 * first - 0.5 + 0.1 * (step - 0.5) * torch.arange(9.0).view(1, 1, 9, 1, 1)


def rng(n: int, seed: int = 0) -> Seeds:
    return Seeds.for_samples(seed, n)


def error(one: Tensor, other: Tensor) -> float:
    return float((one - other).square().mean())


# -- gaps -------------------------------------------------------------------------------------------------------------


def spans(craft: gap.Config, space: Real, n: int = 64) -> list[list[int]]:
    """Which places of each of `n` samples are hidden; it must be the same ones in all channels and everywhere."""
    x = torch.ones(n, *space.shape)
    given = craft.take(x, rng(n))
    hidden = given[:, -1:]
    assert torch.equal(given[:, :-1], x * (1 - hidden))
    rows = hidden.flatten(3).amax(3) if hidden.ndim > 3 else hidden
    assert torch.equal(rows, hidden.flatten(3).amin(3) if hidden.ndim > 3 else hidden)
    return [torch.nonzero(row[0])[:, 0].tolist() for row in rows]


@pytest.mark.parametrize("space", [SOUND, FILM], ids=["sound", "film"])
def test_a_gap_is_a_span_with_something_on_both_sides(space: Real) -> None:
    n = space.shape[1]
    found = spans(gap.Config(share=(0.1, 0.4)), space)
    assert len({tuple(span) for span in found}) > 10
    for span in found:
        assert span == list(range(span[0], span[-1] + 1)) and 0.1 * n - 1 < len(span) < 0.4 * n + 1
        margin = min(len(span), (n - len(span)) // 2)
        assert margin <= span[0] and span[-1] < n - margin


def test_what_is_hidden_at_the_end_between_and_after_the_first() -> None:
    assert all(span == list(range(span[0], 2000)) for span in spans(gap.Config(place="end"), SOUND))
    assert {len(span) for span in spans(gap.Config(place="end", share=(0.25, 0.25)), SOUND)} == {500}
    assert spans(gap.Config(place="between"), FILM, 2) == [[1, 3, 5, 7]] * 2
    assert spans(gap.Config(place="still"), FILM, 2) == [list(range(1, 9))] * 2
    for place in ("between", "still"):
        with pytest.raises(MaquetteError, match="for films"):
            gap.Config(place=place).space(SOUND)
    with pytest.raises(MaquetteError, match="too short"):
        gap.Config().space(Real((1, 2, 8, 8)))


def test_a_model_may_begin_from_guesses_of_what_is_in_a_gap() -> None:
    """An autoregressive process run across it, and the period before and after it: tones go on in all of them."""
    x, plain = tones(), gap.Config(share=(0.1, 0.2))
    begun = gap.Config(share=(0.1, 0.2), begin="guesses")
    empty, given = plain.take(x, rng(len(x))), begun.take(x, rng(len(x)))
    hidden = empty[:, -1:] > 0.5
    assert given.shape[1:] == begun.space(SOUND).shape and torch.equal(given[:, -1:], empty[:, -1:])
    for guess, most in zip(given[:, :-1].split(1, 1), (1e-3, 0.8, 0.8), strict=True):
        assert torch.equal(guess[~hidden], x[~hidden]) and not empty[:, :-1][hidden].any()
        assert error(guess[hidden], x[hidden]) < most * x[hidden].square().mean()  # tones have no common period
    assert torch.equal(begun.shown(given, SOUND), plain.shown(empty, SOUND))
    assert torch.equal(begun.keep(x, given), x) and torch.equal(begun.keep(-x, given)[~hidden], x[~hidden])
    for one, other in zip(begun.simpler(given, SOUND).items(), plain.simpler(empty, SOUND).items(), strict=True):
        assert one[0] == other[0] and torch.equal(one[1], other[1])
    assert torch.equal(begun.bring(x, SOUND, hidden[:1]), begun._begun(plain.bring(x, SOUND, hidden[:1])))
    after = gap.Config(share=(0.2, 0.2), place="end", begin="guesses").take(x, rng(len(x)))
    assert after[:, :2, -400:].abs().amax(2).min() > 0.01 and not after[:, 2, -400:].any()  # and run on
    with pytest.raises(MaquetteError, match="begin"):
        begun.space(FILM)


def test_the_last_period_goes_on() -> None:
    """A wave of 50 samples is itself one period later; noise is like nothing before it and fades; silence stays."""
    at = np.arange(1000)
    wave = np.sin(2 * np.pi * at / 50) + 0.3 * np.cos(4 * np.pi * at / 50)
    np.testing.assert_allclose(period.repeated(wave[:700], 300, 8000), wave[700:], atol=1e-9)
    noise = np.random.default_rng(0).normal(size=1000)
    made = period.repeated(noise, 400, 8000)
    assert 0 < made.std() < 0.4
    assert not period.repeated(np.zeros(1000), 5, 8000).any() and not period.repeated(wave[:200], 5, 8000).any()


def test_guesses_look_as_far_at_any_rate() -> None:
    """A voice of 100 Hz, whose period is 80 samples at 8 kHz and 441 at 44.1, is as well guessed at both; a rate that
    is not the medium's is refused."""
    errors = {}
    for rate in (8000, 44_100):
        time = np.arange(rate // 2) / rate
        voice = sum(np.sin(2 * np.pi * 100 * k * time + k * k) / k for k in range(1, 11))
        x = torch.from_numpy(0.2 * voice * (1 + 0.2 * np.sin(7 * time)))[None, None].float()
        craft = gap.Config(share=(0.04, 0.04), begin="guesses", rate=rate)
        given = craft.take(x, rng(1))
        hidden = given[:, -1:] > 0.5
        power = x[hidden].square().mean()
        errors[rate] = [float(error(guess[hidden], x[hidden]) / power) for guess in given[:, :-1].split(1, 1)]
    assert errors[44_100] == pytest.approx(errors[8000], rel=0.2, abs=1e-4) and max(errors[44_100][1:]) < 1e-4
    space = Real((1, 22_050))
    gap.Config(rate=44_100).at(44_100, space)
    gap.Config().at(8, FILM)  # frames a second
    gap.Config().at(0, space)  # a series
    assert gap.Config().identity() == gap.Config(rate=44_100).identity() != gap.Config(place="end").identity()
    with pytest.raises(MaquetteError, match="data.given.rate=44100"):
        gap.Config().at(44_100, space)


def test_a_person_brings_a_gap_an_end_frames_or_a_still() -> None:
    x, craft = brighter(), gap.Config()
    hole = torch.zeros(1, 1, 9, 1, 1, dtype=torch.bool)
    hole[:, :, 2:5] = True
    given = craft.bring(x, FILM, hole)
    assert torch.equal(given[:, -1] > 0, hole[:, 0].expand(2, 9, 8, 8)) and craft.brought(FILM) == FILM
    with pytest.raises(MaquetteError, match="gap"):
        craft.bring(x, FILM)
    after = gap.Config(place="end", share=(0.2, 1 / 3)).bring(x, FILM)
    assert after[:, -1, :6].max() == 0 and after[:, -1, 6:].min() == 1
    every, still = gap.Config(place="between"), gap.Config(place="still")
    assert every.brought(FILM) == FILM and still.brought(FILM) == Real((1, 8, 8), levels=256)
    assert torch.equal(every.bring(x, FILM), every.take(x, rng(2)))
    assert torch.equal(still.bring(x[:, :, 0], FILM), still.take(x, rng(2)))
    for one in (every, still):
        with pytest.raises(MaquetteError, match="MQ-2138"):
            one.bring(x, FILM, hole)


def test_lines_in_time_by_hand() -> None:
    given = torch.tensor([[[0.0, 0, 3, 0, 0, 9, 0], [1.0, 1, 0, 1, 1, 0, 1]]])
    assert hiding.bridged(given).tolist() == [[[3, 3, 3, 5, 7, 9, 9]]]
    assert hiding.held(given).tolist() == [[[3, 3, 3, 3, 3, 9, 9]]]
    nothing = torch.stack([torch.zeros(1, 4), torch.ones(1, 4)], 1)
    assert not hiding.bridged(nothing).any() and not hiding.held(nothing).any()


def test_frames_of_steady_change_are_their_neighbours_mean() -> None:
    x = brighter()
    for craft in (gap.Config(place="between"), gap.Config(share=(0.2, 0.4))):
        ways = craft.simpler(craft.take(x, rng(2)), FILM)
        torch.testing.assert_close(ways["frame averaging"], x, rtol=0, atol=1e-6)
        assert error(ways["last frame repeated"], x) > 1e-5
    still = gap.Config(place="still").simpler(gap.Config(place="still").take(x, rng(2)), FILM)
    assert list(still) == ["last frame repeated"]
    assert torch.equal(still["last frame repeated"], x[:, :, :1].expand_as(x))


def test_tones_go_on_through_a_gap() -> None:
    x, craft = tones(), gap.Config(share=(0.1, 0.2))
    given = craft.take(x, rng(3))
    ways = craft.simpler(given, SOUND)
    assert torch.equal(craft.keep(ways["autoregressive interpolation"], given), ways["autoregressive interpolation"])
    torch.testing.assert_close(ways["autoregressive interpolation"], x, rtol=0, atol=1e-3)
    assert error(ways["linear interpolation"], x) > 0.01
    after = gap.Config(place="end", share=(0.1, 0.1))
    ways = after.simpler(after.take(x, rng(3)), SOUND)
    assert list(ways) == ["silence", "autoregressive continuation"]
    assert error(ways["autoregressive continuation"], x) < 1e-4 < error(ways["silence"], x)


def test_a_process_with_noise_is_bridged_better_than_by_a_line() -> None:
    """A resonance that rings longer than the gap lasts: about half of its power can be known."""
    draw = np.random.default_rng(0)
    x = signal.lfilter([1.0], [1, -1.9, 0.985], draw.normal(size=(20, 2000)), axis=1)
    gone = (TIME >= 1000) & (TIME < 1030)
    found, line = ([] for _ in range(2))
    for row in x:
        found.append(lpc.across(row, gone, 8000)[gone] - row[gone])
        line.append(np.interp(TIME[gone], TIME[~gone], row[~gone]) - row[gone])
    assert np.square(found).sum() < 0.5 * np.square(line).sum()


def test_coefficients_are_those_of_the_process() -> None:
    x = signal.lfilter([1.0], [1, -1.6, 0.9], np.random.default_rng(0).normal(size=20_000))
    assert lpc.burg(x, 2) == pytest.approx([1.6, -0.9], abs=0.02)
    assert lpc._coefficients(x, np.ones(len(x), bool), 2) == pytest.approx([1.6, -0.9], abs=0.02)


def test_missing_samples_are_those_of_least_error() -> None:
    """The same by numpy's least squares, for holes that lie apart and one that begins before an error is known."""
    draw = np.random.default_rng(1)
    x, a = draw.normal(size=30), np.array([0.5, -0.3, 0.2])
    gone = np.isin(np.arange(30), [1, 9, 10, 14, 29])
    rows = np.array([np.convolve(np.eye(30)[i], [1, *-a])[3:30] for i in range(30)]).T
    wanted = np.linalg.lstsq(rows[:, gone], -rows[:, ~gone] @ x[~gone], rcond=None)[0]
    assert lpc._samples(x, gone, a) == pytest.approx(wanted, abs=1e-6)


def test_what_cannot_be_predicted_is_silent() -> None:
    nothing, everything = np.zeros(50), np.ones(50, bool)
    assert not lpc.across(nothing, everything, 8000).any() and not lpc.across(nothing, np.arange(50) == 7, 8000).any()
    assert not lpc.onward(nothing, 5, 8000).any() and lpc.onward(np.ones(2), 5, 8000).tolist() == [0] * 5
    loud = np.random.default_rng(0).normal(size=400)
    assert np.abs(lpc.onward(loud, 5000, 8000)).max() < 5, "it never grows"


# -- lower rates, noise, holes that move ------------------------------------------------------------------------------


def test_a_lower_rate_is_scipys() -> None:
    x = Seeds.for_samples(0, 2).normal(2, 120).double()
    for factor in (2, 3):
        small = signal.resample_poly(x.numpy(), 1, factor, axis=2)
        np.testing.assert_allclose(shrink.lower(x, factor).numpy(), small, atol=1e-10)
        large = signal.resample_poly(small, factor, 1, axis=2)
        np.testing.assert_allclose(shrink.raised(torch.from_numpy(small), factor).numpy(), large, atol=1e-10)


NEAR = {"rtol": 0, "atol": 2e-3}


def test_what_a_lower_rate_holds_comes_back() -> None:
    low, high = (torch.from_numpy(np.sin(pitch * TIME)).float()[None, None] for pitch in (0.1, 2.0))
    craft = shrink.Config(factor=4)
    given = craft.take(0.5 * low + 0.5 * high, rng(1))
    ways = craft.simpler(given, SOUND)
    inner = slice(100, -100)
    wanted, sinc, line = (x[..., inner] for x in (0.5 * low, ways["sinc interpolation"], ways["linear interpolation"]))
    torch.testing.assert_close(sinc, wanted, **NEAR)
    assert error(sinc, wanted) < 0.1 * error(line, wanted)
    steady = torch.arange(12.0)[None, None] / 20
    craft, space = shrink.Config(factor=3), Real((1, 12))
    assert craft.brought(space).shape == (1, 4) and craft.space(space) == space
    line = craft.simpler(craft.bring(steady[..., ::3], space), space)["linear interpolation"]
    torch.testing.assert_close(line[..., :10], steady[..., :10])
    whole = 0.5 * low
    torch.testing.assert_close(shrink.Config(factor=4).bring(shrink.lower(whole, 4), SOUND)[..., inner], wanted, **NEAR)


def test_noise_in_sound_is_filtered_out() -> None:
    x, craft = tones(), noise.Config(level=0.1)
    ways = craft.simpler(craft.take(x, rng(3)), SOUND)
    assert error(ways["Wiener filter"], x) < 0.2 * error(ways["left noisy"], x)
    short = craft.simpler(0.1 * torch.ones(1, 1, 20), Real((1, 20)))
    assert short["Wiener filter"].shape == (1, 1, 20)


def test_total_variation_of_a_still_film_knows_its_other_frames() -> None:
    x = torch.sign(torch.linspace(-1, 1, 16)).expand(1, 1, 4, 16, 16) * 0.5
    noisy = noise.Config(level=0.2).take(x, rng(1))
    whole = noise.total_variation(noisy, 0.2)
    single = torch.stack([noise.total_variation(noisy[:, :, i], 0.2) for i in range(4)], 2)
    assert error(whole, x) < 0.7 * error(single, x)


def test_holes_of_films_stay_or_move() -> None:
    x = torch.ones(8, 1, 6, 32, 32)
    still = mask.Config(holes="boxes").take(x, rng(8))[:, -1]
    assert torch.equal(still, still[:, :1].expand_as(still))
    assert torch.equal(still[:, 0], mask.Config(holes="boxes").take(x[:, :, 0], rng(8))[:, -1])
    moving = mask.Config(holes="boxes", drift=0.2).take(x, rng(8))[:, -1]
    assert torch.equal(moving[:, 0], still[:, 0]) and not torch.equal(moving, still)
    torch.testing.assert_close(moving.mean((2, 3)), still.mean((2, 3)))
    row = next(i for i in range(8) if not torch.equal(moving[i, 1], moving[i, 0]))
    shifts = [(d, a) for d in range(-7, 8) for a in range(-7, 8)]
    assert any(torch.equal(moving[row, 0].roll(shift, (0, 1)), moving[row, 1]) for shift in shifts)


def test_where_a_hole_has_passed_time_tells_what_is_there() -> None:
    x = brighter().repeat(1, 1, 1, 4, 4)
    craft = mask.Config(holes="boxes", box=(0.25, 0.25), drift=0.5)
    given = craft.take(x, rng(2, 3))
    ways = craft.simpler(given, Real((1, 9, 32, 32)))
    assert set(ways) == {"mean fill", "biharmonic fill", "linear in time"}
    assert error(ways["linear in time"], x) < 0.2 * error(ways["biharmonic fill"], x)


def test_spectrograms_are_given_and_griffin_lim_turns_them_back() -> None:
    x, craft = tones(), mel.Config(rate=8000)
    given = craft.take(x, rng(3))
    assert given.shape == (3, *craft.space(SOUND).shape) == (3, 64, 16)
    assert torch.equal(craft.bring(x, SOUND), given) and craft.brought(SOUND) == SOUND
    made = craft.simpler(given, SOUND)["Griffin-Lim"]
    assert made.shape == x.shape and error(craft.take(made, rng(3)), given) < 0.2 * float(given.var())
    assert torch.equal(craft.shown(given, SOUND), made)
    stereo = torch.cat([x, -0.1 * x], dim=1)
    assert torch.equal(craft.take(stereo, rng(3))[:, :64], given)
    with pytest.raises(MaquetteError, match="rate 16000"):
        craft.at(16000, SOUND)
