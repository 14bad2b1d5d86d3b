"""A trained model as a folder that anyone may open: numbers, strict JSON and a page for people; nothing executes.

    config.json          format, medium, model, classes, card; along, where a picture or words are given with a label
    model.safetensors    the averaged weights and buffers, by the names of the model's own state_dict
    README.md            the model card for people, written from `card`
    MANIFEST.json        size and SHA-256 of the three

`read_bundle` trusts none of it. Each file is opened once, never through a link, and hashed; the config may name only
kinds that are files of this package; the model it describes may not ask for more tensors or numbers than the weights
file holds; names, shapes and dtypes must be the very ones that the config implies, and every number finite.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registry

from maquette.core import files
from maquette.core.errors import MaquetteError, shown
from maquette.data.along import Along
from maquette.media.base import MediumConfig
from maquette.models import foreign
from maquette.models.base import Model, ModelConfig

FORMAT = 1
CONFIG, WEIGHTS, README = "config.json", "model.safetensors", "README.md"
MAX_CLASSES = 1_000_000
MAX_NUMBER = 1_000_000
"""The largest whole number that a medium's or model's config may hold; no width, depth or size comes near."""
MAX_ITEMS = 64
"""The longest list in a medium's or model's config."""


@dataclass(frozen=True)
class Bundle:
    """What a bundle holds; `digest` is the SHA-256 of the weights' file."""

    medium_config: MediumConfig
    model_config: ModelConfig
    classes: list[str]
    weights: dict[str, Tensor]
    card: dict[str, Any]
    digest: str
    along: Along = field(default_factory=Along)

    def build(self) -> Model:
        """The model with its weights, ready to draw: in eval mode and frozen, on the CPU."""
        space = self.medium_config.build().space
        model = self.model_config.fitted(space, len(self.classes), self.along.beside(space))
        model.load_state_dict(self.weights)
        return model.eval().requires_grad_(False)


def save_bundle(
    folder: Path | str,
    medium_config: MediumConfig,
    model_config: ModelConfig,
    classes: list[str],
    weights: dict[str, Tensor],
    card: dict[str, Any],
    along: Along = Along(),
) -> None:
    """Commit a bundle at `folder`, whole or not at all; one that stood there is replaced.

    Args:
        classes: the names of the labels that the model knows, [] for an unconditional one.
        weights: its state_dict.
        card: plain data for the model card: name, data, licence, steps, scores … (see `render_card`).
        along: what it is given beside a label.
    """
    config = {
        "format": FORMAT,
        "medium": medium_config.to_tree(),
        "model": model_config.to_tree(),
        "classes": classes,
        "card": card,
    }
    if along != Along():
        config["along"] = along.to_tree()

    def fill(here: Path) -> None:
        files.put_json(here / CONFIG, config)
        files.put_tensors(here / WEIGHTS, weights)
        files.put(here / README, render_card(config, sum(w.numel() for w in weights.values())).encode())

    files.commit_folder(folder, fill)


def read_bundle(folder: Path | str) -> Bundle:
    """A bundle that is what it says, or a `MaquetteError`.

    Raises:
        MaquetteError: MQ-5004 no such folder, MQ-5003 not the files that were saved, MQ-2xxx a config that is not
            one, MQ-7001 weights that do not fit the config, MQ-8001 something that only an attack would contain.
    """
    source = files.Folder(folder)
    if strange := set(source.listed) - {CONFIG, WEIGHTS, README}:
        raise MaquetteError("MQ-8001", str(folder), reason=f"a bundle has no {shown(sorted(strange)[0], 60)!r}")
    tree = source.read_json(CONFIG)
    medium_config, model_config, classes, card, along = _read_config(tree, str(source.path / CONFIG))
    data = source.read(WEIGHTS)
    weights = files.read_tensors(source.path / WEIGHTS, data)
    _check_fit(medium_config, model_config, classes, along, weights, str(source.path / WEIGHTS))
    return Bundle(medium_config, model_config, classes, weights, card, files.digest(data), along)


def find_bundle(path: Path | str) -> Path:
    """The bundle's folder of a run's folder, or of a bundle's, which is its own.

    Raises:
        MaquetteError: MQ-5004 no such folder, MQ-7030 neither of the two, MQ-7031 a run that has not come so far.
    """
    path = Path(path)
    if not path.is_dir():
        raise MaquetteError("MQ-5004", str(path))
    if (path / "bundle").is_dir():
        return path / "bundle"
    if (path / "recipe.json").exists():
        raise MaquetteError("MQ-7031", str(path), path=path)
    if not (path / CONFIG).exists() or foreign.is_model(path):
        raise MaquetteError("MQ-7030", str(path))
    return path


def read_card(folder: Path | str) -> dict[str, Any]:
    """The card of a bundle without its weights; {} when there is no whole bundle."""
    try:
        return files.Folder(folder).read_json(CONFIG)["card"]
    except (MaquetteError, KeyError, TypeError):
        return {}


# -- checks -----------------------------------------------------------------------------------------------------------


