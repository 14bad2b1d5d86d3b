"""What can be said of made texts without a model: as lists of words, of pieces, and against what was learnt from.

Words are runs of letters and digits, Chinese characters and other signs singly, so one rule serves all languages.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from maquette.evaluate.scores.intervals import Estimate, group_slices, jackknife, of_mean

PER_TEXT = "95 %, Student's t over texts"
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+?(?=[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])|\w+|[^\w\s]"
)


def words(text: str) -> list[str]:
    """
    >>> words("It's 春天, ok")
    ['It', "'", 's', '春', '天', ',', 'ok']
    """
    return _WORD.findall(text)


def distinct(texts: Sequence[str], n: int) -> Estimate:
    """Different n-grams of words as a share of all (Li et al. 2016, distinct-n); falls with the amount of text."""
    parts = [Counter(gram for text in texts[g] for gram in _grams(words(text), n)) for g in group_slices(len(texts))]
    whole: Counter = sum(parts, Counter())
    without = []
    for part in parts:
        only_here = sum(whole[gram] == count for gram, count in part.items())
        without.append((len(whole) - only_here) / max(1, whole.total() - part.total()))
    return jackknife(len(whole) / max(1, whole.total()), without).as_share()


def self_bleu(texts: Sequence[str], n: int = 4) -> Estimate:
    """Mean BLEU of each text against all the others (Zhu et al. 2018, Texygen): near 1 where all say the same.

    BLEU is Papineni et al.'s (2002) over n-grams of 1 to `n` words, of one text with the others as its references and
    the nearest of their lengths. Where none of a length matches, 0.1 do (Chen and Cherry 2014, method 1), unless no
    word does; n-grams longer than the text do not count. It rises with the number of texts.
    """
    items = [words(text) for text in texts]
    shares: list[list[float]] = [[] for _ in items]
    for order in range(1, n + 1):
        counts = [Counter(_grams(item, order)) for item in items]
        most = _most(counts)
        for i, own in enumerate(counts):
            matches = sum(min(count, most[gram][2 if most[gram][1] == i else 0]) for gram, count in own.items())
            if own and (matches or shares[i]):
                shares[i].append((matches or 0.1) / own.total())
    lengths = [len(item) for item in items]
    scores = []
    for i, (length, found) in enumerate(zip(lengths, shares, strict=True)):
        others = [other for j, other in enumerate(lengths) if j != i]
        nearest = min(others, key=lambda other: (abs(other - length), other), default=length)
        brevity = math.exp(min(0.0, 1 - nearest / max(length, 1)))
        scores.append(brevity * math.prod(found) ** (1 / len(found)) if found else 0.0)
    return of_mean(scores, PER_TEXT).as_share()


def _most(counts: Sequence[Counter]) -> dict[tuple[str, ...], tuple[int, int, int]]:
    """Of each n-gram the highest count, the text that has it, and the highest count of the other texts."""
    most: dict[tuple[str, ...], tuple[int, int, int]] = {}
    for i, own in enumerate(counts):
        for gram, count in own.items():
            first, where, second = most.get(gram, (0, -1, 0))
            most[gram] = (count, i, first) if count > first else (first, where, max(second, count))
    return most


def repetition(texts: Sequence[str], n: int = 4) -> Estimate:
    """Share of a text's n-grams of words that stood in it before, averaged over texts (Welleck et al. 2020, rep-n)."""
    shares = []
    for text in texts:
        grams = _grams(words(text), n)
        shares.append(1 - len(set(grams)) / len(grams) if grams else 0.0)
    return of_mean(shares, PER_TEXT).as_share()


def divergence(real: Sequence[bytes], made: Sequence[bytes], n: int = 3) -> Estimate:
    """Jensen-Shannon divergence in bits between the frequencies of byte n-grams: 0 for equal, 1 for nothing shared."""
    known, parts = _counted(real, n), [_counted(made[group], n) for group in group_slices(len(made))]
    whole: Counter = sum(parts, Counter())
    return jackknife(divergence_of(known, whole), [divergence_of(known, whole - part) for part in parts])


def divergence_of(p: Counter, q: Counter) -> float:
    """Jensen-Shannon divergence in bits between two tables of counts."""
    keys = list(p.keys() | q.keys())
    a, b = (np.array([counts[key] for key in keys], dtype=float) for counts in (p, q))
    a, b = a / max(a.sum(), 1), b / max(b.sum(), 1)
    middle = (a + b) / 2

    def relative(x: np.ndarray) -> float:
        there = x > 0
        return float((x[there] * np.log2(x[there] / middle[there])).sum())

    return (relative(a) + relative(b)) / 2


def verbatim(texts: Sequence[str], corpus: str) -> Estimate:
    """Characters of the longest passage of any of `texts` that stands in `corpus`.

    >>> verbatim(["a cat sat", "a dog sat"], "the cat slept").value
    6.0
    """
    best = 0
    for text in texts:
        start = 0
        while start + best < len(text):
            half = (best + 1) // 2
            if text[start + half : start + best + 1] not in corpus:
                start += half + 1  # no passage that holds this half
            elif text[start : start + best + 1] in corpus:
                best += 1
            else:
                start += 1
    return Estimate(float(best))


def _counted(texts: Iterable[bytes], n: int) -> Counter:
    return Counter(text[i : i + n] for text in texts for i in range(len(text) - n + 1))


def _grams(items: list[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(items[i:] for i in range(n)), strict=False))
