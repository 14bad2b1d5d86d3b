"""The one storage module: nothing else in Maquette opens a file for writing.

A file or folder appears whole or not at all: write aside, fsync, rename, fsync the folder, and only then delete what it
replaces. Folders carry a `MANIFEST.json` with the size and SHA-256 of every file. Tensors are safetensors, the rest is
strict JSON; nothing is ever unpickled. What is read from outside is opened once, never through a link, checked against
its limits and its hash, and then parsed from those same bytes.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import socket
import stat
import struct
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from maquette.core.config import parse_json
from maquette.core.errors import MaquetteError

MANIFEST = "MANIFEST.json"
MAX_JSON_BYTES = 64 << 20
"""A vocabulary of a quarter of a million pieces, which lies in a bundle's config, takes about 30 MB."""
MAX_TENSORS = 100_000
MAX_HEADER_BYTES = 32 << 20

on_call: Callable[[str, Path], None] | None = None
"""Test seam: called with (operation, path) before each storage call; it may raise or kill."""


def _about_to(operation: str, path: Path) -> None:
    if on_call is not None:
        on_call(operation, path)


# -- writing ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the system's refusals (full disk, read-only, no permission) into a sentence that names the file."""
    try:
        yield
    except OSError as bad:
        reason = bad.strerror or str(bad)
        if bad.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = f"{reason} ({free_bytes(path) / 1e6:.1f} MB free)"
        raise MaquetteError("MQ-5001", str(path), reason=reason) from bad


