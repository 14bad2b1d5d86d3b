"""What made pictures teach: classifiers that learn from made pictures, from real ones, and from both.

All are asked for the labels of unseen real pictures. The share that the first gets right is the classification accuracy
score (Ravuri and Vinyals 2019); whether the third knows more than the second says whether made pictures are of use
where real ones are few. All see as many pictures in training, counted with repetition.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from maquette.core.errors import MaquetteError
from maquette.data.dataset import Dataset, Split
from maquette.evaluate import domain
from maquette.evaluate.report import Score, Stamp
from maquette.evaluate.scores.intervals import wilson
from maquette.pipeline import Pipeline, Request

LEAST = 20
"""Fewer unseen pictures with a label are not asked."""
MOST = 10_000
"""At most so many pictures are made."""
REAL, BOTH = "real alone", "real and made"


def require_labels(pipeline: Pipeline, dataset: Dataset) -> None:
    """Raise `MaquetteError` MQ-2104 unless pictures can be asked for by the labels of these data."""
    known = len(pipeline.classes) > 1 and pipeline.classes == dataset.classes
    if not known or len(pipeline.medium.space.shape) != 3 or pipeline.along.craft or pipeline.along.captions:
        task = "make pictures of a label, to teach a classifier these data's"
        raise MaquetteError("MQ-2104", "taught", task=task)
    if (np.asarray(dataset.test.labels) >= 0).sum() < LEAST:
        raise MaquetteError("MQ-3002", "taught", what=f"{LEAST} unseen pictures with a label", todo="hold more out")


def score(pipeline: Pipeline, dataset: Dataset, seed: int, stamp: Stamp, say: Callable[[str], None]) -> Score:
    """The accuracy that made pictures alone teach, that of real ones and of both beside it."""
    train, test = _labelled(dataset.train), _labelled(dataset.test)
    rows = np.sort(np.random.default_rng(seed).permutation(len(train))[:MOST])
    say(f"drawing {len(rows)} samples to teach a classifier by")
    images = None if train.images is None else train.images[rows]
    ask = Request(n=len(rows), seed=seed, label=tuple(train.labels[rows].tolist()), given=images)
    made = Split(pipeline.generate(ask), train.labels[rows])
    both = Split(np.concatenate([train.items, made.items]), np.concatenate([train.labels, made.labels]))
    found = {}
    for name, lessons in (("made alone", made), (REAL, train), (BOTH, both)):
        say(f"teaching a classifier: {name}")
        data = replace(dataset, train=lessons, test=test)
        network = domain.train(data, pipeline.medium, "labels", len(data.classes), seed, pipeline.device)
        asked = min(domain.HELD, len(test))
        found[name] = wilson(round(network.accuracy * asked), asked)
    value = found.pop("made alone")
    return Score.of("taught_accuracy", value, replace(stamp, made=len(rows), real=len(test)), baselines=found)


def _labelled(split: Split) -> Split:
    """The rows of `split` that have a label."""
    labels = np.asarray(split.labels)
    rows = np.flatnonzero(labels >= 0)
    images = None if split.images is None else split.images[rows]
    return Split(np.asarray(split.items[rows]), labels[rows], images=images)
