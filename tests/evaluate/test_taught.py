"""What made pictures teach a classifier: the real ones again, pictures of wrong labels, and refusals."""

from dataclasses import replace

import numpy as np
import pytest

from maquette.bundle import Bundle
from maquette.core.errors import MaquetteError
from maquette.data.along import Along
from maquette.data.dataset import both
from maquette.evaluate import domain, taught
from maquette.evaluate.evaluate import Options, evaluate
from maquette.evaluate.report import Stamp
from maquette.models import diffusion, vae
from maquette.nets import mlp, unet
from maquette.pipeline import Pipeline, Request
from tests.evaluate.made import CPU, PLANE, SMALL, digits, known, pipeline, ring

CLASSES = tuple("0123456789")
MODEL = vae.Config(encoder=mlp.Config(width=16), decoder=mlp.Config(width=16))


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(domain, "PASSES", 8000)
    monkeypatch.setenv("MAQUETTE_CACHE", str(tmp_path))


def asked(turn: int = 0) -> Pipeline:
    """Makes a training picture of the label asked for, or of one that is `turn` further."""
    like, train = pipeline(SMALL, MODEL, CLASSES), digits().train
    labels = np.asarray(train.labels)

    def answer(request: Request) -> np.ndarray:
        told = request.label if isinstance(request.label, tuple) else (request.label or 0,)
        wanted = np.resize(np.array(told), request.total)
        rows = [np.flatnonzero(labels == (label + turn) % 10)[i % 50] for i, label in enumerate(wanted)]
        return np.asarray(train.items)[rows]

    return known(like, answer)


def test_real_pictures_teach_and_those_of_wrong_labels_do_not() -> None:
    report = evaluate(asked(), digits(), 60, options=Options(taught=True))
    right = report.score("taught_accuracy")
    assert right is not None and right.low is not None
    real, both = (right.baselines[name].value for name in (taught.REAL, taught.BOTH))
    assert right.value > 0.85 and real > 0.9 and both > 0.9
    assert right.stamp.made == len(digits().train) and right.stamp.split == "test"
    wrong = evaluate(asked(turn=1), digits(), 60, options=Options(taught=True)).score("taught_accuracy")
    assert wrong is not None and wrong.value < 0.1
    assert wrong.baselines[taught.REAL].value == real and wrong.baselines[taught.BOTH].value < real


def test_pictures_made_of_given_ones_have_the_labels_of_their_own_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digits that are given upside down, to a model that turns them up again."""
    monkeypatch.setattr(domain, "PASSES", 4000)
    data = both(digits(), lambda split, name: replace(split, images=np.asarray(split.items)[:, ::-1].copy()))
    labels = {item.tobytes(): label for item, label in zip(data.train.items, data.train.labels.tolist(), strict=True)}
    along, config = Along(picture=True), diffusion.Config(net=unet.Config.tiny(), steps=1)
    space = SMALL.build().space
    weights = config.fitted(space, 10, along.beside(space)).state_dict()
    asked = []

    class Turning(Pipeline):
        def generate(self, request: Request) -> np.ndarray:
            assert request.given is not None
            made = self.medium.from_tensor(request.given.flip(2))
            asked.append((request.label, tuple(labels[item.tobytes()] for item in made)))
            return made

    turning = Turning(Bundle(SMALL, config, list(CLASSES), weights, {}, "ef" * 32, along=along), CPU)
    taught.require_labels(turning, data)
    stamp = Stamp(extractor="", weights="", resize="", data="", split="test", real=0, made=0, seed=0, software={})
    made = taught.score(turning, data, Request(n=60), stamp, lambda line: None)
    assert len(asked) == 1 and asked[0][0] == asked[0][1] and len(asked[0][0]) == len(data.train) == made.stamp.made
    assert made.value > 0.75


def test_only_a_model_of_these_labels_can_teach_them() -> None:
    for like, data in (
        (pipeline(SMALL, MODEL), digits()),
        (pipeline(SMALL, MODEL, ("a", "b")), digits()),
        (pipeline(PLANE, MODEL), ring()),
    ):
        with pytest.raises(MaquetteError, match="MQ-2104"):
            evaluate(like, data, 60, options=Options(taught=True))
    apart = replace(digits(), train=replace(digits().train, others=digits().train.items))
    with pytest.raises(MaquetteError, match="MQ-2104"):
        taught.require_labels(pipeline(SMALL, MODEL, CLASSES), apart)
    few = replace(digits(), test=replace(digits().test, labels=np.full(len(digits().test), -1)))
    with pytest.raises(MaquetteError, match="MQ-3002.*unseen"):
        taught.require_labels(pipeline(SMALL, MODEL, CLASSES), few)
