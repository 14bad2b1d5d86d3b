"""Sound: WAV, FLAC, Ogg, MP3 and other files <-> samples of 16 bits at one rate, all items of one length.

An item is int16 [samples, channels]; a sample is float32 [channels, samples] with x = (v + 0.5) / 32767.5, so that the
65,536 levels span [-1, 1] exactly. What is done to a file on the way in stands at the head of `sound.py`; one that is
shorter than an item is followed by silence.
"""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image as pillow
from torch import Tensor
from torch.nn import functional as F

from maquette.core.config import Config as AnyConfig
from maquette.core.errors import MaquetteError
from maquette.core.exit import Mark
from maquette.core.types import Real
from maquette.core.waiting import number
from maquette.media import lettering, marks, sound, wav
from maquette.media.base import Cutter, Facts, Medium, MediumConfig, read_whole

MORSE = ".- .."
"""AI, the rhythm that GB 45438-2025 names for the audible label: short, long; short, short."""
UNIT, CUE, CUE_LEVEL = 0.06, 880.0, 0.25
"""Seconds of a short tone, its frequency and its amplitude."""
PLAYED, PLAYED_SECONDS, PAUSE = 16, 30.0, 0.25
"""How many items a clip strings together at most, how long it is at most, and the silence between them."""
WIDE, HIGH, SPECTRUM_HIGH = 128, 32, 64
"""Pixels of a waveform and of the spectrogram below it."""
DEEP = 80.0
"""Decibels below the loudest place of a sheet at which a spectrogram is black."""


