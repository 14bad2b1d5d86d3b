"""What the suite runs over, found in the folders: kinds and their variants at tiny size, spaces, data to learn from.

A new file in `maquette/models`, `nets`, `solvers` or `codecs` is tested without a line being edited here. A `Config`
whose defaults are too large for a test offers a classmethod `tiny()`.
"""

import contextlib
import dataclasses
import functools
import importlib
import itertools
import typing
from collections.abc import Callable, Iterator
from typing import Literal, get_args, get_origin

import torch
from torch import Tensor

from maquette.core.config import Config, kinds
from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Beside, Given, Real, Space, Tokens
from maquette.models.base import Model, ModelConfig

SPACES: list[Space] = [
    Real((1, 8, 8), levels=256),
    Real((2,)),
    Real((3, 8, 8), levels=256),
    Real((1, 8), levels=65536),
    Real((1, 4, 8, 8), levels=256),
    Tokens((6,), vocab=5),
    Tokens((2, 3), vocab=5),
]
CLASSES = 2
UNSUITABLE = {"MQ-2008", "MQ-2009", "MQ-3010"}
"""The sentences with which a model or a net refuses a space or a shape, or misses a library that is not required."""

GIVEN = Beside(image=Real((2, 4, 4)))
"""A picture of another size and other channels than any sample has."""

CAPTIONS = Beside(text=Tokens((4,), vocab=5))

Make = Callable[[], Model]


def config_class(home: str, kind: str) -> type[Config]:
    return importlib.import_module(f"maquette.{home}.{kind}").Config


def tiny(cls: type[Config]) -> Config:
    """The class's own tiny configuration, or else its defaults with tiny components."""
    return cls.tiny() if "tiny" in vars(cls) else _with_tiny_parts(cls())  # type: ignore[attr-defined]


def _with_tiny_parts(config: Config) -> Config:
    """`config` with every component made as small as its own `tiny()` is; what else was chosen for it stays."""
    parts = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    return dataclasses.replace(
        config, **{name: _shrunk(part) for name, part in parts.items() if isinstance(part, Config)}
    )


def _shrunk(part: Config) -> Config:
    small, full = tiny(type(part)), type(part)()
    sizes = {f.name: getattr(small, f.name) for f in dataclasses.fields(part)}
    return dataclasses.replace(part, **{name: size for name, size in sizes.items() if size != getattr(full, name)})


def variants(cls: type[Config]) -> Iterator[tuple[str, Config]]:
    """(name, config): the tiny one, and one more for each other value of each field that is a choice of words."""
    base = tiny(cls)
    yield "default", base
    for name, hint in typing.get_type_hints(cls).items():
        for value in get_args(hint) if get_origin(hint) is Literal else ():
            with contextlib.suppress(MaquetteError):  # a value may need another that the tiny configuration has not
                if value != getattr(base, name):
                    yield f"{name}={value}", dataclasses.replace(base, **{name: value})


def with_nets(config: ModelConfig, net: Config) -> ModelConfig:
    """`config` with `net` in every slot that takes one of its kind."""
    slots = {name: hint for name, hint in typing.get_type_hints(type(config)).items() if isinstance(hint, type)}
    return dataclasses.replace(config, **{n: net for n, hint in slots.items() if issubclass(type(net), hint)})


def built(config: ModelConfig, space: Space, classes: int = CLASSES, beside: Beside = Beside()) -> Model:
    """The model of `config`, with labels if it takes them, and with captions if it cannot do without."""
    classes = classes if "label" in config.takes else 0
    try:
        return config.fitted(space, classes, beside)
    except MaquetteError as refused:
        if refused.code != "MQ-2150":
            raise
        return config.fitted(space, classes, dataclasses.replace(beside, text=CAPTIONS.text))


def fitted(config: ModelConfig, space: Space, beside: Beside = Beside()) -> ModelConfig | None:
    """`config` with nets that can be built for `space` (its own when they can), or None when no kind of net can."""
    for candidate in [config, *(with_nets(config, tiny(config_class("nets", kind))) for kind in kinds("nets"))]:
        try:
            built(candidate, space, beside=beside)
        except MaquetteError as refused:
            assert refused.code in UNSUITABLE | ({"MQ-2136"} if beside.text else set()), refused
        else:
            return candidate
    return None


def makers() -> list[str]:
    """The kinds of models that make samples; those that only judge have tests of their own."""
    return [kind for kind in kinds("models") if config_class("models", kind).draws]  # type: ignore[attr-defined]


@functools.cache
def speechless() -> list[str]:
    """The kinds that can be told nothing, or a label alone: those that cannot do without captions are left out."""

    def made(kind: str, space: Space) -> bool:
        try:
            tiny(config_class("models", kind)).fitted(space)  # type: ignore[attr-defined]
        except MaquetteError as refused:
            return refused.code != "MQ-2150"
        return True

    return [kind for kind in kinds("models") if all(made(kind, space) for space in SPACES)]


