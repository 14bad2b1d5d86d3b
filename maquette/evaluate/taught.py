"""What made pictures teach: classifiers that learn from made pictures, from real ones, and from both.

All are asked for the labels of unseen real pictures; real and made are equally many. The share that the first gets
right is the classification accuracy score (Ravuri and Vinyals 2019); whether the third knows more than the second says
whether made pictures are of use where real ones are few. All see as many pictures in training, counted with repetition.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from maquette.core.errors import MaquetteError, Sentence
from maquette.data.dataset import Dataset, Split
from maquette.evaluate import domain
from maquette.evaluate.chinese import named
from maquette.evaluate.report import Score, Stamp
from maquette.evaluate.scores.intervals import wilson
from maquette.pipeline import Pipeline, Request

LEAST = 20
"""Fewer unseen pictures with a label are not asked."""
MOST = 10_000
"""At most so many pictures are made."""
MADE, REAL, BOTH = "made alone", "real alone", "real and made"


def require_labels(pipeline: Pipeline, dataset: Dataset) -> None:
    """Raise `MaquetteError` MQ-2104 unless pictures can be asked for by the labels of these data."""
    known = len(pipeline.classes) > 1 and pipeline.classes == dataset.classes
    known = known and dataset.train.others is None  # nobody knows which label a picture of those would have
    if not known or len(pipeline.medium.space.shape) < 2 or pipeline.along.craft or pipeline.along.captions:
        task = "make pictures of a label, to teach a classifier these data's"
        raise MaquetteError("MQ-2104", "taught", task=task)
    if (np.asarray(dataset.test.labels) >= 0).sum() < LEAST:
        raise MaquetteError("MQ-3002", "taught", what=f"{LEAST} unseen pictures with a label", todo="hold more out")


def score(pipeline: Pipeline, dataset: Dataset, ask: Request, stamp: Stamp, say: Callable[[str], None]) -> Score:
    """The accuracy that pictures made in the way of `ask` teach, that of real ones and of both beside it.

    Args:
        stamp: of scores without an extractor.
    """
    train, test = _labelled(dataset.train, MOST, ask.seed), _labelled(dataset.test, domain.HELD, ask.seed)
    given = None if train.images is None else pipeline.medium.to_tensor(np.asarray(train.images))
    zh = f"正在生成 {len(train)} 个样本，用来教分类器"
    say(Sentence(f"drawing {len(train)} samples to teach a classifier by", zh))
    made = pipeline.generate(
        replace(ask, n=len(train), label=tuple(train.labels.tolist()), given=given, prompt=None, opening=None)
    )
    both = Split(np.concatenate([train.items, made]), np.concatenate([train.labels, train.labels]))
    found = {}
    for name, lessons in ((MADE, Split(made, train.labels)), (REAL, train), (BOTH, both)):
        say(Sentence(f"teaching a classifier: {name}", f"正在教分类器：{named(name)}"))
        data = replace(dataset, train=lessons, test=test)
        network = domain.train(data, pipeline.medium, "labels", len(data.classes), ask.seed, pipeline.device)
        found[name] = wilson(round(network.accuracy * len(test)), len(test))
    value = found.pop(MADE)
    return Score.of("taught_accuracy", value, replace(stamp, made=len(train), real=len(test)), baselines=found)


def _labelled(split: Split, most: int, seed: int) -> Split:
    """At most `most` rows of `split` that have a label."""
    labels = np.asarray(split.labels)
    rows = np.sort(np.random.default_rng(seed).permutation(np.flatnonzero(labels >= 0))[:most])
    images = None if split.images is None else np.asarray(split.images[rows])
    return Split(np.asarray(split.items[rows]), labels[rows], images=images)
