"""The tutorials' listings as commands: what each of them meant to do, done. A lesson is data, `lessons.yaml`."""

import shlex
import sys
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from maquette.core.config import Config, parse_yaml
from maquette.core.errors import MaquetteError, nearest, preferred_language

FILE = Path(__file__).with_name("lessons.yaml")
PREFIX = "tutorial/"


@dataclass(frozen=True, kw_only=True)
class Tiny(Config):
    """How a lesson is cut short, to see that it runs."""

    budget: str = ""
    n: int = 0


@dataclass(frozen=True, kw_only=True)
class Lesson(Config):
    """Some listings that mean one thing, and the commands that do it."""

    name: str
    listings: tuple[int, ...]
    about: str
    zh: str
    run: tuple[str, ...]
    """Commands without the word maquette."""
    wants: str = ""
    """What the listing learns from, where `data` is only its stand-in."""
    data: str = ""
    budget: str = ""
    n: int = 0
    tiny: Tiny = field(default_factory=Tiny)
    figure: str = ""
    """The score that is told at the end."""
    goal: str = ""

    def commands(self, out: Path, data: str | None, tiny: bool) -> list[list[str]]:
        """The words of each command."""
        how: Any = self.tiny if tiny else self
        told = {"data": data or self.data, "budget": how.budget, "n": str(how.n), "out": str(out)}

        def filled(word: str) -> str:  # only these: a word may be YAML in braces
            for name, value in told.items():
                word = word.replace(f"{{{name}}}", value)
            return word

        return [[filled(word) for word in shlex.split(line)] for line in self.run]


@cache
def lessons() -> list[Lesson]:
    tree, lines = parse_yaml(FILE.read_text(encoding="utf-8"), FILE.name)
    return [Lesson.from_tree(lesson, f"[{i}]", lines) for i, lesson in enumerate(tree)]


def find(name: str) -> Lesson:
    """The lesson `tutorial/13-dcgan`, or that of a listing, `tutorial/13` or `tutorial/16`.

    Raises:
        MaquetteError: MQ-2170 when there is none.
    """
    word, known = name.removeprefix(PREFIX), lessons()
    for lesson in known:
        if lesson.name == word or (word.isascii() and word.isdigit() and int(word) in lesson.listings):
            return lesson
    raise MaquetteError("MQ-2170", name=name, near=nearest(word, [lesson.name for lesson in known]))


def listed() -> str:
    """One line for each lesson: its name, its listings and what it is about."""
    chinese = preferred_language() == "zh"
    return "\n".join(
        f"{PREFIX + one.name:<26} {_numbers(one.listings):<22} {one.zh if chinese else one.about}" for one in lessons()
    )


def run(name: str, out: Path | None, data: str | None, tiny: bool) -> int:
    """Run a lesson's commands one after another, each shown as a person would type it, and tell its figure.

    Returns the exit code of the command that failed, or 0.
    """
    from maquette.cli.main import main

    lesson = find(name)
    out = out or Path("tutorial") / lesson.name
    if lesson.wants and data is None:
        _say(f"The listing wants {lesson.wants} (--data FOLDER); {lesson.data} stands in for it.")
    begun = time.monotonic()
    for words in lesson.commands(out, data, tiny):
        _say(f"$ maquette {shlex.join(words)}")
        if exit_code := main(words):
            return exit_code
    _say(f"{lesson.name}: {time.monotonic() - begun:.0f} s" + _figure(lesson, out))
    return 0


def _figure(lesson: Lesson, out: Path) -> str:
    if not lesson.figure:
        return ""
    from maquette.evaluate.report import KINDS, Report

    score = Report.read(out / "run").score(lesson.figure)
    if score is None:
        return f"; no {lesson.figure} was measured"
    floor = "" if score.floor is None else f" (real samples {score.floor:.4g})"
    goal = f", the listing's aim: {lesson.goal}" if lesson.goal else ""
    return f"; {KINDS[lesson.figure].title} {score.value:.4g}{floor}{goal}"


def _numbers(listings: tuple[int, ...]) -> str:
    return ", ".join(map(str, listings[:4])) + (" …" if len(listings) > 4 else "")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
