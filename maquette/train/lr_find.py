"""A learning-rate range test (Smith 2017) for each player of a recipe; nothing of it is kept but the curves.

The rate of one player rises by the same factor every step while the others keep theirs; its loss falls, then bursts.
For players that work against each other the loss measures the balance between them, not quality: take the suggestion
as an upper bound there.
"""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

from maquette.core import files
from maquette.core.errors import MaquetteError
from maquette.train import curves
from maquette.train.learner import Learner
from maquette.train.loop import take_step
from maquette.train.recipe import Recipe
from maquette.train.session import prepare

LOW, HIGH = 1e-6, 1.0
_MEMORY = 0.9
"""Of the running mean that smooths the loss."""


@dataclass(frozen=True)
class Sweep:
    """What one player's loss did as its rate rose; `losses` are smoothed."""

    rates: list[float]
    losses: list[float]

    @property
    def suggestion(self) -> float:
        """A tenth of the rate at which the loss was lowest: where it still falls steadily."""
        return self.rates[self.losses.index(min(self.losses))] / 10


def find_rates(recipe: Recipe, steps: int = 100, picture: Path | str | None = None) -> dict[str, Sweep]:
    """A sweep of `steps` steps from 1e-6 to 1 for each player, each from the recipe's own start.

    Args:
        picture: an SVG of the curves goes there.

    Raises:
        MaquetteError: what is wrong with the recipe, its data or the place of the picture.
    """
    learner = prepare(recipe)
    sweeps = {}
    for player in learner.movers:
        sweeps[player] = sweep(learner, player, steps)
        learner = prepare(recipe, learner.dataset)
    if picture is not None:
        files.write_file(picture, plot(sweeps).encode())
    return sweeps


def plot(sweeps: dict[str, Sweep]) -> str:
    """An SVG of each player's loss against its rate, the rate on a logarithmic scale."""
    panels = {
        f"{player}: {sweep.suggestion:.2g}": {
            curves.TRAINING: [(math.log10(rate), loss) for rate, loss in zip(sweep.rates, sweep.losses, strict=True)]
        }
        for player, sweep in sweeps.items()
    }
    return curves.draw(panels, {curves.TRAINING: "smoothed loss by learning rate"}, lambda x: f"{10**x:.0e}")


def sweep(learner: Learner, player: str, steps: int) -> Sweep:
    """Raise the rate of `player` until its loss bursts; `learner` is spent afterwards."""
    mover = learner.movers[player]
    found, mean = Sweep([], []), 0.0
    for i in range(steps):
        rate = LOW * (HIGH / LOW) ** (i / max(1, steps - 1))
        mover.settings = dataclasses.replace(mover.settings, lr=rate, schedule="constant", warmup=0.0)
        try:
            notes = take_step(learner)
        except MaquetteError as burst:
            if burst.code != "MQ-6001":
                raise
            break
        learner.clock.tick()
        if f"{player}.loss" not in notes:  # a turn that is not taken on every step
            continue
        mean = _MEMORY * mean + (1 - _MEMORY) * float(notes[f"{player}.loss"])
        found.rates.append(rate)
        found.losses.append(mean / (1 - _MEMORY ** (len(found.losses) + 1)))
        if _burst(found.losses):
            break
    return found


def _burst(losses: list[float]) -> bool:
    """Whether the loss has risen far above its best, as measured by how far it had fallen or by its own size."""
    best, first, last = min(losses), losses[0], losses[-1]
    return not math.isfinite(last) or last - best > 2 * max(first - best, 0.5 * abs(first))
