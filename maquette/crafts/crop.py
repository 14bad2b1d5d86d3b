"""The middle of pictures: what a model of outpainting is given."""

from dataclasses import dataclass, replace

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from maquette.core.seeds import Seeds
from maquette.core.types import Real
from maquette.crafts import hiding
from maquette.crafts.base import CraftConfig, Given, Pictures


@dataclass(frozen=True, kw_only=True)
class Config(CraftConfig):
    """The border is hidden; a person brings a picture of the middle alone."""

    share: float = 0.5
    """Of each side that is left."""

    def __post_init__(self) -> None:
        self.check(0 < self.share < 1, "share", "between 0 and 1")

    def space(self, of: Real) -> Real:
        c, h, w = super().space(of).shape
        if min(self._middle(h), self._middle(w)) < 1:
            raise self.impossible(of, f"nothing of it is left at a share of {self.share:g}")
        return replace(of, shape=(c + 1, h, w))

    def take(self, x: Pictures, rng: Seeds) -> Given:
        return hiding.hide(x, self._hidden(x).expand(len(x), -1, -1, -1))

    def brought(self, of: Real) -> Real:
        c, h, w = of.shape
        return replace(of, shape=(c, self._middle(h), self._middle(w)))

    def bring(self, picture: Pictures, of: Real, hidden: Bool[Tensor, "1 1 h w"] | None = None) -> Given:
        whole = F.pad(super().bring(picture, of, hidden), self._margins(of))
        return self.take(whole, Seeds.for_samples(0, len(whole)))

    def keep(self, made: Pictures, given: Given) -> Pictures:
        return hiding.keep_known(made, given)

    def simpler(self, given: Given, of: Real) -> dict[str, Pictures]:
        left, _, top, _ = self._margins(of)
        _, h, w = self.brought(of).shape
        inner = given[:, :-1, top : top + h, left : left + w]
        return {**hiding.fills(given), "border repeated": F.pad(inner, self._margins(of), mode="replicate")}

    def _middle(self, side: int) -> int:
        return round(side * self.share)

    def _margins(self, of: Real) -> tuple[int, int, int, int]:
        """Hidden columns on the left and the right, hidden rows above and below."""
        _, h, w = of.shape
        across, down = w - self._middle(w), h - self._middle(h)
        return across // 2, across - across // 2, down // 2, down - down // 2

    def _hidden(self, x: Pictures) -> Float[Tensor, "1 1 h w"]:
        space = Real(tuple(x.shape[1:]))
        _, h, w = self.brought(space).shape
        return F.pad(x.new_zeros(1, 1, h, w), self._margins(space), value=1.0)
