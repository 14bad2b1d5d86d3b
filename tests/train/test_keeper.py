"""What is done between steps leaves a short budget to learning."""

from types import SimpleNamespace

import pytest

from maquette.train import keeper as module
from maquette.train.keeper import Keeper


class Looks:
    """A keeper with a clock of its own, on which a look takes 12 seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, limit: float | None):
        self.now, self.taken = 0.0, 0
        self.clock = SimpleNamespace(limit=limit, over=False, seconds_here=0.0)
        self.keeper = Keeper.__new__(Keeper)
        self.keeper.learner, self.keeper._looked = SimpleNamespace(clock=self.clock), 0.0  # type: ignore[assignment]
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)

    def at(self, seconds: float) -> int:
        """How many looks there were once one was due at `seconds`."""
        self.now = self.clock.seconds_here = max(self.now, seconds)
        self.keeper.look(self._look)
        return self.taken

    def _look(self) -> None:
        self.now, self.taken = self.now + 12, self.taken + 1


def test_looks_take_a_tenth_of_a_budget_of_seconds_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(monkeypatch, limit=600)
    assert looks.at(6) == 1, "nothing was spent on looks yet"
    assert [looks.at(s) for s in (20, 60, 119)] == [1, 1, 1], "12 seconds are more than a tenth"
    assert looks.at(120) == 2
    assert looks.at(200) == 2
    looks.clock.over = True
    assert looks.at(201) == 3, "the last is always taken"


def test_a_budget_of_steps_has_every_look(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(monkeypatch, limit=None)
    assert [looks.at(s) for s in (6, 20, 40)] == [1, 2, 3]
