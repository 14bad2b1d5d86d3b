"""Labels made of words, judged word by word."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from maquette.data.dataset import Dataset, Split
from maquette.evaluate.attributes import Attributes, parts, scores
from maquette.evaluate.extractor import Extractor
from maquette.evaluate.reference import Reference
from maquette.evaluate.report import Stamp
from maquette.media import image
from tests.evaluate.made import CPU

CLASSES = ["red key", "red gem", "blue key", "blue gem"]
STAMP = Stamp(extractor="e", weights="w", resize="", data="ab", split="test", real=0, made=0, seed=0, software={})


class Pixels(Extractor):
    """Sees two pixels."""

    name, digest, resize = "pixels", "", "none"

    def look(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return x[:, 0, 0, :2], None


def features(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Two axes of eight tell colour and thing."""
    x = 0.3 * np.random.default_rng(seed).normal(size=(len(labels), 8))
    return x + 2 * np.eye(8)[0] * (labels // 2)[:, None] + 2 * np.eye(8)[1] * (labels % 2)[:, None]


@pytest.mark.parametrize(
    "classes", [["a", "b"], ["red key", "gem"], ["red key", "blue gem"], ["red key", "red gem"], []]
)
def test_labels_that_are_one_thing_have_no_parts(classes: list[str]) -> None:
    assert parts(classes) is None


def test_a_label_that_was_never_learnt_is_judged_by_its_parts() -> None:
    learnt = np.repeat([0, 1, 2], 60)
    table = parts(CLASSES)
    assert table is not None
    judge = Attributes(features(learnt), learnt, table)
    unseen, wrong = np.full(50, 3), np.full(50, 1)  # of colour only
    assert judge.right(features(unseen, 1), unseen).mean() > 0.95
    half = judge.right(features(wrong, 2), unseen)
    assert half[:, 0].mean() < 0.05 and half[:, 1].mean() > 0.95


def test_the_score_stands_beside_that_of_real_pictures() -> None:
    medium = image.Config(size=8).build()
    labels = np.tile(np.arange(4), 40)
    items = np.zeros((160, *medium.stored), np.uint8)
    items[:, 0, 0, 0], items[:, 0, 1, 0] = 200 * (labels // 2), 200 * (labels % 2)
    data = Dataset(
        train=Split(items, labels), test=Split(items, labels), classes=CLASSES, fingerprint="ab", licence="",
        bad=[], ignored={},
    )  # fmt: skip

    seen = Pixels().see(items, medium, CPU)
    reference = Reference(
        dataset=data, medium=medium, extractor=Pixels(), device=CPU, n=160, seed=0, split="test", floor_split="train",
        rows=np.arange(160), items=items, labels=labels, seen=seen, other=items, learnt=data,
    )  # fmt: skip
    (perfect,) = scores(reference, seen, labels, STAMP)
    assert (perfect.name, perfect.value, perfect.floor) == ("attribute_accuracy", 1.0, 1.0)
    (half,) = scores(reference, seen, labels // 2 * 2, STAMP)
    assert half.value == pytest.approx(0.75)
    other = replace(reference, dataset=replace(data, classes=["a", "b", "c", "d"]))
    assert list(scores(other, seen, labels, STAMP)) == []


def test_floors_are_of_pictures_that_no_classifier_has_learnt() -> None:
    """Noise with labels: learnt by heart in the training split, a guess in the test split."""
    medium = image.Config(size=8).build()
    draw = np.random.default_rng(0)
    train, test = (
        Split(draw.integers(0, 256, (n, *medium.stored), np.uint8), np.arange(n) % 4) for n in (60, 40)
    )  # fmt: skip
    data = Dataset(train=train, test=test, classes=CLASSES, fingerprint="ab", licence="", bad=[], ignored={})

    class ByHeart(Extractor):
        """Knows the label of each training picture, and says 0 of every other."""

        name, digest, resize, labels = "heart", "", "none", True
        known = {item.tobytes(): label for item, label in zip(train.items, train.labels.tolist(), strict=True)}

        def look(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
            told = torch.tensor([self.known.get(item.tobytes(), 0) for item in medium.from_tensor(x)])
            logits = torch.nn.functional.one_hot(told, 4).float()
            return logits, logits

    def reference(split: str, data: Dataset = data) -> Reference:
        chosen = data.test if split == "test" else data.train
        items, labels = chosen.items[:30], chosen.labels[:30]
        seen = ByHeart().see(items, medium, CPU)
        return Reference(
            dataset=data, medium=medium, extractor=ByHeart(), device=CPU, n=30, seed=0, split=split,
            floor_split="train", rows=np.arange(30), items=items, labels=labels, seen=seen, other=train.items[30:],
            learnt=data,
        )  # fmt: skip

    for split in ("test", "train"):
        compared = reference(split)
        (score,) = scores(compared, compared.seen, compared.labels, STAMP)
        assert compared.floors["label_accuracy"] == pytest.approx(0.25, abs=0.03)
        assert score.floor == pytest.approx(0.5, abs=0.05)
    blind = reference("train", replace(data, test=Split(test.items[:0], test.labels[:0])))
    (score,) = scores(blind, blind.seen, blind.labels, STAMP)
    assert score.floor is None and "label_accuracy" not in blind.floors and score.value == 1
