"""Words as their tokens come: stop strings over several tokens and bytes, halves of characters, and the end."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.media import tokens
from maquette.media.heard import Heard, listen
from maquette.media.tokens import BYTES, MARKS, Byte, Tokenizer

END = MARKS.end


def spoken(tokenizer: Tokenizer, made: Sequence[int], stops: Sequence[str] = (), known: Sequence[int] = (END,)):
    """What is heard, and what was shown after each token."""
    heard = Heard(tokenizer, [*known, *[-1] * len(made)], 1, stops)
    shown = []
    for at in range(len(made)):
        heard.hear([*known, *made[: at + 1]][heard.places :])
        shown.append(heard.text[: heard.sure])
    heard.close()
    return heard, [*shown, heard.text]


def numbers(text: str) -> list[int]:
    return Byte().encode(text).tolist()


@pytest.mark.parametrize(
    ("text", "stops", "said"),
    [
        ("one, two", ["two"], "one, "),
        ("one, two", [", ", "one, t"], "one"),
        ("春眠不覺曉。處處", ["。"], "春眠不覺曉"),
        ("春眠不覺曉。處處", ["曉。處"], "春眠不覺"),
        ("aaab", ["aab"], "a"),
        ("abab", ["abc"], "abab"),
        ("ab", ["ab"], ""),
        ("ab", [], "ab"),
    ],
)
def test_a_text_is_cut_before_its_stop_string(text: str, stops: list[str], said: str) -> None:
    heard, shown = spoken(Byte(), numbers(text), stops)
    assert heard.text == said and heard.ended == ("stop" if said != text else "length")
    assert all(said.startswith(part) for part in shown) and "\ufffd" not in "".join(shown)
    assert heard.places == 1 + len(numbers(text)) - len(numbers(text.partition(heard_stop(text, stops))[2]))


def heard_stop(text: str, stops: list[str]) -> str:
    """The stop string that is complete first."""
    found = [(text.find(stop) + len(stop), stop) for stop in stops if stop in text]
    return min(found)[1] if found else text


def test_a_stop_string_may_be_cut_across_learnt_pieces() -> None:
    pytest.importorskip("tokenizers")
    made = tokens.make("bpe", tokens.learn("bpe", ["User: hello\nBot: hi there\n" * 50], 300))
    pieces = made.encode("hi there\nUser: hello").tolist()
    assert len(pieces) < len("hi there\nUser: hello") / 2
    heard, shown = spoken(made, pieces, ["\nUser"])
    assert heard.text == "hi there" and not any("\n" in part for part in shown)


def test_what_was_given_ends_nothing() -> None:
    heard, _ = spoken(Byte(), numbers("c"), ["b", "bc"], known=[END, *numbers("ab")])
    assert heard.text == "abc" and heard.ended == "length"
    heard, _ = spoken(Byte(), numbers("cbc"), ["bc"], known=[END, *numbers("ab")])
    assert heard.text == "abc" and heard.ended == "stop"


def test_an_end_that_is_made_stops_and_one_that_is_known_says_how_long() -> None:
    heard, _ = spoken(Byte(), [*numbers("ab"), END, *numbers("c")])
    assert (heard.text, heard.ended, heard.places) == ("ab", "stop", 4)
    bounded = Heard(Byte(), [END, -1, -1, END, END], 1)
    bounded.hear([*numbers("ab"), END, END])
    assert (bounded.text, bounded.ended, bounded.over) == ("ab", "length", True)


def test_halves_of_characters_are_held_back_and_shown_as_such_when_nothing_comes() -> None:
    half = numbers("曉")[:2]
    heard, shown = spoken(Byte(), [*numbers("a"), *half])
    assert shown == ["a", "a", "a", "a\ufffd"]
    heard, _ = spoken(Byte(), [*half, *numbers("a")])
    assert heard.text == "\ufffda"
    heard, _ = spoken(Byte(), [*half, END])
    assert (heard.text, heard.ended) == ("\ufffd", "stop")
    heard, _ = spoken(Byte(), [BYTES + 0xFF, *numbers("b")])
    assert heard.text == "\ufffdb"


@given(st.text("ab曉", max_size=12), st.lists(st.text("ab曉", min_size=1, max_size=4), max_size=3))
@settings(max_examples=300, deadline=None)
def test_nothing_is_shown_that_is_taken_back(text: str, stops: list[str]) -> None:
    heard, shown = spoken(Byte(), numbers(text), stops)
    assert heard.text == shown[-1]
    assert all(after.startswith(before) for before, after in itertools.pairwise(shown))
    assert not any(stop in heard.text for stop in stops)
    if not any(stop in text for stop in stops):
        assert heard.text == text
    else:
        assert text.startswith(heard.text) and any(text[len(heard.text) :].startswith(stop) for stop in stops)


def test_several_rows_are_heard_together() -> None:
    start = np.array([[END, *numbers("ab"), -1, -1], [END, -1, -1, -1, -1]])
    rows = [Heard(Byte(), row.tolist(), 1, ["bb"]) for row in start]
    x = torch.tensor([[END, *numbers("ab"), *numbers("cd")], [END, *numbers("abba")]])
    assert listen(rows, x[:, :3]).tolist() == [False, False]
    assert listen(rows, x[:, :4]).tolist() == [False, True]
    assert listen(rows, x, to_the_end=True).tolist() == [True, True]
    assert [(row.text, row.ended) for row in rows] == [("abcd", "length"), ("a", "stop")]
