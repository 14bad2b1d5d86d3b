"""Tables: metadata beside files, and a CSV or JSON-lines file that is a data set by itself."""

import csv
import io
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from maquette.core import files
from maquette.core.config import parse_json
from maquette.core.errors import MaquetteError
from maquette.data.dataset import Reading, Row, Source
from maquette.media.base import Medium

METADATA = ("metadata.jsonl", "metadata.csv")
SUFFIXES = (".csv", ".jsonl")
"""Of tables that are data sets by themselves."""
MAX_BYTES = 1 << 30
MAX_ROW = 16 << 20
"""Characters in a line of JSON."""
LABELS = ("label", "class")
CAPTION = "text"
"""The usual column of captions."""


class Entry(NamedTuple):
    """What a table says of one file."""

    label: str | None = None
    text: str = ""
    columns: Mapping[str, str] = {}


def read_metadata(path: Path, text: str | None = None, columns: Mapping[str, str] = {}) -> dict[str, Entry]:
    """`file_name` (relative to the table's folder) -> its label, caption and other columns.

    Args:
        columns: what the recipe calls the label and the caption.

    Raises:
        MaquetteError: MQ-3002 when a column that it names is not there, MQ-3014 for a missing column, a name that
            stands twice or leads out of the folder, text that is not UTF-8, CSV or JSON.
    """
    entries: dict[str, Entry] = {}
    found = records(path, text)
    there = dict.fromkeys(key for record in found for key in record)
    labels, caption = label_columns(there, columns, str(path)), caption_column(there, columns, str(path))
    for line, record in enumerate(found, 1):
        name = record.get("file_name", "")
        if not name:
            raise MaquetteError("MQ-3014", str(path), reason=f"row {line} has no file_name")
        normal = PurePosixPath(name.replace("\\", "/"))
        if normal.is_absolute() or ".." in normal.parts:
            raise MaquetteError("MQ-3014", str(path), reason=f"row {line} leads out of the folder: {name}")
        if normal.as_posix() in entries:
            raise MaquetteError("MQ-3014", str(path), reason=f"{name} stands there twice")
        entries[normal.as_posix()] = Entry(_label(record, labels), record.get(caption, ""), record)
    return entries


def records(path: Path, text: str | None = None) -> list[dict[str, str]]:
    """The rows of a .csv (first line: the names of the columns) or .jsonl file, every value as text."""
    text = _text(path) if text is None else text
    try:
        if path.suffix.lower() == ".jsonl":
            return [
                _record(parse_json(line, str(path)), n) for n, line in enumerate(text.split("\n"), 1) if line.strip()
            ]
        table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        return [{str(key): value or "" for key, value in record.items() if key is not None} for record in table]
    except (csv.Error, ValueError) as bad:
        raise MaquetteError("MQ-3014", str(path), reason=bad) from None
    except MaquetteError as bad:
        raise MaquetteError("MQ-3014", str(path), reason=bad.values["reason"]) from None


def find(path: Path, medium: Medium, columns: Mapping[str, str] = {}) -> Source:
    """A table as a data set: rows that name files, or (for a medium whose files are tables) rows that are items.

    Raises:
        MaquetteError: MQ-3014 when it is neither.
    """
    suffix, text = path.suffix.lower(), _text(path)
    if medium.columns and (medium.talks or "file_name" not in text.partition("\n")[0]):
        rows, stamps = _records(path, text, medium, columns), [dict(columns)]
    elif suffix == ".csv" and suffix in medium.suffixes:
        rows, stamps = _items(path, text, medium), []
    else:
        rows = [
            Row(name, partial(medium.read, path.parent / name), "", *entry, content=partial(hashed, path.parent / name))
            for name, entry in read_metadata(path, text, columns).items()
        ]
        stamps = [dict(columns), *(stamp(path.parent / row.name) for row in rows)]
    if not rows:
        raise MaquetteError("MQ-3002", str(path), what="row", todo="a table holds one sample a line")
    reading = Reading(rows=rows, count=len(rows))
    return Source(name=path.stem, place=str(path.absolute()), key=[text, stamps], read=lambda: reading)


def record_columns(there: Iterable[str], medium: Medium, columns: Mapping[str, str]) -> dict[str, str]:
    """What the medium calls the columns that an item is made of -> what they are called; {} when it finds none.

    Args:
        columns: other names, as the recipe has them.
    """
    there = set(there)
    named = ({own: columns.get(own, own) for own in needed} for needed in medium.columns)
    return next((names for names in named if there.issuperset(names.values())), {})


