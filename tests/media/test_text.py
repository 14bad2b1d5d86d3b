"""The text medium: files and rows to windows of tokens, and samples to files."""

from pathlib import Path

import numpy as np
import pytest
import torch

from maquette.core.errors import MaquetteError
from maquette.core.exit import Mark
from maquette.media.text import Config, Text
from maquette.media.tokens import LEARNT, MARKS

END, PROMPT, ANSWER = MARKS


def medium(**settings) -> Text:
    return Config(**({"tokenizer": "character", "vocabulary": "abcdefgh ", "length": 8} | settings)).build()


def cut(text: Text, *documents: str) -> list[list[int]]:
    cutter = text.cutter()
    windows = [window for d in documents for window in cutter.put(text.from_bytes(d.encode(), d))] + cutter.rest()
    assert all(window.shape == text.stored and window.dtype == text.dtype for window in windows)
    return [window.tolist() for window in windows]


def numbers(text: str) -> list[int]:
    return [LEARNT + "abcdefgh ".index(c) for c in text]


def test_windows_by_hand() -> None:
    assert cut(medium(), "abc", "de") == [[END, *numbers("abc"), END, *numbers("de"), END, END]]
    long = "abcdefghabcd"  # a window begins with the last token of the one before it
    assert cut(medium(), long) == [[END, *numbers("abcdefgh")], [*numbers("habcd"), END, END, END, END]]
    # the second document would fit into a window of its own, so it is not cut
    assert cut(medium(), "abcd", "efgh") == [[END, *numbers("abcd"), *[END] * 4], [END, *numbers("efgh"), *[END] * 4]]
    assert len(cut(medium(alone=True), "a", "b", "c")) == 3


def test_every_token_is_predicted_once() -> None:
    text = medium()
    document = "abcdefgh " * 11
    x = text.to_tensor(np.array(cut(text, document)))
    assert int(text.units(x).sum()) == len(document)


def test_questions_and_answers() -> None:
    text = medium(asks=True, length=16)
    row = text.from_record({"prompt": "ab", "response": "cd"}, "row")
    assert row.tolist() == [END, PROMPT, *numbers("ab"), ANSWER, *numbers("cd")]
    talk = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}, {"role": "assistant", "content": "c"}]
    assert text.from_record({"messages": talk}, "row").tolist() == [
        END, PROMPT, *numbers("a"), PROMPT, *numbers("b"), ANSWER, *numbers("c"),
    ]  # fmt: skip
    assert text.asked("ab").tolist() == [END, PROMPT, *numbers("ab"), ANSWER]
    item = np.array([END, PROMPT, *numbers("ab"), ANSWER, *numbers("cd"), END, *numbers("ef")])
    assert text.words(item) == "cd"
    assert medium().asked("ab").tolist() == [END, *numbers("ab")]
    assert text.asked("e", [("ab", "cd")]).tolist() == [*row.tolist(), PROMPT, *numbers("e"), ANSWER]
    with pytest.raises(MaquetteError, match="MQ-2130"):
        text.asked(" ")
    with pytest.raises(MaquetteError, match="MQ-2104"):
        medium().asked("e", [("ab", "cd")])


def test_templates_letters_and_tokens_by_themselves() -> None:
    text = medium(vocabulary="abcdefgh 曉")
    assert text.template("□b□").tolist() == [-1, LEARNT + 1, -1]
    spelt = text.spell(range(text.space.vocab))
    assert spelt[:3] == ["", "", ""] and spelt[3 + 0x61] == spelt[LEARNT] == "a" and spelt[3 + 0xE6] == "<0xE6>"
    assert {spelt[i] for i in text.letters(False).nonzero()[:, 0]} == {
        *map(chr, [*range(65, 91), *range(97, 123)]),
        "曉",
    }
    assert text.letters(True).nonzero()[:, 0].tolist() == [LEARNT + 9]
    with pytest.raises(MaquetteError, match="MQ-2131"):
        medium().letters(True)
    with pytest.raises(MaquetteError, match="MQ-2121.*template is 9 tokens"):
        text.template("□" * 9)


def test_documents_are_put_together_again() -> None:
    documents = ["abcdefgh abcdefgh abc", "a", "bcdefgh", "abc", "abcdefgh", "hgfedcba hgfedcba"]
    for size in (4, 7, 8, 9, 30):
        text = medium(length=size)
        items = np.array(cut(text, *documents), text.dtype)
        assert list(text.documents(items)) == documents


