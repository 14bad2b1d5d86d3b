"""Uploads that hold many files: looked over before one byte is unpacked, and unpacked as streams under names we chose.

Refused are links, devices, names that are absolute, climb, hide a drive or stand twice, encryption, methods other than
deflate, and what would become too many files, too many bytes, or too many times its own size.
"""

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from maquette.core import files
from maquette.core.config import parse_json
from maquette.core.errors import MaquetteError

TABLES = {".jsonl", ".csv", ".txt", ".md"}
"""Files that are data sets by themselves."""
KEPT = TABLES | {
    ".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff",
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac",
    ".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi",
    ".mid", ".midi", ".py",
}  # fmt: skip
"""What is unpacked; everything else in an archive is left there."""
BLOCK = 1 << 20
DIRECTORY = 64 << 20
"""Bytes of an archive's list of members."""


@dataclass(frozen=True)
class Bounds:
    """How much may come out of an archive."""

    members: int = 100_000
    bytes: int = 16 << 30
    one: int = 4 << 30
    ratio: int = 200
    """Times the archive's own size, beyond the first 16 MB."""
    depth: int = 12
    name: int = 200


@dataclass(frozen=True)
class Member:
    """What is unpacked: the archive's entry, and where it goes."""

    info: zipfile.ZipInfo
    path: PurePosixPath


def look(path: Path, bounds: Bounds = Bounds()) -> list[Member]:
    """The members of the ZIP file at `path` that will be unpacked.

    Raises:
        MaquetteError: MQ-2182 with what is wrong with it.
    """
    with open(path, "rb") as file:
        _check_directory(file, path.stat().st_size)
        try:
            with zipfile.ZipFile(file) as archive:
                return _members(archive, path.stat().st_size, bounds)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error, RecursionError):
            raise _refused("it is no whole ZIP file") from None


def unpack(path: Path, to: Path, bounds: Bounds = Bounds()) -> int:
    """The members of the ZIP file at `path` as a folder `to`, whole or not at all; how many there are.

    Raises:
        MaquetteError: MQ-2182 when it is not what it says it is; MQ-5001 or MQ-5002 when there is no room.
    """
    members = look(path, bounds)
    files.require_space(to.parent, sum(member.info.file_size for member in members))

    def fill(folder: Path) -> None:
        try:
            with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
                for member in members:
                    with archive.open(member.info) as source, files.putting(folder / member.path) as write:
                        for block in _blocks(source, member.info.file_size):
                            write(block)
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError, zlib.error):
            raise _refused("a file in it is damaged") from None

    files.commit_folder(to, fill)
    return len(members)


def check_table(path: Path, suffix: str) -> None:
    """Look at the beginning of a file that is a data set by itself; raises MQ-2182 when it is plainly none."""
    with open(path, "rb") as file:
        head = file.read(BLOCK)
    if not head.strip():
        raise _refused("it is empty")
    if b"\0" in head:
        raise _refused("it is no text")
    try:
        head.decode("utf-8-sig")
    except UnicodeDecodeError as bad:
        if len(head) < BLOCK or bad.start < len(head) - 4:  # else a character that the block's end has cut
            raise _refused("it is no UTF-8 text") from None
    line, newline, _ = head.lstrip(b"\xef\xbb\xbf").lstrip().partition(b"\n")
    if suffix == ".jsonl" and (newline or len(head) < BLOCK):
        try:
            good = isinstance(parse_json(line, "line 1"), dict)
        except MaquetteError:
            good = False
        if not good:
            raise _refused("its first line is no JSON object")


def _members(archive: zipfile.ZipFile, size: int, bounds: Bounds) -> list[Member]:
    infos = archive.infolist()
    if len(infos) > bounds.members:
        raise _refused(f"more than {bounds.members:,} members")
    named: dict[str, Member] = {}
    total = 0
    for info in infos:
        path = _path(info, bounds)
        mode = info.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused("it holds a link or a device")
        if info.flag_bits & 0x1:
            raise _refused("it is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _refused("it is compressed in another way than deflate")
        total += info.file_size
        if info.file_size > bounds.one or total > bounds.bytes:
            raise _refused(f"more than {bounds.bytes:,} bytes would come out of it")
        if info.is_dir():
            continue
        if str(path) in named:
            raise _refused("two of its members have one name")
        named[str(path)] = Member(info, path)
    if total > (16 << 20) + bounds.ratio * size:
        raise _refused(f"more than {bounds.ratio} times its size would come out of it")
    kept = [member for member in named.values() if _wanted(member.path)]
    if not kept:
        raise _refused("it holds no picture, sound, film, music or text")
    return _rooted(kept)


def _path(info: zipfile.ZipInfo, bounds: Bounds) -> PurePosixPath:
    name = info.orig_filename if isinstance(info.orig_filename, str) else info.filename
    path = PurePosixPath(name)
    odd = any(ord(c) < 32 or c in "\\:" or 0xD800 <= ord(c) < 0xE000 for c in name)
    if not name or odd or path.is_absolute() or ".." in path.parts or name.startswith(("~", "//")):
        raise _refused("the name of a member leads out of it")
    long = any(len(part.encode()) > bounds.name for part in path.parts)
    if long or not path.parts or len(path.parts) > bounds.depth:
        raise _refused("the name of a member is too long or too deep")
    return path


def _wanted(path: PurePosixPath) -> bool:
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return not hidden and path.suffix.lower() in KEPT


def _rooted(members: list[Member]) -> list[Member]:
    """Without the folders that hold all the rest, which say nothing."""
    while len({member.path.parts[0] for member in members}) == 1 and all(len(m.path.parts) > 1 for m in members):
        members = [Member(member.info, PurePosixPath(*member.path.parts[1:])) for member in members]
    return members


def _blocks(source: object, most: int) -> Iterator[bytes]:
    left = most
    while block := source.read(BLOCK):  # type: ignore[attr-defined]
        left -= len(block)
        if left < 0:
            raise _refused("a file in it is larger than it says")
        yield block
    if left:
        raise _refused("a file in it is smaller than it says")


def _check_directory(file: BinaryIO, size: int) -> None:
    """The list of members is read whole: so its size is looked at first."""
    file.seek(max(0, size - (1 << 16) - 22 - 20))
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + 22:
        raise _refused("it is no whole ZIP file")
    count, length = struct.unpack("<HI", tail[at + 10 : at + 16])
    if (length == 0xFFFFFFFF or count == 0xFFFF) and tail[max(0, at - 20) : at].startswith(b"PK\6\7"):
        (where,) = struct.unpack("<Q", tail[at - 12 : at - 4])
        if where > size - 56:
            raise _refused("it is no whole ZIP file")
        file.seek(where)
        (length,) = struct.unpack("<Q", file.read(56)[40:48])
    file.seek(0)
    if length > DIRECTORY:
        raise _refused("its list of members is too long")


def _refused(reason: str) -> MaquetteError:
    return MaquetteError("MQ-2182", "file", reason=reason)
