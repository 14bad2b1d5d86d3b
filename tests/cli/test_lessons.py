"""The tutorials' listings as commands: found by any of their numbers, shown as they run, held to their goals."""

import json
import math
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from maquette.cli import lessons as module
from maquette.cli.lessons import Goal, aim, find, lessons, table
from maquette.cli.main import main
from maquette.cli.parser import parse
from maquette.core.errors import MaquetteError
from maquette.data.source import open_data
from maquette.evaluate.reference import LEAST
from maquette.evaluate.report import KINDS, Score, Stamp
from maquette.evaluate.scores.intervals import Estimate
from maquette.train.recipe import Recipe
from maquette.verbs import diagram
from maquette.verbs.env import NEEDED
from maquette.verbs.recipes import read

DOCS = Path(__file__).parents[2] / "docs"
known = lessons()


def test_every_listing_has_its_lesson() -> None:
    numbers = [number for lesson in lessons() for number in lesson.listings]
    assert sorted(numbers) == list(range(1, 59))


@pytest.mark.parametrize("lesson", lessons(), ids=lambda lesson: lesson.name)
def test_who_evaluates_has_a_goal_and_who_trains_leaves_files(lesson) -> None:
    verbs = [line.split()[0] for line in lesson.run]
    assert ("evaluate" in verbs) == (lesson.goal is not None) and ("train" in verbs) == bool(lesson.recipe)
    assert lesson.leaves or lesson.name == "09-environment"
    if lesson.goal is not None:
        assert lesson.goal.score in KINDS and bool(lesson.goal.way) != bool(lesson.goal.value)
        assert min(lesson.n, lesson.tiny.n) >= LEAST
        assert (lesson.goal.at == "least") == (KINDS[lesson.goal.score].better == "higher")


def built(lesson_name: str) -> tuple[Recipe, Any]:
    """The recipe and the model that a lesson trains."""
    train = find(lesson_name).commands(Path("out"), None, tiny=False)[0]
    recipe = read(train[1], [word for word in train[2:] if "=" in word])
    return recipe, recipe.model.build(recipe.medium.build().space)


def test_listings_13_and_49_are_the_networks_of_the_paper_and_43_that_of_its_listing() -> None:
    for name in ("13", "49"):
        recipe, model = built(name)
        counts = [sum(p.numel() for p in net.parameters()) for net in (model.generator.net, model.critic.net)]
        assert counts == [3_576_704, 2_765_568] and recipe.train.batch == 64
        assert {one.lr for one in recipe.train.optimizers.values()} == {2e-4}
    model = built("43")[1]
    assert sum(p.numel() for p in model.parameters()) == 1_068_820 and model.config.latent == 2


def test_a_lesson_is_found_by_its_name_and_by_its_listings() -> None:
    assert find("tutorial/13").name == find("tutorial/16").name == find("13-dcgan").name == "13-dcgan"
    for name in ("tutorial/0", "tutorial/13-dcgann", "99", "²"):
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


