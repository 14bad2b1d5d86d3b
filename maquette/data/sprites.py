"""`sprites`: things of a game in eight colours, drawn in pixels: 16 x 16 of them, enlarged to the size that is wanted.

Swords, potions, slimes, bricks: twelve kinds of icons, characters and tiles. The label says colour and kind ("red
potion"), so that a model may be asked for a colour and a kind that it has never seen together.
"""

import numpy as np
from PIL import Image as pillow

from maquette.data.dataset import TEST, TRAIN
from maquette.data.drawing import Canvas, Number, Series, to_bytes

COLOURS = {
    "red": (0.86, 0.20, 0.22),
    "orange": (0.95, 0.55, 0.15),
    "yellow": (0.96, 0.83, 0.25),
    "green": (0.30, 0.70, 0.32),
    "blue": (0.25, 0.45, 0.90),
    "purple": (0.55, 0.28, 0.76),
    "pink": (0.98, 0.56, 0.74),
    "grey": (0.58, 0.60, 0.64),
}
KINDS = ("sword", "shield", "potion", "gem", "heart", "key", "mushroom", "slime", "ghost", "flower", "chest", "bricks")
TILES = ("bricks",)
"""Those that fill the square, without an outline."""
CAPTIONS = {
    f"{colour} {kind}": f"{colour} {kind}"
    if kind in TILES
    else f"{'an' if colour == 'orange' else 'a'} {colour} {kind}"
    for colour in COLOURS
    for kind in KINDS
}
COPIES = {TRAIN: 40, TEST: 8}

GRID = 16
NOTHING, MAIN, PALE, METAL, WOOD, DARK, LEAF, SHINE = range(8)
MATERIALS = ((0, 0, 0), (0, 0, 0), (0.96, 0.92, 0.84), (0.74, 0.77, 0.83), (0.58, 0.38, 0.20), (0.12, 0.10, 0.16),
             (0.28, 0.58, 0.26), (1.0, 1.0, 1.0))  # fmt: skip
"""Colour of each material; that of `MAIN` is the label's."""
GROUNDS = ((0.95, 0.94, 0.90), (0.17, 0.16, 0.24), (0.64, 0.81, 0.93))


