"""Equally spaced values as tokens place by place, the channels of each place together: series in order of time."""

from jaxtyping import Float, Int
from torch import Tensor

from maquette.codecs.quantise import Quantise
from maquette.core.errors import MaquetteError
from maquette.core.types import Space, Tokens


class Interleave(Quantise):
    """As `Quantise`, with the channels as the tokens' last axis: who reads a series one token after another knows all
    columns of the steps before.

    Raises:
        MaquetteError: MQ-2060 when the space has no levels to tell apart, or no places.
    """

    def __init__(self, source: Space):
        super().__init__(source)
        if len(source.shape) < 2:
            raise MaquetteError("MQ-2060", given=source)
        self.space = Tokens((*source.shape[1:], source.shape[0]), self.levels)

    def encode(self, x: Float[Tensor, "b c *places"]) -> Int[Tensor, "b *places c"]:
        return super().encode(x).movedim(1, -1).contiguous()

    def decode(self, z: Int[Tensor, "b *places c"]) -> Float[Tensor, "b c *places"]:
        return super().decode(z).movedim(-1, 1).contiguous()
