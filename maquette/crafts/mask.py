"""Pictures and films with holes: what a model of inpainting is given. Strokes after Yu et al. (2019), and boxes."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Real
from maquette.crafts import hiding
from maquette.crafts.base import FILMS, PICTURES, Given, Samples

BENDS = 3
"""Straight pieces of a stroke."""


@dataclass(frozen=True, kw_only=True)
class Config(hiding.HidingConfig):
    """Holes of random shape and place, other ones each time; in a film they are there from its first frame to its
    last."""

    suits: ClassVar[tuple[int, ...]] = (PICTURES, FILMS)

    holes: Literal["mixed", "strokes", "boxes"] = "mixed"
    """mixed: of each picture either strokes or a box."""
    strokes: int = 3
    """How many a picture has."""
    width: tuple[float, float] = (0.1, 0.25)
    """Of the thinnest and the thickest stroke, as shares of the picture's side."""
    box: tuple[float, float] = (0.25, 0.6)
    """Of the shortest and the longest side of a box."""
    drift: float = 0.0
    """Of films: how far holes move at most from one frame to the next, as a share of each side."""

    def __post_init__(self) -> None:
        self.check(1 <= self.strokes <= 32, "strokes", "a whole number from 1 to 32")
        for name in ("width", "box"):
            low, high = getattr(self, name)
            self.check(0 < low <= high <= 1, name, "two rising shares in (0, 1]")
        self.check(0 <= self.drift <= 0.5, "drift", "a share from 0 to 0.5")

    def take(self, x: Samples, rng: Seeds) -> Given:
        *time, h, w = x.shape[2:]
        strokes, box = self._strokes(h, w, rng.fork(0)), self._box(h, w, rng.fork(1))
        share = {"strokes": 1.0, "mixed": 0.5, "boxes": 0.0}[self.holes]
        hidden = torch.where(rng.fork(2).uniform(1, 1) < share, strokes, box)
        if time:
            hidden = _moving(hidden, self.drift * (2 * rng.fork(3).uniform(2) - 1), *time)
        return hiding.hide(x, hidden[:, None].to(x))

    def bring(self, sample: Samples, of: Real, hidden: Bool[Tensor, "1 1 *holes"] | None = None) -> Given:
        if hidden is None:
            raise MaquetteError("MQ-2105", first="image", second="mask")
        return hiding.hide(sample, hidden.to(sample).expand(len(sample), 1, *sample.shape[2:]))

    def simpler(self, given: Given, of: Real) -> dict[str, Samples]:
        seen = {"linear in time": hiding.bridged(given)} if self.drift and given.ndim > 4 else {}
        return hiding.fills(given) | seen

    def _strokes(self, h: int, w: int, rng: Seeds) -> Bool[Tensor, "b h w"]:
        """Lines that bend at random, each of one width."""
        low, high = self.width
        here = rng.uniform(self.strokes, 2)
        here = here * here.new_tensor([h, w])
        angle = 2 * math.pi * rng.uniform(self.strokes)
        radius = (low + (high - low) * rng.uniform(self.strokes)) * min(h, w) / 2
        y, x = (torch.arange(n, device=here.device) + 0.5 for n in (h, w))
        hidden = torch.zeros(len(here), h, w, dtype=torch.bool, device=here.device)
        for _ in range(BENDS):
            length = (0.1 + 0.3 * rng.uniform(self.strokes)) * min(h, w)
            step = torch.stack([angle.sin(), angle.cos()], -1) * length[..., None]
            for number in range(self.strokes):
                hidden |= _near(here[:, number], step[:, number], radius[:, number], y, x)
            here = here + step
            angle = angle + math.pi * (rng.uniform(self.strokes) - 0.5)
        return hidden

    def _box(self, h: int, w: int, rng: Seeds) -> Bool[Tensor, "b h w"]:
        low, high = self.box
        inside = []
        for side in (h, w):
            length = ((low + (high - low) * rng.uniform()) * side).round().clamp(min=1)
            first = (rng.uniform() * (side - length + 1)).floor()
            at = torch.arange(side, device=first.device)
            inside.append((at >= first[:, None]) & (at < (first + length)[:, None]))
        return inside[0][:, :, None] & inside[1][:, None, :]


def _moving(hidden: Bool[Tensor, "b h w"], step: Float[Tensor, "b 2"], frames: int) -> Bool[Tensor, "b frames h w"]:
    """Holes that go down and across by `step`, shares of the sides, from one frame to the next; what leaves on one side
    comes in on the other."""
    moved = []
    for number in range(frames):
        rows, columns = (
            (torch.arange(side, device=hidden.device) - (number * side * step[:, axis, None]).round().long()) % side
            for axis, side in enumerate(hidden.shape[1:])
        )
        each = torch.arange(len(hidden), device=hidden.device)[:, None, None]
        moved.append(hidden[each, rows[:, :, None], columns[:, None, :]])
    return torch.stack(moved, dim=1)


def _near(
    start: Float[Tensor, "b 2"], step: Float[Tensor, "b 2"], radius: Float[Tensor, " b"], y: Tensor, x: Tensor
) -> Bool[Tensor, "b h w"]:
    """Pixels at most `radius` away from the line from `start` to `start + step`."""
    dy, dx = y[None, :, None] - start[:, 0, None, None], x[None, None, :] - start[:, 1, None, None]
    sy, sx = step[:, 0, None, None], step[:, 1, None, None]
    along = ((dy * sy + dx * sx) / (sy**2 + sx**2).clamp(min=1e-6)).clamp(0, 1)
    return (dy - along * sy) ** 2 + (dx - along * sx) ** 2 <= radius[:, None, None] ** 2
