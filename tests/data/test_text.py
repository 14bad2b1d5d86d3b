"""Text from files, folders, tables and the embedded set, packed as windows."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maquette.core.errors import MaquetteError
from maquette.core.sequences import exchanges
from maquette.data.dataset import TEST, TRAIN
from maquette.data.folder import pieces
from maquette.data.source import Data, documents, find, open_data
from maquette.media.points import Config as PointsConfig
from maquette.media.text import Config, Text
from maquette.media.tokens import MARKS

MEDIUM = Config(tokenizer="byte", length=32).build()


def words(items: np.ndarray, medium: Text = MEDIUM) -> str:
    """Everything in the windows, the overlapping first tokens left out."""
    return medium.tokenizer.decode(np.concatenate([items[0], *(item[1:] for item in items[1:])]))


def test_a_folder_of_files_is_a_set_of_documents(tmp_path: Path) -> None:
    for i in range(40):
        (tmp_path / f"{i}.txt").write_text(f"document number {i}, " * 3, encoding="utf-8")
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "photo.png").write_bytes(b"")
    data = open_data(Data(source=str(tmp_path), max_bad=0.1), MEDIUM)
    assert [name for name, _ in data.bad] == ["bad.txt"] and data.ignored == {".png": 1}
    text = words(data.train.items) + words(data.test.items)
    assert all(f"document number {i}," in text for i in range(40))
    assert "number" not in set(data.classes) and len(data.test) > 0


def test_a_document_is_in_one_split_only(tmp_path: Path) -> None:
    for i in range(60):
        (tmp_path / f"{i}.txt").write_text(f"<{i}>" * 20, encoding="utf-8")
    data = open_data(Data(source=str(tmp_path)), MEDIUM)
    learnt, held = words(data.train.items), words(data.test.items)
    assert not [i for i in range(60) if f"<{i}>" in learnt and f"<{i}>" in held]


def test_files_named_for_splits_are_those_splits(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("learn " * 50)
    (tmp_path / "validation.txt").write_text("held " * 50)
    data = open_data(Data(source=str(tmp_path)), MEDIUM)
    assert "held" not in words(data.train.items) and "learn" not in words(data.test.items)


def test_a_single_file_is_a_source(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("".join(f"line {i} of a long book\n" for i in range(10_000)))
    data = open_data(Data(source=str(tmp_path / "book.txt")), MEDIUM)
    assert 0.01 < len(data.test) / (len(data.train) + len(data.test)) < 0.5


@pytest.mark.parametrize("side", [0.05, 0.5], ids=["all held out", "all learnt"])
def test_the_end_of_a_stream_that_fell_on_one_side_is_held_out(side: float, tmp_path: Path, monkeypatch) -> None:
    """As one does whose pieces are all alike."""
    monkeypatch.setattr("maquette.data.pack._hash", lambda item, seed: side)
    text = "".join(f"{i:04}" for i in range(800))
    (tmp_path / "a.txt").write_text(text)
    data = open_data(Data(source=str(tmp_path / "a.txt")), MEDIUM)
    assert [len(part) for split in (data.train, data.test) for part in (split.items, split.labels, split.names)] == [
        90, 90, 90, 10, 10, 10,
    ]  # fmt: skip
    assert words(np.concatenate([data.train.items, data.test.items])) == text


def test_a_large_file_is_cut_at_line_ends_and_never_inside_a_character(tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("".join(f"{i} 春眠不覺曉\n" for i in range(5_000)), encoding="utf-8")
    one = tmp_path / "one.txt"
    one.write_text("春眠不覺曉" * 20_000, encoding="utf-8")
    for path in (lines, one):
        parts = pieces(path, 10_000)
        data = path.read_bytes()
        assert parts[0][0] == 0 and parts[-1][1] == len(data) and len(parts) > 5
        assert all(a[1] == b[0] for a, b in zip(parts, parts[1:], strict=False))
        assert max(end - start for start, end in parts) <= 15_000
        assert "".join(data[start:end].decode() for start, end in parts) == data.decode()
    assert all(lines.read_bytes()[end - 1 : end] == b"\n" for _, end in pieces(lines, 10_000))
    assert pieces(tmp_path / "missing.txt", 10) == []


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_tables_of_questions_and_answers(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pairs{suffix}"
    rows = [{"en": f"question {i}", "zh": f"回答{i}"} for i in range(30)]
    if suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    else:
        path.write_text("en,zh\n" + "\n".join(f"{r['en']},{r['zh']}" for r in rows), encoding="utf-8")
    medium = Config(tokenizer="byte", length=64, asks=True).build()
    found = list(find(str(path), medium, columns={"prompt": "en", "response": "zh"}).read().rows)
    assert len(found) == 30 and medium.words(found[7].load()) == "回答7"
    with pytest.raises(MaquetteError, match=r"MQ-3014.*|no column"):
        find(str(path), medium)


def test_labels_stay_with_documents_that_are_alone(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"{k} {i}", "label": k}) for i in range(30) for k in ("good", "bad")))
    medium = Config(tokenizer="byte", length=32, alone=True).build()
    data = open_data(Data(source=str(path), conditional=True), medium)
    assert data.classes == ["bad", "good"]
    for item, label in zip(data.train.items, data.train.labels, strict=True):
        assert medium.words(item).startswith(data.classes[label])
    with pytest.raises(MaquetteError, match="MQ-3012"):
        open_data(Data(source=str(path), conditional=True), Config(tokenizer="byte", length=32).build())


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_another_column_can_be_the_label(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"poems{suffix}"
    rows = [{"line": f"{n} characters {i}", "width": n} for i in range(30) for n in (5, 7)]
    if suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows))
    else:
        path.write_text("line,width\n" + "\n".join(f"{row['line']},{row['width']}" for row in rows))
    medium = Config(tokenizer="byte", length=32, alone=True).build()
    columns = {"text": "line", "label": "width"}
    data = open_data(Data(source=str(path), conditional=True, columns=columns), medium)
    assert data.classes == ["5", "7"]
    assert all(medium.words(x)[0] == data.classes[y] for x, y in zip(data.train.items, data.train.labels, strict=True))
    with pytest.raises(MaquetteError, match=r"MQ-3002.*'size'|no column 'size'"):
        open_data(Data(source=str(path), columns={"text": "line", "label": "size"}), medium)


def test_a_folder_of_programs(tmp_path: Path) -> None:
    for i in range(20):
        (tmp_path / f"module_{i}.py").write_text(f"def number() -> int:\n    return {i}\n")
    (tmp_path / "notes.txt").write_text("not a program")
    medium = Config(tokenizer="byte", length=32, suffixes=(".py",)).build()
    data = open_data(Data(source=str(tmp_path)), medium)
    assert data.ignored == {".txt": 1} and "def number() -> int:" in words(data.train.items, medium)
    assert open_data(Data(source=str(tmp_path)), MEDIUM).ignored == {".py": 20}


def test_the_standard_library_needs_no_download() -> None:
    source = find("stdlib", Config(tokenizer="byte", length=256, suffixes=(".py",)).build())
    reading = source.read()
    rows = {row.name: row for row in reading.rows}
    assert reading.count == len(rows) > 100 and "PSF" in reading.licence
    assert "def dataclass(" in MEDIUM.passage(rows["stdlib/dataclasses.py"].load())
    with pytest.raises(MaquetteError, match="MQ-3011"):
        find("stdlib", PointsConfig().build())


def test_another_vocabulary_is_another_pack(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abc " * 500)
    prints = {
        open_data(Data(source=str(tmp_path)), Config(vocabulary=letters, length=32).build()).fingerprint
        for letters in ("abc ", "ab", "abc ")
    }
    assert len(prints) == 2


def test_the_vocabulary_is_learnt_from_training_rows_alone(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("aabb")
    (tmp_path / "test.txt").write_text("ccdd")
    data = Data(source=str(tmp_path))
    config = Config().learnt(lambda medium: documents(data, medium))
    assert config.vocabulary == "ab" and config.learnt(lambda medium: []) is config


def own_words(n: int) -> list[str]:
    """Words of a letter that no other has."""
    return [chr(0x4E00 + i) * 3 for i in range(n)]


def held_back(data: Data, config: Config) -> str:
    medium = config.build()
    return words(open_data(data, medium).test.items, medium)


@pytest.mark.parametrize("asks", [False, True], ids=["texts", "questions longer than a window"])
def test_the_vocabulary_learns_nothing_from_rows_that_are_tested_on(tmp_path: Path, asks: bool) -> None:
    """Which rows these are does not depend on it: in bytes they are the same."""
    own, path = own_words(80), tmp_path / "rows.jsonl"
    rows = [{"prompt": f"{word} {'why ' * 20}", "response": word} if asks else {"text": f"{word}, so"} for word in own]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    data, config = Data(source=str(path)), Config(asks=asks, length=40)
    learnt = config.learnt(lambda medium: documents(data, medium))
    held, in_bytes = held_back(data, learnt), held_back(data, replace(config, tokenizer="byte"))
    unseen = {word for word in own if word in held}
    assert 0 < len(unseen) < 20 and unseen == {word for word in own if word in in_bytes}
    assert unseen == {word for word in own if word[0] not in learnt.vocabulary}


@pytest.mark.parametrize("alone", [False, True], ids=["a stream", "documents alone"])
def test_nor_from_what_is_held_out_of_the_few_that_fell_on_one_side(
    alone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maquette.data.pack._hash", lambda content, seed: 0.5 + content[6] / 1000)
    own, path = own_words(10), tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in (own if alone else ["".join(own)])))
    data, config = Data(source=str(path)), Config(alone=alone, length=16 if alone else 4)
    learnt = config.learnt(lambda medium: documents(data, medium))
    assert len(learnt.vocabulary) == 9 and not set(learnt.vocabulary) & set(held_back(data, learnt))


def test_pydoc_needs_no_download() -> None:
    data = open_data(Data(source="pydoc"), Config(tokenizer="byte", length=256).build())
    assert len(data.train) > 1000 and len(data.test) > 50 and "PSF" in data.licence
    with pytest.raises(MaquetteError, match="MQ-3011"):
        find("ring8", MEDIUM)


def test_the_splits_have_names(tmp_path: Path) -> None:
    for split in (TRAIN, TEST):
        (tmp_path / split).mkdir()
        (tmp_path / split / "a.md").write_text(f"{split} " * 30)
    data = open_data(Data(source=str(tmp_path)), MEDIUM)
    assert "test" not in words(data.train.items) and "train" not in words(data.test.items)


REAL = {
    "tatoeba_en_zh": {"prompt": "en", "response": "zh"},
    "scitldr": {"prompt": "document", "response": "summary"},
    "dialogue_sgd": {},
    "faq_chatterbot": {},
    "banking77": {},
    "reviews_zh": {},
    "movie_sentences_en": {},
    "tang_poems": {"label": "chars_per_line"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_tasks_of_the_test_data(name: str) -> None:
    """The data sets of `benchmarks/tasks.py`, with their own splits, as pairs or as texts with labels."""
    pytest.importorskip("datasets")
    import os

    folder = Path(os.environ.get("MAQUETTE_TEST_DATA", "../shared/data")).resolve() / name
    if not folder.is_dir():
        pytest.skip("the test data are not here")
    columns = REAL[name]
    labelled = name in ("banking77", "reviews_zh", "movie_sentences_en", "tang_poems")
    length = 512 if labelled else 4096
    medium = Config(tokenizer="byte", length=length, asks=not labelled, alone=labelled).build()
    data = open_data(Data(source=str(folder), columns=columns, conditional=labelled), medium)
    assert len(data.train) > len(data.test) > 0
    if labelled:
        assert len(data.classes) >= 2 and (data.train.labels >= 0).all() and (data.test.labels >= 0).all()
    else:
        pairs = [pair for item in data.test.items for pair in exchanges(item, MARKS)]
        assert len(pairs) > 50 and all(medium.passage(question) for question, _ in pairs)


def test_real_tables_of_the_test_data() -> None:
    pytest.importorskip("datasets")
    import os

    folder = Path(os.environ.get("MAQUETTE_TEST_DATA", "../shared/data")).resolve() / "tatoeba_en_zh"
    if not folder.is_dir():
        pytest.skip("the test data are not here")
    medium = Config(tokenizer="byte", length=128, asks=True).build()
    data = open_data(Data(source=str(folder), columns={"prompt": "en", "response": "zh"}), medium)
    assert len(data.train) > 1000 and len(data.test) > 50
