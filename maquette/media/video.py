"""Films: MP4, WebM, MKV, MOV, AVI files and animations (GIF, WebP, APNG) <-> squares of 8-bit grey or RGB in a row.

An item is uint8 [frames, size, size, channels]; a sample is float32 [channels, frames, size, size] with
x = v / 127.5 - 1, so that the 256 levels span [-1, 1] exactly. What is done to a file on the way in stands at the head
of `film.py`. A film that is over before so many frames have come is refused, for a last frame that is held would teach
that films stop; of a longer one the first frames are taken, or as many windows one after another as `windows` says.

What is written is H.264, which every browser plays and which loses a little: see `film.write`.
"""

import io
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from maquette.core.errors import MaquetteError
from maquette.core.exit import Mark
from maquette.core.types import Real
from maquette.core.waiting import number
from maquette.media import augment, film, image, lettering, marks
from maquette.media.base import Cutter, Facts, Medium, MediumConfig, read_whole

SHOWN = 16
"""Frames of each item that a sheet shows at most."""
CLIPPED = 64
"""Items that a clip shows at most."""
CLIP_QP = 16
"""What a clip in a page is written with: small, and good to look at."""
MOST = 64 << 20
"""Bytes of frames that are taken of one film at most."""


@dataclass(frozen=True, kw_only=True)
class Config(MediumConfig):
    """Square films of one size, length and rate."""

    size: int = 32
    """Pixels on a side, an even number from 8 to 128. Files are cut to their centre square and resized."""
    frames: int = 16
    """Of an item, 2 to 256."""
    rate: int = 8
    """Frames a second, of items and of what is written, 1 to 120; a file may have any other, frames are picked."""
    channels: Literal[1, 3] = 1
    """1 for grey, 3 for RGB."""
    windows: int = 1
    """How many items one file may become, one after another from its beginning."""

    def __post_init__(self) -> None:
        self.check(8 <= self.size <= 128 and self.size % 2 == 0, "size", "an even whole number from 8 to 128")
        self.check(2 <= self.frames <= 256, "frames", "a whole number from 2 to 256")
        self.check(1 <= self.rate <= 120, "rate", "a whole number from 1 to 120")
        most = MOST // (self.frames * self.size**2 * self.channels)
        self.check(1 <= self.windows <= most, "windows", f"a whole number from 1 to {most:,} at this size and length")

    def build(self) -> "Video":
        return Video(self.size, self.frames, self.rate, self.channels, self.windows)

    def smaller(self, factor: int) -> "Config":
        size, rest = divmod(self.size, factor)
        if rest or size < 8 or size % 2:
            reason = f"{self.size} pixels do not divide into {factor} × an even number from 8"
            raise MaquetteError("MQ-2103", kind="video", factor=factor, reason=reason)
        return replace(self, size=size)


