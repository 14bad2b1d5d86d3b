"""How near sounds are to others, and how high they are: SNR, distances of spectra, pitch.

Distances compare pairs, and say nothing of new samples. Spectra are those of `core/spectra.py`: Hann windows of four
hops of about 16 ms.
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from maquette.core import spectra
from maquette.evaluate.scores.intervals import DRAWS, Estimate, bootstrapped_ratio, of_mean

BY_BOOTSTRAP = f"95 %, bootstrap of {DRAWS} draws over sounds"
PER_SOUND = "95 %, Student's t over sounds"
LOWEST, HIGHEST = 50.0, 2000.0
"""Hz between which a pitch is looked for."""
APERIODIC = 0.15
"""The first lag whose normalised difference falls below this is the period."""
QUIET = 0.1
"""Frames with less than this share of the loudest one's power are not asked for their pitch."""
NEAR = 50.0
"""Cents: a pitch is right when it is nearer to the one asked for than to the semitones beside it."""
Sounds = Float[Tensor, "b c l"]


def snr(originals: Sounds, copies: Sounds, where: Float[Tensor, "b 1 l"] | None = None) -> Estimate:
    """Signal-to-noise ratio in decibels, of the power of all sounds to that of all errors; infinite for equal ones.

    Args:
        where: 1 where it counts, 0 elsewhere; None counts everything.
    """
    x, error = originals.double(), copies.double() - originals.double()
    part = torch.ones(()) if where is None else where.double()
    loud, wrong = ((y.square() * part).sum((1, 2)).tolist() for y in (x, error))
    found = bootstrapped_ratio(loud, wrong, BY_BOOTSTRAP)

    def decibels(ratio: float | None) -> float | None:
        return 10 * math.log10(ratio) if ratio and math.isfinite(ratio) else None

    value = 10 * math.log10(found.value) if 0 < found.value < math.inf else math.inf if found.value else -math.inf
    return Estimate(value, decibels(found.low), decibels(found.high), BY_BOOTSTRAP)


def spectral_convergence(originals: Sounds, copies: Sounds, rate: int) -> Estimate:
    """Mean over sounds of the distance of magnitudes |S| - |S'| as a share of |S| (Frobenius norms; Arik et al. 2019,
    equation 2): 0 for equal ones, 1 for silence. Sounds that are silent themselves are left out."""
    x, y = (_magnitudes(sounds, rate).flatten(1) for sounds in (originals, copies))
    heard = x.norm(dim=1) > 0
    apart = (x - y).norm(dim=1)[heard] / x.norm(dim=1)[heard]
    return of_mean(apart.tolist(), PER_SOUND) if len(apart) else Estimate(math.nan)


def log_spectral_distance(originals: Sounds, copies: Sounds, rate: int) -> Estimate:
    """Mean over sounds and frames of the root mean square, over frequencies, of the difference of levels in decibels
    (Gray and Markel 1976); what is fainter than 80 dB below full scale counts as that."""
    x, y = (20 * _magnitudes(sounds, rate).clamp(min=spectra.FLOOR).log10() for sounds in (originals, copies))
    apart = (x - y).square().mean(3).sqrt().mean((1, 2))
    return of_mean(apart.tolist(), PER_SOUND)


def _magnitudes(x: Sounds, rate: int) -> Float[Tensor, "b c t k"]:
    window = spectra.bank(rate).hann.double()
    return spectra.stft(x.double().flatten(0, 1), window).abs().unflatten(0, x.shape[:2])


# -- pitch ------------------------------------------------------------------------------------------------------------


def in_tune(x: Sounds, rate: int, asked: Float[np.ndarray, " b"]) -> Estimate:
    """Share of sounds whose pitch is at most half a semitone from what was asked, in Hz; octaves apart is wrong."""
    found = np.array([pitch(sound, rate) for sound in x.mean(1).double().cpu().numpy()])
    with np.errstate(invalid="ignore", divide="ignore"):
        cents = np.abs(1200 * np.log2(found / asked))
    return of_mean((cents <= NEAR).astype(float).tolist(), PER_SOUND).as_share()


def pitch(x: Float[np.ndarray, " l"], rate: int) -> float:
    """The pitch in Hz that a sound has longest: the median over its louder frames; nan where it has none.

    YIN (de Cheveigné and Kawahara 2002): the period is the first lag at which the difference of the sound from itself,
    over its mean at all shorter lags (equation 8), falls below `APERIODIC` and then rises, refined by a parabola
    through the differences themselves.
    """
    longest = min(math.ceil(rate / LOWEST), len(x) // 2)
    shortest = max(2, math.floor(rate / HIGHEST))
    if longest <= shortest + 1:
        return math.nan
    frames = np.lib.stride_tricks.sliding_window_view(x, 2 * longest)[:: max(1, longest // 2)]
    power = np.square(frames).mean(1)
    loud = frames[(power > QUIET * power.max()) & (power > 0)]
    found = [period for frame in loud if (period := _period(frame, shortest, longest)) is not None]
    return rate / float(np.median(found)) if found else math.nan


def _period(frame: Float[np.ndarray, " n"], shortest: int, longest: int) -> float | None:
    """In samples; None where no lag is good enough."""
    size = 2 * len(frame)
    head = np.fft.rfft(frame[:longest], size)
    product = np.fft.irfft(np.conj(head) * np.fft.rfft(frame, size), size)[:longest]
    powers = np.concatenate([[0.0], np.cumsum(np.square(frame))])
    difference = np.maximum(powers[longest] + powers[longest : 2 * longest] - powers[:longest] - 2 * product, 0.0)
    total = np.cumsum(difference[1:])
    normal = np.concatenate([[1.0], difference[1:] * np.arange(1, longest) / np.maximum(total, 1e-12)])
    below = np.flatnonzero(normal[shortest : longest - 1] < APERIODIC)
    if not below.size:
        return None
    lag = shortest + int(below[0])
    while lag + 2 < longest and normal[lag + 1] < normal[lag]:
        lag += 1
    left, middle, right = difference[lag - 1 : lag + 2]
    bend = left - 2 * middle + right
    return lag + (0.5 * (left - right) / bend if bend > 0 else 0.0)
