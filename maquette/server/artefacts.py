"""What a job has made, by id: a table made by looking, in which a request's words are only looked up."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from maquette.core import files
from maquette.core.errors import MaquetteError
from maquette.server import plans
from maquette.server.states import Job

MOST = 1000
"""Files that are listed; a ZIP of the results holds all."""
TYPES = {
    ".png": "image/png", ".jpg": "image/jpeg", ".svg": "image/svg+xml", ".webp": "image/webp", ".gif": "image/gif",
    ".wav": "audio/wav", ".flac": "audio/flac", ".mid": "audio/midi", ".mp4": "video/mp4", ".webm": "video/webm",
    ".txt": "text/plain; charset=utf-8", ".md": "text/plain; charset=utf-8", ".csv": "text/csv; charset=utf-8",
    ".json": "application/json", ".jsonl": "application/x-ndjson", ".html": "text/html; charset=utf-8",
    ".zip": "application/zip", ".safetensors": "application/octet-stream",
}  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Artefact:
    """Something that can be fetched: one file, or several that go as one ZIP."""

    id: str
    path: Path
    size: int | None
    """Bytes; None of a ZIP, which is made as it goes."""
    parts: tuple[tuple[str, Path], ...] = ()

    @property
    def type(self) -> str:
        return TYPES.get(Path(self.id).suffix, "application/octet-stream")

    def blocks(self) -> Iterator[bytes]:
        if self.parts:
            yield from files.zipped(self.parts)
            return
        handle = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW)
        with open(handle, "rb") as file:
            while block := file.read(1 << 20):
                yield block


def artefacts(data: Path, job: Job) -> dict[str, Artefact]:
    """All that `job` has made so far, by id; `data` is the data folder."""
    found: dict[str, Artefact] = {}
    if job.kind == "train":
        run = data / "models" / plans.run_name(job.id, job.spec)
        several = [path for path in (run / "metrics.jsonl", *_inside(run / "samples")) if _plain(path)]
        bundle = tuple((f"{run.name}/{path.relative_to(run / 'bundle')}", path) for path in _tree(run / "bundle"))
        if bundle:
            found["bundle.zip"] = Artefact("bundle.zip", run, None, bundle)
    else:
        folder = data / (f"jobs/{job.id}/results" if job.kind == "compare" else str(job.result.get("folder", "")))
        if not folder.is_dir() or folder == data:
            return {}
        several = list(_tree(folder))
        if several and job.over:
            parts = tuple((path.relative_to(folder).as_posix(), path) for path in several)
            found["results.zip"] = Artefact("results.zip", folder, None, parts)
        for sheet in (path for run in _inside(folder) for path in _inside(run / "samples") if _plain(path)):
            id = f"{sheet.parent.parent.name}-{sheet.name}"
            if _NAME.fullmatch(id):
                found[id] = Artefact(id, sheet, sheet.stat().st_size)
    for path in several[:MOST]:
        id = path.name if path.name not in found else f"{path.parent.name}-{path.name}"
        if _NAME.fullmatch(id) and id not in found:
            found[id] = Artefact(id, path, path.stat().st_size)
    return found


def artefact(data: Path, job: Job, id: str) -> Artefact:
    """One of them; raises MQ-2180 where there is none of that id."""
    found = artefacts(data, job)
    if id not in found:
        raise MaquetteError("MQ-2180", what="artefact", id=id)
    return found[id]


def log(data: Path, job: Job, after: int, most: int = 256 << 10) -> tuple[str, int]:
    """What the job's processes have said from byte `after` on, and where the rest begins."""
    path = data / "jobs" / job.id / "log.txt"
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return "", after
    try:
        said = os.pread(handle, most, after)
    finally:
        os.close(handle)
    text = said.decode(errors="replace").replace(str(data.absolute()) + "/", "")
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text), after + len(said)


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []


def _tree(folder: Path) -> Iterator[Path]:
    """The files below `folder`, not those of runs that it holds."""
    for path in _inside(folder):
        if path.is_symlink():
            continue
        if path.is_dir():
            if not (path / "recipe.json").exists():
                yield from _tree(path)
        elif path.is_file():
            yield path


def _plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
