"""Scores of text, by hand; and what n-gram features see."""

import doctest
import math

import numpy as np
import pytest
import torch

from maquette.evaluate.ngrams import EACH, Ngrams
from maquette.evaluate.scores import words as words_module
from maquette.evaluate.scores.words import distinct, divergence, repetition, self_bleu, verbatim, words
from maquette.media.text import Config

SHAKEN = [f"{a} {b} {c}." for a in "abcd" for b in "efgh" for c in "ijkl"]


def test_words_of_every_language() -> None:
    assert words("Don't stop, 2 cats") == ["Don", "'", "t", "stop", ",", "2", "cats"]
    assert words("我有ab兩隻cat。") == ["我", "有", "ab", "兩", "隻", "cat", "。"]
    assert words(" \n") == []


def test_distinct_words_and_pairs_by_hand() -> None:
    assert distinct(["a b a"] * 10, 1).value == pytest.approx(2 / 30)
    assert distinct(["a b c"] * 10, 2).value == pytest.approx(2 / 20)
    assert distinct([f"a{i} b{i}" for i in range(10)], 2).value == 1
    assert distinct([""] * 10, 2).value == 0


def test_repetition_by_hand() -> None:
    assert repetition(["a b c d e f g h"] * 4).value == 0
    assert repetition(["a b c d a b c d"] * 4).value == pytest.approx(1 / 5)
    assert repetition(["a " * 40] * 4).value == pytest.approx(1 - 1 / 37)
    assert repetition(["", "a"]).value == 0


def test_divergence_is_0_for_equal_and_1_for_nothing_shared() -> None:
    one, other = [b"abcabc"] * 20, [b"xyzxyz"] * 20
    assert divergence(one, one).value == pytest.approx(0, abs=1e-12)
    assert divergence(one, other).value == pytest.approx(1)
    half = divergence(one, [b"abcabc", b"xyzxyz"] * 10).value
    assert half == pytest.approx(0.311278, abs=1e-6)  # JS of (1, 0) and (1/2, 1/2)
    assert divergence(one, []).value == pytest.approx(0.5)  # nothing was made


def test_self_bleu_by_hand() -> None:
    """One word of four is shared: 1/4, then 0.1 of three, two and one. Of the last two texts the first has two words of
    three and a pair of two, and is shorter by two thirds of its length; the second has two of five and one of four."""
    assert self_bleu(["a b c d"] * 5).value == pytest.approx(1)
    assert self_bleu(["a b c d", "e f g h", "i j k l"]).value == 0
    assert self_bleu(["a b c d", "a x y z"]).value == pytest.approx((1 / 4 * 0.1**3 / 6) ** (1 / 4))
    first, second = math.exp(1 - 5 / 3) * math.sqrt(2 / 3 / 2), math.sqrt(2 / 5 / 4)
    assert self_bleu(["a a b", "a b c d e"], 2).value == pytest.approx((first + second) / 2)
    assert self_bleu(["", "a"]).value == self_bleu(["a"]).value == 0


def test_self_bleu_agrees_with_sacrebleu() -> None:
    metrics = pytest.importorskip("sacrebleu.metrics")
    peer = metrics.BLEU(smooth_method="floor", smooth_value=0.1, tokenize="none", effective_order=True)
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(list("abcdefg"), size).tolist()) for size in (1, 2, 3, 4, 6, 9, 9, 12, 20, 20)]
    scores = [peer.sentence_score(text, texts[:i] + texts[i + 1 :]).score / 100 for i, text in enumerate(texts)]
    assert self_bleu(texts).value == pytest.approx(np.mean(scores), rel=1e-9)


def test_the_longest_verbatim_passage_by_hand() -> None:
    corpus = "the quick brown fox 春眠不覺曉"
    assert verbatim(["a quick brow"], corpus).value == 11
    assert verbatim(["zzz", ""], corpus).value == 0
    assert verbatim(["qZ", corpus, "fox"], corpus).value == len(corpus)
    assert verbatim(["處處春眠不覺曉", "x fox"], corpus).value == 5, "characters, not bytes"


def test_features_are_of_length_one_and_tell_texts_apart() -> None:
    medium = Config(tokenizer="byte", length=63).build()
    cutter = medium.cutter()
    documents = [medium.from_bytes(text.encode() * 12, "x") for text in SHAKEN]
    items = np.stack([window for d in documents for window in cutter.put(d)])
    extractor = Ngrams(medium, items)
    seen = extractor.see(items, medium, torch.device("cpu"))
    assert seen.features.shape == (len(items), 3 * EACH) and extractor.given == 16
    assert torch.allclose(seen.features.square().sum(1), torch.full((len(items),), 3.0), atol=1e-4)
    further = extractor.further(items, items)
    assert further["divergence"].value == pytest.approx(0, abs=1e-12)
    assert set(further) == {"divergence", "distinct_1", "distinct_2", "self_bleu", "repetition"}


def test_a_passage_is_found_whole_where_windows_meet() -> None:
    medium = Config(tokenizer="byte", length=15).build()
    cutter, text = medium.cutter(), "".join(map(chr, range(48, 108)))
    document = medium.from_bytes(text.encode(), "x")
    items = np.stack(cutter.put(document) + cutter.rest())
    extractor = Ngrams(medium, items)
    assert extractor.corpus == text
    made = document[8:24]  # the first window ends at 15; its first quarter was given
    assert extractor.copied(made[None])["verbatim"].value == 12


def test_doctests() -> None:
    assert doctest.testmod(words_module).failed == 0
