"""Recipes by name or path, their overrides, and what a malformed one is told."""

from pathlib import Path

import pytest

from maquette.cli.main import main
from maquette.core.errors import MaquetteError
from maquette.request import Request
from maquette.verbs import recipes
from tests.verbs.conftest import RECIPE


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("image/one", "image/both", "points/both"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(RECIPE)
    monkeypatch.setattr(recipes, "FOLDER", tmp_path)
    return tmp_path


def test_recipes_are_found_by_name_stem_and_path(shelf: Path) -> None:
    assert recipes.find("image/one") == recipes.find("one") == shelf / "image/one.yaml"
    assert recipes.find("points/both") == shelf / "points/both.yaml"
    assert recipes.find("some/where.yaml") == Path("some/where.yaml")
    assert [recipe.name for recipe in recipes.recipes()] == ["image/both", "image/one", "points/both"]
    assert recipes.recipes()[0].about == "A tiny model of handwritten digits.\nSeconds on 2 cores."


@pytest.mark.parametrize(("name", "code", "said"), [("both", "MQ-2115", "image/both"), ("on", "MQ-2006", "one")])
def test_what_is_not_found_names_what_is(shelf: Path, name: str, code: str, said: str) -> None:
    with pytest.raises(MaquetteError, match=said) as refused:
        recipes.find(name)
    assert refused.value.code == code


def test_overrides_and_settings_go_in_that_order(shelf: Path) -> None:
    read = recipes.read("one", ["train.seed=3", "model.latent=8", "train.batch=16"], **{"train.seed": 4})
    assert (read.train.seed, read.train.batch, read.model.to_tree()["latent"]) == (4, 16, 8)
    again = recipes.read(read, ["train.batch=8"])
    assert (again.train.batch, again.train.seed) == (8, 4)


def test_every_recipe_that_comes_along_is_valid_and_says_what_it_makes() -> None:
    for recipe in recipes.recipes():
        assert recipes.read(recipe.name).train.budget
        assert len(recipe.about.splitlines()) >= 2, recipe.name


MALFORMED = {
    "empty": ("", 2),
    "not a mapping": ("- data\n- model\n", 2),
    "not YAML": ("data: [unclosed\n", 2),
    "tab": ("data:\n\tsource: digits\n", 2),
    "duplicate key": (RECIPE + "data:\n  source: moons\n", 2),
    "anchors": ("a: &x {b: 1}\nc: *x\n", 2),
    "a tag that would execute": ("data: !!python/object/apply:os.system ['true']\n", 2),
    "missing part": (RECIPE.replace("model:\n  kind: vae\n", "other:\n  kind: vae\n"), 2),
    "unknown key": (RECIPE.replace("batch:", "bacth:"), 2),
    "unknown kind": (RECIPE.replace("kind: vae", "kind: vea"), 2),
    "a kind outside the folder": (RECIPE.replace("kind: vae", "kind: ../core/files"), 2),
    "no kind": (RECIPE.replace("  kind: vae\n", ""), 2),
    "wrong type": (RECIPE.replace("batch: 32", "batch: many"), 2),
    "not finite": (RECIPE.replace("batch: 32", "batch: .inf"), 2),
    "impossible value": (RECIPE.replace("batch: 32", "batch: 0"), 2),
    "impossible budget": (RECIPE.replace("40steps", "40parsecs"), 2),
    "unknown player": (RECIPE + "  optimizers: {critics: {lr: 1.0e-3}}\n", 2),
    "wrong space": ("data: {source: ring8}\nmedium: {kind: points}\nmodel: {kind: pixelcnn}\n", 2),
    "no such data": (RECIPE.replace("source: digits", "source: nowhere/at/all"), 3),
    "no such augmentation": (RECIPE.replace("source: digits", "source: digits\n  augment: {flop: 1}"), 2),
    "deep": ("a: " + "{b: " * 40 + "1" + "}" * 40 + "\n", 2),
    "not text": ("\udcff\udcfe", 2),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_recipes_are_told_in_a_few_lines(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, exit_code = MALFORMED[case]
    path, out = tmp_path / "bad.yaml", tmp_path / "run"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert main(["train", str(path), "--out", str(out), "--quiet"]) == exit_code
    said = capsys.readouterr()
    assert said.out == "" and "Traceback" not in said.err
    assert said.err.startswith("error[MQ-") and len(said.err.splitlines()) <= 3
    assert not out.exists() and [p.name for p in tmp_path.iterdir()] == ["bad.yaml"]


def test_the_line_at_fault_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(RECIPE.replace("bacth", "batch").replace("batch: 32", "bacth: 32"))
    assert main(["show", str(path)]) == 2
    said = capsys.readouterr().err
    line = 1 + RECIPE.splitlines().index("  batch: 32")
    assert f"{path}:{line}" in said and "nearest: 'batch'" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train.batch=0"], "--> train.batch=0"),
        (["train.bacth.size=3"], "--> train.bacth.size=3"),
        (["--budget", "10 parsecs"], "--> train.budget=10 parsecs"),
    ],
)
def test_what_was_typed_is_at_fault_and_not_a_line_of_the_file(words: list[str], said: str, capsys) -> None:
    assert main(["train", "dcgan", *words]) == 2
    told = capsys.readouterr().err
    assert said in told and "dcgan.yaml" not in told


def test_a_request_that_is_wrong_is_not_called_a_recipe() -> None:
    with pytest.raises(MaquetteError, match=r"the request has no 'sede'(.|\n)*nearest: 'seed'"):
        Request.from_tree({"sede": 1})


@pytest.mark.parametrize(
    "override", ["train.bacth=3", "train.batch", "=3", "train..batch=3", "train.batch=0", "model.kind=nothing"]
)
def test_malformed_overrides(override: str, recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(recipe), override]) == 2
    assert "error[MQ-2" in capsys.readouterr().err


def test_show_prints_what_can_be_read_again(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(recipe), "train.batch=16"]) == 0
    printed = capsys.readouterr().out
    (tmp_path / "again.yaml").write_text(printed)
    assert recipes.read(str(tmp_path / "again.yaml")) == recipes.read(str(recipe), ["train.batch=16"])
    assert "Samples per step, over all ranks." in printed
