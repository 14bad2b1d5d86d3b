"""Fréchet distance: known Gaussians, SciPy's matrix root, torchmetrics, and covariances that are singular."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from maquette.evaluate.scores.frechet import Moments, frechet_distance, frechet_estimate


def rows(n: int, d: int, seed: int = 0) -> Tensor:
    """Correlated, skewed features, as a network's are."""
    draw = torch.Generator().manual_seed(seed)
    mixing = torch.randn(d, d, generator=draw) / d**0.5
    return (torch.randn(n, d, generator=draw) @ mixing + 0.3 * seed).relu() + 0.01 * torch.randn(n, d, generator=draw)


def whitened(n: int, d: int) -> np.ndarray:
    """Rows whose sample mean is exactly 0 and sample covariance exactly I."""
    x = np.random.default_rng(0).standard_normal((n, d))
    x -= x.mean(0)
    return x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T


def by_matrix_root(x: Tensor, y: Tensor) -> float:
    """The formula as it is written."""
    a, b = x.double().numpy(), y.double().numpy()
    root = scipy.linalg.sqrtm(np.cov(a, rowvar=False) @ np.cov(b, rowvar=False)).real
    gap = a.mean(0) - b.mean(0)
    return float(gap @ gap + np.trace(np.cov(a, rowvar=False) + np.cov(b, rowvar=False) - 2 * root))


def distance(x, y) -> float:
    return frechet_distance(Moments.of(x), Moments.of(y))


def test_known_gaussians() -> None:
    """Equal laws: 0. Moved by mu: |mu|^2. Spread twice as far in d dimensions: d."""
    x, mu = whitened(500, 6), np.arange(6.0)
    assert distance(x, x) == pytest.approx(0, abs=1e-10)
    assert distance(x, x + mu) == pytest.approx(mu @ mu, rel=1e-10)
    assert distance(x, 2 * x) == pytest.approx(6, rel=1e-10)


@pytest.mark.parametrize(("n", "m", "d"), [(300, 300, 20), (500, 400, 64), (1200, 1000, 200)])
def test_agrees_with_the_matrix_root(n: int, m: int, d: int) -> None:
    x, y = rows(n, d), rows(m, d, 1)
    assert distance(x, y) == pytest.approx(by_matrix_root(x, y), rel=1e-6)
    assert distance(x, y) == pytest.approx(distance(y, x), rel=1e-9)


class Identity(nn.Module):
    """Features that are the pictures themselves, for torchmetrics."""

    num_features = 16

    def forward(self, x: Tensor) -> Tensor:
        return x.double().flatten(1)


@pytest.mark.filterwarnings("ignore:.*will save all extracted features.*")
def test_agrees_with_torchmetrics() -> None:
    x, y = rows(400, 16).double(), rows(300, 16, 1).double()
    peer = FrechetInceptionDistance(feature=Identity(), input_img_size=(1, 4, 4), normalize=True).set_dtype(
        torch.float64
    )
    peer.update(x.view(-1, 1, 4, 4), real=True)
    peer.update(y.view(-1, 1, 4, 4), real=False)
    assert distance(x, y) == pytest.approx(float(peer.compute()), rel=1e-6)


def by_nuclear_norm(x: Tensor, y: Tensor) -> float:
    """Exact for any rank: with X, Y centred, tr (S1 S2)^(1/2) is the nuclear norm of X Y^T / sqrt((n-1)(m-1))."""
    a, b = x.double().numpy(), y.double().numpy()
    gap = a.mean(0) - b.mean(0)
    a, b = (a - a.mean(0)) / (len(a) - 1) ** 0.5, (b - b.mean(0)) / (len(b) - 1) ** 0.5
    return float(gap @ gap + (a**2).sum() + (b**2).sum() - 2 * np.linalg.svd(a @ b.T, compute_uv=False).sum())


@pytest.mark.parametrize(("n", "m"), [(40, 60), (40, 400), (400, 40)])
def test_fewer_rows_than_features(n: int, m: int) -> None:
    x, y = rows(n, 100), rows(m, 100, 1)
    assert distance(x, y) == pytest.approx(by_nuclear_norm(x, y), rel=1e-8)
    assert distance(x, x) == pytest.approx(0, abs=1e-9)


def test_features_that_never_vary_or_stand_twice() -> None:
    x, y = rows(300, 20), rows(300, 20, 1)
    wide = [torch.cat([part, torch.ones(300, 5), part[:, :3]], 1) for part in (x, y)]
    assert distance(*wide) == pytest.approx(by_nuclear_norm(*wide), rel=1e-8)
    assert distance(torch.zeros(30, 8), torch.ones(30, 8)) == pytest.approx(8)


def test_moments_add_and_subtract() -> None:
    x, y = rows(50, 8), rows(70, 8, 1)
    whole = Moments.of(torch.cat([x, y]))
    joined = Moments.of(x).with_(Moments.of(y))
    left = whole.without(Moments.of(y))
    np.testing.assert_allclose(joined.covariance, whole.covariance, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(joined.mean, whole.mean)
    np.testing.assert_allclose(left.covariance, Moments.of(x).covariance, rtol=1e-9, atol=1e-12)
    assert (joined.n, left.n) == (120, 50)


def test_interval_holds_the_spread_of_other_samples() -> None:
    """The 95 % interval from one set of samples holds most of the distances of fresh sets, and is not vacuous."""
    real = Moments.of(rows(2000, 8))
    estimate = frechet_estimate(real, rows(2000, 8, 1)[:500])
    assert estimate.value == pytest.approx(frechet_distance(real, Moments.of(rows(2000, 8, 1)[:500])), rel=1e-9)
    assert estimate.low is not None and estimate.high is not None
    fresh = [frechet_distance(real, Moments.of(part)) for part in rows(10_500, 8, 1)[500:].split(500)]
    assert sum(estimate.low <= f <= estimate.high for f in fresh) >= 14
    assert estimate.high - estimate.low < estimate.value