@dataclass(frozen=True, kw_only=True)
class Config(MediumConfig):
    """Sound of one length."""

    rate: int = 8000
    """Samples per second, 1000 to 192000. Files are resampled to it."""
    samples: int = 8192
    """How many samples an item has, 16 to 1000000: as many seconds as that divided by `rate`."""
    channels: Literal[1, 2] = 1
    """1 for mono, 2 for stereo."""
    pieces: bool = False
    """Whether a longer file becomes several items, one after another, instead of its beginning alone."""

    def __post_init__(self) -> None:
        self.check(1000 <= self.rate <= 192_000, "rate", "a whole number from 1000 to 192000")
        self.check(16 <= self.samples <= 1_000_000, "samples", "a whole number from 16 to 1000000")

    def build(self) -> "Audio":
        return Audio(self.rate, self.samples, self.channels, self.pieces)

    def smaller(self, factor: int) -> "Config":
        if self.rate % factor or self.samples % factor or self.rate // factor < 1000 or self.samples // factor < 16:
            reason = f"{self.samples} samples at {self.rate} per second do not divide by {factor} into enough"
            raise MaquetteError("MQ-2103", kind="audio", factor=factor, reason=reason)
        return replace(self, rate=self.rate // factor, samples=self.samples // factor)


@dataclass(frozen=True, kw_only=True)
class Augment(AnyConfig):
    """The `data.augment` of a recipe for sound; what is 0 is not done."""

    gain: float = 0.0
    """Largest change of loudness in decibels, each way."""
    shift: float = 0.0
    """Largest shift in time as a share of an item, each way; silence comes in from the side."""
    polarity: float = 0.0
    """Share of items turned upside down, which nobody hears."""
    noise: float = 0.0
    """Largest standard deviation of white noise that is added."""
    speed: float = 0.0
    """Largest change of speed as a share, each way: of length and pitch together, as of a record (Ko et al. 2015). What
    becomes longer than an item loses its end."""

    def __post_init__(self) -> None:
        self.check(0 <= self.gain <= 40, "gain", "decibels, from 0 to 40")
        self.check(0 <= self.shift <= 1, "shift", "a share in [0, 1]")
        self.check(0 <= self.polarity <= 1, "polarity", "a share in [0, 1]")
        self.check(0 <= self.noise <= 1, "noise", "a standard deviation in [0, 1]")
        self.check(0 <= self.speed < 1, "speed", "a share in [0, 1)")


class Audio(Medium):
    """Args:
    rate: samples per second.
    samples: of an item.
    channels: 1 (mono) or 2 (stereo).
    pieces: whether longer files become several items.
    """

    suffix = ".wav"
    suffixes = sound.SUFFIXES
    dtype = np.dtype(np.int16)

    def __init__(self, rate: int, samples: int, channels: int = 1, pieces: bool = False):
        self.rate, self.samples, self.channels, self.pieces = rate, samples, channels, pieces
        self.stored = (samples, channels)
        self.space = Real((channels, samples), levels=65536)

    @property
    def identity(self) -> list[Any]:
        return [*super().identity, self.rate, self.pieces]

    def read(self, path: Path) -> np.ndarray:
        return self.from_bytes(read_whole(path, sound.MAX_BYTES), str(path))

    def from_bytes(self, data: bytes, name: str) -> np.ndarray:
        """int16 [samples, channels], or with `pieces` several such items one after another."""
        read = sound.read(data, name, self.rate, self.channels, None if self.pieces else self.samples)
        whole, rest = divmod(len(read), self.samples)
        count = max(1, whole + (2 * rest >= self.samples))  # what is left over counts from half an item on
        item = np.zeros((count * self.samples, self.channels), np.int16)
        item[: len(read)] = read[: len(item)]
        return item

    def stretch(self, path: Path) -> tuple[np.ndarray, int]:
        read = sound.read(read_whole(path, sound.MAX_BYTES), str(path), self.rate, self.channels)
        items = np.zeros((-(-len(read) // self.samples), *self.stored), np.int16)
        items.reshape(-1, self.channels)[: len(read)] = read
        return items, len(read)

    def cutter(self) -> Cutter:
        return _Pieces(self.samples)

    def pace(self, rate: float) -> str:
        return f"{super().pace(rate)}  {number(rate * self.samples / self.rate)} s of sound/s"

    def facts(self, data: bytes, name: str) -> Facts:
        read = sound.read(data, name, self.rate, self.channels, self.samples)
        return sound.facts(data, name, self.rate, read, self.samples, self.pieces)

    def shaped(self, space: Real) -> "Audio":
        """One of sounds as long, and of a lower rate where these have fewer samples."""
        channels, samples = space.shape
        return Audio(self.rate * samples // self.samples, samples, channels)

    def to_tensor(self, items: np.ndarray | Tensor) -> Tensor:
        return torch.as_tensor(items).transpose(1, 2).float().add_(0.5).div_(32767.5).contiguous()

    def from_tensor(self, x: Tensor) -> np.ndarray:
        levels = x.detach().float().mul(32767.5).sub(0.5).round().nan_to_num(0.0).clamp(-32768, 32767)
        return levels.to(torch.int16).transpose(1, 2).contiguous().cpu().numpy()

    def encode(self, item: np.ndarray, mark: Mark) -> bytes:
        return marks.onto(wav.write(item, self.rate), mark)

    def settled(self, data: bytes, share: float) -> int:
        """The mark is behind the samples; of several channels one may be made after the other."""
        return wav.end(data) - 2 * (self.samples - int(share * self.samples)) if self.channels == 1 else 0

    def label(self, item: np.ndarray, text: str) -> np.ndarray:
        """The item after "AI" in Morse code and a pause; it is longer by that, and nothing of it is lost."""
        cue = cue_of(self.rate)
        before = np.rint(32767 * cue).astype(np.int16)[:, None].repeat(item.shape[1], 1)
        return np.concatenate([before, item])

    def clip(self, items: np.ndarray) -> tuple[str, bytes]:
        """The first items one after another, a silence between them."""
        most = int((PLAYED_SECONDS + PAUSE) * self.rate / (self.samples + PAUSE * self.rate))
        silence = np.zeros((round(PAUSE * self.rate), self.channels), np.int16)
        strung = [part for item in items[: max(1, min(PLAYED, most))] for part in (item, silence)]
        return ".wav", wav.write(np.concatenate(strung[:-1]), self.rate)

    def sheet(self, items: np.ndarray, columns: int = 8, titles: list[str] | None = None) -> bytes:
        """A PNG of the waveform of each item over its spectrogram (0 to half the rate), row by row.

        Titles stand over the columns; where there are more of them than columns, over each item.
        """
        pad, tall, titles = 4, HIGH + SPECTRUM_HIGH, titles or []
        columns = max(1, min(columns, len(items)))
        rows = -(-len(items) // columns)
        head = lettering.TITLE_HEIGHT if titles else 0
        each = len(titles) > columns
        step, below = pad + tall + head * each, head * (not each)
        page = np.full((below + pad + rows * step, pad + columns * (WIDE + pad), 3), 255, np.uint8)
        corners = [(below + i // columns * step, pad + i % columns * (WIDE + pad)) for i in range(len(items))]
        for item, spectrum, (top, left) in zip(items, spectrograms(items, self.rate), corners, strict=True):
            top += pad + head * each
            page[top : top + HIGH, left : left + WIDE] = waveform(item)
            page[top + HIGH : top + tall, left : left + WIDE] = spectrum
        sheet = pillow.fromarray(page)
        for title, (top, left) in zip(titles, corners if each else corners[:columns], strict=False):
            lettering.title(sheet, title, left, WIDE, top if each else 0)
        buffer = io.BytesIO()
        sheet.save(buffer, "PNG")
        return buffer.getvalue()

    def augment(self, items: Tensor, how: Mapping[str, Any], uniform: Tensor) -> Tensor:
        return augmented(items, Augment.from_tree(dict(how), "data.augment"), uniform)


class _Pieces(Cutter):
    """Items of one length from what a file became."""

    def __init__(self, samples: int):
        self.samples = samples

    def put(self, item: np.ndarray) -> list[np.ndarray]:
        return list(item.reshape(-1, self.samples, item.shape[1]))


def cue_of(rate: int) -> np.ndarray:
    """`MORSE` as a tone that comes and goes, and a pause, float [n] in [-1, 1]."""
    unit = round(UNIT * rate)
    lengths = {".": [(1, 1)], "-": [(3, 1)], " ": [(0, 2)]}
    on = np.concatenate(
        [np.r_[np.ones(a * unit), np.zeros(b * unit)] for sign in MORSE for a, b in lengths[sign]]
        + [np.zeros(4 * unit)]
    )
    soft = np.hanning(2 * max(1, rate // 200) + 1)
    frequency = min(CUE, rate / 4)
    tone = np.sin(2 * math.pi * frequency * np.arange(len(on)) / rate)
    return CUE_LEVEL * tone * np.convolve(on, soft / soft.sum(), mode="same")


def augmented(x: Tensor, how: Augment, uniform: Tensor) -> Tensor:
    """Samples [b, c, l] in [-1, 1], changed by `uniform` [b, 8] in [0, 1).

    Columns: 0 gain; 1 shift; 2 polarity; 3 how loud the noise is; 4, 5 which noise; 6 speed.
    """
    if how.speed:
        x = _played(x, 1 + (2 * uniform[:, 6] - 1) * how.speed)
    if how.gain:
        x = x * (10 ** (how.gain / 20 * (2 * uniform[:, 0] - 1)))[:, None, None]
    if how.shift:
        x = _shifted(x, ((2 * uniform[:, 1] - 1) * how.shift * x.shape[2]).long())
    if how.polarity:
        x = torch.where((uniform[:, 2] < how.polarity)[:, None, None], -x, x)
    if how.noise:
        x = x + (how.noise * uniform[:, 3])[:, None, None] * _noise(x, uniform[:, 4:6])
    return x.clamp(-1, 1)


def _shifted(x: Tensor, by: Tensor) -> Tensor:
    """Rows moved to later by whole samples [b]."""
    source = torch.arange(x.shape[2], device=x.device) - by[:, None]
    inside = (source >= 0) & (source < x.shape[2])
    moved = x.gather(2, source.clamp(0, x.shape[2] - 1)[:, None].expand_as(x))
    return torch.where(inside[:, None], moved, 0.0)


def _played(x: Tensor, speed: Tensor) -> Tensor:
    """Rows played at their `speed` [b] from the beginning, by cubic interpolation (Catmull-Rom); then silence."""
    at = torch.arange(x.shape[2], device=x.device) * speed[:, None]
    first = at.floor()
    t, padded = (at - first)[:, None], F.pad(x, (1, 4))
    index = first.long().clamp(max=x.shape[2] + 1)[:, None].expand_as(x)
    a, b, c, d = (padded.gather(2, index + i) for i in range(4))
    return b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))


def _noise(x: Tensor, uniform: Tensor) -> Tensor:
    """Normal noise like `x`, each row by its own two numbers in [0, 1) of 24 bits."""
    keys = [(int(a * 2**24) << 24) | int(b * 2**24) for a, b in uniform.tolist()]
    rows = [torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(key)) for key in keys]
    return torch.stack(rows).to(x.device)


# -- to be looked at --------------------------------------------------------------------------------------------------


def waveform(item: np.ndarray) -> np.ndarray:
    """uint8 [HIGH, WIDE, 3]: between which values the sound lies in each column, of all channels."""
    edges = np.linspace(0, len(item), WIDE + 1).astype(int)
    starts = np.minimum(edges[:-1], len(item) - 1)
    low = np.minimum.reduceat(item.min(1), starts).astype(float)
    high = np.maximum.reduceat(item.max(1), starts).astype(float)
    middle = (HIGH - 1) / 2
    row = np.arange(HIGH)[:, None]
    there = (row >= np.floor(middle * (1 - high / 32768))) & (row <= np.ceil(middle * (1 - low / 32768)))
    return np.where(there[:, :, None], np.array([42, 104, 171], np.uint8), np.array([244, 244, 240], np.uint8))


def spectrograms(items: np.ndarray, rate: int) -> np.ndarray:
    """uint8 [n, SPECTRUM_HIGH, WIDE, 3]: low frequencies below; black is `DEEP` below the loudest place of all."""
    window = 2 ** max(6, round(math.log2(0.05 * rate)))
    mono = np.pad(items.mean(2) / 32768, ((0, 0), (window // 2, window // 2)))
    starts = np.linspace(0, items.shape[1] - 1, WIDE).astype(int)
    bins = np.linspace(0, window // 2, SPECTRUM_HIGH + 1).astype(int)
    shape = np.hanning(window)
    loud = []
    for row in mono:
        pieces = np.lib.stride_tricks.sliding_window_view(row, window)[starts] * shape
        power = np.abs(np.fft.rfft(pieces)) ** 2
        loud.append(np.maximum.reduceat(power, bins[:-1], axis=1)[:, ::-1].T)
    levels = 10 * np.log10(np.maximum(np.stack(loud), 1e-12))
    place = np.clip(1 + (levels - levels.max(initial=-60.0)) / DEEP, 0, 1)
    return _HEAT[np.rint(255 * place).astype(int)]


def _heat() -> np.ndarray:
    """uint8 [256, 3] from black through purple and orange to a pale yellow, ever lighter."""
    stops = np.array([(0, 0, 4), (60, 15, 110), (150, 44, 128), (230, 92, 80), (252, 170, 95), (252, 253, 191)])
    places = np.linspace(0, len(stops) - 1, 256)
    return np.stack([np.interp(places, range(len(stops)), stops[:, c]) for c in range(3)], 1).astype(np.uint8)


_HEAT = _heat()
