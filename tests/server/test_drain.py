"""SIGTERM to the real server with streams and a training job in hand; cheaper parts of it: `test_ends`, `test_jobs`."""

import contextlib
import json
import signal
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from maquette.server import plans
from maquette.server.jobs import Jobs
from maquette.server.states import Job
from maquette.server.store import Store
from tests.crash.serving import RECIPE, Server, reference, weights
from tests.server.served import painter

STREAMS = 8
"""Each of 64 pictures in 1,000 steps: more than any machine draws while a server drains."""


def until(what: Callable[[], Any], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def healthy(address: str) -> bool:
    with contextlib.suppress(httpx2.TransportError):
        return httpx2.get(f"{address}/readyz").status_code == 200
    return False


def stopped(server: Server) -> None:
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)
    _, said = server.process.communicate(timeout=60)
    assert server.process.returncode == 0 and "Traceback" not in said, said


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    one = Server(tmp_path, Namespace(http=True, url=None, workers=1))
    yield one
    if one.process is not None and one.process.poll() is None:
        one.kill()


@pytest.mark.slow
def test_sigterm_ends_streams_with_a_word_and_training_at_a_checkpoint(tmp_path: Path, server: Server) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "tiny.yaml").write_text(RECIPE.replace("STEPS", "6000"))
    undisturbed, _ = reference(tmp_path, 0)
    painter(tmp_path / "served", "diffusion")
    server.begin()
    until(lambda: healthy(server.address))
    ends, begun = list[str](), threading.Event()

    def ask() -> None:
        body = {"model": "served", "prompt": "", "n": 64, "steps": 1000, "stream": True, "partial_images": 3}
        address = f"{server.address}/v1/images/generations"
        with httpx2.Client(timeout=90) as client, client.stream("POST", address, json=body) as told:
            if told.status_code != 200:  # it had not begun
                ends.append(json.loads(told.read())["error"]["code"])
                return
            last = ""
            for line in told.iter_lines():
                begun.set()
                last = line or last
            ends.append(json.loads(last.removeprefix("data: "))["error"]["code"] if '"error"' in last else last)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(STREAMS)]
    for thread in threads:
        thread.start()
    assert begun.wait(60)
    jobs = Jobs(Store(f"sqlite:///{tmp_path}/server.db", tmp_path, patience=30.0))
    taken = httpx2.post(f"{server.address}/v1/fine_tuning/jobs", json={"model": "tiny", "seed": 0}, timeout=60)
    id = taken.json()["id"]

    def job() -> Job:
        return jobs.get(None, id)

    until(lambda: job().reached > 0)
    stopped(server)
    for thread in threads:
        thread.join(60)
    assert len(ends) == STREAMS and "server_stopping" in ends
    assert all(end == "server_stopping" or "image_generation.completed" in end for end in ends), "cut without a word"
    run = tmp_path / "models" / plans.run_name(id, job().spec)
    assert (job().state, job().attempt, job().failures) == ("queued", 1, 0) and 0 < job().reached < 1
    assert any((run / "checkpoints").glob("step-????????")), "what it had learnt is there"

    server.begin()
    until(lambda: job().over)
    assert (job().state, job().attempt) == ("succeeded", 2)
    assert weights(run) == undisturbed, "as if nothing had happened"
    stopped(server)
    jobs.store.close()
