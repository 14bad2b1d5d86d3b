"""Contests: who takes part in pictures, sounds and films is there, and one that is run for a second ends as a table."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import contest, films, harness, pictures, sounds
from maquette.evaluate import domain
from maquette.evaluate.report import KINDS
from maquette.train.run import Run
from maquette.verbs.recipes import read

CONTESTS = [pictures.CONTEST, sounds.CONTEST, films.CONTEST]


@pytest.mark.parametrize("of", CONTESTS, ids=lambda of: of.name)
def test_contestants_are_of_recipes_that_are_there(of: contest.Contest) -> None:
    for name, one in of.contestants.items():
        recipe = read(one.recipe, one.overrides)
        codec = of.codecs.get(one.recipe)
        assert recipe.codec == f"runs/{codec}" if codec else not recipe.codec.startswith("runs/")
        shared = [word for word in one.overrides if word.startswith(("data.", "medium."))]
        assert codec is None or read(codec, shared).medium == recipe.medium
        assert name in of.judges or recipe.data.combinations is None or recipe.data.combinations.labels
    of_row = {row: [name for name, one in of.contestants.items() if one.row == row] for row in of.rows}
    assert all(of_row.values()) and sum(map(len, of_row.values())) == len(of.contestants)
    assert len({of.folder_of(name) for name in of.contestants}) == len(of.contestants)
    for suffix in (".md", ".zh.md"):
        page = (harness.ROOT / "docs" / f"{of.name}{suffix}").read_text(encoding="utf-8")
        assert all(f"<!-- {row} -->" in page and f"--only {row}" in page for row in of.rows)
        assert f"benchmarks.{of.name}`" in page or f"benchmarks.{of.name} " in page


@pytest.mark.parametrize("of", CONTESTS, ids=lambda of: of.name)
def test_tables_have_the_same_figures_in_chinese(of: contest.Contest) -> None:
    """Those of the results that are kept: neither language needs the runs themselves."""
    tree, say = harness.read_json(of.file), contest.chinese()
    english, chinese = ("\n".join(of.table(row, tree, tongue) for row in of.rows) for tongue in (contest.ENGLISH, say))
    figures = [sorted(re.findall(r"\d+(?:[.,]\d+)*", text)) for text in (english, chinese)]
    assert figures[0] == figures[1] and len(figures[0]) > 100
    words = r"\| steps|parameters|items/s|a sample|real against|goal|minutes|core\(s\)|Not measured| less | to \d"
    assert re.search(words, english) and not re.search(words, chinese)
    titles = {KINDS[name].title for scores in of.rows.values() for name in scores}
    assert {title for title in titles if say(title) == title} <= {"chrF"}


@pytest.mark.parametrize("of", CONTESTS, ids=lambda of: of.name)
def test_who_compares_is_of_one_size_and_claims_are_of_somebody(of: contest.Contest) -> None:
    for row in of.compared:
        compared = [read(one.recipe, one.overrides) for one in of.contestants.values() if one.row == row]
        assert len({json.dumps(recipe.medium.to_tree()) for recipe in compared}) == 1
        assert len({recipe.data.conditional for recipe in compared}) == 1
    labels = {*of.contestants, *(f"{name}, {way}" for name, ways in of.ways.items() for way in ways)}
    assert {claim.one for claim in of.claims} <= labels and set(of.ways) <= set(of.contestants)
    assert {score for scores in of.rows.values() for score in scores} | {c.score for c in of.claims} <= set(KINDS)
    assert of.chosen([]) == list(of.contestants)
    assert set(of.shown) <= {*of.rows, *of.contestants} and set(of.illustrated) <= set(of.rows)
    assert all(way in of.ways[name] for name, way in of.drawn.items())


def test_who_judges_comes_first() -> None:
    chosen = pictures.CONTEST.chosen
    assert chosen(["dalle"]) == ["clip", "dalle"] and chosen(["codes"])[0] == "vqvae fashion"


def test_a_contestant_with_a_codec_is_trained_evaluated_and_stated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second of it, a third of that for codes that are told no labels."""
    monkeypatch.setattr(contest, "WORK", tmp_path)
    monkeypatch.setattr(domain, "PASSES", 256)
    monkeypatch.setenv("MAQUETTE_CACHE", str(tmp_path / "cache"))
    words = (contest.LABELLED, "medium.size=8", "train.samples=2", "train.batch=4", "train.precision=fp32")
    net = ("model.net.width=16", "model.net.depth=1", "model.net.heads=2")
    entrant = contest.Contestant("compare", "vq-gpt", "digits", (*words, *net))
    toy = replace(pictures.CONTEST, contestants={"vq-gpt": entrant}, ways={}, claims=())
    toy.work("vq-gpt", 1 / 60, 60)
    assert toy.measured("vq-gpt", 1 / 60, 60)
    facts = harness.read_json(toy.folder_of("vq-gpt") / "facts.json")
    told = {part: Run.open(toy.folder_of("vq-gpt") / part).recipe.data for part in ("codec", "run")}
    assert told["run"].conditional and not told["codec"].conditional
    text = toy.table("compare", {"vq-gpt": facts})
    assert "| vq-gpt |" in text and "Fréchet distance" in text and "| – real against real |" in text
    assert "Fréchet" in toy.write_page(["vq-gpt"], "compare").read_text()
    monkeypatch.setattr(contest, "SHEETS", tmp_path / "sheets")
    shown = replace(toy, shown={"compare": ("samples", 0.5)}, illustrated=("compare",))
    shown.sheets({"vq-gpt": facts})
    assert "![vq-gpt](sheets/vq-gpt.png)" in shown.pictures("compare", {"vq-gpt": facts})
    assert not toy.pictures("compare", {"vq-gpt": facts})
    replace(shown, shown={"compare": ("samples", 0.5), "vq-gpt": ("classes", 1.0)}).sheets({"vq-gpt": facts})
    classes = toy.folder_of("vq-gpt") / "run" / "pictures" / "classes.png"
    with Image.open(shown.sheet("vq-gpt")) as sheet, Image.open(classes) as own:
        assert sheet.size == own.size, "its own, not that of its row"


def test_a_contestant_may_learn_from_some_splits_alone(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}-00000-of-00001.parquet").write_text(split)
    folder = contest.some_of(tmp_path, 0, tmp_path / "part", ("train", "validation"))
    assert sorted(file.read_text() for file in folder.iterdir()) == ["train", "validation"]
    terms = sounds.CONTEST.terms("chorales-lstm", 15, 100)
    assert terms["splits"] == ["train", "validation"] and not sounds.CONTEST.contestants["gaps tones"].apart
    assert "splits" not in pictures.CONTEST.terms("dcgan", 15, 100)  # measured before there were such
