"""Several servers on one database: what one of them made, shared, deleted or revoked holds on the others at once."""

import asyncio
import contextlib
import gc
import shutil
import sys
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa
from fastapi import FastAPI

from maquette.core.errors import MaquetteError
from maquette.request import Request
from maquette.server import plans
from maquette.server.batching import Asked, Made
from maquette.server.engine import Engine, describe
from maquette.server.films import Film, Films
from maquette.server.jobs import Jobs
from maquette.server.keeping import Keeping, _unless_needed
from maquette.server.registry import Registry
from maquette.server.states import Job
from maquette.server.store import Store
from maquette.server.supervisor import Supervisor
from tests.server.life import ROOT
from tests.server.served import painter, running
from tests.server.test_media import bundle
from tests.server.web import serving

SPEC = {"stem": "tiny", "model": "dcgan", "word": "dcgan"}
PAINTS = (sys.executable, "-m", "tests.server.paints")


class One:
    """A server of several: its address, its application, and who asks it."""

    def __init__(self, address: str, app: FastAPI, keys: dict[str, tuple[str, str]]):
        self.address, self.app, self.keys = address, app, keys

    def ask(self, key: str, method: str, path: str, **more: Any) -> httpx2.Response:
        headers = {"authorization": f"Bearer {self.keys[key][0]}"}
        return httpx2.request(method, f"{self.address}{path}", headers=headers, timeout=60, **more)

    def listed(self, key: str) -> list[str]:
        return [one["id"] for one in self.ask(key, "GET", "/v1/models").json()["data"]]

    def paint(self, key: str, model: str) -> httpx2.Response:
        return self.ask(key, "POST", "/v1/images/generations", json={"model": model, "prompt": "", "seed": 1})

    def pipeline(self, model: str) -> Any:
        """The loaded weights of a model, without keeping them."""
        return weakref.ref(self.app.state.engine._models[model].pipeline)


class Houses:
    """One database, and servers on it."""

    def __init__(self, database: str, folder: Path):
        self.database, self.folder = database, folder
        self.store = Store(database, folder)
        self.jobs = Jobs(self.store)
        self.keys: dict[str, tuple[str, str]] = {}
        for name, scopes in (("a", "infer train"), ("b", "infer train")):
            secret, row = self.store.add_key(name, scopes.split())
            self.keys[name] = (secret, row.id)

    @contextlib.contextmanager
    def server(
        self, folder: Path | None = None, workers: int = 0, jobs: bool = True, models: Sequence[Path] = ()
    ) -> Iterator[One]:
        folder = folder or self.folder
        store = Store(self.database, folder)
        supervisor = Supervisor(Jobs(store), workers=workers, tick=0.05, command=PAINTS) if jobs else None
        engine = Engine(models, device="cpu", compiled=False)
        with serving(folder, engine, store=store, supervisor=supervisor, keys=True, rate=0) as (address, app):
            yield One(address, app, self.keys)

    def trained(self, key: str, folder: Path | None = None, **more: Any) -> tuple[Job, str]:
        """A training job that is done, and the name of its model."""
        job = self.jobs.put("train", SPEC | more, key=self.keys[key][1])
        assert self.jobs.claim("x") is not None
        name = plans.run_name(job.id, job.spec)
        painter((folder or self.folder) / "models" / name, "gan")
        done = self.jobs.end(job.id, 1, "done", result={"folder": f"models/{name}", "model": name})
        assert done is not None
        return done, name


@pytest.fixture
def houses(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Houses]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for the workers
    one = Houses(database, tmp_path)
    yield one
    one.store.close()


