"""The child's half of `harness.py`: prepare one contestant, say so, then work for as long as each line asks."""

import contextlib
import importlib
import json
import os
import sys
import time


def main(row: str, name: str) -> None:
    out = os.fdopen(os.dup(1), "w")  # what a library prints must not mix with the answers
    os.dup2(2, 1)

    def say(**answer: object) -> None:
        out.write(json.dumps(answer) + "\n")
        out.flush()

    work, facts = importlib.import_module(f"benchmarks.rows.{row}").CONTESTANTS[name]()
    work()  # allocators, kernels and caches are warm before the first turn
    with contextlib.suppress(ImportError):
        import torch

        facts = {"threads": torch.get_num_threads()} | facts
    say(facts=facts)
    for line in sys.stdin:
        units, wall, cpu = 0.0, time.perf_counter(), _cpu()
        while time.perf_counter() - wall < float(line):
            units += work()
        say(units=units, wall=time.perf_counter() - wall, cpu=_cpu() - cpu, load=os.getloadavg()[0])


def _cpu() -> float:
    """Processor time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    main(*sys.argv[1:])
