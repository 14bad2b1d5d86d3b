"""What is known is in the sample exactly, whatever the denoiser and the solver."""

import pytest
import torch
from scipy import signal
from torch import Tensor
from torch.nn import functional as F

from maquette.core.colour import luma
from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.solvers import ode
from maquette.solvers.guidance import guide
from maquette.solvers.paths import karras_levels
from maquette.solvers.tasks import blur, colourise, deblur, enlarge, inpaint, observe

LEVELS = karras_levels(8, 0.01, 20.0)
SOLVERS = sorted(ode.solvers())


def smooth(y: Tensor, s: Tensor) -> Tensor:
    """A denoiser that knows its neighbours and sometimes goes out of range."""
    keep = 1 / (1 + s**2)
    return 1.3 * (keep[:, None, None, None] * y + 0.2 * F.avg_pool2d(y, 3, 1, 1) / (1 + s[:, None, None, None]))


def noise(n: int = 3, size: int = 8) -> Tensor:
    return 20.0 * Seeds.for_samples(0, n).normal(2, size, size)


@pytest.mark.parametrize("solver", SOLVERS)
def test_inpainting_keeps_what_is_known_to_the_bit(solver: str) -> None:
    known = Seeds.for_samples(1, 3).uniform(2, 8, 8) * 2 - 1
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:, :4] = True
    x = ode.find(solver)(inpaint(smooth, known, mask), noise(), LEVELS, Seeds.for_samples(2, 3))
    assert torch.equal(x[..., :4], known[..., :4])
    assert not torch.allclose(x[..., 4:], known[..., 4:], atol=0.1)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("factor", [2, 4])
