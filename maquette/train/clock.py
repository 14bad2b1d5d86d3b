"""How far a run has come: steps or seconds against its budget, agreed by all ranks."""

import time

from maquette.train.distributed import Ranks
from maquette.train.recipe import Budget


class Clock:
    """Counts steps and seconds; `progress` runs from 0 to 1 over the budget.

    Seconds are the wall time of the loop with all that a user waits for (sheets, validation, checkpoints), not the
    packing of data before it. A budget of seconds is looked at between steps, so the last step may run over.

    Args:
        step, seconds: where a resumed run stands.
    """

    def __init__(self, budget: Budget, steps_per_epoch: int, ranks: Ranks, step: int = 0, seconds: float = 0.0):
        epochs = steps_per_epoch if budget.unit == "epochs" else 1
        self.steps = None if budget.unit == "s" else max(1, round(budget.amount * epochs))
        self.limit = budget.amount if budget.unit == "s" else None
        self.step, self._ranks = step, ranks
        self._began, self._before_this = time.monotonic() - seconds, seconds
        self.asked_to_stop = False
        self.progress = self._before = self._measure(seconds)

    def start(self) -> None:
        """The loop begins now: what came before (packing, the first look at the model) is not counted."""
        self._began = time.monotonic() - self._before_this

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    @property
    def seconds_here(self) -> float:
        """Of them, those since this process began or resumed."""
        return self.seconds - self._before_this

    @property
    def over(self) -> bool:
        return self.progress >= 1

    def tick(self, stop: bool = False) -> None:
        """One step is done; `stop` says whether this rank was asked to stop, `asked_to_stop` whether any was."""
        self.step += 1
        seconds, asked = self._ranks.largest(self.seconds, float(stop))
        self.asked_to_stop = bool(asked)
        self._before, self.progress = self.progress, self._measure(seconds)

    def passed(self, share: float) -> bool:
        """Whether the last step crossed a multiple of `share` of the budget, or ended it."""
        return self.over or int(self.progress / share + 1e-9) > int(self._before / share + 1e-9)

    def _measure(self, seconds: float) -> float:
        done = self.step / self.steps if self.steps else seconds / self.limit if self.limit else 1.0
        return min(1.0, done)
