"""What is in a run's folder, and how it survives anything.

    recipe.json      the resolved recipe, versions, threads, device, the data's fingerprint and licence
    metrics.jsonl    a line for every few steps (means over them) and for every validation
    events/          the same for TensorBoard
    samples/         step-XXXXXXXX.png, drawn from the averaged weights and always the same noise, and a file that plays
                     them where they are heard or move; curves.svg
    checkpoints/     step-XXXXXXXX/: weights, averaged weights, optimisers, state.json, each with its hash
    bundle/          the averaged weights with their config: what `maquette sample` and `evaluate` load
    coding/          where a model stands behind a trained codec: that codec's bundle and what its codes are whitened by
    teacher/         where a model learns from another: that one's bundle
    adapter/         where a model is changed at low rank: that change alone, as other libraries read it

Training that was killed at any moment continues from its newest whole checkpoint and ends in the same bits.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from maquette.core import files
from maquette.core.errors import MaquetteError
from maquette.train.recipe import Recipe

FORMAT = 1
STATE = "state.json"
PARTS = ("model", "ema", "optimisers")
"""The tensor files of a checkpoint."""
FACTS = ("card", "identity", "versions", "threads")
"""What `recipe.json` must say besides the recipe for a run to be resumed."""


@dataclass(frozen=True)
class Checkpoint:
    """All that training needs to go on: `tensors` by part, `step` and `seconds` reached."""

    step: int
    seconds: float
    tensors: dict[str, dict[str, Tensor]]


class Run:
    """A run's folder. Make one with `create` or `open`; hold `locked()` while writing."""

    def __init__(self, path: Path, recipe: Recipe, facts: dict[str, Any]):
        self.path, self.recipe, self.facts = path, recipe, facts
        self.bundle = path / "bundle"
        self.samples = path / "samples"
        self.events = path / "events"
        self.coding = path / "coding"
        self.teacher = path / "teacher"

    @staticmethod
    def refuse_existing(path: Path) -> None:
        """Raise when `path` may not become a new run: MQ-5010 for a run, MQ-5005 for anything else that is there."""
        if (path / "recipe.json").exists():
            raise MaquetteError("MQ-5010", str(path), path=path)
        if path.is_file() or (path.is_dir() and any(not p.name.startswith(".") for p in path.iterdir())):
            raise MaquetteError("MQ-5005", str(path))

    @classmethod
    def create(cls, path: Path, recipe: Recipe, facts: dict[str, Any]) -> "Run":
        """The folder of a new run with its `recipe.json`; `facts` are what else a reader should know of it."""
        run = cls(path, recipe, facts)
        files.write_json(path / "recipe.json", {"format": FORMAT, "recipe": recipe.to_tree(), "facts": facts})
        return run

    @classmethod
    def open(cls, path: Path | str) -> "Run":
        """An existing run; raises `MaquetteError` MQ-5004 or MQ-5011 when there is none."""
        path = Path(path)
        if not path.is_dir():
            raise MaquetteError("MQ-5004", str(path))
        if not (path / "recipe.json").exists():
            raise MaquetteError("MQ-5011", str(path), reason="it has no recipe.json")
        tree = files.read_json(path / "recipe.json")
        facts = tree.get("facts") if isinstance(tree, dict) and tree.get("format") == FORMAT else None
        if not isinstance(facts, dict) or not all(name in facts for name in FACTS):
            raise MaquetteError("MQ-5011", str(path), reason="its recipe.json was not written by this version")
        return cls(path, Recipe.from_tree(_as_meant(tree.get("recipe"))), facts)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process from training into this folder; what a killed one left half-written is removed."""
        with files.lock(self.path):
            for folder in (self.path, self.samples, self.path / "checkpoints"):
                files.sweep(folder)
            yield

    # -- metrics ------------------------------------------------------------------------------------------------------

    def append(self, line: dict[str, Any]) -> None:
        files.append_line(self.path / "metrics.jsonl", line)

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`, oldest first."""
        return files.read_lines(self.path / "metrics.jsonl")

    def rewind(self, step: int) -> None:
        """Drop what was logged and drawn after `step`, so that a resumed run says nothing twice."""
        lines = [line for line in self.metrics() if line["step"] <= step]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        files.write_file(self.path / "metrics.jsonl", text.encode())
        for sheet in self.samples.glob("step-*.*"):
            if int(sheet.stem.removeprefix("step-")) > step:
                files.remove_file(sheet)

    def write_sample(self, name: str, data: bytes) -> None:
        files.write_file(self.samples / name, data)

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def checkpoints(self) -> list[Path]:
        """The folders of its checkpoints, newest first."""
        return sorted((self.path / "checkpoints").glob("step-????????"), reverse=True)

    def commit(self, checkpoint: Checkpoint) -> None:
        """Commit a checkpoint; older ones beyond the last `keep` go only after it is durable."""

        def fill(folder: Path) -> None:
            for part in PARTS:
                files.put_tensors(folder / f"{part}.safetensors", checkpoint.tensors[part])
            state = {"format": FORMAT, "step": checkpoint.step, "seconds": checkpoint.seconds}
            files.put_json(folder / STATE, state)

        path = self.path / "checkpoints" / f"step-{checkpoint.step:08d}"
        files.commit_folder(path, fill)
        for old in self.checkpoints()[self.recipe.train.keep :]:
            files.remove_folder(old)

    def newest(self, warn: Callable[[MaquetteError], None]) -> Checkpoint | None:
        """The newest checkpoint that is whole, None when training was stopped before the first.

        Each damaged one that is newer is told to `warn` (MQ-5012).

        Raises:
            MaquetteError: MQ-5013 when there are some and none is whole.
        """
        reason = ""
        for path in self.checkpoints():
            try:
                return _read(path)
            except MaquetteError as bad:
                reason = str(bad.values.get("reason", bad.code))
                warn(MaquetteError("MQ-5012", str(path), name=path.name, reason=reason))
        if reason:
            raise MaquetteError("MQ-5013", str(self.path), reason=reason)
        return None


def _as_meant(tree: Any) -> Any:
    """A run's recipe with what an earlier version did where it had no choice and this one does otherwise."""
    if isinstance(tree, dict) and isinstance(tree.get("data"), dict):
        return tree | {"data": {"split": "item"} | tree["data"]}
    return tree


def _read(path: Path) -> Checkpoint:
    folder = files.Folder(path)
    state = folder.read_json(STATE)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise folder.damaged(f"{STATE} was not written by this version")
    step, seconds = state.get("step"), state.get("seconds")
    if not isinstance(step, int) or not isinstance(seconds, float | int) or path.name != f"step-{step:08d}":
        raise folder.damaged(f"{STATE} does not say which step it is of")
    return Checkpoint(step, float(seconds), {part: folder.read_tensors(f"{part}.safetensors") for part in PARTS})
