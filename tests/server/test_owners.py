"""Whose model it is: what a job of one key has made is not there for another, in no list, path, field or hint."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image as pillow

from maquette.server import plans
from maquette.server.engine import Engine
from maquette.server.jobs import Jobs
from maquette.server.states import Job
from maquette.server.store import Store
from maquette.server.supervisor import Supervisor
from tests.server.served import painter
from tests.server.web import serving

SPEC = {"stem": "tiny", "model": "dcgan", "word": "dcgan"}


class House:
    """A server with a model of the operator's, and keys that have trained some."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.store = Store(f"sqlite:///{folder}/server.db", folder)
        self.jobs = Jobs(self.store)
        self.keys: dict[str, tuple[str, str]] = {}
        for name, scopes in (("a", "infer train"), ("b", "infer train"), ("admin", "infer train admin")):
            secret, row = self.store.add_key(name, scopes.split())
            self.keys[name] = (secret, row.id)
        self.operators = painter(folder / "operators" / "public", "diffusion")

    def trained(self, key: str, **more: Any) -> tuple[Job, str]:
        """A training job that is done, and the name of its model."""
        job = self.jobs.put("train", SPEC | more, key=self.keys[key][1])
        assert self.jobs.claim("x") is not None
        name = plans.run_name(job.id, job.spec)
        painter(self.folder / "models" / name, "diffusion")
        done = self.jobs.end(job.id, 1, "done", result={"folder": f"models/{name}", "model": name})
        assert done is not None
        return done, name

    def serving(self) -> Any:
        engine = Engine([self.operators], device="cpu", compiled=False)
        store = Store(f"sqlite:///{self.folder}/server.db", self.folder)
        return serving(
            self.folder, engine, store=store, supervisor=Supervisor(Jobs(store), workers=0), keys=True, rate=0
        )

    def ask(self, address: str, key: str, method: str, path: str, **more: Any) -> httpx2.Response:
        headers = {"authorization": f"Bearer {self.keys[key][0]}"}
        return httpx2.request(method, f"{address}{path}", headers=headers, timeout=60, **more)

    def listed(self, address: str, key: str) -> list[str]:
        return [one["id"] for one in self.ask(address, key, "GET", "/v1/models").json()["data"]]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    one = House(tmp_path)
    yield one
    one.store.close()


def png() -> bytes:
    buffer = io.BytesIO()
    pillow.new("L", (8, 8), 99).save(buffer, "PNG")
    return buffer.getvalue()


