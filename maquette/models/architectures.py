"""The configs of the library `transformers`, and what they may say.

A config is opened by the class that the library has for its `model_type`, a closed table, and may hold what that class
declares as its own and nothing else: not the settings that every config has, not names that begin with `_`, and so
neither code nor files nor places. A config.json from elsewhere is first brought up to date by the library, since older
ones call things otherwise, and what is left of it is then opened like any other.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from maquette.core.config import parse_json
from maquette.core.errors import MaquetteError
from maquette.models import foreign

MAX_WHOLE, MAX_ITEMS = 1 << 24, 4096
"""The largest whole number and the longest list of a config; no width, depth or vocabulary comes near."""
BARRED = {
    "model_type", "architectures", "auto_map", "dtype", "torch_dtype", "transformers_version", "name_or_path",
    "attn_implementation", "experts_implementation", "fusion_config", "distributed_config", "transformers_weights",
    "trust_remote_code", "custom_pipelines",
}  # fmt: skip
"""What a config.json may hold and a shape has no use for; some of it names code or files."""


def library() -> Any:
    """`transformers`, which is to raise what matters and print nothing; raises MQ-3010 when it is not installed."""
    try:
        import transformers
    except ImportError:
        raise MaquetteError("MQ-3010", "model", package="transformers", extra="hf") from None
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def opened(architecture: str) -> Any:
    """The library's config of an architecture.

    Raises:
        MaquetteError: MQ-2009 when there is none, or not a possible one; MQ-8001 for anything that its class does not
            declare (code, paths, private keys) and for absurd numbers.
    """
    if not architecture:
        reason, todo = "this model begins from one that is there", "maquette train RECIPE --from FOLDER|hf:NAME"
        raise MaquetteError("MQ-2009", path="model.architecture", value="nothing", reason=reason, todo=todo)
    tree = parse_json(architecture, "model.architecture")
    kind = _class_of(tree)
    if kind is None:
        raise MaquetteError("MQ-8001", "model.architecture", reason="it names no model_type of the library")
    for path in _undeclared(tree, kind):
        raise MaquetteError("MQ-8001", "model.architecture", reason=f"a {tree['model_type']} has no {path!r}")
    _refuse_absurd(tree, kind)
    try:
        return kind(**{name: value for name, value in tree.items() if name != "model_type"})
    except Exception as bad:
        raise impossible(bad) from None


def impossible(bad: Exception) -> MaquetteError:
    reason = " ".join(str(bad).split()) or type(bad).__name__
    todo = "use the bundle as it was made"
    return MaquetteError("MQ-2009", path="model.architecture", value="this", reason=reason, todo=todo)


def described(tree: dict[str, Any], end: int, folder: Path) -> str:
    """The architecture that a config.json describes, its old names brought up to date by the library itself."""
    kind = _class_of(tree)
    if kind is None:
        raise foreign.refusal(folder, f"this version of transformers has no model_type {tree['model_type']!r}")
    try:
        config = kind(**{name: value for name, value in tree.items() if name not in BARRED and name[:1] != "_"})
    except Exception as bad:
        raise foreign.refusal(folder, f"its config.json: {' '.join(str(bad).split())}") from None
    if getattr(config, "pad_token_id", None) == end:
        config.pad_token_id = None  # the row of a padding token is never learnt, and END is to be
    return written(config, folder)


def written(config: Any, folder: Path) -> str:
    """The declared part of a library's config as JSON."""
    tree = _declared_part(config.to_dict(), type(config))
    try:
        return json.dumps({"model_type": type(config).model_type} | tree, allow_nan=False)
    except (TypeError, ValueError):
        raise foreign.refusal(folder, "its config.json holds what is no plain number or word") from None


def _class_of(tree: Any) -> Any:
    """The library's class for a tree's `model_type`, from its closed table; None when there is none."""
    name, table = tree.get("model_type") if isinstance(tree, dict) else None, library().CONFIG_MAPPING
    return table[name] if isinstance(name, str) and name in table else None


def _names(kind: Any) -> set[str]:
    """The fields that a config's class declares itself, beyond those that every config has."""
    base = library().PreTrainedConfig
    common = {f.name for f in dataclasses.fields(base)}
    return {f.name for f in dataclasses.fields(kind) if f.name[:1] != "_"} - common | {"model_type"}


def _inner(tree: dict[str, Any], kind: Any) -> dict[str, Any]:
    """Of each part that is a config again: its class."""
    parts = {name: part for name, part in kind.sub_configs.items() if isinstance(tree.get(name), dict)}
    return {name: part if hasattr(part, "model_type") and part.model_type else _class_of(tree[name])
            for name, part in parts.items()}  # fmt: skip


def _undeclared(tree: dict[str, Any], kind: Any) -> list[str]:
    """Paths of what the classes do not declare."""
    found = sorted(tree.keys() - _names(kind))
    for name, part in _inner(tree, kind).items():
        found += [f"{name}.{path}" for path in (_undeclared(tree[name], part) if part is not None else ["model_type"])]
    return found


def _declared_part(tree: dict[str, Any], kind: Any) -> dict[str, Any]:
    inner = _inner(tree, kind)
    kept = {name: value for name, value in tree.items() if name in _names(kind)}
    return kept | {name: _declared_part(tree[name], part) for name, part in inner.items() if part is not None}


def _refuse_absurd(tree: dict[str, Any], kind: Any) -> None:
    """Sizes that no model has; what stands deeper (frequencies of rotary positions) are no sizes."""
    inner = _inner(tree, kind)
    for value in tree.values():
        long = isinstance(value, list | dict) and len(value) > MAX_ITEMS
        if long or (isinstance(value, int) and abs(value) > MAX_WHOLE):
            raise MaquetteError("MQ-8001", "model.architecture", reason="it has a list or a number that no model has")
    for name, part in inner.items():
        _refuse_absurd(tree[name], part)
