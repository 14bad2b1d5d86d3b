"""What a search may vary: fields of a recipe, each over a range or among choices.

A range is written `1e-4..1e-2` and is searched by its logarithm where it spans a factor of ten or more; choices are
`16,32,64` on the command line and a list in a file.
"""

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maquette.core.config import Lines, at, parse_yaml
from maquette.core.errors import MaquetteError, nearest
from maquette.train.recipe import Budget, Recipe
from maquette.verbs.recipes import read

PARTS = ("model.", "train.")
"""What is learnt and how; the data and the medium say what scores mean, and no score may depend on a search."""
BETWEEN = re.compile(r"[-+.\deE]+\.\.[-+.\deE]+")
SEVERAL = re.compile(r"[^\[\]{}'\"]*(\.\.|,)[^\[\]{}'\"]*")
"""Two numbers with dots between them; anything with dots or a comma that is not a list or a text in quotes."""
SAME = ("model.kind", "train.budget", "train.device", "train.seed")
"""What all trials share."""
OPTIMISERS = "train.optimizers."
RATE = 4.0
"""By what factor a learning rate may be less or more than in the recipe, unless the space is given."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both within; whole ones where both are."""

    low: int | float
    high: int | float

    @property
    def log(self) -> bool:
        """Whether its logarithm is what is searched evenly."""
        return self.low > 0 and self.high >= 10 * self.low

    @property
    def ends(self) -> tuple[Any, ...]:
        return self.low, self.high

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high


@dataclass(frozen=True)
class Choices:
    """Some values, of any type that a field has."""

    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        return self.values

    def __contains__(self, value: object) -> bool:
        return value in self.values


Space = dict[str, Range | Choices]
"""What may vary, by the dotted name of the field."""


def assignment(key: str, value: Any) -> str:
    """The override that gives the field `key` this value."""
    return f"{key}={json.dumps(value)}"


def separate(overrides: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Those of `key=value` that fix a field, and those that give it a range or choices, by key."""
    fixed, searched = [], {}
    for text in overrides:
        key, _, value = text.partition("=")
        if (SEVERAL if key.startswith(PARTS) else BETWEEN).fullmatch(value):  # "../photos" is a folder
            searched[key] = value
        else:
            fixed.append(text)
    return fixed, searched


def given(recipe: Recipe, fields: Mapping[str, Any], lines: Lines | None = None) -> Space:
    """The space that `fields` describe, each end of it tried on `recipe`, which names the optimiser of every player.

    Raises:
        MaquetteError: naming the field: MQ-2240 it is the same for all trials, MQ-2002 it has neither a range nor
            choices, MQ-2001 no player has that optimiser, and what the recipe says of a field that it has not or of a
            value that the field does not take.
    """
    return {key: _domain(recipe, key, value, lines or Lines()) for key, value in fields.items()}


def usual(recipe: Recipe) -> Space:
    """The space of a recipe when none is given: its optimisers' rates, its batch, and what its model declares.

    Where the budget counts steps the batch stays as it is: a larger one would be more training.
    """
    space: Space = {
        f"{OPTIMISERS}{player}.lr": _around(own.lr, RATE) for player, own in recipe.train.optimizers.items()
    }
    batch = recipe.train.batch
    if Budget.parse(recipe.train.budget).unit != "steps":
        sizes = (size for size in (batch // 2, batch, 2 * batch) if size and size % recipe.train.parts == 0)
        space["train.batch"] = Choices(tuple(sizes))
    tree = recipe.to_tree()
    for name, how in recipe.model.search.items():
        key = f"model.{name}"
        if (own := at(tree, key)) is None or (own == 0 and not isinstance(how, tuple)):
            continue
        domain = Choices(tuple(dict.fromkeys((own, *how)))) if isinstance(how, tuple) else _around(own, how)
        with contextlib.suppress(MaquetteError):  # a setting of this recipe does not allow it
            for value in domain.ends:
                read(recipe, [assignment(key, value)])
            space[key] = domain
    return space


def _around(own: int | float, factor: float) -> Range:
    low, high = own / factor, own * factor
    return Range(max(1, round(low)), round(high)) if isinstance(own, int) else Range(low, high)


def _domain(recipe: Recipe, key: str, value: Any, lines: Lines) -> Range | Choices:
    where = lines.at(key)
    if not key.startswith(PARTS) or key.startswith(SAME):
        raise MaquetteError("MQ-2240", where, key=key)
    if key.startswith(OPTIMISERS) and (player := key.split(".")[2]) not in recipe.train.optimizers:
        near = nearest(player, recipe.train.optimizers)
        raise MaquetteError("MQ-2001", where, path=OPTIMISERS.rstrip("."), key=player, near=near)
    low, dots, high = value.partition("..") if isinstance(value, str) else ("", "", "")
    ends = [_plain(low), _plain(high)] if dots else _listed(value)
    if dots and not (all(map(_is_number, ends)) and ends[0] < ends[1]):
        raise MaquetteError("MQ-2002", where, path=key, wanted="a range such as 1e-4..1e-2", value=repr(value))
    if len(ends) < 2 or any(end in ends[:i] for i, end in enumerate(ends)):
        wanted = "a range such as 1e-4..1e-2, or at least two different choices"
        raise MaquetteError("MQ-2002", where, path=key, wanted=wanted, value=repr(value))
    try:
        read_as = [at(read(recipe, [assignment(key, end)]).to_tree(), key) for end in ends]
    except MaquetteError as mistake:
        raise MaquetteError(mistake.code, where or mistake.where, **mistake.values) from None
    return Range(read_as[0], read_as[1]) if dots else Choices(tuple(read_as))


def _listed(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [_plain(word) for word in value.split(",")]
    return value if isinstance(value, list) else []


def _plain(text: str) -> Any:
    return parse_yaml(text.strip(), text)[0]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
