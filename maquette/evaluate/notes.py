"""Looking at music without a model of it: frequencies of intervals, rules of part-writing, and what is copied."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from maquette.core import files
from maquette.core.errors import Sentence
from maquette.data.dataset import Items
from maquette.evaluate.extractor import Extractor
from maquette.evaluate.scores import voices
from maquette.evaluate.scores.intervals import Estimate
from maquette.evaluate.scores.words import verbatim
from maquette.media.base import Medium, Voiced
from maquette.media.notes import Piece

SEARCHED = 2_000
"""Training items in which copied passages are looked for."""
COPIES = 64
"""Items that are searched for there."""


class Notes(Extractor):
    """Square roots of frequencies: pitch classes above the last bass note, steps of each voice, intervals between
    voices, lengths (see `scores/voices.py`). None of them depends on the key.

    Args:
        train: training items: ranges of voices, and where copies are looked for.
    """

    name = "intervals"
    resize = "none"
    digest = files.digest(b"pitch classes, melodic and harmonic intervals, lengths, version 1")
    note = Sentence(
        "Features are frequencies of intervals and lengths in whole pieces, in whatever key; they say little of form. "
        "Ranges of voices are those of the training pieces.",
        "特征是整首乐曲中音程与时值的频率，与调无关，对曲式所说甚少。各声部的音域取自训练乐曲。",
    )

    def __init__(self, medium: Medium, train: Items):
        assert isinstance(medium, Voiced), "there are notes to look at"
        self.medium, self.sung = medium, medium.sung
        known = [piece for item in train[:SEARCHED] if len(piece := self.sung(item))]
        self.ranges = voices.ranges(known)
        self.letters: dict[tuple[int, ...], str] = {}
        self.corpus = "\n".join(voices.spelt(piece, self.letters) for piece in known)

    def look(self, x: Int[Tensor, "b l"]) -> tuple[Float[Tensor, "b d"], None]:
        pieces = self._pieces(self.medium.from_tensor(x))
        return torch.from_numpy(np.stack([voices.features(piece) for piece in pieces])), None

    def further(self, real: np.ndarray, made: np.ndarray) -> dict[str, Estimate]:
        pieces = self._pieces(made)
        sizes = [len(voices.chords(piece)) for piece in pieces]
        return {
            "interval_divergence": voices.interval_divergence(self._pieces(real), pieces),
            "parallels": voices.per_hundred([voices.parallels(piece) for piece in pieces], sizes),
            "crossings": voices.per_hundred([voices.crossings(piece) for piece in pieces], sizes),
            "out_of_range": voices.per_hundred([voices.strange(piece, self.ranges) for piece in pieces], sizes),
        }

    def copied(self, items: np.ndarray) -> dict[str, Estimate]:
        letters = dict(self.letters)
        return {"copied_steps": verbatim([voices.spelt(p, letters) for p in self._pieces(items[:COPIES])], self.corpus)}

    def _pieces(self, items: np.ndarray) -> list[Piece]:
        return [self.sung(item) for item in items]
