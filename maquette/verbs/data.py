"""Look over samples before learning from them."""

from collections.abc import Sequence
from pathlib import Path

from maquette.data.check import CheckReport
from maquette.data.check import check as look
from maquette.verbs.recipes import read


def check(
    folder: Path | str, recipe: str = "dcgan", overrides: Sequence[str] = (), move_bad: Path | str | None = None
) -> CheckReport:
    """Counts, sizes, copies, leakage between splits, and every file that cannot be read, by name.

    Args:
        folder: of samples, or anything else that `data.source` may be.
        recipe: whose medium reads the files.
        overrides: `key=value` for that recipe, such as medium.size=64.
        move_bad: a folder to which files that cannot be read are moved.
    """
    return look(folder, read(recipe, overrides).medium.build(), move_bad)
