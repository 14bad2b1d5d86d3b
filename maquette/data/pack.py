"""Read once, map ever after: rows become one memory-mapped file a split, in the cache folder.

A pack is a committed folder: `train.items` and `test.items` (items one after another, as the medium stores them),
`*.images` (the pictures given with them, where there are any), `*.labels` (int64), `*.notes` (one JSON line [name,
caption] a row), `index.json`. It is opened when its key is that of the source as it stands now and its files have the
hashes that were written, and made again otherwise.
"""

import contextlib
import hashlib
import itertools
import json
import math
import os
import re
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maquette.core import cancel, files
from maquette.core.errors import MaquetteError
from maquette.data.dataset import TEST, TRAIN, By, Dataset, Row, Source, Split, in_order
from maquette.media.base import InTime, Medium

FORMAT = 2
HELD_OUT = 0.1
"""Share of the rows that are tested on when a source has no split of its own."""
HASHED_BYTES = 1 << 30
"""Up to this size a pack is hashed whole whenever it is opened; of a larger one the sizes are compared."""
CHUNK = 64
"""Rows that one thread reads at a time …"""
LARGE = 1 << 16
"""… one where items have so many numbers and more: several chunks are held in memory."""


def packed(source: Source, medium: Medium, max_bad: float, seed: int = 0, by: By = "content") -> Dataset:
    """The dataset of `source`, from its pack or through a new one.

    Args:
        by: what decides where rows without a split lie.

    Raises:
        MaquetteError: MQ-3003 when more than `max_bad` of the rows cannot be read, MQ-3002 when none can.
    """
    divided = Divided(medium, seed, by)
    identity = [source.place, *medium.identity, seed, *([] if by == "item" else [by])]
    folder = files.cache_folder() / f"{_slug(source.name)}-{digest(identity)[:16]}"
    key = digest([FORMAT, source.key])
    dataset = _opened(folder, key, source, medium)
    if dataset is None:
        with turn(folder):
            dataset = _opened(folder, key, source, medium)  # another process may have packed it meanwhile
            if dataset is None:
                files.commit_folder(folder, lambda aside: _fill(aside, key, source, divided, max_bad))
                dataset = _opened(folder, key, source, medium)
    if dataset is None:
        raise MaquetteError("MQ-5003", str(folder), reason="what was just packed cannot be read back")
    total = len(dataset.train) + len(dataset.test) + len(dataset.bad)
    _refuse_many(dataset.bad, total, max_bad, source)
    return dataset


# -- opening ----------------------------------------------------------------------------------------------------------


def _opened(folder: Path, key: str, source: Source, medium: Medium) -> Dataset | None:
    """The pack at `folder`, or None when it is missing, of another key, or damaged."""
    pack = whole(folder, key)
    if pack is None:
        return None
    index, paired = pack.read_json("index.json"), "train.images" in pack.listed
    splits = {split: _split(folder, split, index["rows"][split], medium, paired) for split in (TRAIN, TEST)}
    content = {name: entry["sha256"] for name, entry in pack.listed.items() if name != "index.json"}
    return Dataset(
        train=splits[TRAIN],
        test=splits[TEST],
        classes=index["classes"],
        fingerprint=digest([content, index["classes"]]),
        licence=index["licence"],
        bad=[(name, reason) for name, reason in index["bad"]],
        ignored=source.ignored | index.get("passed", {}),
        modes=source.modes,
        pitches=source.pitches,
    )


def whole(folder: Path, key: str) -> files.Folder | None:
    """The pack at `folder` if it is of this key and its files are those that were written."""
    try:
        pack = files.Folder(folder)
        return pack if pack.read_json("index.json")["key"] == key and _undamaged(pack) else None
    except MaquetteError:
        return None


