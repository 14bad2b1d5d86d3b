"""Whatever Hugging Face `datasets` opens, streamed row by row: a parquet file, a folder of them, a name on the hub.

`datasets` is imported when a source is first read, and not at all once it is packed. A set from the hub is packed under
its name: what changes there later is seen after its pack in the cache folder has been removed.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from maquette.core.errors import MaquetteError
from maquette.data.dataset import Reading, Row, Source
from maquette.data.folder import splits_of
from maquette.data.table import caption_column, label_columns, record_columns, stamp
from maquette.media.base import Medium

Make = Callable[[dict[str, Any], str], np.ndarray]
"""(row, its name) -> item."""
Bytes = Callable[[dict[str, Any], str], bytes]
"""(row, its name) -> the bytes of its file."""


def find(name: str, medium: Medium, columns: Mapping[str, str] = {}) -> Source:
    """The source called `name`: a local path, or NAME or NAME:CONFIG on the hub.

    Reading it raises MQ-3010 when `datasets` is not installed, MQ-3015 when it cannot open or read the data, and
    MQ-3002 when there is no column of files.
    """
    path = Path(name).expanduser()
    if not path.exists():
        return Source(
            name=name.rpartition("/")[2],
            place=f"hf:{name}",
            key=["hf", name, dict(columns)],
            read=lambda: _read(name, None, medium, columns),
        )
    found = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    return Source(
        name=path.absolute().stem,
        place=f"hf:{path.absolute()}",
        key=[[[str(file.relative_to(path)), *stamp(file)] for file in found], dict(columns)],
        read=lambda: _read(name, path, medium, columns),
    )


def _read(name: str, path: Path | None, medium: Medium, columns: Mapping[str, str]) -> Reading:
    with _telling(name):
        opened = _opened(name, path)
        features = next(iter(opened.values())).features or {}
    of = {column: type(feature).__name__ for column, feature in features.items()}
    files = [column for column, kind in of.items() if kind in ("Image", "Audio", "Video")]
    files.sort(key=lambda column: of[column] != type(medium).__name__)  # its own kind before any other
    record = record_columns(features, medium, columns)
    if not files and not record:
        todo = f"its columns are: {', '.join(features) or 'unknown'}"
        raise MaquetteError("MQ-3002", name, what="column of files", todo=todo)
    classes = [column for column, feature in features.items() if type(feature).__name__ == "ClassLabel"]
    usual = label_columns(features, columns, name)
    label = next(iter(usual if "label" in columns else classes + usual), "")
    make = _of_record(record, medium) if record else _of_file(files[0], medium)
    hold = None if record or medium.piece else _held(files[0])
    caption = caption_column(features, columns, name)
    splits = splits_of(opened)
    info = next(iter(opened.values())).info
    return Reading(
        rows=_rows(name, {s: opened[s] for s in splits or opened}, splits, make, hold, label, caption),
        classes=list(features[label].names) if label in classes else None,
        licence=info.license or "not stated",
    )


def _opened(name: str, path: Path | None) -> dict[str, Any]:
    """Split -> stream of rows."""
    try:
        from datasets import load_dataset
    except ImportError:
        raise MaquetteError("MQ-3010", name, package="datasets", extra="hf") from None
    if path is None:
        hub, _, config = name.partition(":")
        return load_dataset(hub, config or None, streaming=True)  # type: ignore[return-value]
    where = {"data_dir": str(path)} if path.is_dir() else {"data_files": str(path)}
    return load_dataset("parquet", streaming=True, **where)  # type: ignore[return-value]


def _rows(
    name: str,
    opened: dict[str, Any],
    splits: dict[str, str],
    make: Make,
    hold: Bytes | None,
    label: str,
    caption: str,
) -> Iterator[Row]:
    """`make` makes an item of a row, `hold` tells what its file holds."""
    for part, stream in opened.items():
        names = getattr((stream.features or {}).get(label), "names", None)
        rows = iter(stream.decode(False) if stream.features else stream)  # files, in lists too, stay files
        for n in range(2**63):
            with _telling(name):
                row = next(rows, None)
            if row is None:
                break
            found = row.get(label)
            if names is not None:
                found = names[found] if found is not None and found >= 0 else None
            load = partial(make, row, f"{part}:{n}")
            said = row.get(caption)
            yield Row(
                f"{part}:{n}",
                load,
                splits.get(part, ""),
                None if found in (None, "") else str(found),
                said if isinstance(said, str) else "",
                {name: value for name, value in row.items() if isinstance(value, str | int)},
                None if hold is None else partial(hold, row, f"{part}:{n}"),
            )


def _of_record(columns: Mapping[str, str], medium: Medium) -> Make:
    return lambda row, name: medium.from_record({own: row[other] for own, other in columns.items()}, name)


def _of_file(column: str, medium: Medium) -> Make:
    return lambda row, name: medium.from_bytes(_bytes(row[column], name), name)


def _held(column: str) -> Bytes:
    return lambda row, name: _bytes(row[column], name)


def _bytes(file: dict[str, Any] | None, name: str) -> bytes:
    """What a row's file holds, b"" where it has none."""
    data = (file or {}).get("bytes")
    if data is None and file and file.get("path"):  # a table that names its files instead of holding them
        import fsspec

        with _telling(name), fsspec.open(file["path"], "rb") as opened:
            data = opened.read()  # type: ignore[attr-defined]
    return data or b""


@contextmanager
def _telling(name: str) -> Iterator[None]:
    """Whatever the library raises (network, Arrow, names of configurations), as one sentence."""
    try:
        yield
    except MaquetteError:
        raise
    except Exception as bad:
        reason = str(bad).partition("\n")[0] or type(bad).__name__
        todo = "check the name, the network, and with hf:NAME:CONFIG the configuration"
        raise MaquetteError("MQ-3015", name, reason=reason, todo=todo) from None
