"""`import maquette`: what it offers, that all of it is there, and that it is quick."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import maquette
from maquette.cli.main import main
from maquette.cli.parser import VERBS
from maquette.verbs.recipes import read
from tests.data.making import write

PUBLIC = {
    "Conversation", "MaquetteError", "Pipeline", "Request", "__version__", "advise", "attention", "average", "caption",
    "check_data", "compare", "cooperate", "create_key", "demo", "env", "evaluate", "export_model", "import_model",
    "list_keys", "load", "lr_find", "plan", "recipes", "resume", "revoke_key", "sample", "serve", "show", "style",
    "train", "tune",
}  # fmt: skip


def test_the_public_names_are_frozen_and_there() -> None:
    assert set(maquette.__all__) == PUBLIC == set(dir(maquette)) == {*maquette._HOMES, "__version__"}
    for name in PUBLIC - {"__version__"}:
        assert inspect.getdoc(getattr(maquette, name)), name


def test_what_is_not_offered_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'teach'"):
        maquette.teach  # type: ignore[attr-defined]  # noqa: B018


COMMAND_ONLY = {"new", "run", "diagram"}
"""A folder with a shell script, the tutorials' listings as commands, and a drawing: of no use but on a command line."""
OTHERWISE = {"chat": "Conversation", "data": "check_data", "export": "export_model", "import": "import_model",
             "keys": "create_key", "lr-find": "lr_find", "pipeline": "cooperate"}  # fmt: skip


@pytest.mark.parametrize("verb", sorted(set(VERBS) - COMMAND_ONLY))
def test_what_the_command_can_python_can(verb: str) -> None:
    assert callable(maquette.__getattr__(OTHERWISE.get(verb, verb)))


NEW = ("check_data", "create_key", "env", "list_keys", "lr_find", "revoke_key", "serve", "show")


@pytest.mark.parametrize("name", NEW)
def test_a_function_says_its_types_and_what_it_raises(name: str) -> None:
    found = maquette.__getattr__(name)
    signature = inspect.signature(found)
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(given.annotation is not inspect.Parameter.empty for given in signature.parameters.values())
    assert "Raises" in (inspect.getdoc(found) or "")


def test_the_recipe_that_is_shown_is_what_the_command_shows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "dcgan", "model.latent=7"]) == 0
    assert capsys.readouterr().out == maquette.show("dcgan", ["model.latent=7"]) + "\n"
    assert "latent: 7" in maquette.show(read("dcgan", ["model.latent=7"]))
    with pytest.raises(maquette.MaquetteError, match="MQ-2006"):
        maquette.show("dcgn")


def test_a_folder_is_looked_over(tmp_path: Path) -> None:
    found = maquette.check_data(write(tmp_path, "a.png", "b.png"))
    assert found.readable == 2 and found.good
    with pytest.raises(maquette.MaquetteError, match="MQ-3013"):
        maquette.check_data(tmp_path / "nowhere")


def test_rates_are_suggested(recipe: Path) -> None:
    (rate,) = maquette.lr_find(str(recipe), device="cpu").values()
    assert 0 < rate < 1


def test_the_machine_is_told_of() -> None:
    assert {"maquette", "python", "torch", "device"} <= maquette.env().keys()


def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy")
    secret, row = maquette.create_key("laptop", ["infer"], data_folder=str(tmp_path))
    assert secret and row.name == "laptop"
    assert maquette.revoke_key(row.id, str(tmp_path)).revoked is not None
    assert [(one.id, one.revoked is None) for one in maquette.list_keys(str(tmp_path))] == [(row.id, False)]


def test_a_server_that_may_not_listen_is_refused_at_once(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    with pytest.raises(maquette.MaquetteError, match="MQ-8010"):
        maquette.serve([], host="0.0.0.0", data_folder=str(tmp_path / "data"))


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_a_package_with_a_verbs_name_is_the_verb_too(name: str) -> None:
    package, verb = getattr(maquette, name), maquette.__getattr__(name)
    assert inspect.ismodule(package) and callable(package) and inspect.isfunction(verb)
    with pytest.raises(TypeError, match="missing"):
        package()


def test_importing_it_imports_neither_torch_nor_numpy() -> None:
    script = "import sys, maquette; assert not {'torch', 'numpy'} & sys.modules.keys(); maquette.recipes"
    subprocess.run([sys.executable, "-c", script], check=True)
