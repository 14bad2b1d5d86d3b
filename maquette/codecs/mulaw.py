"""Sound as 256 tokens a sample: finely told apart where it is quiet, coarsely where it is loud.

x is bent by F(x) = sign(x) ln(1 + mu |x|) / ln(1 + mu), mu = 255, and then rounded to one of 256 equal steps of
[-1, 1]. The law is ITU-T G.711's (without its approximation by straight pieces), the use of it van den Oord et al.
2016, WaveNet, section 2.2.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from maquette.codecs.base import Codec
from maquette.codecs.quantise import from_levels, to_levels
from maquette.core.errors import MaquetteError
from maquette.core.types import Real, Space, Tokens

CODES = 256
MU = CODES - 1


def compress(x: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """F(x), in [-1, 1] for x in [-1, 1]."""
    return x.sign() * torch.log1p(MU * x.abs()) / math.log1p(MU)


def expand(y: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """The x of F(x) = y."""
    return y.sign() * torch.expm1(y.abs() * math.log1p(MU)) / MU


class MuLaw(Codec):
    """Mono sound `Real((1, l))` as `Tokens((l,), 256)`; a code comes back from its value as it was.

    Raises:
        MaquetteError: MQ-2064 when the space is not one of mono sound.
    """

    def __init__(self, source: Space):
        super().__init__()
        if not isinstance(source, Real) or len(source.shape) != 2 or source.shape[0] != 1:
            raise MaquetteError("MQ-2064", kind="mulaw", given=source)
        self.source, self.space = source, Tokens(source.shape[1:], CODES)

    def encode(self, x: Float[Tensor, "b 1 l"]) -> Int[Tensor, "b l"]:
        return to_levels(compress(x.float().clamp(-1, 1)).squeeze(1), CODES)

    def decode(self, z: Int[Tensor, "b l"]) -> Float[Tensor, "b 1 l"]:
        return expand(from_levels(z, CODES)).unsqueeze(1)
