"""A tune with the names of its chords -> four voices, by the rules of part-writing.

Tunes are written in a subset of ABC notation (Walshaw 1991): `C` to `B` from middle C up, `c` to `b` above them, `,`
and `'` for other octaves, `z` a rest, `^ _ =` before a note, which hold to the next `|`; a number behind is the length
in eighths, `3/2` or `/2` parts of them; "Am", "G7" in quotes the chord from here on.

The lower voices strike at every name of a chord, and of all ways to set the chords that one is taken which costs least
(Viterbi): small steps, the third present, no parallel fifths or octaves, no voice below the next.
"""

import itertools
import re
from typing import NamedTuple

import numpy as np

from maquette.media.notes import HELD, REST, Piece

SHARPS = {"C": 0, "G": 1, "D": 2, "A": 3, "F": -1, "Bb": -2, "Am": 0, "Em": 1, "Dm": -1}
"""Keys, and how many sharps they have (flats below 0)."""
_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_FIFTHS = "FCGDAEB"
_CHORDS = {"": (0, 4, 7), "m": (0, 3, 7), "7": (0, 4, 7, 10)}
_SIGN = {"^": 1, "_": -1, "=": 0}
_TOKEN = re.compile(r'"([A-G])([#b]?)(m|7|)"|([_^=]?)([A-Ga-gz])([,\']*)(\d*)(/?)(\d*)|(\|)|\s+')
ALTO, TENOR, BASS = (53, 74), (45, 67), (38, 60)
"""The lowest and the highest pitch of the voices that are made."""
PARALLEL, NO_THIRD, TWO_THIRDS, WIDE = 30, 12, 5, 6
"""What is paid, in semitones of movement, for each parallel, a chord without its third or with two, and for each gap of
more than an octave between upper voices."""


class Span(NamedTuple):
    """What sounds from one name of a chord to the next: pitch classes, the first of which is the root, and the tune."""

    chord: tuple[int, ...]
    tune: list[tuple[int, int]]
    """(pitch or REST, sixteenths)."""


def parsed(abc: str, key: str, up: int = 0) -> list[Span]:
    """The spans of a tune, `up` semitones higher than it is written; ValueError for what is no such notation."""
    raised = {letter: 0 for letter in _LETTERS}
    sharps = SHARPS[key]
    for letter in _FIFTHS[:sharps] if sharps > 0 else _FIFTHS[sharps:] if sharps < 0 else "":
        raised[letter] = 1 if sharps > 0 else -1
    spans: list[Span] = []
    local: dict[str, int] = {}
    at = 0
    while at < len(abc):
        found = _TOKEN.match(abc, at)
        if found is None:
            raise ValueError(f"{abc[at : at + 10]!r} is no note, chord or bar")
        at = found.end()
        root, accidental, kind, sign, letter, octave, length, slash, part, bar = found.groups()
        if root:
            pitch = _LETTERS[root] + {"#": 1, "b": -1, "": 0}[accidental] + up
            spans.append(Span(tuple((pitch + i) % 12 for i in _CHORDS[kind]), []))
        elif bar:
            local = {}
        elif letter:
            sixteenths = 2 * int(length or 1) // (int(part or 2) if slash else 1)
            if not spans:
                spans.append(Span((), []))
            spans[-1].tune.append((_pitch(letter, octave, sign, raised, local, up), sixteenths))
    return spans


def _pitch(letter: str, octave: str, sign: str, raised: dict[str, int], local: dict[str, int], up: int) -> int:
    if letter == "z":
        return REST
    if sign:
        local[letter + octave] = _SIGN[sign]
    by = local.get(letter + octave, raised[letter.upper()])
    return 60 + _LETTERS[letter.upper()] + 12 * (letter.islower() + octave.count("'") - octave.count(",")) + by + up


def harmonised(spans: list[Span]) -> Piece:
    """Soprano, alto, tenor and bass on sixteenths; what stands before the first chord is the tune alone."""
    chosen = _cheapest([span for span in spans if span.chord])
    rows: list[list[int]] = []
    for span in spans:
        lower = chosen.pop(0) if span.chord else (REST,) * 3
        struck = True
        for pitch, length in span.tune:
            for step in range(length):
                upper = pitch if pitch == REST or step == 0 else pitch + HELD
                rows.append([upper, *(p if p == REST or struck else p + HELD for p in lower)])
                struck = False
    return np.array(rows, np.int16)


def _cheapest(spans: list[Span]) -> list[tuple[int, ...]]:
    """Alto, tenor and bass of each span."""
    best: list[np.ndarray] = []  # which candidate of the span before each one of this span follows
    all_candidates = [_candidates(span) for span in spans]
    cost = _own(spans[0], all_candidates[0])
    for (before, span), (old, new) in zip(itertools.pairwise(spans), itertools.pairwise(all_candidates), strict=True):
        total = cost[:, None] + _between(_end(before, -1), old, _end(span, 0), new)
        best.append(total.argmin(0))
        cost = total.min(0) + _own(span, new)
    number = int(cost.argmin())
    path = [number]
    for back in reversed(best):
        path.append(number := int(back[number]))
    return [tuple(found[i].tolist()) for found, i in zip(all_candidates, reversed(path), strict=True)]


def _end(span: Span, which: int) -> int:
    """The first or the last pitch of its tune."""
    sung = [pitch for pitch, _ in span.tune if pitch != REST]
    return sung[which] if sung else ALTO[1]


def _candidates(span: Span) -> np.ndarray:
    """[k, 3]: altos, tenors and basses that set the chord under the tune, none below the next."""
    lowest = min((pitch for pitch, _ in span.tune if pitch != REST), default=ALTO[1])
    alto, tenor = ([p for p in range(low, high + 1) if p % 12 in span.chord] for low, high in (ALTO, TENOR))
    bass = [p for p in range(BASS[0], BASS[1] + 1) if p % 12 == span.chord[0]]
    found = [(a, t, b) for a, t, b in itertools.product(alto, tenor, bass) if b < t <= a <= max(lowest, ALTO[0] + 4)]
    return np.array(found)


def _own(span: Span, candidates: np.ndarray) -> np.ndarray:
    """What each candidate costs by itself."""
    soprano = _end(span, 0)
    alto, tenor = candidates[:, 0], candidates[:, 1]
    thirds = (np.column_stack([np.full(len(alto), soprano), candidates]) % 12 == span.chord[1]).sum(1)
    return (
        NO_THIRD * (thirds == 0)
        + TWO_THIRDS * (thirds > 1)
        + WIDE * ((soprano - alto > 12).astype(int) + (alto - tenor > 12))
        + 3 * (alto == tenor)
    ).astype(float)


def _between(above: int, old: np.ndarray, now: int, new: np.ndarray) -> np.ndarray:
    """[len(old), len(new)]: what it costs to go from one to the other."""
    moved = np.abs(new[None] - old[:, None])
    cost = moved[..., 0] + moved[..., 1] + 0.5 * moved[..., 2]
    first = np.column_stack([np.full(len(old), above), old])[:, None]
    second = np.column_stack([np.full(len(new), now), new])[None]
    way = np.sign(second - first)
    for one, other in itertools.combinations(range(4), 2):
        interval = (first[..., one] - first[..., other]) % 12
        same = interval == (second[..., one] - second[..., other]) % 12
        cost = cost + PARALLEL * (same & np.isin(interval, (0, 7)) & (way[..., one] * way[..., other] > 0))
    return cost
