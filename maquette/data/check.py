"""`maquette data check`: what a folder holds and what is wrong with it, every file by its name."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from maquette.core import files
from maquette.core.errors import MaquetteError, Sentence, told
from maquette.data import near
from maquette.data.dataset import Row, Source
from maquette.data.pack import loaded, watched
from maquette.data.source import find
from maquette.media.base import Facts, Medium

SPLITS = {"train": "训练集", "test": "测试集"}
PASSED = {"hidden": "隐藏文件", "without a suffix": "没有后缀的文件", "not in the metadata": "元数据中没有的文件"}
"""Why files are passed over, in Chinese; other reasons are suffixes and names of folders."""
UNITS = {"s": "秒", "quarter notes": "个四分音符"}
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

    def lines(self) -> list[Sentence]:
        """A page for a person, in English and in Chinese: totals first, then each finding with its first names."""
        total = self.readable + len(self.bad)
        said, zh = f"{self.readable:,} of {total:,} files can be read", f"{total:,} 个文件中可读取 {self.readable:,} 个"
        out = [Sentence(f"{self.source}: {said}", f"{self.source}：{zh}")]
        for split, counts in self.classes.items():
            labels, n = _counts({label: n for label, n in counts.items() if label}), sum(counts.values())
            zh = f"  {SPLITS.get(split, split) or '全部'}：{n:,} 个{labels.zh}"
            out.append(Sentence(f"  {split or 'all'}: {n:,}{labels}", zh))
        if self.sizes:
            smallest, median, largest = (" x ".join(map(str, size)) for size in self.sizes)
            said, zh = (
                f"{smallest} to {largest}, median {median} {self.unit}",
                f"{smallest} 至 {largest}，中位数 {median}",
            )
            out.append(
                Sentence(
                    f"  sizes: {said}".rstrip(), f"  大小：{zh} {told(UNITS.get(self.unit, self.unit), 'zh')}".rstrip()
                )
            )
        where, zh = (f", moved to {self.moved}", f"，已移至 {self.moved}") if self.moved else ("", "")
        out += _named(f"cannot be read{where}", f"个无法读取{zh}", [_with(name, why) for name, why in self.bad])
        out += _named("of a size that does not suit", "个大小不合适", [_with(name, why) for name, why in self.off])
        out += _named("groups of exact copies", "组完全相同", [" = ".join(group) for group in self.copies])
        out += _named("groups of near copies", "组几乎相同", [" ~ ".join(group) for group in self.near])
        leaks = [" = ".join(group) for group in self.leaks]
        out += _named("groups in more than one split (leakage)", "组跨越多个划分（数据泄漏）", leaks)
        for note, names in self.notes.items():
            out += _named(note, f"个：{told(note, 'zh')}", names)
        if self.ignored:
            said = ", ".join(f"{n:,} {what}" for what, n in self.ignored.items())
            zh = "，".join(f"{n:,} 个{PASSED.get(what, f' {what}')}" for what, n in self.ignored.items())
            out.append(Sentence(f"passed over: {said}", f"跳过了：{zh}"))
        if self.unchecked:
            out.append(Sentence(f"not checked: {self.unchecked}", f"未检查：{told(self.unchecked, 'zh')}"))
        return [*out, Sentence("nothing to mend", "没有需要修正的地方")] if self.good else out


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
            report.bad.append((row.name, item.values.get("reason", item.code)))
            continue
        seen.add(item)
        rows.append(row._replace(load=_nothing, content=None))  # what it holds is no longer needed
        facts = _facts(root / row.name, row, medium)
        if facts.size:
            sizes.append(facts.size)
            report.unit = facts.unit
        if facts.off:
            size = " x ".join(map(str, facts.size))
            report.off.append((row.name, Sentence(f"{size}, {facts.off}", f"{size}，{told(facts.off, 'zh')}")))
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
            zh = f"前 {near.MOST:,} 个文件之后的近似重复"
            report.unchecked = Sentence(f"near copies beyond the first {near.MOST:,} files", zh)
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
        why = bad.values.get("reason", bad.code)
        zh = f"在无关紧要处损坏：{told(why, 'zh')}"
        return Facts(notes=(Sentence(f"damaged where it does not matter: {why}", zh),))


def _move(report: CheckReport, source: Source, root: Path, to: Path) -> None:
    for name, _ in report.bad:
        if (root / name).is_file():
            files.move_file(root / name, to / name)
            report.moved = str(to)


def _nothing() -> np.ndarray:
    return np.empty(0)


def _counts(labelled: dict[str, int]) -> Sentence:
    if not labelled:
        return Sentence(", no labels", "，没有标签")
    shown = [f"{label} {n:,}" for label, n in list(labelled.items())[: 2 * SHOWN]]
    shown += ["…"] if len(labelled) > 2 * SHOWN else []
    n = len(labelled)
    return Sentence(f" in {n} classes ({', '.join(shown)})", f"，分为 {n} 类（{'，'.join(shown)}）")


def _with(name: str, reason: str) -> Sentence:
    return Sentence(f"{name}: {reason}", f"{name}：{told(reason, 'zh')}")


def _named(what: str, chinese: str, names: Sequence[str]) -> list[Sentence]:
    """How many there are of a finding, and the first of their names."""
    if not names:
        return []
    left = len(names) - SHOWN
    more = [Sentence(f"  … and {left:,} more", f"  …… 另有 {left:,} 个")] if left > 0 else []
    shown = [Sentence(f"  {name}", f"  {told(name, 'zh')}") for name in names[:SHOWN]]
    return [Sentence(f"{len(names):,} {what}:", f"{len(names):,} {chinese}："), *shown, *more]
