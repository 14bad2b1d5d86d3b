"""`tones`: single notes, plucked and bowed, of the twelve pitches from C4 to B4; they are synthesised when asked for.

A plucked string is a burst of noise that goes round in a delay line and loses a little, its high frequencies first,
each time (Karplus and Strong 1983, Digital Synthesis of Plucked-String and Drum Timbres), tuned by an all-pass filter
and struck harder or softer, nearer to the bridge or farther (Jaffe and Smith 1983, Extensions of the Karplus-Strong
Plucked-String Algorithm). A bowed one is a sawtooth, whose partials a body with two resonances and a gentle low-pass
weigh; it swells slowly and has vibrato. Every note has a velocity, a decay and a few cents of detuning of its own.
"""

import math
from collections.abc import Iterator
from functools import partial

import numpy as np

from maquette.core import seeds
from maquette.data.dataset import TEST, TRAIN, Reading, Row, Source
from maquette.media.base import Medium

NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
PITCHES = {f"{name}4": 440.0 * 2 ** ((60 + i - 69) / 12) for i, name in enumerate(NAMES)}
"""Hz of each pitch, in equal temperament with A4 = 440 Hz."""
TIMBRES = {"pluck": "a plucked {}", "bow": "a bowed {}"}
CAPTIONS = {f"{timbre} {pitch}": said.format(pitch) for timbre, said in TIMBRES.items() for pitch in PITCHES}
COPIES = {TRAIN: 167, TEST: 33}
"""Notes of each label: 4,008 and 792 in all."""
DETUNED = 10.0
"""Cents by which a note may be out of tune, each way."""
PARTIALS = 40
"""At most so many are bowed."""
BODY = ((440.0, 2.5), (2400.0, 3.0))
"""Hz and height of the body's resonances."""


def source(medium: Medium, seed: int) -> Source:
    """The notes for a medium of sound, at its rate and length."""
    licence = "none needed: played by this program"

    def read() -> Reading:
        count = len(CAPTIONS) * sum(COPIES.values())
        return Reading(rows=_rows(medium, seed), count=count, classes=list(CAPTIONS), licence=licence)

    return Source(name="tones", place="tones", key=["tones", 1, seed], read=read)


def _rows(medium: Medium, seed: int) -> Iterator[Row]:
    for number, (split, copies) in enumerate(COPIES.items()):
        for copy in range(copies):
            for place, (label, caption) in enumerate(CAPTIONS.items()):
                key = seeds.mix(seed, seeds.BUILD, number, copy, place)
                yield Row(f"{split}/{label}/{copy:03}", partial(_item, key, label, medium), split, label, caption)


def _item(key: int, label: str, medium: Medium) -> np.ndarray:
    samples, channels = medium.stored
    sound = note(np.random.default_rng(key), label, medium.rate, samples)
    return np.rint(32767 * sound).astype(np.int16)[:, None].repeat(channels, 1)


def note(rng: np.random.Generator, label: str, rate: int, samples: int) -> np.ndarray:
    """A note called `label`, of `samples` at `rate`: float64 [samples] in [-1, 1]. It begins within 30 ms."""
    timbre, pitch = label.split()
    frequency = PITCHES[pitch] * 2 ** (rng.uniform(-DETUNED, DETUNED) / 1200)
    velocity, onset = rng.uniform(0.3, 0.9), round(rng.uniform(0, 0.03) * rate)
    onset = min(onset, samples // 4)
    play = plucked if timbre == "pluck" else bowed
    sound = play(rng, frequency, velocity, rate, samples - onset)
    sound *= velocity / max(np.abs(sound).max(), 1e-9)
    return np.concatenate([np.zeros(onset), sound])


def plucked(rng: np.random.Generator, frequency: float, velocity: float, rate: int, samples: int) -> np.ndarray:
    """A string that is plucked: float64 [samples]."""
    omega, period = 2 * math.pi * frequency / rate, rate / frequency
    dull = rng.uniform(0.05, 0.2)  # the loop's low-pass is 1 - dull + dull z^-1
    delay = math.atan2(dull * math.sin(omega), 1 - dull + dull * math.cos(omega)) / omega
    whole = int(period - delay - 0.1)
    part = period - delay - whole  # in [0.1, 1.1): an all-pass filter of so many samples' delay at the fundamental
    pole = math.sin((1 - part) * omega / 2) / math.sin((1 + part) * omega / 2)
    seconds = rng.uniform(1.2, 3.0)  # until the fundamental has fallen by 60 dB
    lost = math.hypot(1 - dull + dull * math.cos(omega), dull * math.sin(omega))
    gain = min(10 ** (-3 / (frequency * seconds)) / lost, 0.9999)
    burst = np.zeros(samples)
    length = min(whole, samples)
    burst[:length] = rng.uniform(-1, 1, length)
    burst[:length] -= burst[:length].mean()
    soft = 0.7 * (1 - velocity)  # a soft touch has fewer high frequencies
    struck = _filtered([1 - soft], [1, -soft], burst)
    reach = max(1, round(rng.uniform(0.1, 0.4) * period))  # no partial sounds that has a node where it is plucked
    struck[reach:] -= 0.9 * struck[:-reach]
    loop = np.zeros(whole + 3)
    loop[:2] = 1, pole
    loop[whole:] -= gain * np.convolve([1 - dull, dull], [pole, 1])
    return _filtered([1, pole], loop, struck)


def bowed(rng: np.random.Generator, frequency: float, velocity: float, rate: int, samples: int) -> np.ndarray:
    """A string that is bowed: float64 [samples]."""
    t = np.arange(samples) / rate
    held = samples / rate
    attack, release = rng.uniform(0.06, 0.16), rng.uniform(0.05, 0.15) * held
    swell = np.clip(t / attack, 0, 1) * np.clip((held - t) / release, 0, 1)
    swell *= 1 - rng.uniform(0, 0.4) * t / held
    wobble, cents = rng.uniform(4.8, 6.5), rng.uniform(5, 20)
    vibrato = cents * np.clip((t - attack) / 0.2, 0, 1) * np.sin(2 * math.pi * (wobble * t + rng.uniform()))
    turn = 2 * math.pi * (np.cumsum(frequency * 2 ** (vibrato / 1200)) / rate + rng.uniform())
    edge = 1500 + 2500 * velocity  # where the low-pass begins: louder is brighter
    sound, before, now, twice = np.zeros(samples), np.zeros(samples), np.sin(turn), 2 * np.cos(turn)
    for k in range(1, max(1, min(PARTIALS, int(0.45 * rate / frequency))) + 1):
        hertz = k * frequency
        body = 1 + sum(height / (1 + (6 * math.log2(hertz / peak)) ** 2) for peak, height in BODY)
        sound += body / (k * math.sqrt(1 + (hertz / edge) ** 4)) * now
        before, now = now, twice * now - before  # sin((k + 1) u) = 2 cos(u) sin(k u) - sin((k - 1) u)
    hiss = _filtered([0.3], [1, -0.7], rng.normal(size=samples))
    return swell * (sound + 0.03 * hiss)


def _filtered(ahead: list, back: list | np.ndarray, x: np.ndarray) -> np.ndarray:
    """`x` through the filter whose transfer function has these coefficients above and below."""
    from scipy.signal import lfilter  # takes a second to import

    return np.asarray(lfilter(ahead, back, x))
