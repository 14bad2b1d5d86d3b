"""One function per verb: its words to a verb's arguments, and what the verb made to stdout."""

import os
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from maquette.core.config import parse_yaml
from maquette.core.errors import MaquetteError


def train(asked: Namespace) -> None:
    seed = _number(asked.seed, "--seed")  # before torch is imported: a mistake is told at once
    from maquette.verbs.train import train

    run = train(
        asked.RECIPE, asked.data, asked.budget, asked.out, asked.overrides, seed, asked.device, asked.quiet,
        getattr(asked, "from"),
    )  # fmt: skip
    _print_all([run.path])


def resume(asked: Namespace) -> None:
    from maquette.verbs.train import resume

    _print_all([resume(asked.RUN, asked.budget, asked.quiet).path])


def sample(asked: Namespace) -> None:
    from maquette.pipeline import load
    from maquette.verbs.sample import sample

    numbers = ("steps", "temperature", "eta", "top_k", "top_p", "min_p", "repetition")
    how = {name: _value(getattr(asked, name)) for name in numbers} | {"solver": asked.solver}
    pipeline = load(getattr(asked, "RUN|BUNDLE"), asked.device)
    spoken = pipeline.medium.talks and not (asked.out or asked.grid)
    label = asked.label.split(",") if asked.label and "," in asked.label else asked.label
    made = sample(
        pipeline,
        out=asked.out or (None if asked.grid or spoken else "samples"),
        grid=asked.grid,
        visible=asked.visible or "",
        n=_value(asked.n) if asked.n is not None else 1 if spoken else 16,
        seed=_value(asked.seed),
        label=label,
        guidance=_value(asked.guidance),
        sampling={name: value for name, value in how.items() if value is not None},
        between=_value(asked.interpolate),
        prompt=asked.prompt,
        image=asked.image,
        mask=asked.mask,
        factor=_value(asked.factor),
    )
    if spoken:
        print(f"\n\n{'-' * 40}\n\n".join(pipeline.medium.words(item) or "" for item in made.items))
    else:
        _print_all(made.paths)


def evaluate(asked: Namespace) -> None:
    n, seed = _number(asked.n, "-n"), _number(asked.seed, "--seed")
    from maquette.verbs.evaluate import evaluate

    made = evaluate(asked.RUN, n, asked.data, asked.out, seed, asked.device, asked.inception)
    _say(made.table)
    _print_all(made.paths)


def compare(asked: Namespace) -> None:
    seeds, n = _numbers(asked.seeds, "--seeds"), _number(asked.n, "-n")
    recipes = [word for word in asked.RECIPE if "=" not in word]
    from maquette.verbs.compare import compare

    made = compare(
        recipes,
        data=asked.data,
        budget=asked.budget,
        out=asked.out,
        seeds=seeds,
        n=n,
        overrides=[word for word in asked.RECIPE if "=" in word] + asked.overrides,
        device=asked.device,
        quiet=asked.quiet,
    )
    _say(made.table)
    _print_all(made.paths)


def import_model(asked: Namespace) -> None:
    from maquette.core.files import read_json
    from maquette.verbs.exchange import import_model

    path = import_model(getattr(asked, "FOLDER|hf:NAME"), asked.out, asked.overrides)
    _say(f"taken over with model.kind={read_json(path / 'config.json')['model']['kind']}")
    _print_all([path])


def export_model(asked: Namespace) -> None:
    from maquette.verbs.exchange import export_model

    _print_all([export_model(getattr(asked, "RUN|BUNDLE"), asked.out)])


def recipes(asked: Namespace) -> None:
    from maquette.verbs.recipes import recipes

    for recipe in recipes():
        print(f"{recipe.name:<24} {recipe.about.partition(chr(10))[0]}")


def show(asked: Namespace) -> None:
    from maquette.core.config import describe
    from maquette.verbs.recipes import find, read

    print(f"# {find(asked.RECIPE)}")
    print(describe(read(asked.RECIPE, asked.overrides)))


def data(asked: Namespace) -> int:
    if asked.check != "check":
        raise MaquetteError("MQ-2111", verb=f"data {asked.check}", near="nearest: data check")
    from maquette.verbs.data import check

    found = check(asked.FOLDER, asked.recipe, asked.overrides, asked.move_bad)
    print("\n".join(found.lines()))
    return 0 if found.good else 3


def env(asked: Namespace) -> None:
    from maquette.verbs.env import env

    for name, value in env().items():
        print(f"{name:<16} {value}")


def lr_find(asked: Namespace) -> None:
    from maquette.verbs.lr_find import lr_find

    for player, rate in lr_find(asked.RECIPE, asked.data, asked.overrides, asked.device, asked.out).items():
        print(f"train.optimizers.{player}.lr={rate:.3g}")
    if asked.out:
        print(asked.out)


def demo(asked: Namespace) -> None:
    from maquette.verbs.demo import demo

    made = demo(asked.out, asked.budget, asked.quiet)
    _say(made.table)
    _print_all(made.paths)


COMMANDS: dict[str, Callable[[Namespace], int | None]] = {
    "train": train,
    "resume": resume,
    "sample": sample,
    "evaluate": evaluate,
    "compare": compare,
    "import": import_model,
    "export": export_model,
    "recipes": recipes,
    "show": show,
    "data": data,
    "env": env,
    "lr-find": lr_find,
    "demo": demo,
}


def _value(text: str | None) -> Any:
    """A number if it reads as one; what it should be is for the request's own reader to say."""
    return None if text is None else parse_yaml(text, "the command line")[0]


def _number(text: str | None, flag: str) -> int | None:
    if text is None:
        return None
    value = _value(text)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise MaquetteError("MQ-2002", path=flag, wanted="a whole number", value=repr(text))
    return value


def _numbers(text: str, flag: str) -> list[int]:
    return [number for word in text.split(",") if (number := _number(word, flag)) is not None]


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _print_all(paths: list[Path]) -> None:
    if os.environ.get("RANK", "0") == "0":  # torchrun starts one process a rank; one of them tells
        print("\n".join(map(str, paths)))
