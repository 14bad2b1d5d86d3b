"""`maquette serve` as the command begins it, in this process: its keys, models, database and audit log."""

import asyncio
import contextlib
import queue
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from maquette.cli.main import main
from maquette.core import devices
from maquette.server import guard, supervisor
from maquette.server.engine import Engine
from maquette.server.jobs import Jobs
from maquette.verbs import keys
from maquette.verbs.serve import serve
from tests.server.served import painter


@contextlib.contextmanager
def served(data: Path, *sources: Path, **more: Any) -> Iterator[tuple[str, list[str]]]:
    """The address of a server as the command begins it, in this process, and what it has said."""
    said: queue.Queue[str] = queue.Queue()
    made, told = list[guard.Server](), list[str]()

    def server(*parts: Any) -> guard.Server:
        made.append(real(*parts))
        return made[0]

    real = guard.server
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "server", server)
        patch.setattr(sys.modules[serve.__module__], "_log", lambda quiet: None)  # loggers are the whole process's
        options = {"port": 0, "data_folder": str(data), "workers": 0, "device": "cpu", "quiet": True} | more
        thread = threading.Thread(target=serve, args=(sources,), kwargs=options | {"say": said.put})
        thread.start()
        try:
            while not told or not told[-1].startswith("http://"):
                told.append(said.get(timeout=60))
            address = told[-1].partition("/v1")[0]
            while not made[0].started and thread.is_alive():
                thread.join(0.01)
            while not said.empty():
                told.append(said.get())
            yield address, told
        finally:
            if made:
                made[0].should_exit = True
            thread.join(60)
    assert not thread.is_alive()


@pytest.mark.parametrize("void", ["expired", "revoked"])
def test_keys_that_are_void_leave_the_door_shut(tmp_path: Path, void: str) -> None:
    """Also behind a proxy, which passes a name on from this machine."""
    store = keys.opened(str(tmp_path), None)
    _, row = store.add_key("old", ("admin",), expires=1.0 if void == "expired" else None)
    if void == "revoked":
        store.revoke_key(row.id)
    store.close()
    with served(tmp_path, names=("api.example.org",)) as (address, said), httpx2.Client(base_url=address) as client:
        assert "keys are needed" in said[0] and "maquette keys create" in said[1]
        for host in ("localhost", "api.example.org"):
            assert client.get("/metrics", headers={"host": host}).status_code == 401
        secret, _ = keys.create("new", ("admin",), None, str(tmp_path))
        assert client.get("/metrics", headers={"authorization": f"Bearer {secret}"}).status_code == 200


def test_models_that_are_to_be_warm_are_loaded_before_it_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that cannot be loaded is told in the log, and keeps the others from nothing."""
    runs = [painter(tmp_path / name, "gan") for name in ("painter", "broken", "cold")]
    weights = runs[1] / "bundle" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    gate, real = threading.Event(), Engine.warm

    async def warm(self: Engine, model: str) -> None:
        while not gate.is_set():
            await asyncio.sleep(0.01)
        await real(self, model)

    monkeypatch.setattr(Engine, "warm", warm)
    with (
        served(tmp_path / "data", *runs, warm=("broken", "painter")) as (address, _),
        httpx2.Client(base_url=address) as client,
    ):
        cold = client.get("/readyz")
        assert (cold.status_code, cold.json()["error"]["code"]) == (503, "server_starting")
        assert int(cold.headers["retry-after"]) >= 1 and client.get("/healthz").status_code == 200
        gate.set()
        deadline = time.monotonic() + 60
        while client.get("/readyz").status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.02)
        figures = client.get("/metrics").text
    assert "maquette_engine_models_loaded 1.0" in figures and "maquette_engine_items_total 1.0" in figures
    assert "broken could not be loaded: MQ-5003" in caplog.text


def test_all_may_be_warm_and_none_that_there_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [painter(tmp_path / name, "gan") for name in ("painter", "drawer")]
    with served(tmp_path / "data", *runs, warm=("all",)) as (address, _), httpx2.Client(base_url=address) as client:
        deadline = time.monotonic() + 60
        while client.get("/readyz").status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert "maquette_engine_models_loaded 2.0" in client.get("/metrics").text
    assert main(["serve", str(runs[0]), "--data-folder", str(tmp_path / "data"), "--warm", "paintre"]) == 2
    assert "MQ-2160" in (said := capsys.readouterr().err) and "'painter'" in said


def test_half_of_the_memory_is_for_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no word about it the least recently used one makes room; --memory says otherwise."""
    runs = [painter(tmp_path / name, "gan") for name in ("painter", "drawer")]
    one = (runs[0] / "bundle" / "model.safetensors").stat().st_size
    monkeypatch.setattr(devices, "memory", lambda device: round(2 * 1.5 * one))
    for memory, evicted in ((None, 1), (1.0, 0)):
        with served(tmp_path / "data", *runs, memory=memory) as (address, _), httpx2.Client(base_url=address) as client:
            for name in ("painter", "drawer"):
                asked = client.post("/v1/images/generations", json={"model": name, "prompt": "", "seed": 1}, timeout=60)
                assert asked.status_code == 200, asked.text
            assert f"maquette_engine_evicted_total {evicted}.0" in client.get("/metrics").text