def _undamaged(pack: files.Folder) -> bool:
    paths = {pack.path / name: entry for name, entry in pack.listed.items()}
    try:
        if sum(entry["bytes"] for entry in paths.values()) <= HASHED_BYTES:
            return all(files.describe_file(path) == entry for path, entry in paths.items())
        return all(path.stat().st_size == entry["bytes"] for path, entry in paths.items())
    except OSError:
        return False


def _split(folder: Path, split: str, n: int, medium: Medium, paired: bool) -> Split:
    def notes() -> list[list[str]]:
        return [json.loads(line) for line in files.read_file(folder / f"{split}.notes").splitlines()]

    def mapped(name: str) -> np.ndarray:
        if not n:
            return np.empty((0, *medium.stored), medium.dtype)
        # copy on write: torch may share the memory without a warning, and the file stays as it is
        return np.asarray(np.memmap(folder / f"{split}.{name}", medium.dtype, mode="c", shape=(n, *medium.stored)))

    labels = np.frombuffer(bytearray(files.read_file(folder / f"{split}.labels")), dtype=np.int64)
    return Split(mapped("items"), labels, notes, images=mapped("images") if paired else None)


# -- packing ----------------------------------------------------------------------------------------------------------


class _Side:
    """The rows of one split while they are written; `append_image` takes what is given with each, if anything is."""

    def __init__(
        self, append: Callable[[bytes], object], append_image: Callable[[bytes], object] | None, medium: Medium
    ):
        self.append, self.append_image = append, append_image
        self.cutter = medium.cutter()
        self.labels: list[str | None] = []
        self.notes: list[tuple[str, str]] = []
        self.places: list[float] = []

    def add(self, row: Row, item: np.ndarray, image: np.ndarray | None, place: float = 0.0) -> None:
        """Write what becomes of a row; `place` is where its content would put it (see `Divided.place`)."""
        self._write(self.cutter.put(item), row, place)
        if image is not None and self.append_image is not None:
            for part in self.cutter.put(image):
                self.append_image(part.tobytes())

    def close(self) -> None:
        self._write(self.cutter.rest(), Row("the end", lambda: np.empty(0)))

    def _write(self, items: list[np.ndarray], row: Row, place: float = 0.0) -> None:
        for item in items:
            self.append(item.tobytes())
            self.places.append(place)
            self.labels.append(row.label if self.cutter.apart else None)
            self.notes.append((row.name, row.text))


def _fill(aside: Path, key: str, source: Source, divided: "Divided", max_bad: float) -> None:
    reading, bad, medium = source.read(), list[tuple[str, str]](), divided.medium
    undecided = False
    with contextlib.ExitStack() as stack:

        def appending(split: str, name: str) -> Callable[[bytes], object]:
            return stack.enter_context(files.putting(aside / f"{split}.{name}"))

        sides = {
            s: _Side(appending(s, "items"), appending(s, "images") if source.paired else None, medium)
            for s in (TRAIN, TEST)
        }
        for row, item in watched(loaded(reading.rows, medium), source.name, reading.count):
            if isinstance(item, MaquetteError):
                bad.append((row.name, str(item.values.get("reason", item.code))))
                _refuse_many(bad, reading.count, max_bad, source)
                continue
            if isinstance(medium, InTime):
                for split, parts in zip((TRAIN, TEST), in_time(row, item, medium), strict=True):
                    for part in parts:
                        sides[split].add(row, part, None)
                continue
            undecided |= not row.split
            item, image = item if source.paired else (item, None)
            place = 0.0 if row.split else divided.place(row, item)
            sides[row.split or divided.side(place)].add(row, item, image, place)
        for side in sides.values():
            side.close()
    if not any(side.labels for side in sides.values()):
        first = f"first: {bad[0][0]}: {bad[0][1]}" if bad else "the source is empty"
        raise MaquetteError("MQ-3002", source.place, what=f"readable {type(medium).__name__.lower()}", todo=first)
    if undecided and not all(side.labels for side in sides.values()):
        _share(aside, sides, divided)
    labels = itertools.chain.from_iterable(side.labels for side in sides.values())
    classes = in_order({label for label in labels if label is not None}) if reading.classes is None else reading.classes
    number = {label: i for i, label in enumerate(classes)}
    for split, side in sides.items():
        numbers = np.array([-1 if label is None else number[label] for label in side.labels], dtype=np.int64)
        files.put(aside / f"{split}.labels", numbers.tobytes())
        files.put(aside / f"{split}.notes", "".join(json.dumps(note) + "\n" for note in side.notes).encode())
    rows = {split: len(side.labels) for split, side in sides.items()}
    passed = sum((Counter(side.cutter.passed) for side in sides.values()), Counter[str]())
    index = {"key": key, "rows": rows, "classes": classes, "licence": reading.licence, "bad": bad, "passed": passed}
    files.put_json(aside / "index.json", index)


