"""The flow's likelihood where it is known: Gaussians of any covariance, 8-bit values, an equation with a solution."""

import math

import pytest
import torch
from torch import Tensor

from maquette.core import cancel
from maquette.core.seeds import Seeds
from maquette.solvers.likelihood import bound, flow, log_density, lowest, rk45, value_nll

LOW, HIGH = 0.01, 40.0


def denoiser(covariance: Tensor):
    """E[x | y = x + s noise] for x ~ N(0, covariance)."""
    values, axes = torch.linalg.eigh(covariance)

    def denoise(y: Tensor, s: Tensor) -> Tensor:
        keep = values / (values + s[:, None] ** 2)
        return ((y.flatten(1) @ axes.to(y)) * keep.to(y) @ axes.T.to(y)).reshape(y.shape)

    return denoise


def known(y: Tensor, covariance: Tensor) -> Tensor:
    """ln p of what the flow makes of N(0, HIGH^2): along each axis the start shrinks as the data's deviation does."""
    values, axes = torch.linalg.eigh(covariance)
    deviation = HIGH * ((values + LOW**2) / (values + HIGH**2)).sqrt()
    return -(((y.flatten(1) @ axes) / deviation).square() / 2 + (deviation * math.sqrt(2 * math.pi)).log()).sum(1)


def points(n: int, *shape: int) -> Tensor:
    return 0.5 * Seeds.for_batch(0, 0, n).normal(*shape)


def test_a_gaussian_s_density_is_exact() -> None:
    """Independent axes have a diagonal derivative, of which one probe gives the trace exactly."""
    covariance, y = torch.diag(torch.tensor([0.04, 0.25, 1.0, 0.09])), points(6, 1, 2, 2)
    found = log_density(denoiser(covariance), y, LOW, HIGH, Seeds.for_batch(1, 0, 6), probes=1, tolerance=1e-5)
    torch.testing.assert_close(found, known(y, covariance), rtol=0, atol=5e-3)


def test_probes_are_right_on_average_and_vary_less_when_there_are_more() -> None:
    g = torch.Generator().manual_seed(3)
    mixed = torch.randn(4, 4, generator=g)
    covariance, n = mixed @ mixed.T / 8 + 0.01 * torch.eye(4), 400
    y = points(1, 4).expand(n, 4)
    errors = {}
    for probes in (1, 8):
        found = log_density(denoiser(covariance), y, LOW, HIGH, Seeds.for_batch(2, 0, n), probes, tolerance=1e-4)
        errors[probes] = found - known(y, covariance)
    spread = {probes: error.std().item() for probes, error in errors.items()}
    assert spread[1] > 0.1 and spread[8] == pytest.approx(spread[1] / math.sqrt(8), rel=0.25)
    for probes, error in errors.items():
        assert abs(error.mean().item()) < 4 * spread[probes] / math.sqrt(n)


def test_a_tighter_tolerance_is_nearer() -> None:
    covariance = torch.diag(torch.tensor([1e-3, 0.25]))
    y = points(8, 2) @ covariance.sqrt() * 2
    gaps = [
        (log_density(denoiser(covariance), y, LOW, HIGH, Seeds.for_batch(1, 0, 8), 1, tolerance) - known(y, covariance))
        .abs()
        .max()
        for tolerance in (1e-2, 1e-4)
    ]
    assert gaps[1] < gaps[0] / 3 and gaps[1] < 0.02


def test_on_a_continuum_it_is_the_density_itself() -> None:
    covariance, y, rng = 0.09 * torch.eye(3), points(5, 3), Seeds.for_batch(1, 0, 5)
    found = flow(denoiser(covariance), y, LOW, HIGH, rng)
    torch.testing.assert_close(found, -known(y, covariance), rtol=0, atol=2e-2)


def eight_bits(n: int, std: float) -> Tensor:
    return ((std * Seeds.for_batch(3, 0, n).normal(4)).clamp(-1, 1) * 127.5 + 127.5).round() / 127.5 - 1


