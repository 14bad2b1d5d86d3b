"""Clients that go, servers that stop, and more requests than there is room for: everyone gets an answer, work ends."""

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import openai
import pytest

from maquette.core.exit import Mark
from maquette.request import Said
from maquette.server.batching import Asked, Made, Partial, Used, Words
from maquette.server.engine import Engine
from tests.server.served import painter, talker
from tests.server.web import serving


class Endless(Engine):
    """Says a letter every 10 ms: as many as are asked for, and without end where more than 900 are."""

    def __init__(self, folder: Path):
        super().__init__([talker(folder / "writer")], device="cpu", compiled=False)
        self.begun, self.ended, self.said = 0, 0, 0

    async def make(self, model: str, asked: Asked) -> AsyncIterator[Words | Partial | Made | Used]:
        self.begun += 1
        most = asked.request.max_tokens or 0
        text = str(asked.request.prompt[0] if isinstance(asked.request.prompt, tuple) else "")
        try:
            while len(text) < most + 1 or most > 900:
                await asyncio.sleep(0.01)
                text, self.said = text + "x", self.said + 1
                if asked.stream:
                    yield Words(0, text[-1] if len(text) > 2 else text)
            said = Said(text, ("x",) * most, (0.0,) * most, (), "length", np.zeros(1))
            yield Made(0, np.zeros(1), said, Mark("0" * 64, 0))
            yield Used(1, most)
        finally:
            self.ended += 1


def body(tokens: int, **more: Any) -> dict[str, Any]:
    return {"model": "writer", "prompt": "春", "max_tokens": tokens} | more


def until(what: Any, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not what() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(what())


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_work_ends_when_its_client_goes(tmp_path: Path, stream: bool) -> None:
    engine = Endless(tmp_path)
    with serving(tmp_path, engine) as (address, app):
        sent = json.dumps(body(999, stream=stream)).encode()
        head = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        head += f"content-length: {len(sent)}"
        for number in range(1, 6):
            with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as link:
                link.sendall(head.encode() + b"\r\n\r\n" + sent)
                assert until(lambda number=number: engine.begun == number)
            assert until(lambda number=number: engine.ended == number), "the work went on for nobody"
        said = engine.said
        time.sleep(0.1)
        assert engine.said == said
        text = httpx2.get(f"{address}/metrics").text
        assert re.search(r'route="/v1/completions",status="499"} 5.0', text)


def test_a_stopping_server_lets_what_runs_finish_and_ends_the_rest(tmp_path: Path) -> None:
    engine = Endless(tmp_path)
    answers: dict[str, Any] = {}
    with serving(tmp_path, engine, drain_seconds=2.0) as (address, app):
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=30)

        def ask(name: str, tokens: int, stream: bool) -> None:
            try:
                told = client.completions.create(**body(tokens, stream=stream))
                answers[name] = "".join(chunk.choices[0].text for chunk in told) if stream else told.choices[0].text
            except openai.APIError as bad:
                answers[name] = bad

        asked = [("short", 60, False), ("short stream", 60, True), ("long", 999, False), ("long stream", 999, True)]
        threads = [threading.Thread(target=ask, args=one) for one in asked]
        for thread in threads:
            thread.start()
        assert until(lambda: engine.begun == 4)
        kept = httpx2.Client(base_url=address)
        assert kept.get("/readyz").status_code == 200
        app.state.server.should_exit = True
        assert until(lambda: app.state.draining)
        for thread in threads:
            thread.join(20)
        kept.close()
        client.close()
    assert answers["short"] == answers["short stream"] == "x" * 60
    assert isinstance(answers["long"], openai.InternalServerError) and answers["long"].status_code == 503
    assert answers["long"].response.headers["retry-after"] == "10"
    assert isinstance(answers["long stream"], openai.APIError) and answers["long stream"].code == "server_stopping"
    assert engine.ended == 4


def test_a_request_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    engine = Endless(tmp_path)
    with serving(tmp_path, engine, request_seconds=0.5) as (address, _):
        told = httpx2.post(f"{address}/v1/completions", json=body(999))
        assert told.status_code == 408 and told.json()["error"]["code"] == "timeout"
        streamed = httpx2.post(f"{address}/v1/completions", json=body(999, stream=True)).text
        assert '"code":"timeout"' in streamed and "[DONE]" not in streamed
        assert until(lambda: engine.ended == 2)


def test_a_flood_is_answered_to_the_last(tmp_path: Path) -> None:
    """More clients than there is room for: each gets its picture or is told when to come again."""
    engine = Engine([painter(tmp_path / "painter", "diffusion")], device="cpu", queue=4)
    with serving(tmp_path, engine, requests=24) as (address, _):
        sent = {"model": "painter", "prompt": "", "steps": 30, "n": 4}

        def ask(_: int) -> httpx2.Response:
            return httpx2.post(f"{address}/v1/images/generations", json=sent, timeout=60)

        with ThreadPoolExecutor(48) as clients:
            told = list(clients.map(ask, range(96)))
        statuses = {one.status_code for one in told}
        assert statuses == {200, 429}
        for one in told:
            if one.status_code == 429:
                assert int(one.headers["retry-after"]) >= 1 and one.json()["error"]["code"] == "server_busy"
        assert httpx2.post(f"{address}/v1/images/generations", json=sent, timeout=60).status_code == 200


def test_the_command_listens_and_ends(tmp_path: Path) -> None:
    """From the shell: it says where it listens, needs the key that it made, and SIGTERM ends it with 0."""
    run = painter(tmp_path / "painter", "gan")
    key_file = tmp_path / "key"
    words = [
        "serve",
        str(run),
        "--port",
        "0",
        "--device",
        "cpu",
        "--data-folder",
        str(tmp_path / "data"),
        "--workers",
        "0",
    ]
    command = [sys.executable, "-m", "maquette", *words, "--key-file", str(key_file)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        said = []
        for line in lines:
            said.append(line)
            if match := re.search(r"(http://127\.0\.0\.1:\d+)/v1 serves painter; keys are needed", line):
                break
        else:
            pytest.fail("".join(said))
        key = key_file.read_text().strip()
        assert key_file.stat().st_mode & 0o777 == 0o600 and key in "".join(said), "shown this once"
        assert until(lambda: _up(match[1]))
        assert httpx2.get(f"{match[1]}/v1/models").status_code == 401
        told = httpx2.get(f"{match[1]}/v1/models", headers={"authorization": f"Bearer {key}"})
        assert [one["id"] for one in told.json()["data"]] == ["painter"]
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=40)
        assert process.returncode == 0 and out == "", err
        assert key not in err and "Traceback" not in err and err.count("/v1/models 200") == 1
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _up(address: str) -> bool:
    try:
        return httpx2.get(f"{address}/healthz").status_code == 200
    except httpx2.TransportError:
        return False
