"""Precision, recall, density, coverage: a case by hand and the authors' package."""

import contextlib
import io

import pytest
import torch
from prdc import compute_prdc
from torch import Tensor

from maquette.evaluate.scores import prdc as module
from maquette.evaluate.scores.prdc import prdc, radii


def rows(n: int, d: int, seed: int, spread: float = 1.0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) * spread


def figures(real: Tensor, made: Tensor, k: int) -> dict[str, float]:
    return {name: getattr(prdc(real, made, k), name).value for name in ("precision", "recall", "density", "coverage")}


def test_by_hand() -> None:
    """Real 0, 1, 3 (radii 1, 1, 2); made 0.5, 9, 9.5 … with k = 1.

    0.5 lies in the balls of 0 and 1, 9 and those near it in none: precision 1/10, density 2/10, coverage 2/3. The
    made ball of 0.5 reaches 8.5 to 9 and holds every real sample: recall 1.
    """
    real = torch.tensor([[0.0], [1.0], [3.0]])
    made = torch.tensor([[0.5], *([9.0 + 0.5 * i] for i in range(9))])
    assert figures(real, made, 1) == pytest.approx({"precision": 0.1, "recall": 1.0, "density": 0.2, "coverage": 2 / 3})


@pytest.mark.parametrize(
    ("n", "m", "d", "spread", "k"), [(300, 300, 8, 1.0, 5), (500, 200, 32, 1.2, 3), (150, 400, 4, 0.5, 5)]
)
@pytest.mark.parametrize("block", [64, 1024])
def test_agrees_with_the_package(n, m, d, spread, k, block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    real, made = rows(n, d, 0) + 5, rows(m, d, 1, spread) + 5.2
    with contextlib.redirect_stdout(io.StringIO()):
        peer = compute_prdc(real.double().numpy(), made.double().numpy(), k)
    assert figures(real, made, k) == pytest.approx(peer, rel=1e-5)


def test_radii_are_distances_to_the_kth_other_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 50)
    x = rows(230, 5, 0)
    expected = torch.cdist(x, x).fill_diagonal_(float("inf")).sort(1).values[:, 3] ** 2
    torch.testing.assert_close(radii(x, 4), expected, rtol=1e-4, atol=1e-6)


def test_what_each_figure_sees() -> None:
    """Half of the data left out: recall and coverage fall, precision does not. Noise added: precision falls."""
    whole = torch.cat([rows(300, 4, 0), rows(300, 4, 1) + 8])
    other = torch.cat([rows(300, 4, 2), rows(300, 4, 3) + 8])
    half, noisy = rows(600, 4, 4), other + rows(600, 4, 5, 1.5)
    same, lost, dirty = (figures(whole, made, 5) for made in (other, half, noisy))
    assert lost["precision"] > 0.9 * same["precision"]
    assert lost["coverage"] < 0.6 * same["coverage"] and lost["recall"] < 0.6 * same["recall"]
    assert dirty["precision"] < 0.8 * same["precision"] and dirty["density"] < 0.8 * same["density"]


def test_intervals_hold_their_values_and_stay_possible() -> None:
    result = prdc(rows(200, 3, 0), rows(200, 3, 1))
    for name in ("precision", "recall", "density", "coverage"):
        estimate = getattr(result, name)
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.low >= 0 and (name == "density" or estimate.high <= 1)
