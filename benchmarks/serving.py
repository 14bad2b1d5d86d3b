"""Serving: many clients at once, over HTTP and without it, interleaved on one machine.

    python -m benchmarks.serving                     all loads, 3 rounds of 10 seconds a contestant
    python -m benchmarks.serving text --seconds 5    some loads, shorter
    python -m benchmarks.serving --table             write the table of docs/serve.md, both languages, from the last

Clients ask again as soon as they are answered. `text` is 16 of them with 64 new tokens each from a GPT of 10 M
parameters; its peer is what a tutorial builds, a FastAPI route around transformers' `generate`. `gan` and `diffusion`
are 64 clients with one picture each from untrained recipes, DCGAN at the width and size of its paper. `pipeline` draws
full batches for nobody, `engine` is the server's engine in its own process without HTTP, `maquette serve` the command.
Where the latter cannot be started, that is said.
"""

import argparse
import asyncio
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS, ROOT, WORK, machine, put_between, read_json, write_json

FILE = RESULTS / "serving.json"
PROMPT, NEW = "The quick brown ", 64
LOADS = {
    "text": ("tokens", 16, ["engine", "maquette serve", "naive FastAPI and generate"]),
    "gan": ("pictures", 64, ["pipeline", "engine", "maquette serve"]),
    "diffusion": ("pictures", 64, ["pipeline", "engine", "maquette serve"]),
}
"""The unit, how many clients, and who takes turns."""
PAPER = ("medium.size=64", "medium.channels=3", "model.generator.width=64", "model.critic.width=64")
RECIPES = {"gan": ("dcgan", PAPER), "diffusion": ("diffusion", ())}
"""DCGAN as in the row `dcgan` of speed.py."""
PATIENCE = 180
"""Seconds that a server may take until it answers."""


def bundle(load: str) -> Path:
    """An untrained model for a load: its weights do not change how long it takes."""
    import torch

    from maquette.bundle import save_bundle

    folder = WORK / "serving" / load
    if folder.exists():
        return folder
    torch.manual_seed(0)
    if load == "text":
        from benchmarks.gpt2 import TEN
        from maquette.media import text
        from maquette.models import gpt
        from maquette.nets import transformer

        medium = text.Config(tokenizer="byte", length=TEN.context)
        net = transformer.Config(
            width=TEN.width, depth=TEN.layers, heads=TEN.heads, positions="learned", norm="layer", mlp="gelu",
            bias=True, qk_norm=False,
        )  # fmt: skip
        config = gpt.Config(net=net)
        model = config.build(medium.build().space)
        with torch.no_grad():
            for weight in model.net.parameters():
                weight.add_(0.02 * torch.randn_like(weight))
            model.table.weight[0] = 0  # an end is never the likeliest: every text has all its tokens
    else:
        from maquette.verbs.recipes import read

        recipe = read(*RECIPES[load])
        medium, config = recipe.medium, recipe.model
        model = config.build(medium.build().space)
    save_bundle(folder / "bundle", medium, config, [], model.state_dict(), {"name": load})
    return folder


# -- without HTTP -----------------------------------------------------------------------------------------------------


def inside(load: str, contestant: str) -> None:
    """A contestant in this process: for each line with a number of seconds, one with what was done."""
    out = os.fdopen(os.dup(1), "w")  # what a library prints must not mix with the answers
    os.dup2(2, 1)
    work = _pipeline(load) if contestant == "pipeline" else _engine(load)
    work(0.5)
    print(json.dumps({}), file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(work(float(line))), file=out, flush=True)


def _pipeline(load: str) -> Callable[[float], dict[str, Any]]:
    from maquette.pipeline import Request
    from maquette.pipeline import load as load_pipeline

    pipeline = load_pipeline(bundle(load), "cpu")

    def work(seconds: float) -> dict[str, Any]:
        began, done, taken = time.perf_counter(), 0, []
        while (now := time.perf_counter()) - began < seconds:
            done += len(pipeline.generate(Request(n=pipeline.batch, seed=done)))
            taken.append(time.perf_counter() - now)
        return {"units": done, "wall": time.perf_counter() - began, "taken": taken}

    return work


