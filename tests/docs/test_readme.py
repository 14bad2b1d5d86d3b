"""The commands of README.md do what they say: each is run in order, with its budget and numbers made small."""

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import newcomer
from maquette.cli.main import main
from maquette.evaluate import domain
from tests.docs.commands import ROOT, commands, reader, shortened


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reader(tmp_path_factory.mktemp("readme"))


def of_maquette(page: str) -> list[str]:
    return [line for line in commands(ROOT / page) if line.startswith("maquette ")]


def test_the_commands_of_the_readme_work(place: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(domain, "PASSES", 640)
    for command in of_maquette("README.md"):
        if command.startswith(
            "maquette serve "
        ):  # goes on until it is told to stop; tests/server/test_guide.py starts it
            continue
        assert main(shortened(command)) == 0, f"{command}\n{capsys.readouterr().err}"
    for made in (
        "runs/photos/recipe.json",
        "sheet.png",
        "runs/photos/report.html",
        "comparison/report.html",
        "tuning/dcgan-tuned.yaml",
    ):
        assert (place / made).stat().st_size > 0


def test_the_python_of_the_readme_works(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(block.replace("2000steps", "2steps"), names)
    assert isinstance(names["items"], np.ndarray) and len(names["items"]) == 4


def test_a_newcomer_needs_five_commands() -> None:
    """What benchmarks/newcomer.py takes out of README.md and runs in a new environment."""
    typed = newcomer.commands((ROOT / "README.md").read_text(encoding="utf-8"))
    assert [command.split()[:2] for command in typed] == [
        ["pip", "install"],
        ["maquette", "data"],
        ["maquette", "train"],
        ["maquette", "sample"],
        ["maquette", "evaluate"],
    ]
    assert len(typed) <= newcomer.MOST
