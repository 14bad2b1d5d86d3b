"""A bundle as a pipeline: what one sample depends on, labels, guidance, tasks, interpolation, refusals."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from maquette.bundle import save_bundle
from maquette.core import cancel
from maquette.core.colour import LUMA
from maquette.core.config import kinds
from maquette.core.errors import MaquetteError
from maquette.core.seeds import Between, Seeds
from maquette.core.types import Given, Real, Sampling, Space
from maquette.media import image, points, text
from maquette.media.base import MediumConfig
from maquette.models import diffusion
from maquette.models.base import ModelConfig
from maquette.pipeline import Pipeline, Request, load
from maquette.solvers.tasks import blur
from tests.conformance.cases import config_class, fitted, speechless, variants

CLASSES = ["circle", "square", "7"]
Make = Callable[..., Pipeline]
POINTS = points.Config()
LABELLED = [kind for kind in speechless() if "label" in config_class("models", kind).takes]  # type: ignore[attr-defined]
"""Kinds that can be asked for a label alone; see `test_given.py` and `tests/verbs/test_captions.py` for the others."""


def tiny_for(kind: str, space: Space) -> ModelConfig | None:
    """The first variant of a kind, at tiny size, that models `space`."""
    found = (fitted(config, space) for _, config in variants(config_class("models", kind)))  # type: ignore[arg-type]
    return next((config for config in found if config is not None), None)


def medium_for(kind: str) -> MediumConfig:
    """Pictures where the kind takes them, else text."""
    picture = image.Config(size=8)
    return picture if tiny_for(kind, picture.build().space) else text.Config(tokenizer="byte", length=12)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """`pipeline(kind, medium)`: an untrained model of that kind at tiny size, saved once and loaded from its bundle."""
    made: dict[tuple, Path] = {}

    def make(kind: str, medium=None, classes: tuple[str, ...] = tuple(CLASSES), precision="fp32") -> Pipeline:
        medium = medium or medium_for(kind)
        key = (kind, medium, classes)
        if key not in made:
            made[key] = tmp_path_factory.mktemp(kind) / "bundle"
            config = tiny_for(kind, medium.build().space)
            assert config is not None
            if "steps" in config.to_tree():
                config = dataclasses.replace(config, steps=3)
            torch.manual_seed(1)
            model = config.build(medium.build().space, len(classes)).eval()
            with torch.no_grad():
                for weight in model.parameters():  # what starts at zero would hide what depends on it
                    weight.add_(0.05 * torch.randn_like(weight))
            save_bundle(made[key], medium, config, list(classes), model.state_dict(), {"name": kind})
        return load(made[key], "cpu", precision)

    return make


# -- what one sample depends on ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LABELLED)
def test_a_sample_depends_on_its_seed_alone_to_the_bit(kind: str, pipeline: Make) -> None:
    ready = pipeline(kind)
    made = ready.generate(Request(n=35, seed=4, label="square"))
    assert made.shape == (35, *ready.medium.stored) and made.dtype == ready.medium.dtype
    assert len({item.tobytes() for item in made}) > 1
    for n, seed in ((1, 4), (3, 4), (1, 9), (2, 37)):
        again = ready.generate(Request(n=n, seed=seed, label="square"))
        assert np.array_equal(again, made[seed - 4 : seed - 4 + n])


@pytest.mark.parametrize("kind", [kind for kind in kinds("models") if tiny_for(kind, POINTS.build().space)])
def test_the_bits_of_floats_do_not_depend_on_n_either(kind: str, pipeline: Make) -> None:
    ready = pipeline(kind, POINTS)
    made = ready.generate(Request(n=40, label="each"))
    assert np.array_equal(ready.generate(Request(n=7, label="each")), made[:7])


def test_bf16_draws_nearly_the_same_and_as_repeatably(pipeline: Make) -> None:
    rough = pipeline("diffusion", precision="bf16")
    made = rough.generate(Request(n=9, label="each"))
    assert np.array_equal(rough.generate(Request(n=2, label="each")), made[:2])
    exact = pipeline("diffusion").generate(Request(n=9, label="each"))
    assert (made != exact).any() and np.abs(made.astype(int) - exact).mean() < 8


def test_saved_and_loaded_again_makes_the_same_bits(pipeline: Make) -> None:
    first, second = (pipeline("vae").generate(Request(n=3)) for _ in range(2))
    assert np.array_equal(first, second)


# -- labels and guidance ----------------------------------------------------------------------------------------------


def test_labels_by_name_by_number_and_in_turn(pipeline: Make) -> None:
    ready = pipeline("gan")
    assert ready.labels(Request(label="square")).tolist() == [1]
    assert ready.labels(Request(label=0)).tolist() == [0]
    assert ready.labels(Request(label="0")).tolist() == [0]
    assert ready.labels(Request(label="7")).tolist() == [2]  # the class called 7, not class number 7
    assert ready.labels(Request(label=("7", 0))).tolist() == [2, 0]
    assert ready.labels(Request(label="each")).tolist() == [0, 1, 2]
    sheet = ready.generate(Request(n=4, label="each"))
    assert np.array_equal(sheet[1:2], ready.generate(Request(seed=1, label="square")))
    assert np.array_equal(sheet[3:4], ready.generate(Request(seed=3, label="circle")))


def test_without_a_label_each_sample_draws_its_own(pipeline: Make) -> None:
    drawn = pipeline("gan").labels(Request(n=3000))
    assert torch.bincount(drawn).tolist() == pytest.approx([1000] * 3, rel=0.1)
    assert pipeline("gan", classes=()).labels(Request(n=5)).tolist() == [-1]


@pytest.mark.parametrize("kind", ["gan", "diffusion"])
def test_guidance_is_linear_in_the_predictors(kind: str, pipeline: Make) -> None:
    ready = pipeline(kind)
    labels = torch.tensor([1] * 4)
    y, s = ready.model.start(4, Sampling(), Seeds.for_samples(0, 4)), torch.full((4,), 2.0)
    args = (y,) if kind == "gan" else (y, s)
    with torch.inference_mode():
        null, one, three = (ready._predictor(Given(label=labels), scale)(*args) for scale in (0.0, 1.0, 3.0))
    assert not torch.allclose(null, one)
    torch.testing.assert_close(three, null + 3 * (one - null), rtol=1e-4, atol=1e-5)


def test_a_model_has_a_guidance_of_its_own(pipeline: Make) -> None:
    ready = pipeline("diffusion")
    told = ready.generate(Request(n=2, label="square", guidance=4.0))
    as_learnt = ready.generate(Request(n=2, label="square"))
    ready.model.guidance = 4.0
    assert np.array_equal(ready.generate(Request(n=2, label="square")), told) and (told != as_learnt).any()
    assert np.array_equal(ready.generate(Request(n=2, label="square", guidance=1.0)), as_learnt)


def test_a_guidance_of_its_own_needs_labels_and_hidden_ones() -> None:
    space = Real((1, 8, 8))
    assert diffusion.Config(guidance=4.0).build(space, classes=3).guidance == 4
    assert diffusion.Config(guidance=4.0).build(space).guidance == 1, "there is nothing to follow"
    with pytest.raises(MaquetteError, match="guidance"):
        diffusion.Config(guidance=4.0, drop=0.0)


def test_guidance_is_refused_where_no_label_was_ever_hidden(pipeline: Make) -> None:
    with pytest.raises(MaquetteError, match="MQ-2102"):
        pipeline("vae", classes=()).generate(Request(guidance=2.0))


# -- interpolation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LABELLED)
def test_interpolation_passes_through_the_samples_themselves(kind: str, pipeline: Make) -> None:
    ready = pipeline(kind)
    frames = ready.generate(Request(n=3, seed=5, between=4, label="circle"))
    assert len(frames) == 9
    assert np.array_equal(frames[::4], ready.generate(Request(n=3, seed=5, label="circle")))
    assert [mark.seed for mark in ready.marks(Request(n=3, seed=5, between=4))] == [5] * 4 + [6] * 4 + [7]


def test_a_sheet_has_the_coarse_traits_of_rows_and_the_fine_ones_of_columns(pipeline: Make) -> None:
    ready = pipeline("stylegan2")
    request = Request(n=7, seed=5, mix=0.5, label="circle")
    sheet = ready.generate(request).astype(int)
    alone = ready.generate(Request(n=7, seed=5, label="circle")).astype(int)
    assert len(sheet) == 49 and np.abs(sheet[::8] - alone).max() <= 1, "mixed with itself a sample is another"
    assert len({item.tobytes() for item in sheet}) == 49
    assert [mark.seed for mark in ready.marks(request)] == [5 + i // 7 for i in range(49)]
    smaller = ready.generate(Request(n=2, seed=5, mix=0.5, label="circle")).astype(int)
    assert np.abs(smaller - sheet[[0, 1, 7, 8]]).max() <= 1, "a cell depends on the size of the sheet"
    with pytest.raises(MaquetteError, match="MQ-2104"):
        pipeline("vae").generate(Request(mix=0.5))


def test_between_two_normals_lies_a_normal() -> None:
    n = 4000
    way = Between(Seeds.for_samples(0, n), Seeds.for_samples(n, n), torch.full((n,), 0.5))
    x = way.fork(1).normal(8)
    assert x.mean().item() == pytest.approx(0, abs=0.02) and x.std().item() == pytest.approx(1, abs=0.02)
    u = way.fork(2).uniform(8)
    assert u.mean().item() == pytest.approx(0.5, abs=0.01)
    assert u.std().item() == pytest.approx(math.sqrt(1 / 12), abs=0.01)
    assert u.min().item() >= 0 and u.max().item() < 1


def test_between_turns_by_hand() -> None:
    left, right = Seeds.for_samples(0, 1), Seeds.for_samples(1, 1)
    a, b = (Seeds.for_samples(s, 1).normal(3) for s in (0, 1))
    middle = Between(left, right, torch.tensor([1 / 3])).normal(3)
    torch.testing.assert_close(middle, math.cos(math.pi / 6) * a + math.sin(math.pi / 6) * b)
    part = Between(Seeds.for_samples(0, 3), Seeds.for_samples(1, 3), torch.tensor([0.0, 0.4, 0.8])).rows(1, 2)
    assert len(part) == 2 and part.integers(10).tolist() == [
        int(Seeds.for_samples(1, 1).integers(10)),
        int(Seeds.for_samples(3, 1).integers(10)),
    ]


# -- tasks ------------------------------------------------------------------------------------------------------------


def test_inpainting_keeps_what_is_known_to_the_bit(pipeline: Make) -> None:
    ready = pipeline("diffusion")
    known = np.arange(64, dtype=np.uint8).reshape(8, 8, 1) * 4
    mask = np.zeros((8, 8), bool)
    mask[:, 4:] = True
    made = ready.generate(Request(n=2, image=known, mask=mask))
    assert (made[:, :, :4] == known[:, :4]).all()
    assert (made[0, :, 4:] != made[1, :, 4:]).any()


def test_enlarging_keeps_the_mean_of_each_block(pipeline: Make) -> None:
    ready = pipeline("diffusion", image.Config(size=16))
    small = (np.arange(64, dtype=np.uint8).reshape(8, 8, 1) * 3) + 20
    made = ready.generate(Request(n=2, image=small, factor=2)).astype(float)
    blocks = made.reshape(2, 8, 2, 8, 2).mean((2, 4))
    assert np.abs(blocks - small[None, :, :, 0]).max() <= 0.5 + 1e-6  # rounding to whole levels


@pytest.mark.parametrize("kind", ["diffusion", "meanflow"])
def test_drawing_anew_keeps_more_of_a_picture_the_less_noise_it_is_mixed_with(kind: str, pipeline: Make) -> None:
    ready = pipeline(kind)
    known = np.arange(64, dtype=np.uint8).reshape(8, 8, 1) * 4
    gaps = []
    for strength in (0.01, 0.3, 0.99):
        made = ready.generate(Request(n=2, image=known, sampling=Sampling(strength=strength, steps=4)))
        gaps.append(np.abs(made.astype(float) - known).mean())
        assert (made[0] != made[1]).any()
    assert gaps[0] < gaps[1] < gaps[2] and gaps[0] < 8
    alone = ready.generate(Request(n=1, seed=1, image=known, sampling=Sampling(strength=0.99, steps=4)))
    assert np.array_equal(alone[0], made[1])


def test_sharpening_and_colouring_agree_with_what_was_seen(pipeline: Make) -> None:
    ready = pipeline("diffusion", image.Config(size=8, channels=3))
    seen = np.broadcast_to(np.arange(64, dtype=np.uint8).reshape(8, 8, 1) * 3 + 20, (8, 8, 3))
    coloured = ready.generate(Request(n=2, image=seen, colour=True)).astype(float)
    assert np.abs(coloured @ LUMA - seen[..., 0]).max() <= 0.51  # each channel is rounded
    assert np.ptp(coloured, axis=-1).max() > 2
    sharp = ready.generate(Request(n=2, image=seen, blur=1.0))
    again = blur(ready.medium.to_tensor(sharp), 1.0) - ready.medium.to_tensor(seen[None].copy())
    assert again.abs().mean() < 0.03


def test_guidance_in_an_interval_lies_between_none_and_all(pipeline: Make) -> None:
    ready, given = pipeline("diffusion"), Given(label=torch.tensor([1] * 4))
    y, rows = ready.model.start(4, Sampling(), Seeds.for_samples(0, 4)), torch.ones(4)
    with torch.inference_mode():
        plain, always = (ready._predictor(given, scale) for scale in (1.0, 3.0))
        within = ready._predictor(given, 3.0, (0.5, 2.0))
        assert torch.equal(within(y, rows), always(y, rows)) and torch.equal(within(y, 5 * rows), plain(y, 5 * rows))
    drawn = [
        ready.generate(Request(n=2, label="square", sampling=Sampling(steps=8), **asked))
        for asked in ({}, {"guidance": 9.0}, {"guidance": 9.0, "guidance_interval": (0.5, 2.0)})
    ]
    assert (drawn[2] != drawn[0]).any() and (drawn[2] != drawn[1]).any()


@pytest.mark.parametrize(
    ("kind", "request_", "code"),
    [
        ("gan", {"guidance": 2.0, "guidance_interval": (0.5, 2.0)}, "MQ-2104"),
        ("diffusion", {"guidance_interval": (0.5, 2.0)}, "MQ-2105"),
        ("gan", {"image": np.zeros((8, 8, 1)), "sampling": Sampling(strength=0.5)}, "MQ-2104"),
        ("diffusion", {"image": np.zeros((8, 8, 1)), "colour": True}, "MQ-2104"),
        ("gan", {"image": np.zeros((8, 8, 1)), "mask": np.ones((8, 8), bool)}, "MQ-2104"),
        ("diffusion", {"image": np.zeros((9, 8, 1)), "mask": np.ones((8, 8), bool)}, "MQ-2106"),
        ("diffusion", {"image": np.zeros((8, 8, 1)), "mask": np.ones((3, 8), bool)}, "MQ-2106"),
        ("diffusion", {"image": np.zeros((4, 4, 1)), "factor": 2}, "MQ-2103"),
        ("diffusion", {"sampling": Sampling(solver="hein")}, "MQ-2040"),
        ("vae", {"sampling": Sampling(solver="heun")}, "MQ-2104"),
        ("vae", {"label": "sqare"}, "MQ-2101"),
        ("vae", {"label": 3}, "MQ-2101"),
        ("vae", {"label": -1}, "MQ-2101"),
    ],
)
def test_what_a_model_cannot_do_is_refused(kind: str, request_: dict, code: str, pipeline: Make) -> None:
    with pytest.raises(MaquetteError, match=code):
        pipeline(kind).generate(Request(**request_))


def test_a_label_for_a_model_without_classes_is_refused(pipeline: Make) -> None:
    with pytest.raises(MaquetteError, match="MQ-2100"):
        pipeline("vae", classes=()).generate(Request(label="7"))


# -- requests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tree",
    [
        {"n": 0},
        {"n": -1},
        {"n": 10**9},
        {"n": 1.5},
        {"n": "many"},
        {"n": True},
        {"seed": -1},
        {"guidance": float("nan")},
        {"guidance": float("inf")},
        {"guidance": -0.1},
        {"between": 5000},
        {"n": 2000, "between": 1000},
        {"n": 2000, "mix": 0.5},
        {"mix": 1.0},
        {"mix": 0.5, "between": 2},
        {"factor": 1},
        {"factor": 2},
        {"mask": [[True]]},
        {"image": [[0]]},
        {"image": [[0]], "factor": 2, "blur": 1.0},
        {"blur": 1.0},
        {"image": [[0]], "blur": -1.0},
        {"colour": True},
        {"sampling": {"strength": 0.5}},
        {"sampling": {"strength": 0}},
        {"guidance": 2.0, "guidance_interval": [2.0, 0.1]},
        {"image": [[0]], "mask": [[True]], "factor": 2},
        {"sampling": {"steps": -1}},
        {"sampling": {"temperature": 0}},
        {"sampling": {"temperature": float("nan")}},
        {"sampling": {"eta": 2}},
        {"sampling": {"step": 2}},
        {"lable": "7"},
    ],
)
def test_requests_that_cannot_be(tree: dict) -> None:
    with pytest.raises(MaquetteError) as refused:
        Request.from_tree(tree, "request")
    assert refused.value.exit_code == 2


def test_a_cancelled_request_stops(pipeline: Make) -> None:
    token = cancel.Token()
    token.cancel()
    with cancel.working(token), pytest.raises(cancel.Cancelled):
        pipeline("vae").generate(Request(n=2))


# -- loading ----------------------------------------------------------------------------------------------------------


def test_a_run_is_loaded_by_its_bundle(pipeline: Make, tmp_path: Path) -> None:
    space = image.Config(size=8).build().space
    config = tiny_for("vae", space)
    assert config is not None
    model = config.build(space)
    save_bundle(tmp_path / "run" / "bundle", image.Config(size=8), config, [], model.state_dict(), {})
    assert load(tmp_path / "run").digest == load(tmp_path / "run" / "bundle").digest


@pytest.mark.parametrize(
    ("files", "code"), [((), "MQ-7030"), (("recipe.json",), "MQ-7031"), (("config.json",), "MQ-5004")]
)
def test_other_folders_are_refused(files: tuple[str, ...], code: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(MaquetteError, match=code):
        load(tmp_path)
    with pytest.raises(MaquetteError, match="MQ-5004"):
        load(tmp_path / "none")