def everywhere(model: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Every request that can name a model."""
    picture, words = {"image": png()}, {"model": model, "prompt": "a"}

    def job(**more: Any) -> tuple[str, str, dict[str, Any]]:
        return "POST", "/v1/jobs", {"json": more}

    return [
        ("GET", f"/v1/models/{model}", {}),
        ("GET", f"/v1/models/{model}/card", {}),
        ("GET", f"/v1/models/{model}/bundle", {}),
        ("POST", f"/v1/models/{model}", {"json": {"shared": True}}),
        ("DELETE", f"/v1/models/{model}", {}),
        ("POST", "/v1/completions", {"json": words}),
        ("POST", "/v1/chat/completions", {"json": {"model": model, "messages": [{"role": "user", "content": "a"}]}}),
        ("POST", "/v1/images/generations", {"json": words}),
        ("POST", "/v1/images/edits", {"data": words, "files": picture}),
        ("POST", "/v1/images/variations", {"data": {"model": model}, "files": picture}),
        ("POST", "/v1/audio/speech", {"json": {"model": model, "input": "a", "voice": "a"}}),
        ("POST", "/v1/videos", {"json": words}),
        ("POST", "/v1/embeddings", {"json": {"model": model, "input": "a"}}),
        ("POST", "/v1/fine_tuning/jobs", {"json": {"model": model}}),
        ("POST", "/v1/fine_tuning/jobs", {"json": {"model": model, "recipe": "dcgan"}}),
        ("POST", "/v1/fine_tuning/jobs", {"json": {"model": "dcgan", "codec": model}}),
        job(kind="train", model=model, recipe="dcgan"),
        job(kind="train", model="dcgan", codec=model),
        job(kind="evaluate", model=model),
        job(kind="evaluate", model="public", judge=model),
        job(kind="sample", model=model),
        job(kind="compare", models=["public", model]),
        job(kind="compare", recipes=["dcgan"], codec=model),
    ]


def test_an_unseen_model_answers_as_one_that_there_is_not(house: House) -> None:
    _, name = house.trained("a")
    other = name[:-8] + "".join("0" if c != "0" else "1" for c in name[-8:])
    with house.serving() as (address, _):
        for unseen, none in zip(everywhere(name), everywhere(other), strict=True):
            told, wanted = (house.ask(address, "b", method, path, **more) for method, path, more in (unseen, none))
            assert (told.status_code, told.json()) == (wanted.status_code, wanted.json()), unseen
            assert name not in told.text
            assert wanted.status_code in (400, 404), unseen
        mistake = house.ask(address, "b", "GET", f"/v1/models/{other}").json()["error"]
        assert mistake["code"] == "model_not_found" and "public" in mistake["message"]
        assert house.jobs.list(house.keys["b"][1]) == [], "and no job was taken"


def test_it_is_there_for_its_key_and_for_admins(house: House) -> None:
    _, name = house.trained("a")
    with house.serving() as (address, _):
        assert house.listed(address, "b") == ["public"]
        assert house.listed(address, "a") == house.listed(address, "admin") == ["public", name]
        for key in ("a", "admin"):
            one = house.ask(address, key, "GET", f"/v1/models/{name}").json()
            assert (one["own"], one["shared"]) == (True, False)
            assert house.ask(address, key, "GET", f"/v1/models/{name}/bundle").content.startswith(b"PK")
            made = {"model": name, "prompt": "", "seed": 1}
            assert house.ask(address, key, "POST", "/v1/images/generations", json=made).status_code == 200
            job = {"kind": "compare", "models": ["public", name]}
            assert house.ask(address, key, "POST", "/v1/jobs", json=job).status_code == 200
        unnamed = {"prompt": "", "seed": 1}
        assert house.ask(address, "b", "POST", "/v1/images/generations", json=unnamed).status_code == 200
        assert house.ask(address, "a", "POST", "/v1/images/generations", json=unnamed).status_code == 400, (
            "which of two?"
        )


def test_sharing_outlives_a_restart_and_ends_when_it_is_ended(house: House) -> None:
    (_, name), (_, asked) = house.trained("a"), house.trained("a", shared=True)
    with house.serving() as (address, _):
        assert house.listed(address, "b") == ["public", asked], "shared from the beginning"
        told = house.ask(address, "a", "POST", f"/v1/models/{name}", json={"shared": True})
        assert told.status_code == 200 and told.json()["shared"] is True
    with house.serving() as (address, _):
        assert house.listed(address, "b") == ["public", name, asked]
        seen = house.ask(address, "b", "GET", f"/v1/models/{name}").json()
        assert (seen["own"], seen["shared"]) == (False, True)
        for method, more in (("POST", {"json": {"shared": False}}), ("DELETE", {})):
            assert house.ask(address, "b", method, f"/v1/models/{name}", **more).status_code == 403
            assert house.ask(address, "admin", method, "/v1/models/public", **more).status_code == 409
        for one in (name, asked):
            house.ask(address, "a", "POST", f"/v1/models/{one}", json={"shared": False})
        assert house.listed(address, "b") == ["public"]
    with house.serving() as (address, _):
        assert house.listed(address, "b") == ["public"]


def test_a_model_goes_with_its_job_and_its_files(house: House) -> None:
    job, name = house.trained("a")
    with house.serving() as (address, app):
        needs = {"kind": "sample", "model": name}
        sampling = house.ask(address, "a", "POST", "/v1/jobs", json=needs).json()["id"]
        assert house.ask(address, "a", "DELETE", f"/v1/models/{name}").status_code == 409
        assert house.listed(address, "a") == ["public", name]
        house.ask(address, "a", "POST", f"/v1/jobs/{sampling}/cancel")
        told = house.ask(address, "a", "DELETE", f"/v1/models/{name}")
        assert told.json() == {"id": name, "object": "model", "deleted": True}
        assert house.listed(address, "a") == ["public"] and not (house.folder / "models" / name).exists()
        assert house.ask(address, "a", "GET", f"/v1/jobs/{job.id}").status_code == 404
        assert house.jobs.events(None, sampling) != [], "another job's events stay"
        assert house.ask(address, "a", "DELETE", f"/v1/models/{name}").status_code == 404


def test_why_a_job_failed_is_told_in_the_language_of_who_asks(house: House) -> None:
    job = house.jobs.put("train", SPEC, key=house.keys["a"][1])
    house.jobs.claim("x")
    house.jobs.end(job.id, 1, "refused", "MQ-2185", "the job needs more memory than the 2 GiB that a job may take here")
    english = "the job needs more memory than the 2 GiB that a job may take here"
    chinese = "此任务需要的内存超过了此处允许的 2 GiB"
    with house.serving() as (address, _):
        for headers, said in (
            ({"accept-language": "de"}, english),
            ({"accept-language": "zh-CN,zh;q=0.9"}, chinese),
            ({"accept-language": "zh", "cookie": "maquette_language=en"}, english),
            ({"accept-language": "en", "cookie": "maquette_language=zh"}, chinese),
        ):
            keyed = {"authorization": f"Bearer {house.keys['a'][0]}"} | headers

            def get(path: str, keyed: dict[str, str] = keyed) -> httpx2.Response:
                return httpx2.get(f"{address}{path}", headers=keyed)

            assert get(f"/v1/jobs/{job.id}").json()["error"] == {"code": "MQ-2185", "message": said}
            assert get(f"/v1/fine_tuning/jobs/{job.id}").json()["error"]["message"] == said
            last = get(f"/v1/jobs/{job.id}/events").json()["data"][-1]["message"]
            assert last == (f"失败：{said}" if said == chinese else f"Failed: {said}")
            assert last in get(f"/v1/jobs/{job.id}/events?stream=true").text
