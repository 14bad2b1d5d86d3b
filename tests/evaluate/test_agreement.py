"""What an encoder of pictures and captions is asked, with towers whose answers are known."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from maquette.core.errors import MaquetteError
from maquette.core.types import TwoTowers
from maquette.data.dataset import Dataset, Split
from maquette.evaluate.agreement import (
    CHANCE,
    Encoder,
    Judge,
    agreement,
    nearest_captions,
    of_unseen,
    retrieval,
    scores,
    told_apart,
    zero_shot,
)
from maquette.evaluate.classify import FREQUENT
from maquette.evaluate.extractor import Extractor
from maquette.evaluate.report import Stamp
from maquette.evaluate.scores.agreement import alike, recall, recall_by_chance
from maquette.media import image
from maquette.models import vae
from maquette.nets import mlp
from maquette.pipeline import Request
from tests.evaluate.made import CPU, known, pipeline

MEDIUM = image.Config(size=8).build()
KINDS = 40


class Numbers(TwoTowers):
    """Knows pictures by the number in their first pixel and captions by their first token, `wrong` of them one off."""

    def __init__(self, wrong: float = 0.0):
        self.wrong = wrong

    def of_samples(self, x: Tensor) -> Tensor:
        number = ((x[:, 0, 0, 0] + 1) * 127.5).round().long()
        off = (number % 10 < 10 * self.wrong).long()
        return F.one_hot((number + off) % KINDS, KINDS).float()

    def of_texts(self, text: Tensor) -> Tensor:
        return F.one_hot(text[:, 0] % KINDS, KINDS).float()


def pictures(numbers: np.ndarray) -> np.ndarray:
    return np.broadcast_to(numbers.astype(np.uint8)[:, None, None, None], (len(numbers), *MEDIUM.stored)).copy()


def captions(numbers: np.ndarray) -> np.ndarray:
    return np.stack([numbers, np.ones_like(numbers)], 1).astype(np.int64)


def encoder(wrong: float = 0.0) -> Encoder:
    return Encoder(Numbers(wrong), MEDIUM, CPU)


@pytest.mark.parametrize("k", [1, 3])
def test_chance_is_what_chance_finds(k: int) -> None:
    draw = torch.Generator().manual_seed(0)
    right = torch.rand(6, 12, generator=draw) < 0.3
    found = [recall(torch.rand(6, 12, generator=draw), right, k).value for _ in range(3000)]
    assert recall_by_chance(right, k) == pytest.approx(float(np.mean(found)), abs=0.02)
    assert recall_by_chance(torch.eye(10, dtype=torch.bool), k) == pytest.approx(k / 10)
    assert recall_by_chance(torch.ones(4, 2, dtype=torch.bool), k) == 1


def test_captions_are_alike_word_for_word() -> None:
    assert alike(torch.tensor([[1, 2], [1, 0]]), torch.tensor([[1, 0], [2, 1], [1, 2]])).tolist() == [
        [False, False, True],
        [True, False, False],
    ]


def test_retrieval_both_ways() -> None:
    numbers = np.arange(KINDS)
    perfect = retrieval(encoder(), pictures(numbers), captions(numbers))
    assert {found.share.value for found in perfect.values()} == {1.0}
    assert perfect["text_recall_5"].chance == pytest.approx(5 / KINDS)
    worse = retrieval(encoder(0.3), pictures(numbers), captions(numbers))
    assert worse["text_recall_1"].share.value == pytest.approx(0.7)
    low, high = worse["text_recall_1"].share.low, worse["text_recall_1"].share.high
    assert low is not None and high is not None and 0.5 < low < 0.7 < high < 0.9


def test_a_caption_of_several_pictures_counts_once() -> None:
    numbers = np.repeat(np.arange(8), 5)
    found = retrieval(encoder(), pictures(numbers), captions(numbers))
    assert found["text_recall_1"].share.value == 1 and found["text_recall_1"].chance == pytest.approx(1 / 8)
    assert found["picture_recall_1"].chance == pytest.approx(5 / 40)


def test_labels_by_their_names() -> None:
    numbers = np.arange(20)
    found = zero_shot(encoder(0.2), pictures(numbers), numbers, captions(np.arange(20)))
    assert found.share.value == pytest.approx(0.8) and found.chance == 1 / 20


def test_unseen_rows_are_asked_for_all_that_they_tell() -> None:
    numbers = np.arange(KINDS)
    names = [f"kind {number}" for number in numbers]

    def split(captions: Sequence[str]) -> Split:
        return Split(pictures(numbers), numbers.astype(np.int64), lambda: [["", caption] for caption in captions])

    def encode(texts: Sequence[str]) -> np.ndarray:
        return captions(np.array([int(text.split()[1]) for text in texts]))

    found = of_unseen(encoder(), split(names), encode, names)
    assert {one.share.value for one in found.values()} == {1.0} and "zero_shot" in found
    hidden = ["" if number % 2 else name for number, name in enumerate(names)]
    assert of_unseen(encoder(), split(hidden), encode)["text_recall_1"].chance == pytest.approx(2 / KINDS)
    with pytest.raises(MaquetteError, match="MQ-2152"):
        of_unseen(encoder(), split([""] * 30 + names[:10]), encode)


def test_made_pictures_agree_with_what_was_asked() -> None:
    asked = np.arange(30)
    right, wrong = pictures(asked), pictures((asked + 1) % 30)
    assert agreement(encoder(), right, captions(asked))["agreement_1"].share.value == 1
    half = agreement(encoder(), np.concatenate([right[:15], wrong[15:]]), captions(asked))
    assert half["agreement_1"].share.value == 0.5 and half["agreement_1"].chance == pytest.approx(1 / 30)


def test_a_caption_is_told_from_those_of_one_other_word() -> None:
    asked = np.arange(10)
    others = np.stack([captions((asked + off) % KINDS) for off in (1, 2, 3)], 1)
    found = told_apart(encoder(0.3), pictures(asked), captions(asked), others)
    assert found.share.value == pytest.approx(0.7) and found.chance == 1 / 4


def test_scores_stand_beside_chance_and_simpler_ways() -> None:
    stamp = Stamp(
        extractor="none", weights="", resize="none", data="ab", split="test", real=0, made=30, seed=0, software={}
    )
    asked = np.arange(30)
    own = agreement(encoder(), pictures(asked), captions(asked))
    simpler = agreement(encoder(0.5), pictures(asked), captions(asked))
    made = {score.name: score for score in scores(own, stamp, {"nearest caption": simpler})}
    assert set(made) == {"agreement_1", "agreement_5"} and made["agreement_1"].value == 1
    beside = made["agreement_1"].baselines
    assert beside[CHANCE].value == pytest.approx(1 / 30) and beside["nearest caption"].value == pytest.approx(0.5)
    assert all(math.isfinite(score.value) for score in made.values())


@pytest.mark.parametrize("groups", [1, 2])
def test_labels_are_asked_for_where_captions_have_several(groups: int) -> None:
    """Of captions that are all of one group, whoever always says that group is right."""
    numbers = np.arange(KINDS)
    names, labels = [f"kind {number}" for number in numbers], numbers * groups // KINDS

    class First(Extractor):
        """Takes everything for the first group."""

        name, digest, resize, labels = "first", "", "none", True

        def look(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
            logits = torch.tensor([1.0, 0.0]).expand(len(x), 2)
            return logits, logits

    split = Split(pictures(numbers), labels, lambda: [["", name] for name in names])
    data = Dataset(train=split, test=split, classes=["a", "b"], fingerprint="", licence="", bad=[], ignored={})
    jury = Judge(encoder(), lambda texts: captions(np.array([int(text.split()[1]) for text in texts])), "ab")
    net = mlp.Config(width=8)
    made = known(
        pipeline(image.Config(size=8), vae.Config(encoder=net, decoder=net)), lambda request: pictures(numbers)
    )
    stamp = Stamp(extractor="", weights="", resize="", data="", split="test", real=0, made=0, seed=0, software={})
    found = {score.name: score for score in jury.scores(made, data, Request(n=KINDS), stamp, First())}
    assert found["agreement_1"].value == 1 and ("label_accuracy" in found) == (groups > 1)
    if groups > 1:
        assert found["label_accuracy"].value == found["label_accuracy"].baselines[FREQUENT].value == 0.5


def test_the_nearest_caption_shares_most_words() -> None:
    known = ["a red heart", "a blue key", "man rowing boat", "woman rowing boat: dark skin tone"]
    asked = ["a red key", "boat rowing man", "blue key", "rowing boat: dark skin tone"]
    assert nearest_captions(known, asked)[1:].tolist() == [2, 1, 3]
