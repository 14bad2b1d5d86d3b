"""Maquette's side of the speed rows: the steps of its own loop, on a recipe as a user would write it."""

from pathlib import Path

from maquette.train.learner import Learner
from maquette.train.loop import take_step
from maquette.train.session import prepare
from maquette.verbs.recipes import read


def learner(recipe: str, data: Path | str, *overrides: str) -> Learner:
    """All that training holds, for a budget that no benchmark reaches."""
    return prepare(read(recipe, overrides, **{"data.source": str(data), "train.budget": "1000000steps"}))


def step(learner: Learner) -> int:
    """One step of the loop, batching, averaging and all; the number of samples that it saw."""
    take_step(learner)
    learner.clock.tick()
    return learner.recipe.train.batch


def facts(learner: Learner) -> dict[str, object]:
    settings = learner.recipe.train
    parameters = {name: sum(p.numel() for p in own) for name, own in learner.weights.items()}
    return {
        "parameters": parameters,
        "precision": settings.precision,
        "layout": settings.layout,
        "batch": settings.batch,
    }
