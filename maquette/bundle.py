"""A trained model as a folder that anyone may open: numbers, strict JSON and a page for people; nothing executes.

    config.json          format, medium, model, classes, card; codec, where there is one; along, where a picture or
                         words are given with a label
    model.safetensors    the averaged weights and buffers, by the names of the model's own state_dict
    codec/               the bundle of the autoencoder that the model stands behind, whole
    codec.safetensors    what its codes are whitened by
    README.md            the model card for people, written from `card`
    MANIFEST.json        size and SHA-256 of all of them

`read_bundle` trusts none of it. Each file is opened once, never through a link, and hashed; the config may name only
kinds that are files of this package; the model it describes may not ask for more tensors or numbers than the weights
file holds; names, shapes and dtypes must be the very ones that the config implies, and every number finite.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registry

from maquette.codecs.base import Codec, Identity
from maquette.codecs.interleave import Interleave
from maquette.codecs.latent import LatentCodec
from maquette.codecs.mel import Mel
from maquette.codecs.mulaw import MuLaw
from maquette.codecs.quantise import Quantise
from maquette.core import files
from maquette.core.errors import MaquetteError, shown
from maquette.core.types import Autoencoder, Beside, Space
from maquette.data.along import Along
from maquette.media.base import MediumConfig
from maquette.models import foreign
from maquette.models.base import Model, ModelConfig

FORMAT = 1
CONFIG, WEIGHTS, README = "config.json", "model.safetensors", "README.md"
CODEC, WHITENING = "codec", "codec.safetensors"
FIXED: dict[str, type[Codec]] = {
    "": Identity,
    "quantise": Quantise,
    "interleave": Interleave,
    "mulaw": MuLaw,
    "mel": Mel,
}
"""Codecs that learn nothing, by what a recipe calls them."""
LATENT = "latent"
MAX_CLASSES = 1_000_000
MAX_NUMBER = 1_000_000
"""The largest whole number that a medium's or model's config may hold; no width, depth or size comes near."""
MAX_ITEMS = 64
"""The longest list in a medium's or model's config."""


@dataclass(frozen=True)
class Coding:
    """What stands between medium and model: nothing, a fixed codec by its name, or a trained autoencoder.

    Attributes:
        kind: a name of `FIXED`, or `LATENT` for the autoencoder of the bundle at `folder`.
        whitening: of its codes; {} where they are tokens, or have not been looked at.
    """

    kind: str = ""
    folder: Path | None = None
    autoencoder: "Bundle | None" = None
    whitening: dict[str, Tensor] = field(default_factory=dict)

    @property
    def named(self) -> str:
        """As a recipe names it."""
        return self.kind if self.folder is None else str(self.folder)

    @property
    def name(self) -> str:
        """For a card: what the autoencoder's own calls it."""
        return self.kind if self.autoencoder is None else str(self.autoencoder.card.get("name", self.kind))

    @cached_property
    def digest(self) -> str:
        """A hash of everything that codes depend on; a fixed codec's own name."""
        if self.autoencoder is None:
            return self.kind
        numbers = {name: value.flatten().tolist() for name, value in sorted(self.whitening.items())}
        tree = [self.autoencoder.model_config.to_tree(), self.autoencoder.digest, numbers]
        tree += [self.autoencoder.coding.kind] if self.autoencoder.coding.kind else []
        return files.digest(json.dumps(tree, sort_keys=True).encode())

    def build(self, medium: MediumConfig, examples: Tensor | None = None) -> Codec:
        """The codec for samples of `medium`, on the CPU, whitened by `examples` instead if there are some.

        Raises:
            MaquetteError: MQ-2060 nothing to quantise, MQ-2064 no sound, MQ-2062 no autoencoder, MQ-2063 one of other
                samples, MQ-7001 a whitening that is none.
        """
        source = medium.build()
        if self.autoencoder is None:
            return FIXED[self.kind].of(source)
        if self.autoencoder.medium_config != medium:
            made, other = medium.to_tree(), self.autoencoder.medium_config.to_tree()
            names = [name for name, value in made.items() if value != other.get(name)]
            differing = [f"{name} {shown(other.get(name), 40)} there, {shown(made[name], 40)} here" for name in names]
            raise MaquetteError("MQ-2063", str(self.folder), differences=", ".join(differing))
        with torch.random.fork_rng(devices=[]):
            model = self.autoencoder.build()
        inner = self.autoencoder.coding
        if not isinstance(model, Autoencoder) or inner.folder is not None:
            reason = "has no codes to decode" if inner.folder is None else "stands behind a trained codec itself"
            raise MaquetteError("MQ-2062", str(self.folder), kind=model.config.kind(), reason=reason)
        codec = LatentCodec(model, source.space, examples, inner.build(medium))
        if self.whitening:
            self._check_whitening(codec)
            for name, value in codec.whitening.items():
                value.copy_(self.whitening[name])
        return codec

    def _check_whitening(self, codec: LatentCodec) -> None:
        wanted, given = ({name: value.shape for name, value in w.items()} for w in (codec.whitening, self.whitening))
        finite = all(bool(value.isfinite().all()) for value in self.whitening.values())
        if wanted != given or not finite or not bool((self.whitening["std"] > 0).all()):
            todo = "use another copy, or make it again"
            raise MaquetteError("MQ-7001", str(self.folder), reason=f"{WHITENING} does not fit the codec", todo=todo)

    def put(self, here: Path) -> None:
        """Its files into a folder that `files.commit_folder` is filling."""
        if self.folder is None:
            return
        source = files.Folder(self.folder)
        for name in source.listed:
            files.put(here / CODEC / name, source.read(name))
        files.put_json(here / CODEC / files.MANIFEST, {"files": source.listed})
        files.put_tensors(here / WHITENING, self.whitening)