def wait(until: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


def test_a_model_is_shared_hidden_and_deleted_on_all_servers_at_once(houses: Houses) -> None:
    with houses.server() as first, houses.server() as second:
        assert first.listed("a") == second.listed("a") == []
        _, name = houses.trained("a")
        assert first.listed("a") == second.listed("a") == [name], "both were there before the model"
        assert second.listed("b") == [] and second.paint("b", name).status_code == 404
        assert first.ask("a", "POST", f"/v1/models/{name}", json={"shared": True}).json()["shared"] is True
        assert second.listed("b") == [name] and second.paint("b", name).status_code == 200
        assert first.ask("a", "POST", f"/v1/models/{name}", json={"shared": False}).json()["shared"] is False
        assert second.paint("b", name).status_code == 404 and second.listed("b") == []
        assert second.paint("a", name).status_code == 200, "its owner keeps it"
        weights = second.pipeline(name)
        assert weights() is not None
        assert first.ask("a", "DELETE", f"/v1/models/{name}").status_code == 200
        for path in ("", "/card", "/bundle"):
            assert second.ask("a", "GET", f"/v1/models/{name}{path}").status_code == 404
        assert second.paint("a", name).status_code == 404 and second.listed("a") == []
        gc.collect()
        assert weights() is None, "nor are its weights in memory any more"
        assert second.ask("a", "DELETE", f"/v1/models/{name}").status_code == 404


def test_a_job_is_asked_for_at_one_server_and_runs_on_another(houses: Houses) -> None:
    with houses.server(workers=1) as runs, houses.server() as asks:

        def trained() -> str:
            job = asks.ask(
                "a", "POST", "/v1/jobs", json={"kind": "train", "model": "dcgan", "dataset": "digits"}
            ).json()
            told = asks.ask("a", "GET", f"/v1/jobs/{job['id']}/events?stream=true").text
            assert told.rstrip().endswith("[DONE]") and "Done" in told, told
            return asks.ask("a", "GET", f"/v1/jobs/{job['id']}").json()["model"]

        name = trained()
        assert asks.listed("a") == runs.listed("a") == [name] and asks.listed("b") == []
        assert asks.paint("a", name).json()["data"] == runs.paint("a", name).json()["data"]
        # a job that names a model which the server that runs it has not been asked for since it was made
        other = trained()
        done = asks.ask("a", "POST", "/v1/jobs", json={"kind": "sample", "model": other, "n": 1}).json()["id"]
        wait(lambda: asks.ask("a", "GET", f"/v1/jobs/{done}").json()["status"] == "succeeded")
        assert f"sample models/{other}/bundle " in (houses.folder / "words.txt").read_text()
        # wishes reach the worker wherever it is
        slow = houses.jobs.put("train", SPEC | {"word": "slow"}, key=houses.keys["a"][1])
        wait(lambda: "train slow " in (houses.folder / "words.txt").read_text())
        asks.ask("a", "POST", f"/v1/jobs/{slow.id}/cancel")
        wait(lambda: asks.ask("a", "GET", f"/v1/jobs/{slow.id}").json()["status"] == "cancelled")
        assert asks.listed("a") == runs.listed("a") == [name, other], "and what was cancelled is no model"


def test_what_is_being_made_goes_on_when_its_model_is_gone(tmp_path: Path) -> None:
    engine = Engine([], device="cpu", compiled=False)
    served = replace(describe(painter(tmp_path / "gan", "gan")), job="job-1", owner="a")

    async def work(engine: Engine) -> int:
        engine.reconcile({"gan": served}, {})
        coming = engine.make("gan", Asked(request=Request(n=200)))  # more than are made before the first is fetched
        first = await anext(coming)
        engine.reconcile({}, {})
        with pytest.raises(MaquetteError, match="MQ-2160"):
            engine.find("gan")
        return sum([isinstance(event, Made) async for event in coming]) + isinstance(first, Made)

    assert running(engine, work) == 200


def test_a_key_that_is_revoked_opens_no_server(houses: Houses) -> None:
    with houses.server() as first, houses.server() as second:
        assert (
            first.ask("b", "GET", "/v1/models").status_code == second.ask("b", "GET", "/v1/models").status_code == 200
        )
        houses.store.revoke_key(houses.keys["b"][1])  # as `maquette keys revoke` does
        assert (
            first.ask("b", "GET", "/v1/models").status_code == second.ask("b", "GET", "/v1/models").status_code == 401
        )
        secret, row = houses.store.add_key("new", ("infer",))
        houses.keys["new"] = (secret, row.id)
        assert second.ask("new", "GET", "/v1/models").status_code == 200, "and a new one opens both"


def test_files_that_are_elsewhere_are_said_to_be(houses: Houses, tmp_path: Path) -> None:
    """A server with a data folder of its own: what it cannot read it neither lists nor denies."""
    apart = tmp_path / "apart"
    _, name = houses.trained("a")
    with houses.server(), houses.server(apart, jobs=False) as second:
        assert second.listed("a") == []
        for answer in (second.ask("a", "GET", f"/v1/models/{name}"), second.paint("a", name)):
            assert answer.status_code == 503 and answer.headers["retry-after"]
            assert answer.json()["error"]["code"] == "files_elsewhere"
            assert "data folder" in answer.json()["error"]["message"] and str(tmp_path) not in answer.text
        assert second.ask("b", "GET", f"/v1/models/{name}").status_code == 404, "to others it does not exist"
        shutil.copytree(houses.folder / "models", apart / "models")
        wait(lambda: second.listed("a") == [name], 10)
        assert second.paint("a", name).status_code == 200, "as soon as its files are there"


def test_jobs_run_in_one_data_folder_alone(houses: Houses, tmp_path: Path) -> None:
    Supervisor(houses.jobs, workers=1)
    Supervisor(houses.jobs, workers=1)
    apart = Store(houses.database, tmp_path / "apart")
    with pytest.raises(MaquetteError, match="MQ-5183") as refused:
        Supervisor(Jobs(apart), workers=1)
    Supervisor(Jobs(apart), workers=0)
    (tmp_path / "apart" / "folder.id").write_text(refused.value.values["id"])  # as the message says
    Supervisor(Jobs(apart), workers=1)
    apart.close()


def test_many_who_come_at_once_are_served_by_one_look(houses: Houses, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, real = [0], houses.store.models_mark

    def slowly() -> str:
        looks[0] += 1
        mark = real()
        time.sleep(0.3)
        return mark

    monkeypatch.setattr(houses.store, "models_mark", slowly)
    engine = Engine([], device="cpu", compiled=False)
    registry = Registry(houses.jobs, engine)
    (_, one), (job, other) = houses.trained("a"), houses.trained("a")

    async def whole() -> None:
        await registry.sync()
        early = asyncio.create_task(registry.sync())
        await asyncio.sleep(0.1)
        await asyncio.to_thread(houses.jobs.withdraw, job.id)  # which the look that is under way does not know
        await asyncio.gather(*(registry.sync() for _ in range(50)))
        assert [model.id for model in engine.served()] == [one]
        await early

    asyncio.run(whole())
    assert looks[0] == 3 and other != one

    def away() -> str:
        raise MaquetteError("MQ-5180", reason="it does not answer")

    monkeypatch.setattr(houses.store, "models_mark", away)
    with pytest.raises(MaquetteError, match="MQ-5180"):
        asyncio.run(registry.sync())


def test_a_deletion_that_was_cut_short_is_finished(houses: Houses) -> None:
    """A server that is killed when its model is withdrawn: nobody serves it, and the next look removes its files."""
    job, name = houses.trained("a")
    houses.jobs.withdraw(job.id)
    with houses.server() as one:
        assert one.listed("a") == []
        wait(lambda: not (houses.folder / "models" / name).exists())
        wait(lambda: one.ask("a", "GET", f"/v1/jobs/{job.id}").status_code == 404)


def test_a_model_is_withdrawn_or_a_job_needs_it_and_never_both(houses: Houses) -> None:
    job, name = houses.trained("a")
    needs = houses.jobs.put("sample", {"model": name}, key="a")
    with pytest.raises(MaquetteError, match="MQ-2181"):
        houses.jobs.withdraw(job.id)
    assert [one.id for one in houses.jobs.models()] == [job.id]
    houses.jobs.cancel("a", needs.id)
    houses.jobs.withdraw(job.id)
    assert houses.jobs.models() == []


def test_a_database_of_before_is_brought_up_to_date(houses: Houses) -> None:
    _, name = houses.trained("a")
    with houses.store.writing() as connection:
        for table in ("facts", "films"):
            connection.execute(sa.text(f"DROP TABLE {table}"))
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
    with houses.server() as one:
        assert one.listed("a") == [name]


def test_two_servers_may_delete_what_is_old_together(houses: Houses) -> None:
    """Whoever comes second finds nothing, and goes on with what is left."""
    jobs = [houses.trained("a")[0] for _ in range(4)]
    for job in jobs:
        (houses.folder / "jobs" / job.id).mkdir(parents=True)

    async def whole() -> None:
        both = []
        for _ in range(2):
            registry = Registry(houses.jobs, Engine([], device="cpu", compiled=False))
            await registry.sync()
            both.append(Keeping(houses.store, houses.jobs, registry, Films(houses.store, never, 8), 0.0))
        await asyncio.gather(*(keeping._discard(job) for job, keeping in zip(jobs, both * 2, strict=True)))
        with _unless_needed():
            await both[1]._discard(jobs[0])

    asyncio.run(whole())
    assert houses.jobs.models() == [] and not any((houses.folder / "models").iterdir())


def test_a_film_is_told_of_fetched_and_deleted_at_any_server(houses: Houses, tmp_path: Path) -> None:
    model = bundle(tmp_path / "given", "film")
    with houses.server(models=[model]) as makes, houses.server() as tells:
        sent = {"model": "film", "prompt": "", "seed": 9}

        def status(id: str) -> str:
            return tells.ask("a", "GET", f"/v1/videos/{id}").json()["status"]

        film = makes.ask("a", "POST", "/v1/videos", json=sent).json()["id"]
        wait(lambda: status(film) == "completed")
        assert [one["id"] for one in tells.ask("a", "GET", "/v1/videos").json()["data"]] == [film]
        assert tells.ask("b", "GET", f"/v1/videos/{film}").status_code == 404
        first = tells.ask("a", "GET", f"/v1/videos/{film}/content").content
        assert first[4:8] == b"ftyp"
        assert tells.ask("a", "DELETE", f"/v1/videos/{film}").status_code == 200
        assert makes.ask("a", "GET", f"/v1/videos/{film}").status_code == 404
        makes.app.state.films._turn._value = 0  # nothing begins
        gone, left = (makes.ask("a", "POST", "/v1/videos", json=sent).json()["id"] for _ in range(2))
        tells.ask("a", "DELETE", f"/v1/videos/{gone}")
        wait(lambda: gone not in makes.app.state.films._tasks)
        with houses.server(models=[model]) as other:
            wait(lambda: len(makes.app.state.films._tasks) == 1)
            assert status(left) == "queued" and not other.app.state.films._tasks, "it is another's, who is alive"
    with houses.server(), houses.server(models=[model]) as tells:
        wait(lambda: status(left) == "completed")
        assert tells.ask("a", "GET", f"/v1/videos/{left}/content").content == first, "by the one that has its model"


def test_a_film_whose_server_has_died_is_made_by_another(houses: Houses) -> None:
    """As after a kill: the row names a server whose lock is free."""
    made: list[str] = []

    async def make(film: Film) -> bytes:
        made.append(film.id)
        return b"film"

    async def whole() -> None:
        died, lives = Films(houses.store, never, 8), Films(houses.store, make, 8)
        unable = Films(houses.store, never, 8, lambda film: False)
        await died.start()
        film = await died.put("a", "film", {}, "8x8", "1")
        await lives.start()
        await lives.look()
        assert (await lives.get("a", film.id)).server == died._presence.id and not made
        died._presence._lock.close()
        await unable.look()
        assert (await lives.get("a", film.id)).server == "" and not unable._tasks, (
            "it is left to one that has its model"
        )
        await lives.look()
        while not (now := await lives.get("a", film.id)).over:
            await asyncio.sleep(0.01)
        assert (now.status, made) == ("completed", [film.id]) and await lives.content(now) == b"film"
        assert not await died._becomes(film, status="failed"), "what the first says later is ignored"
        await lives.delete(now)
        late = await died.put("a", "film", {}, "8x8", "1")
        await lives.close()
        await died.close()
        assert (await lives.get("a", late.id)).server == "", "what was not made is left to others"

    asyncio.run(whole())


async def never(film: Film) -> bytes:
    await asyncio.sleep(1000)
    return b""
