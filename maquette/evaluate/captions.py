"""Captions that a model writes of unseen pictures, against the true ones: chrF, BLEU and ROUGE-L (see `answers.py`).

Beside it stands what needs no model: the caption of the training picture whose pixels are nearest.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int

from maquette.evaluate.answers import against
from maquette.evaluate.neighbours import nearest, pixel_blocks, pixels
from maquette.evaluate.report import Score, Stamp
from maquette.media.base import Medium

NEAREST = "caption of the nearest picture"


def nearest_pictures(items: np.ndarray, known: np.ndarray, medium: Medium) -> Int[np.ndarray, " n"]:
    """For each stored item the row of `known` whose pixels are nearest."""
    return nearest(pixels(items, medium), pixel_blocks(known, medium)).rows[:, 0].numpy()


def scores(said: Sequence[str], truth: Sequence[str], nearest: Sequence[str], stamp: Stamp) -> Iterator[Score]:
    """
    Args:
        said: what the model wrote of each picture.
        truth: each picture's own caption.
        nearest: the caption of the training picture that is nearest to each.
    """
    yield from against(said, [[text] for text in truth], {NEAREST: nearest}, stamp)