def test_enlarging_keeps_the_low_resolution_picture(solver: str, factor: int) -> None:
    small = Seeds.for_samples(1, 3).uniform(2, 8 // factor, 8 // factor) * 2 - 1
    x = ode.find(solver)(enlarge(smooth, small, factor), noise(), LEVELS, Seeds.for_samples(2, 3))
    assert (F.avg_pool2d(x, factor) - small).abs().max() < 1e-6
    assert x.abs().max() <= 1 + 1e-6
    assert (x - F.interpolate(small, scale_factor=factor)).abs().max() > 0.05  # there is detail


def test_enlarging_keeps_black_and_white() -> None:
    small = torch.tensor([[[[-1.0, 1.0], [0.5, -0.25]]]])
    x = enlarge(lambda y, s: 3 * y, small, 2)(torch.randn(1, 1, 4, 4), torch.ones(1))
    assert (F.avg_pool2d(x, 2) - small).abs().max() < 1e-6
    assert x.abs().max() <= 1 + 1e-6


@pytest.mark.parametrize("n", [5, 8])
def test_sound_of_a_higher_rate_keeps_the_low_frequencies(n: int) -> None:
    small, start = torch.randn(2, 1, n, dtype=torch.float64), torch.randn(2, 1, 3 * n, dtype=torch.float64)
    x = enlarge(lambda y, s: y, small, 3)(start, torch.ones(2))
    wanted = signal.resample(small.numpy(), 3 * n, axis=2) - signal.resample(
        signal.resample(start.numpy(), n, axis=2), 3 * n, axis=2
    )
    held = slice(0, (n + 1) // 2)  # SciPy halves the last frequency of an even length, to keep it real
    found = torch.fft.rfft(x - start)[..., held] - torch.fft.rfft(torch.from_numpy(wanted))[..., held]
    assert found.abs().max() < 1e-9
    again = enlarge(lambda y, s: y, small, 3)(x, torch.ones(2))
    torch.testing.assert_close(again, x)
    tone = torch.cos(2 * torch.pi * torch.arange(24) / 24)
    silent = enlarge(lambda y, s: 0 * y, tone[::3].view(1, 1, -1), 3)(torch.zeros(1, 1, 24), torch.ones(1))
    torch.testing.assert_close(silent[0, 0], tone)


def test_films_are_enlarged_and_blurred_in_each_frame() -> None:
    small, start = torch.rand(1, 2, 3, 4, 4) - 0.5, torch.randn(1, 2, 3, 8, 8)
    x = enlarge(lambda y, s: y, small, 2)(start, torch.ones(1))
    frame = enlarge(lambda y, s: y, small[:, :, 1], 2)(start[:, :, 1], torch.ones(1))
    assert torch.equal(x[:, :, 1], frame)
    torch.testing.assert_close(blur(start, 1.5)[:, :, 2], blur(start[:, :, 2], 1.5))


def test_a_factor_that_does_not_fit_is_refused() -> None:
    with pytest.raises(MaquetteError, match="3×3 enlarged 2 times is not the 8×8") as bad:
        enlarge(smooth, torch.zeros(1, 2, 3, 3), 2)(noise(1), torch.ones(1))
    assert bad.value.code == "MQ-2043"


def test_any_linear_observation_is_met() -> None:
    grey = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    seen = observe(smooth, lambda x: x.mean(1, keepdim=True), lambda r: r.expand(-1, 2, -1, -1), grey)
    x = ode.dpm(seen, noise().double(), LEVELS)
    assert (x.mean(1, keepdim=True) - grey).abs().max() < 1e-12


@pytest.mark.parametrize("solver", SOLVERS)
def test_colours_keep_how_bright_each_pixel_is(solver: str) -> None:
    grey = Seeds.for_samples(1, 3).uniform(1, 8, 8) * 2 - 1
    grey[:, :, 0, 0], grey[:, :, 0, 1] = -1, 1
    start = 20 * Seeds.for_samples(0, 3).normal(3, 8, 8)
    x = ode.find(solver)(colourise(smooth, grey), start, LEVELS, Seeds.for_samples(2, 3))
    assert (luma(x) - grey).abs().max() < 1e-5
    assert x.abs().max() <= 1 + 1e-5
    assert (x - grey).abs().amax((1, 2, 3)).min() > 0.05  # there is colour


def test_luma_of_grey_is_grey_and_green_is_the_brightest() -> None:
    grey = torch.rand(2, 1, 3, 3)
    torch.testing.assert_close(luma(grey.expand(-1, 3, -1, -1)), grey)
    assert luma(torch.eye(3)[:, :, None]).flatten().argmax() == 1


def test_a_blur_keeps_the_mean_is_its_own_adjoint_and_spreads_as_it_says() -> None:
    x, y = torch.rand(2, 1, 3, 9, 12, dtype=torch.float64)
    torch.testing.assert_close(blur(x, 1.5).mean((2, 3)), x.mean((2, 3)))
    torch.testing.assert_close((blur(x, 1.5) * y).sum(), (x * blur(y, 1.5)).sum())
    point = torch.zeros(1, 1, 33, 33, dtype=torch.float64)
    point[..., 16, 16] = 1
    across = (torch.arange(33) - 16) ** 2
    assert (blur(point, 2.0).sum(2) * across).sum().item() == pytest.approx(4.0, rel=1e-3)
    torch.testing.assert_close(blur(blur(x, 1.5), 2.0), blur(x, 2.5))  # 1.5^2 + 2^2 = 2.5^2


@pytest.mark.parametrize("sides", [(16,), (8, 12), (4, 6, 8)])
def test_sharpening_finds_what_the_blur_left_and_leaves_the_rest_to_the_denoiser(sides: tuple[int, ...]) -> None:
    x = Seeds.for_samples(1, 2).uniform(2, *sides) * 2 - 1
    wrap = deblur(lambda y, s: torch.zeros_like(y), blur(x, 0.8), 0.8)
    found = wrap(x, torch.ones(2))
    assert (found - x).square().mean() < 0.5 * (blur(x, 0.8) - x).square().mean()
    assert (blur(found, 0.8) - blur(x, 0.8)).abs().max() < 0.05
    rounded = (blur(x, 3.0) * 127.5).round() / 127.5
    assert deblur(lambda y, s: 0 * y, rounded, 3.0)(x, torch.ones(2)).abs().max() < 2, "rounding is not blown up"


def test_a_wrap_passes_on_where_a_step_ends() -> None:
    seen: list[Tensor] = []

    def spans(y: Tensor, s: Tensor, to: Tensor) -> Tensor:
        seen.append(to)
        return y

    y, s, to = torch.zeros(2, 3, 4, 4), torch.ones(2), torch.zeros(2)
    mask = torch.ones(4, 4, dtype=torch.bool)
    for wrap in (
        inpaint(spans, y, mask),
        enlarge(spans, y[..., ::2, ::2], 2),
        colourise(spans, y[:, :1]),
        deblur(spans, y, 1.0),
    ):
        wrap(y, s, to)
    assert len(seen) == 4 and all(one is to for one in seen)


def test_wraps_compose() -> None:
    known, mask = torch.zeros(3, 2, 8, 8), torch.zeros(8, 8, dtype=torch.bool)
    mask[0] = True
    x = ode.heun(inpaint(guide(smooth, lambda y, s: 0 * y, 2.0), known, mask), noise(), LEVELS)
    assert torch.equal(x[:, :, 0], known[:, :, 0])
