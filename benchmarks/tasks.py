"""Text tasks, each trained for the same time and held against simpler ways; see README.md beside this file.

    python -m benchmarks.tasks                    10 minutes each, one after the other, all cores
    python -m benchmarks.tasks --cores 1          side by side, one core and one thread each
    python -m benchmarks.tasks --only intents films --minutes 2
    python -m benchmarks.tasks --table            write the tables of docs/quality.md from what was measured last

Each task is a process of its own that trains a recipe as it comes and evaluates it with `maquette evaluate`, whose
report stays in its run. What was measured is stored as soon as it ends, and what was begun is resumed, so a stopped run
goes on where it was; `--again` begins anew. A task that fails is told of, and the others go on.
"""

import argparse
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import (
    RESULTS,
    ROOT,
    WORK,
    child,
    fresh,
    machine,
    put_between,
    read_json,
    side_by_side,
    write_json,
)

FILE = RESULTS / "tasks.json"
HERE = WORK / "tasks"
EXAMPLES = 10
"""Questions, not chosen, that are shown with their answers."""
LETTERS = 140
"""Of a text that is shown."""


@dataclass(frozen=True)
class Task:
    """A recipe on a data set below MAQUETTE_TEST_DATA."""

    recipe: str
    data: str
    overrides: tuple[str, ...] = ()


TASKS = {
    "English to Chinese": Task("translate", "tatoeba_en_zh"),
    "Chinese to English": Task("translate", "tatoeba_en_zh", ("data.columns={prompt: zh, response: en}",)),
    "summaries": Task("summarise", "scitldr"),
    "dialogue": Task("chat", "dialogue_sgd"),
    "questions": Task("chat", "faq_chatterbot"),
    "intents": Task("classify", "banking77", ("medium.length=48",)),
    "reviews": Task("classify", "reviews_zh", ("medium.length=96",)),
    "films": Task("classify", "movie_sentences_en"),
}
SCORES = {
    "chrf": "chrF", "bleu": "BLEU", "rouge_l": "ROUGE-L", "accuracy": "accuracy", "linear_accuracy": "linear head",
    "likelihood": "bits per byte",
}  # fmt: skip
"""What is shown of a report, and what it is called here."""


def folder_of(name: str) -> Path:
    return HERE / name.replace(" ", "-")


def terms(name: str, minutes: float) -> dict[str, Any]:
    """What tells one measurement of a task from another."""
    task = TASKS[name]
    return {"recipe": task.recipe, "data": task.data, "overrides": list(task.overrides), "minutes": minutes}


def work(name: str, minutes: float) -> None:
    """The child's part: train or go on, evaluate, show a little, and store what was found."""
    import maquette
    from benchmarks.peers import test_data

    task, out = TASKS[name], folder_of(name) / "run"
    if (out / "recipe.json").exists():
        run = maquette.resume(out, quiet=True)
    else:
        data, budget = str(test_data(task.data)), f"{60 * minutes:g}s"
        run = maquette.train(task.recipe, data, budget, out, task.overrides, quiet=True)
    (report,) = maquette.evaluate(run.path).reports
    found = {
        "steps": report.cost.train_steps,
        "parameters": report.cost.parameters,
        "scores": {score.name: score.to_tree() for score in report.scores},
        "notes": [*report.notes, *report.warnings],
        "examples": examples(run.path),
        "machine": machine(),
    }
    write_json(folder_of(name) / "facts.json", terms(name, minutes) | found)


def examples(run: Path) -> list[list[str]]:
    """(unseen question, true answer, the model's answer) of a run that answers, (label, a made text) of one that is
    told labels; not chosen."""
    from maquette.data.source import open_data
    from maquette.evaluate.answers import examine
    from maquette.pipeline import Request, load
    from maquette.train.run import Run

    pipeline = load(run)
    if pipeline.medium.asks:
        exam = examine(pipeline, open_data(Run.open(run).recipe.data, pipeline.medium), EXAMPLES)
        rows = zip(exam.asked, exam.references, exam.answers, strict=True)
        return [[question, references[0], answer] for question, references, answer in rows]
    made = pipeline.generate(Request(n=EXAMPLES, label="each"))
    names = [pipeline.classes[i % len(pipeline.classes)] for i in range(EXAMPLES)]
    return [[label, pipeline.medium.words(item) or ""] for label, item in zip(names, made, strict=True)]


