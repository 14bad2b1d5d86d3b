"""Sound as pictures and back: log-mel spectrograms, from which Griffin-Lim finds a sound.

Magnitudes |X[t, k]| of windowed pieces of the sound, a piece each `hop` samples, are averaged over bands that are
equally wide on the mel scale, and their logarithm is shifted and scaled into [-1, 1]. Phases are lost: `griffin_lim`
looks for a sound whose magnitudes are as near as may be, from phases that follow from the magnitudes, so that a decoded
item depends on nothing but its spectrogram.

Griffin and Lim 1984, Signal Estimation from Modified Short-Time Fourier Transform; Perraudin, Balazs and Sondergaard
2013, A Fast Griffin-Lim Algorithm (the momentum); Beauregard, Harish and Wyse 2015, Single Pass Spectrogram Inversion
(the first phases). Mel scale: Slaney 1998, Auditory Toolbox: linear below 1 kHz, logarithmic above.

jaxtyping names: t frames, k = window / 2 + 1 frequencies from 0 to half the rate.
"""

import math
from functools import cache
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn import functional as F

from maquette.core import cancel

OVERLAP = 4
"""Hops in a window: Hann windows so far apart add up evenly, and so do their squares."""
FLOOR, TOP = 1e-4, 2.0
"""What -1 and 1 stand for: 80 dB below a sine of full scale, and the most that any sound in [-1, 1] can reach."""
ITERATIONS, MOMENTUM = 32, 0.99
FITTING = 20
"""Steps in which magnitudes of frequencies are fitted to those of bands."""


class Sizes(NamedTuple):
    """How a spectrogram is cut: samples from frame to frame, samples in a frame, bands."""

    hop: int
    window: int
    bands: int