@dataclass(frozen=True)
class Bundle:
    """What a bundle holds; `digest` is the SHA-256 of the weights' file."""

    medium_config: MediumConfig
    model_config: ModelConfig
    classes: list[str]
    weights: dict[str, Tensor]
    card: dict[str, Any]
    digest: str
    coding: Coding = field(default_factory=Coding)
    along: Along = field(default_factory=Along)

    @cached_property
    def codec(self) -> Codec:
        """What stands between medium and model, on the CPU."""
        return self.coding.build(self.medium_config)

    @property
    def terms(self) -> tuple[Space, int, Beside]:
        """What the model is made for: the space of its samples, labels, and what it is given besides."""
        return self.codec.space, len(self.classes), self.along.beside(self.medium_config.build().space)

    def build(self) -> Model:
        """The model with its weights, ready to draw: in eval mode and frozen, on the CPU."""
        model = self.model_config.fitted(*self.terms)
        model.load_state_dict(self.weights)
        return model.eval().requires_grad_(False)


def made_for(medium: MediumConfig, classes: list[str], coding: Coding, along: Along) -> dict[str, Any]:
    """What a model is made for, by dotted names: models for which one of these differs model different things."""
    fields = {f"medium.{name}": value for name, value in medium.to_tree().items()}
    fields |= {f"along.{name}": value for name, value in along.to_tree().items()}
    return fields | {"labels": classes, "codec": coding.digest}


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The names by which two such sets of facts differ."""
    return [name for name in one | other if one.get(name) != other.get(name)]


def save_bundle(
    folder: Path | str,
    medium_config: MediumConfig,
    model_config: ModelConfig,
    classes: list[str],
    weights: dict[str, Tensor],
    card: dict[str, Any],
    coding: Coding = Coding(),
    along: Along = Along(),
) -> None:
    """Commit a bundle at `folder`, whole or not at all; one that stood there is replaced.

    Args:
        classes: the names of the labels that the model knows, [] for an unconditional one.
        weights: its state_dict.
        card: plain data for the model card: name, data, licence, steps, scores … (see `render_card`).
        coding: what the model stands behind; it is copied whole.
        along: what it is given beside a label.
    """
    config = {
        "format": FORMAT,
        "medium": medium_config.to_tree(),
        "model": model_config.to_tree(),
        "classes": classes,
        "card": card,
    }
    if coding.kind:
        config["codec"] = coding.kind
    if along != Along():
        config["along"] = along.to_tree()

    def fill(here: Path) -> None:
        files.put_json(here / CONFIG, config)
        files.put_tensors(here / WEIGHTS, weights)
        files.put(here / README, render_card(config, sum(w.numel() for w in weights.values())).encode())
        coding.put(here)

    files.commit_folder(folder, fill)


def read_bundle(folder: Path | str) -> Bundle:
    """A bundle that is what it says, or a `MaquetteError`.

    Raises:
        MaquetteError: MQ-5004 no such folder, MQ-5003 not the files that were saved, MQ-2xxx a config that is not
            one, MQ-7001 weights that do not fit the config, MQ-8001 something that only an attack would contain.
    """
    source = files.Folder(folder)
    own = {CONFIG, WEIGHTS, README}
    known = own | {WHITENING} | {f"{CODEC}/{name}" for name in (*own, files.MANIFEST)}
    if strange := set(source.listed) - known:
        raise MaquetteError("MQ-8001", str(folder), reason=f"a bundle has no {shown(sorted(strange)[0], 60)!r}")
    tree = source.read_json(CONFIG)
    medium_config, model_config, classes, card, along = _read_config(tree, str(source.path / CONFIG))
    kind = _read_kind(tree, str(source.path / CONFIG))
    coding = read_coding(source, kind) if kind == LATENT else Coding(kind)
    data = source.read(WEIGHTS)
    weights = files.read_tensors(source.path / WEIGHTS, data)
    bundle = Bundle(medium_config, model_config, classes, weights, card, files.digest(data), coding, along)
    _check_fit(bundle, str(source.path / WEIGHTS))
    return bundle


@dataclass(frozen=True)
class Outline:
    """What a bundle says of itself, its weights not having been looked at; `digest` is what they should have."""

    medium_config: MediumConfig
    model_config: ModelConfig
    classes: list[str]
    card: dict[str, Any]
    along: Along
    digest: str
    pointwise: bool
    """Whether each value that the model makes is one of the sample, see `Codec.pointwise`."""


def read_outline(folder: Path | str) -> Outline:
    """The config of a bundle alone; raises as `read_bundle` does."""
    source = files.Folder(folder)
    tree, where = source.read_json(CONFIG), str(source.path / CONFIG)
    medium_config, model_config, classes, card, along = _read_config(tree, where)
    kind = _read_kind(tree, where)
    if WEIGHTS not in source.listed:
        raise source.damaged(f"{WEIGHTS} is not in {files.MANIFEST}")
    if not (source.path / WEIGHTS).is_file():
        raise source.damaged(f"{WEIGHTS}: missing")
    pointwise = kind != LATENT and FIXED[kind].pointwise
    return Outline(medium_config, model_config, classes, card, along, source.listed[WEIGHTS]["sha256"], pointwise)


def read_coding(source: files.Folder, kind: str = LATENT) -> Coding:
    """The codec that `Coding.put` put into a folder, every file checked against the folder's manifest too."""
    folder = source.path / CODEC
    inner = {f"{CODEC}/{name}": entry for name, entry in files.Folder(folder).listed.items()}
    if any(source.listed.get(name) != entry for name, entry in inner.items()):
        raise source.damaged(f"{CODEC}/ is not the one that was saved")
    return Coding(kind, folder, read_bundle(folder), source.read_tensors(WHITENING))


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
    if not isinstance(tree, dict) or set(tree) - {"codec", "along"} != set(names):
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


def _read_kind(tree: dict[str, Any], where: str) -> str:
    """What a bundle's config says of the codec."""
    kind, known = tree.get("codec", ""), [*FIXED, LATENT]
    if kind not in known:
        raise MaquetteError(
            "MQ-2002", where, path="codec", wanted=f"one of {', '.join(known[1:])}", value=shown(kind, 60)
        )
    return kind


def _refuse_absurd(node: Any, path: str, where: str) -> None:
    """Numbers and lists that no model has, refused before anything is built from them."""
    if isinstance(node, dict | list) and len(node) > MAX_ITEMS:
        raise MaquetteError("MQ-8001", where, reason=f"{path} has {len(node):,} entries, at most {MAX_ITEMS} are read")
    if isinstance(node, int | float) and abs(node) > MAX_NUMBER:
        raise MaquetteError("MQ-8001", where, reason=f"{path} is {node:g}, at most {MAX_NUMBER:,} is read")
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inner:
        _refuse_absurd(value, f"{path}.{key}", where)


def _check_fit(bundle: Bundle, where: str) -> None:
    weights, terms = bundle.weights, bundle.terms
    with _at_most(weights, where), torch.random.fork_rng(devices=[]):
        wanted = bundle.model_config.fitted(*terms).state_dict()
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
