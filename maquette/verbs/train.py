"""Learn a recipe, and go on with what was begun."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from maquette.train import session
from maquette.train.begin import begin as opened
from maquette.train.begin import kind_of
from maquette.train.recipe import Recipe
from maquette.train.run import Run
from maquette.verbs.recipes import read, title


def train(
    recipe: str | Recipe,
    data: str | None = None,
    budget: str | None = None,
    out: Path | str | None = None,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    device: str | None = None,
    quiet: bool = False,
    begin: Path | str | None = None,
) -> Run:
    """Train a recipe into a new run.

    Args:
        recipe: its name, the path of a YAML file, or the tree itself.
        data: a folder or the name of a set, instead of the recipe's.
        budget: `2000steps`, `90s`, `10min`, `1h` or `5epochs`.
        out: the run's folder; by default `runs/RECIPE`, numbered when that is taken.
        overrides: `key=value` for any field of the recipe.
        begin: a run, a bundle, a folder of the Hugging Face libraries or hf:NAME on their hub, whose weights training
            begins from; its medium, codec and model, its craft and its words take the place of the recipe's, and
            overrides go over them.

    Raises:
        MaquetteError: whatever is wrong with the recipe, the data or the folder, before anything is written.
    """
    settings = {"data.source": data, "train.budget": budget, "train.seed": seed, "train.device": device}
    beginning, plain = None, recipe
    if begin is not None:
        beginning = opened(begin, kind_of(overrides))
        plain = read(recipe)
        parts = {"medium": beginning.medium, "codec": beginning.coding.named, "model": beginning.model}
        plain = replace(plain, data=beginning.read(plain.data), **parts)
    ready = read(plain, overrides, **settings)
    name = title(recipe) if isinstance(recipe, str) else ready.model.kind()
    return session.start(ready, free_folder(Path("runs"), name) if out is None else Path(out), quiet, beginning)


def resume(run: Path | str, budget: str | None = None, quiet: bool = False) -> Run:
    """Go on with a run from its last checkpoint, ending in the bits of one that was never stopped.

    Args:
        budget: another than it was begun with.
    """
    return session.resume(run, quiet, budget)


def free_folder(parent: Path, name: str) -> Path:
    """`parent/name`, or with the first number from 2 that makes it new."""
    path, number = parent / name, 2
    while path.exists():
        path, number = parent / f"{name}-{number}", number + 1
    return path
