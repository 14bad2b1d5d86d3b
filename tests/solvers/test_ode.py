"""Solvers against the exact solution for Gaussian data, where denoiser and trajectory are known in closed form."""

import doctest
import math

import pytest
import torch
from torch import Tensor

from maquette.core import cancel
from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.solvers import ode, paths

MEAN, STD = 0.3, 0.5
Y0 = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]


def exact_denoiser(y: Tensor, s: Tensor) -> Tensor:
    """E[x | y] for x ~ N(MEAN, STD^2)."""
    keep = STD**2 / (STD**2 + s**2)
    return MEAN + keep[:, None] * (y - MEAN)


def exact_end(y: Tensor, first: float, last: float) -> Tensor:
    """The probability-flow trajectory: y - MEAN shrinks as the standard deviation of y does."""
    return MEAN + (y - MEAN) * math.sqrt((STD**2 + last**2) / (STD**2 + first**2))


def error(solver: ode.Solver, steps: int) -> float:
    levels = torch.logspace(math.log10(3.0), math.log10(0.05), steps + 1, dtype=torch.float64)
    return (solver(exact_denoiser, Y0, levels) - exact_end(Y0, 3.0, 0.05)).abs().max().item()


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("ddim", 1), ("heun", 2), ("dpm", 2)])
def test_order_of_convergence(name: str, order: int) -> None:
    solver = ode.find(name)
    steps = [64, 128, 256, 512]
    errors = [error(solver, n) for n in steps]
    slopes = [math.log2(coarse / fine) for coarse, fine in zip(errors, errors[1:], strict=False)]
    assert slopes[-1] == pytest.approx(order, abs=0.1), slopes
    assert errors[-1] < 0.01**order


def test_second_order_needs_fewer_calls_for_the_same_error() -> None:
    assert error(ode.dpm, 32) < error(ode.euler, 256)
    assert error(ode.heun, 32) < error(ode.euler, 256)


def test_ddim_without_noise_is_euler() -> None:
    levels = paths.karras_levels(12, 0.01, 10.0)
    torch.testing.assert_close(
        ode.ddim(exact_denoiser, 10 * Y0, levels), ode.euler(exact_denoiser, 10 * Y0, levels), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("name", ["euler", "ddim", "ddpm", "heun", "dpm"])
def test_the_last_level_returns_the_denoiser_s_word_to_the_bit(name: str) -> None:
    def says(y: Tensor, s: Tensor) -> Tensor:
        return torch.full_like(y, 0.1) + s[:, None] * 0.01

    end = ode.find(name)(says, torch.randn(4, 3), torch.tensor([2.0, 0.5, 0.1, 0.0]), Seeds.for_samples(0, 4))
    assert torch.equal(end, says(end, torch.full((4,), 0.1)))


@pytest.mark.parametrize(("name", "eta"), [("ddpm", 0.0), ("ddim", 0.5), ("ddim", 1.0)])
def test_stochastic_solvers_end_with_the_data_s_moments(name: str, eta: float) -> None:
    n = 20_000
    rng = Seeds.for_batch(0, 0, n)
    y = (MEAN + math.sqrt(STD**2 + 20.0**2) * rng.normal(1)).double()
    x = ode.find(name, eta)(exact_denoiser, y, paths.log_snr_levels(200, 0.01, 20.0), rng)
    assert x.mean().item() == pytest.approx(MEAN, abs=4 * STD / math.sqrt(n))
    assert x.std().item() == pytest.approx(STD, rel=0.03)


def test_fresh_noise_forgets_the_start() -> None:
    """The end of an ODE is a function of its start; after ancestral sampling almost nothing of it is left."""
    n = 4000
    rng = Seeds.for_batch(1, 0, n)
    y = (20.0 * rng.normal(1)).double()
    levels = paths.log_snr_levels(200, 0.01, 20.0)
    ends = {name: ode.find(name)(exact_denoiser, y, levels, rng) for name in ("euler", "ddpm")}
    kept = {name: abs(torch.corrcoef(torch.cat([y, x], dim=1).T)[0, 1].item()) for name, x in ends.items()}
    assert kept["euler"] > 0.999 and kept["ddpm"] < 0.1


def test_noise_of_a_sample_does_not_depend_on_its_batch() -> None:
    levels = paths.karras_levels(5, 0.01, 10.0)
    start = torch.randn(6, 3)
    whole = ode.ddpm(exact_denoiser, start, levels, Seeds.for_samples(7, 6))
    part = ode.ddpm(exact_denoiser, start[2:4], levels, Seeds.for_samples(7, 2, first=2))
    assert torch.equal(whole[2:4], part)


@pytest.mark.parametrize("name", ["euler", "ddim", "ddpm", "heun", "dpm"])
def test_every_step_can_be_cancelled(name: str) -> None:
    token, calls = cancel.Token(), []

    def denoise(y: Tensor, s: Tensor) -> Tensor:
        calls.append(s)
        token.cancel()
        return y

    with cancel.working(token), pytest.raises(cancel.Cancelled):
        ode.find(name)(denoise, torch.zeros(1, 2), paths.karras_levels(10, 0.1, 1.0), Seeds.for_samples(0, 1))
    assert len(calls) <= 2


def test_the_choices_are_the_solvers_of_the_file() -> None:
    assert set(ode.solvers()) == {"euler", "heun", "ddim", "ddpm", "dpm"}


def test_mistakes_are_named() -> None:
    with pytest.raises(MaquetteError, match="nearest: 'heun'") as unknown:
        ode.find("huen")
    with pytest.raises(MaquetteError, match="no eta") as no_eta:
        ode.find("dpm", eta=0.5)
    with pytest.raises(MaquetteError, match="rng") as no_noise:
        ode.ddpm(exact_denoiser, Y0, paths.karras_levels(3, 0.1, 1.0))
    assert [e.value.code for e in (unknown, no_eta, no_noise)] == ["MQ-2040", "MQ-2042", "MQ-2041"]


@pytest.mark.parametrize("module", [ode, paths])
def test_doctests(module) -> None:
    assert doctest.testmod(module).failed == 0
