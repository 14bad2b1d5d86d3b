"""From the body of a request to the spec of a job: names looked up, fields checked, nothing taken at its word."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maquette.core.config import read_yaml
from maquette.core.errors import MaquetteError, nearest
from maquette.server import plans
from maquette.server.doors import Caller
from maquette.server.schemas import Hyperparameters, Tuning, Work

USES = {
    "train": {"model", "recipe", "file", "dataset", "budget", "overrides", "codec", "suffix", "seed", "shared"},
    "evaluate": {"model", "file", "dataset", "n", "seed", "judge", "guidance", "solver", "steps", "temperature"},
    "compare": {"recipes", "models", "file", "dataset", "budget", "overrides", "codec", "seeds", "n"},
    "sample": {"model", "n", "seed", "label", "prompt", "guidance", "solver", "steps", "temperature", "top_k", "top_p",
               "max_tokens"},
    "check": {"recipe", "file", "dataset"},
    "export": {"model"},
}  # fmt: skip
"""Which fields each kind of job reads."""
NEEDS = {
    "train": {"model"},
    "evaluate": {"model"},
    "compare": set(),
    "sample": {"model"},
    "check": {"file"},
    "export": {"model"},
}
ALWAYS = {"kind", "priority", "metadata"}
TRAINING = {"budget", "overrides", "codec", "seeds"}
"""What says how recipes are trained."""


def tuning(state: Any, caller: Caller, body: Tuning) -> plans.Spec:
    """The spec of a fine-tuning job.

    Raises:
        MaquetteError: what is wrong, with the field's name.
    """
    file = body.training_file
    data = _data(state, caller, file if _is_id(file) else None, None if _is_id(file) else file, "training_file")
    nested = body.method.supervised if body.method else None
    told = body.hyperparameters or (nested.hyperparameters if nested else None)
    spec = _training(state, caller, body, told)
    kept = {"seed": body.seed, "metadata": body.metadata, "training_file": file}
    return spec | data | {name: value for name, value in kept.items() if value is not None}


def work(state: Any, caller: Caller, body: Work) -> plans.Spec:
    """The spec of a job of any kind; raises as `tuning`."""
    kind = body.kind
    given = body.model_dump(exclude_none=True)
    for name in sorted(given.keys() - USES[kind] - ALWAYS):
        raise MaquetteError("MQ-2184", name, path=name, reason=f"jobs of the kind {kind} do not read it")
    for name in sorted(NEEDS[kind] - given.keys()):
        raise MaquetteError("MQ-2202", name, path=name, wanted="it is needed", more="")
    data = _data(state, caller, body.file, body.dataset)
    kept = {name: given[name] for name in ("n", "seed", "metadata") if name in given}
    if kind == "train":
        return _training(state, caller, body, None) | data | kept
    folder = state.store.folder
    if kind == "compare":
        return _compared(state, caller, body) | data | kept
    if kind == "check":
        spec = data | kept
        if body.recipe is not None:
            listed = plans.find_recipe(body.recipe, folder, "recipe")
            spec |= {"recipe": listed.name, "word": listed.word}
        return spec
    for name in (body.model, body.judge):
        if name is not None:
            served = state.engine.find(name, caller.sees)
            if kind == "export" and not served.exports:
                reason, todo = f"no other library has a {served.kind} model like it", "take its bundle"
                raise MaquetteError("MQ-7041", "model", reason=reason, todo=todo)
    return data | kept | {name: given[name] for name in USES[kind] & given.keys() - {"file", "dataset"}}


def _compared(state: Any, caller: Caller, body: Work) -> plans.Spec:
    """Recipes to be trained alike, or served models as they are."""
    if (body.recipes is None) == (body.models is None):
        raise MaquetteError("MQ-2202", "recipes", path="recipes", wanted="recipes or models, one of the two", more="")
    if body.models is not None:
        for name in sorted(body.model_dump(exclude_none=True).keys() & TRAINING):
            raise MaquetteError("MQ-2184", name, path=name, reason="models are compared as they are")
        if len(set(body.models)) != len(body.models):
            raise MaquetteError("MQ-2202", "models", path="models", wanted="each once", more="")
        for name in body.models:
            state.engine.find(name, caller.sees)
        return {"models": body.models}
    several = [plans.find_recipe(name, state.store.folder, "recipes") for name in body.recipes or ()]
    overrides = plans.settings(body.overrides or {})
    for one in several:
        plans.check_tree(one, overrides)
    if len({one.name.rpartition("/")[2] for one in several}) != len(several):
        raise MaquetteError("MQ-2202", "recipes", path="recipes", wanted="each once", more="")
    spec = {"recipes": [one.name for one in several], "words": [one.word for one in several]}
    spec |= {"overrides": overrides, "seeds": body.seeds or [0]}
    return spec | _budget(body.budget) | _codec(state, caller, body.codec)


def _training(state: Any, caller: Caller, body: Tuning | Work, told: Hyperparameters | None) -> plans.Spec:
    """A recipe, or a served model to go on from; of one name for both the model is meant when `recipe` is said too."""
    model, recipe, budget = body.model, body.recipe, body.budget
    assert model is not None
    folder: Path = state.store.folder
    served = {one.id: one for one in state.engine.served(caller.sees)}
    spec: plans.Spec = {"model": model}
    listed = None
    if model in served and (recipe is not None or not _is_recipe(model, folder)):
        spec["from"] = model
        if recipe is None:
            spec["of"] = model
            tree = plans.recipe_of(run_of(served[model].folder))
        else:
            listed = plans.find_recipe(recipe, folder, "recipe")
            tree = read_yaml(listed.path)[0]
    else:
        if recipe is not None:
            raise MaquetteError("MQ-2184", "recipe", path="recipe", reason="`model` is a recipe already")
        listed = _recipe(model, folder, served)
        tree = read_yaml(listed.path)[0]
    chosen = plans.settings(body.overrides or {})
    more, epochs = _hyper(told, tree)
    if epochs is not None and budget is not None:
        raise MaquetteError("MQ-2184", "budget", path="budget", reason="n_epochs is one already")
    chosen = more | chosen
    if listed is not None:
        spec |= {"recipe": listed.name, "word": listed.word}
        if "from" not in spec:
            plans.check_tree(listed, chosen)
    spec |= {
        "stem": plans.stem(listed.name if listed and "from" not in spec else model, body.suffix),
        "overrides": chosen,
    }
    if told is not None:
        spec["hyperparameters"] = told.model_dump(exclude_none=True)
    if body.shared:
        spec["shared"] = True
    return spec | _budget(budget or epochs) | _codec(state, caller, body.codec)


def run_of(folder: Path) -> Path:
    """The run that a bundle lies in, else the bundle."""
    return folder.parent if folder.name == "bundle" and (folder.parent / "recipe.json").exists() else folder


def _recipe(model: str, folder: Path, served: Mapping[str, Any]) -> plans.Listed:
    try:
        return plans.find_recipe(model, folder)
    except MaquetteError as bad:
        if bad.code != "MQ-2006":
            raise
        names = {*served, *(full.rpartition("/")[2] for full in plans.recipes(folder))}
        raise MaquetteError("MQ-2160", "model", name=model, near=nearest(model, names)) from None


def _is_recipe(name: str, folder: Path) -> bool:
    try:
        return bool(plans.find_recipe(name, folder))
    except MaquetteError as bad:
        return bad.code == "MQ-2115"


def _hyper(told: Hyperparameters | None, tree: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """OpenAI's three as overrides, and a budget in epochs."""
    found: dict[str, Any] = {}
    if told is None:
        return found, None
    if isinstance(told.batch_size, int):
        found["train.batch"] = told.batch_size
    if isinstance(told.learning_rate_multiplier, float | int):
        rates = plans.rates(tree)
        if not rates:
            reason = "this recipe names no learning rate to multiply: set train.optimizers.PLAYER.lr in overrides"
            raise MaquetteError("MQ-2184", "hyperparameters", path="hyperparameters", reason=reason)
        found |= {f"train.optimizers.{name}.lr": lr * told.learning_rate_multiplier for name, lr in rates.items()}
    return found, f"{told.n_epochs}epochs" if isinstance(told.n_epochs, int) else None


def _budget(text: str | None) -> dict[str, str]:
    return {} if text is None else {"budget": plans.budget(text)}


def _codec(state: Any, caller: Caller, name: str | None) -> dict[str, str]:
    if name is None:
        return {}
    state.engine.find(name, caller.sees)
    return {"codec": name}


def _data(state: Any, caller: Caller, file: str | None, dataset: str | None, where: str = "dataset") -> plans.Spec:
    if file is not None and dataset is not None:
        raise MaquetteError("MQ-2184", "dataset", path="dataset", reason="`file` is given already")
    if file is not None:
        row = state.store.get_file(caller.id, file)
        return {"file": row.id}
    if dataset is not None:
        from maquette.data.embedded import NAMES

        if dataset not in NAMES:
            wanted = "the id of an upload, or one of " + ", ".join(NAMES)
            raise MaquetteError("MQ-2002", where, path=where, wanted=wanted, value="something else")
        return {"dataset": dataset}
    return {}


def _is_id(text: str | None) -> bool:
    return text is not None and text.startswith("file-")
