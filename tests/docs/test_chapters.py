"""The chapters of the guide are true: excerpts and figures are of their sources, both languages agree, all runs."""

import re
import runpy
import shlex
import sys
from pathlib import Path
from unittest import mock

import pytest

from maquette.cli.main import main
from tests.docs.commands import ROOT, blocks, outputs, reader, shortened

GUIDE = ROOT / "docs" / "guide"
CHAPTERS = sorted(page for page in GUIDE.glob("*.md") if page.with_suffix(".zh.md").exists())
BOTH = [*CHAPTERS, *(page.with_suffix(".zh.md") for page in CHAPTERS)]
INTERVAL = re.compile(r"\d[\d.]*(?:e-?\d+)? (?:\([\d.]+ to [\d.]+\)|± [\d.]+)")
MEASURED = "\n".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("pictures.md", "quality.md"))


@pytest.mark.parametrize("page", BOTH, ids=lambda page: page.name)
def test_excerpts_are_of_their_files(page: Path) -> None:
    """A block of code with a file's name is lines of that file, one after another, however far they are indented."""
    for name, excerpt in re.findall(
        r'```python title="([^"]+)"\n(.*?)```', page.read_text(encoding="utf-8"), re.DOTALL
    ):
        assert bare(excerpt) in bare((ROOT / name).read_text(encoding="utf-8")), f"{name} has no such lines:\n{excerpt}"


def bare(code: str) -> str:
    return "\n" + "\n".join(line.strip() for line in code.strip().splitlines()) + "\n"


@pytest.mark.parametrize("page", BOTH, ids=lambda page: page.name)
def test_figures_are_those_of_the_tables(page: Path) -> None:
    """Whoever measures anew changes docs/pictures.md or docs/quality.md, and then what the chapters quote of it."""
    quoted = INTERVAL.findall(page.read_text(encoding="utf-8"))
    assert [figure for figure in quoted if figure not in MEASURED] == []


@pytest.mark.parametrize("page", CHAPTERS, ids=lambda page: page.name)
def test_both_languages_run_and_show_the_same(page: Path) -> None:
    other = page.with_suffix(".zh.md")
    for language in ("sh", "python", "text", "math"):
        assert blocks(page, language) == blocks(other, language)
    assert outputs(page) == outputs(other)
    for part in (r"^#+ ", r"^!\[", r"^\|"):  # headings, pictures, rows
        counts = [len(re.findall(part, one.read_text(encoding="utf-8"), re.MULTILINE)) for one in (page, other)]
        assert counts[0] == counts[1], f"{part} {counts}"


# -- run --------------------------------------------------------------------------------------------------------------

CHEAP = {"idea.md", "judging.md"}
"""Chapters whose commands the default suite runs; those of the others are left to `make slow`."""
ELSEWHERE = ("pip install ", "make ")
"""Installing is tried by benchmarks/newcomer.py, what `make` does by continuous integration."""
COSTS = [pytest.param(page, marks=() if page.name in CHEAP else pytest.mark.slow, id=page.name) for page in CHAPTERS]


@pytest.mark.parametrize("page", COSTS)
def test_what_it_says_can_be_done(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Every command and every program of a chapter, in order, tiny; a program prints what the page says."""
    monkeypatch.chdir(reader(tmp_path))
    text, printed = page.read_text(encoding="utf-8"), dict(outputs(page))
    names: dict[str, object] = {"__name__": "__main__"}
    for language, block in re.findall(r"^```(sh|python)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        if language == "python":
            capsys.readouterr()
            exec(compile(block, page.name, "exec"), names)
            if block in printed:
                assert capsys.readouterr().out == printed[block]
            continue
        for line in block.splitlines():
            command, _, said = (part.strip() for part in line.partition("#"))
            if not command.startswith(ELSEWHERE):
                ended = run(command, whole=expected(said) > 0)
                assert ended == expected(said), f"{command} ended with {ended}\n{capsys.readouterr().err}"


def run(command: str, whole: bool) -> int | None:
    """The exit code of a command of maquette, or of a program of docs/, in tiny form unless it is wanted whole."""
    if command.startswith("maquette "):
        return main(shlex.split(command)[1:] if whole else shortened(command))
    _, program, *words = shlex.split(command)
    with mock.patch.object(sys, "argv", [program, *words, "--tiny"]):
        runpy.run_path(str(ROOT / program), run_name="__main__")
    return 0


def expected(said: str) -> int:
    """A command that is meant to fail on its way has the code of its error behind it: `# MQ-6001`."""
    found = re.search(r"MQ-(\d)\d{3}", said)
    return int(found[1]) if found else 0
