"""The one exit: everything Maquette generates leaves through `emit`, or through `ready` and `write`.

filter hook -> visible label (when asked for) -> machine-readable mark -> write, whole or not at all -> record. A filter
that refuses or fails keeps the item in: it never opens by accident. What was made before is never written over unless
that is wished for, or the bytes are the same.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from maquette import __version__
from maquette.core import files
from maquette.core.errors import MaquetteError


@dataclass(frozen=True)
class Mark:
    """What a generated file says of itself. No time of day: the same request gives the same bytes."""

    model: str
    """SHA-256 of the model's weights."""
    seed: int
    producer: str = ""
    """Who answers for publishing it (the operator's setting)."""
    generator: str = f"maquette {__version__}"
    asked: Mapping[str, Any] = field(default_factory=dict)
    """What else it takes to make the item again, by the names of the options: plain data that nest in lists alone."""

    def fields(self) -> dict[str, str]:
        """The `AIGC` record of GB 45438-2025 (its element names), all values text."""
        return {
            "Label": "1",
            "ContentProducer": self.producer,
            "ProduceID": f"{self.model[:16]}-{self.seed}",
            "ReservedCode1": self.generator,
        }

    @property
    def records(self) -> dict[str, str]:
        """What a file carries, JSON objects by name: `fields`, and `asked` where model and seed are not all.

        They are ASCII (a tEXt chunk is Latin-1) without a brace inside, so that a search of the bytes finds their ends.
        """
        found = {"AIGC": _closed(self.fields())}
        return found | ({"Maquette": _closed(self.asked)} if self.asked else {})

    @property
    def lines(self) -> list[str]:
        """Each record as an object of its own, under its name."""
        return [f'{{"{name}": {text}}}' for name, text in self.records.items()]


def _closed(told: Mapping[str, Any]) -> str:
    inside = json.dumps(told)[1:-1]
    return "{" + inside.replace("{", "\\u007b").replace("}", "\\u007d") + "}"


RECORD = "made.jsonl"
"""A line about each file that was written into a folder."""


class Ready(NamedTuple):
    """A file that may leave: where to, what it holds, its mark, and what it was asked to be where that is known."""

    path: Path
    data: bytes
    mark: Mark
    label: str = ""


@runtime_checkable
class Writer(Protocol):
    """What `emit` needs of a medium."""

    suffix: str

    def encode(self, item: Any, mark: Mark) -> bytes: ...

    def label(self, item: Any, text: str) -> Any: ...


def emit(
    items: Sequence[Any],
    names: Sequence[str],
    medium: Writer,
    folder: Path | str,
    marks: Sequence[Mark],
    visible: str = "",
    allow: Callable[[Any], bool] | None = None,
    labels: Sequence[str] = (),
    overwrite: bool = False,
    request: str = "",
) -> list[Path]:
    """Write each item to `folder/name + suffix`, one after another; a line about each goes to `folder/made.jsonl`.

    Args:
        labels: what each was asked to be, for its line; of fewer than there are items, from the beginning again.
        visible: text drawn onto (or spoken before, written into) each item; "" for none.
        allow: filter hook; an item for which it does not return True raises MQ-8002 and nothing of it is written.
        overwrite, request: see `write`.
    """
    paths = []
    for i, (item, name, mark) in enumerate(zip(items, names, marks, strict=True)):
        told = [labels[i % len(labels)]] if labels else []
        paths += write(ready([item], [name], medium, folder, [mark], visible, allow, told), overwrite, request)
    return paths


def ready(
    items: Sequence[Any],
    names: Sequence[str],
    medium: Writer,
    folder: Path | str,
    marks: Sequence[Mark],
    visible: str = "",
    allow: Callable[[Any], bool] | None = None,
    labels: Sequence[str] = (),
) -> list[Ready]:
    """What `emit` would write, before any of it is written."""
    paths = [Path(folder) / f"{name}{medium.suffix}" for name in names]
    return [
        Ready(
            path, leave(item, medium, mark, visible, allow, str(path)), mark, labels[i % len(labels)] if labels else ""
        )
        for i, (item, path, mark) in enumerate(zip(items, paths, marks, strict=True))
    ]


def write(things: Sequence[Ready], overwrite: bool = False, request: str = "") -> list[Path]:
    """Write files that are ready, each with its line in `made.jsonl`, and return where they lie.

    Args:
        overwrite: whether they may take the place of others.
        request: a digest of what was asked for, kept in the record for `require_free`.

    Raises:
        MaquetteError: MQ-5006 where a file is there already and holds something else; nothing has been written then.
    """
    if not overwrite and (path := taken(things)) is not None:
        raise MaquetteError("MQ-5006", str(path))
    for path, data, mark, label in things:
        files.make_folder(path.parent)
        files.write_file(path, data)
        entry = {
            "file": path.name,
            "sha256": files.digest(data),
            "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        told = ({"label": label} if label else {}) | ({"request": request} if request else {})
        files.append_line(path.parent / RECORD, entry | asdict(mark) | told)
    return [path for path, *_ in things]


def taken(things: Iterable[Ready]) -> Path | None:
    """Where the first of these files would take the place of something else; None where none would."""
    return next((one.path for one in things if one.path.exists() and not _holds(one.path, one.data)), None)


def apart(things: Sequence[Ready], out: Path) -> list[Ready]:
    """`things` in the first of the folders `out`, `out-2` … where they take the place of nothing else."""
    number, here = 1, list(things)
    while taken(here) is not None:
        number += 1
        folder = out.with_name(f"{out.name}-{number}")
        here = [thing._replace(path=folder / thing.path.name) for thing in things]
    return here


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data


def require_free(paths: Sequence[Path], marks: Sequence[Mark], request: str) -> None:
    """Refuse early, before anything is made, what `write` is going to refuse: files of which the record says that they
    are of another model, seed or request, or says nothing. Raises MQ-5006.
    """
    records: dict[Path, dict[str, Any]] = {}
    for path, mark in zip(paths, marks, strict=True):
        if not path.exists():
            continue
        if path.parent not in records:
            records[path.parent] = {entry.get("file", ""): entry for entry in files.read_lines(path.parent / RECORD)}
        entry = records[path.parent].get(path.name, {})
        told = json.loads(json.dumps(asdict(mark)))
        if any(entry.get(name) != value for name, value in told.items()) or entry.get("request", request) != request:
            raise MaquetteError("MQ-5006", str(path))


def leave(
    item: Any,
    medium: Writer,
    mark: Mark,
    visible: str = "",
    allow: Callable[[Any], bool] | None = None,
    where: str = "",
) -> bytes:
    """The bytes of one item as they may leave: what `emit` writes, and a server sends. Raises MQ-8002."""
    if allow is not None and allow(item) is not True:
        raise MaquetteError("MQ-8002", where)
    return medium.encode(medium.label(item, visible) if visible else item, mark)
