"""The multilayer perceptron: shapes, what it is told, the bound on a critic's slope."""

import pytest
import torch

from maquette.core.errors import MaquetteError
from maquette.core.types import Condition
from maquette.nets import mlp


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("source", "target"), [((2,), (2,)), ((5,), (3, 4, 4)), ((1, 6, 6), (7,)), ((8, 2), (4, 3))])
def test_any_shape_to_any_shape(source: tuple[int, ...], target: tuple[int, ...], residual: bool) -> None:
    net = mlp.Config(width=16, residual=residual).build(source, target)
    assert net(torch.randn(3, *source)).shape == (3, *target)


def test_a_plain_one_is_the_textbook_network() -> None:
    """784-512-256-4, layer by layer, and 784-512-32, of one width."""
    whole = mlp.Config(widths=(512, 256), activation="relu").build((784,), (4,))
    assert [tuple(m.weight.shape) for m in whole.modules() if isinstance(m, torch.nn.Linear)] == [
        (512, 784), (256, 512), (4, 256),
    ]  # fmt: skip
    down = mlp.Config(width=512, depth=1).build((1, 28, 28), (32,))
    assert sum(p.numel() for p in down.parameters()) == 784 * 512 + 512 + 512 * 32 + 32
    assert len([m for m in down.modules() if isinstance(m, torch.nn.Linear)]) == 2


@pytest.mark.parametrize("residual", [False, True])
def test_time_and_vector_change_the_output(residual: bool) -> None:
    net = mlp.Config(width=16, residual=residual).build((2,), (2,), vector=5, timed=True)
    x, early, late = torch.randn(3, 2), torch.zeros(3), torch.ones(3)
    one, other = Condition(vector=torch.randn(3, 5)), Condition(vector=torch.randn(3, 5))
    outs = [net(x, early, one), net(x, late, one), net(x, early, other)]
    assert outs[0].shape == (3, 2)
    assert not torch.allclose(outs[0], outs[1]) and not torch.allclose(outs[0], outs[2])


def test_spectral_norm_bounds_every_hidden_matrix() -> None:
    torch.manual_seed(0)
    net = mlp.Config(width=16, spectral=True).build((2,), (1,))
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(5)
    for _ in range(50):  # each pass in training takes one power iteration
        net(torch.randn(4, 2))
    weights = [m.weight for m in net.modules() if isinstance(m, torch.nn.Linear)]
    tops = [torch.linalg.svdvals(w)[0].item() for w in weights]
    assert tops[:-1] == pytest.approx([1.0] * 3, abs=1e-3), "a hidden matrix stretches"
    assert tops[-1] > 1.5, "the last matrix sets the scale of the scores and is left free"


def test_spectral_norm_of_a_diagonal() -> None:
    """diag(2, 3, 0.5) becomes diag(2/3, 1, 1/6) (Miyato et al. 2018)."""
    net = mlp.Config(width=4, depth=1, spectral=True).build((3,), (1,))
    layer = net.first.linear
    with torch.no_grad():
        layer.parametrizations.weight.original.zero_()
        layer.parametrizations.weight.original[:3].copy_(torch.diag(torch.tensor([2.0, 3.0, 0.5])))
    for _ in range(60):
        net(torch.randn(1, 3))
    assert torch.allclose(layer.weight[:3], torch.diag(torch.tensor([2 / 3, 1.0, 1 / 6])), atol=1e-4)


def test_refuses_an_odd_width() -> None:
    with pytest.raises(MaquetteError, match="width should be a positive even number"):
        mlp.Config(width=7)


@pytest.mark.parametrize("fields", [{"widths": (8, 7)}, {"widths": (8, 4), "residual": True}])
def test_widths_that_cannot_be_meant(fields: dict) -> None:
    with pytest.raises(MaquetteError, match="MQ-2002.*widths"):
        mlp.Config(**fields)
