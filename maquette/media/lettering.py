"""Words on pictures: the visible label, and the titles of a sheet's columns."""

import io
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image as pillow
from PIL import ImageDraw, ImageFont

from maquette.core.errors import MaquetteError

TITLE_HEIGHT = 18
"""Pixels that a sheet keeps free above its columns for their titles."""
LABEL_SHARE = 0.05
"""GB 45438-2025: a visible label is at least this share of the picture's short side high."""


def typefaces() -> Path:
    """The folder of typefaces that Matplotlib ships: DejaVu, STIX and Computer Modern."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


@cache
def typeface_for(text: str) -> str:
    """A typeface file that has every character of `text`: DejaVu Sans, else the first of the system's that does.

    Raises:
        MaquetteError: MQ-3016 when none has.
    """
    wanted = {ord(c) for c in text if not c.isspace()}
    own = str(typefaces() / "DejaVuSans.ttf")
    if wanted <= _characters(own):
        return own
    from matplotlib import font_manager  # looks through the system's typefaces when imported: seconds the first time

    for path in sorted(font_manager.findSystemFonts()):
        if wanted <= _characters(path):
            return path
    raise MaquetteError("MQ-3016", text=text)


def _characters(path: str) -> set[int]:
    """The code points that a typeface has; none when the file only looks like a typeface."""
    from matplotlib import ft2font

    try:
        return set(ft2font.FT2Font(path).get_charmap())
    except (RuntimeError, OSError):
        return set()


def label(item: np.ndarray, text: str) -> np.ndarray:
    """uint8 [h, w, c], or frames of it, with `text`, white on a dark band along its lower edge, wrapped to its width.

    The letters are as high as legibility wants (an eighth of the short side), smaller where the text would not fit,
    and never below `LABEL_SHARE` of the short side; what even then does not fit is cut at the edge.
    """
    height, width, _ = item.shape[-3:]
    font, capital, lines, step = _fitted(text, width - 2, height, min(height, width))
    band = min(height, len(lines) * step + 1)
    grey = pillow.new("L", (width, band), 0)
    draw = ImageDraw.Draw(grey)
    for i, line in enumerate(lines):
        draw.text((1, i * step + capital + 1), line, fill=255, font=font, anchor="ls")
    ink = np.asarray(grey, dtype=np.float32)[:, :, None] / 255
    labelled = item.copy()
    under = item[..., height - band :, :, :]
    labelled[..., height - band :, :, :] = np.round(255 * ink + under * 0.25 * (1 - ink)).astype(np.uint8)
    return labelled


def title(sheet: pillow.Image, text: str, left: int, width: int, top: int = 0) -> None:
    """`text` centred over what begins at `left`, `TITLE_HEIGHT` below `top`, shortened until it fits."""
    font = ImageFont.truetype(str(typefaces() / "DejaVuSans.ttf"), 11)
    shown = text
    while shown and font.getlength(shown) > width:
        text = text[:-1]
        shown = text + "…" if text else ""
    draw = ImageDraw.Draw(sheet)
    draw.text(
        (left + width / 2, top + TITLE_HEIGHT - 3),
        shown,
        fill=32 if sheet.mode == "L" else (32, 32, 32),
        font=font,
        anchor="ms",
    )


def page(texts: Sequence[str], titles: Sequence[str] | None = None, width: int = 640, lines: int = 8) -> bytes:
    """A PNG with the first `lines` lines of each text, in a typeface that has its characters where there is one."""
    blocks = []
    for i, text in enumerate(texts):
        shown = "".join(c if c.isprintable() or c == "\n" else " " for c in text[: 200 * lines])
        try:
            path = typeface_for(shown)
        except MaquetteError:
            path = str(typefaces() / "DejaVuSans.ttf")
        font = ImageFont.truetype(path, 13)
        wrapped = [piece for line in shown.split("\n") for piece in _filled(line, font, width - 16)]
        head = [f"[{titles[i % len(titles)]}]"] if titles else []
        blocks.append((font, [*head, *wrapped][:lines]))
    height = sum(8 + 18 * len(kept) for _, kept in blocks) + 8
    sheet = pillow.new("L", (width, height), 255)
    pen, top = ImageDraw.Draw(sheet), 8
    for font, kept in blocks:
        for line in kept:
            pen.text((8, top), line, fill=32, font=font)
            top += 18
        pen.line((8, top + 2, width - 8, top + 2), fill=208)
        top += 8
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _filled(line: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """`line` cut wherever it is as wide as `width`: between any two characters, as Chinese is written."""
    parts, start, advance = [], 0, 0.0
    for i, character in enumerate(line):
        advance += font.getlength(character)
        if advance > width:
            parts.append(line[start:i])
            start, advance = i, font.getlength(character)
    return [*parts, line[start:]]


def _fitted(text: str, width: int, height: int, short: int) -> tuple[ImageFont.FreeTypeFont, int, list[str], int]:
    """The largest lettering that fits into a quarter of the picture, else into half of it, else the least allowed.

    Returns:
        The typeface, the height of its capitals, the lines, and the pixels from line to line.
    """
    path, least = typeface_for(text), max(3, math.ceil(LABEL_SHARE * short))
    sizes = range(max(least, short // 8), least - 1, -1)
    for room, capital in [*((height // 4, c) for c in sizes), *((height // 2, c) for c in sizes)]:
        font, step = _font(path, capital), capital + max(2, capital // 2)
        lines = _wrapped(text, font, width)
        if len(lines) * step <= room and all(font.getlength(line) <= width for line in lines):
            return font, capital, lines, step
    font = _font(path, least)
    return font, least, _wrapped(text, font, width), least + max(2, least // 2)


def _font(path: str, capital: int) -> ImageFont.FreeTypeFont:
    """The typeface at the size whose capitals are at least `capital` pixels high."""
    size = capital
    while True:
        font = ImageFont.truetype(path, size)
        top, bottom = font.getbbox("H", anchor="ls")[1::2]
        if bottom - top >= capital:
            return font
        size += 1


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(word)
    return lines
