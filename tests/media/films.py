"""Films to read, whole and broken, made here by PyAV."""

import io
import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction

import av
import numpy as np

CONTAINERS = {
    "mp4": ("mp4", "libx264"),
    "mov": ("mov", "mpeg4"),
    "mkv": ("matroska", "libx264"),
    "webm": ("webm", "libvpx-vp9"),
    "avi": ("avi", "mpeg4"),
    "gif": ("gif", "gif"),
    "apng": ("apng", "apng"),
    "webp": ("webp", "libwebp_anim"),
}
"""Suffix -> what libav calls the container, and a codec that it may hold."""


def waves(frames: int = 16, height: int = 32, width: int = 32) -> np.ndarray:
    """uint8 [frames, height, width, 1]: a smooth pattern that moves to the left."""
    y, x = np.mgrid[:height, :width]
    phases = [np.sin((x + 3 * t) / 5) * np.cos(y / 7) for t in range(frames)]
    return np.round(127.5 + 127 * np.stack(phases)[..., None]).astype(np.uint8)


def numbered(frames: int, height: int = 32, width: int = 32) -> np.ndarray:
    """uint8 [frames, height, width, 1]: each frame of one grey, which tells its number; see `numbers`."""
    return np.broadcast_to(
        (8 * np.arange(frames) + 4).astype(np.uint8)[:, None, None, None], (frames, height, width, 1)
    )


def numbers(item: np.ndarray) -> list[int]:
    """Which frames of `numbered` are those of an item."""
    return [round((float(frame.mean()) - 4) / 8) for frame in item]


def written(
    frames: np.ndarray,
    rate: int | Fraction = 8,
    suffix: str = "mp4",
    times: Sequence[int] | None = None,
    sound: bool = False,
    wide: Fraction | None = None,
    codec: str = "",
) -> bytes:
    """A film of uint8 frames [n, h, w, 1 or 3].

    Args:
        times: when each frame begins, in thousandths of a second.
    """
    container, usual = CONTAINERS[suffix]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as film:
        stream = film.add_stream(codec or usual, rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "gray" if suffix in ("gif", "apng") else "yuv420p"
        stream.thread_count = 1
        if (codec or usual) == "libx264":
            stream.options = {"qp": "4", "bf": "0"}
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if wide is not None:
            stream.codec_context.sample_aspect_ratio = wide
        hum = film.add_stream("aac", rate=8000) if sound else None
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame.repeat(3 // frame.shape[2], 2), format="rgb24")
            if times is not None:
                picture.pts, picture.time_base = times[number], Fraction(1, 1000)
            film.mux(stream.encode(picture))
        film.mux(stream.encode(None))
        if hum is not None:
            film.mux([*hum.encode(silence()), *hum.encode(None)])
    return buffer.getvalue()


def sound_alone() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as film:
        hum = film.add_stream("aac", rate=8000)
        film.mux([*hum.encode(silence()), *hum.encode(None)])
    return buffer.getvalue()


def silence() -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
    frame.rate = 8000
    return frame


def turned(data: bytes, degrees: int) -> bytes:
    """An MP4 film of which the header says that it is to be turned so far clockwise to stand upright."""
    cos, sin = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    matrix = struct.pack(">9i", cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30)
    upright = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    head, mark, rest = data.partition(b"tkhd")
    return head + mark + rest.replace(upright, matrix, 1)


def mutants(data: bytes, n: int, seed: int) -> Iterator[bytes]:
    """`n` damaged copies: the end cut off, or some bits of some bytes changed."""
    rng = np.random.default_rng(seed)
    for number in range(n):
        if number % 3 == 0:
            yield data[: int(rng.integers(len(data)))]
            continue
        mutant = bytearray(data)
        for place in rng.integers(len(data), size=int(rng.integers(1, 30))):
            mutant[place] ^= 1 << int(rng.integers(8))
        yield bytes(mutant)


def fragmented(frames: np.ndarray, rate: int = 8) -> bytes:
    """An MP4 film in fragments, as live ones come."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov+default_base_moof"}) as film:
        stream = film.add_stream("libx264", rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        for frame in frames:
            film.mux(stream.encode(av.VideoFrame.from_ndarray(frame.repeat(3 // frame.shape[2], 2), format="rgb24")))
        film.mux(stream.encode(None))
    return buffer.getvalue()
