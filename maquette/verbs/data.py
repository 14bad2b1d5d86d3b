"""Look over samples before learning from them."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from maquette.data.check import CheckReport
from maquette.data.check import check as look
from maquette.media import decode, film, midi, sound
from maquette.media import text as text_medium
from maquette.verbs.recipes import read, recipes

PICTURES, TEXT = ("dcgan",), ("chat", "medium.asks=false")
OTHERS = {"film": "video", "sound": "audio", "music": "music"}
"""Recipes, with a change, whose media read files that no recipe was named for."""


def check_data(
    folder: Path | str, recipe: str = "", overrides: Sequence[str] = (), move_bad: Path | str | None = None
) -> CheckReport:
    """Counts, sizes, copies, leakage between splits, and every file that cannot be read, by name.

    Args:
        folder: of samples, or anything else that `data.source` may be.
        recipe: whose medium reads the files; "" for one of films, sound or music where there are more of them than
            pictures, of text where there are such files and no picture, else for one of pictures.
        overrides: `key=value` for that recipe, such as medium.size=64.
        move_bad: a folder to which files that cannot be read are moved.

    Raises:
        MaquetteError: MQ-3013 no such source, MQ-3002 nothing there to read, MQ-2xxx a recipe or override that is none,
            MQ-5005 a file of that name lies in `move_bad` already. Never for files that cannot be read.
    """
    name, *changes = (recipe,) if recipe else suited(Path(folder))
    return look(folder, read(name, [*changes, *overrides]).medium.build(), move_bad)


def suited(path: Path) -> tuple[str, ...]:
    """The recipe that reads what is there, by its suffixes."""
    text, found = text_medium.Config().suffixes, Counter[str]()
    for name in _names(path):
        suffix = os.path.splitext(name)[1].lower()
        found["picture"] += suffix in decode.SUFFIXES
        found["film"] += suffix in film.SUFFIXES - decode.SUFFIXES
        found["sound"] += suffix in sound.SUFFIXES
        found["music"] += suffix in midi.SUFFIXES
        found["text"] += suffix in text
    most = max(OTHERS, key=lambda kind: found[kind])
    if found[most] and found[most] >= found["picture"]:
        return (next(recipe.name for recipe in recipes() if recipe.name.startswith(f"{OTHERS[most]}/")),)
    return TEXT if found["text"] and not found["picture"] else PICTURES


def _names(path: Path) -> Iterator[str]:
    if not path.is_dir():
        yield path.name
    for _, _, names in os.walk(path):
        yield from names
