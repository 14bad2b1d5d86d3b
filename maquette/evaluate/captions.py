"""Captions that a model writes of unseen pictures, against the true ones: chrF, BLEU and ROUGE-L (see `answers.py`).

Beside it stands what needs no model: the caption of the training picture whose pixels are nearest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int

from maquette.data.dataset import Dataset
from maquette.evaluate.agreement import LEAST, unseen
from maquette.evaluate.answers import against
from maquette.evaluate.neighbours import MOST as SEARCHED
from maquette.evaluate.neighbours import nearest, pixel_blocks, pixels
from maquette.evaluate.report import Score, Stamp
from maquette.media.base import Medium
from maquette.pipeline import Pipeline

MOST = 500
"""At most so many unseen pictures are described."""
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


def of_unseen(pipeline: Pipeline, dataset: Dataset, stamp: Stamp) -> Iterator[Score]:
    """The scores of the captions that a model writes of unseen pictures, if enough of these have one.

    Args:
        stamp: of scores without an extractor.
    """
    test, train = dataset.test, dataset.train
    if sum(map(bool, test.captions)) < LEAST or not any(train.captions):
        return
    rows = unseen(test, MOST)
    items, told = np.asarray(test.items[rows]), np.flatnonzero([bool(caption) for caption in train.captions])[:SEARCHED]
    near = told[nearest_pictures(items, np.asarray(train.items[told]), pipeline.medium)]
    stamp = replace(stamp, real=len(rows), made=len(rows))
    own, others = pipeline.captioned(items), [train.captions[row] for row in near]
    yield from scores(own, [test.captions[row] for row in rows], others, stamp)
