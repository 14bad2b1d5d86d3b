"""Distillation through runs: a bundle is the student's own, a run keeps its teacher, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import maquette
from maquette.bundle import read_bundle
from maquette.core.errors import MaquetteError
from maquette.core.files import read_tensors
from maquette.models.base import Model
from maquette.models.dalle import DALLE
from maquette.pipeline import load
from maquette.train.run import Run
from maquette.train.session import prepare
from maquette.verbs.recipes import read
from tests.models.made import texts

TEXT = ["medium.length=32", "train.batch=8", "train.samples=1", "train.precision=fp32", "train.device=cpu"]
ONCE = ["train.validate_every=1", "train.sample_every=1"]
LARGE = ["model.net.width=32", "model.net.depth=2", "model.net.heads=2"]
SMALL = ["model.net.width=16", "model.net.depth=1", "model.net.heads=2"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text, a teacher that has read it, and a student whose teacher's source is gone since."""
    place = tmp_path_factory.mktemp("teaching")
    texts(place / "text", "the cat sat on the mat. ", times=12)
    taught(place, "teacher", *LARGE, steps=30)
    shutil.copytree(place / "teacher/bundle", place / "source")
    taught(place, "student", *SMALL, "teacher.source=" + str(place / "source"), "train.checkpoint_every=0.5")
    shutil.rmtree(place / "source")
    return place


def taught(place: Path, name: str, *words: str, recipe: str = "gpt-char", steps: int = 8, data: str = "text") -> Run:
    told = [*TEXT, *ONCE, *words]
    return maquette.train(recipe, str(place / data), f"{steps}steps", place / name, told, quiet=True)


def tensors(run: Path, step: int, part: str) -> dict[str, torch.Tensor]:
    return read_tensors(run / f"checkpoints/step-{step:08d}/{part}.safetensors")


def test_the_bundle_holds_the_student_alone_and_names_its_teacher(place: Path) -> None:
    teacher, student = (read_bundle(place / name / "bundle") for name in ("teacher", "student"))
    plain = student.model_config.fitted(*student.terms).state_dict()
    assert student.weights.keys() == plain.keys()
    assert sorted(p.name for p in (place / "student/bundle").iterdir()) == sorted(
        p.name for p in (place / "teacher/bundle").iterdir()
    )
    assert (student.card["teacher"], student.card["teacher_sha256"]) == ("teacher", teacher.digest)
    assert read_bundle(place / "student/teacher").digest == teacher.digest, "the run keeps it whole"
    load(place / "student")


def test_a_stopped_student_ends_in_the_same_bits_without_the_source_of_its_teacher(place: Path, tmp_path: Path) -> None:
    stopped = Path(shutil.copytree(place / "student", tmp_path / "stopped"))
    shutil.rmtree(stopped / "checkpoints/step-00000008")
    maquette.resume(stopped, quiet=True)
    for part in ("model", "ema", "optimisers"):
        whole, resumed = tensors(place / "student", 8, part), tensors(stopped, 8, part)
        assert whole.keys() == resumed.keys()
        assert all(torch.equal(value, resumed[name]) for name, value in whole.items()), part


def test_another_teacher_is_another_run(place: Path, tmp_path: Path) -> None:
    swapped = Path(shutil.copytree(place / "student", tmp_path / "swapped"))
    shutil.rmtree(swapped / "teacher")
    shutil.copytree(taught(place, "stranger", *LARGE, "train.seed=7", steps=1).bundle, swapped / "teacher")
    with pytest.raises(MaquetteError, match=r"MQ-7010.*teacher\.source"):
        maquette.resume(swapped, quiet=True)


def test_a_student_comes_nearer_to_its_teacher(place: Path) -> None:
    words = [*SMALL, "teacher.source=" + str(place / "teacher"), "teacher.share=1", "teacher.temperature=1"]
    lines = [line for line in taught(place, "near", *words, steps=60).metrics() if "model.from_teacher" in line]
    assert lines[-1]["model.from_teacher"] < 0.5 * lines[0]["model.from_teacher"]


def test_held_out_data_are_judged_without_the_teacher(place: Path) -> None:
    recipe = read("gpt-char", [*TEXT, *SMALL, "teacher.source=" + str(place / "teacher")],
                  **{"data.source": str(place / "text")})  # fmt: skip
    learner = prepare(recipe)
    assert learner.model.teaching is not None and learner.ema.model.teaching is None  # type: ignore[union-attr]
    names = [name for name, _ in learner.model.named_modules()]
    assert [name for name, _ in learner.ema.model.named_modules()] == names
    assert not any(p is q for p in learner.model.parameters() for q in learner.ema.model.parameters())


# -- what is refused --------------------------------------------------------------------------------------------------


def refused(place: Path, *words: str, recipe: str = "gpt-char", data: str = "text") -> MaquetteError:
    small = [*TEXT, *ONCE, *(SMALL if recipe == "gpt-char" else ["model.net.width=16", "model.net.depth=1"]), *words]
    with pytest.raises(MaquetteError) as caught:
        maquette.train(recipe, str(place / data), "2steps", place / "refused", small, quiet=True)
    assert not (place / "refused").exists(), "before anything is written"
    return caught.value


def test_teacher_and_student_share_a_vocabulary(place: Path) -> None:
    texts(place / "other", "ein Hund hat keinen Hut. ", times=12)
    error = refused(place, "teacher.source=" + str(place / "teacher"), data="other")
    assert error.code == "MQ-2141" and "vocabulary" in str(error)
    longer = refused(place, "teacher.source=" + str(place / "teacher"), "medium.length=64")
    assert longer.code == "MQ-2141" and "medium.length" in str(longer)


def test_who_does_not_predict_token_after_token_neither_teaches_nor_is_taught(place: Path) -> None:
    source = "teacher.source=" + str(place / "teacher")
    assert refused(place, source, recipe="mdlm-char").values["what"] == "learn from a teacher"
    masked = taught(place, "masked", "model.net.width=16", "model.net.depth=1", recipe="mdlm-char", steps=1)
    error = refused(place, f"teacher.source={masked.path}")
    assert error.code == "MQ-2140" and "teach one token after another" in str(error)


@pytest.mark.parametrize(
    "word", ["teacher.temperature=0", "teacher.share=0", "teacher.share=2", "teacher.temperature=-1"]
)
def test_numbers_that_are_none_are_refused(word: str, place: Path) -> None:
    assert refused(place, "teacher.source=" + str(place / "teacher"), word).code == "MQ-2002"


def test_a_teacher_that_was_changed_or_is_not_there_is_refused(place: Path, tmp_path: Path) -> None:
    assert refused(place, f"teacher.source={tmp_path / 'nowhere'}").code == "MQ-5004"
    changed = Path(shutil.copytree(place / "teacher/bundle", tmp_path / "changed"))
    tree = json.loads((changed / "config.json").read_text())
    (changed / "config.json").write_text(json.dumps(tree | {"classes": ["x"]}))
    assert refused(place, f"teacher.source={changed}").code == "MQ-5003"


def test_a_model_of_pictures_and_words_has_a_loss_of_its_own() -> None:
    assert DALLE.learn_from is Model.learn_from
