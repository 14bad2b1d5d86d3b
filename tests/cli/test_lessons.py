"""The tutorials' listings as commands: found by any of their numbers, shown as they run, done in tiny form."""

import re
import tomllib
from pathlib import Path

import pytest

from maquette.cli.lessons import find, lessons
from maquette.cli.main import main
from maquette.cli.parser import parse
from maquette.core.errors import MaquetteError
from maquette.evaluate.report import KINDS
from maquette.verbs.env import NEEDED

FIGURES = {1, 18, 24, 39, 56}
"""Listings that are drawings; docs/tutorials.md draws them rightly."""


def test_every_listing_has_its_lesson() -> None:
    numbers = [number for lesson in lessons() for number in lesson.listings]
    assert len(numbers) == len(set(numbers)) and set(numbers) | FIGURES == set(range(1, 59))
    assert {lesson.figure for lesson in lessons()} - {""} <= KINDS.keys()


def test_a_lesson_is_found_by_its_name_and_by_its_listings() -> None:
    assert find("tutorial/13").name == find("tutorial/16").name == find("13-dcgan").name == "13-dcgan"
    for name in ("tutorial/1", "tutorial/13-dcgann", "99", "²"):
        with pytest.raises(MaquetteError, match="MQ-2170"):
            find(name)


@pytest.mark.parametrize("lesson", lessons(), ids=lambda lesson: lesson.name)
@pytest.mark.parametrize("tiny", [True, False], ids=["tiny", "full"])
def test_its_commands_can_be_asked_for(lesson, tiny: bool) -> None:
    for words in lesson.commands(Path("out"), None, tiny):
        parse(words)
        assert not any("{data}" in word or "{budget}" in word or "{n}" in word or "{out}" in word for word in words)
        assert not any(word in ("0", "") for word in words)


def test_the_list_is_in_both_languages(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    for language, words in (("en", "the VAE's loop"), ("zh", "带 KL 项的 VAE 循环")):
        monkeypatch.setenv("MAQUETTE_LANG", language)
        assert main(["recipes", "--tutorials"]) == 0
        assert words in capsys.readouterr().out


def test_a_lesson_leaves_its_report_and_tells_its_figure(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["run", "tutorial/3", "--tiny", "--out", str(tmp_path / "made")]) == 0
    said = capsys.readouterr().err
    assert f"$ maquette train points-gan --data ring8 --budget 20steps --out {tmp_path}/made/run" in said
    assert "Modes found" in said and "(real samples 8)" in said and "aim: at least 8" in said
    assert (tmp_path / "made" / "run" / "report.html").exists()


def test_a_mistake_on_the_way_is_the_lesson_s(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    asked = ["run", "tutorial/3", "--tiny", "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "made")]
    assert main(asked) == 3
    assert "MQ-3013" in capsys.readouterr().err and not (tmp_path / "made").exists()


@pytest.mark.slow
@pytest.mark.parametrize("lesson", lessons(), ids=lambda lesson: lesson.name)
def test_all_lessons_in_tiny_form(lesson, tmp_path: Path) -> None:
    assert main(["run", f"tutorial/{lesson.name}", "--tiny", "--out", str(tmp_path / "made")]) == 0


def test_a_project_has_what_it_needs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    place = tmp_path / "faces"
    assert main(["new", str(place), "--recipe", "vae"]) == 0
    there = {path.relative_to(place).as_posix() for path in place.rglob("*")}
    assert there == {
        "data",
        "models",
        "outputs",
        "scripts",
        "scripts/train.sh",
        "recipe.yaml",
        "README.md",
        ".gitignore",
    }
    assert main(["show", str(place / "recipe.yaml")]) == 0 and "kind: vae" in capsys.readouterr().out
    assert main(["new", str(place)]) == 5 and "MQ-5005" in capsys.readouterr().err
    assert main(["new", str(tmp_path / "other"), "--recipe", "dcgam"]) == 2 and not (tmp_path / "other").exists()


def test_what_is_needed_is_what_is_declared() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert list(NEEDED) == [re.split(r"[<>=;\[ ]", line)[0] for line in project["dependencies"]]


def test_the_environment_is_checked(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["env", "--check"]) == 0
    assert "环境搭建成功" in capsys.readouterr().out
    monkeypatch.setattr("maquette.verbs.env._version", lambda name: "not installed" if name == "scipy" else "1")
    assert main(["env", "--check"]) == 2
    told = capsys.readouterr()
    assert "scipy" in told.err and "MQ-2171" in told.err and "环境搭建成功" not in told.out
