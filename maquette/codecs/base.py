"""The contract of a codec: a reversible change of space that is put between data and a model."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from maquette.core.types import Space


class Codec(nn.Module, ABC):
    """`source` is the space of the samples, `space` that of the codes: what a model behind the codec sees."""

    source: Space
    space: Space

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Samples [b, *source.shape] -> codes [b, *space.shape]."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Codes [b, *space.shape] -> samples [b, *source.shape]."""
