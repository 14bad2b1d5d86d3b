"""The tutorials' listings as commands: what each of them meant to do, done. A lesson is data, `lessons.yaml`.

A lesson keeps what it has done in `lesson.json` of its folder, command by command, so that one that was stopped goes on
and one that is finished is told again. `tutorial/all` runs each in a process of its own, and one that fails stops none.
"""

import math
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from maquette.core import files
from maquette.core.config import Config, parse_yaml
from maquette.core.errors import MaquetteError, Phrase, nearest, preferred_language

if TYPE_CHECKING:
    from maquette.evaluate.report import Score

FILE = Path(__file__).with_name("lessons.yaml")
PREFIX = "tutorial/"
ALL = "all"
KEPT = "lesson.json"
RESULTS = "lessons.json"
"""What `tutorial/all` found, by lesson."""


@dataclass(frozen=True, kw_only=True)
class Tiny(Config):
    """How a lesson is cut short, to see that it runs."""

    budget: str = ""
    n: int = 0


@dataclass(frozen=True, kw_only=True)
class Goal(Config):
    """What a score of the lesson's report should come to, on the data that the lesson names."""

    score: str
    at: Literal["least", "most"]
    value: float = 0.0
    way: str = ""
    """A simpler way in the report, whose figure is to be met instead of `value`."""

    def bound(self, score: "Score") -> float | None:
        """None where the report has no such way."""
        if not self.way:
            return self.value
        return score.baselines[self.way].value if self.way in score.baselines else None

    def met(self, score: "Score") -> bool:
        bound = self.bound(score)
        return bound is not None and (score.value >= bound if self.at == "least" else score.value <= bound)


