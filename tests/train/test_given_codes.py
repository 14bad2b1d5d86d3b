"""A given picture and a codec at once: the picture is taken from what is seen, and put back into what is seen."""

from pathlib import Path

import numpy as np
import pytest
import torch

from maquette.bundle import read_bundle
from maquette.core.errors import MaquetteError
from maquette.crafts.mask import Config as Mask
from maquette.pipeline import Request, load
from maquette.train.begin import begin
from maquette.train.session import prepare, start
from maquette.verbs.sample import brought
from maquette.verbs.train import train
from tests.train.test_coding import GRID, NOISE, recipe

HOLES = {"kind": "mask", "holes": "boxes"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    start(recipe(GRID), folder / "grid", quiet=True)
    start(recipe(NOISE, folder / "grid", given=HOLES), folder / "mend", quiet=True)
    return {path.name: path for path in folder.iterdir()}


def test_what_is_given_is_taken_from_the_picture_and_not_from_its_code(runs: dict[str, Path]) -> None:
    learner = prepare(recipe(NOISE, runs["grid"], given=HOLES))
    split, batch = learner.dataset.train, learner.batches(2)
    assert split.codes is not None, "codes are computed once, whatever is given with them"
    assert batch.x.shape == (8, 3, 2, 2) and batch.given.image is not None and batch.given.image.shape == (8, 2, 8, 8)
    rows = learner.batches.rows(2)
    assert torch.equal(batch.x, torch.from_numpy(split.codes[rows]))
    seen, hidden = learner.medium.to_tensor(np.asarray(split.items[rows])), batch.given.image[:, 1:]
    assert torch.equal(batch.given.image[:, :1], seen * (1 - hidden)) and 0 < hidden.mean() < 1


def test_known_pixels_come_back_to_the_bit_behind_a_codec(runs: dict[str, Path]) -> None:
    pipeline = load(runs["mend"], "cpu")
    assert pipeline.along.craft == Mask(holes="boxes") and pipeline.model.space.shape == (3, 2, 2)
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 1), dtype=np.uint8)
    hole = np.zeros((8, 8), bool)
    hole[2:6, 3:7] = True
    made = pipeline.generate(Request(n=3, given=brought(pipeline, [picture], hole, False, 0)))
    assert np.array_equal(made[:, ~hole], np.repeat(picture[None, ~hole], 3, 0))
    assert (made[:, hole] != picture[hole]).any()


def test_bundles_hold_both_and_training_begins_from_both(runs: dict[str, Path], tmp_path: Path) -> None:
    bundle = read_bundle(runs["mend"] / "bundle")
    assert bundle.coding.kind == "latent" and bundle.along.craft == Mask(holes="boxes")
    begun = begin(runs["mend"])
    assert begun.along == bundle.along and begun.coding.digest == bundle.coding.digest
    again = train(recipe(GRID), out=tmp_path / "again", begin=runs["mend"], budget="2steps", quiet=True)
    assert (
        again.recipe.data.given == Mask(holes="boxes")
        and read_bundle(again.bundle).coding.digest == begun.coding.digest
    )


def test_a_picture_to_complete_is_refused_behind_a_codec(runs: dict[str, Path]) -> None:
    pipeline = load(runs["mend"], "cpu")
    with pytest.raises(MaquetteError, match="MQ-2104"):
        pipeline.generate(Request(n=1, image=np.zeros((8, 8, 1), np.uint8), factor=2))
