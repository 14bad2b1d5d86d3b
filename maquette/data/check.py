"""`maquette data check`: what a folder holds and what is wrong with it, every file by its name."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from maquette.core import files
from maquette.core.errors import MaquetteError
from maquette.data import near
from maquette.data.dataset import Row, Source
from maquette.data.pack import loaded, watched
from maquette.data.source import find
from maquette.media.base import Facts, Medium

SHOWN = 10
"""Names that `lines` shows of each list; `to_tree` has them all."""


@dataclass(kw_only=True)
class CheckReport:
    """What `check` found.

    Attributes:
        source: as it was named.
        readable: how many samples can be read.
        bad: name and reason of each file that cannot.
        moved: where the bad ones are now, "" when they were left.
        classes: split ("" when the source has none) -> label ("" for none) -> how many.
        sizes: the smallest, median and largest size (by area) of the files, in `unit` or, without, their own.
        off: name and reason of each file whose size does not suit the medium.
        copies: groups of names with the very same content once read.
        near: groups of names that look the same.
        leaks: those of the groups that have members in more than one split.
        notes: what reading changes about files -> their names.
        ignored: how many files were passed over, by reason or suffix.
        unchecked: what was not looked at, in a sentence; "" when everything was.
    """

    source: str
    readable: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)
    moved: str = ""
    classes: dict[str, dict[str, int]] = field(default_factory=dict)
    sizes: list[tuple[int | float, ...]] = field(default_factory=list)
    unit: str = ""
    off: list[tuple[str, str]] = field(default_factory=list)
    copies: list[list[str]] = field(default_factory=list)
    near: list[list[str]] = field(default_factory=list)
    leaks: list[list[str]] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)
    unchecked: str = ""

    @property
    def good(self) -> bool:
        """Whether there is nothing that a person should mend."""
        return not (self.bad or self.leaks or self.copies)

    def to_tree(self) -> dict[str, Any]:
        """Plain data, everything in full."""
        return asdict(self)

    def lines(self) -> list[str]:
        """A page for a person: totals first, then each finding with its first names."""
        total = self.readable + len(self.bad)
        out = [f"{self.source}: {self.readable:,} of {total:,} files can be read"]
        for split, counts in self.classes.items():
            labelled = {label: n for label, n in counts.items() if label}
            out.append(f"  {split or 'all'}: {sum(counts.values()):,}" + _counts(labelled))
        if self.sizes:
            smallest, median, largest = (" x ".join(map(str, size)) for size in self.sizes)
            out.append(f"  sizes: {smallest} to {largest}, median {median} {self.unit}".rstrip())
        where = f", moved to {self.moved}" if self.moved else ""
        out += _named(f"cannot be read{where}", [f"{name}: {reason}" for name, reason in self.bad])
        out += _named("of a size that does not suit", [f"{name}: {reason}" for name, reason in self.off])
        out += _named("groups of exact copies", [" = ".join(group) for group in self.copies])
        out += _named("groups of near copies", [" ~ ".join(group) for group in self.near])
        out += _named("groups in more than one split (leakage)", [" = ".join(group) for group in self.leaks])
        for note, names in self.notes.items():
            out += _named(note, names)
        if self.ignored:
            out.append("passed over: " + ", ".join(f"{n:,} {what}" for what, n in self.ignored.items()))
        if self.unchecked:
            out.append(f"not checked: {self.unchecked}")
        return [*out, "nothing to mend"] if self.good else out


def check(folder: Path | str, medium: Medium, move_bad: Path | str | None = None) -> CheckReport:
    """Read every file of a folder (or any other source) as `medium` would, and say what was found.

    Args:
        move_bad: where files that cannot be read are moved to, keeping their places in the folder.

    Raises:
        MaquetteError: as opening the source does, but never for files that cannot be read.
    """
    source = find(str(folder), medium)
    reading, root = source.read(), Path(source.place)
    report = CheckReport(source=str(folder), ignored=source.ignored)
    rows: list[Row] = []
    seen = _Copies()
    sizes: list[tuple[int | float, ...]] = []
    for row, item in watched(loaded(reading.rows, medium), source.name, reading.count):
        if isinstance(item, MaquetteError):
            report.bad.append((row.name, str(item.values.get("reason", item.code))))
            continue
        seen.add(item)
        rows.append(row._replace(load=_nothing, content=None))  # what it holds is no longer needed
        facts = _facts(root / row.name, row, medium)
        if facts.size:
            sizes.append(facts.size)
            report.unit = facts.unit
        if facts.off:
            report.off.append((row.name, f"{' x '.join(map(str, facts.size))}, {facts.off}"))
        for note in facts.notes:
            report.notes.setdefault(note, []).append(row.name)
    report.readable = len(rows)
    report.classes = _classes(rows)
    ordered = sorted(sizes, key=lambda size: (int(np.prod(size)), size))
    report.sizes = [ordered[0], ordered[len(ordered) // 2], ordered[-1]] if ordered else []
    _find_copies(report, rows, seen)
    if move_bad is not None:
        _move(report, source, root, Path(move_bad))
    return report


class _Copies:
    """What is kept of each item to find its copies."""

    def __init__(self) -> None:
        self.hashes: dict[bytes, list[int]] = defaultdict(list)
        self.thumbnails: list[np.ndarray] = []
        self.n = 0

    def add(self, item: np.ndarray) -> None:
        self.hashes[blake2b(item.tobytes(), digest_size=16).digest()].append(self.n)
        if item.ndim in (3, 4) and self.n < near.MOST:
            self.thumbnails.append(near.thumbnail(item))
        self.n += 1


def _find_copies(report: CheckReport, rows: list[Row], seen: _Copies) -> None:
    exact = [members for members in seen.hashes.values() if len(members) > 1]
    alike: list[list[int]] = []
    if seen.thumbnails:
        alike = near.groups(near.pairs(np.stack(seen.thumbnails)), len(seen.thumbnails))
        if seen.n > len(seen.thumbnails):
            report.unchecked = f"near copies beyond the first {near.MOST:,} files"
    same = {frozenset(group) for group in exact}
    alike = [group for group in alike if not any(same_group >= set(group) for same_group in same)]
    leaking = [group for group in [*exact, *alike] if len({rows[i].split for i in group}) > 1]

    def named(groups: Iterable[list[int]]) -> list[list[str]]:
        return [[rows[i].name for i in group] for group in groups]

    report.copies, report.near, report.leaks = named(exact), named(alike), named(leaking)


def _classes(rows: list[Row]) -> dict[str, dict[str, int]]:
    counts = Counter((row.split, row.label or "") for row in rows)
    classes: dict[str, dict[str, int]] = {}
    for (split, label), n in sorted(counts.items()):
        classes.setdefault(split, {})[label] = n
    return classes


def _facts(path: Path, row: Row, medium: Medium) -> Facts:
    """What the medium says of the file itself; nothing for rows of a table."""
    if not path.is_file():
        return Facts()
    try:
        return medium.facts(files.read_file(path.resolve()), row.name)
    except MaquetteError as bad:  # its item could be read, so it is no bad file
        return Facts(notes=(f"damaged where it does not matter: {bad.values.get('reason', bad.code)}",))


def _move(report: CheckReport, source: Source, root: Path, to: Path) -> None:
    for name, _ in report.bad:
        if (root / name).is_file():
            files.move_file(root / name, to / name)
            report.moved = str(to)


def _nothing() -> np.ndarray:
    return np.empty(0)


def _counts(labelled: dict[str, int]) -> str:
    if not labelled:
        return ", no labels"
    shown = ", ".join(f"{label} {n:,}" for label, n in list(labelled.items())[: 2 * SHOWN])
    return f" in {len(labelled)} classes ({shown}{', …' if len(labelled) > 2 * SHOWN else ''})"


def _named(what: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = [f"  … and {len(names) - SHOWN:,} more"] if len(names) > SHOWN else []
    return [f"{len(names):,} {what}:", *(f"  {name}" for name in names[:SHOWN]), *more]