def label_columns(there: Iterable[str], columns: Mapping[str, str], where: str) -> list[str]:
    """Which of the columns `there` may hold the label: the one that the recipe's `columns` name, else the usual ones.

    Raises:
        MaquetteError: MQ-3002 when the one that is named is not there.
    """
    there = list(there)
    if "label" in columns and columns["label"] not in there:
        todo = f"its columns are: {', '.join(there) or 'unknown'}"
        raise MaquetteError("MQ-3002", where, what=f"column {columns['label']!r} of labels", todo=todo)
    return [columns["label"]] if "label" in columns else [name for name in LABELS if name in there]


def caption_column(there: Iterable[str], columns: Mapping[str, str], where: str) -> str:
    """The column that holds captions: the one that the recipe's `columns` name, else the usual one.

    Raises:
        MaquetteError: MQ-3002 when the one that is named is not there.
    """
    there = list(there)
    if "caption" in columns and columns["caption"] not in there:
        todo = f"its columns are: {', '.join(there) or 'unknown'}"
        raise MaquetteError("MQ-3002", where, what=f"column {columns['caption']!r} of captions", todo=todo)
    return columns.get("caption", CAPTION)


def _records(path: Path, text: str, medium: Medium, columns: Mapping[str, str]) -> list[Row]:
    """One item a row, made of the row's columns."""
    if path.suffix.lower() == ".jsonl":
        found: list[dict[str, Any]] = []
        for n, line in enumerate(text.split("\n"), 1):
            if len(line) > MAX_ROW:
                reason = f"line {n} is longer than {MAX_ROW >> 20} MB"
                raise MaquetteError("MQ-3014", str(path), reason=reason)
            if line.strip():
                tree = parse_json(line, f"{path}:{n}")
                found.append(tree if isinstance(tree, dict) else {})
    else:
        found = list(records(path, text))
    there = dict.fromkeys(key for record in found for key in record)
    names, labels = record_columns(there, medium, columns), label_columns(there, columns, str(path))
    if not names:
        wanted = " or ".join("+".join(needed) for needed in medium.columns)
        raise MaquetteError("MQ-3014", str(path), reason=f"it has no column {wanted} (data.columns can name others)")
    rows = []
    for n, record in enumerate(found, 1):
        name, chosen = f"{path.name}:{n}", {own: record.get(other) for own, other in names.items()}
        label = next((str(record[key]) for key in labels if record.get(key) not in (None, "")), None)
        rows.append(Row(name, partial(medium.from_record, chosen, name), "", label))
    return rows


def stamp(path: Path) -> list[int]:
    """What changes when a file does: its size and time; [-1, -1] when it is not there (reading it will say so)."""
    try:
        info = path.stat()
    except OSError:
        return [-1, -1]
    return [info.st_size, info.st_mtime_ns]


def hashed(path: Path) -> bytes:
    """The SHA-256 of a data file (links are followed, as they are to read it); raises MQ-3001 when it cannot be had."""
    try:
        return files.describe_file(path.resolve())["sha256"].encode()
    except OSError as bad:
        raise MaquetteError("MQ-3001", str(path), reason=bad.strerror or bad) from None


def _text(path: Path) -> str:
    try:
        return files.read_file(path.resolve(), MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as bad:
        raise MaquetteError("MQ-3014", str(path), reason=f"it is not UTF-8 text (byte {bad.start})") from None
    except MaquetteError as bad:
        raise MaquetteError("MQ-3014", str(path), reason=bad.values.get("reason", "it is not there")) from None


def _record(tree: object, line: int) -> dict[str, str]:
    if not isinstance(tree, dict):
        raise ValueError(f"line {line} is not an object")
    return {key: "" if value is None else str(value) for key, value in tree.items()}


def _label(record: dict[str, str], names: Iterable[str] = LABELS) -> str | None:
    return next((record[name] for name in names if record.get(name)), None)


def _items(path: Path, text: str, medium: Medium) -> list[Row]:
    """One item a line; with a first line of names, the column `label` or `class` is the label."""
    lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip() and line[0] != "#"]
    if not lines:
        return []
    named = not all(_is_number(cell) for cell in lines[0][1].split(","))
    table = records(path, "\n".join(line for _, line in lines)) if named else [{"": line} for _, line in lines]
    if len(table) != len(lines) - named:
        raise MaquetteError("MQ-3014", str(path), reason="a sample takes more than one line")
    rows = []
    for (n, _), record in zip(lines[named:], table, strict=True):
        item = ",".join(value for key, value in record.items() if key not in LABELS).encode()
        name = f"{path.name}:{n}"
        rows.append(Row(name, partial(medium.from_bytes, item, name), "", _label(record)))
    return rows


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
