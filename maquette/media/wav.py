"""16-bit WAV files, and what else they carry: chunks of text and an XMP packet (Microsoft and IBM 1991, RIFF)."""

import struct
from collections.abc import Iterator, Mapping

import numpy as np

from maquette.core.errors import MaquetteError
from maquette.media.decode import Notes

COMMENT, SUBJECT, SOFTWARE = "ICMT", "ISBJ", "ISFT"
"""Names of texts in a LIST chunk of type INFO."""
XMP = b"_PMX"
_HEAD = 44
"""Bytes before the samples in files of ours."""


def is_wav(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WAVE"


def write(item: np.ndarray, rate: int) -> bytes:
    """A WAV file with int16 [n, channels]."""
    channels = item.shape[1]
    sound = struct.pack("<HHIIHH", 1, channels, rate, 2 * channels * rate, 2 * channels, 16)
    return _chunk(b"RIFF", b"WAVE" + _chunk(b"fmt ", sound) + _chunk(b"data", item.astype("<i2").tobytes()))


def end(data: bytes) -> int:
    """Where the samples end in a file of `write`, whatever has been put behind them."""
    return _HEAD + struct.unpack_from("<I", data, _HEAD - 4)[0]


def saying(data: bytes, texts: Mapping[str, str], xmp: str) -> bytes:
    """A WAV file of ours with more behind its samples, which play whatever a reader knows of the rest.

    Args:
        texts: of the INFO list, by their names of four letters.
    """
    said = b"".join(_chunk(key.encode(), text.encode() + b"\0") for key, text in texts.items())
    return _chunk(b"RIFF", data[8:] + _chunk(b"LIST", b"INFO" + said) + _chunk(XMP, xmp.encode()))


def carried(data: bytes, name: str) -> Notes:
    """The texts, by their names of four letters, and the XMP packet of a WAV file.

    Raises:
        MaquetteError: MQ-3001 when `data` is none.
    """
    if not is_wav(data):
        raise MaquetteError("MQ-3001", name, reason="not a WAV file")
    texts, xmp = {}, ""
    for key, content in _chunks(data[12:]):
        if key == b"LIST" and content[:4] == b"INFO":
            texts |= {k.decode("ascii", "replace"): _text(text) for k, text in _chunks(content[4:])}
        elif key == XMP:
            xmp = _text(content)
    return Notes(texts, xmp)


def _chunk(key: bytes, content: bytes) -> bytes:
    return key + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each chunk; what lies beyond the end of the file is not there."""
    at = 0
    while at + 8 <= len(data):
        size = struct.unpack_from("<I", data, at + 4)[0]
        yield data[at : at + 4], data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _text(content: bytes) -> str:
    return content.rstrip(b"\0").decode("utf-8", "replace")
