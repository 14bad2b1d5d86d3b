"""Bytes that claim to be sound -> 16-bit samples at one rate, or one sentence why not.

Sound comes from strangers. The first bytes say which of eight containers it is, and only that one is looked for in
them (never a playlist, which could name other files); sound is decoded of codecs that are listed here and of no others,
by one thread, until enough has come, and no further than `MAX_VALUES`. Whatever libav raises becomes MQ-3001 with a
reason that names no address; a file that breaks off or is damaged behind what is asked for is as good as a whole one.

What is done to what is read: the first stream of sound; samples beyond full scale are clipped; several channels become
one by their mean, or two (of more than two, their mean on both sides); then libav's resampler. 16-bit samples at the
wanted rate stay as they are.
"""

import contextlib
import io
import re
import struct
from collections.abc import Iterator
from pathlib import PurePath
from typing import NamedTuple

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError

from maquette.core import cancel
from maquette.core.errors import MaquetteError, Phrase
from maquette.media.base import Facts


class Container(NamedTuple):
    """How a file begins, what libav calls it, and the suffixes it goes by."""

    begins: bytes
    format: str
    suffixes: frozenset[str]


CONTAINERS = {
    "WAV": Container(rb"(RIFF|RF64).{4}WAVE", "wav", frozenset({".wav"})),
    "FLAC": Container(rb"fLaC", "flac", frozenset({".flac"})),
    "Ogg": Container(rb"OggS", "ogg", frozenset({".ogg", ".oga", ".opus"})),
    "MP3": Container(rb"ID3|\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff]", "mp3", frozenset({".mp3"})),
    "AIFF": Container(rb"FORM.{4}AIF[FC]", "aiff", frozenset({".aiff", ".aif"})),
    "AU": Container(rb"\.snd", "au", frozenset({".au"})),
    "MP4": Container(rb".{4}ftyp", "mov", frozenset({".m4a"})),
    "Matroska": Container(rb"\x1a\x45\xdf\xa3", "matroska", frozenset({".mka"})),
}
"""What is read. A film is read for its sound, but not looked for in a folder."""
SUFFIXES = frozenset().union(*(container.suffixes for container in CONTAINERS.values()))
CODECS = re.compile(r"pcm_\w+|adpcm_\w+|flac|alac|mp2(float)?|mp3(float)?|vorbis|opus|libopus|aac|gsm_ms")
MAX_BYTES = 256 << 20
MIN_RATE, MAX_RATE = 1000, 400_000
"""Samples per second of a file that is read."""
MAX_CHANNELS = 8
MAX_VALUES = 1 << 27
"""Samples times channels that are decoded of one file, and that it may become: some 25 minutes of a compact disc."""
MAX_PACKETS = 4_000_000
LATE = 0.1
"""Seconds that a file may lack of what its header says: coders fill up their last frame."""
_SCALES = {"u8": 1 << 7, "s16": 1 << 15, "s32": 1 << 31, "s64": 1 << 63}
"""What full scale is in each of libav's formats of whole numbers."""


def read(data: bytes, name: str, rate: int, channels: int, most: int | None = None) -> np.ndarray:
    """The sound of a file at `rate` samples per second: int16 [n, channels] with 0 < n <= most.

    Args:
        most: how many samples are wanted, from the beginning; None for all.

    Raises:
        MaquetteError: MQ-3001 naming `name`, with the reason; also for one that is too long, if all is wanted.
    """
    parts: list[np.ndarray] = []
    count, limit = 0, MAX_VALUES // channels if most is None else most
    with _telling(data, name):
        try:
            for part in _resampled(data, rate, channels):
                cancel.check()
                parts.append(part)
                count += len(part)
                if count > limit and most is None:
                    raise _Refused(_TOO_LONG)
                if count >= limit:
                    break
        except (_Refused, cancel.Cancelled):
            raise
        except Exception:  # what lies behind what was asked for may be damaged
            if count < limit:
                raise
        if not count:
            raise _Refused(Phrase("it holds no sound", "其中没有声音"))
    return np.concatenate(parts)[:most]


