"""A server's life without HTTP: the queue and its supervisor, until it is killed.

python -m tests.server.life FOLDER [--url URL] [--workers N] [--fake] [--until-done]
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from maquette.server.jobs import Jobs
from maquette.server.states import Policy
from maquette.server.store import Store
from maquette.server.supervisor import Supervisor

ROOT = Path(__file__).parents[2]
FAKE = (sys.executable, "-m", "tests.server.fake")
POLICY = Policy(backoff=0.05, busy=0.1, running=8, unfinished=1000)


def supervisor(jobs: Jobs, fake: bool = True, **more: object) -> Supervisor:
    settings: dict = {"workers": 2, "tick": 0.03, "grace": 3.0} | ({"command": FAKE} if fake else {}) | more
    return Supervisor(jobs, **settings)


def begin(one: Supervisor) -> Supervisor:
    one.start(lambda name: one.folder / "models" / name, lambda folder, job: folder.name)
    return one


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--url")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--fake", action="store_true")
    parser.add_argument("--until-done", action="store_true")
    asked = parser.parse_args(argv)
    jobs = Jobs(Store(asked.url or f"sqlite:///{asked.folder}/server.db", asked.folder), POLICY)
    one = begin(supervisor(jobs, asked.fake, workers=asked.workers))
    print("up", flush=True)
    while not asked.until_done or any(not job.over for job in jobs.list(None, limit=10_000)):
        time.sleep(0.05)
    one.close(5.0)


if __name__ == "__main__":
    main()
