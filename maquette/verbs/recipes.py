"""Recipes by name: the YAML files of `maquette/recipes/`, or any other by its path."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maquette.core.config import Lines, describe, override, read_yaml
from maquette.core.errors import MaquetteError, nearest

if TYPE_CHECKING:
    from maquette.train.recipe import Recipe

FOLDER = Path(__file__).parent.parent / "recipes"


@dataclass(frozen=True)
class Listed:
    """A recipe that comes with Maquette. `about` is its header comment: what it makes, time, score, command."""

    name: str
    path: Path
    about: str


def recipes() -> list[Listed]:
    """All recipes that come with Maquette, by folder and name."""
    return [Listed(_name(path), path, _header(path)) for path in sorted(FOLDER.rglob("*.yaml"))]


def find(name: str) -> Path:
    """The file of a recipe: `image/dcgan`, its stem `dcgan` when only one has it, or the path of any YAML file.

    Raises:
        MaquetteError: MQ-2006 with the nearest name, MQ-2115 when a stem stands for several.
    """
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    known = {recipe.name: recipe.path for recipe in recipes()}
    if name in known:
        return known[name]
    alike = [full for full in known if full.rpartition("/")[2] == name]
    if len(alike) > 1:
        raise MaquetteError("MQ-2115", name=name, names=", ".join(alike))
    if alike:
        return known[alike[0]]
    raise MaquetteError("MQ-2006", name=name, near=nearest(name, {*known, *(k.rpartition("/")[2] for k in known)}))


def read(recipe: "str | Recipe", overrides: Sequence[str] = (), **settings: object) -> "Recipe":
    """A recipe, by name or as it is, with `key=value` overrides put in and then `settings` by dotted name (None: no).

    Raises:
        MaquetteError: naming the file and line, or the override, at fault.
    """
    from maquette.train.recipe import Recipe

    tree, lines = read_yaml(find(recipe)) if isinstance(recipe, str) else (recipe.to_tree(), Lines())
    tree = override(tree, list(overrides))
    lines.over = {text.partition("=")[0]: text for text in overrides}
    for key, value in settings.items():
        if value is not None:
            part, _, field = key.partition(".")
            inner = tree.get(part)
            tree[part] = (inner if isinstance(inner, dict) else {}) | {field: value}
            lines.over[key] = f"{key}={value}"
    return Recipe.from_tree(tree, lines=lines)


def show(recipe: "str | Recipe", overrides: Sequence[str] = ()) -> str:
    """A recipe as YAML with every setting and, beside it, what it means; the first line names the file it is of.

    Raises:
        MaquetteError: as `read`.
    """
    lines = [f"# {find(recipe)}"] if isinstance(recipe, str) else []
    return "\n".join([*lines, describe(read(recipe, overrides))])


def title(name: str) -> str:
    """What a run of this recipe is called: the stem of its file."""
    return Path(name).name.removesuffix(".yaml").removesuffix(".yml")


def _name(path: Path) -> str:
    return path.relative_to(FOLDER).with_suffix("").as_posix()


def _header(path: Path) -> str:
    """The comment lines that a file begins with, without their marks."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("#").strip())
    return "\n".join(lines).strip()
