"""What `maquette plan` foretells against what `maquette train` then takes; the figures of docs/cost.md.

    python -m benchmarks.plan                      all recipes, about a minute of training each
    python -m benchmarks.plan --only dcgan         one of them, the others as they were measured last
    python -m benchmarks.plan --table              write the table of docs/cost.md from the results

Of each recipe the plan is made, then the command trains for the steps that the plan has put into `--seconds`, and its
wall time, from start to end, and the most memory that it held (`ru_maxrss`) are taken from outside. One comes right
after the other, as a machine that others use is not the same an hour later. All data are embedded sets.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from typing import Any

from benchmarks.harness import RESULTS, ROOT, WORK, machine, put_between, read_json, write_json

FILE = RESULTS / "plan.json"
OUT = WORK / "plan"
RECIPES = (
    "dcgan", "vae", "diffusion", "pixelcnn", "gpt-char", "lstm-char", "mel-gan", "video-vae", "forecast-gpt",
    "points-diffusion",
)  # fmt: skip
"""Of each kind of model, and of each medium but music, whose models are those of text."""
PAGES = ("cost.md", "cost.zh.md")
GOAL = 0.3
"""How far off a figure may be, as a share of what was measured."""


def compared(recipe: str, seconds: float) -> dict[str, Any]:
    """A plan and the training that it is a plan of."""
    from maquette.verbs.plan import plan

    began = time.monotonic()
    made = plan(recipe)
    took = time.monotonic() - began
    budget = f"{made.course(f'{seconds:g}s').steps}steps"
    foretold = {"seconds": made.seconds(budget), "memory": made.costs.memory, "disk": made.disk(budget)}
    out = OUT / recipe
    shutil.rmtree(out, ignore_errors=True)
    words = ["train", recipe, "--budget", budget, "--out", str(out), "--quiet"]
    began = time.monotonic()
    child = subprocess.Popen([sys.executable, "-m", "maquette", *words], cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    measured = {"seconds": time.monotonic() - began, "memory": used.ru_maxrss * 1024}
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{recipe}: training ended with status {status}")
    measured["disk"] = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    shutil.rmtree(out)
    return {
        "budget": budget,
        "parameters": sum(made.parameters.values()),
        "step": made.costs.step,
        "batch": made.recipe.train.batch,
        "sample": made.costs.draw / made.recipe.train.samples,
        "planning": took,
        "foretold": foretold,
        "measured": measured,
        "ratio": {name: foretold[name] / measured[name] for name in measured},
        "machine": machine(),
    }


def table(tree: dict[str, Any]) -> str:
    lines = [
        "| | parameters | a step | s a sample | steps | seconds: plan | taken | ratio | MB: plan | taken | ratio |",
        "|" + "---|" * 11,
    ]
    for name, one in tree.items():
        cells = [f"`{name}`", f"{one['parameters']:,}", f"{1000 * one['step']:.3g} ms x {one['batch']}"]
        cells += [f"{one['sample']:.2g}", f"{int(one['budget'].removesuffix('steps')):,}"]
        for what, scale in (("seconds", 1), ("memory", 1e6)):
            cells += [f"{one[side][what] / scale:.0f}" for side in ("foretold", "measured")]
            cells.append(f"{one['ratio'][what]:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    within = {what: sum(abs(one["ratio"][what] - 1) <= GOAL for one in tree.values()) for what in ("seconds", "memory")}
    lines += [
        "",
        f"Within {GOAL:.0%}: time {within['seconds']} of {len(tree)}, memory {within['memory']} of {len(tree)}.",
    ]
    disk = [one["ratio"]["disk"] for one in tree.values()]
    lines.append(f"Disk: plan to taken {min(disk):.2f} to {max(disk):.2f}; first sheets are noise, which packs badly.")
    machines = [one["machine"] for one in tree.values()]
    loads = f"load {min(m['load'] for m in machines):.1f} to {max(m['load'] for m in machines):.1f}"
    about = {f"{m['processor']}, {m['cores']} core{'s' * (m['cores'] > 1)}, torch {m['torch']}" for m in machines}
    return "\n".join([*lines, *(f"{one}; {loads}." for one in sorted(about))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=RECIPES, metavar="RECIPE", help="of them")
    parser.add_argument("--seconds", type=float, default=60, help="of each training, as foretold")
    parser.add_argument("--table", action="store_true", help="only write the tables of docs/cost from the results")
    asked = parser.parse_args()
    os.environ["MAQUETTE_CACHE"] = str(WORK / "cache")
    for recipe in () if asked.table else asked.only:
        found = read_json(FILE) | {recipe: compared(recipe, asked.seconds)}
        write_json(FILE, {name: found[name] for name in RECIPES if name in found})
    for page in PAGES if asked.table else ():
        put_between(ROOT / "docs" / page, "plan", table(read_json(FILE)))
    print(table(read_json(FILE)))


if __name__ == "__main__":
    main()
