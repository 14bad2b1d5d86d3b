"""Which samples to learn from: the `data:` part of a recipe, and the one function that opens any source."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from maquette.core import files
from maquette.core.config import Config
from maquette.core.errors import MaquetteError, Phrase, nearest
from maquette.core.types import Real
from maquette.crafts.base import CraftConfig
from maquette.data import embedded, folder, hf, table
from maquette.data.along import Along
from maquette.data.captions import Captions
from maquette.data.combinations import Combinations, apart
from maquette.data.dataset import TEST, TRAIN, Dataset, Source, Split, both
from maquette.data.pack import learnt_from, loaded, packed
from maquette.data.pair import Pair, joined
from maquette.media.base import InTime, Medium, foretells


@dataclass(frozen=True, kw_only=True)
class Data(Config):
    """Which samples to learn from."""

    source: str
    """A folder, a file, the name of an embedded set, or hf:NAME for anything Hugging Face `datasets` opens."""
    conditional: bool = False
    """Whether the model is told the labels."""
    augment: dict[str, Any] = field(default_factory=dict)
    """For images and films: flip (share), crop (pixels of padding), rotate (degrees), colour (strength). For sound:
    gain (decibels), shift (share of an item), speed (share), polarity (share), noise (standard deviation)."""
    columns: dict[str, str] = field(default_factory=dict)
    """Of tables with other names: what the medium calls a column, label or caption -> what it is called there:
    {prompt: en}."""
    given: CraftConfig | None = None
    """What is taken from each sample, the model being given the rest: of pictures and films shrink, mask, crop, grey,
    edges, blur or noise, of sound shrink, noise or mel, of both
    sound and films gap."""
    pair: Pair | None = None
    """What the samples are made from, of another source: {source: FOLDER, by: COLUMN}."""
    other: str = ""
    """A source of what samples are made from without any telling which from which."""
    captions: Captions | None = None
    """Whether the model is told the captions, and how they become tokens."""
    combinations: Combinations | None = None
    """Words of the captions, or captions and labels, of which some pairs are tested on and never learnt:
    {styles: [red, blue], share: 0.1}, {labels: true}."""
    max_bad: float = 0.01
    """The share of unreadable files, or of ones without a partner, up to which they are named, counted and left out."""
    seed: int = 0
    """Of the split and of what embedded sets draw."""

    def __post_init__(self) -> None:
        self.check(0 <= self.max_bad <= 1, "max_bad", "between 0 and 1")
        several = [name for name in ("given", "pair", "other") if getattr(self, name)]
        if len(several) > 1:
            raise MaquetteError("MQ-2139", names=" and data.".join(several))

    @property
    def along(self) -> Along:
        """What goes with each sample beside its label."""
        return Along(craft=self.given, picture=bool(self.pair or self.other), captions=self.captions)

    def learnt(self, dataset: Dataset) -> "Data":
        """These settings with what must be learnt of the data: the vocabulary of captions."""
        if self.captions is None:
            return self
        return replace(self, captions=self.captions.learnt(text for text in dataset.train.captions if text))


def open_data(data: Data, medium: Medium) -> Dataset:
    """The samples of `data.source` as items of `medium`: read and packed the first time, mapped from the pack after.

    Raises:
        MaquetteError: MQ-3013 no such source, MQ-3002 nothing to read there, MQ-3003 more unreadable files than
            `max_bad` allows, MQ-3012 conditional without labels, and what the readers say of metadata and columns.
    """
    source = find(data.source, medium, data.seed, data.columns)
    if data.pair or data.other or data.given:
        _require_axes(medium)
    if data.pair:
        source = joined(source, find(data.pair.source, medium, data.seed, {}), data.pair.by)
    dataset = packed(source, medium, data.max_bad, data.seed)
    if data.conditional and not (dataset.classes and (dataset.train.labels >= 0).any()):
        raise MaquetteError("MQ-3012", data.source)
    if data.combinations is not None:
        dataset = apart(dataset, data.combinations, data.seed)
    return _given(dataset, data, medium)


def _given(dataset: Dataset, data: Data, medium: Medium) -> Dataset:
    """`dataset` with what goes with its rows; what that is shows in the fingerprint, as scores depend on it."""
    if data.given is not None:
        data.given.space(medium.space)  # type: ignore[arg-type]
        data.given.at(medium.rate, medium.space)  # type: ignore[arg-type]
        dataset = both(dataset, lambda split, name: replace(split, craft=data.given))
        # forecasts are scored alike, whether the past is given or gone on from
        return dataset if foretells(medium) else _marked(dataset, data.given.identity())
    if data.other:
        others = packed(find(data.other, medium, data.seed, {}), medium, data.max_bad, data.seed)
        pictures = {TRAIN: others.train.items, TEST: others.test.items}
        if not all(map(len, pictures.values())):
            todo = "data.other needs one to learn from and one to hold out"
            raise MaquetteError("MQ-3002", data.other, what="second picture", todo=todo)
        dataset = both(dataset, lambda split, name: replace(split, others=pictures[name]))
        return _marked(replace(dataset, bad=dataset.bad + others.bad), others.fingerprint)
    if data.pair and data.pair.apart:
        train = dataset.train
        return replace(dataset, train=replace(train, images=None, others=train.images))
    return dataset


def told(dataset: Dataset, captions: Captions | None) -> Dataset:
    """`dataset` with the tokens of its captions.

    Raises:
        MaquetteError: MQ-3002 when no row has a caption.
    """
    if captions is None:
        return dataset
    if not any(dataset.train.captions):
        todo = "name their column with data.columns={caption: COLUMN}, or put a text file beside each picture"
        raise MaquetteError("MQ-3002", what="caption", todo=todo)

    def read(split: Split, name: str) -> Split:
        return replace(split, texts=captions.encode(split.captions))

    without = sum(not text for split in (dataset.train, dataset.test) for text in split.captions)
    dataset = both(dataset, read)
    return replace(dataset, ignored=dataset.ignored | {"captions that are missing": without}) if without else dataset


def _marked(dataset: Dataset, what: Any) -> Dataset:
    return replace(dataset, fingerprint=files.digest(f"{dataset.fingerprint} {what}".encode()))


def _require_axes(medium: Medium) -> None:
    if not isinstance(medium.space, Real) or len(medium.space.shape) < 2:
        reason = "sound is given with sound, a picture with pictures, a film with films"
        todo = "leave data.given, data.pair and data.other out"
        raise MaquetteError("MQ-2009", path="medium", value=medium.space, reason=reason, todo=todo)


def documents(data: Data, medium: Medium) -> Iterator[np.ndarray]:
    """What can be read of the training rows of `data`, as items of `medium` before any cutting."""
    rows = find(data.source, medium, data.seed, data.columns).read().rows
    return learnt_from(loaded(rows, medium), medium, data.seed)


def find(source: str, medium: Medium, seed: int = 0, columns: Mapping[str, str] = {}) -> Source:
    """The reader's view of a source named as in a recipe; an embedded set's name wins over a folder of that name."""
    if source.startswith("hf:"):
        return hf.find(source.removeprefix("hf:"), medium, columns)
    if source in embedded.NAMES:
        return embedded.find(source, medium, seed)
    path = Path(source).expanduser()
    if path.is_dir():
        return hf.find(str(path), medium, columns) if _holds_tables(path) else folder.find(path, medium, columns)
    if path.suffix.lower() == ".parquet" and path.is_file():
        return hf.find(str(path), medium, columns)
    if path.is_file() and path.suffix.lower() in medium.suffixes and (medium.piece or isinstance(medium, InTime)):
        return folder.find(path, medium, columns)
    if path.is_file() and path.suffix.lower() in table.SUFFIXES:
        return table.find(path, medium, columns)
    if path.is_file():
        near = Phrase("a file of this kind is none by itself", "单个这样的文件不能作为数据集")
        raise MaquetteError("MQ-3013", source, source=source, near=near, names=", ".join(embedded.NAMES))
    there = [entry.name for entry in os.scandir(path.parent)] if path.parent.is_dir() else []
    near = nearest(source, [*embedded.NAMES, *(str(path.with_name(name)) for name in there)])
    if not near.startswith("nearest"):  # all that lie there are no help
        near = Phrase("no folder, file or embedded set is called so", "没有这样的文件夹、文件或内置数据集")
    raise MaquetteError("MQ-3013", source, source=source, near=near, names=", ".join(embedded.NAMES))


def _holds_tables(path: Path) -> bool:
    return any(entry.suffix == ".parquet" for entry in path.iterdir())