def measured(name: str, minutes: float) -> bool:
    facts, asked = read_json(folder_of(name) / "facts.json"), terms(name, minutes)
    return {key: facts.get(key) for key in asked} == asked


def run_all(asked: argparse.Namespace) -> None:
    """Measure what has not been."""

    def start(name: str, cores: list[int]) -> tuple[subprocess.Popen, Path]:
        folder = folder_of(name)
        fresh(folder, terms(name, asked.minutes), asked.again)
        words = ["--child", name, "--minutes", str(asked.minutes)]
        return child("benchmarks.tasks", words, cores, folder / "log.txt"), folder / "log.txt"

    names = asked.only or list(TASKS)
    side_by_side([name for name in names if asked.again or not measured(name, asked.minutes)], asked.cores, start)
    held = read_json(FILE)
    found = {name: read_json(folder_of(name) / "facts.json") for name in names if measured(name, asked.minutes)}
    if found:
        write_json(FILE, {name: (held | found)[name] for name in TASKS if name in held | found})


# -- tables -----------------------------------------------------------------------------------------------------------


def table(tree: dict[str, Any]) -> str:
    """One line a task and score: the model's figure, those of simpler ways, and which is ahead."""
    lines = ["| task | minutes | steps | score | model | simpler ways | the model is |", "|" + "---|" * 7]
    for name, facts in tree.items():
        head = f"| {name} ({facts['recipe']}, `{facts['data']}`) | {facts['minutes']:g} | {facts['steps']:,} "
        for score in (facts["scores"][key] for key in SCORES if key in facts["scores"]):
            simpler = "; ".join(f"{way} {interval(other)}" for way, other in score["baselines"].items())
            cells = [SCORES[score["name"]], interval(score), simpler, standing(score)]
            lines.append(f"{head}| {' | '.join(cells)} |")
            head = "| | | "
    on = {
        f"{m['processor']}, {m['cores']} core{'s' * (m['cores'] > 1)} a task, torch {m['torch']}"
        for m in (f["machine"] for f in tree.values())
    }
    lines += ["", f"In brackets 95 % intervals. {'; '.join(sorted(on))}."]
    for name, facts in tree.items():
        columns = (
            ["unseen question", "a true answer", "model"] if facts["examples"][0][2:] else ["label", "made for it"]
        )
        lines += ["", f"**{name}**", "", f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
        lines += [f"| {' | '.join(map(cell, row))} |" for row in facts["examples"]]
    return "\n".join(lines)


def interval(score: dict[str, Any]) -> str:
    low, high = score["low"], score["high"]
    return f"{score['value']:.3g}" + ("" if low is None or high is None else f" ({low:.3g} to {high:.3g})")


def standing(score: dict[str, Any]) -> str:
    """Ahead of or behind the best simpler way, if the two intervals lie apart."""
    from maquette.evaluate.report import KINDS

    if not score["baselines"]:
        return ""
    sign = 1 if KINDS[score["name"]].better == "higher" else -1
    best = max(score["baselines"].values(), key=lambda other: sign * other["value"])
    if score["low"] <= best["high"] and best["low"] <= score["high"]:
        return "not told apart"
    return "ahead" if sign * score["value"] > sign * best["value"] else "behind"


def cell(text: str) -> str:
    """A text as a cell of a Markdown table."""
    text = " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
    return text if len(text) <= LETTERS else text[:LETTERS] + " …"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="of training for each task")
    parser.add_argument("--only", nargs="+", choices=TASKS, metavar="TASK", help=f"of {', '.join(TASKS)}")
    parser.add_argument("--cores", type=int, default=0, help="of each task, as many side by side as fit")
    parser.add_argument("--again", action="store_true", help="begin anew what was measured or begun before")
    parser.add_argument("--table", action="store_true", help="only write docs/quality.md from the results")
    parser.add_argument("--child", choices=TASKS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        return work(asked.child, asked.minutes)
    if asked.table:
        return put_between(ROOT / "docs" / "quality.md", "tasks", table(read_json(FILE)))
    run_all(asked)
    return print(table(read_json(FILE)))


if __name__ == "__main__":
    main()
