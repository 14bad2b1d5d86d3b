"""What a run says: lines of metrics, curves, and the words on stderr."""

import xml.etree.ElementTree as xml
from pathlib import Path
from typing import Any

import pytest
import torch

from maquette.core.errors import MaquetteError, Sentence
from maquette.train.clock import Clock
from maquette.train.curves import plot, series
from maquette.train.distributed import Ranks
from maquette.train.log import Log
from maquette.train.recipe import Budget
from maquette.train.run import Run
from tests.train import tiny


def pace(rate: float) -> Sentence:
    return Sentence(f"{rate:.0f} steps/s", f"{rate:.0f} 步/秒")


@pytest.fixture
def clock() -> Clock:
    return Clock(Budget.parse("4steps"), 1, Ranks())


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", tiny.ring(), {})


def test_a_line_is_the_mean_since_the_last(run: Run, clock: Clock) -> None:
    log = Log(run, clock, pace=pace, quiet=True, purge=1)
    for value in (1.0, 3.0):
        log.note({"model.loss": torch.tensor(value)})
        clock.tick()
    log.flush(clock, Ranks(), {"model.rate": 0.5})
    log.flush(clock, Ranks(), {"model.rate": 0.5})  # nothing new, no line
    log.note({"model.loss": torch.tensor(torch.inf)})
    log.flush(clock, Ranks(), {})
    log.close()
    first, second = run.metrics()
    assert first["step"] == 2 and first["progress"] == 0.5 and first["model.loss"] == 2.0 and first["model.rate"] == 0.5
    assert second["model.loss"] is None  # strict JSON has no infinity


def test_words_go_to_stderr_and_quiet_keeps_warnings(run: Run, clock: Clock, capsys: pytest.CaptureFixture) -> None:
    for quiet in (False, True):
        log = Log(run, clock, pace=pace, quiet=quiet, purge=1)
        log.say("hello")
        log.warn(MaquetteError("MQ-6020", step=3, ratio="0.1"))
        log.close()
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("hello") == 1 and said.err.count("warning[MQ-6020]") == 2


def test_the_last_step_is_always_told(run: Run, clock: Clock, capsys: pytest.CaptureFixture) -> None:
    log = Log(run, clock, pace=pace, quiet=False, purge=1)
    for _ in range(4):
        log.note({"model.loss": torch.tensor(2.5)})
        clock.tick()
        log.flush(clock, Ranks(), {})
    log.close()
    assert "step 4  100%  model.loss 2.5" in capsys.readouterr().err


def test_a_terminal_gets_a_bar(run: Run, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    log = Log(run, clock, pace=pace, quiet=False, purge=1)
    clock.tick()
    log.note({"model.loss": torch.tensor(2.5)})
    log.flush(clock, Ranks(), {})
    assert log._bar.tasks[0].completed == 250 and "model.loss 2.5" in log._bar.tasks[0].fields["losses"]
    log.close()


LINES: list[dict[str, Any]] = [
    {"step": 10, "progress": 0.5, "seconds": 1, "model.loss": 3.0, "model.rate": 0.1},
    {"step": 10, "validation": {"model.loss": 4.0}},
    {"step": 20, "progress": 1.0, "seconds": 2, "model.loss": 1.0, "model.rate": 0.1, "model.kl<": None},
    {"step": 20, "validation": {"model.loss": 2.0, "nats": 7.0}},
]


def test_curves_are_a_picture_of_the_metrics() -> None:
    root = xml.fromstring(plot(LINES))
    lines = [e.get("points", "") for e in root.iter() if e.tag.endswith("polyline")]
    texts = {e.text for e in root.iter() if e.tag.endswith("text")}
    assert {"model.loss", "nats", "step 20"} <= texts and "model.rate" not in texts
    assert len(lines) == 3  # training and held out of model.loss, held out of nats
    (x1, y1), (x2, y2) = (tuple(map(float, p.split(","))) for p in lines[0].split())
    assert x2 > x1 and y2 > y1  # later is right, lower is down


def test_series_leave_out_what_is_no_number() -> None:
    assert series(LINES[2:3]) == {"model.loss": [(20, 1.0)], "model.rate": [(20, 0.1)]}
    xml.fromstring(plot([]))
