"""Drawing with arrays: shapes with soft edges on a square, measured in shares of its side, and sets of such drawings.

A shape is its distance: negative inside, positive outside, so that one drawing looks alike at every size, and a small
one is what a large one becomes when it is averaged down. What a pixel shows is noted beside its colour, which gives
each picture its exact layout.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from maquette.core import seeds
from maquette.core.colour import LUMA
from maquette.data.dataset import Reading, Row, Source
from maquette.media.base import Medium

Number = int | float


class Canvas:
    """A square of `side` pixels. x goes right and y down, both from 0 to 1.

    Attributes:
        pixels: float [side, side, 3] in [0, 1].
        kinds: uint8 [side, side], what each pixel shows.
    """

    def __init__(self, side: int):
        centres = (np.arange(side) + 0.5) / side
        self.side = side
        self.x, self.y = np.meshgrid(centres, centres)
        self.pixels, self.kinds = np.zeros((side, side, 3)), np.zeros((side, side), np.uint8)

    def put(self, distance: np.ndarray, colour: object, kind: int | None = None, opacity: float = 1.0) -> None:
        """Paint a shape; an edge covers its pixels in part."""
        self.veil(np.clip(0.5 - distance * self.side, 0, 1) * opacity, colour)
        if kind is not None:
            self.kinds[distance < 0] = kind

    def veil(self, share: np.ndarray | float, colour: object) -> None:
        """Mix in `share` of a colour: one for all, or one for each pixel."""
        self.pixels += np.asarray(share)[..., None] * (np.asarray(colour) - self.pixels)

    def shine(self, x: Number, y: Number, reach: Number, colour: object) -> None:
        """Add a light that falls off with the square of the distance from (x, y)."""
        square = ((self.x - x) ** 2 + (self.y - y) ** 2) / reach**2
        self.pixels += np.exp(-square)[..., None] * np.asarray(colour)

    def disc(self, x: Number, y: Number, rx: Number, ry: Number = 0.0, turn: Number = 0.0) -> np.ndarray:
        """An ellipse with these half axes, turned by `turn` radians (its distance is exact for a circle)."""
        ry = ry or rx
        right, down = self.x - x, self.y - y
        u, v = right * np.cos(turn) + down * np.sin(turn), down * np.cos(turn) - right * np.sin(turn)
        return (np.hypot(u / rx, v / ry) - 1) * min(rx, ry)

    def box(self, left: Number, top: Number, right: Number, bottom: Number, corner: Number = 0.0) -> np.ndarray:
        """A rectangle with corners of radius `corner`."""
        u = np.abs(self.x - (left + right) / 2) - (right - left) / 2 + corner
        v = np.abs(self.y - (top + bottom) / 2) - (bottom - top) / 2 + corner
        return np.hypot(np.maximum(u, 0), np.maximum(v, 0)) + np.minimum(np.maximum(u, v), 0) - corner

    def bar(self, ax: Number, ay: Number, bx: Number, by: Number, half: Number) -> np.ndarray:
        """A line from a to b, `half` as thick to each side, with round ends."""
        across, along = bx - ax, by - ay
        share = np.clip(((self.x - ax) * across + (self.y - ay) * along) / (across**2 + along**2), 0, 1)
        return np.hypot(self.x - ax - share * across, self.y - ay - share * along) - half

    def convex(self, *corners: tuple[Number, Number]) -> np.ndarray:
        """A convex polygon, its corners in clockwise order as one sees them."""
        sides = []
        for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]], strict=True):
            length = np.hypot(bx - ax, by - ay)
            sides.append(((self.x - ax) * (by - ay) - (self.y - ay) * (bx - ax)) / length)
        return np.max(sides, 0)


Paint = Callable[[np.random.Generator, str, int], np.ndarray]
"""(numbers to draw by, the label, pixels on a side) -> uint8 [side, side, 3]."""


@dataclass(frozen=True)
class Series:
    """A set of drawings: so many of each label in each split, all different.

    Attributes:
        version: is raised when the same seed gives other drawings than before.
        captions: label -> what a picture of it shows, in words.
        copies: split -> drawings of each label.
    """

    name: str
    version: int
    captions: dict[str, str]
    copies: dict[str, int]
    paint: Paint

    def source(self, medium: Medium, seed: int) -> Source:
        """The set for a medium of square pictures, drawn at its size."""
        read = partial(self._reading, medium, seed)
        return Source(name=self.name, place=self.name, key=[self.name, self.version, seed], read=read)

    def _reading(self, medium: Medium, seed: int) -> Reading:
        count = len(self.captions) * sum(self.copies.values())
        licence = "none needed: drawn by this program"
        return Reading(rows=self._rows(medium, seed), count=count, classes=list(self.captions), licence=licence)

    def _rows(self, medium: Medium, seed: int) -> Iterator[Row]:
        for number, (split, copies) in enumerate(self.copies.items()):
            for copy in range(copies):
                for place, (label, caption) in enumerate(self.captions.items()):
                    key = seeds.mix(seed, seeds.BUILD, number, copy, place)
                    load = partial(self._item, key, label, medium.stored)
                    yield Row(f"{split}/{label}/{copy:03}", load, split, label, caption)

    def _item(self, key: int, label: str, stored: Sequence[int]) -> np.ndarray:
        drawn = self.paint(np.random.default_rng(key), label, stored[0])
        return drawn if stored[2] == 3 else np.rint(drawn @ np.array(LUMA)).astype(np.uint8)[..., None]


def to_bytes(pixels: np.ndarray) -> np.ndarray:
    """Colours in [0, 1] as uint8; what shines brighter is cut off."""
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
