"""What the rules of part-writing and simple counts say of music in voices.

Pieces are int16 [steps, voices] as `media/notes.py` has them. A chord is what sounds from one change of any voice to
the next. Figures are for 100 chords, with the interval of a jackknife over groups of pieces.
"""

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from maquette.evaluate.scores.intervals import Estimate, group_slices, jackknife
from maquette.evaluate.scores.words import divergence_of
from maquette.media.notes import Piece, notes, sounding

PERFECT = (0, 7)
"""Intervals, in semitones within an octave, that must not be moved in parallel: unison and octave, fifth."""
KEYS = 6
"""Semitones up or down within which every key lies."""
LEAP = 12
"""Melodic intervals are counted up to an octave; larger ones with it."""


def chords(piece: Piece) -> Int[np.ndarray, "chords voices"]:
    """The pitches of each chord, -1 where a voice rests."""
    pitches = sounding(piece)
    kept = np.ones(len(pitches), bool)
    kept[1:] = (pitches[1:] != pitches[:-1]).any(1)
    return pitches[kept]


def parallels(piece: Piece) -> int:
    """Pairs of voices that move in the same direction from one fifth, octave or unison to another of its kind.

    >>> parallels(np.array([[67, 60], [69, 62], [69, 57]]))
    1
    """
    found = chords(piece)
    before, after, total = found[:-1], found[1:], 0
    for one, other in itertools.combinations(range(found.shape[1]), 2):
        sing = (np.minimum(before, after)[:, [one, other]] >= 0).all(1)
        step = after - before
        together = np.sign(step[:, one]) * np.sign(step[:, other]) > 0
        first, second = ((part[:, one] - part[:, other]) % 12 for part in (before, after))
        total += int((sing & together & (first == second) & np.isin(first, PERFECT)).sum())
    return total


def crossings(piece: Piece) -> int:
    """Neighbouring voices of which the upper one sounds below the lower one, counted chord by chord."""
    found = chords(piece)
    upper, lower = found[:, :-1], found[:, 1:]
    return int(((upper >= 0) & (lower >= 0) & (upper < lower)).sum())


def ranges(pieces: Sequence[Piece]) -> Int[np.ndarray, "2 voices"]:
    """The lowest and the highest pitch that each voice sings in `pieces`; 0 and 127 for one that never does."""
    sung = [np.concatenate([sounding(piece)[:, voice] for piece in pieces]) for voice in range(pieces[0].shape[1])]
    sung = [voice[voice >= 0] for voice in sung]
    return np.array([[voice.min(initial=127) if len(voice) else 0 for voice in sung],
                     [voice.max(initial=0) if len(voice) else 127 for voice in sung]])  # fmt: skip


def strange(piece: Piece, known: Int[np.ndarray, "2 voices"]) -> int:
    """Notes of chords that lie outside the `known` ranges of their voices, in the key that suits the piece best: who
    learnt from transposed pieces sings in any."""
    found = chords(piece)
    keys = (found + semitones for semitones in range(-KEYS, KEYS + 1))
    return min(int(((found >= 0) & ((key < known[0]) | (key > known[1]))).sum()) for key in keys)


def per_hundred(counts: Sequence[int], sizes: Sequence[int]) -> Estimate:
    """100 times the sum of `counts` of pieces to that of their chords."""
    a, b = np.array(counts, float), np.array(sizes, float)
    without = [100 * np.delete(a, g).sum() / max(1.0, np.delete(b, g).sum()) for g in _groups(len(a))]
    return jackknife(100 * a.sum() / max(1.0, b.sum()), without)


def interval_divergence(real: Sequence[Piece], made: Sequence[Piece]) -> Estimate:
    """The mean of the Jensen-Shannon divergences, in bits, of four kinds of frequencies: see `counted`."""
    known, own = [counted(piece) for piece in real], [counted(piece) for piece in made]
    whole = _summed(known)
    without = [
        _apart(whole, _summed([c for i, c in enumerate(own) if i not in set(g.tolist())])) for g in _groups(len(own))
    ]
    return jackknife(_apart(whole, _summed(own)), without)


def counted(piece: Piece) -> tuple[Counter, Counter, Counter, Counter]:
    """How often there is each pitch class, above the last note of the lowest voice that sounds; each step of a voice
    from note to note; each interval within an octave between two voices; each length of a note, in steps."""
    found, sung = chords(piece), notes(piece)
    heard = found[found >= 0]
    last = found[-1][found[-1] >= 0] if len(found) else heard
    classes = Counter(((heard - (last[-1] if len(last) else 0)) % 12).tolist())
    steps = Counter(
        (b.voice, max(-LEAP, min(LEAP, b.pitch - a.pitch))) for a, b in itertools.pairwise(sung) if a.voice == b.voice
    )
    between: Counter = Counter()
    for one, other in itertools.combinations(range(piece.shape[1]), 2):
        both = found[(found[:, [one, other]] >= 0).all(1)]
        between.update((one, other, interval) for interval in ((both[:, one] - both[:, other]) % 12).tolist())
    return classes, steps, between, Counter(note.stop - note.start for note in sung)


def features(piece: Piece) -> Float[np.ndarray, " d"]:
    """Square roots of the frequencies of `counted`, so that their distances are Hellinger's."""
    voices = piece.shape[1]
    classes, steps, between, lengths = counted(piece)
    logs = Counter()
    for length, n in lengths.items():
        logs[min(7, int(np.log2(length) * 2 + 0.5))] += n
    tables = (
        (classes, range(12)),
        (steps, itertools.product(range(voices), range(-LEAP, LEAP + 1))),
        (between, ((a, b, i) for a, b in itertools.combinations(range(voices), 2) for i in range(12))),
        (logs, range(8)),
    )
    parts = [np.array([table[key] for key in keys], float) for table, keys in tables]
    return np.concatenate([np.sqrt(part / max(1.0, part.sum())) for part in parts]).astype(np.float32)


def spelt(piece: Piece, letters: dict[tuple[int, ...], str]) -> str:
    """A character for each step, the same for the same step in any key: how far the lowest sounding voice moved, and
    how the others lie above it. `letters` grows by those that it has not."""
    pitches = sounding(piece).astype(int)
    rows = np.where(pitches >= 0, pitches, 1000)
    low = rows.min(1)
    low = np.where(low == 1000, 0, low)
    moved = np.diff(low, prepend=low[:1])
    keys = np.column_stack([moved, np.where(pitches >= 0, pitches - low[:, None], -1)]).tolist()
    return "".join(letters.setdefault(tuple(key), chr(0x10000 + len(letters))) for key in keys)


def right_shares(right: Sequence[Bool[np.ndarray, "..."]]) -> Estimate:
    """The share of what is true in all arrays together; a jackknife over groups of them."""
    a, b = np.array([x.sum() for x in right], float), np.array([x.size for x in right], float)
    without = [np.delete(a, g).sum() / max(1.0, np.delete(b, g).sum()) for g in _groups(len(a))]
    return jackknife(a.sum() / max(1.0, b.sum()), without).as_share()


def _groups(n: int) -> list[np.ndarray]:
    return [np.arange(n)[part] for part in group_slices(n)]


def _summed(parts: Sequence[tuple[Counter, ...]]) -> list[Counter]:
    whole = [Counter() for _ in range(4)]
    for part in parts:
        for table, counts in zip(whole, part, strict=True):
            table.update(counts)
    return whole


def _apart(p: Sequence[Counter], q: Sequence[Counter]) -> float:
    return float(np.mean([divergence_of(a, b) for a, b in zip(p, q, strict=True)]))
