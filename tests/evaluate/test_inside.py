"""Where a critic looks and what the axes of a code do, for critics and generators that are formulas."""

import pytest
import torch

from maquette.core.seeds import Seeds
from maquette.evaluate import inside, pictures
from maquette.models import gan
from maquette.nets import mlp
from maquette.pipeline import Request
from tests.evaluate.made import SMALL, pipeline

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


def test_axes_are_tried_within_their_reach() -> None:
    """What lies beyond is not looked at, and what is known of less than a step counts for the whole."""
    z = 2 * torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) - 1
    seen = []

    def predict(z: torch.Tensor) -> torch.Tensor:
        seen.append(z.abs().max())
        return torch.tensor([1.0, 0.0, 2.0]) * z

    for codes in (z, 4 * z):
        effects = inside.axis_effects(lambda x: torch.tensor([1.0, 0.0, 2.0]) * x, codes, step=0.58, reach=1.0)
        torch.testing.assert_close(effects, 0.58 * torch.tensor([1.0, 0.0, 2.0]) / 3**0.5)
    inside.axis_effects(predict, z, step=0.58, reach=1.0)
    assert max(seen) <= 1


@pytest.mark.parametrize("noise, reach", [("normal", 2.5), ("uniform", 1.0)])
def test_reports_walk_where_noise_can_lie(noise: str, reach: float, monkeypatch: pytest.MonkeyPatch) -> None:
    net = mlp.Config(width=8)
    made = pipeline(SMALL, gan.Config(generator=net, critic=net, latent=12, noise=noise))  # type: ignore[arg-type]
    seen = []
    monkeypatch.setattr(made.model, "predictor", lambda told: lambda z: seen.append(z) or torch.zeros(len(z), 1, 8, 8))
    (shot,) = pictures._noise_axes(made, Request())
    assert f"from -{reach:g} to {reach:g}" in shot[2].replace("0.99", "1") and len(seen) == 2 * 12 + 1
    walked = seen[-1].unflatten(0, (10, 8))
    assert walked.max() == pytest.approx(reach, abs=0.06) and walked.min() == pytest.approx(-reach, abs=0.06)
    assert noise == "normal" or max(z.abs().max() for z in seen) <= 1


@pytest.mark.parametrize("columns", [3, 7])
def test_a_traversal_moves_one_axis_a_row(columns: int) -> None:
    z = torch.tensor([[0.5, -1.0, 2.0]])
    codes = inside.traversal(lambda z: z, z, torch.tensor([2, 0]), reach=2.0, columns=columns).unflatten(
        0, (2, columns)
    )
    assert torch.equal(codes[0, :, :2], z[:, :2].expand(columns, -1))
    assert torch.equal(codes[1, :, 1:], z[:, 1:].expand(columns, -1))
    assert codes[0, :, 2].tolist() == torch.linspace(-2, 2, columns).tolist() == codes[1, :, 0].tolist()
