"""Bytes that claim to be a picture -> an upright RGB or grey picture, or one sentence why not.

Pictures come from strangers. Six formats are opened and no others; the header is read first and its pixels counted
before any is decoded; whatever Pillow raises becomes MQ-3001 with a reason that names no address and no traceback.

What is done to what is read: the first frame of an animation, upright by its EXIF orientation, palettes and CMYK as
RGB (without colour profiles), 16-bit grey rounded to 8, transparency laid over white.
"""

import codecs
import contextlib
import io
import re
import threading
import warnings
from collections.abc import Iterator
from pathlib import PurePath
from typing import NamedTuple

import numpy as np
from PIL import (  # the plugins register themselves: doing it here, once, keeps decoding threads from racing to
    BmpImagePlugin,  # noqa: F401
    ExifTags,
    GifImagePlugin,  # noqa: F401
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)
from PIL import Image as pillow

from maquette.core.errors import MaquetteError, Phrase
from maquette.media.facts import Facts

FORMATS = {
    "PNG": {".png", ".apng"},
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "WebP": {".webp"},
    "BMP": {".bmp"},
    "GIF": {".gif"},
    "TIFF": {".tif", ".tiff"},
}
"""What is read, and the suffixes that such files go by."""
SUFFIXES = frozenset().union(*FORMATS.values())
MAX_PIXELS = 64_000_000
"""Of one picture; a decoded frame takes up to four bytes for each."""
MAX_BYTES = 256 << 20
MIN_SIDE = 8
"""Pixels: the smallest size that the image medium makes, and the smallest worth making it from; what is given to a
model may be smaller."""

_SIGNATURES = (
    (rb"\x89PNG\r\n\x1a\n", "PNG"),
    (rb"\xff\xd8\xff", "JPEG"),
    (rb"RIFF....WEBP", "WebP"),
    (rb"GIF8", "GIF"),
    (rb"II[*+]\x00|MM\x00[*+]", "TIFF"),
    (rb"BM", "BMP"),
)
_PLUGINS = tuple(format.upper() for format in FORMATS)
_TURNS = {
    2: pillow.Transpose.FLIP_LEFT_RIGHT,
    3: pillow.Transpose.ROTATE_180,
    4: pillow.Transpose.FLIP_TOP_BOTTOM,
    5: pillow.Transpose.TRANSPOSE,
    6: pillow.Transpose.ROTATE_270,
    7: pillow.Transpose.TRANSVERSE,
    8: pillow.Transpose.ROTATE_90,
}


def square(data: bytes, name: str, size: int, channels: int) -> np.ndarray:
    """The centre square of a picture file at `size` pixels, antialiased: uint8 [size, size, channels].

    Raises:
        MaquetteError: MQ-3001 naming `name`, with the reason.
    """
    with refusing(data, name):
        picture = _header(data, min(MIN_SIDE, size))
        picture.draft(None, (2 * size, 2 * size))  # JPEG alone: decode no finer than will be looked at
        return fitted(_eight_bits(_upright(picture)), size, channels)


def transparent(data: bytes, name: str, size: int) -> np.ndarray | None:
    """Where the centre square of a picture is more clear than not, at `size` pixels: booleans [size, size]; None where
    nothing can be. Raises as `square` does."""
    with refusing(data, name):
        picture = _header(data)
        if not picture.has_transparency_data:
            return None
        return fitted(_upright(picture).convert("RGBA").getchannel("A"), size, 1)[:, :, 0] < 128


def fitted(picture: pillow.Image, size: int, channels: int, wide: float = 1.0) -> np.ndarray:
    """The centre square of a picture at `size` pixels, antialiased: uint8 [size, size, channels].

    Args:
        picture: grey or RGB.
        wide: how wide its pixels are, as multiples of their height.
    """
    picture = picture.convert("L" if channels == 1 else "RGB")
    width, height = picture.size
    side = min(width * wide, height)
    across, down = max(1, round(side / wide)), max(1, round(side))
    left, top = (width - across) // 2, (height - down) // 2
    if (across, down) != (width, height):
        picture = picture.crop((left, top, left + across, top + down))
    if (across, down) != (size, size):
        picture = picture.resize((size, size), pillow.Resampling.BICUBIC, reducing_gap=3.0)
    return np.asarray(picture).reshape(size, size, channels).copy()