def _read_config(tree: Any, where: str) -> tuple[MediumConfig, ModelConfig, list[str], dict[str, Any], Along]:
    names = ("format", "medium", "model", "classes", "card")
    if not isinstance(tree, dict) or set(tree) - {"along"} != set(names):
        raise MaquetteError("MQ-2005", where, format="a bundle's config", reason=f"it holds {', '.join(names)}")
    if tree["format"] != FORMAT:
        todo = "use the version of maquette that wrote it"
        raise MaquetteError("MQ-7001", where, reason=f"format {tree['format']!r}, {FORMAT} is read here", todo=todo)
    classes, card = tree["classes"], tree["card"]
    if not isinstance(classes, list) or len(classes) > MAX_CLASSES or not all(isinstance(c, str) for c in classes):
        raise MaquetteError("MQ-2002", where, path="classes", wanted="a list of names", value=type(classes).__name__)
    if not isinstance(card, dict):
        raise MaquetteError("MQ-2002", where, path="card", wanted="a set of fields", value=type(card).__name__)
    for part in ("medium", "model", "along"):
        _refuse_absurd(tree.get(part), part, where)
    try:
        return (
            MediumConfig.from_tree(tree["medium"], "medium"),
            ModelConfig.from_tree(tree["model"], "model"),
            classes,
            card,
            Along.from_tree(tree.get("along", {}), "along"),
        )
    except MaquetteError as bad:
        raise MaquetteError(bad.code, where, **bad.values) from None


def _refuse_absurd(node: Any, path: str, where: str) -> None:
    """Numbers and lists that no model has, refused before anything is built from them."""
    if isinstance(node, dict | list) and len(node) > MAX_ITEMS:
        raise MaquetteError("MQ-8001", where, reason=f"{path} has {len(node):,} entries, at most {MAX_ITEMS} are read")
    if isinstance(node, int | float) and abs(node) > MAX_NUMBER:
        raise MaquetteError("MQ-8001", where, reason=f"{path} is {node:g}, at most {MAX_NUMBER:,} is read")
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inner:
        _refuse_absurd(value, f"{path}.{key}", where)


def _check_fit(
    medium: MediumConfig,
    config: ModelConfig,
    classes: list[str],
    along: Along,
    weights: dict[str, Tensor],
    where: str,
) -> None:
    with _at_most(weights, where), torch.random.fork_rng(devices=[]):
        space = medium.build().space
        wanted = config.fitted(space, len(classes), along.beside(space)).state_dict()
    todo = "use another copy, or make it again"
    for name in wanted.keys() ^ weights.keys():
        has, lacks = ("config", "weights") if name in wanted else ("weights", "config")
        raise MaquetteError("MQ-7001", where, reason=f"the {has} has {name!r}, the {lacks} has not", todo=todo)
    for name, tensor in weights.items():
        if (want := wanted[name]).shape != tensor.shape or want.dtype != tensor.dtype:
            reason = f"{name} is {_shape(tensor)}, the config implies {_shape(want)}"
            raise MaquetteError("MQ-7001", where, reason=reason, todo=todo)
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise MaquetteError("MQ-7001", where, reason=f"{name} has values that are not finite", todo=todo)


def _shape(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"


@contextlib.contextmanager
def _at_most(weights: dict[str, Tensor], where: str) -> Iterator[None]:
    """Within this block no model may grow far beyond what `weights` could fill.

    Parametrisations register a weight more than once while a model is built, hence the factor. torch allocates
    without touching memory, so a matrix of absurd size is refused before it costs anything.
    """
    most, numbers = 4 * len(weights) + 256, 4 * sum(w.numel() for w in weights.values()) + (1 << 20)
    count = total = 0

    def grow(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        nonlocal count, total
        count, total = count + 1, total + (tensor.numel() if tensor is not None else 0)
        if count > most or total > numbers:
            raise MaquetteError("MQ-8001", where, reason="the config asks for far more weights than the file holds")

    hooks = [
        registry.register_module_parameter_registration_hook(grow),
        registry.register_module_buffer_registration_hook(grow),
    ]
    try:
        yield
    except (RuntimeError, MemoryError, OverflowError) as bad:
        raise MaquetteError("MQ-8001", where, reason=f"the config cannot be built: {bad}") from None
    finally:
        for hook in hooks:
            hook.remove()


# -- the page for people ----------------------------------------------------------------------------------------------


def render_card(config: dict[str, Any], parameters: int) -> str:
    """The model card (Mitchell et al. 2019) as Markdown, from `config` as it stands in config.json."""
    card, model, medium = config["card"], config["model"], config["medium"]
    name = card.get("name", f"{medium['kind']} {model['kind']}")
    lines = ["---", "library_name: maquette", f"tags: [{medium['kind']}, {model['kind']}]", "---", "", f"# {name}", ""]
    lines += [f"A {model['kind']} model of {medium['kind']}, {parameters:,} numbers, trained by Maquette.", ""]
    facts = [(key, value) for key, value in card.items() if key not in ("name", "scores") and value not in ("", None)]
    lines += ["| | |", "|---|---|", *(f"| {key} | {_cell(value)} |" for key, value in facts), ""]
    if config["classes"]:
        names = ", ".join(config["classes"][:100])
        lines += [f"**Labels** ({len(config['classes'])}): {_cell(names)}", ""]
    if scores := card.get("scores"):
        lines += [
            "| score | value |",
            "|---|---|",
            *(f"| {key} | {_cell(value)} |" for key, value in scores.items()),
            "",
        ]
    lines += ["## Use", "", "```", "maquette sample FOLDER -n 16 --seed 0 --out made", "```", ""]
    lines += [
        "## Limits",
        "",
        "It imitates the data named above, with their gaps and biases. What it makes is marked as",
    ]
    lines += ["generated; whether it may be published is for the licence of the data to say.", ""]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return shown(value, 2000).replace("|", "\\|")
