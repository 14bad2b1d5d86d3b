"""Every kind through the real thing: trained by the loop, resumed to the bit, its bundle opened in a new process."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from maquette.core.config import kinds
from maquette.core.files import digest
from maquette.core.types import Real
from maquette.media.base import MediumConfig
from maquette.media.image import Config as Image
from maquette.media.points import Config as Points
from maquette.models.base import ModelConfig
from maquette.train.recipe import Recipe
from maquette.train.session import resume, start
from tests.conformance.cases import model_cases
from tests.conformance.opened import drawn

WORLDS: list[tuple[MediumConfig, str]] = [(Image(size=8, channels=1), "digits"), (Points(), "ring8")]
STEPS = 4


def worlds() -> list[tuple[str, ModelConfig, MediumConfig, str]]:
    """Every kind with each medium whose space it takes."""
    found = {(config.kind(), space.shape): config for name, config, space in model_cases() if isinstance(space, Real)}
    made = []
    for kind in kinds("models"):
        for medium, source in WORLDS:
            if (config := found.get((kind, medium.build().space.shape))) is not None:
                made.append((f"{kind}-{medium.kind()}", config, medium, source))
    return made


CASES = worlds()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A short run of each, with a checkpoint half-way and one at the end."""
    folder = tmp_path_factory.mktemp("runs")
    for name, model, medium, source in CASES:
        training = {"budget": f"{STEPS}steps", "batch": 8, "checkpoint_every": 0.5, "samples": 4, "device": "cpu"}
        training |= {"sample_every": 1, "validate_every": 1}  # else it would look at itself after each of so few steps
        data = {"source": source} | ({"conditional": True} if "label" in model.takes else {"other": source})
        tree = {"data": data, "train": training}
        recipe = Recipe.from_tree(tree | {"medium": medium, "model": model})
        start(recipe, folder / name, quiet=True)
    return {name: folder / name for name, *_ in CASES}


def tensors(run: Path) -> dict[str, str]:
    """The hash of each tensor file of a run's last checkpoint, and of its bundle's weights."""
    last = max((run / "checkpoints").glob("step-*"))
    assert last.name == f"step-{STEPS:08d}"
    files = [*last.glob("*.safetensors"), run / "bundle" / "model.safetensors"]
    return {file.name: digest(file.read_bytes()) for file in files}


@pytest.mark.parametrize("name", [case[0] for case in CASES])
def test_what_is_resumed_ends_in_the_same_bits(name: str, runs: dict[str, Path], tmp_path: Path) -> None:
    stopped = tmp_path / "stopped"
    shutil.copytree(runs[name], stopped)
    shutil.rmtree(stopped / "checkpoints" / f"step-{STEPS:08d}")
    shutil.rmtree(stopped / "bundle")
    resume(stopped, quiet=True)
    assert tensors(stopped) == tensors(runs[name])


def test_a_bundle_draws_the_same_in_a_new_process(runs: dict[str, Path]) -> None:
    bundles = [str(run / "bundle") for run in runs.values()]
    command = [sys.executable, "-m", "tests.conformance.opened", *bundles]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(child.stdout) == {path: digest(drawn(path)[1].tobytes()) for path in bundles}


@pytest.mark.parametrize("name", [case[0] for case in CASES])
def test_a_run_opens_like_its_bundle(name: str, runs: dict[str, Path]) -> None:
    pipeline, items = drawn(runs[name])
    medium = pipeline.medium
    assert items.shape == (3, *medium.stored) and items.dtype == medium.dtype