def test_of_eight_bits_it_is_a_bound_that_is_nearly_tight() -> None:
    """The Gaussian's entropy, and ln(255 / 2) nats a dimension, the inverse width of a value."""
    n, std = 4000, 0.3
    x, entropy = eight_bits(n, std), math.log(std * math.sqrt(2 * math.pi * math.e)) + math.log(127.5)
    cost = flow(denoiser(std**2 * torch.eye(4)), x, 0.002, HIGH, Seeds.for_batch(4, 0, n), values=256).mean().item() / 4
    assert entropy - 0.02 < cost < entropy + 0.05


def test_of_an_exact_denoiser_of_other_data_it_agrees_with_the_variational_bound() -> None:
    """Where flow and diffusion are one law the bound is tight for every sample, however improbable."""
    n, other = 4000, denoiser(0.5**2 * torch.eye(4))
    x = eight_bits(n, 0.3)
    exact, most = (f(other, x, 0.002, HIGH, Seeds.for_batch(4, 0, n), values=256).mean() / 4 for f in (flow, bound))
    assert exact.item() == pytest.approx(most.item(), abs=0.1)


def test_half_a_step_is_the_lowest_level_of_values() -> None:
    assert lowest(0.002, 0) == 0.002 and lowest(0.002, 256) == 1 / 255 and lowest(0.1, 256) == 0.1


def test_a_value_far_from_the_others_is_certain() -> None:
    assert value_nll(torch.zeros(2, 3), 0.01, 2).max() < 1e-12  # the next value is 200 deviations away
    near = math.log(1 + 2 * math.exp(-2) + 2 * math.exp(-8))  # the next ones lie 2 and 4 deviations away
    assert value_nll(torch.zeros(1, 3), 1 / 255, 256).item() == pytest.approx(3 * near, rel=1e-4)


# -- the equation -----------------------------------------------------------------------------------------------------


def test_an_equation_with_a_known_solution() -> None:
    """Rows turn at their own speed; the error is about the tolerance, and a smaller one costs few more calls."""
    speed, state, calls = torch.tensor([1.0, 5.0]).double(), torch.tensor([[1.0, 0.0]] * 2).double(), []

    def slope(at: float, x: Tensor) -> Tensor:
        calls.append(at)
        return speed[:, None] * torch.stack([-x[:, 1], x[:, 0]], 1)

    counts = []
    for tolerance in (1e-4, 1e-8):
        calls.clear()
        end = rk45(slope, state, 0.0, 3.0, tolerance)
        exact = torch.stack([(3 * speed).cos(), (3 * speed).sin()], 1)
        assert (end - exact).abs().max() < 100 * tolerance
        counts.append(len(calls))
    assert counts[1] < 10 * counts[0]  # order 5: 10^4 times as exact for 10^(4/5) times the steps


def test_what_is_not_finite_ends() -> None:
    assert rk45(lambda at, x: x * math.nan, torch.ones(1, 2), 0.0, 1.0, 1e-4).isnan().all()


def test_it_can_be_cancelled() -> None:
    token = cancel.Token()
    token.cancel()
    with cancel.working(token), pytest.raises(cancel.Cancelled):
        rk45(lambda at, x: x, torch.ones(1, 2), 0.0, 1.0, 1e-4)


def test_of_very_many_values_the_sum_is_the_integral() -> None:
    """Sixteen bits and a level of 0.002 are 66 values a deviation; here 8 a deviation are summed one by one."""
    low, values = 0.01, 1601
    noise, gap = points(200, 3), 2 / (values - 1) / low
    offsets = torch.arange(-200, 201) * gap
    summed = torch.logsumexp(offsets * noise.double()[..., None] - offsets**2 / 2, -1).flatten(1).sum(1)
    torch.testing.assert_close(value_nll(noise, low, values).double(), summed, rtol=1e-6, atol=1e-5)
    long = value_nll(Seeds.for_batch(0, 0, 2).normal(8192), 0.002, 65536)
    assert long.isfinite().all() and (long / 8192 - math.log(0.002 * 65535 / 2)).sub(1.42).abs().max() < 0.05
