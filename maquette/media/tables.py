"""Columns of numbers in CSV files: which there are, and what is missing in them."""

import csv
import io
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

MOST = 10_000
"""Columns that a file may have."""
LOOKED_AT = 1_000
"""Rows by which it is judged whether a column holds numbers."""
TIMES = {"", "index", "date", "datetime", "time", "timestamp", "ds", "year", "month", "day", "hour", "minute", "unix"}
"""Names of columns that say when, in lower case: they are passed over unless asked for."""


@dataclass(frozen=True)
class Table:
    """The columns that were asked for, float32 [rows, columns], the line of each row, and the names of the others."""

    values: np.ndarray
    lines: list[int]
    others: list[str]


def read(data: bytes, names: Sequence[str], count: int) -> Table:
    """The columns called `names`, or the first `count` that hold numbers and do not say when.

    Rows of text, missing cells and what is not finite are NaN. The first line names the columns if none of it is a
    number; cells are parted by commas, semicolons or tabs.

    Raises:
        ValueError, csv.Error: with what is wrong.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as bad:
        raise ValueError(f"it is not UTF-8 text (byte {bad.start})") from None
    lines, cells = _cells(text)
    if not cells:
        raise ValueError("it is empty")
    head = [cell.strip() for cell in cells[0]]
    if len(head) > MOST:
        raise ValueError(f"it has {len(head):,} columns")
    if named := np.isnan([_number(cell) for cell in head]).all():
        lines, cells = lines[1:], cells[1:]
    else:
        head = [f"number {i + 1}" for i in range(len(head))]
    if not cells:
        raise ValueError("it has no rows")
    if missing := [name for name in names if name not in head or not named]:
        raise ValueError(f"it has no column {missing[0]!r}; its columns are {listed(head)}")
    first = [_column(cells[:LOOKED_AT], i) for i in range(len(head))]
    when = [i for i, name in enumerate(head) if name.lower() in TIMES or _is_time(first[i])]
    others = (i for i in range(len(head)) if i not in when and _holds_numbers(first[i]))
    chosen = [head.index(name) for name in names] or list(itertools.islice(others, count))
    if len(chosen) < count:
        raise ValueError(f"{len(chosen)} of its columns hold numbers, and {count} are asked for")
    for i in when:
        _refuse_backward(_column([cells[0], cells[-1]], i))
    with np.errstate(over="ignore"):
        values = np.array([[_number(cell) for cell in _column(cells, i)] for i in chosen]).T.astype(np.float32)
    values = np.where(np.isfinite(values), values, np.float32(np.nan)).reshape(-1, count)
    return Table(values, lines, [name for i, name in enumerate(head) if i not in chosen])


def listed(names: Sequence[str]) -> str:
    """
    >>> listed(["a", "b"]), listed([str(i) for i in range(20)])
    ('a, b', '0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 10 more')
    """
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _cells(text: str) -> tuple[list[int], list[list[str]]]:
    """The rows and the lines that they stand in, without comments and empty ones."""
    first = next((line for line in text.splitlines() if line.strip() and line[0] != "#"), "")
    mark = max(",;\t", key=first.count)
    table, lines, cells = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True), [], []
    for row in table:
        if row and any(map(str.strip, row)) and not row[0].startswith("#"):
            lines.append(table.line_num)
            cells.append(row)
    return lines, cells


def _column(cells: list[list[str]], i: int) -> list[str]:
    return [row[i] if i < len(row) else "" for row in cells]


def _number(cell: str) -> float:
    """NaN for what is no finite number."""
    try:
        return value if abs(value := float(cell)) < float("inf") else float("nan")
    except ValueError:
        return float("nan")


def _holds_numbers(column: list[str]) -> bool:
    """Whether most of its cells that hold anything are numbers."""
    told = [cell for cell in column if cell.strip()]
    return 2 * sum(_number(cell) == _number(cell) for cell in told) > len(told)


def _moment(cell: str) -> datetime | None:
    try:
        return datetime.fromisoformat(cell.strip())
    except ValueError:
        return None


def _is_time(column: list[str]) -> bool:
    first = next((cell for cell in column if cell.strip()), "")
    return math.isnan(_number(first)) and _moment(first) is not None


def _refuse_backward(column: list[str]) -> None:
    """Raise ValueError where the newest row stands first, as far as times can be read."""
    first, last = (_moment(column[i]) for i in (0, -1))
    if first is not None and last is not None and first.tzinfo == last.tzinfo and first > last:
        raise ValueError("its newest row stands first; sort it by time")