def sizes(rate: int) -> Sizes:
    """What suits `rate` samples per second: a hop of the power of two nearest to 16 ms, windows of four hops, and a
    band for eight samples of the window, at most 128.

    >>> sizes(8000), sizes(22050)
    (Sizes(hop=128, window=512, bands=64), Sizes(hop=256, window=1024, bands=128))
    """
    hop = 2 ** max(2, round(math.log2(0.016 * rate)))
    return Sizes(hop, OVERLAP * hop, min(128, OVERLAP * hop // 8))


class Bank(NamedTuple):
    """What log-mel spectrograms of sound of one rate are made with.

    Attributes:
        hann: the window.
        weights: of each frequency in each band.
    """

    hann: Float[Tensor, " window"]
    weights: Float[Tensor, "bands k"]

    def to(self, device: torch.device) -> "Bank":
        return Bank(*(tensor.to(device) for tensor in self))


@cache
def bank(rate: int) -> Bank:
    """Of the `sizes` of this rate."""
    _, window, bands = sizes(rate)
    return Bank(hann(window), filterbank(rate, window, bands))


def log_mel(x: Float[Tensor, "b c l"], bank: Bank) -> Float[Tensor, "b c bands t"]:
    """Of each channel by itself, in [-1, 1]; t = ceil(l / hop)."""
    with torch.autocast(x.device.type, enabled=False):
        magnitude = stft(x.float().flatten(0, 1), bank.hann).abs()
        return scaled(magnitude @ bank.weights.T).mT.unflatten(0, x.shape[:2])


def of_log_mel(z: Float[Tensor, "b c bands t"], bank: Bank, length: int) -> Float[Tensor, "b c length"]:
    """A sound of `length` samples with about this log-mel spectrogram, by Griffin-Lim, in [-1, 1]."""
    with torch.autocast(z.device.type, enabled=False):
        magnitude = from_bands(unscaled(z.float().flatten(0, 1).mT), bank.weights)
        return griffin_lim(magnitude, bank.hann, length).clamp(-1, 1).unflatten(0, z.shape[:2])


# -- pieces of sound and their spectra --------------------------------------------------------------------------------


def hann(window: int) -> Float[Tensor, " window"]:
    """The periodic Hann window, sin^2(pi n / window)."""
    return torch.hann_window(window, periodic=True, dtype=torch.float64).float()


def stft(x: Float[Tensor, "b l"], window: Float[Tensor, " n"]) -> Complex[Tensor, "b t k"]:
    """Spectra of windowed pieces of `x`, one for each hop (a quarter of the window) or part of one.

    Piece i is centred in hop i; before and behind the sound there is silence. A sine of amplitude 1 has magnitude 1.
    """
    n = len(window)
    hop = n // OVERLAP
    frames = -(-x.shape[1] // hop)
    before = (n - hop) // 2
    padded = F.pad(x, (before, (frames - 1) * hop + n - before - x.shape[1]))
    return torch.fft.rfft(padded.unfold(1, n, hop) * (window * (2 / window.sum())))


def istft(spectra: Complex[Tensor, "b t k"], window: Float[Tensor, " n"], length: int) -> Float[Tensor, "b length"]:
    """The sound whose spectra are nearest to `spectra` by least squares (Griffin and Lim 1984, equation 6)."""
    n = len(window)
    pieces = torch.fft.irfft(spectra, n=n) * (window * (window.sum() / 2))
    before = (n - n // OVERLAP) // 2
    sound = overlapped(pieces)[:, before : before + length]
    return sound / overlapped((window**2).expand(1, pieces.shape[1], n))[:, before : before + length]


def overlapped(pieces: Float[Tensor, "b t n"]) -> Float[Tensor, "b l"]:
    """The sum of pieces that begin a quarter of their length after one another."""
    b, t, n = pieces.shape
    hop = n // OVERLAP
    total = pieces.new_zeros(b, t + OVERLAP - 1, hop)
    for i, part in enumerate(pieces.unflatten(2, (OVERLAP, hop)).unbind(2)):
        total[:, i : i + t] += part
    return total.flatten(1)


def griffin_lim(
    magnitude: Float[Tensor, "b t k"],
    window: Float[Tensor, " n"],
    length: int,
    iterations: int = ITERATIONS,
    momentum: float = MOMENTUM,
) -> Float[Tensor, "b length"]:
    """A sound of `length` samples whose spectra have about these magnitudes (Perraudin et al. 2013, Algorithm 2).

    Spectra that belong to a sound and spectra of the wanted magnitudes are approached in turn, each time a little
    beyond the point that was reached, by `momentum`; with 0 it is Griffin and Lim's own.
    """
    spectra = magnitude * first_phases(magnitude)
    before = None
    for _ in range(iterations):
        cancel.check()
        possible = stft(istft(spectra, window, length), window)
        ahead = possible if before is None else possible + momentum * (possible - before)
        spectra = magnitude * (ahead / ahead.abs().clamp(min=1e-12))
        before = possible
    return istft(spectra, window, length)


def first_phases(magnitude: Float[Tensor, "b t k"]) -> Complex[Tensor, "b t k"]:
    """Unit numbers to begin with: around each peak of a spectrum there is a steady tone.

    A parabola through the logarithms of the peak and its neighbours gives the tone's frequency (Beauregard et al. 2015,
    section 3), by which the phase goes on from frame to frame, alike at all frequencies that are nearest to the peak.
    Phases are those of the middle of a frame; at its beginning they alternate.
    """
    count = magnitude.shape[2]
    level = F.pad(magnitude.clamp(min=1e-9).log(), (1, 1), value=-math.inf)
    left, middle, right = level[..., :-2], level[..., 1:-1], level[..., 2:]
    peak = (middle > left) & (middle >= right)
    k = torch.arange(count, device=magnitude.device).expand_as(magnitude)
    bend = left - 2 * middle + right
    frequency = k + torch.where(peak & bend.isfinite(), 0.5 * (left - right) / bend, 0.0)
    below = torch.where(peak, k, -count).cummax(2).values
    above = -torch.where(peak, -k, -2 * count).flip(2).cummax(2).values.flip(2)
    nearest = torch.where(k - below <= above - k, below, above)
    there = (nearest >= 0) & (nearest < count)
    frequency = torch.where(there, frequency.gather(2, nearest.clamp(0, count - 1)), k.float())
    turns = (frequency.double().cumsum(1) / OVERLAP - k / 2) % 1
    return torch.polar(torch.ones_like(magnitude), 2 * math.pi * turns.float())


# -- bands ------------------------------------------------------------------------------------------------------------


def to_mel(hertz: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Slaney's scale: 15 mel for each kHz up to 1 kHz, above it 27 mel for each factor of 6.4.

    >>> to_mel(torch.tensor([0.0, 1000.0, 6400.0])).tolist()
    [0.0, 15.0, 42.0]
    """
    above = 15 + 27 * (hertz.clamp(min=1000) / 1000).log() / math.log(6.4)
    return torch.where(hertz < 1000, hertz * 0.015, above)


def from_mel(mel: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Hertz of Slaney's mel.

    >>> from_mel(torch.tensor([0.0, 15.0, 42.0])).tolist()
    [0.0, 1000.0, 6400.0]
    """
    return torch.where(mel < 15, mel / 0.015, 1000 * ((mel - 15) * (math.log(6.4) / 27)).exp())


def filterbank(rate: int, window: int, bands: int) -> Float[Tensor, "bands k"]:
    """Triangles that overlap by half and are equally wide in mel, from 0 to half the rate; each row sums to 1, so
    that a band is a mean of magnitudes. One that falls between two frequencies takes the nearest."""
    edges = from_mel(torch.linspace(0, float(to_mel(torch.tensor(rate / 2))), bands + 2, dtype=torch.float64))
    frequency = torch.arange(window // 2 + 1, dtype=torch.float64) * rate / window
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rise, fall = (frequency - low) / (middle - low), (high - frequency) / (high - middle)
    triangles = torch.minimum(rise, fall).clamp(min=0)
    empty = triangles.sum(1) == 0
    triangles[empty, (frequency - middle).abs().argmin(1)[empty]] = 1
    return (triangles / triangles.sum(1, keepdim=True)).float()


def from_bands(bands: Float[Tensor, "b t bands"], weights: Float[Tensor, "bands k"]) -> Float[Tensor, "b t k"]:
    """Magnitudes of frequencies, none negative, whose bands are about these.

    The steps of Richardson 1972 and Lucy 1974, which sharpen: of many spectra that fit they find one with peaks.
    """
    share = weights.sum(0).clamp(min=1e-12)
    magnitude = bands @ weights / share
    for _ in range(FITTING):
        magnitude = magnitude * ((bands / (magnitude @ weights.T).clamp(min=1e-12)) @ weights / share)
    return magnitude


def scaled(magnitude: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """The logarithm, in [-1, 1] for magnitudes from `FLOOR` to `TOP`; below it is -1."""
    low, high = math.log(FLOOR), math.log(TOP)
    return (magnitude.clamp(min=FLOOR).log() - low) * (2 / (high - low)) - 1


def unscaled(level: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """The magnitude of a level in [-1, 1], beyond which nothing is believed; -1 is silence."""
    low, high = math.log(FLOOR), math.log(TOP)
    magnitude = ((level.clamp(max=1) + 1) * ((high - low) / 2) + low).exp()
    return torch.where(level <= -1, 0.0, magnitude)
