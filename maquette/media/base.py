"""What every medium offers: files <-> arrays <-> tensors of one space."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from maquette.core import config, files
from maquette.core.errors import MaquetteError, Phrase
from maquette.core.exit import Mark, Writer
from maquette.core.types import Real, Space
from maquette.core.waiting import number
from maquette.media.facts import Facts
from maquette.media.heard import Heard


@dataclass(frozen=True, kw_only=True)
class MediumConfig(config.Config, ABC):
    """The `medium:` slot of a recipe."""

    home: ClassVar[str] = "media"

    @abstractmethod
    def build(self) -> "Medium": ...

    def learnt(self, read: Callable[["Medium"], Iterable[np.ndarray]]) -> "MediumConfig":
        """This medium with what it must learn of the data before it can be built (a vocabulary); most learn nothing.

        Args:
            read: gives what the training data hold, as items of the medium that it is handed.
        """
        return self

    def smaller(self, factor: int) -> "MediumConfig":
        """This medium at 1/`factor` of its size: what super-resolution starts from. Raises MQ-2103 where none is."""
        raise MaquetteError("MQ-2103", kind=self.kind(), factor=factor, reason="they have no size")


MISSING = Phrase("it is not there", "文件不存在")


def read_whole(path: Path, limit: int) -> bytes:
    """A data file of at most `limit` bytes (links are followed: a data set may be made of them).

    Raises:
        MaquetteError: MQ-3001 with the reason when it cannot be read.
    """
    try:
        return files.read_file(path.resolve(), limit)
    except MaquetteError as bad:
        raise MaquetteError("MQ-3001", str(path), reason=bad.values.get("reason", MISSING)) from None
    except OSError as bad:  # the disk itself
        raise MaquetteError("MQ-3001", str(path), reason=bad.strerror or bad) from None


class Cutter:
    """Makes stored items of what was read, one file or row after another; for most media these are the same.

    Attributes:
        passed: how many items were left out or mended, by what was wrong with them.
    """

    passed: Mapping[str, int] = {}

    apart: bool = True
    """Whether each item is of one file or row alone, so that it has its label."""

    def put(self, item: np.ndarray) -> list[np.ndarray]:
        """The items that are complete now that `item` has come."""
        return [item]

    def rest(self) -> list[np.ndarray]:
        """The last ones, after everything has come."""
        return []


class Medium(ABC):
    """Items are stored as `dtype` arrays of shape `stored`, one per file; models see tensors in `space`."""

    space: Space
    stored: tuple[int, ...]
    dtype: np.dtype
    suffix: str
    """Of the files it writes, with the dot."""
    suffixes: frozenset[str]
    """Of the files it reads, lower case."""

    rate: int = 0
    """How many samples of sound or frames make a second; 0 where there is no time."""
    columns: tuple[tuple[str, ...], ...] = ()
    """Sets of a table's columns, each of which an item can be made of, the first that is there counts."""
    piece: int = 0
    """Files larger than about so many bytes are read in pieces of that size, cut at line ends; 0: always whole."""
    whole: bool = True
    """Whether a stored item is what one file or row held."""
    talks: bool = False
    """Whether items are words, to be printed as they are."""
    asks: bool = False
    """Whether a prompt is a question to answer and not the beginning of the item."""
    unit: str = "dim"
    """What bits are counted per: see `units`."""

    @abstractmethod
    def read(self, path: Path) -> np.ndarray:
        """One item from a file; raises `MaquetteError` MQ-3001 with the reason when it cannot."""

    def stretch(self, path: Path) -> tuple[np.ndarray, int]:
        """All of a file as items one after another [k, *stored], the last of them filled up, and how long it is along
        their first axis; of a medium that does not last, one item. Raises like `read`."""
        whole = self.read(path)
        return np.asarray(next(iter(self.cutter().put(whole)), whole))[None], self.stored[0]

    @abstractmethod
    def from_bytes(self, data: bytes, name: str) -> np.ndarray:
        """One item from the bytes of a file called `name` (a row of a table, an upload); raises like `read`."""

    def from_record(self, record: Mapping[str, Any], name: str) -> np.ndarray:
        """One item from a row of a table that has one of `columns`; raises like `read`."""
        raise MaquetteError("MQ-3001", name, reason=f"a {type(self).__name__.lower()} is no row of a table")

    def content(self, item: np.ndarray) -> bytes:
        """What an item as read holds: a row whose source has no splits is learnt from or tested on by its hash."""
        return item.tobytes()

    def cutter(self) -> Cutter:
        """What turns a sequence of items as read into items as stored."""
        return Cutter()

    @property
    def identity(self) -> list[Any]:
        """Plain data that differ when the same file would be stored otherwise."""
        return [type(self).__name__, self.stored, self.dtype.str]

    def facts(self, data: bytes, name: str) -> Facts:
        """What `data` is before it becomes an item; raises like `read`."""
        return Facts()

    @abstractmethod
    def to_tensor(self, items: np.ndarray | Tensor) -> Tensor:
        """Stored items [b, *stored] -> float32 samples in `space` [b, *space.shape]."""

    @abstractmethod
    def from_tensor(self, x: Tensor) -> np.ndarray:
        """Samples [b, *space.shape] -> stored items [b, *stored], out-of-range values clipped."""

    def pace(self, rate: float) -> str:
        """So many items a second in words, beside what of them lasts: frames, seconds of sound."""
        return f"{number(rate)} samples/s"

    def units(self, x: Tensor) -> Tensor:
        """How many units the likelihood of each sample is shared among, [b]: dimensions, or bytes of text."""
        return torch.full((len(x),), math.prod(self.space.shape))

    def asked(self, prompt: str, history: Sequence[tuple[str, str]] = ()) -> Tensor:
        """A beginning in words as known tokens [m] of a sample; raises MQ-2104 where there is no such thing.

        Args:
            history: questions and answers that came before.
        """
        raise MaquetteError("MQ-2104", "prompt", task=Phrase("go on from words", "接着文字续写"))

    def words(self, item: np.ndarray) -> str | None:
        """What an item says, or None for a medium without words."""
        return None

    def scarce(self, items: Any, batch: int) -> MaquetteError | None:
        """A warning where there is too little in the stored `items` [n, *stored] to learn anything but these by heart.

        Args:
            batch: how many are learnt from at once.

        Raises:
            MaquetteError: MQ-3018 when they do not make one whole item.
        """
        return None

    def passage(self, tokens: np.ndarray) -> str:
        """The text of tokens from anywhere in an item; raises MQ-2104 for a medium without words."""
        raise MaquetteError("MQ-2104", task="be read as words")

    def shaped(self, space: Real) -> "Medium":
        """A medium that reads items of `space` as this one reads its own; raises MQ-2104 for one without pictures."""
        raise MaquetteError("MQ-2104", task="be given pictures")

    @abstractmethod
    def encode(self, item: np.ndarray, mark: Mark) -> bytes:
        """The bytes of a file with one item, carrying `mark` where the format's metadata go."""

    def settled(self, data: bytes, share: float) -> int:
        """How many bytes of the file `data` stay when this share of its item does, from the beginning on; 0 where no
        byte can be told before all are."""
        return 0

    @abstractmethod
    def label(self, item: np.ndarray, text: str) -> np.ndarray | str:
        """The item with `text` visibly on it (in pictures at least 5 % of the short side high), or before its words."""

    @abstractmethod
    def sheet(self, items: np.ndarray, columns: int = 8, titles: list[str] | None = None) -> bytes:
        """A PNG that shows many items at once (a grid of pictures, a scatter of points)."""

    def clip(self, items: np.ndarray) -> tuple[str, bytes] | None:
        """A file that plays several items, and its suffix; None for a medium that stands still."""
        return None

    @abstractmethod
    def augment(self, items: Tensor, how: Mapping[str, Any], uniform: Tensor) -> Tensor:
        """`items` [b, *space.shape] changed as the recipe's `augment` declares, by `uniform` [b, 8] in [0, 1)."""


