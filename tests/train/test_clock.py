"""Budgets of steps, epochs and seconds, and when their shares are passed."""

import pytest

from maquette.train import clock
from maquette.train.clock import Clock
from maquette.train.distributed import Ranks
from maquette.train.recipe import Budget


def walk(budget: str, share: float, step: int = 0, per_epoch: int = 5) -> list[int]:
    """The steps after which `share` was passed."""
    time = Clock(Budget.parse(budget), per_epoch, Ranks(), step)
    passed = []
    while not time.over:
        time.tick()
        if time.passed(share):
            passed.append(time.step)
    return passed


def test_shares_of_steps() -> None:
    assert walk("10steps", 0.3) == [3, 6, 9, 10]
    assert walk("10steps", 1.0) == [10]
    assert walk("3steps", 0.1) == [1, 2, 3]
    assert walk("100steps", 0.1) == list(range(10, 101, 10))


def test_a_resumed_run_passes_the_same_marks() -> None:
    assert walk("10steps", 0.3, step=4) == [6, 9, 10]
    assert walk("10steps", 0.3, step=10) == []


def test_epochs_are_steps() -> None:
    assert walk("2epochs", 0.5, per_epoch=7) == [7, 14]


def test_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(clock.time, "monotonic", lambda: now)
    time = Clock(Budget.parse("1min"), 5, Ranks(), step=3, seconds=30.0)
    assert time.progress == 0.5 and not time.over
    now += 1000  # packing data, say
    time.start()
    now += 6
    time.tick()
    assert time.progress == pytest.approx(0.6) and time.passed(0.1) and not time.passed(0.25)
    now += 20  # a slow sheet: the mark it passed is seen after the next step
    time.tick()
    assert time.passed(0.25) and time.seconds == 56.0 and time.seconds_here == 26.0
    now += 10
    time.tick(stop=True)
    assert time.over and time.progress == 1.0 and time.passed(0.3) and time.asked_to_stop