def test_a_document_far_too_long_is_refused_before_it_is_encoded() -> None:
    with pytest.raises(MaquetteError, match="MQ-3001(.|\n)*more than 4,194,304 characters"):
        medium().from_record({"text": "a" * (5 << 20)}, "row 1")
    with pytest.raises(MaquetteError, match="MQ-2121.*more than 8 tokens"):
        medium().asked("a" * 50_000_000)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"prompt": "a", "response": " "}, "empty"),
        ({"text": ""}, "empty"),
        ({"messages": [{"role": "user", "content": "a"}]}, "assistant"),
        ({"messages": "nothing"}, "JSON"),
        ({"messages": [1]}, "role, content"),
    ],
)
def test_a_row_without_words_is_refused(record: dict, reason: str) -> None:
    with pytest.raises(MaquetteError, match=reason):
        medium().from_record(record, "row 3")


@pytest.mark.parametrize(("data", "reason"), [(b"", "empty"), (b" \n", "empty"), (b"abc\xff", "byte 3")])
def test_a_file_without_text_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(MaquetteError, match=rf"MQ-3001(.|\n)*{reason}"):
        medium().read(tmp_path / "a.txt")
    with pytest.raises(MaquetteError, match="MQ-3001"):
        medium().read(tmp_path / "missing.txt")


def test_a_prompt_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(MaquetteError, match="MQ-2121.*9 tokens"):
        medium().asked("abcdefgh")


def test_a_made_file_carries_its_mark_and_is_read_without_it(tmp_path: Path) -> None:
    text = medium(length=32)
    item = np.array([END, *numbers("abc abc"), *[END] * 25])
    data = text.encode(item, Mark(model="ab" * 32, seed=3))
    assert data.startswith(b'---\nAIGC: {"Label": "1"') and data.endswith(b"---\n\nabc abc")
    (tmp_path / "made.md").write_bytes(data)
    assert text.read(tmp_path / "made.md").tolist() == [END, *numbers("abc abc")]
    assert text.words(text.label(item, "ab")) == "ab\nabc abc"


def test_samples_and_items_are_one_another() -> None:
    text = medium()
    items = np.random.default_rng(0).integers(0, text.space.vocab, (5, 9)).astype(np.uint16)
    x = text.to_tensor(items)
    assert x.dtype == torch.int64 and np.array_equal(text.from_tensor(x), items)
    assert text.sheet(items).startswith(b"\x89PNG")


def test_the_words_end_at_the_first_end() -> None:
    assert medium().words(np.array([END, *numbers("ab"), END, *numbers("cdefg")])) == "ab"
    assert medium().words(np.array([*numbers("abcdefgha")])) == "abcdefgha"


def test_a_question_that_is_too_long_loses_its_end_and_never_its_answer() -> None:
    text = medium(asks=True, length=8)
    row = text.from_record({"prompt": "abcdefgh", "response": "cd"}, "row")
    assert row.tolist() == [END, PROMPT, *numbers("abcdefgh"), ANSWER, *numbers("cd")]
    cutter = text.cutter()
    assert [w.tolist() for w in cutter.put(row) + cutter.rest()] == [
        [END, PROMPT, *numbers("abcd"), ANSWER, *numbers("cd")],
    ]  # fmt: skip
    long = text.from_record({"prompt": "ab", "response": "abcdefgh"}, "row")
    [first, second] = cutter.put(long) + cutter.rest()
    assert first.tolist() == [END, PROMPT, *numbers("a"), ANSWER, *numbers("abcde")]
    assert second[:4].tolist() == numbers("efgh")
    assert len(text.from_record({"text": "abcdefgh" * 3}, "row")) == 25
    learnt = Config(asks=True, length=8).learnt(
        lambda plain: [plain.from_record({"prompt": "x" * 99 + "y", "response": "z"}, "")]
    )
    assert learnt.vocabulary == "xyz"


def test_the_suffixes_of_files_can_be_chosen() -> None:
    assert medium().suffixes == {".txt", ".md"} and medium(suffixes=(".py",)).suffixes == {".py"}
    for wrong in ((), ("py",), (".PY",)):
        with pytest.raises(MaquetteError, match="MQ-2002"):
            medium(suffixes=wrong)
