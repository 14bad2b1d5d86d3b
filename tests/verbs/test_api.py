"""`import maquette`: what it offers, that all of it is there, and that it is quick."""

import inspect
import subprocess
import sys

import pytest

import maquette

PUBLIC = {
    "Conversation", "MaquetteError", "Pipeline", "Request", "__version__", "advise", "attention", "average", "caption",
    "compare", "cooperate", "demo", "evaluate", "export_model", "import_model", "load", "plan", "recipes", "resume",
    "sample", "style", "train", "tune",
}  # fmt: skip


def test_the_public_names_are_frozen_and_there() -> None:
    assert set(maquette.__all__) == PUBLIC == set(dir(maquette)) == {*maquette._HOMES, "__version__"}
    for name in PUBLIC - {"__version__"}:
        assert inspect.getdoc(getattr(maquette, name)), name


def test_what_is_not_offered_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'serve'"):
        maquette.serve  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_a_package_with_a_verbs_name_is_the_verb_too(name: str) -> None:
    package, verb = getattr(maquette, name), maquette.__getattr__(name)
    assert inspect.ismodule(package) and callable(package) and inspect.isfunction(verb)
    with pytest.raises(TypeError, match="missing"):
        package()


def test_importing_it_imports_neither_torch_nor_numpy() -> None:
    script = "import sys, maquette; assert not {'torch', 'numpy'} & sys.modules.keys(); maquette.recipes"
    subprocess.run([sys.executable, "-c", script], check=True)
