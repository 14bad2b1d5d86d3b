"""A folder of files in the imagefolder convention -> rows.

    photos/cat/1.png                      labels from the first folder (when there are at least two)
    photos/train/… photos/test/…          splits (validation stands in when there is no test)
    photos/metadata.jsonl or .csv         file_name with label and text: then only the files it names are read
    photos/cat/1.txt                      the caption of photos/cat/1.png, where metadata say none

Without a test folder a tenth is held out by a hash of its content, so that copies of one file never straddle the split.
Hidden files and files of other suffixes are passed over and counted.
"""

import contextlib
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from maquette.core import files
from maquette.core.errors import MaquetteError, Phrase
from maquette.data.dataset import TEST, TRAIN, Reading, Row, Source, in_order
from maquette.data.table import METADATA, Entry, hashed, read_metadata, stamp
from maquette.media.base import Medium

SPLITS = {"train": TRAIN, "training": TRAIN, "test": TEST, "testing": TEST}
VALIDATION = {"validation", "valid", "val", "dev"}
SIDECAR = ".txt"
MAX_CAPTION = 64 << 10
"""Bytes of a file that holds a caption."""


def find(path: Path, medium: Medium, columns: Mapping[str, str] = {}) -> Source:
    """The rows of the folder at `path`.

    Args:
        columns: what the recipe calls the caption in metadata.

    Raises:
        MaquetteError: MQ-3002 when the folder holds nothing that `medium` reads, MQ-3014 for faulty metadata.
    """
    root = path.absolute()
    ignored: Counter[str] = Counter()
    sidecars: dict[str, list[int]] = {}
    if path.is_file():
        root, found, roots = root.parent, {path.name: list(stamp(path))}, {}
    else:
        found = {name: stamp for name, *stamp in sorted(_walk(root, "", medium, ignored, sidecars))}
        roots = splits_of(sorted(entry.name for entry in os.scandir(root) if entry.is_dir()))
    named = _named_for_splits(found) if medium.piece and not roots else {}
    entries = _metadata(root, [root, *(root / name for name in roots)], columns)
    kept = [name for name in found if _belongs(name, roots, entries, ignored)]
    missing = sorted(set(entries) - set(found))
    rows = [row for name in [*kept, *missing] for row in _rows(root, name, medium, roots | named, entries)]
    if not rows:
        raise _nothing(path, medium, ignored)
    labels = {row.label for row in rows if row.label is not None}
    if not entries and len(labels) < 2:
        labels, rows = set(), [row._replace(label=None) for row in rows]
    captions = {name: sidecars[side] for name in kept if (side := _sidecar(name)) in sidecars}
    ignored = ignored - Counter({SIDECAR: len(captions)})
    licence = _licence(root)
    return Source(
        name=path.absolute().stem or "folder",
        place=str(path.absolute()),
        key=[
            [[name, *found[name]] for name in kept],
            {name: [e.label, e.text, dict(e.columns)] for name, e in entries.items()},
            sorted((roots | named).items()),
            licence,
            *([captions] if captions else []),
        ],
        read=lambda: Reading(
            rows=_captioned(root, rows, captions), count=len(rows), classes=in_order(labels), licence=licence
        ),
        ignored=dict(sorted(ignored.items())),
    )


def _walk(
    root: Path, inside: str, medium: Medium, ignored: Counter[str], sidecars: dict[str, list[int]]
) -> Iterator[tuple[str, int, int]]:
    """The files that `medium` may read: path within `root`, size, time. What is passed over is counted, and text files,
    which may hold captions, are put into `sidecars`."""
    try:
        entries = list(os.scandir(root / inside))
    except OSError as bad:
        raise MaquetteError("MQ-3001", str(root / inside), reason=bad.strerror or bad) from None
    for entry in entries:
        name = f"{inside}/{entry.name}" if inside else entry.name
        suffix = Path(entry.name).suffix.lower()
        if entry.name.startswith("."):
            ignored["hidden"] += 1
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk(root, name, medium, ignored, sidecars)
        elif entry.name in METADATA:
            continue
        elif suffix in medium.suffixes:
            yield name, *_stamp(entry)
        else:
            ignored[suffix or "without a suffix"] += 1
            if suffix == SIDECAR:
                sidecars[name] = list(_stamp(entry))


def _sidecar(name: str) -> str:
    """Where the caption of the file `name` would stand."""
    return PurePosixPath(name).with_suffix(SIDECAR).as_posix()


def _captioned(root: Path, rows: list[Row], captions: Mapping[str, list[int]]) -> Iterable[Row]:
    """`rows`, those that have no caption yet with the text of the file beside them; unreadable text is none."""
    for row in rows:
        if row.name in captions and not row.text:
            with contextlib.suppress(MaquetteError, UnicodeDecodeError):
                text = files.read_file(root / _sidecar(row.name), MAX_CAPTION).decode("utf-8-sig")
                row = row._replace(text=" ".join(text.split()))
        yield row


def _stamp(entry: os.DirEntry[str]) -> tuple[int, int]:
    """What changes when the file does; of a link to nowhere (-1, -1), and reading it will say so."""
    try:
        info = entry.stat()
    except OSError:
        return -1, -1
    return info.st_size, info.st_mtime_ns


