"""The contract of a codec: a reversible change of space that is put between data and a model."""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from maquette.core.types import Space
from maquette.media.base import Medium


class Codec(nn.Module, ABC):
    """`source` is the space of the samples, `space` that of the codes: what a model behind the codec sees."""

    source: Space
    space: Space
    lossless: ClassVar[bool] = False
    """Whether every sample comes back as it was, so that bits of codes are bits of samples."""

    @classmethod
    def of(cls, medium: Medium) -> "Codec":
        """The codec of a kind that learns nothing, for what `medium` gives; raises when it takes no such thing."""
        return cls(medium.space)  # type: ignore[call-arg]

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Samples [b, *source.shape] -> codes [b, *space.shape]."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Codes [b, *space.shape] -> samples [b, *source.shape]."""

    def measure(self, medium: Medium) -> "Medium | Codes":
        """What likelihoods of a model behind this codec are counted by."""
        return medium if self.lossless else Codes(self.space)


class Identity(Codec):
    """Nothing is changed: where no codec is asked for."""

    lossless = True

    def __init__(self, source: Space):
        super().__init__()
        self.source = self.space = source

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, z: Tensor) -> Tensor:
        return z


class Codes:
    """Counts likelihoods of codes that lose something: per code, as bits of codes are not bits of pictures."""

    unit = "code"

    def __init__(self, space: Space):
        self.space = space

    def units(self, z: Tensor) -> Tensor:
        return torch.full((len(z),), math.prod(self.space.shape))
