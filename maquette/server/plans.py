"""From what a request asks to the words of a command: nothing of a request becomes a path, a URL or an option's name.

`train`, `evaluate`, `compare`, `sample`, `check` and `export` read plain values into a spec, which the queue keeps:
names of recipes from a list, ids of models and files, numbers, and settings of a recipe from an allow-list that the
recipe's typed config then checks. `words` makes the command of a spec when its turn has come.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import maquette
from maquette.core import files
from maquette.core.config import override, read_yaml
from maquette.core.errors import MaquetteError, nearest

RECIPES = Path(maquette.__file__).parent / "recipes"
OWN = "recipes"
"""Where in the data folder the operator may put recipes of their own."""

Spec = dict[str, Any]
Rule = tuple[Any, ...]
"""Of a setting: its words, or its type with the least and the most."""
MAX_SETTINGS = 64
MAX_NUMBER = 1_000_000
MAX_SAMPLES = 100_000
MAX_SEED = 2**53
TAIL = 8
"""Letters of a job's id in the name of its run."""

_NAME = r"[a-z][a-z0-9_]{0,40}"
_TRAIN: dict[str, Rule] = {
    "batch": (int, 1, 65_536),
    "parts": (int, 1, 1024),
    "clip": (float, 0, 1e6),
    "ema": (float, 0, 0.999999),
    "precision": ("fp32", "bf16"),
    "samples": (int, 1, 256),
    "sample_every": (float, 0.001, 1),
    "validate_every": (float, 0.001, 1),
    "checkpoint_every": (float, 0.001, 1),
    "best": (bool, 0, 1),
}
_OPTIMIZER: dict[str, Rule] = {
    "name": ("adamw", "sgd", "rmsprop", "adagrad", "muon"),
    "lr": (float, 1e-9, 10),
    "weight_decay": (float, 0, 10),
    "schedule": ("constant", "linear", "cosine"),
    "warmup": (float, 0, 0.99),
    "final": (float, 0, 1),
}
_DATA = re.compile(
    rf"data\.(conditional|max_bad|seed|augment\.{_NAME}|columns\.{_NAME}|captions\.(tokenizer|vocab|length)"
    rf"|given|given\.{_NAME})"
)
_PARTS = re.compile(rf"(medium|model)(\.{_NAME}){{1,5}}")
_NEVER = {"vocabulary", "words", "architecture"}
"""Of medium and model: what training learns itself and would be read as it is."""
_TEXT = re.compile(r"[\w+-][\w.+-]{0,63}", re.ASCII)
_FIXED = ("quantise", "interleave", "mulaw", "mel")


@dataclass(frozen=True)
class Listed:
    """A recipe that may be asked for; `about` is its header comment, `word` what the command calls it."""

    name: str
    about: str
    path: Path
    word: str


def recipes(folder: Path) -> dict[str, Listed]:
    """All recipes by full name (`image/dcgan`): Maquette's, and the operator's in `folder`/recipes (`own/NAME`)."""
    listed = {}
    for path in sorted(RECIPES.rglob("*.yaml")):
        name = path.relative_to(RECIPES).with_suffix("").as_posix()
        listed[name] = Listed(name, _about(path), path, name)
    for path in sorted((folder / OWN).glob("*.yaml")):
        if re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", path.stem):
            listed[f"own/{path.stem}"] = Listed(f"own/{path.stem}", _about(path), path, f"{OWN}/{path.name}")
    return listed


def find_recipe(name: str, folder: Path, where: str = "model") -> Listed:
    """A recipe by full name, or by its last part where only one has it.

    Raises:
        MaquetteError: MQ-2006 with the nearest name, MQ-2115 for a part that several share.
    """
    known = recipes(folder)
    if name in known:
        return known[name]
    alike = [full for full in known if full.rpartition("/")[2] == name]
    if len(alike) == 1:
        return known[alike[0]]
    if alike:
        raise MaquetteError("MQ-2115", where, name=name, names=", ".join(alike))
    near = nearest(name, {*known, *(full.rpartition("/")[2] for full in known)})
    raise MaquetteError("MQ-2006", where, name=name, near=near)


