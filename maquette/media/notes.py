"""Voices of notes on a grid of steps: what a piece of music is here, whatever file it came from.

A piece is int16 [steps, voices]. A number from 0 to 127 is the MIDI pitch of a note that begins at that step, the same
number plus `HELD` the note before that goes on, `REST` silence. So a note that is struck again is told from one that
lasts, and what sounds at a step can be read off that step alone.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

REST, END, HELD = -1, -2, 128
"""`END` fills a step before the first one of a piece, and all steps after its last one."""
PITCHES = 128

Piece = Int[np.ndarray, "_ _"]
"""[steps, voices]"""

_NAMES = {
    1: ("melody",),
    2: ("soprano", "bass"),
    3: ("soprano", "alto", "bass"),
    4: ("soprano", "alto", "tenor", "bass"),
}


class Note(NamedTuple):
    """A note of one voice: it sounds from step `start` up to, without, step `stop`."""

    voice: int
    start: int
    stop: int
    pitch: int


def voice_names(voices: int) -> tuple[str, ...]:
    """What the voices are called, the highest first."""
    return _NAMES.get(voices) or tuple(f"voice {number}" for number in range(1, voices + 1))


def sounding(piece: Int[np.ndarray, "..."]) -> Int[np.ndarray, "..."]:
    """The pitch that sounds at each step, held or not; `REST` and `END` stay."""
    return np.where(piece >= HELD, piece - HELD, piece)


def of_pitches(pitches: Int[np.ndarray, "... steps voices"]) -> Int[np.ndarray, "... steps voices"]:
    """Pieces of what sounds at each step alone: a pitch that is repeated is taken for one that lasts."""
    pitches = np.asarray(pitches, np.int16)
    held = np.zeros(pitches.shape, bool)
    held[..., 1:, :] = (pitches[..., 1:, :] == pitches[..., :-1, :]) & (pitches[..., 1:, :] >= 0)
    return (pitches + HELD * held).astype(np.int16)


def thinned(piece: Piece, every: int) -> Piece:
    """What sounds at each `every`-th step: a note that begins and ends between two of them is not heard."""
    kept = sounding(piece)[::every]
    goes_on = np.zeros(kept.shape, bool)
    within = (piece >= HELD)[1 : (len(kept) - 1) * every + 1]
    goes_on[1:] = within.reshape(len(kept) - 1, every, piece.shape[1]).all(1)
    return (kept + HELD * goes_on).astype(np.int16)


def consistent(piece: Piece) -> Piece:
    """`piece` with every note that goes on without being there made one that begins."""
    before = np.vstack([np.full_like(piece[:1], END), sounding(piece)[:-1]])
    return np.where((piece >= HELD) & (before != piece - HELD), piece - HELD, piece).astype(np.int16)


def without_ends(item: Piece) -> Piece:
    """The steps of an item, without the one that stands before them and without what comes after the last."""
    steps = np.asarray(item)[1:]
    ends = np.flatnonzero((steps == END).any(1))
    return consistent(steps[: ends[0]] if len(ends) else steps)


def notes(piece: Piece) -> list[Note]:
    """Its notes, voice by voice."""
    found = []
    pitches, struck = sounding(piece), piece < HELD
    for voice in range(piece.shape[1]):
        line = pitches[:, voice]
        cuts = np.flatnonzero(np.append(struck[:, voice], True))
        for start, stop in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
            if line[start] >= 0:
                found.append(Note(voice, start, stop, int(line[start])))
    return found


def transposed(items: Int[np.ndarray, "..."], semitones: int) -> Int[np.ndarray, "..."]:
    """Every note higher by so many semitones, by octaves less where it would leave the range of MIDI."""
    pitches = sounding(items).astype(int) + semitones
    pitches = np.where(pitches > 127, pitches - 12 * -(-(pitches - 127) // 12), pitches)
    pitches = np.where(pitches < 0, pitches + 12 * -(pitches // 12), pitches)
    return np.where(items < 0, items, pitches + HELD * (items >= HELD)).astype(items.dtype)
