"""Bytes that claim to be a film -> its frames at even times, or one sentence why not; frames -> an MP4 file.

Films come from strangers. The first bytes say which of three containers it is, and only that one is looked for in them
(never a playlist, which could name other files); pictures are decoded of codecs that are listed here and of no others,
one thread each, until enough frames have come, and no further than `MAX_WORK`. Animations (GIF, WebP, PNG) are opened
as pictures are, see `decode.py`. Whatever libav raises becomes MQ-3001 with a reason that names no address.

Time: a film begins with its first picture. At each tick the last picture that has begun is taken, whatever the film's
own rate and however it varies; one that begins within a fifth of a tick after it counts as begun, for containers round
times (WebM to milliseconds, GIF to hundredths of a second). A film is over when its last picture has been seen.

What is done to a picture: upright as its display matrix says, pixels made square, the centre square resized.
"""

import contextlib
import io
import itertools
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import PurePath
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from av.video.stream import VideoStream
from PIL import Image as pillow

from maquette.core.errors import MaquetteError, Phrase
from maquette.media import decode
from maquette.media.base import Facts

CONTAINERS = {
    "MP4": (rb".{4}(ftyp|moov|mdat|wide|free|skip)", "mov", {".mp4", ".m4v", ".mov"}),
    "Matroska": (rb"\x1a\x45\xdf\xa3", "matroska", {".mkv", ".webm"}),
    "AVI": (rb"RIFF.{4}AVI ", "avi", {".avi"}),
}
"""First bytes, what libav calls it, and the suffixes that such files go by."""
ANIMATIONS = {"GIF": {".gif"}, "WebP": {".webp"}, "PNG": {".apng"}}
SUFFIXES = frozenset().union(*(suffixes for _, _, suffixes in CONTAINERS.values()), *ANIMATIONS.values())
CODECS = frozenset(
    ("h264", "hevc", "libdav1d", "av1", "vp8", "vp9", "libvpx", "libvpx-vp9", "mpeg4", "msmpeg4", "msmpeg4v1")
    + ("msmpeg4v2", "mpeg1video", "mpeg2video", "h263", "mjpeg", "png", "rawvideo", "ffv1", "huffyuv", "ffvhuff")
    + ("utvideo", "prores", "dvvideo", "theora", "wmv1", "wmv2", "qtrle", "cinepak")
)
"""What pictures of films may be coded as."""
MAX_BYTES = 512 << 20
MAX_PIXELS = 9_500_000
"""Of one frame: somewhat more than 4096 x 2160."""
MAX_WORK = 10_000_000_000
"""Pixels that are decoded of one film, whether they are looked at or not: about a minute's work."""
MAX_FRAMES = 100_000
"""Frames that are decoded of one film."""
SLACK = 0.2
"""Share of a tick by which a frame may be late and is still taken as having begun."""
VARIABLE = Phrase("variable frame rate: pictures are picked by their times", "帧率不固定：按时间选取画面")
QP = 4
"""The quantiser that films are written with: near the least noise that there is (0 would be a profile of H.264 that
browsers do not play)."""
XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
"""The name of a box of XMP (ISO 16684-3)."""

Number = int | float


class Shot(NamedTuple):
    """One frame of a film: when it begins and how long it is to be seen, both in seconds; 0 where nothing says so."""

    begins: Number
    lasts: Number
    pixels: int
    show: Callable[[], np.ndarray]


def clip(data: bytes, name: str, rate: Number, least: int, most: int, size: int, channels: int) -> np.ndarray:
    """The frames of a film at `rate` a second, from its beginning: uint8 [n, size, size, channels], least <= n <= most.

    Raises:
        MaquetteError: MQ-3001 naming `name` when it cannot be read, or is over after fewer than `least` frames.
    """

    def frames() -> Iterator[np.ndarray]:
        with _telling(data, name):
            yield from _shown(at_ticks(_watched(_shots(data, size, channels)), rate, most))

    return _enough(frames(), name, rate, least)