def facts(data: bytes, name: str, rate: int, item: np.ndarray, samples: int, pieces: bool) -> Facts:
    """What a file is that has become `item`, int16 [n, channels]; raises as `read`."""
    format, suffix, channels = signature(data), PurePath(name).suffix.lower(), item.shape[1]
    with _telling(data, name), _opened(data) as (file, stream):
        codec = stream.codec_context
        length = stream.duration * stream.time_base if stream.duration and stream.time_base else None
        came = len(item) / rate
        seconds = _claimed(data) or (float(length) if length else (file.duration or 0) / av.time_base) or came
        over = len(item) < samples and seconds - came > LATE
        notes = {
            (f"{format} under another suffix", f"实为 {format}，后缀不符"): (
                suffix in SUFFIXES and suffix not in CONTAINERS[format].suffixes
            ),
            (
                f"resampled from {codec.rate:,} to {rate:,} samples per second",
                f"由每秒 {codec.rate:,} 个采样点重采样为 {rate:,} 个",
            ): codec.rate != rate,
            (f"mixed into one of {codec.channels} channels", f"{codec.channels} 个声道混为一个"): (
                codec.channels > 1 and channels == 1
            ),
            (f"on both sides the mean of {codec.channels} channels", f"两侧均取 {codec.channels} 个声道的平均"): (
                codec.channels > 2 and channels == 2
            ),
            ("on both sides the same, of one channel", "两侧相同，来自单声道"): codec.channels == 1 and channels == 2,
            ("shorter than an item: silence follows", "短于一个样本：其后补静音"): len(item) < samples,
            (
                f"breaks off after {came:.3g} of {seconds:.3g} s",
                f"共 {seconds:.3g} 秒，到 {came:.3g} 秒处中断",
            ): over,
            ("longer than an item: only its beginning is read", "长于一个样本：只读开头"): (
                not (pieces or over) and seconds * rate >= samples + 1
            ),
            ("silent", "静音"): not item.any(),
            ("constant: there is nothing to hear", "恒定不变：听不到任何声音"): (
                bool(item.any() and (item == item[0]).all())
            ),
            ("at full scale, where it may be clipped", "达到满幅，可能已削波"): (
                bool((np.abs(item.astype(np.int32)) >= 32767).mean() > 1e-3)
            ),
        }
    return Facts(
        size=(round(seconds, 3),), unit="s", notes=tuple(Phrase(*note) for note, true in notes.items() if true)
    )


def _claimed(data: bytes) -> float:
    """The seconds that the header of a WAV file claims, of which libav tells no more than the file has; 0 where it
    claims nothing, or so much that nobody meant it: who writes as sound comes cannot know how much it will be."""
    at, pace = 12, 0
    while signature(data) == "WAV" and at + 20 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        if kind == b"fmt ":
            pace = struct.unpack_from("<I", data, at + 16)[0]
        if kind == b"data":
            return size / pace if pace and size <= MAX_BYTES else 0.0
        at += 8 + size + size % 2
    return 0.0


def signature(data: bytes) -> str:
    """Which of `CONTAINERS` this is; "" for none of them."""
    return next((name for name, c in CONTAINERS.items() if re.match(c.begins, data[:16], re.DOTALL)), "")


# -- the steps --------------------------------------------------------------------------------------------------------


def _resampled(data: bytes, rate: int, channels: int) -> Iterator[np.ndarray]:
    """int16 [n, channels], piece by piece."""
    resampler: AudioResampler | None = None
    own, layout = 0, "stereo" if channels == 2 else "mono"
    for values, found in _decoded(data):
        if own not in (0, found):
            raise _Refused(Phrase("its rate changes on the way", "采样率中途改变"))
        own = found
        mixed = _mixed(values, channels)
        if own == rate:
            yield _sixteen_bits(mixed)
            continue
        resampler = resampler or AudioResampler("fltp", layout, rate)
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(mixed), "fltp", layout)
        frame.rate = own
        yield from (_sixteen_bits(out.to_ndarray()) for out in resampler.resample(frame))
    if resampler is not None:
        yield from (_sixteen_bits(out.to_ndarray()) for out in resampler.resample(None))


def _decoded(data: bytes) -> Iterator[tuple[np.ndarray, int]]:
    """float32 [channels, n] in [-1, 1] and the rate, frame by frame."""
    values = 0
    with _opened(data) as (file, stream):
        for number, packet in enumerate(file.demux(stream)):
            if number > MAX_PACKETS:
                raise _Refused(_TOO_LONG)
            for frame in packet.decode():
                assert isinstance(frame, AudioFrame)
                _check(frame.rate, frame.layout.nb_channels)
                values += frame.samples * frame.layout.nb_channels
                if values > MAX_VALUES:
                    raise _Refused(_TOO_LONG)
                if frame.samples:
                    yield _values(frame), frame.rate