def test_a_lesson_tells_its_figure_and_a_missed_goal_plainly_and_does_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a lesson whose full form is as short as its tiny one, so that both are judged by one training."""
    monkeypatch.setattr(module, "lessons", lambda: [replace(find_in(known, "3"), budget="20steps", n=200)])
    asked, made = ["run", "tutorial/3", "--out", str(tmp_path / "made")], tmp_path / "made"
    assert main([*asked, "--tiny"]) == 0, "in tiny form a number is enough"
    said = capsys.readouterr().err
    assert f"$ maquette train points-gan --data ring8 --budget 20steps --out {tmp_path}/made/run" in said
    assert "Modes found" in said and "(real samples 8)" in said and "goal: at least 8" in said
    kept = json.loads((made / "lesson.json").read_text())
    assert kept["met"] is None and math.isfinite(kept["value"]) and kept["finished"]

    assert main(asked) == 1
    said = capsys.readouterr().err
    assert "MQ-1170" in said and "and the goal is at least 8" in said and "$ maquette" not in said
    assert json.loads((made / "lesson.json").read_text())["met"] is False

    (made / "run" / "report.html").unlink()
    assert main([*asked, "--tiny"]) == 1 and "left no run/report.html" in capsys.readouterr().err
    assert main([*asked, "--tiny", "--data", "moons"]) == 5, "the folder holds something else"


@pytest.mark.parametrize("begun", [True, False])
def test_training_that_was_cut_off_is_resumed(begun: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lesson, done = find("3"), list[list[str]]()
    commands = lesson.commands(tmp_path, None, tiny=True)
    monkeypatch.setattr("maquette.cli.main.main", lambda words: done.append(words) or 0)
    if begun:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "recipe.json").touch()
    kept = {"commands": commands, "done": 0, "seconds": 1.0}
    assert module._worked(tmp_path, commands, kept) == 0
    assert done == [["resume", f"{tmp_path}/run"] if begun else commands[0], commands[1]]
    assert kept["done"] == 2 and kept["seconds"] >= 1 and kept.get("resumed", False) == begun


def test_a_goal_may_be_a_simpler_way() -> None:
    stamp = Stamp(extractor="none", weights="", resize="", data="", split="test", real=1, made=1, seed=0, software={})
    score = Score.of("likelihood", 2.0, stamp, baselines={"bigram": Estimate(2.5)})
    beaten, missed, unknown = (Goal(score="likelihood", at="most", way=way) for way in ("bigram", "bigram", "5-gram"))
    assert beaten.met(score) and not missed.met(replace(score, value=2.6)) and not unknown.met(score)
    words = aim({"at": "most", "bound": beaten.bound(score), "way": "bigram"})
    assert words == "at most 2.5 (bigram)" and words.zh == "至多 2.5 (bigram)"


def test_all_lessons_go_on_though_one_fails_and_are_not_done_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "lessons", lambda: [find_in(known, name) for name in ("47", "1")])
    (tmp_path / "47-project").mkdir()
    (tmp_path / "47-project" / "mine.txt").write_text("kept")
    asked = ["run", "tutorial/all", "--tiny", "--out", str(tmp_path)]
    assert main(asked) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3].split()[:2] == ["lesson", "listings"]
    assert lines[-2].startswith("47-project") and "failed, exit code 5" in lines[-2]
    assert lines[-1].startswith("01-diagrams") and "done" in lines[-1]
    found = json.loads((tmp_path / "lessons.json").read_text())["lessons"]
    assert found["01-diagrams"]["exit"] == 0 and found["47-project"]["exit"] == 5
    assert "<svg" in (tmp_path / "01-diagrams" / "families.svg").read_text(encoding="utf-8")

    begun = list[list[str]]()
    run = subprocess.run
    monkeypatch.setattr(module.subprocess, "run", lambda words, **how: begun.append(words) or run(words, **how))
    (tmp_path / "47-project" / "mine.txt").unlink()
    assert main(asked) == 0 and [words[4] for words in begun] == ["tutorial/47-project"]
    assert main([*asked, "--data", "digits"]) == 2 and "MQ-2110" in capsys.readouterr().err


def find_in(them: list, number: str):
    return next(lesson for lesson in them if int(number) in lesson.listings)


def test_the_table_says_what_each_came_to() -> None:
    figure = {"title": "Modes found", "value": 7.0, "at": "least", "bound": 8.0, "way": "", "listings": [2, 3]}
    found = {
        "a": figure | {"recipe": "points-gan", "exit": 1, "met": False, "seconds": 12.4, "finished": True},
        "b": {"listings": [9], "recipe": "", "exit": 0, "seconds": 1.0, "resumed": True, "finished": True},
        "c": {"listings": [13], "recipe": "dcgan", "exit": 5},
    }
    lines = [re.split(r"\s{2,}", line) for line in table(found).splitlines()]
    assert lines[1] == ["a", "2, 3", "points-gan", "Modes found 7, at least 8: missed", "12"]
    assert lines[2] == ["b", "9", "done", "1+"] and lines[3] == ["c", "13", "dcgan", "failed, exit code 5"]


def test_a_mistake_on_the_way_is_the_lesson_s(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    asked = ["run", "tutorial/3", "--tiny", "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "made")]
    assert main(asked) == 3
    assert "MQ-3013" in capsys.readouterr().err and not (tmp_path / "made").exists()


@pytest.mark.slow
def test_all_lessons_in_tiny_form(tmp_path: Path) -> None:
    assert main(["run", "tutorial/all", "--tiny", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "lessons.json").read_text())["lessons"]
    for lesson in lessons():
        assert [name for name in lesson.leaves if not (tmp_path / lesson.name / name).exists()] == []
        assert lesson.goal is None or math.isfinite(found[lesson.name]["value"])
    made = (tmp_path / "42-driving" / "scenes" / "made.jsonl").read_text().splitlines()
    assert {json.loads(line)["label"] for line in made} == {"snowy night heavy"}


# -- drawings, and CelebA ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("page", "language"), [("tutorials.md", "en"), ("tutorials.zh.md", "zh")])
def test_the_page_and_the_command_draw_the_same(page: str, language: str, tmp_path: Path, monkeypatch) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    monkeypatch.setenv("MAQUETTE_LANG", language)
    for name, source in diagram.sources().items():
        charts = diagram.charts(source[language])
        assert all(f"```mermaid\n{chart}\n```" in text for chart in charts)
        drawn = diagram.diagram(name, tmp_path / f"{name}.svg").read_text(encoding="utf-8")
        boxes = [box for chart in charts for box in diagram.Chart(chart).boxes.values()]
        assert drawn.count("<rect") == len(boxes) and all(f">{box.words}</text>" in drawn for box in boxes)
        ElementTree.fromstring(drawn)


def test_a_drawing_that_there_is_none_of(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["diagram", "family", "--out", str(tmp_path / "a.svg")]) == 2
    assert "MQ-2172" in capsys.readouterr().err
    assert main(["diagram", "families", "--out", str(tmp_path / "a.png")]) == 2 and not list(tmp_path.iterdir())


def test_celeba_becomes_a_folder_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program of the guide, on an archive laid out as CelebA's."""
    monkeypatch.chdir(tmp_path)
    names = [f"{number:06d}.jpg" for number in range(1, 31)]
    with zipfile.ZipFile("img_align_celeba.zip", "w") as archive:
        for number, name in enumerate(names):
            Image.fromarray(np.random.default_rng(number).integers(0, 255, (218, 178, 3)).astype(np.uint8)).save(name)
            archive.write(name, f"img_align_celeba/{name}")
            Path(name).unlink()
    signs = [f"{name}  {(-1) ** number:2d} {(-1) ** (number // 2):2d}" for number, name in enumerate(names)]
    Path("list_attr_celeba.txt").write_text("30\nSmiling Wearing_Hat \n" + "\n".join(signs) + "\n")
    pages = [(DOCS / "guides" / f"celeba{language}.md").read_text(encoding="utf-8") for language in ("", ".zh")]
    (program,), (chinese,) = (re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE) for page in pages)
    assert program == chinese
    exec(compile(program, "celeba.md", "exec"), {})
    recipe = read("dcgan", ["data.source=celeba", "data.conditional=true", "medium.size=16", "medium.channels=3"])
    found = open_data(recipe.data, recipe.medium.build())
    assert len(found.train) + len(found.test) == 30 and set(found.classes) == {"smiling", "not smiling"}
    assert {"", "smiling", "wearing hat", "smiling, wearing hat"} >= set(found.train.captions)


