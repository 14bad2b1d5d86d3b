"""Points in the plane (or any few dimensions): to see and test a family on a distribution that is known.

A file is CSV; an item is float32 [dims] in the file's own units, a sample is the item divided by `scale`.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maquette.core.config import Config as AnyConfig
from maquette.core.errors import MaquetteError
from maquette.core.exit import Mark
from maquette.core.types import Real
from maquette.media.base import Medium, MediumConfig, read_whole

MAX_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Config(MediumConfig):
    """Points of a few dimensions."""

    dims: int = 2
    """Coordinates of a point, 1 to 64."""
    scale: float = 2.0
    """What one unit of model space is in the file's units: about the largest coordinate."""

    def __post_init__(self) -> None:
        self.check(1 <= self.dims <= 64, "dims", "a whole number from 1 to 64")
        self.check(self.scale > 0, "scale", "a positive number")

    def build(self) -> "Points":
        return Points(self.dims, self.scale)


@dataclass(frozen=True, kw_only=True)
class _NoAugment(AnyConfig):
    """Points are not augmented; reading this refuses whatever is declared."""


class Points(Medium):
    """Args:
    dims: coordinates of a point.
    scale: the file's units to one unit of model space.
    """

    suffix = ".csv"
    suffixes = frozenset({".csv"})
    dtype = np.dtype(np.float32)

    def __init__(self, dims: int = 2, scale: float = 2.0):
        self.dims, self.scale = dims, scale
        self.stored = (dims,)
        self.space = Real((dims,))

    def read(self, path: Path) -> np.ndarray:
        return self.from_bytes(read_whole(path, MAX_BYTES), str(path))

    def from_bytes(self, data: bytes, name: str) -> np.ndarray:
        """A point from one line of `dims` numbers; lines that begin with # are comments."""
        lines = [line for line in data.decode("utf-8", "replace").splitlines() if line.strip() and line[0] != "#"]
        if len(lines) != 1:
            raise MaquetteError("MQ-3001", name, reason=f"a point is one line of numbers, and here are {len(lines)}")
        try:
            point = np.array([float(number) for number in lines[0].split(",")], dtype=np.float32)
        except ValueError as bad:
            raise MaquetteError("MQ-3001", name, reason=bad) from None
        if point.shape != self.stored or not np.isfinite(point).all():
            raise MaquetteError("MQ-3001", name, reason=f"not {self.dims} finite numbers: {lines[0]}")
        return point

    def to_tensor(self, items: np.ndarray | Tensor) -> Tensor:
        return torch.as_tensor(items).float() / self.scale

    def from_tensor(self, x: Tensor) -> np.ndarray:
        return (x.detach().float() * self.scale).cpu().numpy()

    def encode(self, item: np.ndarray, mark: Mark) -> bytes:
        """Comment lines with the mark, then the point; float32 survives the round trip."""
        numbers = ",".join(np.format_float_positional(v, trim="0") for v in item)
        return "".join(f"{line}\n" for line in [*(f"# {text}" for text in mark.lines), numbers]).encode()

    def label(self, item: np.ndarray, text: str) -> np.ndarray:
        """The point itself: it has no room for words, and its file says what it is in the first line."""
        return item

    def sheet(self, items: np.ndarray, columns: int = 8, titles: list[str] | None = None) -> bytes:
        """A scatter of the first two coordinates; with titles one panel for each, item i in panel i % columns."""
        from matplotlib.figure import Figure

        panels = len(titles) if titles else 1
        figure = Figure(figsize=(4 * panels, 4 + 0.3 * bool(titles)), dpi=100, layout="constrained")
        limit = 1.25 * self.scale
        for i in range(panels):
            axes = figure.add_subplot(1, panels, i + 1)
            shown = items[i::panels]
            shown = shown[np.isfinite(shown).all(1)]
            across, up = shown[:, 0], shown[:, 1] if self.dims > 1 else np.zeros(len(shown))
            axes.scatter(across, up, s=6, alpha=0.5, linewidths=0, color="#1f4e79")
            axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
            axes.grid(color="#e6e6e6", linewidth=0.6)
            axes.set_axisbelow(True)
            axes.spines[:].set_color("#cccccc")
            axes.tick_params(labelsize=7, color="#999999")
            if titles:
                axes.set_title(titles[i], fontsize=10)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()

    def augment(self, items: Tensor, how: Mapping[str, Any], uniform: Tensor) -> Tensor:
        _NoAugment.from_tree(dict(how), "data.augment")
        return items
