"""Kill a search and a pipeline again and again, each time at another point, and compare what they come to with what
ones that were never killed have come to.

    python -m tests.crash.searching
    python -m tests.crash.searching --only pipeline --every 2

A kill is SIGKILL of a process that runs the command as it would be typed: just before a storage call that fits a
pattern, or on either side of the moment at which Optuna's study is told of a trial. The parent does each work once
undisturbed and then forks.
"""

import argparse
import contextlib
import os
import re
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import torch

from maquette.cli.main import main as maquette_main
from maquette.core import files
from maquette.evaluate.report import Report
from tests.crash.killing import differing

torch.set_num_threads(1)

RECIPE = """\
data: {{source: ring8}}
medium: {{kind: points}}
model: {model}
train: {{budget: 6steps, batch: 32, samples: 8, sample_every: 1, validate_every: 1, checkpoint_every: 0.3}}
"""
RECIPES = {
    "narrow": "{kind: gan, generator: {kind: mlp, width: 4}, critic: {kind: mlp, width: 4}, latent: 2}",
    "wide": "{kind: gan, generator: {kind: mlp, width: 16}, critic: {kind: mlp, width: 16}, latent: 2}",
}
FILE = """\
data: ring8
recipes: [narrow.yaml, wide.yaml]
rounds: [6steps, 12steps]
n: 60
tune: {trials: 2}
"""
TUNE = (
    "tune wide.yaml --trials 4 -n 60 --seed 5 --out out --quiet model.latent=1..4 train.optimizers.critic.lr=1e-4..1e-1"
)
PIPELINE = "pipeline plan.yaml --out out --quiet"

TUNE_KILLS = [
    "rename .*/study.db$",
    r"write .*/trial-000/\.recipe.json",
    "rename .*/trial-000/checkpoints/step-00000004",
    "add before 1",
    "add after 1",
    "rename .*/trial-002/checkpoints/step-00000004",
    r"write .*/trial-002/\.report.json",
    r"write .*/\.wide-tuned.yaml",
]
PIPELINE_KILLS = [
    "rename .*/round-1/wide-0/checkpoints/step-00000004",
    "add after 0",
    r"write .*/tuning-1/trial-001/\.report.json",
    r"rename .*/round-2/\w+-0$",
    "rename .*/round-2/.*/checkpoints/step-00000008",
    r"write .*out/\.report.html",
]


WORKS = {"tune": (TUNE, TUNE_KILLS), "pipeline": (PIPELINE, PIPELINE_KILLS)}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.searching", description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=sorted(WORKS), nargs="*", default=sorted(WORKS, reverse=True))
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="only the first kill, the N-th after it … (1)"
    )
    parser.add_argument("--folder", type=Path, help="where all is done, and left (default: a temporary folder)")
    asked, wrong = parser.parse_args(argv), False
    with tempfile.TemporaryDirectory(prefix="maquette-searching-") as temporary:
        for name in asked.only:
            words, kills = WORKS[name]
            folder = (asked.folder or Path(temporary)) / name
            whole, torn = made(folder / "whole"), made(folder / "torn")
            with contextlib.chdir(whole):  # in this process: what is imported on the way need not be imported again
                assert maquette_main(words.split()) == 0
            for kill in kills[:: asked.every]:
                assert not live(torn, words.split(), kill), f"{kill} never came"
            assert live(torn, words.split())
            found = compared(whole / "out", torn / "out")
            wrong |= bool(found)
            print(f"{name}: {len(kills[:: asked.every])} kills, {', '.join(found) or 'identical'}", flush=True)
    return int(wrong)


def made(folder: Path) -> Path:
    """A folder with the recipes and the plan."""
    folder.mkdir(parents=True)
    for name, model in RECIPES.items():
        (folder / f"{name}.yaml").write_text(RECIPE.format(model=model))
    (folder / "plan.yaml").write_text(FILE)
    return folder


def live(folder: Path, words: Sequence[str], kill: str = "") -> bool:
    """Run the command in `folder`, in a child; whether it reached its end. Without `kill` it must."""
    if (pid := os.fork()) == 0:
        _child(folder, words, kill)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status) and kill:
        return False
    assert status == 0, (folder / "err").read_text()[-2000:]
    return True


def _child(folder: Path, words: Sequence[str], kill: str) -> None:
    code, told, add = 1, 0, optuna.Study.add_trial

    def seen(what: str) -> None:
        if kill and re.match(kill, what):
            os.kill(os.getpid(), signal.SIGKILL)

    def adding(study: optuna.Study, trial: Any) -> None:
        nonlocal told
        kept = study._storage.__class__.__name__ != "InMemoryStorage"
        told = len(study.trials) if kept else told
        if kept:
            seen(f"add before {told}")
        add(study, trial)
        if kept:
            seen(f"add after {told}")

    try:
        os.chdir(folder)
        optuna.Study.add_trial = adding  # type: ignore[method-assign]
        log = os.open("err", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        files.on_call = lambda operation, path: seen(f"{operation} {path}")
        code = maquette_main([*words])
    finally:
        os._exit(code)


def compared(one: Path, other: Path) -> list[str]:
    """Names of what differs between two finished folders; times apart, nothing may."""
    names = {path.relative_to(one) for path in one.rglob("recipe.json")}
    wrong = ["runs"] if names != {path.relative_to(other) for path in other.rglob("recipe.json")} else []
    for name in sorted(names):
        a, b = (where / name.parent for where in (one, other))
        wrong += [f"{name.parent}/{what}" for what in differing(a, b)]
        if Report.read(a).scores[:-1] != Report.read(b).scores[:-1]:  # the last is how fast it samples
            wrong.append(f"{name.parent}/report.json")
    for name in {path.relative_to(one) for path in one.rglob("*.yaml")}:
        wrong += [str(name)] * ((one / name).read_bytes() != (other / name).read_bytes())
    for name in {path.relative_to(one) for path in one.rglob("study.db")}:
        wrong += [str(name)] * (trials(one / name) != trials(other / name))
    return wrong + ["what was chosen"] * (told(one) != told(other))


def trials(study: Path) -> list[Any]:
    """What Optuna keeps of each trial, read without it."""
    with sqlite3.connect(study) as kept:
        rows = kept.execute("SELECT number, state FROM trials ORDER BY number").fetchall()
        rows += kept.execute("SELECT trial_id, param_name, param_value FROM trial_params ORDER BY 1, 2").fetchall()
        rows += kept.execute("SELECT trial_id, value FROM trial_values ORDER BY trial_id").fetchall()
    kept.close()
    return rows


def told(folder: Path) -> list[str]:
    """The sentences of the page about what is best."""
    return re.findall(r"(?:Chosen|The next is|became|is the best of)[^<]*", (folder / "report.html").read_text())


if __name__ == "__main__":
    sys.exit(main())