def frames(data: bytes) -> Iterator[tuple[float, pillow.Image]]:
    """How many seconds each frame of an animation is to be seen, and the frame, grey or RGB and whole by itself; a
    still picture is one frame of 0 seconds. To be asked for within `refusing`.

    A frame of at most 10 ms counts for 100 ms, as browsers have it.
    """
    picture = _header(data)
    for number in range(1 if picture.info.get("default_image") else 0, 2**31):
        try:
            picture.seek(number)
        except EOFError:
            return
        picture.load()
        said = picture.info.get("duration", 0) if getattr(picture, "is_animated", False) else None
        yield 0.0 if said is None else (said if said > 10 else 100) / 1000, _eight_bits(_upright(picture.copy()))


def facts(data: bytes, name: str, size: int) -> Facts:
    """What the header says of a picture that is to become `size` pixels wide; raises MQ-3001 as `square` does."""
    with refusing(data, name):
        picture = _header(data)
        format, suffix = signature(data), PurePath(name).suffix.lower()
        notes = {
            renamed(format): suffix in SUFFIXES and suffix not in FORMATS.get(format, ()),
            Phrase("several frames: the first is read", "含多帧：只读第一帧"): getattr(picture, "is_animated", False),
            Phrase("CMYK, read without its colour profile", "CMYK，读取时忽略色彩配置文件"): picture.mode == "CMYK",
            Phrase("16-bit, rounded to 8", "16 位，取整为 8 位"): picture.mode.startswith("I;16"),
            Phrase("transparent, laid over white", "有透明度，以白色为底"): picture.has_transparency_data,
            Phrase("turned by its EXIF orientation", "按 EXIF 方向旋转"): _orientation(picture) != 1,
        }
        notes = tuple(note for note, true in notes.items() if true)
        return Facts(size=picture.size, notes=notes, off=unfit(picture.size, size))


def renamed(format: str) -> Phrase:
    """That a file is not what its suffix says."""
    return Phrase(f"{format} under another suffix", f"实为 {format}，后缀不符")


def unfit(found: tuple[int, int], size: int) -> str:
    """Why a picture of so many pixels does not suit a square of `size`; "" where it does."""
    short, long = sorted(found)
    if short < size:
        return Phrase(f"smaller than {size} x {size}", f"小于 {size} x {size}")
    return Phrase("more than half is cut away", "一半以上会被裁掉") if long > 2 * short else ""


class Notes(NamedTuple):
    """Text that a picture file carries, and its XMP packet."""

    text: dict[str, str]
    xmp: str


def carried(data: bytes, name: str) -> Notes:
    """The text chunks and the XMP packet of a picture file; raises MQ-3001 as `square` does."""
    with refusing(data, name):
        picture = _header(data)
        xmp = picture.info.get("xmp", b"")
        text = {str(k): str(v) for k, v in picture.info.items() if isinstance(v, str)}
        return Notes(text, xmp.decode("utf-8", "replace") if isinstance(xmp, bytes) else str(xmp))


# -- the steps --------------------------------------------------------------------------------------------------------


def _header(data: bytes, least: int = MIN_SIDE) -> pillow.Image:
    picture = pillow.open(io.BytesIO(data), formats=_PLUGINS)
    if picture.width * picture.height > MAX_PIXELS:
        found, most = f"{picture.width:,} x {picture.height:,}", MAX_PIXELS // 10**6
        said = f"{found} pixels, at most {most} megapixels are read"
        raise Refused(Phrase(said, f"{found} 像素，最多读取 {most} 百万像素"))
    if min(picture.size) < least:
        found = f"{picture.width:,} x {picture.height:,}"
        zh = f"{found} 像素，至少需要 {least} x {least}"
        raise Refused(Phrase(f"{found} pixels, at least {least} x {least} are needed", zh))
    return picture


def _orientation(picture: pillow.Image) -> int:
    """The EXIF orientation, 1 (upright) when it is absent or unreadable."""
    try:
        found = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # EXIF is a courtesy: whatever is wrong with it, the pixels still stand
        return 1
    return found if found in _TURNS else 1