def splits_of(names: Iterable[str]) -> dict[str, str]:
    """Which of `names` (of folders, of a table's parts) are read as which split; {} when they are no splits at all."""
    splits = {name: SPLITS[name.lower()] for name in names if name.lower() in SPLITS}
    if TRAIN not in splits.values():
        return {}
    if TEST not in splits.values():
        splits |= {name: TEST for name in names if name.lower() in VALIDATION}
    # With nothing held out, what there is is split by content.
    return splits if TEST in splits.values() else dict.fromkeys(splits, "")


def _metadata(root: Path, folders: list[Path], columns: Mapping[str, str]) -> dict[str, Entry]:
    """File name within `root` -> what the metadata say of it."""
    entries: dict[str, Entry] = {}
    for folder in folders:
        for path in (folder / name for name in METADATA):
            if path.is_file():
                for name, entry in read_metadata(path, columns=columns).items():
                    entries[(folder / name).relative_to(root).as_posix()] = entry
    return entries


def _belongs(name: str, roots: dict[str, str], entries: dict[str, Entry], ignored: Counter[str]) -> bool:
    """Whether a file that was found is one of the set; one that is not is counted."""
    if roots and name.partition("/")[0] not in roots:
        ignored[f"outside {'/, '.join(roots)}/"] += 1
        return False
    if entries and name not in entries:
        ignored["not in the metadata"] += 1
        return False
    return True


def _rows(root: Path, name: str, medium: Medium, splits: dict[str, str], entries: dict[str, Entry]) -> Iterator[Row]:
    """The file as one row, or as several where the medium wants large files in pieces."""
    top, _, rest = name.partition("/")
    inside = top in splits and bool(rest)
    label, slash, _ = (rest if inside else name).partition("/")
    entry = entries.get(name) or Entry(label=label if slash else None)
    split = splits.get(top, "")
    parts = pieces(root / name, medium.piece) if medium.piece else []
    if len(parts) < 2:
        content = None if medium.piece else partial(hashed, root / name)
        yield Row(name, lambda: medium.read(root / name), split, *entry, content=content)
    for start, end in parts if len(parts) > 1 else []:
        load = partial(_piece, root / name, start, end, medium)
        yield Row(f"{name}:{start}", load, split, entry.label, entry.text)


def pieces(path: Path, size: int) -> list[tuple[int, int]]:
    """(start, end) of the parts of about `size` bytes of a text file, cut after a line's end, or after a character
    where a line is longer than a part; [] when it cannot be opened (reading it will say why)."""
    cuts = [0]
    try:
        with open(path, "rb") as file:
            total = os.fstat(file.fileno()).st_size
            while total - cuts[-1] > 1.5 * size:
                file.seek(cuts[-1] + size)
                line = file.readline(size // 2)
                at = file.tell()
                if not line.endswith(b"\n"):  # too long a line: the first byte from here that begins a character
                    file.seek(cuts[-1] + size)
                    at = cuts[-1] + size + next((i for i, byte in enumerate(file.read(4)) if byte & 0xC0 != 0x80), 0)
                cuts.append(at)
    except OSError:
        return []
    return list(itertools.pairwise([*cuts, total]))


def _piece(path: Path, start: int, end: int, medium: Medium) -> np.ndarray:
    name = f"{path}:{start}"
    try:
        with open(path, "rb") as file:
            file.seek(start)
            data = file.read(end - start)
    except OSError as bad:
        raise MaquetteError("MQ-3001", name, reason=bad.strerror or bad) from None
    return medium.from_bytes(data, name)


def _named_for_splits(names: Iterable[str]) -> dict[str, str]:
    """File -> split when all files are called train.*, test.*, validation.* …; {} otherwise."""
    stems = {name: Path(name).stem for name in names}
    splits = splits_of(sorted(set(stems.values())))
    return {name: splits[stem] for name, stem in stems.items()} if splits.keys() >= set(stems.values()) else {}


def _nothing(path: Path, medium: Medium, ignored: Counter[str]) -> MaquetteError:
    kind = type(medium).__name__.lower()
    suffixes = ", ".join(sorted(medium.suffixes))
    others = ", ".join(f"{n} {what}" for what, n in sorted(ignored.items()))
    english, chinese = f"{kind} files end in {suffixes}", f"{kind} 文件的后缀是 {suffixes}"
    if others:
        english, chinese = f"{english}; passed over: {others}", f"{chinese}；跳过了：{others}"
    return MaquetteError(
        "MQ-3002", str(path), what=Phrase(f"{kind} file", f"{kind} 文件"), todo=Phrase(english, chinese)
    )


def _licence(root: Path) -> str:
    """The first line of a licence file, if there is one."""
    for name in sorted(entry.name for entry in os.scandir(root)):
        if Path(name).stem.upper() in ("LICENSE", "LICENCE", "COPYING"):
            try:
                text = files.read_file(root / name, 1 << 20).decode("utf-8", "replace")
            except MaquetteError:  # a folder of that name, or one that may not be read
                continue
            return next((line.strip()[:200] for line in text.splitlines() if line.strip()), "not stated")
    return "not stated"