class Sprite(Canvas):
    """What each pixel is made of, drawn in the units of the grid and shaded when all is there."""

    def __init__(self, rng: np.random.Generator, label: str):
        super().__init__(GRID)
        self.rng, (self.colour, self.kind) = rng, label.split()
        self.x, self.y = self.x * GRID, self.y * GRID
        if self.kind not in TILES:
            right, down = rng.integers(-1, 2, 2)
            self.x, self.y = self.x - right, self.y - down
            if rng.random() < 0.5:
                self.x = GRID - self.x
        getattr(self, self.kind)()

    def fill(self, distance: np.ndarray, material: int) -> None:
        self.kinds[distance < 0] = material

    def between(self, low: Number, high: Number) -> float:
        return float(self.rng.uniform(low, high))

    def sword(self) -> None:
        tip = self.between(11.5, 13.5)
        self.fill(self.bar(5, 11, tip, 16 - tip, self.between(0.8, 1.3)), MAIN)
        self.fill(self.bar(3, 13, 5, 11, 0.7), WOOD)
        reach = self.between(1.6, 2.6)
        self.fill(self.bar(5.5 - reach, 10.5 - reach, 5.5 + reach, 10.5 + reach, 0.7), METAL)
        self.fill(self.disc(2.8, 13.2, 1.1), METAL)

    def shield(self) -> None:
        half, waist = self.between(4.2, 5.4), self.between(7.5, 9.5)
        rim = [(8 - half, 2.5), (8 + half, 2.5), (8 + half, waist), (8, 14), (8 - half, waist)]
        self.fill(self.convex(*rim), METAL)
        self.fill(self.convex(*rim) + 1.1, MAIN)
        emblem = self.rng.integers(4)
        if emblem == 0:
            self.fill(np.minimum(self.box(7, 4, 9, 12), self.box(4.5, 6, 11.5, 8)), PALE)
        elif emblem == 1:
            self.fill(self.disc(8, 7.2, 2), PALE)
        elif emblem == 2:
            self.fill(np.maximum(self.convex(*rim) + 1.1, self.x - 8), PALE)

    def potion(self) -> None:
        wide, level = self.between(3.8, 5.0), self.between(7.5, 10.0)
        flask = np.minimum(self.disc(8, 10, wide, 4.2), self.box(6.6, 4, 9.4, 8))
        self.fill(flask, PALE)
        self.fill(np.maximum(flask + 0.6, level - self.y), MAIN)
        self.fill(self.box(6.2, 2.2, 9.8, 4.2), WOOD)
        self.fill(self.disc(8 - 0.45 * wide, 10, 0.8), SHINE)

    def gem(self) -> None:
        half, top = self.between(4.0, 5.6), self.between(2.5, 4.5)
        girdle = top + 3.2
        table = 0.55 * half
        self.fill(
            self.convex((8 - table, top), (8 + table, top), (8 + half, girdle), (8, 13.8), (8 - half, girdle)), MAIN
        )
        cut = self.rng.random() < 0.5
        self.fill(
            np.where(self.kinds == MAIN, self.box(2, girdle - 0.5, 14, girdle + 0.5), 1.0), SHINE if cut else MAIN
        )
        self.fill(self.bar(8 - table, top + 1.6, 8 - 0.4 * table, girdle + 2.5, 0.6), SHINE)

    def heart(self) -> None:
        spread, size = self.between(2.2, 2.7), self.between(2.6, 3.2)
        for side in (-1, 1):
            self.fill(self.disc(8 + side * spread, 6, size), MAIN)
        wide = spread + size - 0.4
        self.fill(self.convex((8 - wide, 7), (8 + wide, 7), (8, 13.5)), MAIN)
        self.fill(self.disc(8 - spread - 0.4, 5.3, 0.9), SHINE)

    def key(self) -> None:
        ring = self.between(2.8, 3.4)
        self.fill(np.maximum(self.disc(8, 5, ring), -self.disc(8, 5, ring - 1.9)), MAIN)
        self.fill(self.box(7.2, 5 + ring - 0.7, 8.8, 14), MAIN)
        for tooth in (11.2, 13.2) if self.rng.random() < 0.6 else (13.2,):
            self.fill(self.box(8.5, tooth - 0.8, self.between(10.4, 12.4), tooth + 0.7), MAIN)

    def mushroom(self) -> None:
        wide, tall = self.between(4.8, 6.0), self.between(4.2, 5.4)
        self.fill(self.box(8 - 0.4 * wide, 8, 8 + 0.4 * wide, 13.8, 1.0), PALE)
        self.fill(np.maximum(self.disc(8, 8.6, wide, tall), self.y - 9.2), MAIN)
        spots = [(x, y) for x, y in ((5, 6.5), (8, 5), (11, 6.8), (8.2, 7.6)) if self.rng.random() < 0.75]
        for x, y in spots:
            self.fill(np.where(self.kinds == MAIN, self.disc(x, y, self.between(0.8, 1.2)), 1.0), PALE)

    def slime(self) -> None:
        wide, tall = self.between(5.0, 6.2), self.between(6.0, 9.0)
        self.fill(np.maximum(self.disc(8, 13, wide, tall), self.y - 13.4), MAIN)
        brow = 13 - 0.55 * tall
        self.eyes(8, brow, self.between(1.6, 2.4))
        if self.rng.random() < 0.6:
            self.fill(self.box(7, brow + 1.6, 9, brow + 2.5), DARK)

    def ghost(self) -> None:
        wide = self.between(3.8, 5.0)
        hem = 13.6 - 1.6 * (np.sin(self.x * self.between(1.2, 1.8) + self.between(0, 6)) > 0.2)
        self.fill(
            np.maximum(np.minimum(self.disc(8, 6.8, wide), self.box(8 - wide, 6.8, 8 + wide, 14)), self.y - hem), MAIN
        )
        self.eyes(8, 6.5, self.between(1.3, 2.0))
        if self.rng.random() < 0.5:
            self.fill(self.disc(8, 9.4, 1.0), DARK)

    def eyes(self, x: Number, y: Number, apart: Number) -> None:
        for side in (-1, 1):
            self.fill(self.box(x + side * apart - 0.95, y - 1, x + side * apart + 0.95, y + 1), SHINE)
            self.fill(self.box(x + side * apart - 0.95, y - 0.05, x + side * apart + 0.05, y + 1), DARK)

    def flower(self) -> None:
        self.fill(self.box(7.4, 8, 8.6, 14), LEAF)
        self.fill(self.disc(10, 12, 1.7, 0.9, -0.5), LEAF)
        petals, reach, size = int(self.rng.integers(4, 7)), self.between(2.3, 2.9), self.between(1.5, 2.0)
        for turn in np.arange(petals) * 2 * np.pi / petals + self.between(0, 6):
            self.fill(self.disc(8 + reach * np.cos(turn), 6 + reach * np.sin(turn), size), MAIN)
        self.fill(self.disc(8, 6, self.between(1.3, 1.8)), WOOD if self.colour in ("yellow", "orange") else PALE)

    def chest(self) -> None:
        top = self.between(3.5, 5.5)
        self.fill(self.box(2.5, top, 13.5, 13.5, 1.6), MAIN)
        self.fill(self.box(2.5, 8, 13.5, 13.5), MAIN)
        self.fill(self.box(2.5, 7.1, 13.5, 7.9), DARK)
        for band in (3.5, 12.5) if self.rng.random() < 0.6 else ():
            self.fill(np.where(self.kinds == MAIN, self.box(band - 0.6, top, band + 0.6, 13.5), 1.0), METAL)
        self.fill(self.box(6.9, 7.2, 9.1, 9.8), METAL)

    def bricks(self) -> None:
        self.kinds[:] = MAIN
        tall, wide = int(self.rng.choice((3, 4))), int(self.rng.choice((6, 8)))
        row, first = self.y // tall, int(self.rng.integers(wide))
        self.kinds[(self.y % tall < 1) | ((self.x + first + row * (wide // 2)) % wide < 1)] = DARK

    def shaded(self) -> np.ndarray:
        """Light falls from the upper left in three tones; a dark line goes round everything."""
        jitter = 0.05 * self.rng.normal(size=3)
        palette = np.array(MATERIALS)
        palette[MAIN] = np.clip(np.array(COLOURS[self.colour]) + jitter, 0, 1)
        thing = self.kinds != NOTHING
        height = self.y + 0.6 * np.where(self.x > 8, self.x - 8, 0)
        low, high = height[thing].min(), height[thing].max()
        place = (height - low) / (high - low)
        if self.kind in TILES:
            place = np.broadcast_to(self.rng.uniform(0.2, 0.8, (GRID, GRID)), place.shape)
        base = palette[self.kinds]
        tone = np.where(
            place[..., None] < 0.33, base + 0.28 * (1 - base), np.where(place[..., None] > 0.70, base * 0.74, base)
        )
        plain = np.isin(self.kinds, (DARK, SHINE))
        picture = np.where(plain[..., None], base, tone)
        picture[~thing] = GROUNDS[self.rng.integers(len(GROUNDS))]
        padded = np.pad(thing, 1)
        near = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
        picture[near & ~thing] = palette[MAIN] * 0.28
        return picture


def _picture(rng: np.random.Generator, label: str, side: int) -> np.ndarray:
    art = pillow.fromarray(to_bytes(Sprite(rng, label).shaded()))
    return np.asarray(art.resize((side, side), pillow.Resampling.BOX))


PICTURES = Series("sprites", 1, CAPTIONS, COPIES, _picture)