def test_without_a_key_this_machine_alone_is_let_in(tmp_path: Path) -> None:
    with served(tmp_path) as (address, said), httpx2.Client(base_url=address) as client:
        assert "no key is needed" in said[0] and client.get("/metrics").status_code == 200
        assert client.get("/metrics", headers={"host": "api.example.org"}).status_code == 403


def test_the_audit_log_is_read_by_the_operator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Keys leave lines when they are made and revoked, and so does who is refused; none holds a secret or a name."""
    data = ["--data-folder", str(tmp_path)]
    secrets, ids = [], []
    for name in ("laptop", "desk"):
        assert main(["keys", "create", name, *data]) == 0
        out, err = capsys.readouterr()
        secrets.append(out.strip())
        ids.append(err.split()[1].rstrip(","))
    with served(tmp_path) as (address, _):
        denied = httpx2.get(f"{address}/metrics", headers={"authorization": f"Bearer {secrets[0]}"})
        assert denied.status_code == 403
    for _ in range(2):
        assert main(["keys", "revoke", ids[0], *data]) == 0
    capsys.readouterr()

    def told(*words: str) -> list[list[str]]:
        assert main(["keys", "audit", *words, *data]) == 0
        out, _ = capsys.readouterr()
        assert not any(word in out for word in (*secrets, "laptop", "desk"))
        return [line.split()[2:] for line in out.splitlines()]

    request = denied.headers["x-request-id"]
    made = [["-", "200", "key.create", id] for id in ids]
    refused, revoked = [ids[0], "403", "denied", "/metrics", request], ["-", "200", "key.revoke", ids[0]]
    assert told() == [*made, refused, revoked], "what was revoked already is not revoked again"
    assert told(ids[0]) == [made[0], refused, revoked] and told(ids[1]) == [made[1]]
    assert told("--last", "2") == [refused, revoked]


def test_what_was_taken_on_is_there_after_a_restart(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over either database, as `--database` names it: a key, a file, a job that waits, and the lines about them."""
    real = supervisor.Supervisor

    def idle(jobs: Jobs, **more: Any) -> supervisor.Supervisor:
        more.update(workers=0)
        return real(jobs, **more)

    monkeypatch.setattr(supervisor, "Supervisor", idle)
    secret, row = keys.create("me", ("infer", "train"), None, str(tmp_path), database)
    keyed = {"headers": {"authorization": f"Bearer {secret}"}, "timeout": 60}
    once, text = {"idempotency-key": "once"}, b'{"text": "a b"}\n'
    with served(tmp_path, database=database, workers=1) as (address, said):
        assert "keys are needed" in said[0] and httpx2.get(f"{address}/v1/jobs").status_code == 401
        with httpx2.Client(base_url=f"{address}/v1", **keyed) as client:
            file = client.post("/files", files={"file": ("a.jsonl", text)}, data={"purpose": "fine-tune"}).json()
            asked = {"kind": "check", "file": file["id"]}
            job = client.post("/jobs", json=asked, headers=once).json()
    assert job["status"] == "queued", job
    with (
        served(tmp_path, database=database, workers=1) as (address, _),
        httpx2.Client(base_url=f"{address}/v1", **keyed) as client,
    ):
        assert client.get("/files").json()["data"] == [file]
        assert client.get(f"/files/{file['id']}/content").content == text
        assert client.get("/jobs").json()["data"] == [job] == [client.post("/jobs", json=asked, headers=once).json()]
        assert client.delete(f"/files/{file['id']}").status_code == 409, "the job needs it"
        assert client.post(f"/jobs/{job['id']}/cancel").json()["status"] == "cancelled"
        assert client.delete(f"/files/{file['id']}").status_code == 200
    done = [line.action for line in keys.audited(row.id, 100, str(tmp_path), database)]
    assert done == ["key.create", "file.create", "job.check", "job.check", "job.cancel", "file.delete"]
