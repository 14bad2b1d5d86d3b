"""Beginning from weights: they are those of the source, parts stay frozen to the bit, and resuming needs no source."""

import fnmatch
import json
import shutil
from pathlib import Path

import pytest
import torch

import maquette
from maquette.bundle import Bundle, read_bundle
from maquette.cli.main import main
from maquette.core.errors import MaquetteError
from maquette.core.files import read_tensors
from maquette.train.run import Run
from maquette.train.session import compare_identity
from tests.models.made import texts

TINY = ["medium.length=32", "model.net.width=32", "model.net.depth=2", "model.net.heads=2"]
QUICK = ["train.batch=8", "train.samples=2", "train.ema=0.5", "train.optimizers.model.lr=1e-2"]
FROZEN = ("table.*", "net.blocks.0.*")
OLD, NEW = "the cat sat on the mat. ", "a dog has a hat on. "


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the old text, with data of both beside it; read it, do not write."""
    root = tmp_path_factory.mktemp("runs")
    texts(root / "old", OLD + "".join(sorted({*NEW})), times=12)
    texts(root / "new", NEW, times=24)
    words = [*TINY, "train.batch=8", "train.samples=2", "train.precision=fp32", "train.validate_every=1"]
    return maquette.train("gpt-char", str(root / "old"), "30steps", root / "run", words, quiet=True).path


@pytest.fixture(scope="module")
def tuned(old: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that began from a bundle which is gone since, with parts frozen; read it, do not write."""
    root = tmp_path_factory.mktemp("tuned")
    shutil.copytree(old / "bundle", root / "source")
    words = [f"train.frozen=[{', '.join(FROZEN)}]", "train.optimizers.model.weight_decay=0.5"]
    run = begun(old, root / "run", *words, begin=root / "source")
    shutil.rmtree(root / "source")
    return run


def begun(old: Path, out: Path, *words: str, steps: int = 8, begin: Path | None = None) -> Path:
    settings = [*QUICK, "train.checkpoint_every=0.5", "train.keep=10", *words]
    data = str(old.parent / "new")
    return maquette.train("finetune", data, f"{steps}steps", out, settings, quiet=True, begin=begin or old).path


def checkpoint(run: Path, step: int, part: str = "model") -> dict[str, torch.Tensor]:
    return read_tensors(run / f"checkpoints/step-{step:08d}/{part}.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_it_begins_with_the_weights_the_vocabulary_and_the_sizes_of_its_source(old: Path, tuned: Path) -> None:
    source, run = read_bundle(old / "bundle"), Run.open(tuned)
    assert same(checkpoint(tuned, 0), source.weights) and same(checkpoint(tuned, 0, "ema"), source.weights)
    assert run.recipe.medium == source.medium_config and run.recipe.model == source.model_config
    assert run.recipe.train.optimizers["model"].name == "adamw", "all else is the recipe's"
    card = read_bundle(run.bundle).card
    assert (card["from"], card["from_sha256"]) == (source.card["name"], source.digest)
    assert source.digest in (run.bundle / "README.md").read_text()


def test_what_is_new_is_learnt_and_what_happens_to_the_old_is_told(old: Path, tmp_path: Path) -> None:
    run = begun(old, tmp_path / "run", steps=30)

    def bits(of: Path, data: str) -> float:
        words = ["--data", str(old.parent / data), "-n", "50", "--out", str(tmp_path / "report")]
        assert main(["evaluate", str(of), *words]) == 0
        scores = json.loads((tmp_path / "report/report.json").read_text())["scores"]
        return next(score["value"] for score in scores if score["name"] == "likelihood")

    assert bits(run, "new") < 0.5 * bits(old, "new") and bits(run, "old") > 2.0


@pytest.mark.parametrize("kept", [0, 4])
def test_a_stopped_run_ends_in_the_same_bits_without_its_source(kept: int, tuned: Path, tmp_path: Path) -> None:
    """Stopped before the first of its own checkpoints, and after it."""
    stopped = Path(shutil.copytree(tuned, tmp_path / "stopped"))
    for later in stopped.glob("checkpoints/step-*"):
        if int(later.name[5:]) > kept:
            shutil.rmtree(later)
    maquette.resume(stopped, quiet=True)
    for part in ("model", "ema", "optimisers"):
        assert same(checkpoint(tuned, 8, part), checkpoint(stopped, 8, part)), part


def test_a_run_that_kept_nothing_of_its_source_is_not_resumed_from_chance(tuned: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tuned, tmp_path / "run"))
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(MaquetteError, match="MQ-5013"):
        maquette.resume(run, quiet=True)


def test_another_budget_keeps_where_it_is_from(old: Path, tuned: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tuned, tmp_path / "run"))
    maquette.resume(run, budget="10steps", quiet=True)
    card = read_bundle(run / "bundle").card
    assert (card["from"], card["steps"]) == (read_bundle(old / "bundle").card["name"], 10)


# -- frozen parts -----------------------------------------------------------------------------------------------------


