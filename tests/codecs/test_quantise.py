"""Equally spaced values as tokens: nothing is lost either way."""

import pytest
import torch

from maquette.codecs.quantise import Quantise, from_levels, to_levels
from maquette.core.errors import MaquetteError
from maquette.core.types import Real, Tokens


@pytest.mark.parametrize("levels", [2, 3, 16, 256, 65_536])
def test_every_level_comes_back(levels: int) -> None:
    codec = Quantise(Real((levels,), levels=levels))
    number = torch.arange(levels)[None]
    value = codec.decode(number)
    assert value[0, 0] == -1 and abs(value[0, -1] - 1) < 1e-6 and (value.diff() > 0).all()
    assert torch.equal(codec.encode(value), number)
    assert torch.equal(codec.decode(codec.encode(value)), value)


def test_eight_bit_pictures_keep_their_bytes() -> None:
    pixels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_levels(pixels.float() / 127.5 - 1, 256), pixels.long())


def test_the_nearest_level_is_taken_and_the_range_is_kept() -> None:
    assert to_levels(torch.tensor([-9.0, -0.51, -0.49, 0.2, 0.6, 9.0]), 3).tolist() == [0, 0, 1, 1, 2, 2]
    assert from_levels(torch.tensor([0, 1, 2, 3, 4]), 5).tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]


def test_the_spaces_are_named() -> None:
    codec = Quantise(Real((1, 4, 4), levels=256))
    assert (codec.source, codec.space) == (Real((1, 4, 4), levels=256), Tokens((1, 4, 4), 256))


@pytest.mark.parametrize("space", [Real((2,)), Tokens((4,), 5)])
def test_a_space_without_levels_is_refused(space) -> None:
    with pytest.raises(MaquetteError, match="MQ-2060"):
        Quantise(space)
