"""The nouns of data: a row as a reader finds it, a source of rows, and the dataset that batches are cut from."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from maquette.crafts.base import CraftConfig

TRAIN, TEST = "train", "test"
By = Literal["content", "item"]
"""What decides on which side a row without a split of its own lies: see `Data.split`."""


class Row(NamedTuple):
    """One sample before it is read.

    Attributes:
        name: as a person would find it: the path inside the folder, the row of the table.
        load: reads and converts it; raises `MaquetteError` when it cannot. Where samples come in pairs it gives both,
            [2, *stored].
        split: `TRAIN`, `TEST`, or "" to be decided by its content.
        label: of its class, None for none.
        text: its caption, "" for none.
        columns: what else its table says of it.
        content: the hash of its file; None where it has no file of its own, or its item says as much (text).
    """

    name: str
    load: Callable[[], np.ndarray]
    split: str = ""
    label: str | None = None
    text: str = ""
    columns: Mapping[str, Any] = {}
    content: Callable[[], bytes] | None = None


class Modes(NamedTuple):
    """The centres [k, dims] of a known mixture of Gaussians of equal weight, and their common standard deviation."""

    centres: np.ndarray
    sigma: float


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A source opened to be read from start to end.

    Attributes:
        rows: in an order that is always the same.
        count: how many they are, None when that is known only after the last.
        classes: the labels in the order of their numbers; None when they have to be collected from the rows.
        licence: under which the data may be used, as far as they say.
    """

    rows: Iterable[Row]
    count: int | None = None
    classes: list[str] | None = None
    licence: str = "not stated"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where samples come from; making one is quick, reading it need not be.

    Attributes:
        name: of the folder, file or set, in a word that may stand in a file name.
        place: what tells this source from every other (an absolute path, a hub name, a set's name).
        key: plain data that changes whenever what is read may have changed.
        read: opens it.
        ignored: how many files were passed over, by reason or suffix.
        modes: of a known mixture.
        pitches: of labels that are notes, in Hz.
        paired: whether each row is a sample and the picture that goes with it.
    """

    name: str
    place: str
    key: Any
    read: Callable[[], Reading]
    ignored: dict[str, int] = field(default_factory=dict)
    modes: Modes | None = None
    pitches: Mapping[str, float] = field(default_factory=dict)
    paired: bool = False


@dataclass(frozen=True)
class Picked:
    """Some rows of stored items, read when they are asked for: what is mapped from a file stays there."""

    items: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: Any) -> np.ndarray:
        """As of an array along its first axis."""
        return self.items[self.rows[which]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.items[self.rows], dtype)


Items = np.ndarray | Picked


@dataclass(frozen=True)
class Split:
    """Some samples, ready to be cut into batches.

    Attributes:
        items: stored items [n, *medium.stored], usually mapped from the pack (copy on write: the file never changes).
        labels: int64 [n], -1 where there is none.
        notes: reads [name, caption] of every row, when first asked for.
        texts: tokens of the captions [n, l], where the model is given them.
        images: the stored picture that is given with each row [n, *stored].
        others: stored pictures [m, *stored] that are given with rows at random: none belongs to any of these.
        craft: what is taken from each sample, and the rest given with it.
        codes: of the items [n, *codec.space.shape], where a codec's were computed once.
    """

    items: Items
    labels: np.ndarray
    notes: Callable[[], list[list[str]]] = list
    texts: np.ndarray | None = None
    images: Items | None = None
    others: Items | None = None
    craft: CraftConfig | None = None
    codes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def names(self) -> list[str]:
        """Where each row came from."""
        return [name for name, _ in self.notes()]

    @cached_property
    def captions(self) -> list[str]:
        """Each row's caption, "" where there is none."""
        return [text for _, text in self.notes()]

    @property
    def shows(self) -> bool:
        """Whether a picture is given with each row."""
        return self.craft is not None or self.images is not None or self.others is not None

    def picked(self, rows: np.ndarray) -> "Split":
        """These rows of it, as its reader left it; only their labels are copied."""

        def some(items: Items) -> Items:
            return Picked(items.items, items.rows[rows]) if isinstance(items, Picked) else Picked(items, rows)

        def notes() -> list[list[str]]:
            every = self.notes()
            return [every[row] for row in rows]

        images = None if self.images is None else some(self.images)
        return replace(self, items=some(self.items), labels=self.labels[rows], notes=notes, images=images)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Everything that training and scoring know of the data.

    Attributes:
        classes: the names of the labels; empty when there are none.
        fingerprint: SHA-256 of what was read (items, labels, names, split); the same data give the same anywhere.
        bad: name and reason of each file that could not be read.
        ignored: how many files were passed over, by reason or suffix.
        pitches: of labels that are notes, in Hz, where the source knows them.
        whole: the data as their source divides them, where `data.combinations` has divided them anew.
    """

    train: Split
    test: Split
    classes: list[str]
    fingerprint: str
    licence: str
    bad: list[tuple[str, str]]
    ignored: dict[str, int]
    modes: Modes | None = None
    pitches: Mapping[str, float] = field(default_factory=dict)
    whole: "Dataset | None" = None


def both(dataset: Dataset, change: Callable[[Split, str], Split]) -> Dataset:
    """`dataset` with `change(split, its name)` for its splits."""
    return replace(dataset, train=change(dataset.train, TRAIN), test=change(dataset.test, TEST))


def in_order(labels: Iterable[str]) -> list[str]:
    """Labels in the order of their numbers when all are whole numbers, else in that of the alphabet."""
    labels = set(labels)
    if all(label.lstrip("-").isdecimal() for label in labels):
        return sorted(labels, key=lambda label: (int(label), label))
    return sorted(labels)
