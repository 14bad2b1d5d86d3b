"""What stands where there is no codec, and what likelihoods of codes are counted by."""

import torch

from maquette.codecs.base import Codes, Identity
from maquette.codecs.latent import LatentCodec
from maquette.codecs.quantise import Quantise
from maquette.core.types import Real, Tokens
from maquette.evaluate.scores.likelihood import unit
from maquette.media import image, points

MEDIUM = image.Config(size=8, channels=3).build()


def test_nothing_is_changed() -> None:
    x = torch.randn(3, 3, 8, 8)
    codec = Identity(MEDIUM.space)
    assert codec.space == codec.source == MEDIUM.space and codec.encode(x) is x and codec.decode(x) is x


def test_bits_of_codes_are_bits_of_pictures_only_where_nothing_is_lost() -> None:
    for lossless in Identity(MEDIUM.space), Quantise(MEDIUM.space):
        assert lossless.lossless and lossless.measure(MEDIUM) is MEDIUM
        assert unit(lossless.measure(MEDIUM)) == "bits per dimension"
        assert lossless.measure(MEDIUM).units(lossless.encode(torch.zeros(2, 3, 8, 8))).tolist() == [192, 192]
    assert not LatentCodec.lossless
    grid = Codes(Tokens((2, 4), 16))
    assert unit(grid) == "bits per code" and grid.units(torch.zeros(3, 2, 4)).tolist() == [8, 8, 8]
    assert unit(Codes(Real((4, 2, 2)))) == "nats per sample's codes"
    assert unit(points.Config().build()) == "nats per sample"
