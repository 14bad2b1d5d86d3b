"""Pictures without their colours: what a model of colourisation is given (Zhang et al. 2016)."""

from dataclasses import dataclass, replace

from maquette.core.seeds import Seeds
from maquette.core.types import Real
from maquette.crafts.base import CraftConfig, Given, Pictures, grey


@dataclass(frozen=True, kw_only=True)
class Config(CraftConfig):
    """The brightness of each pixel."""

    def space(self, of: Real) -> Real:
        c, h, w = super().space(of).shape
        if c != 3:
            raise self.impossible(of, "it has no colours; set medium.channels=3")
        return replace(of, shape=(1, h, w))

    def take(self, x: Pictures, rng: Seeds) -> Given:
        return grey(x)

    def simpler(self, given: Given, of: Real) -> dict[str, Pictures]:
        return {"left grey": given.expand(-1, 3, -1, -1)}
