"""Two sources whose rows go together: each sample with the picture of another table or folder that it is made from.

Rows are joined by a column of both, or by their files' names. A sample keeps its split, and its partner has to be of
the same one: what is tested on is never learnt from, on either side. A row without a partner counts as one that cannot
be read, and is named.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath

import numpy as np

from maquette.core.config import Config
from maquette.core.errors import MaquetteError
from maquette.data.dataset import Reading, Row, Source
from maquette.data.folder import SPLITS, VALIDATION

NAME = "name"
NUMBERED = re.compile(r"\w*:\d+")
"""How the rows of tables are called, which have no names of their own."""


@dataclass(frozen=True, kw_only=True)
class Pair(Config):
    """Where the pictures are that samples are made from."""

    source: str
    """A folder, a file, or hf:NAME, as for the samples."""
    by: str = NAME
    """The column of both that says which go together, or `name`: files of the same name, suffix and split apart."""
    apart: bool = False
    """Whether training is not told which go together (translation without pairs); held-out rows still are, so that
    answers can be scored."""


def joined(first: Source, second: Source, by: str) -> Source:
    """The rows of `first`, each with its partner in `second`.

    Reading it raises MQ-3017 when no row has one. It holds the undecoded rows of `second` in memory.
    """

    def read() -> Reading:
        one, partners = first.read(), defaultdict[str, list[Row]](list)
        for row in second.read().rows:
            if (key := _key(row, by)) is not None:
                partners[key].append(row)
        return replace(one, rows=_paired(one.rows, partners, by, second))

    return Source(
        name=first.name,
        place=f"{first.place} with {second.place} by {by}",
        key=[first.key, second.key, by],
        read=read,
        ignored=first.ignored,
        paired=True,
    )


def _paired(rows: Iterable[Row], partners: dict[str, list[Row]], by: str, second: Source) -> Iterator[Row]:
    found, reason = False, f"{second.place} is empty"
    for row in rows:
        partner = _partner(row, partners, by)
        found |= isinstance(partner, Row)
        if isinstance(partner, Row):
            yield row._replace(load=partial(_both, row, partner))
        else:
            reason = partner
            yield row._replace(load=partial(_refuse, row.name, partner))
    if not found:
        raise MaquetteError("MQ-3017", source=second.place, reason=reason)


def _partner(row: Row, partners: dict[str, list[Row]], by: str) -> Row | str:
    """The one row that goes with `row`, or why there is none."""
    key = _key(row, by)
    if key is None:
        return f"it has no {by}"
    there = partners.get(key, [])
    fitting = [other for other in there if not row.split or not other.split or other.split == row.split]
    if not there:
        return f"no partner has {by} {key!r}"
    if not fitting:
        return f"its partner of {by} {key!r} is in the split {there[0].split}"
    return fitting[0] if len(fitting) == 1 else f"{len(fitting)} partners have {by} {key!r}"


def _key(row: Row, by: str) -> str | None:
    if by != NAME:
        value = row.columns.get(by)
        return None if value in (None, "") else str(value)
    if NUMBERED.fullmatch(row.name):
        return None
    path = PurePosixPath(row.name)
    first = path.parts[0] if len(path.parts) > 1 else ""
    inside = path.relative_to(first) if first.lower() in SPLITS or first.lower() in VALIDATION else path
    return inside.with_suffix("").as_posix()


def _both(row: Row, partner: Row) -> np.ndarray:
    """The sample and its partner, one after the other: [2, *stored]; of films of several items what both have."""
    item = row.load()
    try:
        other = partner.load()
        return np.stack([item[: len(other)], other[: len(item)]])
    except MaquetteError as bad:
        reason = f"its partner {partner.name}: {bad.values.get('reason', bad.code)}"
        raise MaquetteError("MQ-3001", row.name, reason=reason) from None


def _refuse(name: str, reason: str) -> np.ndarray:
    raise MaquetteError("MQ-3001", name, reason=reason)
