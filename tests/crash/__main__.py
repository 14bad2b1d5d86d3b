"""Kill training at random moments and compare what a resume ends in with a run that was never killed.

    python -m tests.crash                          50 kills in each family
    python -m tests.crash --kills 2 --seed 7       fewer, at other moments
    python -m tests.crash --every-call             one kill at each storage call of a whole run

A kill is SIGKILL: half of them after a random time, half just before a random storage call (a write, fsync, rename
or delete), where most faults would hide. The parent imports torch once and forks each child.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.crash.killing import RECIPES, Course, Died, differing, live


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="in each family (50)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="trials at once")
    parser.add_argument("--every-call", action="store_true", help="one kill at each storage call, instead of random")
    parser.add_argument("--only", choices=sorted(RECIPES), nargs="*", default=sorted(RECIPES))
    options = parser.parse_args(argv)
    began, wrong, trials = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory(prefix="maquette-crash-") as folder, ThreadPoolExecutor(options.jobs) as pool:
        for family in options.only:
            course = Course.of(family, Path(folder) / family)
            dice = random.Random(f"{options.seed} {family}")
            plans = [_plan(dice, i, course) for i in range(options.kills)]
            if options.every_call:
                plans = [("call", float(k)) for k in range(course.calls)]
            said = list(pool.map(partial(_trial, course), range(len(plans)), plans))
            for plan, text in zip(plans, said, strict=True):
                print(f"DIFFERS {family}, killed at {plan}: {text}\n" if text else "", end="")
            wrong, trials = wrong + sum(map(bool, said)), trials + len(plans)
            print(f"{family}: {len(plans) - sum(map(bool, said))} of {len(plans)} identical", flush=True)
            shutil.rmtree(Path(folder) / family)
    print(f"identical: {trials - wrong} of {trials} ({time.monotonic() - began:.0f} s)")
    return 1 if wrong else 0


def _plan(dice: random.Random, i: int, course: Course) -> tuple[str, float]:
    if i % 2:
        return "call", dice.randrange(course.calls)
    return "after", dice.uniform(0, course.seconds)


def _trial(course: Course, number: int, plan: tuple[str, float]) -> str:
    """Kill by `plan`, resume, compare; "" when all is identical."""
    out = course.folder / f"trial-{number}" / "run"
    kind, moment = plan
    try:
        while live(course.recipe, out, **{kind: moment}):  # it finished before its moment came: a sooner one
            shutil.rmtree(out)
            moment *= 0.8
        live(course.recipe, out)
    except Died as bad:
        return str(bad)
    text = ", ".join(differing(course.reference, out))
    shutil.rmtree(out.parent)
    return text


if __name__ == "__main__":
    sys.exit(main())
