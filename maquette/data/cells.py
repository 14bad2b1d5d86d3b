"""`cells`: stained cells under a microscope; `cells-mask`: where their nuclei are. Drawn stand-ins, no medical data.

For trying how pairs of a picture and its segmentation are learnt and made. The label is the shape of most nuclei; some
are of another shape, so that a picture must be seen as a whole. Nothing here speaks of a disease.
"""

import numpy as np

from maquette.data.dataset import TEST, TRAIN
from maquette.data.drawing import Canvas, Series, to_bytes

CAPTIONS = {
    "round": "cells with round nuclei",
    "long": "cells with long nuclei",
    "lobed": "cells with lobed nuclei",
}
COPIES = {TRAIN: 1000, TEST: 200}
STRANGERS = 0.25
"""Up to this share of the nuclei are of another shape than the label says."""
NUCLEUS = 1

TISSUE = ((0.93, 0.78, 0.86), (0.90, 0.70, 0.80), (0.95, 0.83, 0.88), (0.88, 0.76, 0.88))
STAIN = ((0.42, 0.22, 0.55), (0.35, 0.20, 0.50), (0.50, 0.26, 0.58), (0.30, 0.22, 0.52))


class Slide(Canvas):
    """One field of view: tissue, cell bodies, then nuclei that do not touch."""

    def __init__(self, rng: np.random.Generator, label: str, side: int):
        super().__init__(side)
        self.rng = rng
        self.pixels[:] = TISSUE[rng.integers(len(TISSUE))]
        self.veil(0.16 * (1 + self.waves(5, 3.0)), (0.80, 0.50, 0.66))
        self.veil(0.10 * (1 + self.waves(4, 9.0)), (0.98, 0.92, 0.94))
        stain, strangers = np.array(STAIN[rng.integers(len(STAIN))]), rng.uniform(0, STRANGERS)
        others = [shape for shape in CAPTIONS if shape != label]
        places = self.places(int(rng.integers(6, 15)))
        for x, y, room in places:
            shape = label if rng.random() >= strangers else others[rng.integers(len(others))]
            self.cell(x, y, room, shape, stain)
        self.pixels *= 1 + 0.06 * (1 - 2 * np.hypot(self.x - 0.5, self.y - 0.5))[..., None]  # the lamp's middle

    def waves(self, n: int, pitch: float) -> np.ndarray:
        """A smooth pattern between -1 and 1: the mean of `n` waves in random directions."""
        total = np.zeros_like(self.x)
        for turn, phase, share in self.rng.uniform(0, 1, (n, 3)):
            angle, rate = 2 * np.pi * turn, 2 * np.pi * pitch * (0.5 + share)
            total += np.sin(rate * (self.x * np.cos(angle) + self.y * np.sin(angle)) + 2 * np.pi * phase)
        return total / n

    def places(self, wanted: int) -> list[tuple[float, float, float]]:
        """(x, y, radius) of circles that keep apart; fewer than wanted where there is no room."""
        found: list[tuple[float, float, float]] = []
        for x, y, size in self.rng.uniform(0, 1, (8 * wanted, 3)):
            room = 0.075 + 0.045 * size
            if len(found) < wanted and all(np.hypot(x - a, y - b) > room + c for a, b, c in found):
                found.append((x, y, room))
        return found

    def cell(self, x: float, y: float, room: float, shape: str, stain: np.ndarray) -> None:
        turn, shade, stretch = self.rng.uniform(0, np.pi), self.rng.uniform(0.85, 1.15), self.rng.uniform(1.2, 1.5)
        self.put(self.disc(x, y, room * stretch, room * 1.1, turn), (0.86, 0.60, 0.74), opacity=0.45)
        nucleus = self.nucleus(x, y, room, shape, turn)
        self.put(nucleus, stain * shade, NUCLEUS)
        inside = np.clip(0.5 - nucleus * self.side, 0, 1)
        self.veil(inside * 0.25 * np.clip(1 + nucleus / (0.5 * room), 0, 1), stain * 0.45)  # a dark rim
        light = self.disc(x - 0.2 * room, y - 0.2 * room, 0.45 * room)
        self.veil(inside * 0.30 * np.clip(-light / (0.45 * room), 0, 1), stain + 0.35)
        for right, down in self.rng.uniform(-0.35, 0.35, (2, 2)):
            spot = self.disc(x + right * room, y + down * room, 0.10 * room)
            self.veil(inside * np.clip(0.5 - spot * self.side, 0, 1) * 0.6, stain * 0.5)

    def nucleus(self, x: float, y: float, room: float, shape: str, turn: float) -> np.ndarray:
        if shape == "round":
            return self.disc(x, y, 0.66 * room, 0.58 * room, turn)
        if shape == "long":
            return self.disc(x, y, 0.98 * room, 0.32 * room, turn)
        lobes = [turn + 2.1 * i for i in range(3)]
        discs = [self.disc(x + 0.42 * room * np.cos(a), y + 0.42 * room * np.sin(a), 0.36 * room) for a in lobes]
        return np.min(discs, 0)


def _picture(rng: np.random.Generator, label: str, side: int) -> np.ndarray:
    return to_bytes(Slide(rng, label, side).pixels)


def _mask(rng: np.random.Generator, label: str, side: int) -> np.ndarray:
    """White nuclei on black."""
    shown = np.where(Slide(rng, label, side).kinds == NUCLEUS, 255, 0).astype(np.uint8)
    return np.repeat(shown[..., None], 3, 2)


PICTURES = Series("cells", 1, CAPTIONS, COPIES, _picture)
MASKS = Series("cells-mask", 1, CAPTIONS, COPIES, _mask)
