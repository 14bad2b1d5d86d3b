"""The lessons of the tutorials, run and written down: the table of docs/tutorials.md.

    python -m benchmarks.lessons              all of them, cut short and then in full (hours); what is finished is kept
    python -m benchmarks.lessons --tiny       cut short only (minutes)
    python -m benchmarks.lessons --table      write the tables of docs/tutorials from the results

Each form is one `maquette run tutorial/all` in `work/lessons/`; run again, it goes on where it was stopped, and a
lesson is done anew when its folder there is removed.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from benchmarks.harness import RESULTS, ROOT, WORK, machine, put_between, read_json, write_json
from maquette.cli import lessons
from maquette.core.errors import Phrase
from maquette.evaluate.report import KINDS

FILE = RESULTS / "lessons.json"
FORMS = ("tiny", "full")
LIMIT = 20
"""Minutes that all of them may take in tiny form, on two cores."""
PAGES = {"tutorials.md": "en", "tutorials.zh.md": "zh"}
WORDS = {
    "en": {
        "heads": "| listings | lesson | recipe | figure | tiny | s | full | s | goal | met |",
        "none": "not measured yet",
        "tiny": "In tiny form all of them took {minutes:.1f} minutes (at most {limit} on 2 cores)",
        "full": "In full they took {minutes:.0f} minutes",
        "machine": "{processor}, {cores} core(s), torch {torch}",
        "met": {True: "yes", False: "no", None: ""},
        "failed": "failed ({exit})",
        "file": "a file",
        "stop": ".",
    },
    "zh": {
        "heads": "| 代码 | 课程 | 配方 | 结果 | 缩短版 | 秒 | 完整 | 秒 | 目标 | 达到 |",
        "none": "尚未测量",
        "tiny": "缩短版全部课程共用 {minutes:.1f} 分钟（双核上限 {limit} 分钟）",
        "full": "完整训练共用 {minutes:.0f} 分钟",
        "machine": "{processor}，{cores} 核，torch {torch}",
        "met": {True: "是", False: "否", None: ""},
        "failed": "失败（{exit}）",
        "file": "文件",
        "stop": "。",
    },
}


def measured(form: str) -> dict[str, Any]:
    """Every lesson in one form, as far as it is not finished."""
    out = WORK / "lessons" / form
    words = ["run", f"{lessons.PREFIX}{lessons.ALL}", "--out", str(out), *(["--tiny"] if form == "tiny" else [])]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MAQUETTE_CACHE": str(WORK / "cache")}
    subprocess.run([sys.executable, "-m", "maquette", *words], cwd=ROOT, env=environment)
    return {"lessons": read_json(out / lessons.RESULTS)["lessons"], "machine": machine()}


def table(tree: Mapping[str, Any], language: str) -> str:
    """A line for each lesson, and what each form took."""
    words: dict[str, Any] = WORDS[language]
    lines = [words["heads"], "|" + "---|" * 10]
    for lesson in lessons.lessons():
        kept = [tree.get(form, {}).get("lessons", {}).get(lesson.name) for form in FORMS]
        numbers = (", " if language == "en" else "、").join(map(str, lesson.listings))
        cells = [numbers, f"`{lessons.PREFIX}{lesson.name}`", f"`{lesson.recipe}`" if lesson.recipe else ""]
        cells.append(KINDS[lesson.goal.score].title if lesson.goal else ", ".join(lesson.leaves))
        for one in kept:
            cells += [words["none"], ""] if one is None else [figure(one, words), lessons.seconds(one)]
        aim = aimed(lesson, kept[-1]) if lesson.goal else ""
        cells += [getattr(aim, "zh", aim) if language == "zh" else aim]
        cells += [words["met"][kept[-1].get("met") if kept[-1] else None]]
        lines.append(f"| {' | '.join(cells)} |")
    said = [about(tree[form], form, words) for form in FORMS if form in tree]
    return "\n".join([*lines, "", *said]).strip()


def aimed(lesson: lessons.Lesson, full: Mapping[str, Any] | None) -> Phrase:
    """The goal, with the figure of the simpler way that it names where that was measured."""
    assert lesson.goal is not None
    if full and "bound" in full:
        return lessons.aim(full)
    return lessons.aim({"at": lesson.goal.at, "bound": None if lesson.goal.way else lesson.goal.value,
                        "way": lesson.goal.way})  # fmt: skip


def figure(one: Mapping[str, Any], words: Mapping[str, Any]) -> str:
    """The value with that of real samples; what became of a lesson that has none."""
    if "value" in one:
        return f"{one['value']:.4g}" + ("" if one["floor"] is None else f" ({one['floor']:.4g})")
    return words["file"] if one.get("finished") else words["failed"].format(**one)


def about(form: Mapping[str, Any], name: str, words: Mapping[str, Any]) -> str:
    minutes = sum(one.get("seconds", 0) for one in form["lessons"].values()) / 60
    return (
        words[name].format(minutes=minutes, limit=LIMIT)
        + words["stop"]
        + (" " if words["stop"] == "." else "")
        + words["machine"].format(**form["machine"])
        + words["stop"]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="cut short only")
    parser.add_argument("--table", action="store_true", help="only write the tables of docs/tutorials from the results")
    asked = parser.parse_args()
    for form in () if asked.table else FORMS[: 1 if asked.tiny else 2]:
        write_json(FILE, read_json(FILE) | {form: measured(form)})
    for page, language in PAGES.items() if asked.table else ():
        put_between(ROOT / "docs" / page, "lessons", table(read_json(FILE), language))
    print(table(read_json(FILE), "en"))


if __name__ == "__main__":
    main()