class Video(Medium):
    """Args:
    size: pixels on a side.
    frames: of an item.
    rate: frames a second.
    channels: 1 (grey) or 3 (RGB).
    windows: how many items one file may become.
    """

    suffix = ".mp4"
    suffixes = film.SUFFIXES
    columns = (("frames", "fps"), ("frames",))
    dtype = np.dtype(np.uint8)

    def __init__(self, size: int, frames: int, rate: int, channels: int, windows: int = 1):
        self.size, self.frames, self.rate, self.channels, self.windows = size, frames, rate, channels, windows
        self.whole = windows == 1
        self.stored = (frames, size, size, channels)
        self.space = Real((channels, frames, size, size), levels=256)

    # -- files --------------------------------------------------------------------------------------------------------

    def read(self, path: Path) -> np.ndarray:
        return self.from_bytes(read_whole(path, film.MAX_BYTES), str(path))

    def from_bytes(self, data: bytes, name: str) -> np.ndarray:
        """An item, or as many items in a row as there are windows, to be cut by `cutter`."""
        most = self.windows * self.frames
        return self._windows(film.clip(data, name, self.rate, self.frames, most, self.size, self.channels))

    def stretch(self, path: Path) -> tuple[np.ndarray, int]:
        data, most = read_whole(path, film.MAX_BYTES), MOST // (self.size**2 * self.channels)
        read = film.clip(data, str(path), self.rate, self.frames, most + 1, self.size, self.channels)
        if len(read) > most:
            raise MaquetteError("MQ-3001", str(path), reason=f"it has more than {most:,} frames; cut it into parts")
        last = read[-1:].repeat(-len(read) % self.frames, 0)
        return np.concatenate([read, last]).reshape(-1, *self.stored), len(read)

    def from_record(self, record: Mapping[str, Any], name: str) -> np.ndarray:
        """From a row with `frames`, a list of picture files; with `fps` they are picked by their times."""
        fps = record.get("fps", self.rate)
        if not isinstance(fps, int | float) or not 0 < fps <= film.MAX_FRAMES:
            raise MaquetteError("MQ-3001", name, reason=f"fps is {fps!r}, and no number of frames a second")
        listed = record.get("frames")
        found = (
            [one.get("bytes") if isinstance(one, dict) else one for one in listed] if isinstance(listed, list) else []
        )
        files = [file for file in found if isinstance(file, bytes)]
        if not files or len(files) < len(found):
            raise MaquetteError("MQ-3001", name, reason="frames is no list of picture files")
        most = self.windows * self.frames
        return self._windows(film.sequence(files, name, fps, self.rate, self.frames, most, self.size, self.channels))

    def _windows(self, frames: np.ndarray) -> np.ndarray:
        return frames[: len(frames) - len(frames) % self.frames]

    def cutter(self) -> Cutter:
        return Windows(self.frames)

    def pace(self, rate: float) -> str:
        return f"{super().pace(rate)}  {number(rate * self.frames)} frames/s"

    @property
    def identity(self) -> list[Any]:
        return [*super().identity, self.rate, self.windows]

    def facts(self, data: bytes, name: str) -> Facts:
        return film.facts(data, name, self.size, self.windows * self.frames / self.rate, self.rate)

    def encode(self, item: np.ndarray, mark: Mark) -> bytes:
        return marks.onto(film.write(item, self.rate, tags=marks.tags(mark)), mark)

    # -- tensors ------------------------------------------------------------------------------------------------------

    def to_tensor(self, items: np.ndarray | Tensor) -> Tensor:
        pixels = torch.as_tensor(items).flatten(1, 3)  # [b, f*h*w, c]
        # Axes change places, numbers stay where they are: channels last in memory, as convolutions like them.
        planes = pixels.transpose(1, 2).float()
        return planes.div_(127.5).sub_(1).unflatten(2, (self.frames, self.size, self.size))

    def from_tensor(self, x: Tensor) -> np.ndarray:
        levels = x.detach().float().add(1).mul(127.5).round().clamp(0, 255)
        return levels.to(torch.uint8).permute(0, 2, 3, 4, 1).contiguous().cpu().numpy()

    def shaped(self, space: Real) -> Medium:
        """One of films at the same rate, or of pictures where the space has no time."""
        if len(space.shape) == 3:
            return image.Image(space.shape[1], space.shape[0])
        channels, frames, size, _ = space.shape
        return Video(size, frames, self.rate, channels)

    def augment(self, items: Tensor, how: Mapping[str, Any], uniform: Tensor) -> Tensor:
        """As pictures are, every frame of a film alike."""
        change = augment.Augment.from_tree(dict(how), "data.augment")
        moved = augment.augment(items.flatten(1, 2), replace(change, colour=0.0), uniform).view_as(items)
        if not change.colour:
            return moved
        # stacked one below the other the frames are one picture, of one brightness, contrast and saturation
        still = replace(change, flip=0.0, crop=0, rotate=0.0)
        return augment.augment(moved.flatten(2, 3), still, uniform).view_as(items)

    # -- what a person sees -------------------------------------------------------------------------------------------

    def label(self, item: np.ndarray, text: str) -> np.ndarray:
        return lettering.label(item, text)

    def sheet(self, items: np.ndarray, columns: int = 8, titles: list[str] | None = None) -> bytes:
        """A PNG with a row of frames for each item, whatever `columns` says, at most `SHOWN` of them, evenly picked;
        small ones are enlarged by a whole number. The titles, over and over, stand before their rows."""
        scale, pad, gap, head = max(1, round(48 / self.size)), 4, 2, 64 if titles else 0
        cell, shown = self.size * scale, np.unique(np.linspace(0, self.frames - 1, SHOWN).round().astype(int))
        width = head + 2 * pad + len(shown) * (cell + gap) - gap
        page = np.full((pad + len(items) * (cell + pad), width, self.channels), 255, np.uint8)
        for row, item in enumerate(items):
            top = pad + row * (cell + pad)
            for place, frame in enumerate(item[shown]):
                left = head + pad + place * (cell + gap)
                page[top : top + cell, left : left + cell] = frame.repeat(scale, 0).repeat(scale, 1)
        sheet = image.picture(page)
        for row, title in zip(range(len(items)), itertools.cycle(titles or [])):
            middle = pad + row * (cell + pad) + cell // 2
            lettering.title(sheet, title, 0, head, middle - lettering.TITLE_HEIGHT // 2)
        buffer = io.BytesIO()
        sheet.save(buffer, "PNG")
        return buffer.getvalue()

    def clip(self, items: np.ndarray) -> tuple[str, bytes] | None:
        """An MP4 file with the first `CLIPPED` items side by side, small ones enlarged by a whole number."""
        items = items[:CLIPPED]
        if not len(items):
            return None
        scale, pad = max(1, round(64 / self.size)), 4
        columns = math.ceil(math.sqrt(len(items)))
        rows, cell = -(-len(items) // columns), self.size * scale
        shape = (self.frames, pad + rows * (cell + pad), pad + columns * (cell + pad), self.channels)
        page = np.full(shape, 255, np.uint8)
        for i, item in enumerate(items):
            top, left = pad + i // columns * (cell + pad), pad + i % columns * (cell + pad)
            page[:, top : top + cell, left : left + cell] = item.repeat(scale, 1).repeat(scale, 2)
        return ".mp4", film.write(page, self.rate, qp=CLIP_QP)


class Windows(Cutter):
    """Cuts films that are several items long."""

    def __init__(self, frames: int):
        self.frames = frames

    def put(self, item: np.ndarray) -> list[np.ndarray]:
        return [item[start : start + self.frames] for start in range(0, len(item), self.frames)]