def sequence(
    files: Sequence[bytes], name: str, fps: Number, rate: Number, least: int, most: int, size: int, channels: int
) -> np.ndarray:
    """As `clip`, of a film whose frames are picture files, `fps` of them a second."""

    def show(number: int, file: bytes) -> np.ndarray:
        try:
            return decode.square(file, name, size, channels)
        except MaquetteError as bad:
            raise MaquetteError("MQ-3001", name, reason=f"frame {number}: {bad.values['reason']}") from None

    shots = (Shot(n / fps, 1 / fps, 0, partial(show, n, file)) for n, file in enumerate(files[:MAX_FRAMES]))
    return _enough(_shown(at_ticks(shots, rate, most)), name, rate, least)


def at_ticks(shots: Iterable[Shot], rate: Number, most: int) -> Iterator[Shot]:
    """The last shot that has begun at each tick 0, 1 / rate, … of a film, at most `most`, until the film is over.

    A last shot of which nothing says how long it lasts is there for a tick.
    """
    start, tick, held = None, 0, None
    for shot in shots:
        start = shot.begins if start is None else start
        while held is not None and tick < most and tick + SLACK < (shot.begins - start) * rate:
            yield held
            tick += 1
        held = shot
        if tick == most:
            return
    if held is not None and start is not None:
        over = (held.begins - start + (held.lasts or 1 / rate)) * rate
        while tick < most and tick + SLACK < over:
            yield held
            tick += 1


def facts(data: bytes, name: str, size: int, seconds: Number, rate: Number) -> Facts:
    """What a film is of which `seconds` are read at `rate`; raises as `clip`."""
    format, suffix = signature(data) or decode.signature(data), PurePath(name).suffix.lower()
    own = CONTAINERS[format][2] if format in CONTAINERS else ANIMATIONS.get(format, set())
    notes = {decode.renamed(format): suffix in SUFFIXES and suffix not in own}
    with _telling(data, name):
        look = _of_animation if _moves(data) else _of_film
        (width, height), lasts, each, more = look(data)
    notes |= more | {
        Phrase(f"fewer than {rate:g} frames a second: some are seen twice", f"每秒不足 {rate:g} 帧：有的帧会重复"): each
        > (1 + SLACK) / rate,
        Phrase(f"longer than the {seconds:.3g} s that are read", f"比读取的 {seconds:.3g} 秒长"): lasts
        > seconds + SLACK / rate,
    }
    notes = tuple(note for note, true in notes.items() if true)
    return Facts(size=(width, height), notes=notes, off=decode.unfit((width, height), size))


