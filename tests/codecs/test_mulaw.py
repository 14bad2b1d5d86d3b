"""The law by hand, and codes that come back as they were."""

import math

import pytest
import torch

from maquette.codecs.mulaw import MuLaw, compress, expand
from maquette.core.errors import MaquetteError
from maquette.core.types import Real, Tokens


def test_the_law_by_hand() -> None:
    # ln(1 + 255 x) / ln 256: 1/255 becomes 1/8, 3/255 becomes 2/8 … and 15/255 becomes half of the range
    x = torch.tensor([0.0, 1 / 255, 3 / 255, 15 / 255, 1.0, -15 / 255])
    y = torch.tensor([0.0, 0.125, 0.25, 0.5, 1.0, -0.5])
    assert torch.allclose(compress(x), y, atol=1e-6) and torch.allclose(expand(y), x, atol=1e-7)


def test_every_code_comes_back_from_its_value() -> None:
    codec = MuLaw(Real((1, 256), levels=65536))
    code = torch.arange(256)[None]
    value = codec.decode(code)
    assert codec.space == Tokens((256,), 256) and value.shape == (1, 1, 256)
    assert torch.equal(codec.encode(value), code)
    assert value[0, 0, 0] == -1 and value[0, 0, -1] == 1 and (value.diff() > 0).all()


def test_the_quiet_is_told_apart_more_finely_than_the_loud() -> None:
    value = MuLaw(Real((1, 256))).decode(torch.arange(256)[None]).flatten()
    steps = value.diff()
    assert steps[127] < 0.0002 and steps[-1] > 0.02
    x = torch.linspace(-1, 1, 5001)
    codec = MuLaw(Real((1, 5001)))
    back = codec.decode(codec.encode(x[None, None])).flatten()
    # half a step of 2/255 of the bent scale, whose slope is ln 256 (1/255 + |x|) where it is steepest
    assert ((back - x).abs() <= (1 / 255) * math.log(256) * (1 / 255 + x.abs()) * 1.03).all()


def test_what_lies_outside_is_clipped() -> None:
    assert MuLaw(Real((1, 2))).encode(torch.tensor([[[-3.0, 3.0]]])).tolist() == [[0, 255]]


@pytest.mark.parametrize("space", [Real((2, 8)), Real((8,)), Real((1, 8, 8)), Tokens((4,), 5)])
def test_only_mono_sound_is_taken(space) -> None:
    with pytest.raises(MaquetteError, match="MQ-2064"):
        MuLaw(space)
