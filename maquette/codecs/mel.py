"""Sound as log-mel spectrograms and back by Griffin-Lim: how, stands in `core/spectra.py`."""

from jaxtyping import Float
from torch import Tensor

from maquette.codecs.base import Codec
from maquette.core import spectra
from maquette.core.errors import MaquetteError
from maquette.core.spectra import Bank
from maquette.core.types import Real, Space
from maquette.media.base import Medium


class Mel(Codec):
    """Sound as log-mel spectrograms, each channel by itself: `Real((c, l))` as `Real((c, bands, ceil(l / hop)))`.

    Args:
        source: the space of the samples.
        rate: of the sound, samples per second; it decides the sizes.

    Raises:
        MaquetteError: MQ-2064 when the space is not one of sound.
    """

    hann: Tensor
    weights: Tensor

    def __init__(self, source: Space, rate: int = 8000):
        super().__init__()
        if not isinstance(source, Real) or len(source.shape) != 2 or rate <= 0:
            raise MaquetteError("MQ-2064", kind="mel", given=source)
        self.source, self.rate, self.sizes = source, rate, spectra.sizes(rate)
        channels, self.length = source.shape
        self.space = Real((channels, self.sizes.bands, -(-self.length // self.sizes.hop)))
        for name, tensor in spectra.bank(rate)._asdict().items():
            self.register_buffer(name, tensor.clone())

    @classmethod
    def of(cls, medium: Medium) -> "Mel":
        return cls(medium.space, medium.rate)

    @property
    def bank(self) -> Bank:
        """What spectrograms are made with, on the codec's device."""
        return Bank(self.hann, self.weights)

    def encode(self, x: Float[Tensor, "b c l"]) -> Float[Tensor, "b c bands t"]:
        return spectra.log_mel(x, self.bank)

    def decode(self, z: Float[Tensor, "b c bands t"]) -> Float[Tensor, "b c l"]:
        return spectra.of_log_mel(z, self.bank, self.length)
