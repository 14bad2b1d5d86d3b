"""`maquette plan`: what it foretells of the loop is what the loop does, and it leaves nothing behind."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from maquette.cli.main import main
from maquette.core.errors import MaquetteError
from maquette.train import clock, keeper, loop, probe
from maquette.train.keeper import Keeper
from maquette.train.learner import Learner
from maquette.train.probe import Costs
from maquette.train.run import Run
from maquette.train.signals import Signals
from maquette.verbs.plan import Course, foreseen
from maquette.verbs.recipes import read
from tests.train import tiny

COSTS = Costs(
    start=4.0, warm=2.0, step=0.5, validate=1.3, draw=7.3, save=0.7, memory=1, gpu=0, checkpoint=1, bundle=1, sheet=1,
    line=1, rest=1, device="cpu",
)  # fmt: skip


class Time:
    """A clock that only work moves."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def spend(self, seconds: float) -> None:
        self.now += seconds


class Watched(Keeper):
    """Counts its looks, each of which takes what `COSTS` says; when they are taken is as in any other."""

    def __init__(self, learner: Learner, time: Time):
        self.learner, self.time, self._looked, self.done = learner, time, 0.0, {"validate": 0, "draw": 0, "save": 0}

    def note(self, stats: Any) -> None:
        pass

    def log_line(self, now: bool = False) -> None:
        pass

    def _did(self, what: str) -> None:
        self.done[what] += 1
        self.time.spend(getattr(COSTS, what))

    def validate(self) -> None:
        self._did("validate")

    def draw(self) -> None:
        self._did("draw")

    def save(self) -> None:
        self._did("save")


def really(monkeypatch: pytest.MonkeyPatch, learner: Learner, time: Time) -> Course:
    """The loop itself, with `COSTS` in place of work."""

    def step(learner: Learner) -> dict[str, Any]:
        time.spend(COSTS.step if learner.clock.step else COSTS.step + COSTS.warm)
        return {}

    monkeypatch.setattr(loop, "take_step", step)
    watched = Watched(learner, time)
    loop.train(learner, watched, Signals())
    done = watched.done
    return Course(learner.clock.step, done["validate"], done["draw"], done["save"], time.now)


@pytest.mark.parametrize("budget", ["1step", "7steps", "40steps", "1000steps", "3epochs", "5s", "60s", "20min"])
@pytest.mark.parametrize("shares", [(0.1, 0.1, 0.1), (0.3, 0.07, 0.5), (1.0, 1.0, 1.0)], ids=str)
def test_what_is_foreseen_is_what_the_loop_does(
    budget: str, shares: tuple[float, float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Time()
    for module in (clock, keeper):
        monkeypatch.setattr(module, "time", time)
    names = ("validate_every", "sample_every", "checkpoint_every")
    learner = tiny.learner(budget=budget, **dict(zip(names, shares, strict=True)))
    course = foreseen(learner.recipe.train, learner.budget, learner.batches.steps_per_epoch, COSTS)
    real = really(monkeypatch, learner, time)
    assert (course.steps, course.validations, course.sheets, course.checkpoints) == (
        real.steps, real.validations, real.sheets, real.checkpoints,
    )  # fmt: skip
    assert course.seconds == pytest.approx(real.seconds)


def test_turns_that_are_taken_now_and_then_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second turn of `left` is due on every third step, and takes 5 s there."""
    time, learner = Time(), tiny.learner(budget="1000steps")

    def step(learner: Any) -> dict[str, Any]:
        time.spend(6 if learner.clock.step % 3 == 0 else 1)
        return {}

    monkeypatch.setattr(probe, "time", time)
    monkeypatch.setattr(probe, "take_step", step)
    assert probe._pace(learner, Watched(learner, time)) == pytest.approx((6 + 1 + 1) / 3)


def test_the_parts_of_a_probe(recipe: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SECONDS", 0.3)
    found = probe.probe(read(str(recipe)), tmp_path)
    seconds = found.pop("seconds")
    costs = Costs(start=1.0, **found)  # type: ignore[arg-type]
    assert 0 < costs.step < seconds and costs.warm >= 0 and costs.gpu == 0
    assert min(costs.validate, costs.draw, costs.save) > 0 and costs.memory > 1e8
    (_, newest), bundle = sorted((run.path / "checkpoints").iterdir()), run.bundle
    for folder, told in ((newest, costs.checkpoint), (bundle, costs.bundle)):
        assert told == pytest.approx(sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()), rel=0.05)
    assert costs.sheet > (run.samples / "step-00000040.png").stat().st_size


def here(command: list[str], input: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """The child's part in this process, for which tests/docs/test_readme.py starts one."""
    assert command == [sys.executable, "-m", "maquette.train.probe"]
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.StringIO(input))
        patch.setattr(sys, "stdout", said)
        probe.main()
    return subprocess.CompletedProcess(command, 0, said.getvalue(), "")


def test_the_command_says_all_and_leaves_nothing(
    recipe: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(probe, "SECONDS", 0.3)
    monkeypatch.setattr(probe.subprocess, "run", here)
    before = {path.name for path in Path.cwd().iterdir()}
    assert main(["plan", str(recipe), "--budget", "400steps", "train.batch=16", "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    said = dict(line.split(maxsplit=1) for line in out.splitlines() if not line.startswith(" "))
    assert said["parameters"] == f"{sum(run.facts['parameters'].values()):,}"
    assert said["training"].startswith("400steps: 400 steps") and "cpu" in said["device"] and err == ""
    assert {"data", "time", "memory", "disk"} <= said.keys() and "for 16 samples" in out
    assert list(tmp_path.iterdir()) == [] and {path.name for path in Path.cwd().iterdir()} <= before | {"__pycache__"}


# -- when it goes wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "exit_code"),
    [
        (["nothing-like-it"], "MQ-2006", 2),
        (["points-gan", "--budget", "soon"], "MQ-2002", 2),
        (["points-gan", "train.bacth=3"], "MQ-2001", 2),
        (["points-gan", "--data", "nowhere/"], "MQ-3013", 3),
        (["vq-gpt", "--data", "digits", "codec=runs/nowhere"], "MQ-5004", 5),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(
    words: list[str], code: str, exit_code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *words]) == exit_code
    out, err = capsys.readouterr()
    assert out == "" and code in err and "Traceback" not in err


def answered(monkeypatch: pytest.MonkeyPatch, returncode: int, stdout: str = "", stderr: str = "") -> None:
    done = subprocess.CompletedProcess([], returncode, stdout, stderr)
    monkeypatch.setattr(probe.subprocess, "run", lambda *words, **more: done)


def test_a_process_that_was_killed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    answered(monkeypatch, -9)
    with pytest.raises(MaquetteError, match="signal 9") as refused:
        probe.costs(tiny.ring())
    assert refused.value.code == "MQ-2250"
    answered(monkeypatch, 1, stderr="Traceback …\nRuntimeError: out of memory\n")
    with pytest.raises(MaquetteError, match="out of memory"):
        probe.costs(tiny.ring())


def test_a_mistake_found_in_the_process_is_the_same_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tree = tiny.ring().to_tree()
    tree["data"]["source"] = str(tmp_path / "nowhere")
    asked, said = io.StringIO(json.dumps({"recipe": tree, "folder": str(tmp_path)})), io.StringIO()
    monkeypatch.setattr(sys, "stdin", asked)
    monkeypatch.setattr(sys, "stdout", said)
    probe.main()
    answered(monkeypatch, 0, said.getvalue())
    with pytest.raises(MaquetteError, match="nowhere") as refused:
        probe.costs(tiny.ring())
    assert refused.value.code == "MQ-3013"
