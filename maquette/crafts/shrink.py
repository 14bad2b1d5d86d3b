"""Pictures averaged down: what a model of super-resolution is given (Dong et al. 2014)."""

from dataclasses import dataclass, replace

from torch.nn import functional as F

from maquette.core.seeds import Seeds
from maquette.core.types import Real
from maquette.crafts.base import CraftConfig, Given, Pictures


@dataclass(frozen=True, kw_only=True)
class Config(CraftConfig):
    """The mean of each block of pixels."""

    factor: int = 4
    """How many times smaller on each side."""

    def __post_init__(self) -> None:
        self.check(2 <= self.factor <= 32, "factor", "a whole number from 2 to 32")

    def space(self, of: Real) -> Real:
        c, *sides = super().space(of).shape
        if any(side % self.factor for side in sides):
            raise self.impossible(of, f"its sides are no multiples of {self.factor}")
        return replace(of, shape=(c, *(side // self.factor for side in sides)))

    def take(self, x: Pictures, rng: Seeds) -> Given:
        return F.avg_pool2d(x, self.factor)

    def simpler(self, given: Given, of: Real) -> dict[str, Pictures]:
        bicubic = F.interpolate(given, size=of.shape[1:], mode="bicubic", align_corners=False).clamp(-1, 1)
        return {"nearest": F.interpolate(given, size=of.shape[1:], mode="nearest"), "bicubic": bicubic}
