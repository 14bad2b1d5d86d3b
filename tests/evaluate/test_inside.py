"""Where a critic looks and what the axes of a code do, for critics and generators that are formulas."""

import pytest
import torch

from maquette.core.seeds import Seeds
from maquette.evaluate import inside

RNG = Seeds.for_samples(0, 3)


def test_a_critic_of_one_corner_looks_there() -> None:
    x = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    map = inside.saliency(lambda y: y[:, 1, :2, :2].sum((1, 2)), x, RNG)
    assert map.shape == (3, 8, 8)
    assert (map[:, :2, :2] == 1).all() and map[:, 2:].abs().max() == 0 and map[:, :, 2:].abs().max() == 0


def test_what_only_noise_makes_salient_averages_out() -> None:
    """A score is rough at one pixel and steady at another: a plain gradient shows both alike, the mean does not."""
    x = torch.zeros(3, 1, 4, 4)
    x[:, :, 3, 3] = 1  # a range for the noise

    def score(y: torch.Tensor) -> torch.Tensor:
        return y[:, 0, 0, 0] + (60 * y[:, 0, 1, 1]).sin() / 60

    def plain(y: torch.Tensor) -> torch.Tensor:
        y = y.clone().requires_grad_()
        return torch.autograd.grad(score(y).sum(), y)[0].abs()[:, 0]

    assert torch.allclose(plain(x)[:, 0, 0], plain(x)[:, 1, 1])
    map = inside.saliency(score, x, RNG)
    assert (map[:, 0, 0] == 1).all() and map[:, 1, 1].max() < 0.75


def test_no_gradients_are_left_behind() -> None:
    weight = torch.nn.Parameter(torch.ones(8, 8))
    with torch.no_grad():
        map = inside.saliency(lambda y: (y[:, 0] * weight).sum((1, 2)), torch.rand(2, 1, 8, 8), Seeds.for_samples(0, 2))
    assert weight.grad is None and not map.requires_grad and torch.allclose(map, torch.ones_like(map))


def test_axes_are_ranked_by_what_they_change() -> None:
    sizes = torch.tensor([0.5, 0.0, 3.0, 1.0])
    basis = torch.linalg.qr(torch.randn(16, 4, generator=torch.Generator().manual_seed(0)))[0].T * 4  # rms 1 each

    def predict(z: torch.Tensor) -> torch.Tensor:
        return ((z * sizes) @ basis).view(-1, 1, 4, 4)

    z = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    effects = inside.axis_effects(predict, z)
    torch.testing.assert_close(effects, sizes, atol=1e-5, rtol=1e-4)
    assert effects.argsort(descending=True).tolist() == [2, 3, 0, 1]


@pytest.mark.parametrize("columns", [3, 7])
def test_a_traversal_moves_one_axis_a_row(columns: int) -> None:
    z = torch.tensor([[0.5, -1.0, 2.0]])
    codes = inside.traversal(lambda z: z, z, torch.tensor([2, 0]), reach=2.0, columns=columns).unflatten(
        0, (2, columns)
    )
    assert torch.equal(codes[0, :, :2], z[:, :2].expand(columns, -1))
    assert torch.equal(codes[1, :, 1:], z[:, 1:].expand(columns, -1))
    assert codes[0, :, 2].tolist() == torch.linspace(-2, 2, columns).tolist() == codes[1, :, 0].tolist()
