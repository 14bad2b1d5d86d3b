"""Levels as tokens, the channels of each place together: nothing is lost, and a beginning in time is one of tokens."""

import pytest
import torch

from maquette.codecs.interleave import Interleave
from maquette.codecs.quantise import from_levels
from maquette.core.errors import MaquetteError
from maquette.core.types import Real, Tokens


def test_steps_come_one_after_another() -> None:
    codec = Interleave(Real((2, 3), levels=5))
    assert codec.space == Tokens((3, 2), 5)
    number = torch.tensor([[[0, 1, 2], [4, 3, 2]]])
    z = codec.encode(from_levels(number, 5))
    assert z.tolist() == [[[0, 4], [1, 3], [2, 2]]]
    assert torch.equal(codec.decode(z), from_levels(number, 5))


def test_pictures_come_pixel_by_pixel() -> None:
    codec = Interleave(Real((3, 4, 4), levels=256))
    x = from_levels(torch.randint(256, (2, 3, 4, 4), generator=torch.Generator().manual_seed(0)), 256)
    assert codec.space == Tokens((4, 4, 3), 256) and torch.equal(codec.decode(codec.encode(x)), x)


@pytest.mark.parametrize("space", [Real((2,), levels=5), Real((2, 3)), Tokens((4,), 5)])
def test_a_space_without_levels_or_places_is_refused(space) -> None:
    with pytest.raises(MaquetteError, match="MQ-2060"):
        Interleave(space)