def write(frames: np.ndarray, rate: Number, qp: int = QP, tags: Mapping[str, str] = {}) -> bytes:
    """An MP4 file (H.264, 4:2:0) with uint8 frames [n, h, w, 1 or 3] of even sides; the same bytes every time.

    H.264 keeps 220 levels of brightness and, of colour, one value for 2 x 2 pixels: at `QP` a grey film comes back
    within 2 of 255 levels, a quarter of a level off in the mean; a coloured one less well where colours change from
    pixel to pixel.

    Args:
        tags: metadata to carry, any Unicode.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", options={"movflags": "use_metadata_tags"}) as film:
        for key, value in tags.items():
            film.metadata[key] = value
        stream = film.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.thread_count = "yuv420p", 1  # several threads would write other bytes elsewhere
        stream.options = {"qp": str(qp)}
        stream.codec_context.colorspace, stream.codec_context.color_range = Colorspace.SMPTE170M, ColorRange.MPEG
        for frame in frames:
            film.mux(stream.encode(VideoFrame.from_ndarray(frame.repeat(3 // frame.shape[2], 2), format="rgb24")))
        film.mux(stream.encode(None))
    return buffer.getvalue()


def saying(film: bytes, packet: str) -> bytes:
    """An MP4 file that carries an XMP packet, in a box behind all others."""
    return film + struct.pack(">I", 8 + len(XMP) + len(packet.encode())) + b"uuid" + XMP + packet.encode()


def carried(data: bytes, name: str) -> decode.Notes:
    """The metadata of a film, and its XMP packet; raises MQ-3001 as `clip` does."""
    with _telling(data, name), _container(data) as film:
        _, _, packet = data.rpartition(b"uuid" + XMP)
        return decode.Notes(
            {str(key): str(value) for key, value in film.metadata.items()}, packet.decode("utf-8", "replace")
        )


def signature(data: bytes) -> str:
    """Which of `CONTAINERS` this is; "" for none of them."""
    return next((name for name, (start, _, _) in CONTAINERS.items() if re.match(start, data[:16], re.DOTALL)), "")


# -- the steps --------------------------------------------------------------------------------------------------------


def _shots(data: bytes, size: int, channels: int) -> Iterator[Shot]:
    """The frames of a film or an animation one after another; what is shown is made when it is asked for."""
    if _moves(data):
        begins = 0.0
        for lasts, picture in decode.frames(data):
            pixels = picture.width * picture.height
            yield Shot(begins, lasts, pixels, lambda picture=picture: decode.fitted(picture, size, channels))
            begins += lasts
        return
    with _opened(data) as (film, stream):
        each, wide, before = 1 / float(stream.guessed_rate or 25), _wide(stream), None
        for frame in _decoded(film, stream):
            unit = frame.time_base or stream.time_base
            lasts = float(frame.duration * unit) if frame.duration and unit else each
            begins = before or 0.0
            if frame.pts is not None and unit:
                begins = float(frame.pts * unit)
                begins = begins if before is None else max(begins, before)  # a film does not go backwards
            pixels = frame.width * frame.height
            yield Shot(begins, lasts, pixels, lambda frame=frame: _fitted(frame, wide, size, channels))
            before = begins if frame.pts is not None else begins + each


def _shown(shots: Iterable[Shot]) -> Iterator[np.ndarray]:
    """Each shot as it is to be stored; one that stays is made once."""
    last, made = None, np.empty(0)
    for shot in shots:
        last, made = shot, made if shot is last else shot.show()
        yield made


def _enough(frames: Iterator[np.ndarray], name: str, rate: Number, least: int) -> np.ndarray:
    """All `frames`, of which there must be `least`: what lies behind these may be damaged."""
    made: list[np.ndarray] = []
    try:
        made.extend(frames)
    except MaquetteError:
        if len(made) < least:
            raise
    if len(made) < least:
        said = f"it is over after {len(made)} of {least} frames at {rate:g} a second"
        zh = f"以每秒 {rate:g} 帧计，只有 {len(made)} 帧，不足 {least} 帧"
        raise MaquetteError("MQ-3001", name, reason=Phrase(said, zh))
    return np.stack(made)


def _moves(data: bytes) -> bool:
    """Whether it is opened as pictures are."""
    return not signature(data) and bool(decode.signature(data))


def _watched(shots: Iterable[Shot]) -> Iterator[Shot]:
    """`shots`, until they are more work than one film may make."""
    work = 0
    for number, shot in enumerate(shots):
        work += shot.pixels
        if number >= MAX_FRAMES or work > MAX_WORK:
            raise decode.Refused(_TOO_MUCH)
        yield shot


def _decoded(film: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Every frame that can be decoded; a film that was cut out of another may begin with some that cannot."""
    begun = False
    for number, packet in enumerate(film.demux(stream)):
        if number > 4 * MAX_FRAMES:
            raise decode.Refused(_TOO_MUCH)
        try:
            frames = packet.decode()
        except InvalidDataError:
            if begun:
                raise
            continue
        for frame in frames:
            begun = begun or not frame.is_corrupt
            if begun:
                yield frame  # type: ignore[misc]


def _fitted(frame: VideoFrame, wide: float, size: int, channels: int) -> np.ndarray:
    if min(frame.width, frame.height) < decode.MIN_SIDE:
        found, least = f"{frame.width} x {frame.height}", f"{decode.MIN_SIDE} x {decode.MIN_SIDE}"
        said = f"{found} pixels, at least {least} are needed"
        raise decode.Refused(Phrase(said, f"{found} 像素，至少需要 {least}"))
    picture = frame.reformat(format="rgb24", interpolation=_EXACTLY).to_image()
    turn = _TURNS.get(frame.rotation % 360)
    if turn is None:
        return decode.fitted(picture, size, channels, wide)
    lying = frame.rotation % 180 != 0
    return decode.fitted(picture.transpose(turn), size, channels, 1 / wide if lying else wide)


