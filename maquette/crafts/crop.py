"""The middle of pictures and films: what a model of outpainting is given."""

from dataclasses import dataclass, replace
from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from maquette.core.seeds import Seeds
from maquette.core.types import Real
from maquette.crafts import hiding
from maquette.crafts.base import FILMS, PICTURES, Given, Samples, by_frame


@dataclass(frozen=True, kw_only=True)
class Config(hiding.HidingConfig):
    """The border is hidden; a person brings the middle alone."""

    suits: ClassVar[tuple[int, ...]] = (PICTURES, FILMS)

    share: float = 0.5
    """Of each side that is left."""

    def __post_init__(self) -> None:
        self.check(0 < self.share < 1, "share", "between 0 and 1")

    def space(self, of: Real) -> Real:
        space = super().space(of)
        if min(map(self._middle, of.shape[-2:])) < 1:
            raise self.impossible(of, f"nothing of it is left at a share of {self.share:g}")
        return space

    def take(self, x: Samples, rng: Seeds) -> Given:
        return hiding.hide(x, self._hidden(x).expand(len(x), 1, *x.shape[2:]))

    def brought(self, of: Real) -> Real:
        *others, h, w = of.shape
        return replace(of, shape=(*others, self._middle(h), self._middle(w)))

    def bring(self, sample: Samples, of: Real, hidden: Bool[Tensor, "1 1 *holes"] | None = None) -> Given:
        whole = F.pad(super().bring(sample, of, hidden), self._margins(of))
        return self.take(whole, Seeds.for_samples(0, len(whole)))

    def simpler(self, given: Given, of: Real) -> dict[str, Samples]:
        left, _, top, _ = margins = self._margins(of)
        *_, h, w = self.brought(of).shape
        inner = given[:, :-1, ..., top : top + h, left : left + w]
        repeated = by_frame(lambda pictures: F.pad(pictures, margins, mode="replicate"), inner)
        return {**hiding.fills(given), "border repeated": repeated}

    def _middle(self, side: int) -> int:
        return round(side * self.share)

    def _margins(self, of: Real) -> tuple[int, int, int, int]:
        """Hidden columns on the left and the right, hidden rows above and below."""
        *_, h, w = of.shape
        across, down = w - self._middle(w), h - self._middle(h)
        return across // 2, across - across // 2, down // 2, down - down // 2

    def _hidden(self, x: Samples) -> Float[Tensor, "1 1 *space"]:
        space = Real(tuple(x.shape[1:]))
        _, *sides = self.brought(space).shape
        return F.pad(x.new_zeros(1, 1, *sides), self._margins(space), value=1.0)