@dataclass(frozen=True, kw_only=True)
class Lesson(Config):
    """Some listings that mean one thing, and the commands that do it."""

    name: str
    listings: tuple[int, ...]
    about: str
    zh: str
    run: tuple[str, ...]
    """Commands without the word maquette."""
    leaves: tuple[str, ...] = ()
    """Files that are there in the end, within the lesson's folder."""
    wants: str = ""
    """What the listing learns from, where `data` is only its stand-in."""
    data: str = ""
    budget: str = ""
    n: int = 0
    tiny: Tiny = field(default_factory=Tiny)
    goal: Goal | None = None
    """The figure that is told at the end, and what it should be."""

    @property
    def recipe(self) -> str:
        """What is trained, if anything."""
        first = self.run[0].split()
        return first[1] if first[0] == "train" else ""

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

    What was begun in `out` goes on; what was finished is only told. In tiny form the figure must be a number, in full
    it must reach the goal, unless `data` are others than the goal was set for.

    Returns the exit code of the command that failed, or 0.

    Raises:
        MaquetteError: MQ-2170 no such lesson, MQ-5005 something else is in `out`, MQ-1170 a file or a figure that is
            not there, or a goal that is missed.
    """
    if name.removeprefix(PREFIX) == ALL:
        return run_all(out, data, tiny)
    lesson = find(name)
    out = out or folder(tiny) / lesson.name
    commands = lesson.commands(out, data, tiny)
    kept = begun(out, commands)
    if lesson.wants and data is None:
        _say(f"The listing wants {lesson.wants} (--data FOLDER); {lesson.data} stands in for it.")
    if exit_code := _worked(out, commands, kept):
        return exit_code
    return _judged(lesson, out, kept, tiny or data is not None)


def folder(tiny: bool) -> Path:
    """Where lessons go unless told otherwise."""
    return Path("tutorial") / ("tiny" if tiny else "")


def begun(out: Path, commands: list[list[str]]) -> dict[str, Any]:
    """What was kept in `out` of these commands, or what is kept before the first of them.

    Raises:
        MaquetteError: MQ-5005 when something else is there.
    """
    if kept := _kept(out, commands):
        return kept
    if out.exists() and any(out.iterdir()):
        raise MaquetteError("MQ-5005", str(out))
    return {"commands": commands, "done": 0, "seconds": 0.0}


def _kept(out: Path, commands: list[list[str]]) -> dict[str, Any]:
    kept = files.read_json(out / KEPT) if (out / KEPT).exists() else {}
    return kept if kept.get("commands") == commands else {}


def _worked(out: Path, commands: list[list[str]], kept: dict[str, Any]) -> int:
    """Do those of the commands that are not done yet; training that was cut off is resumed."""
    from maquette.cli.main import main

    for words in commands[kept["done"] :]:
        files.write_json(out / KEPT, kept)
        _say(f"$ maquette {shlex.join(words)}")
        started = words[0] == "train" and (out / "run" / "recipe.json").exists()
        kept |= {"resumed": True} if started else {}
        began = time.monotonic()
        exit_code = main(["resume", str(out / "run")] if started else words)
        kept["seconds"] += time.monotonic() - began
        if exit_code:
            if [path.name for path in out.iterdir()] == [KEPT]:  # nothing came of it
                files.remove_folder(out)
            return exit_code
        kept["done"] += 1
    return 0


def _judged(lesson: Lesson, out: Path, kept: dict[str, Any], lightly: bool) -> int:
    """Keep and tell what the lesson came to.

    Args:
        lightly: whether it is enough that the figure is a number.
    """
    missing = [name for name in lesson.leaves if not (out / name).exists()]
    if missing:
        raise _unmet(Phrase(f"it left no {missing[0]}", f"没有留下 {missing[0]}"), out)
    told = f"{lesson.name}: {kept['seconds']:.0f} s"
    if lesson.goal is None:
        files.write_json(out / KEPT, kept | {"finished": True})
        _say(told)
        return 0
    from maquette.evaluate.report import Report

    goal, score = lesson.goal, Report.read(out / "run").score(lesson.goal.score)
    if score is None or not math.isfinite(score.value):
        raise _unmet(Phrase(f"no {goal.score} was measured", f"没有测出 {goal.score}"), out)
    found = {"title": score.title, "unit": score.unit, "value": score.value, "floor": score.floor}
    found |= {"at": goal.at, "bound": goal.bound(score), "way": goal.way, "met": None if lightly else goal.met(score)}
    files.write_json(out / KEPT, kept | found | {"finished": True})
    floor = "" if score.floor is None else f" (real samples {score.floor:.4g})"
    _say(f"{told}; {score.title} {score.value:.4g}{floor}, goal: {aim(found)}")
    if lightly or goal.met(score):
        return 0
    raise _unmet(Phrase(f"{score.title} is {score.value:.4g}, and the goal is {aim(found)}",
                        f"{score.title} 为 {score.value:.4g}，目标是{aim(found).zh}"), out)  # fmt: skip


def aim(found: Mapping[str, Any]) -> Phrase:
    """The goal of a lesson as words; without a figure where that of a simpler way is not known."""
    figure = "" if found["bound"] is None else f" {found['bound']:.4g}"
    way = f" ({found['way']})" if found["way"] else ""
    return Phrase(f"at {found['at']}{figure}{way}", f"{'至少' if found['at'] == 'least' else '至多'}{figure}{way}")


def _unmet(reason: Phrase, out: Path) -> MaquetteError:
    return MaquetteError("MQ-1170", str(out), reason=reason)


def run_all(out: Path | None, data: str | None, tiny: bool) -> int:
    """Run every lesson that is not finished, each in a process of its own, and print what all of them came to.

    Returns 0 if all of them did what they are for, else 1.

    Raises:
        MaquetteError: MQ-2110 when `data` are given: lessons learn from pictures, text and points.
    """
    if data is not None:
        reason = Phrase("the lessons need data of several kinds, so --data goes with one of them",
                        "各课需要不同种类的数据，--data 只能与单独一课一起使用")  # fmt: skip
        raise MaquetteError("MQ-2110", "--data", reason=reason, prog="maquette run")
    out, found = out or folder(tiny), dict[str, Any]()
    for lesson in lessons():
        place = out / lesson.name
        kept = _kept(place, lesson.commands(place, None, tiny))
        exit_code = int(kept.get("met") is False)
        if not kept.get("finished"):
            words = ["run", PREFIX + lesson.name, "--out", str(place), *(["--tiny"] if tiny else [])]
            exit_code = subprocess.run([sys.executable, "-m", "maquette", *words]).returncode
            kept = _kept(place, lesson.commands(place, None, tiny))
        told = {key: value for key, value in kept.items() if key not in ("commands", "done")}
        found[lesson.name] = {"listings": lesson.listings, "recipe": lesson.recipe, "exit": exit_code} | told
        files.write_json(out / RESULTS, {"tiny": tiny, "lessons": found})
    print(table(found))
    return int(any(one["exit"] for one in found.values()))


def table(found: Mapping[str, Any]) -> str:
    """What lessons came to, a line each."""
    chinese = preferred_language() == "zh"
    heads = ("课程", "代码", "配方", "结果", "秒") if chinese else ("lesson", "listings", "recipe", "figure", "seconds")
    rows = [heads, *((name, _numbers(one["listings"]), one["recipe"], _told(one), seconds(one))
                     for name, one in found.items())]  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def seconds(one: Mapping[str, Any]) -> str:
    """How long a lesson took; "+" where it was stopped on the way, of which time is not counted."""
    return f"{one['seconds']:.0f}{'+' * one.get('resumed', False)}" if "seconds" in one else ""


def _told(one: Mapping[str, Any]) -> str:
    """The figure of a lesson, or what became of it."""
    chinese = preferred_language() == "zh"
    if "value" in one:
        goal = aim(one)
        end = {None: ("", ""), True: (": met", "：达到"), False: (": missed", "：未达到")}[one["met"]]
        return f"{one['title']} {one['value']:.4g}" + (f"，{goal.zh}{end[1]}" if chinese else f", {goal}{end[0]}")
    if one["exit"] or not one.get("finished"):
        return f"失败，退出码 {one['exit']}" if chinese else f"failed, exit code {one['exit']}"
    return "完成" if chinese else "done"


def _numbers(listings: Sequence[int]) -> str:
    return ", ".join(map(str, listings[:4])) + (" …" if len(listings) > 4 else "")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
