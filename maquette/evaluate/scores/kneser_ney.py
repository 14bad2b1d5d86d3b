"""Models of n-grams with interpolated modified Kneser-Ney smoothing, for models of text to be held against.

Chen and Goodman 1999, "An empirical study of smoothing techniques for language modeling". The probability of a token w
after the tokens h is

    p(w | h) = (c(hw) - D(c(hw))) / c(h) + g(h) p(w | h'),    c(h) = sum_w c(hw),    g(h) = sum_w D(c(hw)) / c(h)

where h' is h without its first token and p(w) ends in 1/V. Of the longest h that a place has, c(hw) says how often hw
occurred; of each shorter one, after how many different tokens it did. With n_i the number of n-grams counted i times,

    Y = n_1 / (n_1 + 2 n_2),    D(1) = 1 - 2Y n_2/n_1,    D(2) = 2 - 3Y n_3/n_2,    D(3 and more) = 3 - 4Y n_4/n_3

Like the models beside it, it looks back within a document and a window only: what stands at the beginning of either has
fewer tokens before it, and these are then the longest h.
"""

from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from maquette.core import cancel
from maquette.core.sequences import counted, reach
from maquette.core.types import Batch, Likelihood, Tokens

TOGETHER = 1024
"""Windows whose n-grams are collected at once."""


@dataclass(frozen=True)
class Shares:
    """What the n-grams of one length say.

    Attributes:
        own: each n-gram's share of its context's probability, after the discount.
        left: what of a context's probability is left to the shorter context; 1 where nothing was counted.
    """

    own: Float[np.ndarray, " grams"]
    left: Float[np.ndarray, " contexts"]

    @classmethod
    def of(
        cls,
        counts: Int[np.ndarray, " grams"],
        places: Int[np.ndarray, " grams"],
        contexts: Int[np.ndarray, " contexts"],
    ) -> "Shares":
        """From how often each n-gram was counted, and the place of its context among `contexts`."""
        taken = discounts(counts)[counts.clip(max=3)]
        total, left = (np.bincount(places, weights, len(contexts)) for weights in (counts, taken))
        never = total == 0
        total[never] = left[never] = 1
        return cls((counts - taken) / total[places], left / total)


@dataclass(frozen=True)
class Grams:
    """The n-grams of one length, as sorted keys that tell each from every other.

    Attributes:
        contexts: place of the context without its first token (among the contexts one shorter) * vocab + first token.
        grams: place of the context * vocab + last token.
        whole: by occurrences, for places that have no longer context.
        inner: by the different tokens that stood before, for all others.
    """

    contexts: Int[np.ndarray, " contexts"]
    grams: Int[np.ndarray, " grams"]
    whole: Shares
    inner: Shares


