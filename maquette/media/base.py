"""What every medium offers: files <-> arrays <-> tensors of one space."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from maquette.core import config
from maquette.core.errors import MaquetteError
from maquette.core.exit import Mark
from maquette.core.types import Space


@dataclass(frozen=True, kw_only=True)
class MediumConfig(config.Config, ABC):
    """The `medium:` slot of a recipe."""

    home: ClassVar[str] = "media"

    @abstractmethod
    def build(self) -> "Medium": ...

    def smaller(self, factor: int) -> "MediumConfig":
        """This medium at 1/`factor` of its size: what super-resolution starts from. Raises MQ-2103 where none is."""
        raise MaquetteError("MQ-2103", kind=self.kind(), factor=factor, reason="they have no size")


@dataclass(frozen=True)
class Facts:
    """What a file is before it becomes an item, for `maquette data check`.

    Attributes:
        size: in the format's own units (width and height in pixels); empty when it has none.
        notes: what reading changes about it ("CMYK …", "animated …").
        off: why its size does not suit the medium; empty when it does.
    """

    size: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    off: str = ""


class Medium(ABC):
    """Items are stored as `dtype` arrays of shape `stored`, one per file; models see tensors in `space`."""

    space: Space
    stored: tuple[int, ...]
    dtype: np.dtype
    suffix: str
    """Of the files it writes, with the dot."""
    suffixes: frozenset[str]
    """Of the files it reads, lower case."""

    @abstractmethod
    def read(self, path: Path) -> np.ndarray:
        """One item from a file; raises `MaquetteError` MQ-3001 with the reason when it cannot."""

    @abstractmethod
    def from_bytes(self, data: bytes, name: str) -> np.ndarray:
        """One item from the bytes of a file called `name` (a row of a table, an upload); raises like `read`."""

    def facts(self, data: bytes, name: str) -> Facts:
        """What `data` is before it becomes an item; raises like `read`."""
        return Facts()

    @abstractmethod
    def to_tensor(self, items: np.ndarray | Tensor) -> Tensor:
        """Stored items [b, *stored] -> float32 samples in `space` [b, *space.shape]."""

    @abstractmethod
    def from_tensor(self, x: Tensor) -> np.ndarray:
        """Samples [b, *space.shape] -> stored items [b, *stored], out-of-range values clipped."""

    @abstractmethod
    def encode(self, item: np.ndarray, mark: Mark) -> bytes:
        """The bytes of a file with one item, carrying `mark` where the format's metadata go."""

    @abstractmethod
    def label(self, item: np.ndarray, text: str) -> np.ndarray:
        """The item with `text` visibly on it, at least 5 % of the short side high."""

    @abstractmethod
    def sheet(self, items: np.ndarray, columns: int = 8, titles: list[str] | None = None) -> bytes:
        """A PNG that shows many items at once (a grid of pictures, a scatter of points)."""

    @abstractmethod
    def augment(self, items: Tensor, how: Mapping[str, Any], uniform: Tensor) -> Tensor:
        """`items` [b, *space.shape] changed as the recipe's `augment` declares, by `uniform` [b, 8] in [0, 1)."""
