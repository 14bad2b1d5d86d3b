"""`glyphs`: digits and capitals in 21 typefaces, each drawn a little differently every time.

The 34 characters of number plates (I and O are left out: in many faces nobody can tell them from 1 and 0), white on
black, from the typefaces that Matplotlib ships. Size, place, turn and slant are jittered. The split is by typeface: a
model is tested on faces that it has never seen, one of each of the families that it has.
"""

import math
from collections.abc import Iterator
from functools import partial

import numpy as np
from PIL import Image as pillow
from PIL import ImageDraw, ImageFont

from maquette.core import seeds
from maquette.core.seeds import Seeds
from maquette.data.dataset import TEST, TRAIN, Reading, Row, Source
from maquette.media.base import Medium
from maquette.media.lettering import typefaces

CHARACTERS = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"
FACES = {
    TRAIN: (
        "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique",
        "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-BoldOblique",
        "DejaVuSerif", "DejaVuSerif-BoldItalic", "DejaVuSerif-Italic",
        "STIXGeneral", "STIXGeneralBol", "STIXGeneralBolIta",
        "cmb10", "cmr10", "cmti10", "cmtt10",
    ),
    TEST: ("DejaVuSans-BoldOblique", "DejaVuSansMono-Oblique", "DejaVuSerif-Bold", "STIXGeneralItalic", "cmss10"),
}  # fmt: skip
COPIES = {TRAIN: 24, TEST: 16}
"""Drawings of each character in each face."""

CAPITAL = 0.62
"""Height of a capital, as a share of the picture's side, before jitter."""
WIDEST = 0.80
"""Share of the side that the widest characters may take."""
SIZE, SHIFT, TURN, SLANT = 0.10, 0.06, math.radians(7), 0.12
"""Largest jitter each way: factor of size, share of the side, radians, shear."""


def source(medium: Medium, seed: int) -> Source:
    """The set for a medium of square pictures, drawn at its size."""
    return Source(name="glyphs", place="glyphs", key=["glyphs", 1, seed], read=lambda: _reading(medium, seed))


def _reading(medium: Medium, seed: int) -> Reading:
    return Reading(
        rows=_rows(medium, seed),
        count=sum(len(FACES[split]) * len(CHARACTERS) * COPIES[split] for split in FACES),
        classes=list(CHARACTERS),
        licence="typefaces: DejaVu (Bitstream Vera), STIX (STIX Font License), Computer Modern (BaKoMa)",
    )


def _rows(medium: Medium, seed: int) -> Iterator[Row]:
    side = medium.stored[0]
    for number, split in enumerate(FACES):
        for i, face in enumerate(FACES[split]):
            font = ImageFont.truetype(str(typefaces() / f"{face}.ttf"), _height(face, 2 * side))
            n, copies = len(CHARACTERS) * COPIES[split], COPIES[split]
            jitter = Seeds.for_batch(seed, number * 1000 + i, n, stream=seeds.BUILD).uniform(5).numpy() * 2 - 1
            for k, character in enumerate(CHARACTERS):
                plate = _plate(character, font, 2 * side)
                for copy, numbers in enumerate(jitter[k * copies : (k + 1) * copies]):
                    load = partial(_drawn, plate, numbers, medium.stored)
                    yield Row(f"{face}/{character}/{copy:02}", load, split, character)


def _height(face: str, side: int) -> int:
    """The size in pixels at which the capitals of `face` are `CAPITAL` of `side` high."""
    probe = ImageFont.truetype(str(typefaces() / f"{face}.ttf"), 1000).getbbox("H", anchor="ls")
    return round(1000 * CAPITAL * side / (probe[3] - probe[1]))


def _plate(character: str, font: ImageFont.FreeTypeFont, side: int) -> pillow.Image:
    """The character in the middle of a square, at twice the size that is wanted and not yet jittered."""
    plate = pillow.new("L", (side, side), 0)
    left, top, right, bottom = font.getbbox(character, anchor="ls")
    place = (side / 2 - (left + right) / 2, side / 2 - (top + bottom) / 2)
    ImageDraw.Draw(plate).text(place, character, fill=255, font=font, anchor="ls")
    return plate


def _drawn(plate: pillow.Image, jitter: np.ndarray, stored: tuple[int, ...]) -> np.ndarray:
    """One drawing: the plate under the affine map of five numbers in [-1, 1], averaged down to the size wanted."""
    grow, right, down, turn, slant = jitter.tolist()
    side = plate.width
    bounds = plate.getbbox() or (0, 0, side, side)
    scale = min(1 + SIZE * grow, WIDEST * side / (bounds[2] - bounds[0]))
    cos, sin, shear = math.cos(TURN * turn) / scale, math.sin(TURN * turn) / scale, SLANT * slant
    # Pillow wants the map from the drawing back to the plate: first the turn, then the slant, about the centre.
    a, b, d, e = cos + shear * sin, -sin + shear * cos, sin, cos
    x, y = side * (0.5 + SHIFT * right), side * (0.5 + SHIFT * down)
    back = (a, b, side / 2 - a * x - b * y, d, e, side / 2 - d * x - e * y)
    drawn = plate.transform((side, side), pillow.Transform.AFFINE, back, pillow.Resampling.BILINEAR).reduce(2)
    return np.broadcast_to(np.asarray(drawn)[:, :, None], stored).copy()