def settings(values: Mapping[str, Any], where: str = "overrides") -> dict[str, Any]:
    """`key: value` for fields of a recipe, those that a request may set.

    Raises:
        MaquetteError: MQ-2184 a field that is the operator's or a value that could name a place, MQ-2002 a wrong one.
    """
    if len(values) > MAX_SETTINGS:
        raise MaquetteError("MQ-2002", where, path=where, wanted=f"at most {MAX_SETTINGS} fields", value=len(values))
    return {key: _setting(key, value, where) for key, value in values.items()}


def _setting(key: str, value: Any, where: str) -> Any:
    part, _, rest = key.partition(".")
    if part == "train":
        name, _, inner = rest.removeprefix("optimizers.").partition(".")
        table, field = (_OPTIMIZER, inner) if rest.startswith("optimizers.") else (_TRAIN, rest)
        good = table is _TRAIN or re.fullmatch(_NAME, name)
        if good and field in table:
            return _bounded(value, table[field], where)
        if good and rest.endswith(".betas") and isinstance(value, list) and len(value) == 2:
            return [_bounded(each, (float, 0, 0.999999), where) for each in value]
    elif key == "codec" and value in _FIXED:
        return value
    elif _DATA.fullmatch(key) or (_PARTS.fullmatch(key) and not _NEVER & set(key.split("."))):
        return _plain(value, where)
    raise MaquetteError("MQ-2184", where, path=where, reason="one of its fields is not among those that may be set")


def _bounded(value: Any, rule: Rule, where: str) -> Any:
    first = rule[0]
    if isinstance(first, str):
        good, wanted = isinstance(value, str) and value in rule, "one of " + ", ".join(map(str, rule))
    elif first is bool:
        good, wanted = isinstance(value, bool), "true or false"
    else:
        low, high = rule[1:]
        kinds = int if first is int else (int, float)
        good = isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high
        wanted = f"a number from {low:g} to {high:g}"
    if not good:
        raise MaquetteError("MQ-2002", where, path=where, wanted=wanted, value="something else")
    return value


def _plain(value: Any, where: str, depth: int = 0) -> Any:
    """A number, a short word or a list of them: nothing that a file could be called."""
    if isinstance(value, bool) or (isinstance(value, int | float) and abs(value) <= MAX_NUMBER):
        return value
    if isinstance(value, str) and _TEXT.fullmatch(value):
        return value
    if isinstance(value, list) and len(value) <= 64 and depth < 2:
        return [_plain(each, where, depth + 1) for each in value]
    reason = f"a value is a number up to {MAX_NUMBER:,}, a short word, or a list of them"
    raise MaquetteError("MQ-2184", where, path=where, reason=reason)


def budget(text: str, where: str = "budget") -> str:
    """`2000steps`, `90s`, `10min`, `1h` or `5epochs`, as recipes say it."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)(steps|s|min|h|epochs)", text)
    if match is None or float(match[1]) <= 0:
        wanted = "like 2000steps, 90s, 10min, 1h or 5epochs"
        raise MaquetteError("MQ-2002", where, path=where, wanted=wanted, value="something else")
    return text


def check_tree(recipe: Listed, overrides: Mapping[str, Any]) -> None:
    """Read medium, model and data of a recipe with `overrides` as training will; raises what is wrong with them."""
    from maquette.data.source import Data
    from maquette.media.base import MediumConfig
    from maquette.models.base import ModelConfig

    tree = override(read_yaml(recipe.path)[0], _texts(overrides))
    for name, config in {"medium": MediumConfig, "model": ModelConfig, "data": Data}.items():
        try:
            config.from_tree(tree.get(name), name)
        except MaquetteError as bad:
            raise MaquetteError(bad.code, "overrides", **bad.values) from None


def rates(tree: Mapping[str, Any]) -> dict[str, float]:
    """The learning rates that a recipe's tree names, by player."""
    train = tree.get("train")
    named = train.get("optimizers") if isinstance(train, dict) else None
    return {
        name: o["lr"] for name, o in (named or {}).items() if isinstance(o, dict) and isinstance(o.get("lr"), float)
    }


