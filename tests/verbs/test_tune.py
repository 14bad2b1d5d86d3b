"""tune: spaces and their mistakes, trials that are alike in all but what is tried, a budget that is kept."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import maquette
from maquette.cli.main import main
from maquette.core.config import at, choose, describe, kinds, parse_yaml
from maquette.core.errors import MaquetteError
from maquette.evaluate.report import Report
from maquette.models.base import ModelConfig
from maquette.train import session
from maquette.train.recipe import Budget, Recipe
from maquette.verbs import recipes, tune
from maquette.verbs.compare import Contest, Entry
from maquette.verbs.space import Choices, Range, given, separate, usual
from maquette.verbs.trials import Trial, history
from tests.verbs.test_page import report

RECIPE = """\
data: {source: ring8}
medium: {kind: points}
model: {kind: vae, encoder: {kind: mlp, width: 8}, decoder: {kind: mlp, width: 8}, latent: 2}
train:
  {budget: 6steps, batch: 32, samples: 8, sample_every: 1, validate_every: 1, checkpoint_every: 1,
   optimizers: {model: {lr: 2e-3}}}
"""
SOME = ["dcgan", "vae"]
ALL = [listed.name for listed in recipes.recipes()]
LR = "train.optimizers.model.lr"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "code.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def recipe(file: Path) -> Recipe:
    return recipes.read(str(file))


def search(recipe: Recipe, out: Path = Path("."), seed: int = 0, **domains: Range | Choices) -> tune.Search:
    space = domains or {LR: Range(1e-4, 1e-1), "model.latent": Range(1, 8), "train.batch": Choices((16, 32))}
    return tune.Search(tune.library(), "code", recipe, space, out, seed, Contest.of(recipe, 60, None, True))


def trial(place: int, values: dict[str, Any], fid: float | None) -> Trial:
    score = None if fid is None else report("a", fid).score("fid")
    return Trial(place, values, score, 10.0, "" if score else "step 3: the loss of 'model' is not finite")


# -- spaces -----------------------------------------------------------------------------------------------------------


def test_ranges_and_choices_are_told_from_values() -> None:
    words = [f"{LR}=1e-4..1e-2", "train.batch=16,32", "model.latent=4", "model.spread=[-1, 1.4]", "data.source=../a,b"]
    fixed, searched = separate([*words, "medium.size=8..16"])
    assert fixed == ["model.latent=4", "model.spread=[-1, 1.4]", "data.source=../a,b"]
    assert searched == {LR: "1e-4..1e-2", "train.batch": "16,32", "medium.size": "8..16"}


def test_a_space_is_of_the_types_that_the_fields_have(recipe: Recipe) -> None:
    fields = {LR: "1e-4..1e-2", "model.latent": "1..64", "model.beta": "1..4", "train.batch": [16, 64]}
    space = given(recipe, fields | {"model.likelihood": "gaussian,auto"})
    assert space[LR] == Range(1e-4, 1e-2) and space[LR].log
    latent, beta = space["model.latent"], space["model.beta"]
    assert isinstance(latent, Range) and latent.log and isinstance(latent.high, int)
    assert isinstance(beta, Range) and not beta.log and isinstance(beta.high, float)
    assert space["train.batch"] == Choices((16, 64)) and space["model.likelihood"] == Choices(("gaussian", "auto"))


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("data.seed: 0..3", "MQ-2240", "data.seed"),
        ("medium.dim: 2..3", "MQ-2240", "medium.dim"),
        ("train.budget: [6steps, 9steps]", "MQ-2240", "train.budget"),
        ("train.seed: 0..3", "MQ-2240", "train.seed"),
        ("model.latnet: 1..4", "MQ-2001", "latnet"),
        ("model.beta: 4..1", "MQ-2002", "model.beta"),
        ("model.beta: low..high", "MQ-2002", "model.beta"),
        ("model.beta: 3", "MQ-2002", "model.beta"),
        ("model.beta: [2, 2]", "MQ-2002", "model.beta"),
        ("model.latent: 0..4", "MQ-2002", "model.latent"),
        ("model.latent: 1.5..4", "MQ-2002", "model.latent"),
        ("model.likelihood: [gaussian, gausian]", "MQ-2002", "gausian"),
        ("train.optimizers.critic.lr: 1e-4..1e-2", "MQ-2001", "critic"),
    ],
)
def test_a_bad_space_names_its_field_and_line(
    line: str, code: str, said: str, recipe: Recipe, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree, lines = parse_yaml(f"# what may vary\n{line}\n", "space.yaml")
    with pytest.raises(MaquetteError, match=said) as refused:
        given(recipe, tree, lines)
    assert refused.value.code == code and refused.value.where == "space.yaml:2"


def test_a_bad_space_is_refused_before_anything_is_written(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "space.yaml").write_text("model.latent: 1..8\nmodel.latnet: 1..8\n")
    for words, where in ((["--space", str(tmp_path / "space.yaml")], "space.yaml:2"), (["model.latnet=1..4"], "")):
        assert main(["tune", str(file), "--out", str(tmp_path / "out"), *words]) == 2
        said = capsys.readouterr().err
        assert "MQ-2001" in said and "latnet" in said and where in said and "Traceback" not in said
    for words in (["--trials", "0"], ["--time", "20steps"], ["--time", "soon"], ["--trials", "many"]):
        assert main(["tune", str(file), "--out", str(tmp_path / "out"), *words]) == 2
        assert words[0].strip("-") in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("names", [SOME, pytest.param(ALL, marks=pytest.mark.slow)], ids=["some", "all"])
def test_a_recipe_has_a_space_that_holds_its_own_values(names: list[str]) -> None:
    for name in names:
        recipe = recipes.read(name)
        space, own = usual(recipe), recipe.to_tree()
        assert all(at(own, key) in domain for key, domain in space.items()), name
        assert ("train.batch" in space) == (Budget.parse(recipe.train.budget).unit != "steps"), name
        assert len(space) >= len(recipe.train.optimizers), name


def test_what_a_model_declares_is_there() -> None:
    """A field that no longer exists would be left out in silence."""
    declared = 0
    for kind in kinds("models"):
        config = choose(kind, ModelConfig, "model")
        tree = config().to_tree() if config.search else {}
        assert all(at(tree, field) is not None for field in config.search), kind
        declared += bool(config.search)
    assert declared >= 10


def test_what_a_recipe_leaves_out_stays_out() -> None:
    with_r1, without = recipes.read("dcgan", ["model.r1=0.1"]), recipes.read("dcgan", ["model.r1=0"])
    assert usual(with_r1)["model.r1"] == Range(0.1 / 10, 0.1 * 10) and "model.r1" not in usual(without)
    bound = recipes.read("vae", ["model.codes=8", "model.warmup=0"])  # beta must then be 1
    assert "model.beta" in usual(recipes.read("vae")) and "model.beta" not in usual(bound)


# -- what is tried ----------------------------------------------------------------------------------------------------


def suggestions(seed: int, recipe: Recipe, scores: list[float | None]) -> list[dict[str, Any]]:
    """What a search tries first, and after each of these scores."""
    ours, kept, tried = search(recipe, seed=seed), [], []
    for place, score in enumerate(scores):
        tried.append(ours.suggested(kept))
        frozen = ours.frozen(trial(place, tried[-1], score))
        frozen.number = place
        kept.append(frozen)
    return [*tried, ours.suggested(kept)]


def test_a_seed_and_the_trials_before_say_what_is_tried(recipe: Recipe) -> None:
    scores = [9.0, 7.0, None, 8.0, 6.0, 5.0, 7.0]
    first = suggestions(0, recipe, scores)
    assert first == suggestions(0, recipe, scores)
    assert first[0] == suggestions(1, recipe, scores)[0] == {LR: 2e-3, "model.latent": 2, "train.batch": 32}
    assert first[1:] != suggestions(1, recipe, scores)[1:]
    for values in first:
        assert (
            1e-4 <= values[LR] <= 1e-1 and values["model.latent"] in range(1, 9) and values["train.batch"] in (16, 32)
        )
        assert isinstance(values["model.latent"], int)
    assert len({json.dumps(values) for values in first}) == len(first)


def test_the_recipe_comes_first_only_where_the_space_holds_it(recipe: Recipe) -> None:
    assert search(recipe, **{LR: Range(1e-3, 1e-2)}).suggested([]) == {LR: 2e-3}
    assert search(recipe, **{LR: Range(1e-2, 1e-1)}).suggested([])[LR] >= 1e-2


def test_optuna_gives_back_what_it_was_given(recipe: Recipe, tmp_path: Path) -> None:
    ours = search(recipe, tmp_path)
    done = [trial(0, {LR: 0.1 + 0.2 - 0.25, "model.latent": 2, "train.batch": 16}, 7.25),
            trial(1, {LR: 1e-4, "model.latent": 8, "train.batch": 32}, None)]  # fmt: skip
    with ours.opened() as kept:
        for one in done:
            kept.add_trial(ours.frozen(one))
    with ours.opened() as kept:
        assert [ours.thawed(one) for one in kept.get_trials()] == done
        assert [one.state.name for one in kept.get_trials()] == ["COMPLETE", "FAIL"]
    assert {path.name for path in tmp_path.iterdir()} == {"study.db"}


# -- a search ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tuned(file: Path, tmp_path_factory: pytest.TempPathFactory) -> tune.Tuned:
    out = tmp_path_factory.mktemp("tuned") / "out"
    return maquette.tune(
        str(file), out=out, trials=2, n=60, overrides=["model.latent=1..4", f"{LR}=1e-4..1e-1"], quiet=True
    )


def test_trials_are_runs_of_one_budget_and_the_best_has_the_best_score(tuned: tune.Tuned) -> None:
    out = tuned.recipe.parent
    made = {"trial-000", "trial-001", "code-tuned.yaml", "report.html", "study.db", "tuning.json", ".lock"}
    assert {path.name for path in out.iterdir()} == made
    reports = [Report.read(out / one.name) for one in tuned.trials]
    assert [one.cost.train_steps for one in reports] == [6, 6]
    scores = [one.score("fid") for one in reports]
    assert [one.score for one in tuned.trials] == scores
    values = [score.value for score in scores if score is not None]
    assert tuned.best is tuned.trials[values.index(min(values))]
    assert tuned.own is tuned.trials[0] and tuned.own.values == {LR: 2e-3, "model.latent": 2}


def test_the_best_recipe_is_one_that_train_takes(tuned: tune.Tuned, tmp_path: Path, capsys) -> None:
    read = recipes.read(str(tuned.recipe))
    assert read.train.optimizers["model"].lr == tuned.best.values[LR]
    assert read.train.budget == "60steps" and read.train.batch == 32
    about = tuned.recipe.read_text().splitlines()[:3]
    assert "the best of 2 trials of 6steps each" in about[0] and about[2] == f"#   maquette train {tuned.recipe}"
    assert main(["train", str(tuned.recipe), "--budget", "2steps", "--out", str(tmp_path / "run"), "--quiet"]) == 0


def test_the_page_has_a_chart_a_row_of_each_trial_and_the_next_command(tuned: tune.Tuned) -> None:
    page = (tuned.recipe.parent / "report.html").read_text()
    assert page.count('<svg class="chart"') >= 3 and f"maquette train {tuned.recipe}" in page
    for one in tuned.trials:
        assert f'<a href="{one.name}/">{one.name}</a>' in page
    assert "maquette tune" in page and "--trials 2" in page
    if tuned.changes:
        assert f"<th scope=row>{next(iter(tuned.changes))}</th>" in page


def test_asked_again_for_more_it_adds_to_what_is_there(
    tuned: tune.Tuned, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(shutil.copytree(tuned.recipe.parent, tmp_path / "out"))
    start, started = session.start, []

    def counted(recipe, folder, quiet):
        started.append(folder.name)
        return start(recipe, folder, quiet)

    monkeypatch.setattr(session, "start", counted)
    words = ["tune", str(file), "-n", "60", "--out", str(out), "--quiet", "model.latent=1..4"]
    assert main([*words, f"{LR}=1e-4..1e-1", "--trials", "3"]) == 0 and started == ["trial-002"]
    capsys.readouterr()
    assert main([*words, f"{LR}=1e-4..1e-2", "--trials", "3"]) == 7
    assert "MQ-7032" in capsys.readouterr().err


def test_no_trial_begins_that_would_not_end_in_time(recipe: Recipe, tmp_path: Path, monkeypatch) -> None:
    """Trials of 10 s: after three of them a fourth would end after 40 s, which 39 do not hold."""
    for limit, n in ((39.0, 3), (40.0, 4), (5.0, 1)):
        ours = search(recipe, tmp_path / str(n))
        ours.out.mkdir()
        monkeypatch.setattr(tune.Search, "tried", lambda self, place, values: trial(place, values, 9.0 - place))
        with ours.opened() as kept:
            ours.go_on(kept, 9, limit)
            assert len(kept.get_trials()) == n


def test_time_alone_gives_each_trial_its_part(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*anything: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tune.Search, "go_on", stopped)
    for more, budget in ((["--time", "80s", "--trials", "4"], "15s"), ([], "6steps"), (["--budget", "9s"], "9s")):
        out = tmp_path / budget
        assert main(["tune", str(file), "--out", str(out), *more]) == 130
        plan = json.loads((out / "tuning.json").read_text())
        assert plan["recipe"]["train"]["budget"] == budget
        assert ("train.batch" in plan["space"]) == (budget != "6steps")


def test_trials_that_cannot_be_trained_have_failed(file: Path, tmp_path: Path, capsys) -> None:
    words = [
        "tune",
        str(file),
        "-n",
        "60",
        "--trials",
        "2",
        "--out",
        str(tmp_path / "out"),
        "--quiet",
        f"{LR}=1e30,1e32",
    ]
    assert main(words) == 6
    said = capsys.readouterr().err
    assert "MQ-6030" in said and "all 2 trials failed" in said and "not finite" in said


def test_a_device_that_is_too_small_fails_a_trial_and_a_full_disk_ends_the_search(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for mistake in (torch.OutOfMemoryError("CUDA out of memory"), MaquetteError("MQ-5001", reason="No space left")):

        def refused(self: Contest, entry: Entry, mistake: Exception = mistake) -> Report:
            raise mistake

        monkeypatch.setattr(Contest, "report", refused)
        if isinstance(mistake, MaquetteError):
            with pytest.raises(MaquetteError, match="No space left"):
                search(recipe, tmp_path).tried(0, {LR: 1e-3})
        else:
            failed = search(recipe, tmp_path).tried(0, {LR: 1e-3})
            assert failed.score is None and "too little memory" in failed.reason


def test_what_is_no_trials_fault_ends_the_search(file: Path, tmp_path: Path, capsys) -> None:
    words = ["tune", str(file), "--trials", "2", "--out", str(tmp_path / "out"), "--quiet"]
    assert main([*words, "-n", "3"]) == 2
    assert "MQ-2083" in capsys.readouterr().err and not (tmp_path / "out" / "trial-000").exists()


def test_a_failed_trial_has_its_row_and_no_point() -> None:
    done = [trial(0, {LR: 1e-3}, 9.0), trial(1, {LR: 1e-2}, None), trial(2, {LR: 2e-3}, 4.0)]
    told = history(done)
    assert [row[2] for row in told.rows] == ["9", "failed: step 3: the loss of 'model' is not finite", "4 ←"]
    assert [chart.svg.count("<circle") for chart in told.charts] == [2, 2]
    assert "4 at 0.002" in told.charts[1].svg


def test_without_optuna_it_says_what_to_install(file: Path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    for words in (["tune", str(file)], ["pipeline", "plan.yaml"]):
        assert main(words) == 3
        said = capsys.readouterr().err
        assert "MQ-3010" in said and "pip install 'maquette[tune]'" in said


@pytest.mark.parametrize("names", [SOME, pytest.param(ALL, marks=pytest.mark.slow)], ids=["some", "all"])
def test_a_recipe_that_is_told_reads_as_it_was(names: list[str], tmp_path: Path) -> None:
    """The best recipe is written as `maquette show` prints it."""
    for name in names:
        recipe = recipes.read(name)
        (tmp_path / "told.yaml").write_text(describe(recipe))
        assert recipes.read(str(tmp_path / "told.yaml")) == recipe, name
