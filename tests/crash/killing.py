"""One life of a training process, cut short or not, and the comparison of what two runs have come to."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.utils.tensorboard  # before the fork, so that no child pays for it

from maquette.core import files
from maquette.train.recipe import Recipe
from maquette.train.run import Run
from maquette.train.session import resume, start

torch.set_num_threads(1)

_MLP = {"kind": "mlp", "width": 16, "depth": 2}
_RING, _DIGITS = {"source": "ring8"}, {"source": "digits"}
_TRANSFORMER = {"kind": "transformer", "width": 16, "depth": 2, "heads": 2, "dropout": 0.1}
_PYDOC, _TEXT = {"source": "pydoc"}, {"kind": "text", "tokenizer": "character", "length": 24}
_POINTS, _SMALL = {"kind": "points"}, {"kind": "image", "size": 8, "channels": 1}

RECIPES: dict[str, dict[str, Any]] = {
    "gan": {
        "data": _RING,
        "medium": _POINTS,
        "model": {"kind": "gan", "generator": _MLP, "critic": _MLP | {"spectral": True}, "latent": 2, "r1": 0.1},
        "train": {"optimizers": {"critic": {"name": "rmsprop"}, "generator": {"betas": [0.5, 0.9]}}},
    },
    "vae": {
        "data": _DIGITS | {"conditional": True},
        "medium": _SMALL,
        "model": {"kind": "vae", "encoder": {"kind": "convnet", "width": 8, "widest": 8},
                  "decoder": {"kind": "convnet", "width": 8, "widest": 8}, "latent": 4, "label_width": 4},
        "train": {"optimizers": {"model": {"name": "muon", "schedule": "cosine", "warmup": 0.2}}, "clip": 1.0},
    },
    "pixelcnn": {
        "data": _DIGITS,
        "medium": _SMALL,
        "model": {"kind": "pixelcnn", "net": {"kind": "gated", "width": 8, "layers": 2}, "mixtures": 2},
        "train": {"optimizers": {"model": {"name": "sgd"}}, "parts": 2, "samples": 2},
    },
    "diffusion": {
        "data": _RING | {"conditional": True},
        "medium": _POINTS,
        "model": {"kind": "diffusion", "net": _MLP, "embed": 8, "steps": 4},
        "train": {},
    },
    "gpt": {
        "data": _PYDOC,
        "medium": _TEXT,
        "model": {"kind": "gpt", "net": _TRANSFORMER},
        "train": {"optimizers": {"model": {"name": "muon", "schedule": "linear"}}, "parts": 2},
    },
    "lstm": {
        "data": _PYDOC,
        "medium": _TEXT,
        "model": {"kind": "lstm", "width": 16, "depth": 2, "dropout": 0.2},
        "train": {"clip": 1.0, "best": True},
    },
    "mdlm": {
        "data": _PYDOC,
        "medium": _TEXT | {"tokenizer": "byte"},
        "model": {"kind": "mdlm", "net": _TRANSFORMER, "steps": 4},
        "train": {"optimizers": {"model": {"name": "muon"}}},
    },
    "textvae": {
        "data": _PYDOC,
        "medium": _TEXT | {"alone": True},
        "model": {"kind": "textvae", "encoder": _TRANSFORMER, "decoder": _TRANSFORMER, "word_dropout": 0.2},
        "train": {"optimizers": {"model": {"name": "muon"}}, "best": True},
    },
}  # fmt: skip
"""One tiny recipe a family; together they use every optimiser, accumulation, clipping, dropout, labels, lazy
turns, the bundle of the lowest loss, and a vocabulary that is learnt first."""

_TRAIN = {"budget": "24steps", "batch": 16, "samples": 8, "seed": 3, "checkpoint_every": 0.15, "sample_every": 0.5}


class Died(Exception):
    """A life that should have ended well did not."""


@dataclass(frozen=True)
class Course:
    """A family's recipe with the run that was never killed: how long it took, how many storage calls it made."""

    recipe: Recipe
    folder: Path
    reference: Path
    seconds: float
    calls: int

    @classmethod
    def of(cls, family: str, folder: Path) -> "Course":
        tree = RECIPES[family]
        recipe = Recipe.from_tree(tree | {"train": _TRAIN | tree["train"]})
        live(recipe, folder / "first" / "run")  # fills the data cache, so that all later lives are alike
        began = time.monotonic()
        live(recipe, folder / "reference" / "run")
        seconds = time.monotonic() - began
        counted = folder / "calls"
        live(recipe, folder / "counted" / "run", count=counted)
        return cls(recipe, folder, folder / "reference" / "run", seconds, int(counted.read_text()))


def live(
    recipe: Recipe, out: Path, after: float | None = None, call: float | None = None, count: Path | None = None
) -> bool:
    """Train into `out`, or go on with what is there, in a child; whether it reached its end.

    Args:
        after: kill it after so many seconds.
        call: kill it just before this storage call.
        count: write the number of storage calls it made there.
    """
    if (pid := os.fork()) == 0:
        _child(recipe, out, call, count)
    status = _reap(pid, after)
    if os.WIFSIGNALED(status):
        if after is None and call is None:
            raise Died(f"killed by signal {os.WTERMSIG(status)}")
        return False
    if os.WEXITSTATUS(status):
        raise Died(f"exit {os.WEXITSTATUS(status)}: {(out.parent / f'{out.name}.err').read_text()[-600:]}")
    return True


def _reap(pid: int, seconds: float | None) -> int:
    """The child's wait status; after `seconds` it is killed, while its number cannot yet be another's."""
    if seconds is not None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return status
            time.sleep(0.002)
        os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def _child(recipe: Recipe, out: Path, call: float | None, count: Path | None) -> None:
    code, made = 1, 0

    def before(operation: str, path: Path) -> None:
        nonlocal made
        if call is not None and made >= call:
            os.kill(os.getpid(), signal.SIGKILL)
        made += 1

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        log = os.open(out.parent / f"{out.name}.err", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 2)
        files.on_call = before
        if (out / "recipe.json").exists():
            resume(out, quiet=True)
        else:
            start(recipe, out, quiet=True)
        if count is not None:
            count.write_text(str(made))
        code = 0
    except BaseException:
        import traceback

        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def differing(one: Path, other: Path) -> list[str]:
    """The names of what differs in two finished runs, to the bit: tensors of all kinds, samples, metrics, leftovers."""
    names = [f"{last.relative_to(one)}/{part}.safetensors" for last in Run.open(one).checkpoints()[:1]
             for part in ("model", "ema", "optimisers")]  # fmt: skip
    names += [str(sheet.relative_to(one)) for sheet in sorted((one / "samples").glob("step-*"))]
    names += ["bundle/model.safetensors", "bundle/config.json"]
    different = [name for name in names if not _same(one / name, other / name)]
    if _numbers(one) != _numbers(other):
        different.append("metrics.jsonl")
    return different + [str(left) for left in other.rglob(".*") if left.name != ".lock"]


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()


def _numbers(run: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in Run.open(run).metrics()]
