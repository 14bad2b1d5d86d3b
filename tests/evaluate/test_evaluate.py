"""From a pipeline to a report: every family alike, what is found in known samples, repeatability, refusals."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maquette.core.errors import MaquetteError
from maquette.core.types import Autoencoder, Features, Judging, Likelihood, Real
from maquette.data.dataset import Split
from maquette.evaluate import domain
from maquette.evaluate.evaluate import Options, evaluate
from maquette.evaluate.pictures import shots
from maquette.evaluate.reference import Reference, prepare
from maquette.evaluate.report import Report
from maquette.media import text
from maquette.media.base import MediumConfig
from maquette.models import vae
from maquette.nets import mlp
from maquette.pipeline import Pipeline, Request
from tests.conformance.cases import config_class, fitted, speechless, variants
from tests.evaluate.made import CPU, PLANE, SMALL, digits, known, pipeline, ring

N = 100
CLASSES = tuple("0123456789")


@pytest.fixture(scope="module", autouse=True)
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setattr(domain, "PASSES", 8000)
    patch.setenv("MAQUETTE_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.fixture(scope="module")
def pictures() -> Reference:
    return prepare(digits(), SMALL.build(), CPU, N)


@pytest.fixture(scope="module")
def plane() -> Reference:
    return prepare(ring(), PLANE.build(), CPU, 800)


def untrained(kind: str, medium: MediumConfig, classes: tuple[str, ...] = ()) -> Pipeline | None:
    space = medium.build().space
    fits = (fitted(config, space) for _, config in variants(config_class("models", kind)))  # type: ignore[arg-type]
    config = next((config for config in fits if config is not None), None)
    if config is not None and "steps" in config.to_tree():
        config = replace(config, steps=2)
    return None if config is None else pipeline(medium, config, classes, name=kind)  # type: ignore[arg-type]


def scores(report: Report) -> dict[str, float]:
    return {score.name: score.value for score in report.scores}


DISTANCES = {"fid", "kid", "precision", "recall", "density", "coverage"}

# -- every family -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [k for k in speechless() if "label" in config_class("models", k).takes])
def test_a_report_of_every_kind(kind: str, pictures: Reference, tmp_path: Path) -> None:
    ready = untrained(kind, SMALL, CLASSES)
    if ready is None:
        assert untrained(kind, text.Config(tokenizer="byte", length=8)) is not None  # see tests/verbs/test_text.py
        return
    report = evaluate(ready, digits(), N, reference=pictures)
    found = scores(report)
    assert found.keys() >= DISTANCES | {"inception_score", "label_accuracy", "near_copies"}
    assert ("likelihood" in found) == isinstance(ready.model, Likelihood)
    assert ("psnr" in found) == ("ssim" in found) == isinstance(ready.model, Autoencoder)
    sees = isinstance(ready.model, Features) or isinstance(getattr(ready.model, "latent", None), Real)
    assert (
        ("few_shot_1" in found) == ("few_shot_5" in found) == (isinstance(ready.model, Autoencoder | Features) and sees)
    )
    listed = [picture.name for picture in report.pictures]
    assert listed[:3] == ["samples", "classes", "neighbours"] and "interpolation" in listed
    assert ("reconstructions" in listed) == isinstance(ready.model, Autoencoder)
    assert ("saliency" in listed) == isinstance(ready.model, Judging)
    assert "traversal" in listed or not isinstance(ready.model, Judging)
    for png in report.images.values():
        assert Image.open(io.BytesIO(png)).format == "PNG"
    assert report.cost.parameters == sum(p.numel() for p in ready.model.parameters())
    assert (report.name, report.model_kind, report.model) == (kind, kind, ready.digest)
    report.write(tmp_path)
    assert Report.read(tmp_path) == report
    json.dumps(report.to_tree(), allow_nan=False)


def test_codes_of_two_numbers_have_a_map(pictures: Reference) -> None:
    """20 x 20 decoded codes, and the codes of real items in the colours of their labels."""
    net = mlp.Config.tiny()
    found = {}
    for latent in (2, 3):
        made = pipeline(SMALL, vae.Config(encoder=net, decoder=net, latent=latent))
        drawn = shots(made, pictures, pictures.items, Request(n=pictures.n))
        found[latent] = {shot.name: shot for shot in drawn}
    assert {"map", "codes"} <= found[2].keys() and not {"map", "codes"} & found[3].keys()
    grid, codes = (Image.open(io.BytesIO(found[2][name].png)).convert("RGB") for name in ("map", "codes"))
    assert grid.width > 20 * 8 and abs(grid.width - grid.height) <= 40
    assert len(codes.getcolors(1 << 20) or ()) > 5, "white, and colours of labels"


def test_points_have_modes_and_no_pictures_of_pixels(plane: Reference) -> None:
    ready = untrained("vae", PLANE)
    assert ready is not None
    report = evaluate(ready, ring(), 800, reference=plane)
    assert scores(report).keys() >= DISTANCES | {"modes", "quality"}
    assert "near_copies" not in scores(report) and [p.name for p in report.pictures] == ["samples"]
    modes = report.score("modes")
    assert modes is not None and modes.floor == 8


# -- samples that are known -------------------------------------------------------------------------------------------


def held(reference: Reference, items: np.ndarray) -> Report:
    """The report of a model that makes just `items`."""
    like = untrained("vae", SMALL if reference.medium.dtype == np.uint8 else PLANE)
    assert like is not None
    made = known(like, lambda request: np.resize(items, (request.total, *items.shape[1:])))
    return evaluate(made, reference.dataset, reference.n, reference=reference)


def test_the_very_real_samples_are_perfect(pictures: Reference) -> None:
    found = scores(held(pictures, pictures.items))
    assert found["fid"] == pytest.approx(0, abs=1e-4)
    assert found["precision"] == found["recall"] == found["coverage"] == 1


def test_real_samples_score_their_floor(pictures: Reference) -> None:
    report = held(pictures, pictures.other)
    for score in report.scores:
        if score.floor is not None and score.name not in ("label_accuracy", "near_copies"):
            assert score.value == pytest.approx(score.floor, rel=1e-6), score.name


def test_a_model_that_memorises_is_seen(pictures: Reference) -> None:
    report = held(pictures, np.asarray(digits().train.items[:N]))
    assert scores(report)["near_copies"] == 1


def test_copies_are_looked_for_in_what_was_learnt_from() -> None:
    """A model that knows 400 training items by heart, held against data with the others."""
    whole, medium = digits(), SMALL.build()
    learnt = replace(whole, train=Split(whole.train.items[:400], whole.train.labels[:400]), fingerprint="learnt")
    rest = replace(whole, train=Split(whole.train.items[400:], whole.train.labels[400:]), fingerprint="rest")
    like = untrained("vae", SMALL)
    assert like is not None
    model = known(like, lambda request: learnt.train.items[: request.total], fingerprint="learnt")
    reference = prepare(rest, medium, CPU, N, learnt=learnt)
    report = evaluate(model, rest, N, reference=reference)
    copies = report.score("near_copies")
    assert copies is not None and copies.value == 1 and (copies.stamp.data, copies.stamp.real) == ("learnt", 400)
    assert any("among the 400 training items that the model learnt from" in note for note in report.notes)
    assert len(reference.pool) == 400
    blind = evaluate(model, rest, N, reference=replace(reference, learnt=rest))
    assert scores(blind)["near_copies"] < 0.1
    assert any("may never have seen" in note for note in blind.notes)


def test_a_collapsed_model_is_seen_and_said(pictures: Reference, plane: Reference) -> None:
    report = held(pictures, pictures.other[:5])
    assert any("5 of 100 samples differ" in warning for warning in report.warnings)
    assert scores(report)["recall"] < 0.2
    modes = ring().modes
    assert modes is not None
    points = modes.centres[:3].repeat(300, 0).astype(np.float32)
    points += np.random.default_rng(0).normal(0, modes.sigma, points.shape).astype(np.float32)
    assert scores(held(plane, points))["modes"] == 3


def test_labels_are_asked_for_in_the_shares_of_the_data(pictures: Reference) -> None:
    """A model that draws real items of the label asked for follows it as well as the real ones do."""
    like = untrained("vae", SMALL, CLASSES)
    assert like is not None
    train, asked = digits().train, []

    def draw(request: Request) -> np.ndarray:
        labels = [digits().classes.index(str(c)) if isinstance(c, str) else c for c in request.label or (0,)]
        asked.append(labels)
        places = [np.flatnonzero(train.labels == labels[i % len(labels)]) for i in range(request.total)]
        return np.stack([train.items[rows[i % len(rows)]] for i, rows in enumerate(places)])

    report = evaluate(known(like, draw), digits(), N, reference=pictures)
    assert asked[0] == pictures.labels.tolist()
    score = report.score("label_accuracy")
    assert score is not None and score.floor is not None and score.value >= score.floor - 0.1


# -- repeatability, stamps, notes -------------------------------------------------------------------------------------


def test_the_same_again_and_another_seed(pictures: Reference) -> None:
    ready = untrained("gan", SMALL)
    assert ready is not None
    first, again = (evaluate(ready, digits(), N, reference=pictures) for _ in range(2))
    fresh = evaluate(ready, digits(), N, reference=prepare(digits(), SMALL.build(), CPU, N))
    assert first.scores == again.scores == fresh.scores and first.images == again.images == fresh.images
    other = evaluate(ready, digits(), N, seed=1000, reference=pictures)
    assert first.scores != other.scores
    stamps = [report.scores[0].stamp for report in (first, other)]
    assert stamps[0].unlike(stamps[1]) == [] and stamps[0].seed != stamps[1].seed


def test_stamps_say_what_was_compared(pictures: Reference) -> None:
    report = held(pictures, pictures.items)
    stamp = report.scores[0].stamp
    assert (stamp.extractor, stamp.weights) == ("domain", pictures.extractor.digest)
    assert (stamp.real, stamp.made, stamp.split, stamp.data) == (N, N, "test", digits().fingerprint)
    assert set(stamp.software) == {"maquette", "torch", "numpy"}
    copies = report.score("near_copies")
    assert copies is not None and (copies.stamp.extractor, copies.stamp.split) == ("pixels", "train")
    assert any("few for" in note for note in report.notes)
    assert any("the floor compares the train split" in note for note in report.notes)


def test_the_way_of_drawing_is_noted_and_used(pictures: Reference) -> None:
    like = untrained("vae", SMALL, CLASSES)
    assert like is not None
    seen: list[Request] = []

    def draw(request: Request) -> np.ndarray:
        seen.append(request)
        return np.resize(pictures.items, (request.total, *pictures.items.shape[1:]))

    options = Options(name="mine", guidance=2.0, train_seconds=30.0)
    report = evaluate(known(like, draw, steps=500, seed=4), digits(), N, reference=pictures, options=options)
    assert all(request.guidance == 2.0 for request in seen)
    assert "Drawn with guidance 2." in report.notes
    assert (report.name, report.seed, report.cost.train_seconds, report.cost.train_steps) == ("mine", 4, 30.0, 500)


def test_weights_that_were_chosen_by_the_split_that_is_told_of_are_noted(plane: Reference) -> None:
    like = untrained("vae", PLANE)
    assert like is not None
    kept = {"steps": 500, "held_out_loss": 1.5, "fingerprint": ring().fingerprint}
    for card, noted in ((kept, True), (kept | {"fingerprint": "other data"}, False), ({"steps": 500}, False)):
        ready = known(like, lambda request: np.resize(plane.items, (request.total, 2)), **card)
        report = evaluate(ready, ring(), plane.n, reference=plane)
        assert any("of step 500, were kept for their loss" in note for note in report.notes) is noted


@pytest.mark.parametrize("kind", ["diffusion", pytest.param("meanflow", marks=pytest.mark.slow)])
@pytest.mark.parametrize("medium", [PLANE, pytest.param(SMALL, marks=pytest.mark.slow)], ids=["points", "pictures"])
def test_the_flow_is_asked_when_it_should_be(
    medium: MediumConfig, kind: str, pictures: Reference, plane: Reference
) -> None:
    reference, data = (plane, ring()) if medium is PLANE else (pictures, digits())
    ready = untrained(kind, medium)
    assert ready is not None
    report = evaluate(ready, data, reference.n, reference=reference, options=Options(exact=True))
    cost, space = report.score("flow_likelihood"), medium.build().space
    assert cost is not None and isinstance(space, Real) and cost.bound == (space.levels > 0)
    assert cost.low is not None and cost.high is not None and cost.low < cost.value < cost.high
    assert cost.unit == ("bits per dimension" if space.levels else "nats per sample")
    assert cost.stamp.real == 64


def test_the_flow_is_not_asked_unless_it_should_be(plane: Reference) -> None:
    plain = untrained("diffusion", PLANE)
    assert plain is not None and "flow_likelihood" not in scores(evaluate(plain, ring(), 800, reference=plane))


def test_a_model_without_a_flow_is_refused_when_it_is_asked_for_it(plane: Reference) -> None:
    ready = untrained("vae", PLANE)
    assert ready is not None
    with pytest.raises(MaquetteError, match="flow") as bad:
        evaluate(ready, ring(), plane.n, reference=plane, options=Options(exact=True))
    assert bad.value.code == "MQ-2104"


# -- what is compared with --------------------------------------------------------------------------------------------


def test_a_small_test_split_leaves_two_halves_of_the_training_split() -> None:
    reference = prepare(digits(), SMALL.build(), CPU, 600)
    assert (reference.split, reference.floor_split, reference.n) == ("train", "train", 600)
    rows = {item.tobytes() for item in reference.items}
    assert len(rows & {item.tobytes() for item in reference.other}) < 5, "the halves share no row"
    every = prepare(digits(), SMALL.build(), CPU, 5000)
    assert every.n == len(digits().train) // 2


def test_too_few_samples() -> None:
    with pytest.raises(MaquetteError) as refused:
        prepare(digits(), SMALL.build(), CPU, 10)
    assert refused.value.code == "MQ-2083"


def test_a_reference_of_other_data(plane: Reference) -> None:
    ready = untrained("vae", SMALL)
    assert ready is not None
    with pytest.raises(MaquetteError) as refused:
        evaluate(ready, digits(), N, reference=plane)
    assert refused.value.code == "MQ-7021"


def test_samples_that_are_not_finite(plane: Reference) -> None:
    points = np.full((800, 2), 0.5, np.float32)
    points[:80] = np.nan
    with pytest.raises(MaquetteError) as refused:
        held(plane, points)
    assert refused.value.code == "MQ-6080" and "10.0%" in str(refused.value)


def test_says_what_takes_time(pictures: Reference) -> None:
    said: list[str] = []
    ready = untrained("gan", SMALL)
    assert ready is not None
    torch.manual_seed(1)
    evaluate(ready, digits(), N, reference=pictures, say=said.append)
    assert said == [f"drawing {N} samples", "scoring"]
