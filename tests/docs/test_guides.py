"""The commands of the guides to federated averaging and to smaller models do what they say, made small."""

from pathlib import Path

import pytest

from maquette.bundle import read_bundle
from maquette.cli.main import main
from tests.docs.commands import ROOT, blocks, commands, shortened
from tests.models.made import texts

GUIDES = ROOT / "docs" / "guides"


def obey(command: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0, f"{command}\n{capsys.readouterr().err}"


def test_a_round_of_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    texts(tmp_path / "prose", "the cat sat on the mat. ", times=4)
    texts(tmp_path / "code", "x = [1, 22, 333] ", times=8)
    texts(tmp_path / "both", "the cat sat on x = [1, 22, 333] ", times=4)
    (recipe,) = blocks(GUIDES / "federated.md", "yaml")
    (tmp_path / "round.yaml").write_text(recipe)
    for command in commands(GUIDES / "federated.md"):
        if command.startswith("maquette train "):
            obey(command, [*command.split()[1:], "--budget", "2steps"], capsys)  # the last one is heard
        elif command.startswith("maquette average "):
            obey(command, command.split()[1:], capsys)
    clients = [read_bundle(f"runs/{name}-1/bundle").card["items"] for name in ("prose", "code")]
    assert read_bundle("bundles/round-1").card["items"] == sum(clients)


def test_a_teacher_of_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    texts(tmp_path / "notes", times=4)
    for command in commands(GUIDES / "smaller.md"):
        if command.startswith("maquette train ") and "$" not in command:
            obey(command, shortened(command), capsys)
    assert read_bundle("runs/small/bundle").card["teacher"] == "large"


@pytest.mark.parametrize("name", ["federated", "smaller"])
def test_both_languages_give_the_same_commands(name: str) -> None:
    assert commands(GUIDES / f"{name}.md") == commands(GUIDES / f"{name}.zh.md")