def recipe_of(run: Path) -> dict[str, Any]:
    """The recipe of a run, without its codec and what it learnt, which come with its weights, and its teacher.

    Raises:
        MaquetteError: MQ-2184 when it is a bundle alone, which says nothing of its training.
    """
    if not (run / "recipe.json").exists():
        reason = "this model is a bundle alone: name the recipe that it is trained by as `recipe`"
        raise MaquetteError("MQ-2184", "model", path="model", reason=reason)
    tree = files.read_json(run / "recipe.json")["recipe"]
    for part in ("codec", "teacher"):
        tree.pop(part, None)
    tree["train"].pop("device", None)
    for part in (tree["medium"], tree["data"].get("captions") or {}):
        for name in ("vocabulary", "words"):
            part.pop(name, None)
    return tree


def stem(name: str, suffix: str | None) -> str:
    """What the model of a job is called, before its number: of `[a-z0-9-]`, at most 40 characters."""
    parts = [re.sub("[^a-z0-9]+", "-", part.lower()).strip("-") for part in (name.rpartition("/")[2], suffix or "")]
    return "-".join(part for part in parts if part)[:40].strip("-") or "model"


def run_name(id: str, spec: Mapping[str, Any]) -> str:
    """The folder of a training job's run, after which its model is named: no two jobs have the same."""
    return f"{spec['stem']}-{id[-TAIL:]}"


# -- words ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Places:
    """Where things are, for the command of one run of a job. Paths are as the worker sees them from the data folder."""

    data: str | None
    """What `--data` is told: an embedded set's name or the folder of an upload."""
    out: str
    model: Callable[[str], Path]
    """The folder of a served model."""
    device: str = "auto"


def words(kind: str, spec: Mapping[str, Any], places: Places) -> list[str]:
    """The command of a job: `maquette` and these words."""
    said = {"data": places.data, "budget": spec.get("budget"), "out": places.out, "device": places.device}
    if kind == "train":
        begin = str(places.model(spec["from"])) if "from" in spec else None
        said |= {"seed": spec.get("seed"), "from": begin}
        return ["train", spec["word"], *_options(said), *_texts(_with_codec(spec, places))]
    if kind == "compare" and "models" in spec:
        said |= {"n": spec.get("n")}
        return ["compare", *(str(places.model(name)) for name in spec["models"]), *_options(said)]
    if kind == "compare":
        said |= {"seeds": ",".join(map(str, spec["seeds"])), "n": spec.get("n")}
        return ["compare", *spec["words"], *_options(said), *_texts(_with_codec(spec, places))]
    if kind == "check":
        return ["data", "check", places.data or "", *_options({"recipe": spec.get("word")})]
    if kind == "export":
        return ["export", str(places.model(spec["model"])), *_options({"out": places.out})]
    del said["budget"]
    said |= {name: spec.get(name) for name in ("n", "seed", "guidance", "solver", "steps", "temperature")}
    if kind == "evaluate":
        judge = spec.get("judge")
        said |= {"judge": str(places.model(judge)) if judge else None}
        return ["evaluate", str(places.model(spec["model"])), *_options(said)]
    del said["data"]
    said |= {name: spec.get(name) for name in ("label", "prompt", "top_k", "top_p", "max_tokens")}
    return ["sample", str(places.model(spec["model"])), *_options(said)]


def _with_codec(spec: Mapping[str, Any], places: Places) -> dict[str, Any]:
    codec = {"codec": str(places.model(spec["codec"]))} if "codec" in spec else {}
    return {**spec.get("overrides", {}), **codec}


def _options(said: Mapping[str, Any]) -> list[str]:
    """`--name=value`, so that no value can be taken for an option."""
    flags = {"n": "-n"}
    found: list[str] = []
    for name, value in said.items():
        if value is None:
            continue
        if name in flags:
            found += [flags[name], str(int(value))]
        else:
            found.append(f"--{name.replace('_', '-')}={value}")
    return found


def _texts(overrides: Mapping[str, Any]) -> list[str]:
    return [f"{key}={_yaml(value)}" for key, value in overrides.items()]


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    if isinstance(value, str) and not _TEXT.fullmatch(value):
        quoted = value.replace("'", "''")
        return f"'{quoted}'"
    return str(value)


def _about(path: Path) -> str:
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("#").strip())
    return "\n".join(lines).strip()
