"""The teacher of a recipe: found, and kept in the run, which so depends on no other folder."""

from pathlib import Path

from maquette.bundle import Bundle, find_bundle, read_bundle
from maquette.core import files
from maquette.train.recipe import Recipe
from maquette.train.run import Run


def find(recipe: Recipe, kept: Run | None = None) -> Bundle | None:
    """The teacher that a recipe names, if it names one; what `keep` put into the run `kept` comes first.

    Raises:
        MaquetteError: MQ-5004, MQ-7030, MQ-7031 and what `read_bundle` raises.
    """
    if recipe.teacher is None:
        return None
    return read_bundle(kept.teacher if kept is not None and kept.teacher.is_dir() else _folder(recipe.teacher.source))


def keep(recipe: Recipe, run: Run) -> None:
    """Put a copy of the teacher into the run."""
    if recipe.teacher is None:
        return
    source = files.Folder(_folder(recipe.teacher.source))

    def fill(here: Path) -> None:
        for name in source.listed:
            files.put(here / name, source.read(name))

    files.commit_folder(run.teacher, fill)


def _folder(source: str) -> Path:
    return find_bundle(Path(source).expanduser())
