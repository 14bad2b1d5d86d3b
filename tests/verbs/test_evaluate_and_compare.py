"""evaluate, compare and demo: reports that are there, comparisons that continue, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import maquette
from maquette.cli.main import main
from maquette.core.errors import MaquetteError
from maquette.evaluate import domain
from maquette.evaluate.report import Report
from maquette.train import session
from maquette.train.run import Run
from maquette.verbs import recipes
from maquette.verbs.compare import Terms, heading, plan
from maquette.verbs.demo import programme
from maquette.verbs.evaluate import evaluate

POINTS = """\
# Points on a ring.
data: {{source: ring8}}
medium: {{kind: points}}
model: {model}
train: {{budget: 8steps, batch: 64, sample_every: 1, validate_every: 1, checkpoint_every: 1}}
"""
ONE = "{kind: gan, generator: {kind: mlp, width: 16}, critic: {kind: mlp, width: 16}, latent: 4}"
TWO = "{kind: diffusion, net: {kind: mlp, width: 16}, steps: 3}"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("recipes")
    for name, model in (("one", ONE), ("two", TWO)):
        (folder / f"{name}.yaml").write_text(POINTS.format(model=model))
    return [str(folder / "one.yaml"), str(folder / "two.yaml")]


@pytest.fixture(scope="module")
def compared(files: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compared") / "out"
    maquette.compare(files, budget="6steps", out=out, seeds=(0, 1), n=100, quiet=True)
    return out


def command(files: list[str], out: Path, *words: str) -> list[str]:
    return ["compare", *files, "--budget", "6steps", "--seeds", "0,1", "-n", "100", "--out", str(out), *words]


# -- compare ----------------------------------------------------------------------------------------------------------


def test_a_comparison_is_runs_reports_and_one_page(compared: Path) -> None:
    names = {f"{name}-{seed}" for name in ("one", "two") for seed in (0, 1)}
    assert {path.name for path in compared.iterdir()} == names | {"report.html", "comparison.json", ".lock"}
    for name in names:
        report = Report.read(compared / name)
        run = Run.open(compared / name)
        assert (report.name, report.seed) == (name[:-2], int(name[-1])) == (name[:-2], run.recipe.train.seed)
        assert report.cost.train_steps == 6 and report.score("fid") is not None
    page = (compared / "report.html").read_text()
    assert "Two recipes, one budget" in page and "comes first" in page


def test_finished_runs_are_scored_and_ranked_as_they_are(
    compared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, out = [str(compared / "one-0"), str(compared / "two-1" / "bundle")], tmp_path / "out"
    words = ["compare", *runs, "--data", "ring8", "-n", "100", "--out", str(out), "--quiet"]
    monkeypatch.setattr(session, "start", None)
    assert main(words) == 0
    assert {path.name for path in out.iterdir()} == {"one-0", "two-1", "report.html", "comparison.json", ".lock"}
    alone = Report.read(compared / "one-0").score("fid")
    here = Report.read(out / "one-0").score("fid")
    assert alone is not None and here is not None and alone.value == here.value
    page = (out / "report.html").read_text()
    assert "Two models, the same real samples" in page and "comes first" in page and "Budget" not in page
    scored = (out / "two-1" / "report.json").stat().st_mtime_ns
    assert main(words) == 0 and (out / "two-1" / "report.json").stat().st_mtime_ns == scored
    capsys.readouterr()
    assert main([*words[:-3], "--out", str(out), "-n", "90"]) == 7 and "n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["one-0", "RECIPE"], "one.yaml', which is none"),
        (["one-0", "two-0", "--budget", "9steps"], "without --budget"),
        (["one-0", "two-0", "--seeds", "1"], "without --seeds"),
        (["one-0", "two-0", "train.batch=4"], "without key=value"),
        (["one-0", "one-0"], "stands twice"),
        (["one-0", "two-1/bundle"], "give --data"),
        (["one-0", "empty"], "'empty', which is none"),
    ],
)
def test_finished_runs_that_cannot_be_compared(
    words: list[str], said: str, compared: Path, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = [
        files[0] if word == "RECIPE" else str(compared / word) if word[:4] in ("one-", "two-") else word
        for word in words
    ]
    assert main(["compare", *places, "--out", str(tmp_path / "out"), "--quiet"]) != 0
    assert said in capsys.readouterr().err and not (tmp_path / "out" / "report.html").exists()


def test_asked_again_it_does_nothing_twice(
    compared: Path, files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*args, **keywords):
        raise AssertionError("trained again")

    monkeypatch.setattr(session, "start", never)
    monkeypatch.setattr(session, "resume", never)
    before = (compared / "report.html").read_bytes()
    assert main(command(files, compared)) == 0
    said = capsys.readouterr()
    assert said.out == f"{compared / 'report.html'}\n"
    assert "real against real" in said.err and "one" in said.err
    after = (compared / "report.html").read_bytes()
    assert after.split(b"<h2>")[:-1] == before.split(b"<h2>")[:-1]  # the last part has the command as it was typed


def test_a_comparison_that_was_stopped_continues(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start, started = session.start, []

    def stop_at_the_third(recipe, folder, quiet):
        started.append(folder.name)
        if len(started) == 3:
            raise KeyboardInterrupt
        return start(recipe, folder, quiet)

    monkeypatch.setattr(session, "start", stop_at_the_third)
    assert main(command(files, tmp_path / "out", "--quiet")) == 130
    assert started == ["one-0", "two-0", "one-1"] and not (tmp_path / "out" / "report.html").exists()
    (tmp_path / "out" / "two-0" / "report.json").unlink()  # as if it had been stopped while it was scored
    bundle = (tmp_path / "out" / "two-0" / "bundle" / "model.safetensors").read_bytes()
    assert main(command(files, tmp_path / "out", "--quiet")) == 0
    assert started == ["one-0", "two-0", "one-1", "one-1", "two-1"]
    assert (tmp_path / "out" / "two-0" / "bundle" / "model.safetensors").read_bytes() == bundle


def test_another_comparison_is_refused_in_the_same_folder(
    compared: Path, files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(files, compared, "--quiet", "train.batch=32")) == 7
    assert "train.batch" in capsys.readouterr().err


def test_what_cannot_be_compared_is_refused_before_training(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(POINTS.format(model=ONE).replace("ring8", "moons").replace("8steps", "9steps"))
    for words, code in (
        ([files[0], files[0]], "MQ-2117"),
        ([*files, "--seeds", "1,1"], "MQ-2117"),
        ([files[0], str(other)], "MQ-2116"),
        ([files[0], str(other), "--data", "ring8"], "MQ-2116"),
        ([files[0], "no-such-recipe"], "MQ-2006"),
        ([*files, "train.bacth=3"], "MQ-2001"),
        ([*files, "-n", "3"], "MQ-2083"),
    ):
        out = tmp_path / "out"
        assert main(["compare", *words, "--out", str(out), "--quiet"]) == 2, words
        said = capsys.readouterr().err
        assert code in said and "Traceback" not in said
        assert not (out / "report.html").exists()
        shutil.rmtree(out, ignore_errors=True)
    shorter = tmp_path / "shorter.yaml"
    shorter.write_text(
        "data: {source: pydoc}\nmedium: {kind: text, tokenizer: character, length: 32}\nmodel: {kind: lstm}\n"
    )
    assert (
        main(["compare", "gpt-char", str(shorter), "--budget", "1steps", "--out", str(tmp_path / "out"), "--quiet"])
        == 2
    )
    said = capsys.readouterr().err
    assert "medium.length" in said and "gpt-char 256, shorter 32" in said and "vocab" not in said


def test_terms_become_words_and_titles(tmp_path: Path, files: list[str]) -> None:
    terms = Terms(data="ring8", budget="5s", seeds=(0, 3), n=50)
    assert terms.words() == ["--data", "ring8", "--budget", "5s", "--seeds", "0,3", "-n", "50"]
    entries = plan(files, tmp_path, terms)
    assert [entry.folder.name for entry in entries] == ["one-0", "two-0", "one-3", "two-3"]
    assert {entry.recipe.train.budget for entry in entries} == {"5s"}
    assert heading(1) == ("One recipe, one budget", "一个配方，同一预算")
    assert heading(40)[0] == "40 recipes, one budget"


def test_the_command_on_the_page_repeats_the_comparison(compared: Path, files: list[str]) -> None:
    page = (compared / "report.html").read_text()
    assert "--budget 6steps --seeds 0,1 -n 100" in page and files[0] in page
    assert json.loads((compared / "comparison.json").read_text())["n"] == 100


# -- evaluate ---------------------------------------------------------------------------------------------------------


def test_evaluate_writes_a_report_into_the_run(
    compared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(compared / "two-0", tmp_path / "run")
    (tmp_path / "run" / "report.json").unlink()
    assert main(["evaluate", str(tmp_path / "run"), "-n", "60"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [str(tmp_path / "run" / name) for name in ("report.json", "report.html")]
    assert "real against real" in said.err
    report = Report.read(tmp_path / "run")
    assert report.scores[0].stamp.made == 60 and report.cost.train_steps == 6
    assert "What it makes" in (tmp_path / "run" / "report.html").read_text()


def test_a_bundle_needs_data_to_be_held_against(compared: Path, tmp_path: Path) -> None:
    shutil.copytree(compared / "one-0" / "bundle", tmp_path / "bundle")
    with pytest.raises(MaquetteError, match="MQ-2118"):
        evaluate(tmp_path / "bundle", n=60)
    shown = evaluate(tmp_path / "bundle", n=60, data="moons", out=tmp_path / "out", quiet=True)
    assert shown.reports[0].score("modes") is None  # moons have none that are known
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"pictures", "report.html", "report.json"}


def test_an_image_run_is_scored_with_pictures(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain, "PASSES", 640)
    shown = maquette.evaluate(run.path, n=60, out=tmp_path, quiet=True)
    assert {"fid", "likelihood", "psnr"} <= {score.name for score in shown.reports[0].scores}
    page = (tmp_path / "report.html").read_text()
    assert "Nearest training items" in page and "Reconstructions" in page and "pixelated" in page


def test_copies_are_looked_for_among_the_run_s_own_data(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domain, "PASSES", 640)
    own = run.facts["data"]
    rng = np.random.default_rng(0)
    for name in range(140):
        folder = tmp_path / "others" / str(name % 10)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(folder / f"{name}.png")
    moved = Path(shutil.copytree(run.path, tmp_path / "moved"))
    tree = json.loads((moved / "recipe.json").read_text())
    tree["recipe"]["data"]["source"] = str(tmp_path / "nowhere")
    (moved / "recipe.json").write_text(json.dumps(tree))
    notes = []
    for path in (run.path, moved, run.bundle):
        shown = maquette.evaluate(path, n=60, data=str(tmp_path / "others"), out=tmp_path / "out", quiet=True)
        notes.append(" ".join(shown.reports[0].notes))
        copies = shown.reports[0].score("near_copies")
        assert (copies is None) == (path != run.path)  # the others have too few unseen pictures to say what is near
        assert copies is None or copies.stamp.data == own["fingerprint"]
    assert f"among the {own['train']:,} training items that the model learnt from" in notes[0]
    assert all("learnt from other data" in note for note in notes[1:])
    usual = maquette.evaluate(run.path, n=60, out=tmp_path / "out", quiet=True)
    assert "looked for among" not in " ".join(usual.reports[0].notes)


def test_foreign_weights_that_are_none_are_refused(
    compared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "weights.pth").write_bytes(b"not weights")
    words = [
        "evaluate",
        str(compared / "one-0"),
        "--inception",
        str(tmp_path / "weights.pth"),
        "--out",
        str(tmp_path / "o"),
    ]
    assert main(words) == 2
    assert "MQ-2082" in capsys.readouterr().err and not (tmp_path / "o").exists()


# -- demo -------------------------------------------------------------------------------------------------------------


def test_the_programme_of_the_demo_is_made_of_recipes_that_are_there(tmp_path: Path) -> None:
    listed = {recipe.name.rpartition("/")[2] for recipe in recipes.recipes()}
    acts = programme()
    assert {recipe for act in acts for recipe in act.recipes} <= listed
    for act in acts:
        assert plan(act.recipes, tmp_path, Terms(data=act.data, budget=act.budget, overrides=act.overrides))


def test_the_demo_is_one_page_of_all_its_comparisons(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "demo.yaml"
    path.write_text(
        f"- {{recipes: [{', '.join(files)}], data: ring8, budget: 1h, n: 60}}\n"
        f"- {{recipes: [{files[0]}], data: grid25, budget: 5steps, n: 60}}\n"
    )
    monkeypatch.setattr("maquette.verbs.demo.PROGRAMME", path)
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--budget", "4steps", "--quiet"]) == 0
    assert capsys.readouterr().out == f"{out / 'report.html'}\n"
    page = (out / "report.html").read_text()
    assert page.count('<section id="study') == 2 and "grid25" in page
    assert {p.name for p in out.iterdir()} == {"ring8", "grid25", "report.html"}


@pytest.mark.slow
def test_the_demo_itself(tmp_path: Path) -> None:
    shown = maquette.demo(tmp_path / "demo", budget="3s", quiet=True)
    assert len(shown.reports) == sum(len(act.recipes) for act in programme())