def _check(rate: int, channels: int) -> None:
    if not MIN_RATE <= rate <= MAX_RATE:
        raise _Refused(
            Phrase(
                f"{rate:,} samples per second; {MIN_RATE:,} to {MAX_RATE:,} are read",
                f"每秒 {rate:,} 个采样点，可读取的是 {MIN_RATE:,} 至 {MAX_RATE:,}",
            )
        )
    if not 1 <= channels <= MAX_CHANNELS:
        raise _Refused(
            Phrase(
                f"it has {channels} channels, at most {MAX_CHANNELS} are read",
                f"有 {channels} 个声道，最多读取 {MAX_CHANNELS} 个",
            )
        )


def _values(frame: AudioFrame) -> np.ndarray:
    """float32 [channels, n] in [-1, 1]."""
    kind, channels = frame.format.name.removesuffix("p"), frame.layout.nb_channels
    numbers = frame.to_ndarray()
    planes = numbers if frame.format.is_planar else numbers.reshape(-1, channels).T
    if kind in _SCALES:
        offset = 128 if kind == "u8" else 0
        return ((planes.astype(np.float64) - offset) / _SCALES[kind]).astype(np.float32)
    if not np.isfinite(planes).all():
        raise _Refused(Phrase("some of its samples are not finite numbers", "有的采样值不是有限数"))
    return planes.clip(-1, 1).astype(np.float32)


def _mixed(values: np.ndarray, channels: int) -> np.ndarray:
    """float32 [channels, n] of however many."""
    if len(values) == channels:
        return values
    mean = values.mean(0, keepdims=True) if len(values) > 1 else values
    return mean.repeat(channels, 0)


def _sixteen_bits(values: np.ndarray) -> np.ndarray:
    """float32 [channels, n] -> int16 [n, channels]."""
    return np.rint(values.T * 32768.0).clip(-32768, 32767).astype(np.int16)


@contextlib.contextmanager
def _opened(data: bytes) -> Iterator[tuple[InputContainer, AudioStream]]:
    """A file and its first stream of sound, as one thread will decode it."""
    format = signature(data)
    if not format:
        names = ", ".join(CONTAINERS)
        text = not re.search(rb"[\x00-\x08\x0e-\x1f]", data[:512])
        said = (
            ("it is text, not sound", "这是文本，不是声音") if text else (f"not sound: {names}", f"不是声音：{names}")
        )
        raise _Refused(Phrase(*said))
    try:
        file = av.open(io.BytesIO(data), format=CONTAINERS[format].format, metadata_errors="replace")
    except FFmpegError:
        said = f"the header of this {format} file is damaged"
        raise _Refused(Phrase(said, f"此 {format} 文件的文件头已损坏")) from None
    with file:
        assert isinstance(file, InputContainer)
        stream = next(iter(file.streams.audio), None)
        if stream is None:
            raise _Refused(Phrase("it has no sound", "没有声音"))
        codec = stream.codec_context
        if codec is None or not CODECS.fullmatch(codec.name):
            name = codec.name if codec else "nobody knows what"
            zh = f"声音的编码{f'是 {codec.name}' if codec else '无法识别'}，此处不读取"
            raise _Refused(Phrase(f"its sound is coded as {name}, which is not read", zh))
        _check(codec.rate, codec.channels)
        codec.thread_count, codec.thread_type = 1, "NONE"
        yield file, stream


# -- one sentence for everything that can go wrong --------------------------------------------------------------------


class _Refused(Exception):
    """Raised with the very sentence to show."""


@contextlib.contextmanager
def _telling(data: bytes, name: str) -> Iterator[None]:
    if not data:
        raise MaquetteError("MQ-3001", name, reason=Phrase("it is empty (0 bytes)", "文件为空（0 字节）"))
    try:
        yield
    except cancel.Cancelled:
        raise
    except Exception as bad:  # libav has an error for everything, and frames that lie about themselves others
        raise MaquetteError("MQ-3001", name, reason=_reason(bad, data)) from None


def _reason(bad: Exception, data: bytes) -> str:
    if isinstance(bad, _Refused):
        return bad.args[0]
    if isinstance(bad, MemoryError):
        return Phrase("there is not enough memory to decode it", "内存不足，无法解码")
    said = getattr(bad, "strerror", None) or type(bad).__name__
    return Phrase(f"damaged {signature(data)} file ({said})", f"{signature(data)} 文件已损坏（{said}）")


_TOO_LONG = Phrase(
    f"more than {MAX_VALUES >> 20} million samples would have to be decoded; cut it into parts",
    f"需要解码的采样点超过 {MAX_VALUES >> 20} 百万个；请切成几段",
)
