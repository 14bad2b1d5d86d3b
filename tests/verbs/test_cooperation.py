"""pipeline: what its file may say, who is tuned, who learns on, what is chosen, and that a kill changes nothing."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import maquette
from maquette.cli.main import main
from maquette.core import files
from maquette.core.config import parse_yaml, read_yaml
from maquette.core.errors import MaquetteError
from maquette.evaluate.ranking import rank
from maquette.evaluate.report import Report
from maquette.train.run import Run
from maquette.verbs import recipes, rounds
from maquette.verbs.cooperation import Plan
from maquette.verbs.page import Study
from maquette.verbs.rounds import Round
from maquette.verbs.study import Shown
from maquette.verbs.trials import Trial
from maquette.verbs.tune import Tuned
from tests.verbs.test_page import report
from tests.verbs.test_tune import LR

ROOT = Path(__file__).parents[2]
PLAN = "data: ring8\nrecipes: [points-gan, points-vae]\nrounds: [10steps, 30steps]\n"


# -- the file ---------------------------------------------------------------------------------------------------------


def read(text: str) -> Plan:
    tree, lines = parse_yaml(text, "plan.yaml")
    return Plan.from_tree(tree, lines=lines)


@pytest.mark.parametrize(
    ("change", "code", "where", "said"),
    [
        (("rounds:", "round:"), "MQ-2001", "plan.yaml:3", "nearest: 'rounds'"),
        (("[10steps, 30steps]", "[10steps]"), "MQ-2002", "plan.yaml:3", "at least two"),
        (("[10steps, 30steps]", "[30steps, 10steps]"), "MQ-2002", "plan.yaml:3", "rising"),
        (("[10steps, 30steps]", "[10steps, 1h]"), "MQ-2002", "plan.yaml:3", "one unit"),
        (("[10steps, 30steps]", "[ten, twenty]"), "MQ-2002", "plan.yaml:3", "rounds"),
        (("[points-gan, points-vae]", "[points-gan]"), "MQ-2002", "plan.yaml:2", "at least two"),
        (("data: ring8", "keep: 1"), "MQ-2004", "plan.yaml:1", "data"),
        (("data: ring8", "data: ring8\nkeep: -1"), "MQ-2002", "plan.yaml:2", "keep"),
        (("data: ring8", "data: ring8\ntune: {trials: 0}"), "MQ-2002", "plan.yaml:2", "tune.trials"),
        (("data: ring8", "data: ring8\ntune: {budget: long}"), "MQ-2002", "plan.yaml:2", "tune.budget"),
        (("data: ring8", "data: ring8\ntune: {time: 3steps}"), "MQ-2002", "plan.yaml:2", "tune.time"),
        (("data: ring8", "data: ring8\ntune: {trails: 3}"), "MQ-2001", "plan.yaml:2", "nearest: 'trials'"),
    ],
)
def test_a_bad_plan_names_its_field_and_line(change: tuple[str, str], code: str, where: str, said: str) -> None:
    with pytest.raises(MaquetteError, match=re.escape(said)) as refused:
        read(PLAN.replace(*change))
    assert refused.value.code == code and refused.value.where == where


@pytest.mark.parametrize(
    ("change", "code", "exit_code"),
    [
        (("points-vae", "points-vea"), "MQ-2006", 2),
        (("points-vae", "points-gan"), "MQ-2117", 2),
        (("data: ring8", "data: ring9"), "MQ-3013", 3),
        (("data: ring8", "data: ring8\noverrides: [train.bacth=3]"), "MQ-2001", 2),
        (("points-vae", "vae"), "MQ-2116", 2),
    ],
)
def test_what_cannot_work_is_refused_before_training(
    change: tuple[str, str], code: str, exit_code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, out = tmp_path / "plan.yaml", tmp_path / "out"
    plan.write_text(PLAN.replace(*change))
    assert main(["pipeline", str(plan), "--out", str(out), "--quiet"]) == exit_code
    said = capsys.readouterr().err
    assert code in said and "Traceback" not in said and not list(out.rglob("checkpoints"))


def test_the_example_is_a_plan_of_recipes_that_are_there() -> None:
    tree, lines = read_yaml(ROOT / "docs" / "cooperation.yaml")
    plan = Plan.from_tree(tree, lines=lines)
    kinds = [recipes.read(name, plan.overrides).model.kind() for name in plan.recipes]
    assert kinds == ["pixelcnn", "vae", "gan", "diffusion"]
    for page in ("cooperation.md", "cooperation.zh.md"):
        assert (ROOT / "docs" / "cooperation.yaml").read_text() in (ROOT / "docs" / page).read_text()


@pytest.mark.slow
def test_the_example_itself(tmp_path: Path) -> None:
    shown = maquette.cooperate(ROOT / "docs" / "cooperation.yaml", tmp_path / "out", quiet=True)
    assert len(shown.reports) == 7 and "Chosen: " in (tmp_path / "out" / "report.html").read_text()


# -- rounds -----------------------------------------------------------------------------------------------------------


def met(place: int, tuned: bool | None = None, kept: tuple[str, ...] = (), **fids: float) -> Round:
    """A round with these figures; `tuned` says whether something better was found."""
    reports = [report(name, fid) for name, fid in fids.items()]
    study = Study(title="ring8", reports=reports, command="maquette pipeline plan.yaml")
    one = Round(place, f"{place}0steps", 0, study, rank(reports), kept)
    if tuned is None:
        return one
    own, score = Trial(0, {LR: 1e-3}, reports[-1].score("fid"), 1.0), report("a", 1.5).score("fid")
    best = Trial(1, {LR: 5e-3}, score, 1.0) if tuned else own
    changes = {LR: (1e-3, 5e-3)} if tuned else {}
    recipe = Path(f"{one.last.name}-tuned.yaml")
    return dataclasses.replace(one, tuned=Tuned(recipe, [own, best], best, own, changes, Shown([], [], "")))


def sentences(told: Any) -> str:
    return " ".join(english for english, _ in told.sentences)


def test_who_goes_on_after_a_round() -> None:
    files_of = {name: Path(f"{name}.yaml") for name in ("one", "two", "three")}
    better = met(1, True, ("one",), one=4.0, two=8.0, three=16.0)
    assert better.following(files_of) == {"one": files_of["one"], "three-tuned": Path("three-tuned.yaml")}
    nothing = met(1, False, ("one", "two"), one=4.0, two=8.0, three=16.0)
    assert list(nothing.following(files_of)) == ["one", "two"]
    assert "three (Fréchet distance 16): nothing better in 2 trials" in sentences(rounds.changes([nothing]))
    told = rounds.changes([better])
    assert "three became three-tuned in 2 trials of equal budget: Fréchet distance 16 before" in sentences(told)
    assert list(told.rows[0]) == [("three", "tuning-1/report.html"), LR, "0.001", "0.005"]


def test_the_best_of_any_round_is_chosen() -> None:
    early = [met(1, True, ("one",), one=4.0, two=16.0), met(2, one=6.0, three=9.0)]
    told = rounds.choice(early, Path("out"))
    assert "Chosen: one of round 1. Fréchet distance 4, the best of 4 models." in sentences(told)
    assert "The next is three of round 2" in sentences(told) and "More training did not better it." in sentences(told)
    assert told.command == "maquette sample out/round-1/one-0\nmaquette resume out/round-1/one-0 --budget 100steps"
    late = rounds.choice([met(1, True, ("one",), one=4.0, two=16.0), met(2, one=4.0, three=5.0)], Path("out"))
    assert "Chosen: one of round 2" in sentences(late) and "do not tell the two apart" in sentences(late)
    assert "More training" not in sentences(late)


def test_each_figure_leads_to_its_run() -> None:
    told = rounds.figures([met(1, True, ("one",), one=4.0, two=16.0), met(2, one=2.0, three=9.0)])
    assert [list(row) for row in told.rows] == [
        ["one", ("4", "round-1/one-0/"), ("2", "round-2/one-0/")],
        ["two", ("16", "round-1/two-0/"), ""],
        ["three", "", ("9", "round-2/three-0/")],
    ]
    assert "Round 1: one comes first, two last; one, two-tuned went on." in sentences(told)


# -- a pipeline, undisturbed and killed -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline, once in one go (`whole/out`), and once killed twice (`torn/out`)."""
    folder = tmp_path_factory.mktemp("made")
    words = ["--only", "pipeline", "--every", "3", "--folder", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.searching", *words], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0 and "pipeline: 2 kills, identical" in done.stdout, done.stdout + done.stderr[-3000:]
    return folder / "pipeline"


def test_kills_change_neither_the_best_trial_nor_the_choice(made: Path) -> None:
    whole, torn = made / "whole" / "out", made / "torn" / "out"
    tuned = [next(out.glob("tuning-1/*-tuned.yaml")).read_text() for out in (whole, torn)]
    chosen = [re.search(r"Chosen: [^<]*", (out / "report.html").read_text()) for out in (whole, torn)]
    assert tuned[0] == tuned[1] and chosen[0] is not None and chosen[1] is not None and chosen[0][0] == chosen[1][0]
    assert len(list(torn.glob("tuning-1/trial-*"))) == 2


def test_the_worst_is_tuned_and_the_other_learns_on(made: Path) -> None:
    out = made / "whole" / "out"
    fid = {}
    for name in ("narrow", "wide"):
        score = Report.read(out / f"round-1/{name}-0").score("fid")
        assert score is not None
        fid[name] = score.value
    worst, best = max(fid, key=lambda name: fid[name]), min(fid, key=lambda name: fid[name])
    plan = json.loads((out / "tuning-1" / "tuning.json").read_text())
    widths = {"narrow": 4, "wide": 16}
    assert plan["recipe"]["model"]["critic"]["width"] == widths[worst] and plan["recipe"]["train"]["budget"] == "6steps"
    assert {path.name for path in out.glob("round-2/*-0")} >= {f"{best}-0"} and not (
        out / f"round-2/{worst}-0"
    ).exists()
    first, second = (Run.open(out / f"round-{place}/{best}-0") for place in (1, 2))
    assert (first.metrics()[-1]["step"], second.metrics()[-1]["step"]) == (6, 12)
    assert second.metrics()[: len(first.metrics())] == first.metrics()  # it learnt on, and did not begin anew
    assert second.recipe.train.budget == "12steps"


def test_its_page_leads_to_everything(made: Path) -> None:
    out = made / "whole" / "out"
    page = (out / "report.html").read_text()
    for title in ("The choice", "The rounds", "What was tuned", "The data", "Round 1", "Round 2"):
        assert title in page
    links = set(re.findall(r'href="([^"]*)"', page)) - {"data:,"}
    assert links >= {"tuning-1/report.html", "round-1/narrow-0/", "round-1/wide-0/"}
    assert all((out / link).exists() for link in links)
    assert "maquette sample out/round-" in page and "maquette pipeline plan.yaml --out out" in page


def test_a_copy_of_a_folder_is_whole(tmp_path: Path) -> None:
    (tmp_path / "a" / "inner").mkdir(parents=True)
    for name in ("kept", "left", "inner/left"):
        (tmp_path / "a" / name).write_text(name)
    files.copy_folder(tmp_path / "a", tmp_path / "b", without=("left",))
    assert sorted(str(path.relative_to(tmp_path / "b")) for path in (tmp_path / "b").rglob("*")) == [
        "inner", "inner/left", "kept"
    ]  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}
