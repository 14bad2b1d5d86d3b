"""The pages agree with the code: links lead somewhere, names exist, both languages say the same commands."""

import re
import shlex
from pathlib import Path
from string import Template

import pytest

import maquette
from maquette.cli.parser import VERBS, parse
from maquette.core.catalogue import CATALOGUE
from maquette.data.embedded import NAMES
from maquette.verbs.recipes import read, recipes
from tests.docs.commands import ROOT, commands

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks" / "README.md"])
COMMAND = re.compile(r"(?:^|`)maquette ([a-z][a-z-]*)", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_verbs_and_codes_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert set(COMMAND.findall(text)) <= set(VERBS)
    assert set(re.findall(r"MQ-\d{4}", text)) <= set(CATALOGUE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_lines_fit_a_terminal(page: Path) -> None:
    """Prose is wrapped; tables and code may be as long as they need."""
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    long = [line for line in prose.splitlines() if len(line) > 130 and not line.startswith(("|", "<"))]
    assert long == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_are_taken(page: Path) -> None:
    """Options that exist, and fields and values that the recipe has; what may vary in a search is for its own tests."""
    known, held = {recipe.name.rpartition("/")[2] for recipe in recipes()}, dict[str, str]()
    for line in commands(page):
        command = Template(line).safe_substitute(held)
        if kept := re.fullmatch(r'(\w+)="(.*)"', command):  # a variable of the shell
            held[kept[1]] = kept[2]
        if not command.startswith("maquette "):
            continue
        asked = parse(shlex.split(command)[1:])
        named = [getattr(asked, "RECIPE", None), *(getattr(asked, "RECIPE|RUN", None) or ())]
        for recipe in known.intersection(named) if asked.verb != "tune" else ():
            read(recipe, asked.overrides, **{"train.budget": getattr(asked, "budget", None)})


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_readme_names_recipes_and_data_that_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    stems = {recipe.name.rpartition("/")[2] for recipe in recipes()}
    table = [line.split("|")[2] for line in text.splitlines() if line.startswith("|") and line.count("|") == 4]
    assert {recipe for cell in table for recipe in re.findall(r"`([a-z][a-z0-9-]+)`", cell)} == stems
    assert set(NAMES) <= set(re.findall(r"`([a-z0-9-]+)`", text))


def test_both_languages_give_the_same_commands() -> None:
    assert commands(ROOT / "README.md") == commands(ROOT / "README.zh.md")


def test_the_changelog_names_this_version_or_what_is_to_come() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in text or f"## [{maquette.__version__}]" in text
