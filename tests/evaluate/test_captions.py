"""Captions of pictures against the true ones, beside the caption of the nearest training picture."""

import numpy as np
import pytest

from maquette.evaluate import captions
from maquette.evaluate.report import Stamp
from tests.evaluate.made import SMALL, digits

STAMP = Stamp(extractor="none", weights="", resize="none", data="ab", split="test", real=3, made=3, seed=0, software={})


def test_the_nearest_picture_is_found() -> None:
    train = digits().train.items[:200]
    noisy = np.clip(train[[7, 150, 42]].astype(int) + 3, 0, 255).astype(np.uint8)
    assert captions.nearest_pictures(noisy, train, SMALL.build()).tolist() == [7, 150, 42]


def test_captions_are_scored_beside_the_nearest_one() -> None:
    pytest.importorskip("sacrebleu")
    truth = ["a red heart on a card", "a blue key with two teeth", "a green slime that smiles"]
    near = ["a red heart on a card", "a grey sword of old steel", "a green slime that smiles"]
    made = {score.name: score for score in captions.scores(truth, truth, near, STAMP)}
    assert set(made) == {"chrf", "bleu", "rouge_l"}
    assert made["chrf"].value == pytest.approx(100) and made["rouge_l"].value == pytest.approx(1)
    for score in made.values():
        assert score.baselines[captions.NEAREST].value < score.value
