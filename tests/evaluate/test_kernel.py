"""Kernel distance: the definition pair by pair, torchmetrics, and no bias."""

import pytest
import torch
from torch import Tensor, nn
from torchmetrics.image.kid import KernelInceptionDistance

from maquette.evaluate.scores import kernel
from maquette.evaluate.scores.kernel import kernel_distance


def rows(n: int, seed: int, d: int = 6) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_definition(x: Tensor, y: Tensor) -> float:
    n, m, d = len(x), len(y), x.shape[1]
    k = [(a @ b.T / d + 1) ** 3 for a, b in ((x, x), (y, y), (x, y))]
    within = (k[0].sum() - k[0].trace()) / (n * (n - 1)) + (k[1].sum() - k[1].trace()) / (m * (m - 1))
    return float(within - 2 * k[2].mean())


@pytest.mark.parametrize("block", [7, 2048])
def test_is_the_unbiased_estimate_of_all_pairs(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "BLOCK", block)
    x, y = rows(53, 0), rows(61, 1) * 1.3
    assert kernel_distance(x, y).value == pytest.approx(by_definition(x, y), rel=1e-10)


class Identity(nn.Module):
    num_features = 16

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


@pytest.mark.filterwarnings("ignore:.*will save all extracted features.*")
def test_agrees_with_torchmetrics() -> None:
    """One subset as large as the set is all pairs."""
    x, y = rows(200, 0, 16).float(), (rows(200, 1, 16) + 0.2).float()
    peer = KernelInceptionDistance(feature=Identity(), subsets=1, subset_size=200, normalize=True)
    peer.update(x.view(-1, 1, 4, 4), real=True)
    peer.update(y.view(-1, 1, 4, 4), real=False)
    assert kernel_distance(x, y).value == pytest.approx(float(peer.compute()[0]), rel=1e-5)


def test_equal_laws_come_out_at_zero_on_average() -> None:
    real = rows(200, 0)
    values = [kernel_distance(rows(200, 2 * s + 1), rows(200, 2 * s + 2)) for s in range(30)]
    mean = sum(v.value for v in values) / 30
    spread = (sum((v.value - mean) ** 2 for v in values) / 29) ** 0.5
    assert abs(mean) < 2 * spread / 30**0.5
    assert min(v.value for v in values) < 0 < kernel_distance(real, rows(200, 1) + 0.5).value


def test_leaving_a_group_out_is_the_distance_without_it() -> None:
    """The interval's parts are real distances, not approximations."""
    x, y = rows(40, 0), rows(40, 1)
    estimate = kernel_distance(x, y)
    without = [by_definition(x, torch.cat([y[: 4 * g], y[4 * g + 4 :]])) for g in range(10)]
    mean = sum(without) / 10
    error = (0.9 * sum((w - mean) ** 2 for w in without)) ** 0.5
    assert estimate.low == pytest.approx(estimate.value - 2.262157 * error, rel=1e-5)