class Wording(ABC):
    """A medium whose items are words in tokens."""

    @abstractmethod
    def heard(self, start: np.ndarray, stops: Sequence[str] = ()) -> Heard:
        """What listens to a sample that is to be made from `start`: int64 [l], -1 where a token is made."""

    @abstractmethod
    def spell(self, tokens: Iterable[int]) -> list[str]:
        """Each token by itself. Bytes that are no text so are written as <0xE6>; marks are ""."""

    @abstractmethod
    def template(self, text: str) -> Tensor:
        """Tokens int64 [m] of `text`, -1 for each gap (`forms.GAP`); raises MQ-2121 when a window is shorter."""

    @abstractmethod
    def documents(self, items: np.ndarray) -> Iterator[str]:
        """The texts that stored items hold, put together again; those of a split, in its order."""

    @abstractmethod
    def letters(self, han: bool) -> Bool[Tensor, " vocab"]:
        """Which tokens may fill a gap: those that are one letter, or one Han character; raises MQ-2131 if none is."""


class Voiced(ABC):
    """A medium whose items are voices of notes (see `notes.py`).

    Attributes:
        voices: how many.
        per_quarter: steps to a quarter note.
    """

    voices: int
    per_quarter: int

    @abstractmethod
    def sung(self, item: np.ndarray) -> np.ndarray:
        """The music of a stored item: int16 [steps, voices], without marks."""

    @abstractmethod
    def known(self, piece: np.ndarray, voices: Sequence[int] | None = None) -> Tensor:
        """The tokens that a sample begins with, int64 [m]: those of `piece`, after which more is made; or of a sample
        that is as long as `piece` and has these of its `voices`, -1 standing for the others.

        Raises:
            MaquetteError: MQ-2121 when the piece is longer than an item.
        """


