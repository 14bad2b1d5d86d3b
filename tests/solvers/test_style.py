"""Gram matrices and losses by hand, and a picture that takes on another's colours."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from maquette.solvers.style import gram, losses, stylise


def features(x: Tensor) -> list[Tensor]:
    """Two layers: the picture itself, and its averages over 2 x 2 pixels."""
    return [x, F.avg_pool2d(x, 2)]


def test_a_gram_matrix_by_hand() -> None:
    maps = torch.tensor([[1.0, 2.0], [0.0, -1.0]]).view(1, 2, 1, 2)
    assert gram(maps).tolist() == [[[5.0, -2.0], [-2.0, 1.0]]]


def test_losses_by_hand() -> None:
    own, other = torch.full((1, 1, 2, 2), 2.0), torch.ones(1, 1, 2, 2)
    found = losses([own], [other], [other], -1)
    assert found.content.item() == pytest.approx(4 * 1 / 2)
    assert found.style.item() == pytest.approx((16 - 4) ** 2 / (4 * 1 * 16))  # N = 1, M = 4


def test_a_content_that_is_its_own_style_has_no_loss() -> None:
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    found = losses(features(x), features(x), features(x), -1)
    assert found.content == 0 and found.style == 0
    torch.testing.assert_close(stylise(x.clamp(-1, 1), x.clamp(-1, 1), features, steps=2), x.clamp(-1, 1))


def test_the_size_of_the_style_does_not_matter() -> None:
    """The same texture on a quarter of the places has the same Gram matrix for each place."""
    tile = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    found = losses([tile.repeat(1, 1, 2, 2)], [tile.repeat(1, 1, 2, 2)], [tile], -1)
    assert found.style.item() == pytest.approx(0, abs=1e-8)


def test_a_picture_takes_on_the_colours_of_another() -> None:
    g = torch.Generator().manual_seed(2)
    content = 0.2 * torch.randn(1, 3, 8, 8, generator=g)
    style = torch.tensor([0.8, -0.6, 0.1]).view(1, 3, 1, 1) + 0.05 * torch.randn(1, 3, 8, 8, generator=g)
    told = []
    made = stylise(content, style, features, strength=1e4, steps=40, say=lambda step, found: told.append(found))
    assert len(told) == 40 and made.abs().max() <= 1 and not made.requires_grad
    assert told[-1].style < 0.1 * told[0].style or told[-1].style < 1e-3
    before = losses(features(content), features(content), features(style), -1).style
    after = losses(features(made), features(content), features(style), -1).style
    assert after < 0.05 * before
    kept = stylise(content, style, features, strength=0.0, steps=3)
    torch.testing.assert_close(kept, content)


def test_features_of_inference_are_no_hindrance() -> None:
    """The verbs draw without gradients; here the picture needs them all the same."""
    with torch.no_grad():
        made = stylise(torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 0.5), features, steps=5)
    assert made.isfinite().all()