def _wide(stream: VideoStream) -> float:
    """How wide a pixel is, as a multiple of its height."""
    wide = float(stream.sample_aspect_ratio or 1)
    return wide if 1 / 16 < wide < 16 else 1.0


def _fragments(data: bytes) -> int:
    """How many samples the fragments of an MP4 film claim to have: libav makes room for each before it looks for it."""
    claimed = at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        size = struct.unpack_from(">Q", data, at + 8)[0] if size == 1 and at + 16 <= len(data) else size
        end = min(len(data), at + size) if size >= 8 else len(data)
        run = -1 if kind == b"mdat" else data.find(b"trun", at, end)
        while run >= 0:
            claimed += int.from_bytes(data[run + 8 : run + 12])
            run = data.find(b"trun", run + 4, end)
        at = end
    return claimed


@contextlib.contextmanager
def _container(data: bytes) -> Iterator[InputContainer]:
    format = signature(data)
    if not format:
        text = Phrase("it is text, not a film", "这是文本，不是影片")
        raise decode.Refused(text if decode.is_text(data[:512]) else _NO_FILM)
    if format == "MP4" and _fragments(data) > 4 * MAX_FRAMES:
        said = "its header claims more samples than a film has"
        raise decode.Refused(Phrase(said, "文件头声称的样本数超出一部影片所能有的"))
    try:
        film = av.open(
            io.BytesIO(data),
            format=CONTAINERS[format][1],
            options={"max_pixels": str(MAX_PIXELS), "codec_whitelist": ",".join(CODECS)},
            metadata_errors="replace",
        )
    except FFmpegError:
        said = f"the header of this {format} film is damaged, or its end, which holds one, is missing"
        zh = f"此 {format} 影片的文件头已损坏，或缺少含有文件头的末尾"
        raise decode.Refused(Phrase(said, zh)) from None
    assert isinstance(film, InputContainer), "it was opened to be read"
    with film:
        yield film