def _upright(picture: pillow.Image) -> pillow.Image:
    picture.load()  # TIFF turns itself while loading, and then no longer says that it lay on its side
    turn = _TURNS.get(_orientation(picture))
    return picture if turn is None else picture.transpose(turn)


def _eight_bits(picture: pillow.Image) -> pillow.Image:
    """Grey or RGB with 8 bits a channel and nothing transparent."""
    if picture.mode.startswith("I;16"):
        deep = np.asarray(picture).astype(np.uint32)
        grey = ((deep * 255 + 32767) // 65535).astype(np.uint8)
        if isinstance(clear := picture.info.get("transparency"), int):
            grey[deep == clear] = 255
        return pillow.fromarray(grey)
    if picture.mode in ("I", "F"):
        said = "its pixels are 32-bit numbers of unknown range; save it with 8 or 16 bits"
        raise Refused(Phrase(said, "像素是范围未知的 32 位数；请存成 8 位或 16 位"))
    if picture.has_transparency_data:
        clear_on_white = pillow.new("RGBA", picture.size, "white")
        clear_on_white.alpha_composite(picture.convert("RGBA"))
        return clear_on_white.convert("RGB")
    return picture if picture.mode in ("L", "RGB") else picture.convert("L" if picture.mode == "1" else "RGB")


# -- one sentence for everything that can go wrong --------------------------------------------------------------------


EMPTY = Phrase("it is empty (0 bytes)", "文件为空（0 字节）")
NO_MEMORY = Phrase("there is not enough memory to decode it", "内存不足，无法解码")


class Refused(Exception):
    """Raised with the very sentence to show."""


class _Hushed:
    """Pillow's warnings about odd files kept from the terminal, its bomb warning an error, in any number of threads.

    `warnings.catch_warnings` swaps a global: the first thread in enters it and the last one out leaves it.
    """

    def __init__(self) -> None:
        self.lock, self.inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self.lock:
            self.inside += 1
            if self.inside == 1:
                self.catcher = warnings.catch_warnings()
                self.catcher.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
                warnings.filterwarnings("error", category=pillow.DecompressionBombWarning)

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.catcher.__exit__(None, None, None)


_hushed = _Hushed()


@contextlib.contextmanager
def refusing(data: bytes, name: str) -> Iterator[None]:
    if not data:
        raise MaquetteError("MQ-3001", name, reason=EMPTY)
    try:
        with _hushed:
            yield
    except Exception as bad:  # Pillow raises nearly every type there is on damaged input
        raise MaquetteError("MQ-3001", name, reason=_reason(bad, data)) from None


def _reason(bad: Exception, data: bytes) -> str:
    if isinstance(bad, Refused):
        return bad.args[0]
    if isinstance(bad, pillow.DecompressionBombWarning | pillow.DecompressionBombError):
        return Phrase(f"more than {MAX_PIXELS // 10**6} megapixels", f"超过 {MAX_PIXELS // 10**6} 百万像素")
    if isinstance(bad, MemoryError):
        return NO_MEMORY
    format, known = signature(data), ", ".join(FORMATS)
    if not format and is_text(data[:512]):
        return Phrase("it is text, not a picture", "这是文本，不是图片")
    if not format:
        return Phrase(f"not a {known} picture", f"不是 {known} 图片")
    if isinstance(bad, UnidentifiedImageError):
        return Phrase(f"the header of this {format} picture is damaged", f"此 {format} 图片的文件头已损坏")
    if "truncated" in str(bad).lower() or isinstance(bad, EOFError):
        return Phrase(
            f"the file ends before this {format} picture does", f"文件不完整：{format} 图片未结束文件就到了末尾"
        )
    said = re.sub(r"<[^>]*>|0x[0-9a-fA-F]+", "…", str(bad)).strip() or type(bad).__name__
    return Phrase(f"damaged {format} picture ({said})", f"{format} 图片已损坏（{said}）")


def signature(data: bytes) -> str:
    return next((name for start, name in _SIGNATURES if re.match(start, data[:16], re.DOTALL)), "")


def is_text(start: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(start)  # does not mind a last character cut in two
    except UnicodeDecodeError:
        return False
    return all(c.isprintable() or c.isspace() for c in text)
