"""Labels of texts: Bayes' rule by hand, a linear head, what simpler ways say, and labels that texts are made for."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import maquette
from maquette.core.errors import MaquetteError
from maquette.core.seeds import VALIDATE, Seeds
from maquette.core.types import Batch, Given
from maquette.data.dataset import Dataset
from maquette.data.source import Data, open_data
from maquette.evaluate.bag import Bag
from maquette.evaluate.classify import FREQUENT, linear_head, scores
from maquette.evaluate.reference import prepare
from maquette.media import image, text
from maquette.models import gpt, lstm, mdlm, pixelcnn
from maquette.models.base import ModelConfig
from maquette.nets import gated, transformer
from maquette.pipeline import Pipeline
from tests.evaluate.made import CPU, pipeline
from tests.evaluate.test_report import STAMP

MEDIUM = text.Config(tokenizer="byte", length=31, alone=True)
TINY = transformer.Config.tiny()
MODELS: dict[str, ModelConfig] = {
    "lstm": lstm.Config.tiny(), "gpt": gpt.Config(net=TINY), "mdlm": mdlm.Config(net=TINY),
}  # fmt: skip
WORDS = {"bad": ("awful", "dull", "worse"), "good": ("lovely", "bright", "better")}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts whose words say their label; twice as many are good."""
    path, draw = tmp_path_factory.mktemp("reviews") / "reviews.jsonl", np.random.default_rng(0)
    rows = [
        {"text": " ".join(draw.choice(WORDS[label], 3)) + f" {i}", "label": label}
        for i in range(300)
        for label in ("bad", "good", "good")
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture(scope="module")
def reviews(table: Path) -> Dataset:
    return open_data(Data(source=str(table), conditional=True), MEDIUM.build())


def told(config: ModelConfig, classes: tuple[str, ...] = ("bad", "good")) -> Pipeline:
    """An untrained model whose label matters: labels come in through weights that begin small or as zero."""
    made = pipeline(MEDIUM, config, classes)
    with torch.no_grad():
        for weight in made.model.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    return made


# -- by likelihood ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODELS)
def test_probabilities_follow_from_likelihoods_by_bayes_rule(kind: str) -> None:
    """p(y | x) = p(x | y) p(y) / sum over y, with each likelihood asked for by itself."""
    ready, texts = told(MODELS[kind]), ["one text", "and another, which is longer", "x"]
    found = ready.classify(texts)
    assert found.shape == (3, 2) and found.dtype == np.float64
    assert found.sum(1) == pytest.approx(1) and (found > 0).all() and not np.allclose(found, 0.5, atol=1e-3)
    medium, nats = ready.medium, []
    windows = np.stack([medium.cutter().put(medium.from_record({"text": words}, "x"))[0] for words in texts])
    order = [2, 0, 1]  # as they are judged, the shortest first: a bound depends on the row's noise
    for label in (0, 1):
        x = medium.to_tensor(windows[order])
        batch = Batch(x, Given(label=torch.full((3,), label)), Seeds.for_batch(0, 0, 3, stream=VALIDATE))
        nats.append(ready.model.nll(batch).double()[torch.tensor(order).argsort()])  # type: ignore[operator]
    joint = torch.stack(nats, 1).neg().softmax(1)
    assert found == pytest.approx(joint.numpy(), abs=1e-6)
    uneven = ready.classify(texts, prior=[1.0, 3.0])
    assert uneven[:, 1] / uneven[:, 0] == pytest.approx(3 * found[:, 1] / found[:, 0], rel=1e-6)


def test_a_text_of_many_windows_is_judged_by_all_of_them() -> None:
    ready = told(MODELS["lstm"])
    long = "first half of it, thirty byte" * 3
    cutter = ready.medium.cutter()
    windows = cutter.put(ready.medium.from_record({"text": long}, "x")) + cutter.rest()
    assert len(windows) > 2
    odds = ready.nats_by_label(np.stack(windows)).sum(0)
    assert ready.classify([long])[0] == pytest.approx(np.exp(-odds) / np.exp(-odds).sum(), abs=1e-6)


def test_a_text_is_judged_alike_alone_and_among_others() -> None:
    ready, texts = told(MODELS["gpt"]), [f"text number {i}" + " and on" * (i % 3) for i in range(150)]
    whole = ready.classify(texts)
    assert ready.classify(texts[70:71])[0] == pytest.approx(whole[70], abs=1e-4)
    assert ready.classify([]).shape == (0, 2)


def test_models_that_cannot_tell_labels_say_so() -> None:
    with pytest.raises(MaquetteError, match="MQ-2122"):
        told(MODELS["lstm"], ()).classify(["a text"])
    with pytest.raises(MaquetteError, match="MQ-3001"):
        told(MODELS["lstm"]).classify(["a text", " "])
    with pytest.raises(MaquetteError, match="MQ-3001"):
        pipeline(image.Config(size=8), pixelcnn.Config(net=gated.Config.tiny()), ("a", "b")).classify(["a text"])


# -- simpler ways, and the linear head --------------------------------------------------------------------------------


def test_a_bag_learns_words_and_knows_what_it_has_not_seen() -> None:
    texts = [f"{word} {i}" for i in range(20) for words in WORDS.values() for word in words]
    labels = np.array([0, 0, 0, 2, 2, 2] * 20)
    bag = Bag(texts, labels, 4)
    logits = bag.logits(["an awful day", "a lovely day"])
    assert logits.shape == (2, 4) and logits.argmax(1).tolist() == [0, 2]
    assert logits.exp().sum(1).tolist() == pytest.approx([1, 1]) and (logits[:, [1, 3]] < -40).all()
    medium = MEDIUM.build()
    items = np.stack([medium.cutter().put(medium.from_record({"text": t}, "x"))[0] for t in texts])
    assert Bag.learnt(medium, items, np.zeros(len(items), int), 2) is None
    learnt = Bag.learnt(medium, items, labels, 4)
    assert learnt is not None and learnt.logits(["a dull day"]).argmax() == 0


def test_a_linear_head_reads_labels_off_the_states(reviews: Dataset) -> None:
    """Even an untrained recurrent net keeps enough of a text for words to be told apart."""
    ready = told(lstm.Config(width=64), ())
    classify = linear_head(ready, reviews.train.items, reviews.train.labels)
    right = classify(reviews.test.items) == reviews.test.labels
    assert right.mean() > 0.9


@pytest.mark.parametrize("kind", MODELS)
def test_accuracies_stand_beside_simpler_ways(kind: str, reviews: Dataset) -> None:
    reference = prepare(reviews, MEDIUM.build(), CPU, 60)
    found = {score.name: score for score in scores(told(MODELS[kind]), reference, STAMP)}
    assert set(found) == ({"accuracy"} if kind == "mdlm" else {"accuracy", "linear_accuracy"})
    for score in found.values():
        share = float((reviews.test.labels == 1).mean())
        assert score.baselines[FREQUENT].value == pytest.approx(share) and score.baselines[Bag.name].value > 0.95
        assert score.low is not None and score.high is not None and 0 <= score.low <= score.value <= score.high <= 1
        assert score.stamp.real == len(reviews.test)
    without = {score.name for score in scores(told(MODELS[kind], ()), reference, STAMP)}
    assert without == (set() if kind == "mdlm" else {"linear_accuracy"})


def test_texts_without_labels_have_no_accuracies(tmp_path: Path) -> None:
    for i in range(150):
        (tmp_path / f"{i}.txt").write_text(f"document {i}")
    data = open_data(Data(source=str(tmp_path)), MEDIUM.build())
    reference = prepare(data, MEDIUM.build(), CPU, 60)
    assert list(scores(told(MODELS["gpt"], ()), reference, STAMP)) == [] and not reference.extractor.labels


# -- through the verbs ------------------------------------------------------------------------------------------------

SMALL = [
    "medium.tokenizer=byte", "medium.length=31", "train.batch=32", "train.samples=2", "train.precision=fp32",
    "model.net.width=32", "model.net.depth=1", "model.net.heads=2", "model.net.dropout=0", "train.clip=1",
]  # fmt: skip


def test_a_small_model_learns_labels_and_writes_for_them(table: Path, tmp_path: Path) -> None:
    run = maquette.train("classify", str(table), "120steps", tmp_path / "run", SMALL, quiet=True)
    shown = maquette.evaluate(run.path, n=60, out=tmp_path / "report", quiet=True)
    found = {score.name: score for score in shown.reports[0].scores}
    assert found["accuracy"].value > 0.9 and found["linear_accuracy"].value > 0.8
    assert found["label_accuracy"].value > 0.8 and (found["label_accuracy"].floor or 0) > 0.9
    lines = shown.table.splitlines()
    assert any(line.startswith(Bag.name) and "±" in line for line in lines) and "accuracy ↑" in lines[1]
    ready = maquette.load(run.path)
    assert ready.classify(["awful dull worse 7", "lovely bright better 7"]).argmax(1).tolist() == [0, 1]