@contextlib.contextmanager
def _opened(data: bytes) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A film and its pictures, as one thread will decode them."""
    with _container(data) as film:
        stream = next((s for s in film.streams.video if not s.disposition & Disposition.attached_pic), None)
        if stream is None:
            said = ("it has sound and no pictures", "只有声音，没有画面")
            raise decode.Refused(Phrase(*said if film.streams.audio else ("it has no pictures", "没有画面")))
        codec = stream.codec_context
        if codec is None or codec.name not in CODECS:
            name = codec.name if codec else "unknown"
            said = f"its pictures are coded as {name}, which is not read"
            raise decode.Refused(Phrase(said, f"画面的编码是 {name}，此处不读取"))
        if codec.width * codec.height > MAX_PIXELS:
            found, most = f"{codec.width:,} x {codec.height:,}", f"{MAX_PIXELS / 10**6:g}"
            said = f"{found} pixels, at most {most} megapixels are read"
            raise decode.Refused(Phrase(said, f"{found} 像素，最多读取 {most} 百万像素"))
        codec.options = {"max_pixels": str(MAX_PIXELS)}  # the header may lie, and the picture be larger
        codec.thread_count, codec.thread_type = 1, "NONE"
        yield film, stream


def _of_film(data: bytes) -> tuple[tuple[int, int], float, float, dict[Phrase, bool]]:
    """Width and height as seen, seconds in all and of a frame (as the header has them), and what is remarkable."""
    with _opened(data) as (film, stream):
        first = next(_decoded(film, stream), None)
        if first is None:
            raise decode.Refused(Phrase("no frame of it can be decoded", "没有一帧能够解码"))
        heard = Phrase("with sound, which is left out", "带有声音，读取时略去")
        notes = {
            heard: bool(film.streams.audio),
            Phrase("turned by its display matrix", "按显示矩阵旋转"): first.rotation % 360 != 0,
            Phrase("with pixels that are not square", "像素不是正方形"): _wide(stream) != 1,
        }
        size = (first.height, first.width) if first.rotation % 180 else (first.width, first.height)
        lasts, each = (film.duration or 0) / av.time_base, 1 / float(stream.guessed_rate or 25)
        said = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else lasts
    begins, unit = _begins(data)
    if len(begins) > 1:
        came = begins[-1] - begins[0] + each
        alone = said == lasts and notes[heard]  # and may be what lasts so long
        notes |= {
            VARIABLE: _varies([after - before for before, after in itertools.pairwise(begins)], unit),
            Phrase(
                f"breaks off after {came:.3g} of {said:.3g} s", f"共 {said:.3g} 秒，到 {came:.3g} 秒处中断"
            ): not alone and said - came > max(2 * each, SLACK),
        }
    return size, lasts, each, notes


def _begins(data: bytes) -> tuple[list[float], float]:
    """When the pictures of a film begin, in seconds, none of them decoded; and what their times are counted in."""
    with _opened(data) as (film, stream):
        unit, found = float(stream.time_base or 0), list[float]()
        with contextlib.suppress(FFmpegError):  # it may end in the middle of one
            for packet in itertools.islice(film.demux(stream), 4 * MAX_FRAMES):
                found += [] if packet.pts is None else [packet.pts * unit]
    return sorted(found), unit


def _varies(lasting: Sequence[float], unit: float) -> bool:
    """Whether pictures are to be seen for unlike times, but for rounding to `unit`."""
    return max(lasting) - min(lasting) > max(2.5 * unit, SLACK * min(lasting))


def _of_animation(data: bytes) -> tuple[tuple[int, int], float, float, dict[Phrase, bool]]:
    size, shots = (0, 0), list[float]()
    for shot, picture in decode.frames(data):
        size = picture.size
        shots.append(shot)
        if len(shots) >= MAX_FRAMES or len(shots) * picture.width * picture.height > MAX_WORK:
            break
    return size, sum(shots), sum(shots) / max(1, len(shots)), {VARIABLE: len(shots) > 1 and _varies(shots, 0.01)}


@contextlib.contextmanager
def _telling(data: bytes, name: str) -> Iterator[None]:
    """Whatever goes wrong within, as one sentence."""
    if _moves(data):
        with decode.refusing(data, name):
            yield
        return
    if not data:
        raise MaquetteError("MQ-3001", name, reason=decode.EMPTY)
    try:
        yield
    except MaquetteError:
        raise
    except Exception as bad:  # libav has an error for everything, and frames that lie about themselves others
        raise MaquetteError("MQ-3001", name, reason=_reason(bad, data)) from None


def _reason(bad: Exception, data: bytes) -> str:
    if isinstance(bad, decode.Refused):
        return bad.args[0]
    if isinstance(bad, MemoryError):
        return decode.NO_MEMORY
    said = getattr(bad, "strerror", None) or type(bad).__name__
    return Phrase(f"damaged {signature(data)} film ({said})", f"{signature(data)} 影片已损坏（{said}）")


_EXACTLY = Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
"""How brightness and colour become RGB: half the error of libav's usual way, and the same on every processor."""
_TURNS = {
    90: pillow.Transpose.ROTATE_90,
    180: pillow.Transpose.ROTATE_180,
    270: pillow.Transpose.ROTATE_270,
}
_KNOWN = f"{', '.join(CONTAINERS)}, {', '.join(ANIMATIONS)}"
_NO_FILM = Phrase(f"not a film: {_KNOWN}", f"不是影片：{_KNOWN}")
_TOO_MUCH = Phrase(
    f"more than {MAX_FRAMES:,} frames or {MAX_WORK // 10**6:,} million pixels would have to be decoded",
    f"需要解码的超过 {MAX_FRAMES:,} 帧或 {MAX_WORK // 10**6:,} 百万像素",
)
