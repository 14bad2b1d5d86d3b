"""The one exit: filter, visible label, mark, write, record, in this order and never around it."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from maquette.core import files
from maquette.core.errors import MaquetteError
from maquette.core.exit import Mark, emit


@dataclass
class Words:
    """A medium of text that notes what is asked of it."""

    suffix: str = ".txt"
    asked: list[str] = field(default_factory=list)

    def label(self, item: str, text: str) -> str:
        self.asked.append(f"label {item}")
        return f"[{text}] {item}"

    def encode(self, item: str, mark: Mark) -> bytes:
        self.asked.append(f"encode {item}")
        return json.dumps({"AIGC": mark.fields(), "text": item}).encode()


def marks(n: int) -> list[Mark]:
    return [Mark("0123456789abcdef" * 4, seed) for seed in range(n)]


def test_every_item_is_marked_written_and_recorded(tmp_path: Path) -> None:
    paths = emit(["a", "b"], ["one", "two"], Words(), tmp_path / "out", marks(2))
    assert [p.name for p in paths] == ["one.txt", "two.txt"]
    record = files.read_lines(tmp_path / "out" / "made.jsonl")
    for path, entry, seed in zip(paths, record, (0, 1), strict=True):
        assert json.loads(path.read_bytes())["AIGC"]["ProduceID"] == f"0123456789abcdef-{seed}"
        assert json.loads(path.read_bytes())["AIGC"]["Label"] == "1"
        assert entry["file"] == path.name and entry["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert entry["seed"] == seed and entry["made"].endswith("Z") and entry["generator"].startswith("maquette ")


def test_what_each_was_asked_to_be_is_recorded(tmp_path: Path) -> None:
    emit(["a", "b", "c"], ["one", "two", "three"], Words(), tmp_path, marks(3), labels=["day", "night"])
    assert [entry["label"] for entry in files.read_lines(tmp_path / "made.jsonl")] == ["day", "night", "day"]


def test_the_same_request_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = (emit(["a"], ["x"], Words(), tmp_path / d, marks(1))[0].read_bytes() for d in "12")
    assert one == two


def test_the_filter_comes_first_and_the_label_before_the_mark(tmp_path: Path) -> None:
    medium = Words()

    def allow(item: str) -> bool:
        medium.asked.append(f"allow {item}")
        return True

    path = emit(["a"], ["x"], medium, tmp_path, marks(1), visible="made", allow=allow)[0]
    assert medium.asked == ["allow a", "label a", "encode [made] a"]
    assert json.loads(path.read_bytes())["text"] == "[made] a"


def test_a_filter_that_does_not_say_yes_keeps_the_item_in(tmp_path: Path) -> None:
    for number, verdict in enumerate([False, None, 1, "yes", 0]):
        folder = tmp_path / str(number)
        with pytest.raises(MaquetteError, match="MQ-8002") as refused:
            emit(["good", "bad"], ["x", "y"], Words(), folder, marks(2), allow=lambda i, v=verdict: i == "good" or v)
        assert refused.value.exit_code == 8
        assert sorted(p.name for p in folder.iterdir()) == ["made.jsonl", "x.txt"], "what was allowed has left"


def test_a_filter_that_fails_keeps_the_item_in(tmp_path: Path) -> None:
    def broken(item: str) -> bool:
        raise RuntimeError("model not loaded")

    with pytest.raises(RuntimeError):
        emit(["a"], ["x"], Words(), tmp_path, marks(1), allow=broken)
    assert list(tmp_path.iterdir()) == []


def test_names_and_marks_must_match_the_items(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        emit(["a", "b"], ["x"], Words(), tmp_path, marks(2))