def _share(aside: Path, sides: dict[str, _Side], divided: "Divided") -> None:
    """So few rows that the hash put all on one side: those of the lowest hash are tested on, all others learnt from."""
    medium, seed = divided.medium, divided.seed
    all_on = next(split for split, side in sides.items() if side.labels)
    if not medium.whole:
        return _share_stream(aside, sides, all_on, medium)
    names = ["items", "images"] if sides[all_on].append_image else ["items"]
    parts = {n: np.fromfile(aside / f"{all_on}.{n}", medium.dtype).reshape(-1, *medium.stored) for n in names}
    labels, notes = sides[all_on].labels, sides[all_on].notes
    places = sides[all_on].places
    if divided.by == "item":  # each window for itself
        places = [_hash(medium.content(item), seed) for item in parts["items"]]
    tested = _lowest(places)
    for split, chosen in ((TRAIN, ~tested), (TEST, tested)):
        for name, rows in parts.items():
            files.put(aside / f"{split}.{name}", rows[chosen].tobytes())
        sides[split].labels = list(itertools.compress(labels, chosen))
        sides[split].notes = list(itertools.compress(notes, chosen))


def _lowest(hashes: list[float]) -> np.ndarray:
    """Which are the lowest, bool [n]; when all are copies of one, it is learnt from."""
    numbers = np.array(hashes)
    return (numbers == numbers.min()) & (numbers != numbers.max())


def _share_stream(aside: Path, sides: dict[str, _Side], all_on: str, medium: Medium) -> None:
    """The last tenth of a stream, whose items are no rows, is tested on. It may be long, though all of it is alike."""
    labels, notes, size = sides[all_on].labels, sides[all_on].notes, math.prod(medium.stored) * medium.dtype.itemsize
    head = len(labels) - round(HELD_OUT * len(labels))
    with open(aside / f"{all_on}.items", "rb") as file:
        if all_on != TRAIN:
            with files.putting(aside / f"{TRAIN}.items") as append:
                for _ in range(head):
                    append(file.read(size))
        file.seek(head * size)
        tail = file.read()
    files.put(aside / f"{TEST}.items", tail)
    if all_on == TRAIN:
        files.shorten(aside / f"{TRAIN}.items", head * size)
    for split, part in ((TRAIN, slice(head)), (TEST, slice(head, None))):
        sides[split].labels, sides[split].notes = labels[part], notes[part]


