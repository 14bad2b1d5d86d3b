"""Residual networks without normalisation: sizes, how they start, and what a critic is told."""

import pytest
import torch
from torch import nn

from maquette.core.errors import MaquetteError
from maquette.core.types import Condition
from maquette.nets import fixup

SMALL = fixup.Config(width=8, widest=16, blocks=2)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [5, 8, 9, 28, 32, 64])
def test_code_to_picture_and_back(size: int, channels: int) -> None:
    up, down = SMALL.build((5,), (channels, size, size)), SMALL.build((channels, size, size), (6,))
    x = up(torch.randn(2, 5))
    assert x.shape == (2, channels, size, size) and down(x).shape == (2, 6)


def test_with_patches_the_largest_map_is_smaller() -> None:
    config = fixup.Config(width=8, widest=16, blocks=1, patch=2)
    up, down = config.build((5,), (3, 32, 28)), config.build((3, 32, 28), (1,))
    assert up.sides[-1] == down.sides[0] == (16, 14)
    assert down(up(torch.randn(2, 5))).shape == (2, 1)
    # each pixel of a picture counts, in a place of its own
    x = torch.zeros(1, 3, 32, 28, requires_grad=True)
    seen = torch.autograd.grad(down.first(torch.nn.functional.pixel_unshuffle(x, 2))[:, :, 5, 5].sum(), x)[0]
    assert (seen != 0).any(1).sum() == 36, "three by three patches of two by two pixels"


@pytest.mark.parametrize("side", [9, 6])
def test_patches_must_divide_the_picture_and_leave_a_map(side: int) -> None:
    with pytest.raises(MaquetteError, match="MQ-2009.*fixup"):
        fixup.Config(patch=2).build((5,), (1, side, side))


def test_nothing_normalises() -> None:
    """Twice the picture, twice the features: but for constants, which start at 0."""
    down = SMALL.build((1, 16, 16), (1,))
    for part in down.modules():
        if isinstance(part, fixup.Block):
            nn.init.normal_(part.leave.weight, 0.0, 0.2)
    x = torch.randn(4, 1, 16, 16)
    assert torch.allclose(down.see(2 * x), 2 * down.see(x), rtol=1e-3, atol=1e-3)


def test_blocks_start_as_nothing() -> None:
    block, h = fixup.Block(2, 8, 4), torch.randn(2, 8, 4, 4)
    assert torch.equal(block(h), h)
    with torch.no_grad():
        nn.init.ones_(block.leave.weight)
    assert not torch.allclose(block(h), h, atol=1e-3)


def test_signals_keep_their_size_at_the_start() -> None:
    torch.manual_seed(0)
    up = fixup.Config().build((64,), (3, 32, 32))
    down = fixup.Config().build((3, 32, 32), (1,))
    assert 0.2 < up(torch.randn(32, 64)).std().item() < 2
    assert 0.05 < down(torch.randn(64, 3, 32, 32)).std().item() < 2


def test_a_critic_is_told_by_projection() -> None:
    net = SMALL.build((1, 8, 8), (1,), vector=3)
    x, v = torch.randn(4, 1, 8, 8), torch.randn(1, 3)
    at = [net(x, condition=Condition(vector=(k * v).expand(4, -1))) for k in (0.0, 1.0, 3.0)]
    assert torch.allclose(at[2] - at[0], 3 * (at[1] - at[0]), atol=1e-5) and (at[1] - at[0]).std() > 1e-4


@pytest.mark.parametrize(
    ("source", "target", "timed"),
    [((2,), (2,), False), ((1, 8, 8), (1, 8, 8), False), ((5,), (1, 3, 3), False), ((5,), (1, 8, 8), True)],
)
def test_refuses_what_it_cannot_map(source: tuple[int, ...], target: tuple[int, ...], timed: bool) -> None:
    with pytest.raises(MaquetteError, match="MQ-2009.*fixup"):
        fixup.Config().build(source, target, timed=timed)


def test_only_a_critic_is_told_a_deviation() -> None:
    with pytest.raises(MaquetteError, match="MQ-2009.*deviation"):
        fixup.Config(deviation=True).build((5,), (1, 8, 8))
    with pytest.raises(MaquetteError, match="MQ-2002"):
        fixup.Config(blocks=0)
