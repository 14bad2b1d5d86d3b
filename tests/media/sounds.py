"""Sound files for tests, whole and hostile, made on the spot."""

import io
import struct

import av
import numpy as np

RATE = 8000


def tone(
    hertz: float = 440.0, seconds: float = 0.5, rate: int = RATE, channels: int = 1, level: float = 0.25
) -> np.ndarray:
    """int16 [n, channels], the second channel an octave higher."""
    t = np.arange(round(seconds * rate)) / rate
    rows = [np.rint(32767 * level * np.sin(2 * np.pi * hertz * (1 + c) * t)) for c in range(channels)]
    return np.stack(rows, 1).astype(np.int16)


def coded(x: np.ndarray, codec: str, format: str, rate: int = RATE) -> bytes:
    """int16 [n, 1 or 2] as a file of `format`, by libav, whose own coder of Vorbis knows two channels alone."""
    buffer = io.BytesIO()
    x = x.repeat(2, 1) if codec == "vorbis" and x.shape[1] == 1 else x
    layout = "stereo" if x.shape[1] == 2 else "mono"
    with av.open(buffer, "w", format=format) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout, options={"strict": "experimental"})
        frame = av.AudioFrame.from_ndarray(x.reshape(1, -1), "s16", layout)
        frame.rate = rate
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return buffer.getvalue()


FILES = {
    "wav": ("pcm_s16le", "wav"),
    "flac": ("flac", "flac"),
    "mp3": ("libmp3lame", "mp3"),
    "ogg": ("libopus", "ogg"),
    "oga": ("vorbis", "ogg"),
    "aiff": ("pcm_s16be", "aiff"),
    "au": ("pcm_s16be", "au"),
    "m4a": ("aac", "mp4"),
    "mka": ("libopus", "matroska"),
}
"""Suffix -> codec and container of a file of each kind that is read."""


def raw_wav(
    content: bytes,
    rate: int = RATE,
    channels: int = 1,
    kind: int = 1,
    bits: int = 16,
    said: int | None = None,
) -> bytes:
    """A WAV file of these very bytes, whose header may say whatever it likes.

    Args:
        kind: 1 for whole numbers, 3 for floats.
        said: how many bytes of sound the header claims.
    """
    width = channels * bits // 8
    form = struct.pack("<HHIIHH", kind, channels, rate % 2**32, rate * width % 2**32, width % 2**16, bits)
    size = len(content) if said is None else said
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", size) + content
    return b"RIFF" + struct.pack("<I", (len(body) if said is None else said) % 2**32) + body


def film(sound: bool = False) -> bytes:
    """A tiny film, with or without sound."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as file:
        pictures = file.add_stream("mpeg4", rate=10)
        pictures.width = pictures.height = 16
        heard = file.add_stream("aac", rate=RATE, layout="mono") if sound else None
        for _ in range(3):
            file.mux(pictures.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), "rgb24")))
        file.mux(pictures.encode(None))
        if heard is not None:
            frame = av.AudioFrame.from_ndarray(tone().reshape(1, -1), "s16", "mono")
            frame.rate = RATE
            file.mux(heard.encode(frame))
            file.mux(heard.encode(None))
    return buffer.getvalue()
