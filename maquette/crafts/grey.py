"""Pictures and films without their colours: what a model of colourisation is given (Zhang et al. 2016)."""

from dataclasses import dataclass, replace
from typing import ClassVar

from maquette.core.seeds import Seeds
from maquette.core.types import Real
from maquette.crafts.base import FILMS, PICTURES, CraftConfig, Given, Samples, grey


@dataclass(frozen=True, kw_only=True)
class Config(CraftConfig):
    """The brightness of each pixel."""

    suits: ClassVar[tuple[int, ...]] = (PICTURES, FILMS)

    def space(self, of: Real) -> Real:
        c, *sides = super().space(of).shape
        if c != 3:
            raise self.impossible(of, "it has no colours; set medium.channels=3")
        return replace(of, shape=(1, *sides))

    def take(self, x: Samples, rng: Seeds) -> Given:
        return grey(x)

    def simpler(self, given: Given, of: Real) -> dict[str, Samples]:
        return {"left grey": given.expand(-1, 3, *given.shape[2:])}
