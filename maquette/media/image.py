"""Still pictures: PNG, JPEG, WebP, BMP, GIF and TIFF files <-> squares of 8-bit grey or RGB.

An item is uint8 [size, size, channels]; a sample is float32 [channels, size, size] with x = v / 127.5 - 1, so that the
256 levels span [-1, 1] exactly. What is done to a file on the way in stands at the head of `decode.py`.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image as pillow
from torch import Tensor

from maquette.core.errors import MaquetteError
from maquette.core.exit import Mark
from maquette.core.types import Real
from maquette.media import augment, decode, lettering, marks
from maquette.media.base import Facts, Medium, MediumConfig, read_whole


@dataclass(frozen=True, kw_only=True)
class Config(MediumConfig):
    """Square pictures of one size."""

    size: int = 32
    """Pixels on a side, 8 to 128. Files are cut to their centre square and resized."""
    channels: Literal[1, 3] = 1
    """1 for grey, 3 for RGB."""

    def __post_init__(self) -> None:
        self.check(8 <= self.size <= 128, "size", "a whole number from 8 to 128")

    def build(self) -> "Image":
        return Image(self.size, self.channels)

    def smaller(self, factor: int) -> "Config":
        if self.size % factor or self.size // factor < 8:
            reason = f"{self.size} pixels do not divide into {factor} × at least 8"
            raise MaquetteError("MQ-2103", kind="image", factor=factor, reason=reason)
        return replace(self, size=self.size // factor)


class Image(Medium):
    """Args:
    size: pixels on a side.
    channels: 1 (grey) or 3 (RGB).
    """

    suffix = ".png"
    suffixes = decode.SUFFIXES
    dtype = np.dtype(np.uint8)

    def __init__(self, size: int, channels: int):
        self.size, self.channels = size, channels
        self.stored = (size, size, channels)
        self.space = Real((channels, size, size), levels=256)

    def read(self, path: Path) -> np.ndarray:
        return self.from_bytes(read_whole(path, decode.MAX_BYTES), str(path))

    def from_bytes(self, data: bytes, name: str) -> np.ndarray:
        return decode.square(data, name, self.size, self.channels)

    def facts(self, data: bytes, name: str) -> Facts:
        return decode.facts(data, name, self.size)

    def to_tensor(self, items: np.ndarray | Tensor) -> Tensor:
        pixels = torch.as_tensor(items).flatten(1, 2)  # [b, h*w, c]
        # Axes change places, numbers stay where they are: channels last in memory, as convolutions like them.
        planes = pixels.transpose(1, 2).float()
        return planes.div_(127.5).sub_(1).unflatten(2, (self.size, self.size))

    def from_tensor(self, x: Tensor) -> np.ndarray:
        levels = x.detach().float().add(1).mul(127.5).round().clamp(0, 255)
        return levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()

    def shaped(self, space: Real) -> "Image":
        channels, size, _ = space.shape
        return Image(size, channels)

    def encode(self, item: np.ndarray, mark: Mark) -> bytes:
        buffer = io.BytesIO()
        picture(item).save(buffer, "PNG", pnginfo=marks.chunks(mark))
        return buffer.getvalue()

    def label(self, item: np.ndarray, text: str) -> np.ndarray:
        return lettering.label(item, text)

    def sheet(self, items: np.ndarray, columns: int = 8, titles: list[str] | None = None) -> bytes:
        """A PNG of the items, row by row in `columns` columns; small ones are enlarged by a whole number."""
        scale = max(1, round(64 / self.size))
        pad, cell = 4, self.size * scale
        columns = max(1, min(columns, len(items)))
        rows = -(-len(items) // columns)
        head = lettering.TITLE_HEIGHT if titles else 0
        shape = (head + pad + rows * (cell + pad), pad + columns * (cell + pad), self.channels)
        page = np.full(shape, 255, np.uint8)
        for i, item in enumerate(items):
            top, left = head + pad + i // columns * (cell + pad), pad + i % columns * (cell + pad)
            page[top : top + cell, left : left + cell] = item.repeat(scale, 0).repeat(scale, 1)
        sheet = picture(page)
        for i, title in enumerate((titles or [])[:columns]):
            lettering.title(sheet, title, pad + i * (cell + pad), cell)
        buffer = io.BytesIO()
        sheet.save(buffer, "PNG")
        return buffer.getvalue()

    def augment(self, items: Tensor, how: Mapping[str, Any], uniform: Tensor) -> Tensor:
        return augment.augment(items, augment.Augment.from_tree(dict(how), "data.augment"), uniform)


def picture(item: np.ndarray) -> pillow.Image:
    """uint8 [h, w, 1 or 3] as Pillow's picture."""
    return pillow.fromarray(item[:, :, 0] if item.shape[2] == 1 else item)