def _engine(load: str) -> Callable[[float], dict[str, Any]]:
    from maquette.pipeline import Request
    from maquette.server.engine import Asked, Engine, Made

    _, clients, _ = LOADS[load]
    loop, engine = asyncio.new_event_loop(), Engine([bundle(load)], device="cpu")
    loop.run_until_complete(engine.start())

    async def client(number: int, until: float, taken: list[float]) -> int:
        done = asked = 0
        while (now := time.perf_counter()) < until:
            asked += 1
            async for event in engine.make(load, Asked(request=_request(Request, load, number + clients * asked))):
                done += isinstance(event, Made) and (len(event.said.tokens) if event.said else 1)
            taken.append(time.perf_counter() - now)
        return done

    async def all_of_them(seconds: float) -> dict[str, Any]:
        began, taken = time.perf_counter(), []
        until = began + seconds
        units = sum(await asyncio.gather(*(client(number, until, taken) for number in range(clients))))
        return {"units": units, "wall": time.perf_counter() - began, "taken": taken}

    return lambda seconds: loop.run_until_complete(all_of_them(seconds))


def _request(request: Any, load: str, seed: int) -> Any:
    from maquette.core.types import Sampling

    if load == "text":
        return request(seed=seed, prompt=PROMPT, max_tokens=NEW, sampling=Sampling(top_k=1))
    return request(seed=seed)


# -- over HTTP --------------------------------------------------------------------------------------------------------


def naive(port: int) -> None:
    """What is written first: a route that calls `generate`, one text at a time for each of the server's threads."""
    import torch
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    from benchmarks.gpt2 import TEN, _gpt2

    class Body(BaseModel):
        prompt: str
        max_tokens: int

    app, model = FastAPI(), _gpt2(TEN)

    @app.post("/v1/completions")
    def complete(body: Body) -> dict[str, Any]:
        known = torch.tensor([[ord(letter) % TEN.vocab for letter in body.prompt]])
        with torch.inference_mode():
            made = model.generate(
                known, attention_mask=torch.ones_like(known), max_new_tokens=body.max_tokens,
                min_new_tokens=body.max_tokens, do_sample=False,
            )[0, known.shape[1] :]  # fmt: skip
        return {"choices": [{"text": str(made.tolist())}], "usage": {"completion_tokens": len(made)}}

    uvicorn.run(app, port=port, log_level="error")


@dataclass
class Contestant:
    """One that takes turns, in a process of its own."""

    load: str
    name: str
    rounds: list[dict[str, float]] = field(default_factory=list)
    failed: str = ""

    def __post_init__(self) -> None:
        self.port = _free_port()
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115 (of stderr: a pipe nobody reads would stop it)
        self.folder = tempfile.TemporaryDirectory()
        commands = {
            "maquette serve": [
                "maquette", "serve", str(bundle(self.load)), "--port", str(self.port), "--device", "cpu",
                "--data-folder", self.folder.name, "--rate", "1000000", "--queue", "256",
            ],
            "naive FastAPI and generate": ["benchmarks.serving", "--naive", str(self.port)],
        }  # fmt: skip
        command = commands.get(self.name, ["benchmarks.serving", "--inside", self.load, self.name])
        env = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "MAQUETTE_CACHE": str(WORK / "cache")}
        self.child = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, env=env, text=True, stdin=subprocess.PIPE,
            stdout=self.said if self.name in commands else subprocess.PIPE, stderr=self.said,
        )  # fmt: skip
        self.remote = self.name in commands
        try:
            self._ask_until_it_answers() if self.remote else self._answer()
        except (OSError, RuntimeError, ValueError) as bad:
            self.failed = str(bad)

    def turn(self, seconds: float) -> None:
        if self.failed:
            return
        if self.remote:
            found = self._clients(seconds)
        else:
            assert self.child.stdin is not None
            print(seconds, file=self.child.stdin, flush=True)
            found = self._answer()
        taken = sorted(found["taken"]) or [0.0]
        self.rounds.append(
            {
                "rate": found["units"] / found["wall"],
                "p50": statistics.median(taken),
                "p95": taken[min(len(taken) - 1, int(0.95 * len(taken)))],
            }
        )

    def close(self) -> None:
        self.child.terminate()
        self.child.wait()
        for end in (self.child.stdin, self.child.stdout, self.said):
            if end is not None:
                end.close()
        self.folder.cleanup()

    def to_tree(self) -> dict[str, Any]:
        if self.failed or not self.rounds:
            return {"failed": self.failed or "no rounds"}
        return {key: statistics.median(r[key] for r in self.rounds) for key in ("rate", "p50", "p95")} | {
            "rounds": self.rounds
        }

    def _answer(self) -> dict[str, Any]:
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        if not line:
            raise RuntimeError(self._last_words())
        return json.loads(line)

    def _last_words(self) -> str:
        self.child.wait()
        self.said.seek(0)
        return (self.said.read().strip().splitlines() or ["it ended"])[-1]

    def _ask_until_it_answers(self) -> None:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
                _post(connection, self.load, 0)
                return
            except ConnectionError:
                if self.child.poll() is not None:
                    raise RuntimeError(self._last_words()) from None
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)

    def _clients(self, seconds: float) -> dict[str, Any]:
        """Each a thread with a connection that stays open."""
        _, clients, _ = LOADS[self.load]
        taken: list[float] = []
        units = [0] * clients
        began = time.perf_counter()

        def client(number: int) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
            asked = 0
            while (now := time.perf_counter()) - began < seconds:
                asked += 1
                units[number] += _post(connection, self.load, number + clients * asked)
                taken.append(time.perf_counter() - now)

        threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {"units": sum(units), "wall": time.perf_counter() - began, "taken": taken}