def write_file(path: Path | str, data: bytes, private: bool = False) -> None:
    """`data` at `path`, whole or not at all, durable on return; the parent folder is made if missing.

    Args:
        private: for nobody but its owner to read.
    """
    path = Path(path)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            _write(aside, data, 0o600 if private else 0o666)
            _about_to("rename", path)
            os.replace(aside, path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_json(path: Path | str, tree: Any) -> None:
    write_file(path, (json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def append_line(path: Path | str, tree: Any) -> None:
    """One JSON line at the end of a log, in a single write; a last line torn by a crash is dropped."""
    path = Path(path)
    with storage_errors(path):
        line = (json.dumps(tree, ensure_ascii=False, allow_nan=False) + "\n").encode()
        _about_to("append", path)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            _drop_torn_line(handle)
            if os.write(handle, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(handle)


def _drop_torn_line(handle: int) -> None:
    """Cut the log off behind its last whole line, lest the next one be glued to half of another."""
    end = at = os.fstat(handle).st_size
    while at > 0:
        block = os.pread(handle, min(at, 4096), at - min(at, 4096))
        at -= len(block)
        if (newline := block.rfind(b"\n")) >= 0:
            at += newline + 1
            break
    if at < end:
        os.ftruncate(handle, at)


def commit_folder(path: Path | str, fill: Callable[[Path], None]) -> None:
    """A folder at `path` with what `fill(folder)` puts there and a manifest of it, whole or not at all.

    `fill` writes with `put` and `put_json` (or a library's writer). A folder that stood there before is kept until the
    new one is durable; after a crash between the two renames `settle` brings one of them back.
    """
    path = Path(path)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        settle(path)
        aside, old = _aside(path), _old(path)
        shutil.rmtree(aside, ignore_errors=True)
        try:
            _about_to("mkdir", aside)
            aside.mkdir()
            fill(aside)
            listed = {str(f.relative_to(aside)): describe_file(f) for f in sorted(aside.rglob("*")) if f.is_file()}
            put_json(aside / MANIFEST, {"files": listed})
            for file in sorted(aside.rglob("*")):
                _sync_file(file)
            sync_folder(aside)
            if path.exists():
                _about_to("rename", old)
                os.rename(path, old)
            _about_to("rename", path)
            os.rename(aside, path)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            settle(path)
            raise
        sync_folder(path.parent)
        _about_to("delete", old)
        shutil.rmtree(old, ignore_errors=True)


def copy_folder(path: Path | str, to: Path | str, without: Collection[str] = ()) -> None:
    """A copy of the folder `path` at `to`, where nothing is yet, whole or not at all; `without` are names in it that
    are left out."""
    path, to = Path(path), Path(to)
    with storage_errors(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        aside = _aside(to)
        shutil.rmtree(aside, ignore_errors=True)
        _about_to("copy", aside)
        shutil.copytree(path, aside, ignore=lambda at, names: without if Path(at) == path else ())
        for file in sorted(aside.rglob("*")):
            _sync_file(file)
        sync_folder(aside)
        _about_to("rename", to)
        os.rename(aside, to)
        sync_folder(to.parent)


def settle(path: Path | str) -> None:
    """Mend what a crash inside `commit_folder` may have left: half-made folders go, a set-aside old one returns."""
    path = Path(path)
    shutil.rmtree(_aside(path), ignore_errors=True)
    old = _old(path)
    if old.exists():
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.rename(old, path)


def put(path: Path, data: bytes) -> None:
    """A file inside a folder that `commit_folder` is filling."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, data)


@contextlib.contextmanager
def putting(path: Path) -> Iterator[Callable[[bytes], object]]:
    """Like `put`, for a file too large to hold: yields what appends bytes to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _about_to("write", path)
    with open(path, "wb") as file:
        yield file.write
        file.flush()
        _about_to("fsync", path)
        os.fsync(file.fileno())


class Gathered(NamedTuple):
    """Bytes that lie aside until `replace_file` puts them where they belong."""

    path: Path
    sha256: str
    size: int


@contextlib.contextmanager
def gathered(folder: Path | str, blocks: Iterable[bytes], most: int) -> Iterator[Gathered]:
    """Bytes that come in blocks, durable aside in `folder`; what is not put elsewhere within the block goes.

    Raises:
        MaquetteError: MQ-8001 when there are more than `most`; MQ-5001 when they cannot be written.
    """
    folder = make_folder(folder)
    aside = folder / f".{os.getpid()}-{os.urandom(8).hex()}.tmp"
    size, sha = 0, hashlib.sha256()
    try:
        with storage_errors(folder), putting(aside) as write:
            for block in blocks:
                size += len(block)
                if size > most:
                    raise MaquetteError("MQ-8001", reason=f"more than {most:,} bytes")
                sha.update(block)
                write(block)
        yield Gathered(aside, sha.hexdigest(), size)
    finally:
        aside.unlink(missing_ok=True)


def replace_file(path: Path, to: Path) -> None:
    """Rename a file within its file system over what may be there, durable on return."""
    with storage_errors(to):
        _about_to("rename", to)
        os.replace(path, to)
        sync_folder(to.parent)


def open_log(path: Path | str) -> int:
    """A descriptor that appends to a log, for a process that speaks into it; its opener closes it."""
    path = Path(path)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _about_to("append", path)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)


def zipped(parts: Iterable[tuple[str, Path]]) -> Iterator[bytes]:
    """The bytes of a ZIP file of `parts` (name in it, file), as they come; the same parts give the same bytes."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w") as archive:  # type: ignore[arg-type]
        for name, path in parts:
            info = zipfile.ZipInfo(name)  # of 1980: no time of day
            info.external_attr = 0o644 << 16
            with open(path, "rb") as source, archive.open(info, "w", force_zip64=True) as target:
                while block := source.read(1 << 20):
                    target.write(block)
                    yield sink.taken()
            yield sink.taken()
    yield sink.taken()


class _Sink:
    """A file that cannot be wound back, and whose bytes are taken out as they come."""

    def __init__(self) -> None:
        self._held = bytearray()

    def write(self, data: bytes) -> int:
        self._held += data
        return len(data)

    def flush(self) -> None:
        pass

    def taken(self) -> bytes:
        data = bytes(self._held)
        self._held.clear()
        return data


def shorten(path: Path, size: int) -> None:
    """Keep only the first `size` bytes of a file inside a folder that `commit_folder` is filling."""
    _about_to("write", path)
    with open(path, "r+b") as file:
        file.truncate(size)
        _about_to("fsync", path)
        os.fsync(file.fileno())


def put_json(path: Path, tree: Any) -> None:
    put(path, (json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def put_tensors(path: Path, tensors: dict[str, Any], notes: dict[str, str] | None = None) -> None:
    """A safetensors file inside a folder that `commit_folder` is filling; `notes` go into its header."""
    from safetensors.torch import save

    put(path, save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, notes))


def remove_folder(path: Path | str) -> None:
    path = Path(path)
    with storage_errors(path):
        _about_to("delete", path)
        shutil.rmtree(path)


def remove_file(path: Path | str) -> None:
    path = Path(path)
    with storage_errors(path):
        _about_to("delete", path)
        path.unlink(missing_ok=True)


def sweep(folder: Path | str) -> None:
    """Remove what writers that were killed left in `folder`, and settle its folders; only while holding its lock."""
    folder = Path(folder)
    with storage_errors(folder):
        for left in folder.glob(".*.tmp"):
            left.unlink(missing_ok=True)
        for left in [*folder.glob(".*.new"), *folder.glob(".*.old")]:
            settle(folder / left.name[1:-4])


def move_file(path: Path | str, to: Path | str) -> None:
    """Move a file; on another file system it is copied whole before the first one goes. Nothing is overwritten."""
    path, to = Path(path), Path(to)
    if to.exists():
        raise MaquetteError("MQ-5005", str(to))
    with storage_errors(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        _about_to("rename", to)
        shutil.move(path, to)


def cache_folder() -> Path:
    """Where what can be made again is kept: `MAQUETTE_CACHE`, else maquette/ in the user's cache folder."""
    if given := os.environ.get("MAQUETTE_CACHE"):
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "maquette"


def make_folder(path: Path | str) -> Path:
    path = Path(path)
    with storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def free_bytes(path: Path | str) -> int:
    """Free space where `path` is or would be."""
    path = Path(path).absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def require_space(path: Path | str, wanted: int) -> None:
    """Refuse before work begins when `wanted` bytes would not fit."""
    if (free := free_bytes(path)) < wanted:
        raise MaquetteError("MQ-5002", str(path), bytes=f"{wanted:,}", free=f"{free:,}")


def sync_folder(path: Path) -> None:
    _about_to("fsync", path)
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(path: Path, data: bytes, mode: int = 0o666) -> None:
    _about_to("write", path)
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        file.write(data)
        file.flush()
        _about_to("fsync", path)
        os.fsync(file.fileno())


def _sync_file(path: Path) -> None:
    if path.is_dir():
        sync_folder(path)
        return
    _about_to("fsync", path)
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _old(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


# -- reading ----------------------------------------------------------------------------------------------------------


def read_file(path: Path | str, limit: int | None = None) -> bytes:
    """The bytes of a regular file, not reached through a link, of at most `limit` bytes."""
    path = Path(path)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise MaquetteError("MQ-5004", str(path)) from None
    except (OSError, ValueError) as bad:  # ValueError: a name that no file system takes
        raise MaquetteError("MQ-8001", str(path), reason=getattr(bad, "strerror", bad)) from None
    info = os.fstat(handle)
    if not stat.S_ISREG(info.st_mode):
        os.close(handle)
        raise MaquetteError("MQ-8001", str(path), reason="not a regular file")
    with open(handle, "rb") as file:
        if limit is not None and info.st_size > limit:
            raise MaquetteError("MQ-8001", str(path), reason=f"{info.st_size:,} bytes, at most {limit:,} are read")
        return file.read()


def read_json(path: Path | str) -> Any:
    return parse_json(read_file(path, MAX_JSON_BYTES), str(path))


def read_lines(path: Path | str) -> list[Any]:
    """The entries of a log written by `append_line`; a last line torn by a crash is left out."""
    if not Path(path).exists():
        return []
    whole, _, _torn = read_file(path).rpartition(b"\n")
    return [parse_json(line, f"{path}:{i}") for i, line in enumerate(whole.split(b"\n"), 1) if line]


def read_tensors(path: Path | str, data: bytes | None = None) -> dict[str, Any]:
    """The tensors of a safetensors file (from `data` if its bytes are at hand), on the CPU."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = read_file(path) if data is None else data
    size = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    if not 2 <= size <= min(MAX_HEADER_BYTES, len(data) - 8):
        raise MaquetteError("MQ-8001", str(path), reason="not a safetensors file")
    header = parse_json(data[8 : 8 + size], str(path))
    if not isinstance(header, dict) or len(header) > MAX_TENSORS:
        raise MaquetteError("MQ-8001", str(path), reason=f"not a table of at most {MAX_TENSORS:,} tensors")
    try:
        return load(data)
    except (SafetensorError, KeyError, TypeError, ValueError) as bad:
        raise MaquetteError("MQ-8001", str(path), reason=bad) from None


def describe_file(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:  # in blocks: a pack may be larger than memory
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Folder:
    """A committed folder, opened for reading: every file is checked against the manifest as it is read."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        if not self.path.is_dir():
            raise MaquetteError("MQ-5004", str(path))
        manifest = read_json(self.path / MANIFEST)
        listed = manifest.get("files") if isinstance(manifest, dict) else None
        if not isinstance(listed, dict) or not all(_listed_well(name, entry) for name, entry in listed.items()):
            raise self.damaged(f"{MANIFEST} has no list of files")
        self.listed: dict[str, dict[str, Any]] = listed

    def read(self, name: str) -> bytes:
        if name not in self.listed:
            raise self.damaged(f"{name} is not in {MANIFEST}")
        entry = self.listed[name]
        try:
            data = read_file(self.path / name, entry["bytes"])
        except MaquetteError as bad:
            raise self.damaged(f"{name}: {bad.values.get('reason', 'missing')}") from None
        if len(data) != entry["bytes"] or digest(data) != entry["sha256"]:
            raise self.damaged(f"{name} is not the file that was saved")
        return data

    def read_json(self, name: str) -> Any:
        return parse_json(self.read(name), str(self.path / name))

    def read_tensors(self, name: str) -> dict[str, Any]:
        return read_tensors(self.path / name, self.read(name))

    def verify(self) -> None:
        """Read everything once; raises `MaquetteError` naming the first file that is missing, cut or changed."""
        for name in self.listed:
            self.read(name)

    def damaged(self, reason: str) -> MaquetteError:
        return MaquetteError("MQ-5003", str(self.path), reason=reason)


def _listed_well(name: Any, entry: Any) -> bool:
    parts = Path(name).parts if isinstance(name, str) else ("..",)
    return (
        bool(parts)
        and not Path(name).is_absolute()
        and ".." not in parts
        and isinstance(entry, dict)
        and isinstance(entry.get("bytes"), int)
        and isinstance(entry.get("sha256"), str)
    )


# -- locking ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def lock(folder: Path | str) -> Iterator[None]:
    """Hold `folder` for one process; a second is refused with the first one's host and process number.

    The kernel lets go of the lock when its holder dies, so a killed run never blocks the next.
    """
    path = make_folder(folder) / ".lock"
    with storage_errors(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 200).decode(errors="replace") or "another process"
            raise MaquetteError("MQ-4001", str(folder), holder=holder) from None
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        os.close(handle)
