"""What training costs on this machine, found out by some seconds of it in a process of its own.

The process (`python -m maquette.train.probe`) does what `session.start` does, with the loop's own step and the keeper's
own looks, but with a clock beside each of them and in a folder that is then thrown away. It is a process of its own so
that its memory is that of training alone.
"""

import contextlib
import dataclasses
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from maquette.core import devices
from maquette.core.config import parse_json
from maquette.core.errors import MaquetteError
from maquette.train import coding
from maquette.train.keeper import Keeper
from maquette.train.learner import Learner
from maquette.train.loop import take_step
from maquette.train.recipe import Recipe
from maquette.train.run import Run
from maquette.train.session import facts, inspect, prepare

SECONDS = 5.0
"""Of steps that are timed, behind a first one …"""
FEWEST = 3
"""… and so many steps at least, however long they take."""
QUICK = 3.0
"""Looks that take less than so many seconds are taken twice: the first time they import what they need."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What each part of training takes: seconds, and bytes.

    Attributes:
        start: of the command before the first step (imports, packed data, the model, a first look at it) and its end.
        warm: once: what the first step and the first looks take beyond every other one.
        step: of training, the turns that are not taken on each step shared out.
        validate, draw, save: once each; `draw` is 0 for a model that draws nothing.
        memory: the most that the process has held.
        gpu: the most that was allocated on a GPU, 0 without one.
        checkpoint, bundle, sheet, line: on disk, each, the last of metrics; with what TensorBoard keeps of them.
        rest: on disk, what a run holds besides, such as a copy of its codec.
        device: where, and with how many threads.
    """

    start: float
    warm: float
    step: float
    validate: float
    draw: float
    save: float
    memory: int
    gpu: int
    checkpoint: int
    bundle: int
    sheet: int
    rest: int
    line: int
    device: str


def costs(recipe: Recipe) -> Costs:
    """Train `recipe` for some seconds in a process of its own, and throw away what came of it.

    Raises:
        MaquetteError: as `session.start`; MQ-2250 when the process did not live to tell, as for want of memory.
    """
    with tempfile.TemporaryDirectory(prefix="maquette-plan-") as folder:
        asked = json.dumps({"recipe": recipe.to_tree(), "folder": folder})
        command = [sys.executable, "-m", "maquette.train.probe"]
        began = time.monotonic()
        done = subprocess.run(command, input=asked, capture_output=True, text=True, encoding="utf-8")
        whole = time.monotonic() - began
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        killed = [f"its process was ended by signal {-done.returncode}"] if done.returncode < 0 else []
        raise MaquetteError("MQ-2250", reason=" ".join([*killed, *last]) or f"exit code {done.returncode}")
    told = parse_json(done.stdout.splitlines()[-1], "the probe")
    if "code" in told:
        raise MaquetteError(told["code"], told["where"], **told["values"])
    return Costs(start=whole - told.pop("seconds"), **told)


def main() -> None:
    """The child: a recipe and a folder on stdin, what was found on stdout."""
    asked = parse_json(sys.stdin.read(), "stdin")
    with contextlib.redirect_stdout(sys.stderr):
        try:
            told = probe(Recipe.from_tree(asked["recipe"]), Path(asked["folder"]))
        except MaquetteError as mistake:
            told = {"code": mistake.code, "where": mistake.where, "values": mistake.values}
    print(json.dumps(told))


def probe(recipe: Recipe, folder: Path) -> dict[str, float | str]:
    """The fields of `Costs` but for `start`, and the `seconds` that it took to find them."""
    # a budget that is never spent: nothing ends the steps but this probe
    recipe = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, budget="1000h"))
    learner = prepare(recipe)
    inspect(learner)
    run = Run.create(folder / "run", learner.recipe, facts(learner, {}))
    learner.coding = coding.keep(learner.coding, run.coding)
    keeper = Keeper(learner, run, quiet=True)
    began = time.monotonic()
    learner.clock.start()
    warm = _seconds(lambda: (keeper.note(take_step(learner)), keeper.log_line(now=True)))
    step = _pace(learner, keeper)
    keeper.log.sync()
    lines, logged = len(run.metrics()), _bytes(run.path / "metrics.jsonl") + _bytes(run.events)
    first = _looks(keeper)
    looks = first if (slow := sum(first.values()) > QUICK) else _looks(keeper)
    keeper.log.close()
    device, n = learner.device, torch.get_num_threads()
    return {
        "warm": max(0.0, warm - step) + max(0.0, sum(first.values()) - sum(looks.values())),
        "step": step,
        **looks,
        "memory": devices.peak_memory(torch.device("cpu")),
        "gpu": devices.peak_memory(device) if device.type == "cuda" else 0,
        **_sizes(run, logged, 1 if slow else 2),
        "line": logged // lines,
        "device": f"{device}, {n} thread{'s' * (n > 1)}",
        "seconds": time.monotonic() - began,
    }


def _pace(learner: Learner, keeper: Keeper) -> float:
    """Seconds a step, from steps 0, 1, 2 … of which the first has been taken before, to warm up.

    Turns that are taken now and then make some steps longer: each kind of step is timed by itself and counts as often
    as it comes. A kind that did not come counts as the mean of those that did.
    """
    every = [turn.every for turn in learner.turns.values()]
    taken: dict[tuple[bool, ...], list[float]] = defaultdict(list)
    end, count = time.monotonic() + SECONDS, 0
    while count < FEWEST or time.monotonic() < end:
        kind = tuple(learner.clock.step % n == 0 for n in every)
        began = time.monotonic()
        keeper.note(take_step(learner))
        learner.clock.tick()
        keeper.log_line()
        taken[kind].append(time.monotonic() - began)
        count += 1
    means = {kind: statistics.fmean(times) for kind, times in taken.items()}
    other = statistics.fmean(means.values())
    kinds = [tuple(step % n == 0 for n in every) for step in range(math.lcm(*every))]
    return statistics.fmean(means.get(kind, other) for kind in kinds)


def _looks(keeper: Keeper) -> dict[str, float]:
    """Seconds of a validation, a sheet and a checkpoint, each taken once."""
    return {"validate": _seconds(keeper.validate), "draw": _seconds(keeper.draw), "save": _seconds(keeper.save)}


def _seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _sizes(run: Run, logged: int, times: int) -> dict[str, int]:
    """Bytes of a run that has looked so many `times`, always at the same step; TensorBoard keeps what sheets show, too.

    Args:
        logged: bytes of its logs before the first look.
    """
    checkpoint, bundle, sheet = _bytes(run.path / "checkpoints"), _bytes(run.bundle), _bytes(run.samples)
    logs = _bytes(run.path / "metrics.jsonl") + _bytes(run.events)
    rest = _bytes(run.path) - checkpoint - bundle - sheet - logs
    return {"checkpoint": checkpoint, "bundle": bundle, "sheet": sheet + (logs - logged) // times, "rest": rest}


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


if __name__ == "__main__":
    main()
