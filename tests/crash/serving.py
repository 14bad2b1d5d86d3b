"""Kill a server with its queue at random moments, while a client keeps asking; count what is lost, doubled or changed.

    python -m tests.crash.serving                       50 kills of a supervisor with training jobs
    python -m tests.crash.serving --http --kills 10     the whole of `maquette serve`, asked over HTTP
    python -m tests.crash.serving --fake --kills 100    workers without torch: more kills in less time

Every job that was acknowledged must end once, in the very weights that the same training reaches undisturbed. The
client names each request by an idempotency key and asks again until it has an answer, as clients do.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

from maquette.core.errors import MaquetteError
from maquette.server import plans
from maquette.server.jobs import Jobs
from maquette.server.states import Policy
from maquette.server.store import Store
from tests.server import fake

ROOT = Path(__file__).parents[2]
SEEDS = 3
RECIPE = """\
# Points, in seconds.
data: {source: ring8}
medium: {kind: points}
model: {kind: vae, encoder: {kind: mlp, width: 16}, decoder: {kind: mlp, width: 16}, latent: 2}
train: {budget: STEPSsteps, batch: 16, samples: 8, sample_every: 0.5, validate_every: 0.5, checkpoint_every: 0.02}
"""
POLICY = Policy(unfinished=100_000)


class Server:
    """A process that can be killed and begun again."""

    def __init__(self, folder: Path, asked: argparse.Namespace):
        self.folder, self.http = folder, asked.http
        url = asked.url or f"sqlite:///{folder}/server.db"
        if asked.http:
            command = ["maquette", "serve", str(folder / "served"), "--port", "0", "--quiet", "--device", "cpu"]
            command += ["--data-folder", str(folder), "--database", url, "--workers", str(asked.workers), "--rate", "0"]
        else:
            command = ["tests.server.life", str(folder), "--url", url, "--workers", str(asked.workers)]
            command += ["--fake"] if asked.fake else []
        self._command = [sys.executable, "-m", *command]
        self.process: subprocess.Popen[str] | None = None
        self.address = ""

    def begin(self) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        pipe = "stderr" if self.http else "stdout"
        self.process = subprocess.Popen(self._command, cwd=ROOT, env=environment, text=True, **{pipe: subprocess.PIPE})
        for line in getattr(self.process, pipe):
            if line.startswith(("up", "http://")):
                self.address = line.split("/v1")[0]
                return
        raise RuntimeError(f"the server did not come up: {self.process.wait()}")

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


class Client(threading.Thread):
    """Asks for `count` jobs over the time of the kills, each until it is acknowledged, some of them twice."""

    def __init__(self, server: Server, jobs: Jobs, count: int, pause: float, dice: random.Random):
        super().__init__(daemon=True)
        self.server, self.jobs, self.count, self.pause, self.dice = server, jobs, count, pause, dice
        self.acked: dict[str, str] = {}
        """Idempotency key -> id of the job."""
        self.doubled: list[str] = []

    def run(self) -> None:
        for number in range(self.count):
            key = f"request-{number}"
            for _ in range(1 + (self.dice.random() < 0.3)):
                id = self._ask(key, number % SEEDS)
                if self.acked.setdefault(key, id) != id:
                    self.doubled.append(key)
            time.sleep(self.pause * self.dice.random())

    def _ask(self, key: str, seed: int) -> str:
        while True:
            with contextlib.suppress(MaquetteError, OSError, ValueError):
                return self._once(key, seed)
            time.sleep(0.05)

    def _once(self, key: str, seed: int) -> str:
        if not self.server.http:
            spec = {"word": "recipes/tiny.yaml", "stem": "tiny", "model": "tiny", "seed": seed}
            return self.jobs.put("train", spec, key="a", idempotency=key).id
        data = json.dumps({"model": "tiny", "seed": seed}).encode()
        head = {"content-type": "application/json", "idempotency-key": key}
        request = urllib.request.Request(f"{self.server.address}/v1/fine_tuning/jobs", data, head)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)["id"]


def weights(run: Path) -> str:
    """SHA-256 of what a finished run has learnt: its bundle and all of its last checkpoint."""
    last = max((run / "checkpoints").glob("step-????????"))
    paths = [run / "bundle" / "model.safetensors", *sorted(last.glob("*.safetensors"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def reference(folder: Path, seed: int) -> tuple[str, float]:
    """The weights of the same training undisturbed, and its seconds."""
    began, out = time.monotonic(), folder / f"reference-{seed}"
    words = ["train", "recipes/tiny.yaml", f"--out={out}", f"--seed={seed}", "--device=auto", "--quiet"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, "-m", "maquette", *words], cwd=folder, env=environment, check=True, stdout=-3, stderr=-3
    )
    return weights(out), time.monotonic() - began


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.serving", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--http", action="store_true")
    parser.add_argument("--fake", action="store_true")
    parser.add_argument("--steps", type=int, default=1000, help="of each training")
    parser.add_argument("--url", help="a database that is empty, instead of SQLite")
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="maquette-crash-") as name:
        return trial(Path(name), asked)


def trial(folder: Path, asked: argparse.Namespace) -> int:
    dice = random.Random(asked.seed)
    (folder / "recipes").mkdir()
    (folder / "recipes" / "tiny.yaml").write_text(RECIPE.replace("STEPS", str(asked.steps)))
    known, seconds = {}, 0.3
    if not asked.fake:
        taken = {seed: reference(folder, seed) for seed in range(min(SEEDS, asked.jobs))}
        known = {seed: digest for seed, (digest, _) in taken.items()}
        seconds = min(seconds for _, seconds in taken.values())
        (folder / "reference-0").rename(folder / "served")
    server = Server(folder, asked)
    server.begin()
    jobs = Jobs(Store(asked.url or f"sqlite:///{folder}/server.db", folder, patience=30.0), POLICY)
    client = Client(server, jobs, asked.jobs, 1.6 * seconds * asked.kills / asked.jobs, dice)
    client.start()
    running = 0
    for _ in range(asked.kills):
        time.sleep(dice.uniform(0.1, 1.5) * seconds)
        running += len(jobs.running())
        server.kill()
        server.begin()
    client.join()
    while unfinished := [job for job in jobs.list(None, limit=100_000) if not job.over]:
        time.sleep(0.2)
        assert server.process is not None and server.process.poll() is None, unfinished
    server.kill()
    return verdict(folder, asked, jobs, client, known, running)


def verdict(
    folder: Path, asked: argparse.Namespace, jobs: Jobs, client: Client, known: dict[int, str], running: int
) -> int:
    kept = {job.id: job for job in jobs.list(None, limit=100_000)}
    lost = [id for id in client.acked.values() if id not in kept]
    twice, changed, states = [], [], Counter(job.state for job in kept.values())
    for job in kept.values():
        told: list[Any] = [e.data["state"] for e in jobs.events(None, job.id, limit=100_000) if e.kind == "state"]
        twice += [job.id] if told.count("succeeded") != 1 else []
        run = folder / "models" / plans.run_name(job.id, job.spec)
        good = job.state == "succeeded"
        if good and asked.fake:
            good = json.loads((run / "weights").read_text()) == fake.weights(run.name)
        elif good:
            good = weights(run) == known[job.spec["seed"]]
        if not good:
            changed.append(job.id)
            print(f"{job.id}: {job.state} after {job.attempt} attempts, {job.code} {job.reason}; {told}")
    attempts = sum(job.attempt for job in kept.values())
    print(
        f"{asked.kills} kills (seed {asked.seed}), {running} jobs running when they came; {len(kept)} jobs, "
        f"{attempts} attempts, {dict(states)}; lost: {len(lost)}, made twice: {len(client.doubled)}, "
        f"not completed once: {len(twice)}, other weights: {len(changed)}"
    )
    wrong = lost + client.doubled + twice + changed
    jobs.store.close()
    return 1 if wrong or states["succeeded"] != asked.jobs else 0


if __name__ == "__main__":
    sys.exit(main())
