"""Runs on disk: what is in the folder, how they resume, and what happens when the disk will not have it."""

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import maquette
import maquette.core.files as files
from maquette.bundle import read_bundle
from maquette.core.errors import MaquetteError
from maquette.train import keeper, looking, session
from maquette.train.run import Run
from maquette.train.session import resume, start
from tests.train import tiny


class Stop(Exception):
    """What a test raises in the middle of training, in place of a crash."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never disturbed; read it, do not write."""
    return start(tiny.ring(), tmp_path_factory.mktemp("whole") / "run", quiet=True).path


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """One to disturb, as if it had been stopped at its last checkpoint but one."""
    shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints/step-00000012")
    return tmp_path / "run"


def same(one: Path, other: Path, name: str) -> bool:
    return (one / name).read_bytes() == (other / name).read_bytes()


def tensors(run: Path) -> list[str]:
    return [f"checkpoints/step-00000012/{part}.safetensors" for part in ("model", "ema", "optimisers")]


def interrupt(monkeypatch: pytest.MonkeyPatch, at: int, error: BaseException) -> None:
    """Raise `error` at the storage call numbered `at` from now on, and at every later one."""
    made = 0

    def before(operation: str, path: Path) -> None:
        nonlocal made
        made += 1
        if made > at:
            raise error

    monkeypatch.setattr(files, "on_call", before)


# -- what there is ----------------------------------------------------------------------------------------------------


def test_a_run_holds_all_that_a_reader_needs(finished: Path) -> None:
    run = Run.open(finished)
    assert run.recipe == tiny.ring()
    assert run.facts["data"]["train"] > 0 and run.facts["identity"]["data.fingerprint"]
    assert [p.name for p in run.checkpoints()] == ["step-00000012", "step-00000011"]  # keep: 2
    assert {p.name for p in run.samples.iterdir()} >= {"step-00000012.png", "step-00000006.png", "curves.svg"}
    assert any(run.events.iterdir())
    bundle = read_bundle(run.bundle)
    assert bundle.card["steps"] == 12 and bundle.card["data"] == "ring8"
    bundle.build()
    assert "ring8" in (run.bundle / "README.md").read_text()


def test_metrics_say_each_step_once(finished: Path) -> None:
    lines = Run.open(finished).metrics()
    trained = [line["step"] for line in lines if "model.loss" in line]
    assert trained == sorted(set(trained)) and trained[-1] == 12
    held_out = [line for line in lines if "validation" in line]
    assert len(held_out) == 10 and "model.loss" in held_out[0]["validation"] and "nats" in held_out[0]["validation"]


def test_tensorboard_reads_its_events(finished: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished / "events"))
    events.Reload()
    assert events.Scalars("model/loss")[-1].step == 12
    assert events.Images("samples")


def test_looking_does_not_change_what_is_learnt(finished: Path, tmp_path: Path) -> None:
    rare = tiny.ring(validate_every=1.0, sample_every=1.0, checkpoint_every=1.0)
    other = start(rare, tmp_path / "rare", quiet=True).path
    assert all(same(finished, other, name) for name in tensors(other))


# -- resume -----------------------------------------------------------------------------------------------------------


def test_a_resumed_run_ends_in_the_same_bits(finished: Path, copied: Path) -> None:
    resume(copied, quiet=True)
    for name in [*tensors(copied), "samples/step-00000012.png", "bundle/model.safetensors"]:
        assert same(finished, copied, name), name
    steps = [line["step"] for line in Run.open(copied).metrics() if "validation" not in line]
    assert steps == [line["step"] for line in Run.open(finished).metrics() if "validation" not in line]


def test_without_a_checkpoint_it_begins_again(finished: Path, copied: Path) -> None:
    shutil.rmtree(copied / "checkpoints")
    resume(copied, quiet=True)
    assert all(same(finished, copied, name) for name in tensors(copied))


