"""Which attributes of what was asked a made picture has, where labels are made of words: "snowy night heavy".

A label of k words says k things. One linear classifier for each of them, on the extractor's features of real training
pictures, judges made ones: a picture may have the right weather and the wrong traffic, and a label that was never
learnt as a whole can be judged by its parts.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from maquette.evaluate.bag import labelled, logistic
from maquette.evaluate.extractor import Seen
from maquette.evaluate.reference import Reference
from maquette.evaluate.report import Score, Stamp
from maquette.evaluate.scores.intervals import of_mean

STRENGTH = 1.0
"""Of logistic regression on features of unit variance (scikit-learn's C)."""
PER_PICTURE = "95 %, Student's t over pictures"


def parts(classes: Sequence[str]) -> Int[np.ndarray, "classes k"] | None:
    """The number of each word of each label among those at its place; None where labels are not made of words.

    >>> parts(["red key", "red gem", "blue key"]).tolist()
    [[1, 1], [1, 0], [0, 1]]
    """
    words = [name.split() for name in classes]
    if len({len(said) for said in words}) != 1 or len(words[0]) < 2:
        return None
    columns = [np.unique(column, return_inverse=True)[1] for column in zip(*words, strict=True)]
    table = np.stack(columns, 1)
    shared = all(1 < len(np.unique(column)) < len(classes) for column in table.T)
    return table if shared else None


class Attributes:
    """Classifiers of each word of a label, learnt from features of pictures whose labels are known."""

    def __init__(self, features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], table: np.ndarray):
        self.table, self.mean, self.spread = table, features.mean(0), features.std(0) + 1e-6
        x = (features - self.mean) / self.spread
        self.heads = [logistic(x, column[labels], STRENGTH) for column in table.T]

    def right(self, features: Float[np.ndarray, "n d"], asked: Int[np.ndarray, " n"]) -> Bool[np.ndarray, "n k"]:
        """Whether each picture has each attribute of the label that was asked for."""
        x = (features - self.mean) / self.spread
        return np.stack([head.predict(x) for head in self.heads], 1) == self.table[asked]


def scores(reference: Reference, seen: Seen, asked: Int[np.ndarray, " n"], stamp: Stamp) -> Iterator[Score]:
    """The share of attributes that made pictures have, beside that of real ones; nothing where labels are one thing."""
    data, table = reference.dataset, parts(reference.dataset.classes)
    train = np.asarray(data.train.labels)
    if table is None or (asked < 0).any() or (reference.labels < 0).any() or len(reference.medium.space.shape) < 2:
        return
    rows = labelled(train)
    if any(len(np.unique(column[train[rows]])) < 2 for column in table.T):
        return
    known = reference.extractor.see(np.asarray(data.train.items[rows]), reference.medium, reference.device).features
    judge = Attributes(known.numpy(), train[rows], table)
    own = judge.right(seen.features.numpy(), asked).mean(1)
    real = judge.right(reference.seen.features.numpy(), reference.labels).mean()
    yield Score.of("attribute_accuracy", of_mean(own.tolist(), PER_PICTURE).as_share(), stamp, float(real))
