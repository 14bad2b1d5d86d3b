"""Try rising learning rates, and suggest one for each player."""

from collections.abc import Sequence

from maquette.train.lr_find import find_rates
from maquette.train.recipe import Recipe
from maquette.verbs.recipes import read


def lr_find(
    recipe: str | Recipe, data: str | None = None, overrides: Sequence[str] = (), device: str | None = None
) -> dict[str, float]:
    """A learning rate for each player of `recipe`, from a short sweep of which nothing is kept."""
    ready = read(recipe, overrides, **{"data.source": data, "train.device": device})
    return {player: sweep.suggestion for player, sweep in find_rates(ready).items()}
