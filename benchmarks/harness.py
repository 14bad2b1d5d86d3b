"""Contestants in processes of their own, taking turns: A B A B, medians, wall and processor time, the load noted.

Two contestants measured one after the other see two machines; with turns of a few seconds they see the same one. Those
who are not on turn wait for a line on their standard input. A round whose wall time exceeds its processor time shared
over the threads by 40 % was disturbed by other work, and is marked.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = HERE / "results"
WORK = HERE / "work"
"""Caches, runs and checkouts of a benchmark; never committed."""


@dataclass(frozen=True)
class Round:
    """What one turn did."""

    units: float
    wall: float
    cpu: float
    load: float

    @property
    def rate(self) -> float:
        return self.units / self.wall

    def disturbed(self, threads: int) -> bool:
        return self.wall > 1.4 * self.cpu / threads


@dataclass
class Measured:
    """All turns of a contestant, and what it says of itself (parameters, the value it computed …)."""

    name: str
    facts: dict[str, Any] = field(default_factory=dict)
    rounds: list[Round] = field(default_factory=list)
    failed: str = ""

    @property
    def rate(self) -> float:
        """Units per second: the median over the turns."""
        return statistics.median(r.rate for r in self.rounds)

    @property
    def cpu_rate(self) -> float:
        """Units per second of processor time."""
        return statistics.median(r.units / r.cpu for r in self.rounds)

    def to_tree(self) -> dict[str, Any]:
        if self.failed:
            return {"failed": self.failed}
        threads = self.facts.get("threads", 1)
        return {
            "rate": self.rate,
            "rate_per_cpu_second": self.cpu_rate,
            "disturbed_rounds": sum(r.disturbed(threads) for r in self.rounds),
            "facts": self.facts,
            "rounds": [asdict(r) for r in self.rounds],
        }


class Worker:
    """A child process that prepares one contestant of a row and then works when told."""

    def __init__(self, row: str, name: str, core: int | None = None):
        self.measured = Measured(name)
        pin = [] if core is None else ["taskset", "-c", str(core)]
        env = os.environ | {"PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        env |= {"MAQUETTE_CACHE": str(WORK / "cache")} | ({} if core is None else {"OMP_NUM_THREADS": "1"})
        argv = [*pin, sys.executable, "-m", "benchmarks.worker", row, name]
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115 (of stderr: a pipe nobody reads would stop it)
        self.child = subprocess.Popen(
            argv, cwd=ROOT, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said
        )
        answer = self._answer()
        self.measured.facts = answer.get("facts", {})
        self.measured.failed = answer.get("failed", "")

    def round(self, seconds: float) -> None:
        if self.measured.failed:
            return
        assert self.child.stdin is not None
        self.child.stdin.write(f"{seconds}\n")
        self.child.stdin.flush()
        answer = self._answer()
        if "failed" in answer:
            self.measured.failed = answer["failed"]
        else:
            self.measured.rounds.append(Round(**answer))

    def _answer(self) -> dict[str, Any]:
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        if line:
            return json.loads(line)
        self.child.wait()
        self.said.seek(0)
        last = self.said.read().strip().splitlines()
        return {"failed": last[-1] if last else f"exit code {self.child.returncode}"}

    def close(self) -> None:
        for end in (self.child.stdin, self.child.stdout, self.said):
            assert end is not None
            end.close()
        self.child.wait()


def interleave(row: str, names: list[str], rounds: int, seconds: float) -> list[Measured]:
    """Let the contestants of a row take turns; in every second round the order is turned round."""
    workers = [Worker(row, name) for name in names]
    for number in range(rounds):
        for worker in workers if number % 2 == 0 else reversed(workers):
            worker.round(seconds)
    for worker in workers:
        worker.close()
    return [worker.measured for worker in workers]


def side_by_side(
    names: list[str], cores: int, start: Callable[[str, list[int]], tuple[subprocess.Popen, Path]]
) -> None:
    """Run a process for each of `names`, as many at once as there are cores for; one that fails is told of and left.

    Args:
        cores: of each process; 0 takes all of them.
        start: begins the process of a name on the cores that it is given; gives it, and where its log is.
    """
    waiting, free = list(names), sorted(os.sched_getaffinity(0))
    each = min(cores, len(free)) or len(free)
    lanes = [free[i : i + each] for i in range(0, len(free) - each + 1, each)]
    busy: dict[str, tuple[subprocess.Popen, Path, list[int]]] = {}
    while waiting or busy:
        while waiting and lanes:
            name, lane = waiting.pop(0), lanes.pop(0)
            print(f"{name} on {len(lane)} cores", flush=True)
            busy[name] = (*start(name, lane), lane)
        time.sleep(0.5)
        for name, (child, log, lane) in list(busy.items()):
            if child.poll() is not None:
                lanes.append(lane)
                del busy[name]
            if child.poll():
                tail = log.read_text().strip().splitlines()[-1:]
                print(f"  {name} was not measured: {' '.join(tail)} (log: {log})", flush=True)


def child(module: str, words: list[str], cores: list[int], log: Path) -> subprocess.Popen:
    """`python -m MODULE WORDS` on `cores` alone, offline, with the benchmarks' own cache; what it says is in `log`."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "MAQUETTE_CACHE": str(WORK / "cache"), "HF_HUB_OFFLINE": "1"}
    env["OMP_NUM_THREADS"] = str(len(cores))
    argv = ["taskset", "-c", ",".join(map(str, cores)), sys.executable, "-m", module, *words]
    with open(log, "w") as file:
        return subprocess.Popen(argv, cwd=ROOT, env=env, stdout=file, stderr=file)


def fresh(folder: Path, terms: dict[str, Any], again: bool) -> None:
    """Empty `folder` unless what it holds was begun on the same terms, or if it is to be done `again`."""
    if again or read_json(folder / "terms.json") != terms:
        shutil.rmtree(folder, ignore_errors=True)
        write_json(folder / "terms.json", terms)


def machine() -> dict[str, Any]:
    """What ran, and beside what."""
    import platform

    import torch

    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": model[0].partition(":")[2].strip() if model else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
        "when": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
    }


def write_json(path: Path, tree: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree, indent=1) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else {}


def put_between(page: Path, name: str, text: str) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- /NAME -->` in a page."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = page.read_text().partition(start)
    after = rest.partition(end)[2]
    page.write_text(f"{before}{start}\n{text.strip()}\n{end}{after}")
