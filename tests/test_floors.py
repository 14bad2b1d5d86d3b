"""What may import what: every package stands on a floor and imports only the floors below it, never a neighbour."""

import ast
from pathlib import Path

import pytest

import maquette

ROOT = Path(maquette.__file__).parent
FLOORS = [
    {"core"},
    {"media", "solvers", "crafts"},
    {"nets", "codecs"},
    {"data", "models"},
    {"bundle", "request"},
    {"train", "pipeline"},
    {"evaluate", "server"},
    {"studio"},
    {"verbs"},
    {"cli"},
    {"__init__", "__main__"},
]
LEVEL = {name: floor for floor, names in enumerate(FLOORS) for name in names}


def imported(source: str, inside: tuple[str, ...] = ()) -> set[str]:
    """The top-level parts of `maquette` that `source` imports; `inside` is the dotted package it stands in."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*inside[: len(inside) - node.level + 1]] if node.level else []
            base += node.module.split(".") if node.module else []
            names = [".".join([*base, alias.name]) for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            names = [text.value for text in node.args if isinstance(text, ast.Constant)]
        found |= {name.split(".")[1] for name in names if name.startswith("maquette.")}
    return found - {"__version__"}  # a string that the package's first line defines


def mistakes(source: str, path: Path) -> list[str]:
    """Sentences about the imports of `source`, at `path` below the package, that the floors forbid."""
    here = path.parts[0].removesuffix(".py")
    if here not in LEVEL:
        return [f"{path} stands on no floor"]
    inside = ("maquette", *path.parts[:-1])
    allowed = {name for name, floor in LEVEL.items() if floor < LEVEL[here]} | (
        {here} if len(path.parts) > 1 else set()
    )
    return [f"{here} may not import {there}" for there in sorted(imported(source, inside) - allowed)]


def test_imports_point_down() -> None:
    sources = {p.relative_to(ROOT): p.read_text(encoding="utf-8") for p in sorted(ROOT.rglob("*.py"))}
    found = {path: mistakes(source, path) for path, source in sources.items()}
    assert {path: told for path, told in found.items() if told} == {}


@pytest.mark.parametrize(
    ("source", "path", "sentence"),
    [
        ("import maquette.train.loop", "core/bad.py", "core may not import train"),
        ("from maquette.solvers import ode", "media/bad.py", "media may not import solvers"),
        ("from maquette import pipeline", "train/bad.py", "train may not import pipeline"),
        ("def later():\n    from maquette.cli.main import main", "verbs/bad.py", "verbs may not import cli"),
        ("from ..models import base", "nets/bad.py", "nets may not import models"),
        (
            "import importlib\nimportlib.import_module('maquette.models.base')",
            "core/bad.py",
            "core may not import models",
        ),
        ("", "misc/new.py", "misc/new.py stands on no floor"),
    ],
)
def test_a_bad_file_is_found(source: str, path: str, sentence: str) -> None:
    assert mistakes(source, Path(path)) == [sentence]


def test_a_good_file_passes() -> None:
    source = "import torch\nfrom maquette import __version__\nfrom maquette.core import files\nfrom . import base"
    assert mistakes(source, Path("nets/good.py")) == []
