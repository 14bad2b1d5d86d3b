"""What can be said of made texts without a model: as lists of words, of pieces, and against what was learnt from.

Words are runs of letters and digits, Chinese characters and other signs singly, so one rule serves all languages.
"""

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
    counts = [Counter(_grams(words(text), n)) for text in texts]

    def share(parts: Iterable[Counter]) -> float:
        whole: Counter = sum(parts, Counter())
        return len(whole) / max(1, whole.total())

    groups = group_slices(len(texts))
    without = [share(c for i, c in enumerate(counts) if not group.start <= i < group.stop) for group in groups]
    return jackknife(share(counts), without).as_share()


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
    return jackknife(_divergence(known, whole), [_divergence(known, whole - part) for part in parts])


def _divergence(p: Counter, q: Counter) -> float:
    keys = list(p.keys() | q.keys())
    a, b = (np.array([counts[key] for key in keys], dtype=float) for counts in (p, q))
    a, b = a / max(a.sum(), 1), b / max(b.sum(), 1)
    middle = (a + b) / 2

    def relative(x: np.ndarray) -> float:
        there = x > 0
        return float((x[there] * np.log2(x[there] / middle[there])).sum())

    return (relative(a) + relative(b)) / 2


def verbatim(texts: Sequence[bytes], corpus: bytes) -> Estimate:
    """The longest passage of each text that stands in `corpus` byte for byte, as a share of the text."""
    return of_mean([longest(text, corpus) / max(1, len(text)) for text in texts], PER_TEXT).as_share()


def longest(text: bytes, corpus: bytes) -> int:
    """Bytes of the longest passage of `text` that stands in `corpus`.

    >>> longest(b"a cat sat", b"the cat slept")
    6
    """
    best = start = 0
    while start + best < len(text):
        if text[start : start + best + 1] in corpus:
            best += 1
        else:
            start += 1
    return best


def _counted(texts: Iterable[bytes], n: int) -> Counter:
    return Counter(text[i : i + n] for text in texts for i in range(len(text) - n + 1))


def _grams(items: list[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(items[i:] for i in range(n)), strict=False))
