"""Try rising learning rates, and suggest one for each player."""

from collections.abc import Sequence
from pathlib import Path

from maquette.train.lr_find import find_rates
from maquette.train.recipe import Recipe
from maquette.verbs.recipes import read


def lr_find(
    recipe: str | Recipe,
    data: str | None = None,
    overrides: Sequence[str] = (),
    device: str | None = None,
    out: Path | str | None = None,
) -> dict[str, float]:
    """A learning rate for each player of `recipe`, from a short sweep of which nothing is kept but its curves.

    Args:
        out: an SVG file for the curves.

    Raises:
        MaquetteError: what is wrong with the recipe, the overrides, the data or the place of the curves.
    """
    ready = read(recipe, overrides, **{"data.source": data, "train.device": device})
    return {player: sweep.suggestion for player, sweep in find_rates(ready, picture=out).items()}