def _post(connection: http.client.HTTPConnection, load: str, seed: int) -> int:
    """One request; how many tokens or pictures came back. Raises ValueError when it was refused."""
    if load == "text":
        path, body = "/v1/completions", {"prompt": PROMPT, "max_tokens": NEW, "temperature": 0}
    else:
        path, body = "/v1/images/generations", {"prompt": "", "response_format": "b64_json"}
    sent = json.dumps(body | {"model": load, "n": 1, "seed": seed})
    connection.request("POST", path, sent, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    said = answer.read()
    if answer.status != 200:
        raise ValueError(f"{answer.status}: {said[:200]!r}")
    tree = json.loads(said)
    return tree["usage"]["completion_tokens"] if load == "text" else len(tree["data"])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# -- all of it --------------------------------------------------------------------------------------------------------


def measure(load: str, rounds: int, seconds: float) -> dict[str, Any]:
    unit, clients, names = LOADS[load]
    contestants = [Contestant(load, name) for name in names]
    for number in range(rounds):
        for contestant in contestants if number % 2 == 0 else reversed(contestants):
            contestant.turn(seconds)
    for contestant in contestants:
        contestant.close()
    found = {contestant.name: contestant.to_tree() for contestant in contestants}
    return {"unit": unit, "clients": clients, "machine": machine(), "contestants": found}


def show(load: str, tree: dict[str, Any]) -> None:
    print(f"\n{load}, {tree['clients']} clients  (load {tree['machine']['load']:.1f})")
    for name, found in tree["contestants"].items():
        if "failed" in found:
            print(f"  {name:28} not measured: {found['failed']}")
        else:
            times = f"p50 {found['p50']:.2f} s, p95 {found['p95']:.2f} s"
            print(f"  {name:28} {found['rate']:>10,.1f} {tree['unit']}/s  {times}")


def table(results: dict[str, Any]) -> str:
    lines = ["| load | contestant | per second | of the engine's | p50 | p95 |", "|---|---|---|---|---|---|"]
    for load, tree in results.items():
        whole = tree["contestants"].get("engine", {}).get("rate")
        for name, found in tree["contestants"].items():
            title = f"{load}, {tree['clients']} clients"
            if "failed" in found:
                lines.append(f"| {title} | {name} | not measured | | | |")
                continue
            share = f"{found['rate'] / whole:.2f}" if whole else ""
            cells = [title, name, f"{found['rate']:,.1f} {tree['unit']}", share]
            lines.append("| " + " | ".join([*cells, f"{found['p50']:.2f} s", f"{found['p95']:.2f} s"]) + " |")
    about = (tree["machine"] for tree in results.values())
    when = {f"{m['processor']}, {m['cores']} cores, torch {m['torch']}, {m['when'].split()[0]}" for m in about}
    return "\n".join([*lines, "", *(f"Measured on {w}." for w in sorted(when))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loads", nargs="*", metavar="LOAD", help=f"of {', '.join(LOADS)}; default: all")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contestant")
    parser.add_argument("--seconds", type=float, default=10, help="of each turn")
    parser.add_argument(
        "--table", action="store_true", help="only write docs/serve.md and serve.zh.md from the results"
    )
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--naive", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if unknown := set(asked.loads) - set(LOADS):
        parser.error(f"no load {', '.join(sorted(unknown))}; there are {', '.join(LOADS)}")
    if asked.inside:
        inside(*asked.inside)
    elif asked.naive:
        naive(asked.naive)
    elif asked.table:
        for page in ("serve.md", "serve.zh.md"):
            put_between(ROOT / "docs" / page, "serving", table(read_json(FILE)))
    else:
        for load in asked.loads or LOADS:
            tree = measure(load, asked.rounds, asked.seconds)
            show(load, tree)
            write_json(FILE, read_json(FILE) | {load: tree})


if __name__ == "__main__":
    main()