def in_time(row: Row, item: np.ndarray, medium: InTime) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What of a row is learnt from and what is tested on, where that is a matter of time and not of content."""
    return medium.apart(item, {TRAIN: 0.0, TEST: 1.0}.get(row.split, HELD_OUT))


def learnt_from(
    pairs: Iterable[tuple[Row, np.ndarray | MaquetteError]], medium: Medium, seed: int, by: By = "content"
) -> Iterator[np.ndarray]:
    """What `packed` puts into its training split, as it was read: for what is learnt of it before it can be packed.

    Rows without a split wait until both sides have some. Where all fall on one, a stream's last tenth is left out by
    its length as read, not by windows, as nobody knows yet how many tokens it will be.
    """
    sides, waiting, divided = set[str](), list[tuple[str, float, np.ndarray]](), Divided(medium, seed, by)
    for row, item in pairs:
        if not isinstance(item, np.ndarray):
            continue
        if isinstance(medium, InTime):
            yield from in_time(row, item, medium)[0]
            continue
        place = 0.0 if row.split else divided.place(row, item)
        side = row.split or divided.side(place)
        sides.add(side)
        waiting.append((side, place, item))
        if row.split or len(sides) > 1:
            yield from (item for side, _, item in waiting if side == TRAIN)
            waiting.clear()
    items = [item for _, _, item in waiting]
    if items and medium.whole:
        yield from itertools.compress(items, ~_lowest([place for _, place, _ in waiting]))
        return
    left = sum(map(len, items))
    left -= round(HELD_OUT * left)
    for item in items:
        yield item[:left]
        left = max(0, left - len(item))


@dataclass(frozen=True)
class Divided:
    """How rows without a split of their own are divided: see `Data.split`."""

    medium: Medium
    seed: int
    by: By

    def place(self, row: Row, item: np.ndarray) -> float:
        """A number in [0, 1) that the content alone decides on."""
        held = None if self.by == "item" else row.content
        return _hash(self.medium.content(item) if held is None else held(), self.seed)

    @staticmethod
    def side(place: float) -> str:
        return TEST if place < HELD_OUT else TRAIN


def _hash(content: bytes, seed: int) -> float:
    """A number in [0, 1) that depends on the content alone: copies of it fall on the same side of the split."""
    found = hashlib.blake2b(content, digest_size=8, salt=(seed % 2**64).to_bytes(8, "little")).digest()
    return int.from_bytes(found, "little") / 2**64


def loaded(rows: Iterable[Row], medium: Medium) -> Iterator[tuple[Row, np.ndarray | MaquetteError]]:
    """Each row with its item, or with why it has none; read by several threads, in order, a few chunks ahead."""
    size = CHUNK if math.prod(medium.stored) < LARGE else 1

    def load(chunk: list[Row]) -> list[tuple[Row, np.ndarray | MaquetteError]]:
        return [(row, _try(row)) for row in chunk]

    rows, workers = iter(rows), os.cpu_count() or 1
    waiting: deque[Any] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for chunk in iter(lambda: list(itertools.islice(rows, size)), []):
            cancel.check()
            waiting.append(pool.submit(load, chunk))
            if len(waiting) > 2 * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _try(row: Row) -> np.ndarray | MaquetteError:
    try:
        return row.load()
    except MaquetteError as bad:
        return bad


def watched(pairs: Iterable[Any], name: str, count: int | None) -> Iterable[Any]:
    """A progress bar where a person is watching."""
    if not sys.stderr.isatty():
        return pairs
    from rich.console import Console
    from rich.progress import track

    return track(pairs, f"reading {name}", total=count, console=Console(stderr=True), transient=True)


def _refuse_many(bad: list[tuple[str, str]], total: int | None, max_bad: float, source: Source) -> None:
    if total is not None and len(bad) > max_bad * total:
        first = f"{bad[0][0]}: {bad[0][1]}"
        raise MaquetteError(
            "MQ-3003", source.place, bad=len(bad), total=total, share=f"{100 * max_bad:g}%", first=first
        )


@contextlib.contextmanager
def turn(folder: Path) -> Iterator[None]:
    """One process packs at a time; the others wait (the kernel lets go of the lock when its holder dies)."""
    with contextlib.ExitStack() as stack:
        while True:
            cancel.check()
            try:
                stack.enter_context(files.lock(folder.parent / f".{folder.name}.lock"))
                break
            except MaquetteError as busy:
                if busy.code != "MQ-4001":
                    raise
                time.sleep(0.1)
        yield


def digest(tree: Any) -> str:
    return files.digest(json.dumps(tree, sort_keys=True).encode())


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name)[:40].strip("-.") or "data"
