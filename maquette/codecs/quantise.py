"""Equally spaced values as tokens and back, exactly: 8-bit pixels, for one."""

from jaxtyping import Float, Int
from torch import Tensor

from maquette.codecs.base import Codec
from maquette.core.errors import MaquetteError
from maquette.core.types import Real, Space, Tokens


def to_levels(x: Float[Tensor, "*shape"], levels: int) -> Int[Tensor, "*shape"]:
    """The number, 0 to `levels` - 1, of the level nearest to each value; what lies outside [-1, 1] is clipped.

    >>> to_levels(torch.tensor([-1.0, 0.0, 1.0, 7.0]), 3).tolist()
    [0, 1, 2, 2]
    """
    return ((x.float() + 1) * ((levels - 1) / 2)).round().clamp(0, levels - 1).long()


def from_levels(number: Int[Tensor, "*shape"], levels: int) -> Float[Tensor, "*shape"]:
    """The value in [-1, 1] of each level, float32.

    >>> from_levels(torch.tensor([0, 1, 2]), 3).tolist()
    [-1.0, 0.0, 1.0]
    """
    return number.float() * (2 / (levels - 1)) - 1


class Quantise(Codec):
    """A `Real` space of a few levels as `Tokens` of the same shape, one token a level.

    Raises:
        MaquetteError: MQ-2060 when the space has no levels to tell apart.
    """

    lossless = pointwise = True

    def __init__(self, source: Space):
        super().__init__()
        if not isinstance(source, Real) or source.levels < 2:
            raise MaquetteError("MQ-2060", given=source)
        self.source, self.space, self.levels = source, Tokens(source.shape, source.levels), source.levels

    def encode(self, x: Float[Tensor, "b *space"]) -> Int[Tensor, "b *space"]:
        return to_levels(x, self.levels)

    def decode(self, z: Int[Tensor, "b *space"]) -> Float[Tensor, "b *space"]:
        return from_levels(z, self.levels)
