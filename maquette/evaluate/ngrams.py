"""Looking at text without a model of text: frequencies of short runs of bytes, and labels by what words stand there.

Where documents share windows, samples are continuations: each begins with the first quarter of an unseen window, and
what follows is compared with what really followed (as in Pillutla et al. 2021, MAUVE). Where each window is a document,
whole samples are compared.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from maquette.core import files
from maquette.core.errors import Sentence
from maquette.data.dataset import Items
from maquette.evaluate.bag import Bag
from maquette.evaluate.chinese import named
from maquette.evaluate.extractor import Extractor
from maquette.evaluate.scores.intervals import Estimate
from maquette.evaluate.scores.words import distinct, divergence, repetition, self_bleu, verbatim
from maquette.media.base import Medium

EACH = 64
"""Features for runs of one byte, of two and of three."""
SEARCHED = 8 << 20
"""Tokens of the training text in which verbatim passages are looked for."""
COPIES = 64
"""Texts that are searched for there."""
TOGETHER = 200
"""Texts that are held against each other."""


class Ngrams(Extractor):
    """Square roots of the frequencies of runs of one, two and three bytes, hashed (distances are Hellinger's).

    Args:
        train: training items.
        labels: of the training items, -1 for none: if they have labels, logits are those of a `Bag` learnt from them.
        classes: how many labels there are.
        learnt: items in which verbatim passages are looked for, where they are not those of `train`.
    """

    name = "n-grams"
    resize = "none"
    digest = files.digest(f"byte 1-, 2- and 3-grams, {EACH} each, version 1".encode())

    def __init__(
        self,
        medium: Medium,
        train: Items,
        labels: np.ndarray = np.empty(0),
        classes: int = 0,
        learnt: Items | None = None,
    ):
        self.medium, self.given = medium, 0 if medium.whole else medium.stored[0] // 4
        rows = np.asarray((train if learnt is None else learnt)[: SEARCHED // medium.stored[0]])
        self.corpus = medium.passage(rows[:, 1:].reshape(-1))  # each window's first token is the last of the one before
        self.bag = Bag.learnt(medium, train, labels, classes) if medium.whole else None
        self.labels = self.bag is not None
        of, zh = (
            ("whole texts", "整篇文字") if medium.whole else ("continuations of unseen beginnings", "未见开头的续写")
        )
        more, chinese = (
            (f" Labels are told by {Bag.name}.", f"标签由{named(Bag.name)}判断。") if self.labels else ("", "")
        )
        self.note = Sentence(
            f"Features are frequencies of runs of 1 to 3 bytes in {of}, not meanings.{more}",
            f"特征是{zh}中连续 1 至 3 个字节的频率，不涉及含义。{chinese}",
        )

    def look(self, x: Int[Tensor, "b l"]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"] | None]:
        texts = self._spoken(x.cpu().numpy())
        logits = None if self.bag is None else self.bag.logits(texts)
        return torch.from_numpy(np.stack([_features(text) for text in _utf8(texts)])), logits

    def further(self, real: np.ndarray, made: np.ndarray) -> dict[str, Estimate]:
        spoken = self._spoken(made)
        return {
            "divergence": divergence(_utf8(self._spoken(real)), _utf8(spoken)),
            "distinct_1": distinct(spoken, 1),
            "distinct_2": distinct(spoken, 2),
            "self_bleu": self_bleu(spoken[:TOGETHER]),
            "repetition": repetition(spoken),
        }

    def copied(self, items: np.ndarray) -> dict[str, Estimate]:
        return {"verbatim": verbatim(self._spoken(items[:COPIES]), self.corpus)}

    def _spoken(self, items: np.ndarray) -> list[str]:
        """What follows the beginnings that were given."""
        return [self.medium.passage(item[self.given :]) for item in np.asarray(items)]


def _utf8(texts: list[str]) -> list[bytes]:
    return [text.encode("utf-8", "replace") for text in texts]


def _features(text: bytes) -> np.ndarray:
    codes = np.frombuffer(text, np.uint8).astype(np.uint64)
    parts, run = [], np.zeros(0, np.uint64)
    for n in range(1, 4):
        last = codes[n - 1 :]
        run = last + 1 if n == 1 else run[: len(last)] * np.uint64(257) + last + np.uint64(1)
        places = (run * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(58)  # Fibonacci hashing to 64 places
        counts = np.bincount(places.astype(np.int64), minlength=EACH).astype(np.float32)
        parts.append(np.sqrt(counts / max(1.0, counts.sum())))
    return np.concatenate(parts)
