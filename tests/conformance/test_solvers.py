"""Every solver of `maquette/solvers/ode.py` turns noise into the Gaussian whose exact denoiser it is given."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from maquette.core.seeds import Seeds
from maquette.solvers import ode
from maquette.solvers.paths import karras_levels

MEAN, SPREAD = 0.7, 0.5
ROWS = 20_000
FIRST, LAST = 40.0, 0.01


def exact(y: Tensor, s: Tensor) -> Tensor:
    """E[x | y = x + s noise] for x of mean MEAN and standard deviation SPREAD."""
    keep = SPREAD**2 / (SPREAD**2 + s[:, None] ** 2)
    return MEAN + keep * (y - MEAN)


def error(solver: Callable[..., Tensor], steps: int) -> float:
    """How far the mean and the standard deviation of what comes out are from what they should be."""
    z = Seeds.for_batch(0, 0, ROWS).normal(1)
    z = (z - z.mean()) / z.std()
    y = MEAN + z * math.hypot(FIRST, SPREAD)
    x = solver(exact, y, karras_levels(steps, LAST, FIRST), Seeds.for_batch(1, 0, ROWS))
    assert x.shape == y.shape
    return abs(x.mean().item() - MEAN) + abs(x.std().item() - SPREAD)


def converges(solver: Callable[..., Tensor]) -> None:
    few, many = error(solver, 6), error(solver, 96)
    assert many < 0.03, f"after 96 steps the moments are off by {many:.3f}"
    assert many < few / 2 or few < 0.01, f"from 6 steps to 96 the error only goes from {few:.3f} to {many:.3f}"


@pytest.mark.parametrize("name", sorted(ode.solvers()))
def test_a_solver_converges(name: str) -> None:
    converges(ode.solvers()[name])


@pytest.mark.parametrize("name", sorted(ode.solvers()))
def test_a_row_does_not_see_the_others(name: str) -> None:
    y, levels = 40 * Seeds.for_samples(3, 4).normal(2), karras_levels(5, LAST, FIRST)
    together = ode.solvers()[name](exact, y, levels, Seeds.for_samples(9, 4))
    alone = ode.solvers()[name](exact, y[2:3], levels, Seeds.for_samples(9, 1, first=2))
    assert torch.allclose(together[2:3], alone, atol=1e-5)


def test_a_broken_solver_fails() -> None:
    def stops_early(denoise, y, levels, rng=None):
        return ode.euler(denoise, y, levels[:-30], rng)

    def overshoots(denoise, y, levels, rng=None):
        return ode.euler(lambda y, s: 1.1 * denoise(y, s), y, levels, rng)

    for broken in stops_early, overshoots:
        with pytest.raises(AssertionError):
            converges(broken)
