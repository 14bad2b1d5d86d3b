"""What made pictures teach a classifier: the real ones again, pictures of wrong labels, and refusals."""

from dataclasses import replace

import numpy as np
import pytest

from maquette.core.errors import MaquetteError
from maquette.evaluate import domain, taught
from maquette.evaluate.evaluate import Options, evaluate
from maquette.models import vae
from maquette.nets import mlp
from maquette.pipeline import Pipeline, Request
from tests.evaluate.made import PLANE, SMALL, digits, known, pipeline, ring

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


def test_only_a_model_of_these_labels_can_teach_them() -> None:
    for like, data in (
        (pipeline(SMALL, MODEL), digits()),
        (pipeline(SMALL, MODEL, ("a", "b")), digits()),
        (pipeline(PLANE, MODEL), ring()),
    ):
        with pytest.raises(MaquetteError, match="MQ-2104"):
            evaluate(like, data, 60, options=Options(taught=True))
    few = replace(digits(), test=replace(digits().test, labels=np.full(len(digits().test), -1)))
    with pytest.raises(MaquetteError, match="MQ-3002.*unseen"):
        taught.require_labels(pipeline(SMALL, MODEL, CLASSES), few)
