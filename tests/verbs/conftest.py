"""A tiny model of real digits, trained once for all tests of the verbs."""

from pathlib import Path

import pytest

from maquette.train.run import Run
from maquette.verbs.train import train

RECIPE = """\
# A tiny model of handwritten digits.
# Seconds on 2 cores.
data:
  source: digits
  conditional: true
medium:
  kind: image
  size: 8
model:
  kind: vae
  encoder: {kind: mlp, width: 32}
  decoder: {kind: mlp, width: 32}
  latent: 4
train:
  budget: 40steps
  batch: 32
  samples: 8
  sample_every: 1
  validate_every: 1
  checkpoint_every: 0.5
"""


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "tiny.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="session")
def run(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(str(recipe), out=tmp_path_factory.mktemp("runs") / "tiny", quiet=True)
