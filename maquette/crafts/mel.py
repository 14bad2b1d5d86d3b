"""Spectrograms of sound: what a model is given that turns them into sound (van den Oord et al. 2018, section 4)."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Bool
from torch import Tensor

from maquette.core import spectra
from maquette.core.seeds import Seeds
from maquette.core.types import Real
from maquette.crafts.base import SOUND, CraftConfig, Given, Samples


@dataclass(frozen=True, kw_only=True)
class Config(CraftConfig):
    """The log-mel spectrogram of each channel (`core/spectra.py`), a channel a band; a person brings sound."""

    suits: ClassVar[tuple[int, ...]] = (SOUND,)

    rate: int = 8000
    """Of the sound, samples per second: that of the medium."""

    def __post_init__(self) -> None:
        self.check(1000 <= self.rate <= 192_000, "rate", "a whole number from 1000 to 192000")

    def space(self, of: Real) -> Real:
        channels, length = super().space(of).shape
        hop, _, bands = spectra.sizes(self.rate)
        return Real((channels * bands, -(-length // hop)))

    def at(self, rate: int, of: Real) -> None:
        if rate != self.rate:
            raise self.impossible(
                f"sound of rate {rate}", f"its spectrograms are of rate {self.rate}", f"set data.given.rate={rate}"
            )

    def take(self, x: Samples, rng: Seeds) -> Given:
        return spectra.log_mel(x, spectra.bank(self.rate).to(x.device)).flatten(1, 2)

    def brought(self, of: Real) -> Real:
        return of

    def bring(self, sample: Samples, of: Real, hidden: Bool[Tensor, "1 1 *holes"] | None = None) -> Given:
        return self.take(super().bring(sample, of, hidden), Seeds.for_samples(0, len(sample)))

    def simpler(self, given: Given, of: Real) -> dict[str, Samples]:
        return {"Griffin-Lim": self.shown(given, of)}

    def shown(self, given: Given, of: Real) -> Samples:
        each = given.unflatten(1, (of.shape[0], -1))
        return spectra.of_log_mel(each, spectra.bank(self.rate).to(given.device), of.shape[1])
