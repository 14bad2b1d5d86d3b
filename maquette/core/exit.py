"""The one exit: everything Maquette generates leaves through `emit`.

filter hook -> visible label (when asked for) -> machine-readable mark -> write, whole or not at all -> record. A filter
that refuses or fails keeps the item in: it never opens by accident.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

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
) -> list[Path]:
    """Write each item to `folder/name + suffix`; a line about each goes to `folder/made.jsonl`.

    Args:
        labels: what each was asked to be, for its line; of fewer than there are items, from the beginning again.
        visible: text drawn onto (or spoken before, written into) each item; "" for none.
        allow: filter hook; an item for which it does not return True raises MQ-8002 and nothing of it is written.
    """
    folder = files.make_folder(folder)
    paths = []
    for i, (item, name, mark) in enumerate(zip(items, names, marks, strict=True)):
        data = leave(item, medium, mark, visible, allow, str(folder / name))
        path = folder / f"{name}{medium.suffix}"
        files.write_file(path, data)
        entry = {
            "file": path.name,
            "sha256": files.digest(data),
            "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        told = {"label": labels[i % len(labels)]} if labels else {}
        files.append_line(folder / "made.jsonl", entry | told | asdict(mark))
        paths.append(path)
    return paths


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