def test_a_finished_run_gets_its_bundle_back(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/bundle")
    resume(tmp_path / "run", quiet=True)
    assert same(finished, tmp_path / "run", "bundle/model.safetensors")


def test_a_longer_budget_goes_on(copied: Path) -> None:
    run = resume(copied, quiet=True, budget="15steps")
    assert run.checkpoints()[0].name == "step-00000015" and Run.open(copied).recipe.train.budget == "15steps"
    assert read_bundle(run.bundle).card["budget"] == "15steps"


def test_the_bundle_of_the_lowest_held_out_loss_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held_out = [5.0, 3.0, float("nan"), 4.0, 4.0, 2.0]  # of steps 3, 6, 9 and 12, of 12 again, and of 15
    monkeypatch.setattr(looking, "validate", lambda *_: {"model.loss": held_out.pop(0)})
    recipe = tiny.ring(best=True, validate_every=0.25, checkpoint_every=0.25, keep=9)
    run = start(recipe, tmp_path / "run", quiet=True)
    bundle = read_bundle(run.bundle)
    assert (bundle.card["steps"], bundle.card["held_out_loss"]) == (6, 3.0)
    ema = files.Folder(run.path / "checkpoints/step-00000006").read_tensors("ema.safetensors")
    assert all(torch.equal(bundle.weights[name], ema[name]) for name in bundle.weights)
    shutil.rmtree(run.path / "checkpoints/step-00000012")  # as if it had been killed before
    resume(run.path, quiet=True)
    assert read_bundle(run.bundle).card["steps"] == 6
    resume(run.path, quiet=True, budget="15steps")
    assert read_bundle(run.bundle).card["steps"] == 15


def test_of_long_sequences_fewer_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, given = [], keeper.held_out
    monkeypatch.setattr(keeper, "held_out", lambda *terms: asked.append(terms[2:4]) or given(*terms))
    net = "model.net={kind: transformer, width: 16, depth: 1, heads: 2}"
    words = ["medium.tokenizer=byte", "medium.length=512", "train.batch=4", "train.samples=1", net]
    maquette.train("gpt-char", "pydoc", "1steps", tmp_path / "run", words, quiet=True)
    assert {*asked} == {((1 << 13) // 513, (1 << 16) // 513)}  # windows hold 513 tokens


@pytest.mark.parametrize("part", ["model.safetensors", "state.json", "MANIFEST.json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "delete"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(
    finished: Path, tmp_path: Path, part: str, harm: str, capsys: pytest.CaptureFixture
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    victim = run / "checkpoints/step-00000012" / part
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 4
    if harm == "delete":
        victim.unlink()
    else:
        victim.write_bytes(data if harm == "flip" else data[: len(data) // 2])
    resume(run, quiet=True)
    said = capsys.readouterr().err
    assert "warning[MQ-5012]: the checkpoint step-00000012 is damaged" in said
    assert all(same(finished, run, name) for name in tensors(run))


def test_no_whole_checkpoint_is_an_error(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    for state in run.glob("checkpoints/*/state.json"):
        state.unlink()
    with pytest.raises(MaquetteError, match="MQ-5013"):
        resume(run, quiet=True)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("train.seed", 1, "train.seed 0 then, 1 now"),
        ("train.batch", 32, "train.batch 16 then, 32 now"),
        ("train.precision", "bf16", "train.precision fp32 then, bf16 now"),
        ("model.latent", 3, "model.latent 2 then, 3 now"),
        ("data.seed", 5, "data.fingerprint"),
        ("train.optimizers", {"model": {"lr": 0.5}}, "train.optimizers.model.lr"),
    ],
)
def test_a_run_that_was_made_otherwise_is_not_resumed(copied: Path, field: str, value: Any, said: str) -> None:
    tree = json.loads((copied / "recipe.json").read_text())
    *parents, last = field.split(".")
    here = tree["recipe"]
    for name in parents:
        here = here[name]
    here[last] = value
    (copied / "recipe.json").write_text(json.dumps(tree))
    with pytest.raises(MaquetteError, match="MQ-7010") as caught:
        resume(copied, quiet=True)
    assert said in str(caught.value)


def test_other_threads_and_versions_only_warn(copied: Path, capsys: pytest.CaptureFixture) -> None:
    tree = json.loads((copied / "recipe.json").read_text())
    tree["facts"]["threads"] += 7
    tree["facts"]["versions"]["torch"] = "1.0"
    (copied / "recipe.json").write_text(json.dumps(tree))
    resume(copied, quiet=True)
    assert capsys.readouterr().err.count("warning[MQ-7012]") == 2


# -- the folder -------------------------------------------------------------------------------------------------------


def test_a_run_is_not_overwritten(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(MaquetteError, match="MQ-5010.*") as caught:
        start(tiny.ring(), finished)
    assert f"maquette resume {finished}" in str(caught.value)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(MaquetteError, match="MQ-5005"):
        start(tiny.ring(), tmp_path)


def test_what_a_killed_beginning_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.recipe.json.123.tmp").write_text("{")
    start(tiny.ring(), tmp_path / "run", quiet=True)
    assert [p.name for p in (tmp_path / "run").rglob(".*")] == [".lock"]


def test_only_runs_are_resumed(tmp_path: Path) -> None:
    with pytest.raises(MaquetteError, match="MQ-5004"):
        resume(tmp_path / "none")
    with pytest.raises(MaquetteError, match="MQ-5011"):
        resume(tmp_path)
    (tmp_path / "recipe.json").write_text("[]")
    with pytest.raises(MaquetteError, match="MQ-5011"):
        resume(tmp_path)


def test_two_processes_do_not_train_into_one_folder(copied: Path) -> None:
    with files.lock(copied), pytest.raises(MaquetteError, match="MQ-4001"):
        resume(copied, quiet=True)


def test_space_is_asked_for_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "free_bytes", lambda path: 1000)
    with pytest.raises(MaquetteError, match="MQ-5002"):
        start(tiny.ring(), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_refuses_leaves_the_last_checkpoint_whole(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """At storage calls throughout a run; afterwards, with room again, the run goes on to the same bits."""
    rare = tiny.ring(validate_every=0.5, sample_every=1.0, checkpoint_every=0.5)
    for at in (8, 40, 75):
        run = tmp_path / f"run-{at}"
        interrupt(monkeypatch, at, OSError(number, "refused"))
        with pytest.raises(MaquetteError, match="MQ-5001") as caught:
            start(rare, run, quiet=True)
        assert str(run) in caught.value.where and caught.value.exit_code == 5
        monkeypatch.setattr(files, "on_call", None)
        resume(run, quiet=True)
        assert all(same(finished, run, name) for name in tensors(run))


def test_a_file_that_cannot_grow_is_told_with_its_name(tmp_path: Path) -> None:
    """The system itself refuses here: no file may grow beyond 4,000 bytes once training has begun."""
    programme = (
        "import resource, sys\nfrom maquette.core.errors import MaquetteError\nfrom maquette.train import session\n"
        "from tests.train.tiny import ring\nwork = session._work\n"
        "def limited(*a):\n    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))\n    return work(*a)\n"
        "session._work = limited\n"
        "try:\n    session.start(ring(), sys.argv[1], quiet=True)\n"
        "except MaquetteError as bad:\n    print(bad.code, bad.where)\n"
    )
    arguments = [sys.executable, "-c", programme, tmp_path / "run"]
    done = subprocess.run(arguments, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    code, where = done.stdout.split()
    assert code == "MQ-5001" and Path(where).is_relative_to(tmp_path / "run"), done.stderr
    assert Run.open(tmp_path / "run").newest(lambda warning: pytest.fail(str(warning))) is None


def test_an_error_in_the_loop_saves_nothing_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(monkeypatch, 60, Stop())
    with pytest.raises(Stop):
        start(tiny.ring(), tmp_path / "run", quiet=True)
    monkeypatch.setattr(files, "on_call", None)
    assert Run.open(tmp_path / "run").newest(lambda warning: pytest.fail(str(warning))) is not None


# -- before the first step --------------------------------------------------------------------------------------------


def test_a_model_that_draws_the_wrong_shape_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = tiny.learner()
    monkeypatch.setattr(tiny.Duel, "draw", lambda self, predict, start, how, rng: predict(start)[:, :1])
    with pytest.raises(MaquetteError, match="MQ-7011") as caught:
        session.inspect(learner)
    assert "it draws (1,), the medium has (2,)" in str(caught.value)


def test_a_loss_that_is_not_finite_from_the_start_is_refused() -> None:
    learner = tiny.learner()
    learner.model.poison = "loss"  # type: ignore[assignment]
    with pytest.raises(MaquetteError, match="MQ-6010.*"):
        session.inspect(learner)


def test_inspecting_leaves_no_trace() -> None:
    learner = tiny.learner()
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    session.inspect(learner)
    assert all(np.array_equal(value, before[name]) for name, value in learner.model.state_dict().items())
    assert learner.model.training
