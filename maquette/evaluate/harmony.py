"""Notes of unseen music that a model would have chosen: given all before them, and given the highest voice alone."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from maquette.core import cancel
from maquette.core.types import Given, Sampling, Stream, Tokens
from maquette.evaluate.reference import Reference
from maquette.evaluate.report import Score, Stamp
from maquette.evaluate.scores.voices import right_shares
from maquette.media.base import Voiced
from maquette.media.notes import Piece, sounding
from maquette.pipeline import Pipeline
from maquette.request import Request

JUDGED = 64
"""At most so many unseen items."""
BY_SOPRANO = "likeliest chord by soprano"
GREEDY = Sampling(top_k=1)


def scores(pipeline: Pipeline, reference: Reference, stamp: Stamp) -> Iterator[Score]:
    """Shares of unseen notes that are the model's likeliest; nothing for a medium without voices.

    Args:
        stamp: of a score that needs no extractor; how many items were judged is put in.
    """
    medium, data = pipeline.medium, reference.dataset
    if not isinstance(medium, Voiced) or not isinstance(pipeline.model.space, Tokens) or not pipeline.codec.lossless:
        return
    name, rows = reference.unseen
    items = np.asarray((data.test if len(data.test) else data.train).items[rows[:JUDGED]])
    stamp = replace(stamp, split=name, real=len(items))
    if isinstance(pipeline.model, Stream):
        yield Score.of("note_accuracy", right_shares(foreseen(pipeline, items)), stamp)
    pieces = [piece for item in items if len(piece := medium.sung(item))]
    if medium.voices > 1:
        simple = Chords([medium.sung(item) for item in data.train.items])
        beside = {BY_SOPRANO: right_shares(_agreeing(pieces, [simple.under(piece) for piece in pieces]))}
        made = right_shares(_agreeing(pieces, harmonised(pipeline, pieces)))
        yield Score.of("harmony_accuracy", made, stamp, baselines=beside)


@torch.no_grad()
def foreseen(pipeline: Pipeline, items: np.ndarray) -> list[np.ndarray]:
    """Of each note and rest of each item, whether it is what the model takes for likeliest after all before it."""
    x = pipeline.encoded(items)
    space = pipeline.model.space
    assert isinstance(space, Tokens) and space.marks is not None
    given = Given(label=torch.full((len(x),), -1, device=x.device)) if pipeline.classes else Given()
    right = torch.zeros(x.shape, dtype=torch.bool)
    with pipeline.computing():
        predict = pipeline.model.predictor(pipeline.model.condition(given, len(x)))
        for at in range(1, x.shape[1]):
            cancel.check()
            right[:, at] = (predict(x, at).argmax(1) == x[:, at]).cpu()
    noted = (x != space.marks.end).cpu()
    return [row[1:][there[1:]].numpy() for row, there in zip(right, noted, strict=True)]


def harmonised(pipeline: Pipeline, pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces with the highest voice as it is and all others as the model has them, the likeliest at each place."""
    medium = pipeline.medium
    assert isinstance(medium, Voiced)
    known = torch.stack([medium.known(piece, (0,)) for piece in pieces]).numpy()
    items = pipeline.generate(Request(n=len(pieces), opening=known, sampling=GREEDY))
    return [medium.sung(item) for item in items]


class Chords:
    """The lower voices that most often stand, in training pieces, under a note of the highest one that follows the note
    before it; where that pair is not there, under the note alone."""

    def __init__(self, pieces: Sequence[Piece]):
        self._counts: dict[tuple[int, ...], Counter] = defaultdict(Counter)
        for piece in pieces:
            for key, below in zip(_keys(piece), sounding(piece)[:, 1:].tolist(), strict=True):
                self._counts[key][tuple(below)] += 1
                self._counts[key[:1]][tuple(below)] += 1
        self._rest = (-1,) * (pieces[0].shape[1] - 1)

    def under(self, piece: Piece) -> Piece:
        """`piece` with these."""
        below = [self._likeliest(key) for key in _keys(piece)]
        return np.column_stack([sounding(piece)[:, :1], np.array(below)])

    def _likeliest(self, key: tuple[int, ...]) -> tuple[int, ...]:
        for known in (key, key[:1]):
            if known in self._counts:
                return self._counts[known].most_common(1)[0][0]
        return self._rest


def _keys(piece: Piece) -> list[tuple[int, ...]]:
    line = sounding(piece)[:, 0].tolist()
    return list(zip(line, [-1, *line], strict=False))


def _agreeing(pieces: Sequence[Piece], made: Sequence[Piece]) -> list[np.ndarray]:
    """Of each step and lower voice, whether the same sounds there; what `made` is too short for is wrong."""
    right = []
    for piece, other in zip(pieces, made, strict=True):
        own, theirs = sounding(piece)[:, 1:], sounding(other)[: len(piece), 1:]
        same = np.zeros(own.shape, bool)
        same[: len(theirs)] = own[: len(theirs)] == theirs
        right.append(same)
    return right
