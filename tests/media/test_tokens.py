"""Text <-> tokens, of every kind."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.core.errors import MaquetteError
from maquette.media import tokens
from maquette.media.tokens import BYTES, LEARNT, MARKS

CORPUS = [
    "It was the best of times, it was the worst of times.\n" * 20,
    "春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多少。\n" * 20,
]
KINDS: list[tokens.Kind] = ["byte", "character", "bpe", "unigram"]


@pytest.fixture(scope="module")
def made() -> dict[str, tokens.Tokenizer]:
    pytest.importorskip("tokenizers")
    return {kind: tokens.make(kind, tokens.learn(kind, CORPUS, 320)) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@given(st.text())
@settings(max_examples=200, deadline=None)
def test_any_unicode_comes_back(made: dict[str, tokens.Tokenizer], kind: str, text: str) -> None:
    tokenizer = made[kind]
    found = tokenizer.encode(text)
    assert found.dtype == np.int64 and (found >= BYTES).all() and (found < tokenizer.vocab).all()
    assert tokenizer.decode(found) == text
    assert tokenizer.sizes[found].sum() == len(text.encode())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", [*CORPUS, "", "\r\n\t \x00", "🎉👩‍👩‍👧 é é", "\ud800", "a\ud800b"])
def test_hard_texts_come_back(made: dict[str, tokens.Tokenizer], kind: str, text: str) -> None:
    assert made[kind].decode(made[kind].encode(text)) == text


def test_what_was_learnt_is_shorter(made: dict[str, tokens.Tokenizer]) -> None:
    lengths = {kind: [len(made[kind].encode(text)) for text in CORPUS] for kind in KINDS}
    assert lengths["byte"] == [len(text.encode()) for text in CORPUS]
    assert lengths["character"] == [len(text) for text in CORPUS]
    assert 2 * lengths["bpe"][0] < lengths["byte"][0] and lengths["unigram"][0] < lengths["byte"][0], lengths


def test_an_alphabet_holds_the_most_frequent_characters_in_order() -> None:
    assert tokens.learn("character", ["bca", "ba", "b"], LEARNT + 2) == "ab"
    tokenizer = tokens.make("character", "ab")
    assert tokenizer.vocab == LEARNT + 2
    assert tokenizer.encode("abc").tolist() == [LEARNT, LEARNT + 1, BYTES + ord("c")]


def test_marks_are_no_text_and_bytes_that_are_none_are_shown_as_such(made: dict[str, tokens.Tokenizer]) -> None:
    for tokenizer in made.values():
        assert tokenizer.sizes[list(MARKS)].tolist() == [0, 0, 0]
        assert tokenizer.decode(np.array([MARKS.end, BYTES + 0x61, MARKS.answer])) == "a"
        assert tokenizer.decode(np.array([BYTES + 0xE4, BYTES + 0xBD])) == "�"


@pytest.mark.parametrize(("kind", "vocabulary"), [("bpe", "a b c"), ("unigram", "a\nb"), ("unigram", "a x")])
def test_a_vocabulary_of_another_kind_is_refused(kind: tokens.Kind, vocabulary: str) -> None:
    with pytest.raises(MaquetteError, match=r"MQ-2009.*vocabulary"):
        tokens.make(kind, vocabulary).encode("a")


def test_a_learnt_vocabulary_survives_as_one_string(made: dict[str, tokens.Tokenizer]) -> None:
    for kind in KINDS:
        vocabulary = tokens.learn(kind, CORPUS, 320)
        once, again = tokens.make(kind, vocabulary), tokens.make(kind, vocabulary)
        assert all((again.encode(text) == once.encode(text)).all() for text in CORPUS)
        if kind != "unigram":  # whose trainer in `tokenizers` is not the same twice
            assert vocabulary == tokens.learn(kind, CORPUS, 320)
            assert all((again.encode(text) == made[kind].encode(text)).all() for text in CORPUS)