INTERVALS = (0.5, 0.8, 0.95)
"""What share of futures the intervals of a forecast are to hold."""


def interval(futures: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Between which values the middle `share` of futures [n, ...] lies.

    A true future that is one more draw of their law lies there with exactly that probability where `share` (n + 1) / 2
    is whole, and nearly so in between (Hyndman and Fan 1996, definition 6).
    """
    low, high = np.quantile(futures, [(1 - share) / 2, (1 + share) / 2], axis=0, method="weibull")
    return low, high


def foretells(medium: "Medium") -> bool:
    """Whether its items end in what is to be foretold."""
    return isinstance(medium, InTime) and medium.horizon > 0


class InTime(ABC):
    """A medium whose files run in time: their beginnings are learnt from, and tested on is how they go on.

    Stored items [steps, columns] are windows; samples have time as their last axis.

    Attributes:
        horizon: steps at the end of an item that are foretold from those before it, the known past; 0 for none.
        season: steps after which items are alike again; 0 where that is not known.
        outlook: writes many futures of one past, items [n, *stored], as one file.
    """

    horizon: int
    season: int
    outlook: Writer

    @abstractmethod
    def apart(self, item: np.ndarray, share: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Stretches of what was read to cut training items from, and items whose futures lie in the last `share` of it.

        No step that is tested on is in a training item; futures do not overlap. All is learnt from at a share of 0 and
        tested on at 1, and what is too short for both is learnt from.
        """

    @abstractmethod
    def past(self, source: Path | str | np.ndarray) -> np.ndarray:
        """The last steps of a file (or of rows) as the known past of an item; raises MQ-3001 where they cannot be."""

    @abstractmethod
    def onto(self, items: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Made items [n, *stored] as futures of the past `known`, which they begin with, in its units."""

    @abstractmethod
    def fan(self, futures: Sequence[np.ndarray], truth: Sequence[np.ndarray] = ()) -> bytes:
        """A PNG with a panel for each past: its end, the median and intervals of its futures [n, *stored], and what
        became of it [*stored] where that is known."""