def test_frozen_parts_keep_every_bit_in_weights_and_average(old: Path, tuned: Path) -> None:
    source = read_bundle(old / "bundle").weights
    frozen = {name for name in source if any(fnmatch.fnmatch(name, pattern) for pattern in FROZEN)}
    assert 2 < len(frozen) < len(source)
    for weights in (checkpoint(tuned, 8), checkpoint(tuned, 8, "ema"), read_bundle(tuned / "bundle").weights):
        assert {name for name, tensor in weights.items() if torch.equal(tensor, source[name])} == frozen
    assert not frozen & {name.rpartition("/")[0] for name in checkpoint(tuned, 8, "optimisers")}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["train.frozen=[tabel.weight]"], "MQ-2135", "nearest: 'table.weight'"),
        (["train.frozen=['*']"], "MQ-2009", "nothing is left"),
        (["train.frozen=table.*"], "MQ-2002", "a list"),
        (["model.net.width=64"], "MQ-7001", "table"),
        (["model.kind=lstm"], "MQ-2001", "net"),
        (["data.conditional=true"], "MQ-3012", "labels"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_written(
    words: list[str], code: str, said: str, old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "train",
        "finetune",
        "--from",
        str(old),
        "--data",
        str(old.parent / "new"),
        "--out",
        str(tmp_path / "run"),
    ]
    assert main([*command, *QUICK, *words]) == int(code[3])
    err = capsys.readouterr().err
    assert code in err and said in err and "Traceback" not in err and not (tmp_path / "run").exists()


def test_what_is_frozen_from_the_beginning_needs_no_source(tmp_path: Path) -> None:
    words = ["train.batch=8", "train.samples=2", "train.frozen=[decoder.*]"]
    run = maquette.train("points-vae", budget="4steps", out=tmp_path / "run", overrides=words, quiet=True).path
    first, last = (checkpoint(run, step) for step in sorted(int(p.name[5:]) for p in (run / "checkpoints").iterdir()))
    moved = {name for name in first if not torch.equal(first[name], last[name])}
    assert moved and not any(name.startswith("decoder.") for name in moved)


def test_labels_must_be_the_same(tmp_path: Path) -> None:
    for name, classes in (("one", "ab"), ("other", "abc")):
        for label in classes:
            texts(tmp_path / name / label, f"{label} is a letter. ")
    words = [
        *TINY,
        "medium.alone=true",
        "data.conditional=true",
        "train.batch=8",
        "train.samples=2",
        "train.precision=fp32",
    ]
    run = maquette.train("gpt-char", str(tmp_path / "one"), "2steps", tmp_path / "run", words, quiet=True).path
    settings = [*QUICK, "data.conditional=true"]
    with pytest.raises(MaquetteError, match="MQ-7001.*labels a, b; the data have a, b, c"):
        maquette.train("finetune", str(tmp_path / "other"), "2steps", tmp_path / "no", settings, quiet=True, begin=run)
    again = maquette.train(
        "finetune", str(tmp_path / "one"), "2steps", tmp_path / "yes", settings, quiet=True, begin=run
    )
    assert isinstance(read_bundle(again.bundle), Bundle) and read_bundle(again.bundle).classes == ["a", "b"]


def test_who_goes_on_from_weights_has_to_be_given_some(old: Path, tmp_path: Path, capsys) -> None:
    """Rates that are right for trained weights leave random ones as they are: said before anything is written."""
    train = [
        "train",
        "finetune",
        "--data",
        str(old.parent / "new"),
        "--budget",
        "1steps",
        "--out",
        str(tmp_path / "run"),
    ]
    small = ["medium.length=16", "model.net.width=16", "model.net.depth=1", "model.net.heads=2", "train.precision=fp32"]
    assert main([*train, *QUICK]) == 2
    err = capsys.readouterr().err
    assert "MQ-2142" in err and "--from a run, a bundle" in err and not (tmp_path / "run").exists()
    assert main([*train, *QUICK, *small, "finetunes=false", "--quiet"]) == 0, "who means it can do it"
    with pytest.raises(MaquetteError, match="MQ-2142"):
        maquette.compare(["finetune"], str(old.parent / "new"), "1steps", tmp_path / "all", overrides=QUICK, quiet=True)


@pytest.mark.parametrize(("source", "code"), [("nowhere", "MQ-5004"), ("", "MQ-7030"), ("unfinished", "MQ-7031")])
def test_there_must_be_something_to_begin_from(source: str, code: str, old: Path, tmp_path: Path) -> None:
    (tmp_path / "unfinished").mkdir()
    shutil.copy(old / "recipe.json", tmp_path / "unfinished/recipe.json")
    with pytest.raises(MaquetteError, match=code):
        begun(old, tmp_path / "run", begin=tmp_path / source)


def test_identities_hold_long_vocabularies_as_hashes_and_know_older_ones(old: Path) -> None:
    run = Run.open(old)
    long = run.facts["identity"] | {"medium.vocabulary": "a" * 5000}
    assert run.facts["identity"]["medium.vocabulary"] == run.recipe.medium.to_tree()["vocabulary"], "short ones stay"
    compare_identity(long, long)
    with pytest.raises(MaquetteError, match="MQ-7010.*medium.vocabulary sha256"):
        compare_identity(long, long | {"medium.vocabulary": "b" * 5000})
