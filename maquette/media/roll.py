"""Pictures of music: piano rolls, a colour for each voice."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image as pillow

from maquette.media import lettering
from maquette.media.notes import HELD, Piece, sounding

COLOURS = ((202, 62, 71), (230, 150, 40), (60, 140, 90), (45, 90, 165), (125, 80, 160), (100, 100, 100))
"""Of the voices, the highest first."""
PAPER, OCTAVE, BEGIN = (250, 250, 247), (228, 228, 222), 0.55
"""Behind the notes; the line of each C; how dark the first column of a note is."""
HEIGHT = 3
"""Pixels of a semitone."""
WIDEST = 1500
"""Pixels across a sheet."""


def sheet(pieces: Sequence[Piece], columns: int, titles: Sequence[str] | None = None) -> bytes:
    """A PNG with a panel for each piece, row by row; steps go right and pitch goes up, alike in all panels."""
    heard = [pitch for piece in pieces for pitch in sounding(piece)[piece >= 0].tolist()]
    low, high = (min(heard) - 2, max(heard) + 2) if heard else (58, 62)
    steps = max(1, *map(len, pieces))
    width = max(2, min(6, (480 if len(pieces) > 1 else WIDEST) // steps))
    pad, across, down = 4, steps * width, (high - low + 1) * HEIGHT
    columns = len(titles) if titles else max(1, min(columns, len(pieces), WIDEST // (across + pad)))
    rows, head = -(-len(pieces) // columns), lettering.TITLE_HEIGHT if titles else 0
    page = np.full((head + pad + rows * (down + pad), pad + columns * (across + pad), 3), 255, np.uint8)
    for number, piece in enumerate(pieces):
        top, left = head + pad + number // columns * (down + pad), pad + number % columns * (across + pad)
        page[top : top + down, left : left + across] = _panel(piece, steps, width, low, high)
    picture = pillow.fromarray(page)
    for number, title in enumerate(titles or ()):
        lettering.title(picture, title, pad + number * (across + pad), across)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _panel(piece: Piece, steps: int, width: int, low: int, high: int) -> np.ndarray:
    """uint8 [pixels up, pixels across, 3] of one piece."""
    panel = np.full((high - low + 1, steps, width, 3), PAPER, np.uint8)
    panel[[pitch - low for pitch in range(low, high + 1) if pitch % 12 == 0]] = OCTAVE
    for voice in reversed(range(piece.shape[1])):  # the highest voice lies on top
        colour = np.array(COLOURS[voice % len(COLOURS)])
        here = np.flatnonzero(piece[:, voice] >= 0)
        pitch = sounding(piece)[here, voice] - low
        panel[pitch, here] = colour
        struck = piece[here, voice] < HELD
        panel[pitch[struck], here[struck], 0] = (BEGIN * colour).astype(np.uint8)
    return panel[::-1].reshape(high - low + 1, steps * width, 3).repeat(HEIGHT, 0)
