"""Notes as sound: a soft organ, put together from sines (additive synthesis)."""

import numpy as np
from jaxtyping import Float

from maquette.media.notes import Piece, notes

RATE = 16_000
PARTIALS = (1.0, 0.5, 0.25, 0.3, 0.1, 0.12, 0.05, 0.08)
"""Strengths of the fundamental and its multiples."""
ATTACK, RELEASE = 0.03, 0.12
"""Seconds in which a note comes and, after its end, goes."""


def played(piece: Piece, seconds: float) -> Float[np.ndarray, " samples"]:
    """`piece` as samples in [-1, 1] at `RATE`, each of its steps lasting so many `seconds`."""
    tail = round(RELEASE * RATE)
    sound = np.zeros(round(len(piece) * seconds * RATE) + tail, np.float32)
    for note in notes(piece):
        start, stop = (round(at * seconds * RATE) for at in (note.start, note.stop))
        sound[start : stop + tail] += _tone(note.pitch, stop - start, tail)
    return sound / (piece.shape[1] * sum(PARTIALS))


def _tone(pitch: int, length: int, tail: int) -> Float[np.ndarray, " samples"]:
    """A note of so many samples and its release; equal temperament, a' = 440 Hz."""
    t = np.arange(length + tail) / RATE
    frequency = 440.0 * 2 ** ((pitch - 69) / 12)
    heard = (n for n in range(1, len(PARTIALS) + 1) if n * frequency < RATE / 2)
    wave = sum(PARTIALS[n - 1] * np.sin(2 * np.pi * n * frequency * t) for n in heard)
    rise = np.clip(t / ATTACK, 0, 1)
    fall = np.clip((length + tail) / (max(1, tail)) - np.arange(length + tail) / max(1, tail), 0, 1)
    # squares of sines: both ends are smooth, so that no click is heard
    return (wave * np.sin(np.pi / 2 * rise) ** 2 * np.sin(np.pi / 2 * fall) ** 2).astype(np.float32)