# -- projects ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "ends", "verbs"), [
    (0, 0, ["data", "train", "sample", "evaluate"]),
    (3, 0, ["data", "train", "sample", "evaluate"]),  # findings, such as an exact copy
    (2, 1, ["data"]),
])  # fmt: skip
def test_a_project_s_script_goes_on_though_there_are_findings(
    code: int, ends: int, verbs: list[str], tmp_path: Path
) -> None:
    main(["new", str(tmp_path / "faces")])
    stub = tmp_path / "maquette"
    stub.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\ncase $1 in data) echo found: a copy; exit {code};; esac\n'
        'while [ $# -gt 0 ]; do case $1 in --out) mkdir -p "$2";; esac; shift; done\n'
    )
    stub.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = ["sh", str(tmp_path / "faces" / "scripts" / "train.sh"), "--budget", "2steps"]
    done = subprocess.run(script, env=environment, capture_output=True, text=True)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [line.split()[0] for line in asked] == verbs and done.returncode == ends, done.stderr
    assert "found: a copy" in done.stdout and (ends or asked[1].endswith("--budget 2steps"))


@pytest.mark.slow
def test_a_project_s_script_trains_on_a_folder_with_an_exact_copy(tmp_path: Path) -> None:
    main(["new", str(tmp_path / "faces")])
    rng = np.random.default_rng(0)
    for number in range(150):
        Image.fromarray(rng.integers(0, 255, (20, 20), np.uint8)).save(tmp_path / "faces" / "data" / f"{number}.png")
    (tmp_path / "faces" / "data" / "copy.png").write_bytes((tmp_path / "faces" / "data" / "0.png").read_bytes())
    command = tmp_path / "maquette"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m maquette "$@"\n')
    command.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = ["sh", str(tmp_path / "faces" / "scripts" / "train.sh"), "--budget", "2steps", "medium.size=16"]
    done = subprocess.run(script, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "copy.png" in done.stdout and list((tmp_path / "faces" / "models").glob("*/report.html"))


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
