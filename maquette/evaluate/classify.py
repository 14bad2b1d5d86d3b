"""Which label a text has: by the model's own likelihood and by a linear head on its states, beside simpler ways.

A model that was told labels classifies by Bayes' rule, argmax_y log p(x | y) + log p(y), with p(y) as frequent as in
training (of language models: Yogatama et al. 2017). A linear head is logistic regression on the mean of the model's
last hidden states (a probe, Alain and Bengio 2017). What both should beat: always saying the most frequent label, and
logistic regression on TF-IDF.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch

from maquette.core import cancel
from maquette.core.seeds import VALIDATE, Seeds
from maquette.core.types import Batch, Features, Given, Likelihood
from maquette.data.dataset import Items
from maquette.evaluate.bag import Bag, labelled, logistic
from maquette.evaluate.reference import LEAST, Reference, picked
from maquette.evaluate.report import Score, Stamp
from maquette.evaluate.scores.intervals import Estimate, wilson
from maquette.pipeline import Pipeline

JUDGED = 1_000
"""At most so many unseen texts are judged."""
HEAD_STRENGTH = 0.1
"""Of logistic regression on states of unit variance (scikit-learn's C)."""
FREQUENT = "most frequent label"
TOGETHER = 64


def scores(pipeline: Pipeline, reference: Reference, stamp: Stamp) -> Iterator[Score]:
    """Accuracies on unseen texts where each item is a text with a label; nothing elsewhere.

    Args:
        stamp: of a score that needs no extractor; how many texts were judged is put in.
    """
    data, medium, judge = reference.dataset, pipeline.medium, reference.extractor
    rows = picked(data.test, JUDGED, 0)
    rows = rows[np.asarray(data.test.labels)[rows] >= 0]
    if not (medium.talks and judge.labels) or len(rows) < LEAST:
        return
    items, truth = np.asarray(data.test.items[rows]), np.asarray(data.test.labels)[rows]
    frequent = np.bincount(data.train.labels[data.train.labels >= 0], minlength=len(data.classes))
    logits = judge.see(items, medium, reference.device).logits
    assert logits is not None, "who tells labels has logits"
    simpler = {
        Bag.name: _right(logits.argmax(1).numpy(), truth),
        FREQUENT: _right(np.full(len(truth), frequent.argmax()), truth),
    }
    stamp = replace(stamp, real=len(rows))
    if isinstance(pipeline.model, Likelihood) and pipeline.classes == data.classes:
        said = (np.log(frequent + 1) - pipeline.nats_by_label(items)).argmax(1)
        yield Score.of("accuracy", _right(said, truth), stamp, baselines=simpler)
    if isinstance(pipeline.model, Features):
        said = linear_head(pipeline, data.train.items, data.train.labels)(items)
        yield Score.of("linear_accuracy", _right(said, truth), stamp, baselines=simpler)


def linear_head(pipeline: Pipeline, items: Items, labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A classifier, stored items [n, *stored] -> numbers of labels [n], of what the model sees.

    Args:
        items, labels: that it learns from, [m, *stored] and [m], -1 for no label.
    """
    rows = labelled(labels)
    seen = states(pipeline, np.asarray(items[rows]))
    mean, spread = seen.mean(0), seen.std(0) + 1e-6
    head = logistic((seen - mean) / spread, labels[rows], HEAD_STRENGTH)
    return lambda others: head.predict((states(pipeline, others) - mean) / spread)


@torch.inference_mode()
def states(pipeline: Pipeline, items: np.ndarray) -> np.ndarray:
    """What the model sees in stored items without being told a label: float32 [n, d]."""
    model, made = pipeline.model, []
    assert isinstance(model, Features)
    for number, start in enumerate(range(0, len(items), TOGETHER)):
        cancel.check()
        x = pipeline.encoded(items[start : start + TOGETHER])
        rng = Seeds.for_batch(0, number, len(x), stream=VALIDATE, device=pipeline.device)
        made.append(model.features(Batch(x, Given(), rng)).cpu().numpy())
    return np.concatenate(made)


def _right(said: np.ndarray, truth: np.ndarray) -> Estimate:
    return wilson(int((said == truth).sum()), len(truth))
