"""Answers to held-out pictures: a pipeline that knows them, one that does not, and the ways beside it."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from maquette.crafts import mask, shrink
from maquette.data.along import Along
from maquette.data.dataset import Dataset, both
from maquette.evaluate import crafts, domain
from maquette.evaluate.evaluate import evaluate
from maquette.evaluate.reference import prepare
from maquette.evaluate.report import Report
from maquette.evaluate.scores.reconstruction import psnr, psnr_estimate
from maquette.models import cyclegan, diffusion
from maquette.nets import convnet, unet
from maquette.pipeline import Pipeline, Request
from tests.evaluate.made import CPU, SMALL, digits

N = 80


@pytest.fixture(scope="module", autouse=True)
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setattr(domain, "PASSES", 2000)
    patch.setenv("MAQUETTE_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


def taken(craft: shrink.Config | mask.Config) -> Dataset:
    return both(digits(), lambda split, name: dataclasses.replace(split, craft=craft))


def unpaired(dataset: Dataset) -> Dataset:
    """The same digits, upside down, as pictures of another kind."""
    return both(dataset, lambda split, name: dataclasses.replace(split, others=split.items[:, ::-1].copy()))


class Knowing(Pipeline):
    """A pipeline whose answers are known."""

    answers: np.ndarray

    def generate(self, request: Request) -> np.ndarray:
        return np.resize(self.answers, (request.total, *self.medium.stored))


def pipeline(along: Along, translates: bool = False) -> Knowing:
    from maquette.bundle import Bundle

    space = SMALL.build().space
    net = unet.Config.tiny()
    small = convnet.Config(width=8, widest=16, norm="group")
    config = cyclegan.Config(generator=net, critic=small) if translates else diffusion.Config(net=net, steps=1)
    torch.manual_seed(0)
    weights = config.fitted(space, 0, along.beside(space)).state_dict()
    return Knowing(Bundle(SMALL, config, [], weights, {}, "ab" * 32, along=along), CPU)


def value(report: Report, name: str) -> float:
    score = report.score(name)
    assert score is not None, name
    return score.value


def test_true_answers_score_best_and_bicubic_ones_as_bicubic() -> None:
    craft = shrink.Config(factor=2)
    data, ready = taken(craft), pipeline(Along(craft=craft))
    reference = prepare(data, ready.medium, CPU, N)
    asked = crafts.lesson(ready, reference)
    assert asked.real is not None and len(asked.real) == N == len(asked.pictures)
    assert list(asked.simpler) == ["nearest", "bicubic"]
    ready.answers = asked.simpler["bicubic"]
    report = evaluate(ready, data, N, reference=reference)
    for name in ("answer_psnr", "answer_ssim", "answer_distance", "fid"):
        score = report.score(name)
        assert score is not None and score.baselines["bicubic"].value == pytest.approx(score.value)
        assert score.low is not None and score.high is not None and score.low < score.value < score.high
    psnrs = report.score("answer_psnr")
    assert psnrs is not None and psnrs.baselines["nearest"].value < psnrs.value
    ready.answers = asked.real
    perfect = evaluate(ready, data, N, reference=reference)
    assert perfect.score("answer_psnr") is None, "nothing is infinitely good"
    assert value(perfect, "answer_ssim") == pytest.approx(1) and value(perfect, "answer_distance") == 0
    assert [p.name for p in perfect.pictures][:2] == ["answers", "samples"]
    assert any(f"{N} held-out pictures" in note for note in perfect.notes)


def test_the_same_rows_lose_the_same_whoever_is_asked() -> None:
    craft = mask.Config()
    data, ready = taken(craft), pipeline(Along(craft=craft))
    reference = prepare(data, ready.medium, CPU, N)
    one, two = crafts.lesson(ready, reference), crafts.lesson(pipeline(Along(craft=craft)), reference)
    assert torch.equal(one.pictures, two.pictures)
    assert set(one.simpler) == {"mean fill", "biharmonic fill"}
    hidden = one.pictures[:, -1:].permute(0, 2, 3, 1).numpy() > 0
    for made in one.simpler.values():
        assert one.real is not None and np.array_equal(made[~hidden], one.real[~hidden])


def test_without_true_answers_only_sets_are_compared() -> None:
    data, ready = unpaired(digits()), pipeline(Along(picture=True), translates=True)
    reference = prepare(data, ready.medium, CPU, N)
    asked = crafts.lesson(ready, reference)
    assert asked.real is None and list(asked.simpler) == ["untranslated"]
    ready.answers = ready.medium.from_tensor(asked.pictures)  # changes nothing, there and back
    report = evaluate(ready, data, N, reference=reference)
    assert report.score("answer_psnr") is None
    fid, trip = report.score("fid"), report.score("cycle_ssim")
    assert fid is not None and fid.baselines["untranslated"].value == pytest.approx(fid.value)
    assert trip is not None and trip.value == pytest.approx(1, abs=1e-5)


def test_the_nearest_training_picture_is_found_by_what_is_given() -> None:
    pairs = both(digits(), lambda split, name: dataclasses.replace(split, images=255 - split.items))
    data = dataclasses.replace(pairs, test=pairs.train)  # what is asked was learnt: the nearest is itself
    ready = pipeline(Along(picture=True))
    reference = prepare(data, ready.medium, CPU, N)
    asked = crafts.lesson(ready, reference)
    assert asked.real is not None and set(asked.simpler) == {"untranslated", "nearest training picture"}
    assert np.array_equal(asked.simpler["nearest training picture"], asked.real)


def test_no_more_is_asked_than_is_held_out() -> None:
    data = taken(shrink.Config(factor=2))
    assert prepare(data, SMALL.build(), CPU, 100_000).n == len(data.test)


def test_a_ratio_lies_between_what_the_mean_error_can_be() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(40, 1, 8, 8, generator=g)
    y = x + torch.rand(40, 1, 1, 1, generator=g) * torch.randn(40, 1, 8, 8, generator=g)
    found = psnr_estimate(x, y, 2.0)
    assert found.value == pytest.approx(psnr(x, y, 2.0))
    assert found.low is not None and found.high is not None and found.low < found.value < found.high
