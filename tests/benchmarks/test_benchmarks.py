"""The benchmarks' own arithmetic, and that every row and contestant is what the pages say; peers are not needed."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import contestants, harness, quality, speed, tasks
from benchmarks.harness import Measured, Round
from maquette.verbs.recipes import read, recipes


@pytest.mark.parametrize("row", speed.ROWS)
def test_a_row_pairs_contestants_that_it_has(row: str) -> None:
    module = importlib.import_module(f"benchmarks.rows.{row}")
    assert module.TITLE and module.UNIT
    assert {name for ours, peer, _ in module.PAIRS for name in (ours, peer)} <= set(module.CONTESTANTS)


def test_rows_and_contestants_are_in_the_page() -> None:
    page = (harness.HERE / "README.md").read_text(encoding="utf-8")
    assert [row for row in speed.ROWS if f"`{row}`" not in page] == []
    assert [name for name in quality.NAMES if ": " in name and f"`{name}`" not in page] == []
    assert list(contestants.CONTESTANTS) == quality.NAMES


def test_rates_are_medians_and_disturbance_is_wall_beyond_processor_time() -> None:
    rounds = [Round(10, 1.0, 2.0, 0.1), Round(10, 2.0, 2.0, 3.0), Round(10, 4.0, 2.0, 9.0)]
    measured = Measured("a", {"threads": 2}, rounds)
    assert measured.rate == 5 and measured.cpu_rate == 5
    assert [r.disturbed(2) for r in rounds] == [False, True, True]
    assert measured.to_tree()["disturbed_rounds"] == 2


@pytest.fixture
def row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A row of two contestants in a package that children find too: one works, the other cannot be had."""
    (tmp_path / "benchmarks" / "rows").mkdir(parents=True)
    (tmp_path / "benchmarks" / "worker.py").write_text((harness.HERE / "worker.py").read_text())
    (tmp_path / "benchmarks" / "rows" / "toy.py").write_text(
        "def one():\n    return lambda: 3, {'value': 1}\n\n\n"
        "def other():\n    raise FileNotFoundError('no such checkout')\n\n\n"
        "CONTESTANTS = {'one': one, 'other': other}\n"
    )
    monkeypatch.setattr(harness, "ROOT", tmp_path)
    return "toy"


def test_contestants_take_turns_and_who_is_missing_is_said(row: str) -> None:
    one, other = harness.interleave(row, ["one", "other"], rounds=3, seconds=0.01)
    assert len(one.rounds) == 3 and one.facts["value"] == 1 and one.rate > 0
    assert "no such checkout" in other.failed and not other.rounds
    assert sys.executable


def test_the_table_of_speed_is_made_of_what_was_measured() -> None:
    machine = {"processor": "P", "cores": 2, "torch": "2", "when": "2026-01-02 03:04", "load": 0.0}
    contestants = {"ours": {"rate": 30.0}, "theirs": {"rate": 10.0}, "absent": {"failed": "why"}}
    pair = {"ours": "ours", "peer": "theirs", "goal": 2.0, "wall_and_cpu_ratio": [3.0, 2.5]}
    tree = {"title": "T", "unit": "images", "machine": machine, "pairs": [pair], "contestants": contestants}
    lines = speed.table({"row": tree}).splitlines()
    assert lines[2] == "| T | ours | 30.00 images | theirs | 3.00 | 2.50 | 2.0 |"
    assert lines[3] == "| T | theirs | 10.00 images |  |  |  |  |"
    assert lines[4].startswith("| T | absent | not measured |")


def test_the_table_of_quality_states_each_claim() -> None:
    facts = {"seconds": 600, "steps": 10, "parameters": 20, "samples_per_second": 5.0, "machine": harness.machine()}
    tree = {
        "results": {"gan": facts | {"fid": 6.0}, "gan: pytorch/examples": facts | {"fid": 10.0}},
        "floors": {"fid": 1.0},
        "stamp": {"extractor": "domain", "weights": "0" * 64, "made": 2000, "real": 2000, "split": "test"},
    }
    text = quality.table(json.loads(json.dumps(tree)))
    assert "gan : gan: pytorch/examples, fid: 0.600 (goal: at most 0.7)" in text
    assert "| real against real |" in text and "vae" not in text


def test_text_is_put_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table -->\nold\n<!-- /table -->\nafter\n")
    harness.put_between(page, "table", "new")
    assert page.read_text() == "before\n<!-- table -->\nnew\n<!-- /table -->\nafter\n"


def test_children_run_side_by_side_and_one_that_fails_stops_nobody(tmp_path: Path, capsys) -> None:
    """Scripts in place of contestants: each writes the cores that it was given; one fails with a reason."""

    def start(name: str, cores: list[int]) -> tuple[subprocess.Popen, Path]:
        code = f"import sys; sys.exit('no data') if {name!r} == 'b' else print({cores})"
        with open(tmp_path / name, "w") as log:
            return subprocess.Popen([sys.executable, "-c", code], stdout=log, stderr=log), tmp_path / name

    harness.side_by_side(["a", "b", "c"], 1, start)
    assert len(json.loads((tmp_path / "a").read_text())) == len(json.loads((tmp_path / "c").read_text())) == 1
    said = capsys.readouterr().out
    assert "b was not measured: no data" in said and "a was not" not in said
    harness.side_by_side(["a"], 10_000, start)  # more cores than there are
    assert len(json.loads((tmp_path / "a").read_text())) == len(os.sched_getaffinity(0))


def score(name: str, value: float, *baselines: float) -> dict:
    others = {f"way {b}": {"value": b, "low": b - 1, "high": b + 1} for b in baselines}
    return {"name": name, "value": value, "low": value - 1, "high": value + 1, "baselines": others}


def test_the_table_of_tasks_says_who_is_ahead() -> None:
    found = [score("chrf", 30.0, 20.0, 10.0), score("bleu", 11.0, 10.0), score("likelihood", 2.0)]
    answered = {one["name"]: one for one in found}
    common = {"steps": 1000, "minutes": 10.0, "machine": harness.machine()}
    tree = {
        "English to Chinese": common
        | {"recipe": "translate", "data": "pairs", "scores": answered, "examples": [["a | b", "甲", "乙\n丙"]]},
        "films": common
        | {
            "recipe": "classify",
            "data": "f",
            "scores": {"accuracy": score("accuracy", 5.0, 9.0)},
            "examples": [["x", "y"]],
        },
    }
    lines = tasks.table(tree).splitlines()
    assert lines[2].startswith(
        "| English to Chinese (translate, `pairs`) | 10 | 1,000 | chrF | 30 (29 to 31) | way 20.0 20"
    )
    assert [line.split("|")[-2].strip() for line in lines[2:6]] == ["ahead", "not told apart", "", "behind"]
    assert "| a \\| b | 甲 | 乙 丙 |" in lines and "| label | made for it |" in lines


def test_a_task_that_was_measured_otherwise_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "HERE", tmp_path)
    assert not tasks.measured("films", 2)
    harness.write_json(tasks.folder_of("films") / "facts.json", tasks.terms("films", 2) | {"steps": 3})
    assert tasks.measured("films", 2) and not tasks.measured("films", 3)


def test_tasks_are_recipes_that_are_there() -> None:
    names = {recipe.name.rpartition("/")[2] for recipe in recipes()}
    for task in tasks.TASKS.values():
        assert task.recipe in names
        read(task.recipe, task.overrides)
