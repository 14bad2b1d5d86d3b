"""Pictures to read, whole and broken, made here byte by byte."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, TiffImagePlugin

FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "bmp": "BMP", "gif": "GIF", "tif": "TIFF"}


def photo(width: int = 48, height: int = 40, mode: str = "RGB") -> Image.Image:
    """A smooth picture with a bright top-left quarter, so that turning and cutting it can be seen."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    red = 255 * x / max(1, width - 1)
    green = 255 * y / max(1, height - 1)
    blue = 255 * ((x < width / 2) & (y < height / 2))
    return Image.fromarray(np.stack([red, green, blue], 2).astype(np.uint8)).convert(mode)


def saved(picture: Image.Image, format: str = "PNG", **how: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **how)  # type: ignore[arg-type]
    return buffer.getvalue()


def frames(format: str) -> bytes:
    """An animation: red, then green, then blue."""
    first, *rest = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    how = {"lossless": True} if format == "WEBP" else {}
    return saved(first, format, save_all=True, append_images=rest, **how)


def png(width: int, height: int, depth: int = 8, colour: int = 2, body: bytes | None = None) -> bytes:
    """A PNG whose header says what it is told to, over `body` (or one compressed zero)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = zlib.compress(b"\0") if body is None else body
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def bomb(side: int) -> bytes:
    """A PNG of `side` x `side` black pixels in a few kilobytes."""
    compress = zlib.compressobj(9)
    body = b"".join(compress.compress(bytes(1 + side)) for _ in range(side)) + compress.flush()
    return png(side, side, 8, 0, body)


def sixteen(format: str, **how: object) -> bytes:
    """A 16-bit grey ramp over the whole range, 64 x 8."""
    ramp = np.linspace(0, 65535, 64).round().astype(np.uint16)
    return saved(Image.fromarray(np.tile(ramp, (8, 1))), format, **how)


def rotated(orientation: int, format: str = "JPEG") -> bytes:
    """A picture that an EXIF tag turns upright; a blue quarter at the top left once it is."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = photo(40, 40)
    back = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    lying = upright if back is None else upright.transpose(back)
    if format == "TIFF":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[0x0112] = orientation
        return saved(lying, format, tiffinfo=tags)
    return saved(lying, format, exif=exif, **({"quality": 95} if format == "JPEG" else {}))


def whole() -> Iterator[tuple[str, bytes]]:
    """One good file of each format."""
    for suffix, format in FORMATS.items():
        yield f"good.{suffix}", saved(photo(), format)


def malformed() -> Iterator[tuple[str, bytes, str]]:
    """Files that cannot be read: name, bytes, and words of the sentence that says why."""
    good = dict(whole())
    for suffix, cuts in {
        "png": (4, 8, 20, 33, 40, 0.3, 0.7),
        "jpg": (2, 3, 20, 0.3, 0.6, 0.9),
        "webp": (4, 12, 16, 30, 0.5, 0.9),
        "bmp": (2, 14, 30, 54, 0.5, 0.9),
        "gif": (3, 6, 13, 0.5),
        "tif": (2, 4, 8, 0.5, 0.9),
    }.items():
        data = good[f"good.{suffix}"]
        for cut in cuts:
            n = cut if isinstance(cut, int) else int(cut * len(data))
            yield f"cut-at-{cut}.{suffix}", data[:n], "ends before|damaged|not a|is text"
    yield "empty.png", b"", "empty"
    yield "empty.jpg", b"", "empty"
    yield "zeros.png", bytes(4096), "not a PNG"
    yield "zeros.tif", bytes(4096), "not a PNG"
    yield "noise.jpg", np.random.default_rng(0).bytes(4096), "not a PNG"
    yield "words.png", b"This is not a picture.\n" * 40, "text"
    yield "page.jpg", "<html><body>404 — nicht gefunden</body></html>".encode(), "text"
    yield "drawing.png", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "text"
    yield "document.png", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "not a PNG"
    yield "archive.jpg", b"PK\x03\x04" + bytes(200), "not a PNG"
    yield "sound.webp", b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt " + bytes(40), "not a PNG"
    yield "icon.png", saved(photo(16, 16), "ICO"), "not a PNG"
    yield "portable.bmp", saved(photo(16, 16), "PPM"), "not a PNG"
    yield "jpeg2000.jpg", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(200), "not a PNG"
    yield "one-pixel.png", saved(photo(1, 1)), "1 x 1 pixels"
    yield "thread.png", saved(photo(30_000, 1)), "30,000 x 1 pixels"
    yield "sliver.gif", saved(photo(7, 300), "GIF"), "7 x 300 pixels"
    yield "no-pixels.png", png(0, 0), "damaged|0 x 0"
    yield "bomb-9000.png", bomb(9000), "megapixels"
    yield "bomb-12000.png", bomb(12_000), "megapixels"
    yield "bomb-20000.png", png(20_000, 20_000), "megapixels"
    yield "bomb-claims.png", png(2**31 - 1, 2**31 - 1), "megapixels"
    bmp = bytearray(good["good.bmp"])
    bmp[18:26] = struct.pack("<ii", 40_000, 40_000)
    yield "bomb.bmp", bytes(bmp), "megapixels"
    gif = bytearray(good["good.gif"])
    gif[6:10] = struct.pack("<HH", 65_535, 65_535)
    yield "bomb.gif", bytes(gif), "megapixels"
    yield "header-only.png", png(32, 32, body=b""), "damaged|ends before"
    yield "short-body.png", png(32, 32), "ends before|damaged"
    yield "bad-checksum.png", good["good.png"].replace(b"IDAT", b"IDAX", 1), "damaged|ends before"
    yield "wrong-depth.png", png(32, 32, depth=3), "damaged"
    yield "text-bomb.png", text_bomb(), "damaged"
    yield "integers.tif", saved(Image.fromarray(np.arange(400, dtype=np.int32).reshape(20, 20)), "TIFF"), "32-bit"
    yield "floats.tif", saved(Image.fromarray(np.ones((20, 20), np.float32)), "TIFF"), "32-bit"
    tif = bytearray(good["good.tif"])
    tif[4:8] = struct.pack("<I", 10**9)
    yield "tags-beyond-the-end.tif", bytes(tif), "damaged|ends before"


def text_bomb() -> bytes:
    """A PNG with a compressed comment of 80 MB before its pixels."""
    data = b"note\0\0" + zlib.compress(bytes(80 << 20), 9)
    kind = b"zTXt"
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    good = saved(photo())
    return good[:33] + chunk + good[33:]


def mutants(data: bytes, n: int, seed: int) -> Iterator[bytes]:
    """`n` damaged copies: bytes changed, cut out, repeated, or the end left off."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        kind, at, size = rng.integers(4), int(rng.integers(len(data))), int(rng.integers(1, 40))
        if kind == 0:
            mutant = bytearray(data)
            for place in rng.integers(len(data), size=int(rng.integers(1, 12))):
                mutant[place] = rng.integers(256)
            yield bytes(mutant)
        elif kind == 1:
            yield data[:at] + data[at + size :]
        elif kind == 2:
            yield data[:at] + data[at : at + size] + data[at:]
        else:
            yield data[:at]
