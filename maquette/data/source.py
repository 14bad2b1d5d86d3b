"""Which samples to learn from: the `data:` part of a recipe, and the one function that opens any source."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from maquette.core.config import Config
from maquette.core.errors import MaquetteError, nearest
from maquette.data import embedded, folder, hf, table
from maquette.data.combinations import Combinations, apart
from maquette.data.dataset import TEST, Dataset, Source
from maquette.data.pack import loaded, packed
from maquette.media.base import Medium


@dataclass(frozen=True, kw_only=True)
class Data(Config):
    """Which samples to learn from."""

    source: str
    """A folder, a file, the name of an embedded set, or hf:NAME for anything Hugging Face `datasets` opens."""
    conditional: bool = False
    """Whether the model is told the labels."""
    augment: dict[str, Any] = field(default_factory=dict)
    """For images: flip (share), crop (pixels of padding), rotate (degrees), colour (strength)."""
    columns: dict[str, str] = field(default_factory=dict)
    """Of tables with other names: what the medium calls a column, or label -> what it is called there: {prompt: en}."""
    combinations: Combinations | None = None
    """Words of the captions of which some pairs are tested on and never learnt: {styles: [red, blue], share: 0.1}."""
    max_bad: float = 0.01
    """The share of unreadable files up to which they are named, counted and left out."""
    seed: int = 0
    """Of the split and of what embedded sets draw."""

    def __post_init__(self) -> None:
        self.check(0 <= self.max_bad <= 1, "max_bad", "between 0 and 1")


def open_data(data: Data, medium: Medium) -> Dataset:
    """The samples of `data.source` as items of `medium`: read and packed the first time, mapped from the pack after.

    Raises:
        MaquetteError: MQ-3013 no such source, MQ-3002 nothing to read there, MQ-3003 more unreadable files than
            `max_bad` allows, MQ-3012 conditional without labels, and what the readers say of metadata and columns.
    """
    dataset = packed(find(data.source, medium, data.seed, data.columns), medium, data.max_bad, data.seed)
    if data.conditional and not (dataset.classes and (dataset.train.labels >= 0).any()):
        raise MaquetteError("MQ-3012", data.source)
    return dataset if data.combinations is None else apart(dataset, data.combinations, data.seed)


def documents(data: Data, medium: Medium) -> Iterator[np.ndarray]:
    """What can be read of the training rows of `data`, as items of `medium` before any cutting."""
    for row, item in loaded(find(data.source, medium, data.seed, data.columns).read().rows):
        if row.split != TEST and isinstance(item, np.ndarray):
            yield item


def find(source: str, medium: Medium, seed: int = 0, columns: Mapping[str, str] = {}) -> Source:
    """The reader's view of a source named as in a recipe; an embedded set's name wins over a folder of that name."""
    if source.startswith("hf:"):
        return hf.find(source.removeprefix("hf:"), medium, columns)
    if source in embedded.NAMES:
        return embedded.find(source, medium, seed)
    path = Path(source).expanduser()
    if path.is_dir():
        return hf.find(str(path), medium, columns) if _holds_tables(path) else folder.find(path, medium)
    if path.suffix.lower() == ".parquet" and path.is_file():
        return hf.find(str(path), medium, columns)
    if path.is_file() and path.suffix.lower() in medium.suffixes and medium.piece:
        return folder.find(path, medium)
    if path.is_file():
        return table.find(path, medium, columns)
    there = [entry.name for entry in os.scandir(path.parent)] if path.parent.is_dir() else []
    near = nearest(source, [*embedded.NAMES, *(str(path.with_name(name)) for name in there)])
    raise MaquetteError("MQ-3013", source, source=source, near=near, names=", ".join(embedded.NAMES))


def _holds_tables(path: Path) -> bool:
    return any(entry.suffix == ".parquet" for entry in path.iterdir())
