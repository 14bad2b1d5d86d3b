"""Texts as bags of short runs of characters and words: what a simple classifier and a simple search see of them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from maquette.data.dataset import Items
from maquette.evaluate.scores.words import words
from maquette.media.base import Medium

LEARNT_FROM = 10_000
"""At most so many training items teach a classifier."""
GRAMS = 100_000
"""The most frequent runs that are counted."""
STRENGTH = 10.0
"""Of logistic regression on TF-IDF (scikit-learn's C)."""
LEAST = 1e-20
"""The probability of a label that no training item had."""


class Bag:
    """Logistic regression on TF-IDF of runs of 1 to 3 characters and of 1 and 2 words, by scikit-learn."""

    name = "TF-IDF and logistic regression"

    def __init__(self, texts: Sequence[str], labels: np.ndarray, classes: int):
        self.vectors, self.classes = tf_idf(), classes
        self.head = logistic(self.vectors.fit_transform(texts), labels, STRENGTH)

    @classmethod
    def learnt(cls, medium: Medium, items: Items, labels: np.ndarray, classes: int) -> "Bag | None":
        """That of training items [n, *medium.stored] with labels [n]; None where these name fewer than two."""
        rows = labelled(labels)
        if len(np.unique(labels[rows])) < 2:
            return None
        return cls([medium.words(item) or "" for item in np.asarray(items[rows])], labels[rows], classes)

    def logits(self, texts: Sequence[str]) -> Float[Tensor, "n classes"]:
        """The log-probability of each label."""
        found = np.zeros((len(texts), self.classes))
        found[:, self.head.classes_] = self.head.predict_proba(self.vectors.transform(texts))
        return torch.from_numpy(np.log(np.maximum(found, LEAST)))


def labelled(labels: np.ndarray) -> np.ndarray:
    """At most `LEARNT_FROM` of the rows that have a label, in an order that is always the same."""
    return np.random.default_rng(0).permutation(np.flatnonzero(labels >= 0))[:LEARNT_FROM]


def logistic(x: Any, labels: np.ndarray, strength: float) -> Any:
    """scikit-learn's logistic regression, fitted to the rows of `x` (an array or a sparse matrix)."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=1000, tol=1e-3).fit(x, labels)


def tf_idf() -> Any:
    """scikit-learn's vectoriser over `grams`; its rows have length 1, so a product of two is their cosine."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    analyzer: Any = grams  # a function is as good as a name, whatever its types say
    return TfidfVectorizer(analyzer=analyzer, sublinear_tf=True, max_features=GRAMS)


def grams(text: str) -> Iterator[str]:
    r"""Runs of 1 to 3 characters, and of 1 and 2 words; the latter begin with a character that no text has.

    >>> list(grams("Ab c"))[-3:]
    ['\x00ab', '\x00c', '\x00ab c']
    """
    text = text.lower().replace("\0", "")
    for n in (1, 2, 3):
        yield from (text[i : i + n] for i in range(len(text) - n + 1))
    single = words(text)
    yield from (f"\0{word}" for word in single)
    yield from (f"\0{a} {b}" for a, b in zip(single, single[1:], strict=False))
