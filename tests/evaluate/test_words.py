"""Scores of text, by hand; and what n-gram features see."""

import numpy as np
import pytest
import torch

from maquette.evaluate.ngrams import EACH, Ngrams
from maquette.evaluate.scores.words import distinct, divergence, longest, repetition, verbatim, words
from maquette.media.text import Config

SHAKEN = [f"{a} {b} {c}." for a in "abcd" for b in "efgh" for c in "ijkl"]


def test_words_of_every_language() -> None:
    assert words("Don't stop, 2 cats") == ["Don", "'", "t", "stop", ",", "2", "cats"]
    assert words("我有ab兩隻cat。") == ["我", "有", "ab", "兩", "隻", "cat", "。"]
    assert words(" \n") == []


def test_distinct_pairs_by_hand() -> None:
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


def test_verbatim_passages_by_hand() -> None:
    corpus = b"the quick brown fox"
    assert longest(b"a quick brow", corpus) == 11 and longest(b"zzz", corpus) == 0 and longest(b"", corpus) == 0
    assert longest(corpus, corpus) == len(corpus)
    assert verbatim([b"quick", b"qZcZ"], corpus).value == pytest.approx((1 + 0.25) / 2)


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
    assert further["divergence"].value == pytest.approx(0, abs=1e-12) and further["verbatim"].value == 1
    assert set(further) == {"divergence", "distinct_2", "repetition", "verbatim"}
