"""ZIP files for tests, good ones and ones that nobody should send."""

import io
import stat
import struct
import zipfile
from collections.abc import Mapping

import numpy as np
from PIL import Image as pillow


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def picture(seed: int, size: int = 8) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size), dtype=np.uint8)
    pillow.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pictures(count: int = 40) -> bytes:
    """A folder in a ZIP, as people send them: two classes, what a Mac adds, and a file that is no picture."""
    members = {f"photos/{'ab'[i % 2]}/{i}.png": picture(i) for i in range(count)}
    more = {"__MACOSX/photos/._1.png": b"x", "photos/.DS_Store": b"x", "photos/notes.exe": b"MZ"}
    return zipped(members | more)


def special(name: str, mode: int, data: bytes = b"/etc/passwd") -> bytes:
    """An archive with one member of another kind than a file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        info.create_system = 3
        archive.writestr(info, data)
        archive.writestr("good.png", picture(0))
    return buffer.getvalue()


def renamed(old: bytes, new: bytes) -> bytes:
    """An archive whose member's name has bytes that a library would not write."""
    assert len(old) == len(new)
    return zipped({old.decode(): picture(0)}).replace(old, new)


def flagged(bits: int) -> bytes:
    data = bytearray(zipped({"a.png": picture(0)}))
    at = data.rindex(b"PK\1\2")
    data[at + 8 : at + 10] = struct.pack("<H", bits)
    return bytes(data)


def method(number: int) -> bytes:
    data = bytearray(zipped({"a.png": picture(0)}))
    at = data.rindex(b"PK\1\2")
    data[at + 10 : at + 12] = struct.pack("<H", number)
    return bytes(data)


def sized(size: int) -> bytes:
    """An archive that says another size of its member than it has."""
    data = bytearray(zipped({"a.png": picture(0)}))
    at = data.rindex(b"PK\1\2")
    data[at + 24 : at + 28] = struct.pack("<I", size)
    return bytes(data)


def directory(size: int) -> bytes:
    data = bytearray(zipped({"a.png": picture(0)}))
    at = data.rindex(b"PK\5\6")
    data[at + 12 : at + 16] = struct.pack("<I", size)
    return bytes(data)


def twice() -> bytes:
    """Two members of one name."""
    return zipped({"a.png": picture(0), "b.png": picture(1)}).replace(b"b.png", b"a.png")


GOOD = picture(1)
HOSTILE: dict[str, bytes] = {
    "climbs": zipped({"../x.png": GOOD}),
    "climbs deep": zipped({"a/../../x.png": GOOD}),
    "climbs at the end": zipped({"a/..": GOOD, "b.png": GOOD}),
    "absolute": zipped({"/etc/x.png": GOOD}),
    "two slashes": zipped({"//host/x.png": GOOD}),
    "drive": zipped({"C:/x.png": GOOD}),
    "drive without slash": zipped({"C:x.png": GOOD}),
    "backslash": zipped({"..\\x.png": GOOD}),
    "stream": zipped({"x.png:y.png": GOOD}),
    "home": zipped({"~/x.png": GOOD}),
    "newline": zipped({"a\nb.png": GOOD}),
    "escape": zipped({"a\x1b[31m.png": GOOD}),
    "nul": renamed(b"aaaa.png", b"aa\0a.png"),
    "long name": zipped({"a" * 300 + ".png": GOOD}),
    "deep": zipped({"/".join("abcdefghijklmnop") + ".png": GOOD}),
    "link": special("a.png", stat.S_IFLNK | 0o777),
    "link to a folder": special("a", stat.S_IFLNK | 0o777, b".."),
    "pipe": special("a.png", stat.S_IFIFO | 0o644),
    "device": special("a.png", stat.S_IFCHR | 0o644),
    "socket": special("a.png", stat.S_IFSOCK | 0o644),
    "encrypted": flagged(1),
    "bzip2": zipped({"a.png": GOOD}, zipfile.ZIP_BZIP2),
    "lzma": zipped({"a.png": GOOD}, zipfile.ZIP_LZMA),
    "unknown method": method(99),
    "says 4 GB": sized(0xFFFFFFF0),
    "directory of 4 GB": directory(0xFFFFFFF0),
    "directory of 100 MB": directory(100 << 20),
    "twice": twice(),
    "bomb": zipped({"a.txt": b"\0" * (64 << 20)}),
    "bomb of many": zipped({f"{i}.txt": b"\0" * (1 << 20) for i in range(40)}),
    "nothing": zipped({}),
    "nothing of use": zipped({"a.exe": b"MZ", "b.dll": b"MZ"}),
    "only hidden": zipped({".a.png": GOOD, "__MACOSX/a.png": GOOD}),
    "nested": zipped({"a.zip": zipped({"../x.png": GOOD})}),
    "a pickle": zipped({"data.pkl": b"\x80\x04."}),
    "no ZIP": b"GIF89a" + bytes(100),
    "empty": b"",
    "cut": zipped({"a.png": GOOD})[:-10],
    "only its end": zipped({"a.png": GOOD})[-22:],
}
"""What is refused when it is looked at."""
DAMAGED: dict[str, bytes] = {
    "changed": zipped({"a.txt": b"x" * 1000}, zipfile.ZIP_STORED).replace(b"x" * 1000, b"x" * 999 + b"y"),
    "smaller than it says": sized(len(GOOD) + 5),
    "larger than it says": sized(len(GOOD) - 5),
}
"""What shows only when it is unpacked."""