@functools.cache
def model_cases() -> list[tuple[str, ModelConfig, Space]]:
    """(name, config, space): each kind on all spaces that it accepts, and each of its variants on the first of them."""
    cases = []
    for kind in makers():
        for name, config in variants(config_class("models", kind)):
            found = ((fitted(config, space), space) for space in SPACES)  # type: ignore[arg-type]
            possible = ((fit, space) for fit, space in found if fit is not None)
            for fit, space in possible if name == "default" else itertools.islice(possible, 1):
                cases.append((f"{kind}-{name}-{type(space).__name__}{'x'.join(map(str, space.shape))}", fit, space))
    return cases


def given_with(space: Space) -> Beside:
    """As `GIVEN`, with as many axes as samples of `space` have."""
    return Beside(image=Real((2, *[4] * (len(space.shape) - 1))))


def shown_cases(*axes: int) -> Iterator[tuple[str, ModelConfig, Space]]:
    """(name, config, space): each kind that can be given a picture (sound, a film) beside a label, on spaces of samples
    with so many axes after their channels."""
    for kind in kinds("models"):
        cls = config_class("models", kind)
        if {"label", "image"} <= set(cls.takes):  # type: ignore[attr-defined]
            for space in (space for space in SPACES if isinstance(space, Real) and len(space.shape) - 1 in axes):
                if (config := fitted(tiny(cls), space, given_with(space))) is not None:  # type: ignore[arg-type]
                    yield f"{kind}-{'x'.join(map(str, space.shape))}", config, space


def told_cases() -> Iterator[tuple[str, ModelConfig, Space]]:
    """(name, config, space): each kind that can be told captions and makes do without, on the first of its spaces."""
    for kind in makers():
        cls = config_class("models", kind)
        found = ((fitted(tiny(cls), space, CAPTIONS), space) for space in SPACES)  # type: ignore[arg-type]
        for config, space in itertools.islice(((c, s) for c, s in found if c is not None), 1):
            if "text" in config.takes and maker(config, space)().beside.text is None:
                yield kind, config, space


def maker(config: ModelConfig, space: Space, classes: int = CLASSES, beside: Beside = Beside()) -> Make:
    """A function that builds the same model, to the bit, each time it is called."""

    def make() -> Model:
        torch.manual_seed(0)
        return built(config, space, classes, beside)

    return make


def samples(space: Space, label: Tensor, seed: int = 0) -> Tensor:
    """Rows that differ by their label and a little by chance: [n, *space.shape]."""
    g = torch.Generator().manual_seed(seed)
    n, axis = len(label), torch.arange(torch.Size(space.shape).numel())
    if isinstance(space, Tokens):
        shift = torch.randint(2, (n, 1), generator=g)
        return ((axis + 2 * label[:, None] + shift) % space.vocab).reshape(n, *space.shape)
    pattern = 0.6 * torch.cos((1 + label[:, None]) * axis * 0.7 + 2.0 * label[:, None])
    x = (pattern + 0.1 * torch.randn(n, len(axis), generator=g)).clamp(-1, 1)
    if space.levels:
        x = ((x + 1) * (space.levels - 1) / 2).round() * 2 / (space.levels - 1) - 1
    return x.reshape(n, *space.shape)


def captions(label: Tensor, space: Tokens) -> Tensor:
    """Words that say the label, shorter than there is room."""
    return torch.stack([1 + label, 2 + label, *[torch.zeros_like(label)] * (space.shape[0] - 2)], dim=1)


def noise(space: Space, n: int) -> Tensor:
    """Rows of the space that look like none of `samples`."""
    g = torch.Generator().manual_seed(9)
    if isinstance(space, Tokens):
        return torch.randint(space.vocab, (n, *space.shape), generator=g)
    levels = space.levels or 256
    return torch.randint(levels, (n, *space.shape), generator=g) * 2.0 / (levels - 1) - 1


def batch_for(model: Model, step: int = 0, told: bool = True, noise: int | None = None) -> Batch:
    """The batch of a step, always the same: 8 rows, without their labels unless `told`, with the noise of that step or
    of another."""
    label = torch.arange(8) % 2
    image = None if model.beside.image is None else samples(model.beside.image, label, step + 100)
    text = None if model.beside.text is None else captions(label, model.beside.text) * told
    label_told = (label if told else -torch.ones_like(label)) if model.classes else None
    given = Given(label=label_told, image=image, text=text)
    return Batch(samples(model.space, label, step), given, Seeds.for_batch(0, step if noise is None else noise, 8))