@dataclass(frozen=True)
class KneserNey(Likelihood):
    """What follows up to `order` - 1 tokens in windows of `space`; `lengths` hold its n-grams of 1, 2 ... tokens."""

    space: Tokens
    lengths: tuple[Grams, ...]

    @property
    def order(self) -> int:
        return len(self.lengths)

    @classmethod
    def fit(cls, windows: Int[Tensor, "n l"], space: Tokens, order: int) -> "KneserNey":
        """Learn from the tokens of `windows` that count (see `core/sequences.py`)."""
        parts = [_collected(part, space, order)[:2] for part in windows.split(TOGETHER)]
        rows, known = (np.concatenate(found) for found in zip(*parts, strict=True))
        tables = []
        contexts, place = np.zeros(1, np.int64), np.zeros(len(rows), np.int64)
        for n in range(1, order + 1):
            cancel.check()
            if n > 1:
                longer = known >= n - 1
                rows, known, place = rows[longer], known[longer], place[longer]
                contexts, place = np.unique(place * space.vocab + rows[:, -n], return_inverse=True)
            tables.append((contexts, *np.unique(place * space.vocab + rows[:, -1], return_counts=True)))
        lengths = []
        for (contexts, grams, counts), longer in zip_longest(tables, tables[1:]):
            after = np.zeros_like(counts) if longer is None else _continued(grams, longer[0], longer[1], space.vocab)
            whole, inner = (Shares.of(each, grams // space.vocab, contexts) for each in (counts, after))
            lengths.append(Grams(contexts, grams, whole, inner))
        return cls(space, tuple(lengths))

    def of_order(self, order: int) -> "KneserNey":
        """The model of shorter n-grams that `fit` would have given."""
        return replace(self, lengths=self.lengths[:order])

    def nll(self, batch: Batch) -> Float[Tensor, " b"]:
        """Nats of the tokens that count in each window [b, l], on the CPU."""
        rows, known, of = _collected(batch.x.cpu(), self.space, self.order)
        return torch.from_numpy(np.bincount(of, -np.log(self.probability(rows, known)), len(batch)))

    def probability(self, rows: Int[np.ndarray, "n order"], known: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Of the last token of each row after the `known` tokens before it: above 0, and 1 over the vocabulary."""
        vocab, known = self.space.vocab, known.clip(max=self.order - 1)
        p = np.full(len(rows), 1 / vocab)
        ask, place = np.arange(len(rows)), np.zeros(len(rows), np.int64)  # rows whose context of n - 1 tokens was seen
        for n, length in enumerate(self.lengths, 1):
            if n > 1:
                longer = known[ask] >= n - 1
                ask, place = ask[longer], place[longer]
                place, there = _found(length.contexts, place * vocab + rows[ask, -n])
                ask, place = ask[there], place[there]
            longest = known[ask] == n - 1
            for shares, which in ((length.whole, longest), (length.inner, ~longest)):
                gram, there = _found(length.grams, place[which] * vocab + rows[ask[which], -1])
                p[ask[which]] *= shares.left[place[which]]
                p[ask[which][there]] += shares.own[gram[there]]
        return p


def discounts(counts: Int[np.ndarray, " grams"]) -> Float[np.ndarray, "4"]:
    """What is taken from an n-gram that was counted 0, 1, 2, and 3 or more times.

    Where the counts do not say it (n_i or n_{i+1} is 0, or D(i) would not lie between 0 and i), i/2 is taken.
    """
    n = np.bincount(counts.clip(max=5), minlength=6).astype(float)
    y = n[1] / max(1.0, n[1] + 2 * n[2])
    said = [i - (i + 1) * y * n[i + 1] / n[i] if n[i] else 0.0 for i in (1, 2, 3)]
    return np.array([0.0, *(d if 0 < d < i else i / 2 for i, d in enumerate(said, 1))])


def _collected(
    x: Int[Tensor, "b l"], space: Tokens, order: int
) -> tuple[Int[np.ndarray, "n order"], Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Each token that counts as the last of `order`, how many before it belong to it, and which row of `x` it is in."""
    counts = counted(x, space)
    known = reach(x, space)[counts].clamp(max=order - 1)
    runs = F.pad(x.int(), (order - 1, 0)).unfold(1, order, 1)[:, x.shape[1] - counts.shape[1] :]
    return runs[counts].numpy(), known.numpy(), counts.nonzero()[:, 0].numpy()


def _continued(
    grams: Int[np.ndarray, " n"], contexts: Int[np.ndarray, " c"], longer: Int[np.ndarray, " m"], vocab: int
) -> Int[np.ndarray, " n"]:
    """After how many different tokens each of `grams` stands, from the keys of the n-grams one `longer`."""
    ends = contexts[longer // vocab] // vocab * vocab + longer % vocab
    return np.bincount(np.searchsorted(grams, ends), minlength=len(grams))


def _found(
    keys: Int[np.ndarray, " n"], wanted: Int[np.ndarray, " m"]
) -> tuple[Int[np.ndarray, " m"], Bool[np.ndarray, " m"]]:
    """Where each of `wanted` stands among sorted `keys`, and whether it does."""
    place = np.searchsorted(keys, wanted)
    there = place < len(keys)
    there[there] = keys[place[there]] == wanted[there]
    return place, there
