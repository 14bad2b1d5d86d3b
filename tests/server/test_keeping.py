"""What is deleted when it is old, and what never is; the clock is the test's."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from maquette.core import files
from maquette.core.errors import MaquetteError
from maquette.server import plans
from maquette.server.engine import Engine
from maquette.server.films import Film, Films
from maquette.server.jobs import Jobs, dataset_folder
from maquette.server.keeping import DAY, Keeping, usage
from maquette.server.registry import Registry
from maquette.server.states import Job
from maquette.server.store import FILMS, FileRow, Store
from tests.server.served import painter

SPEC = {"stem": "tiny", "model": "dcgan", "word": "dcgan"}


class Place:
    """A data folder at a time of the test's."""

    def __init__(self, folder: Path, database: str):
        self.now = 1000 * DAY
        self.folder = folder
        self.store = Store(database, folder, clock=lambda: self.now)
        self.jobs = Jobs(self.store)
        self.engine = Engine([], device="cpu", compiled=False)

    def upload(self, data: bytes = b'{"text": "a"}\n') -> FileRow:
        row = self.store.put_file("a", "a.jsonl", "fine-tune", [data], ".jsonl")
        files.make_folder(self.folder / dataset_folder(row))
        return row

    def done(self, kind: Any = "train", **more: Any) -> Job:
        """A job that has ended now."""
        job = self.begun(kind, **more)
        assert job is not None
        result = {}
        if kind == "train":
            name = plans.run_name(job.id, job.spec)
            painter(self.folder / "models" / name, "gan")
            result = {"folder": f"models/{name}", "model": name}
        ended = self.jobs.end(job.id, 1, "done", result=result)
        assert ended is not None
        return ended

    def begun(self, kind: Any = "train", **more: Any) -> Job:
        put = self.jobs.put(kind, SPEC | more, key="a")
        files.write_json(self.folder / "jobs" / put.id / "plan.json", {})
        job = self.jobs.claim("x")
        assert job is not None and job.id == put.id
        return job

    def look(self, days: float = 10.0) -> Keeping:
        async def whole() -> Keeping:
            registry = Registry(self.jobs, self.engine)
            await registry.sync()
            made = Films(self.store, never, 8)
            await made.start()
            keeping = Keeping(self.store, self.jobs, registry, made, days)
            await keeping.look()
            await made.close()
            return keeping

        return asyncio.run(whole())

    def there(self, job: Job) -> bool:
        """Whether a job is there, and all that is its; half of it is a mistake."""
        signs = {
            any(one.id == job.id for one in self.jobs.list(None, limit=100)),
            (self.folder / "jobs" / job.id).exists(),
        }
        if job.kind == "train":
            name = plans.run_name(job.id, job.spec)
            signs |= {(self.folder / "models" / name).exists(), any(m.id == name for m in self.engine.served())}
        assert len(signs) == 1
        return signs.pop()


async def never(film: Film) -> bytes:
    await asyncio.sleep(1000)
    return b""


@pytest.fixture
def place(tmp_path: Path, database: str) -> Iterator[Place]:
    one = Place(tmp_path, database)
    yield one
    one.store.close()


def test_what_is_older_goes_and_what_is_younger_stays(place: Place) -> None:
    place.store.audit("a", "job.train", "job-1", 200)
    lone, used = place.upload(), place.upload(b'{"text": "b"}\n')
    old, check = place.done(), place.done("check", file=used.id)
    place.now += 6 * DAY
    young = place.done("check")
    place.store.audit("a", "job.check", "job-2", 200)
    place.look()
    assert all(place.there(job) for job in (old, check, young)), "six days are no ten"
    place.now += 6 * DAY
    place.look()
    assert [place.there(job) for job in (old, check, young)] == [False, False, True]
    assert place.store.list_files("a") == [] and not any(place.store.uploads.iterdir())
    assert not (place.folder / dataset_folder(lone)).exists() and not (place.folder / dataset_folder(used)).exists()
    assert [row.object for row in place.store.list_audit()] == ["job-2"]
    with pytest.raises(MaquetteError, match="MQ-2180"):
        place.jobs.events(None, old.id)


def test_nothing_goes_unless_it_was_asked_for(place: Place) -> None:
    job, row = place.done(), place.upload()
    place.now += 10_000 * DAY
    place.look(days=0.0)
    assert place.there(job) and place.store.list_files("a") == [row]


def test_what_is_not_over_keeps_what_it_needs(place: Place) -> None:
    """Of the job that waits: its upload, the model that it begins from, the codec, the ones that it compares."""
    row = place.upload()
    begins, codec, compared, judge, loose = (place.done() for _ in range(5))
    names = [plans.run_name(job.id, job.spec) for job in (begins, codec, compared, judge)]
    waits = place.begun(file=row.id, codec=names[1], **{"from": names[0]})
    place.jobs.put("compare", {"models": ["x", names[2]]}, key="a")
    paused = place.jobs.put("evaluate", {"model": "x", "judge": names[3]}, key="b")
    place.jobs.pause("b", paused.id)
    place.now += 20 * DAY
    place.look()
    assert [place.there(job) for job in (begins, codec, compared, judge, loose)] == [True] * 4 + [False]
    assert place.jobs.get(None, waits.id).state == "running" and place.store.file_path(row).exists()
    place.jobs.end(waits.id, 1, "refused")
    place.look()
    assert place.there(begins) is place.there(codec) is False and place.there(compared)
    assert place.store.file_path(row).exists(), "its job is not old yet"
    place.now += 11 * DAY
    place.look()
    assert not place.store.file_path(row).exists()


def test_a_shared_model_stays_with_its_job_and_its_data(place: Place) -> None:
    row = place.upload()
    shared = place.done(file=row.id, shared=True)
    place.now += 20 * DAY
    place.look()
    assert place.there(shared) and place.store.file_path(row).exists()
    (model,) = place.engine.served()
    place.jobs.share(model.job, False)
    place.look()
    assert not place.there(shared) and not place.store.file_path(row).exists()


def test_a_model_that_the_operator_has_named_stays(place: Place) -> None:
    job = place.done()
    name = plans.run_name(job.id, job.spec)
    place.engine = Engine([place.folder / "models" / name], device="cpu", compiled=False)
    place.now += 20 * DAY
    place.look()
    assert [model.owner for model in place.engine.served()] == [None], "and is not its job's"
    assert place.there(job)


def test_films(place: Place) -> None:
    """Also those that an earlier version has kept as files: they become rows."""
    model = place.done()
    name = plans.run_name(model.id, model.spec)
    place.now += 20 * DAY
    made = [
        Film(f"video_{i:024x}", "a", name, {}, "8x8", "1", place.now - age * DAY, status, completed)
        for i, (status, age, completed) in enumerate([
            ("completed", 20, place.now - 19 * DAY), ("failed", 20, None), ("completed", 20, place.now),
            ("queued", 20, None),
        ])
    ]  # fmt: skip
    for film in made:
        tree = {name: value for name, value in vars(film).items() if name not in ("tenant", "server", "number")}
        files.write_json(place.folder / "videos" / f"{film.id}.json", tree | {"owner": film.tenant})
        files.write_file(place.folder / "videos" / f"{film.id}.mp4", b"film")
    files.write_file(place.folder / "videos" / f"video_{9:024x}.mp4", b"of a film that was deleted while it was made")
    place.look()
    assert {path.name for path in (place.folder / "videos").iterdir()} == {f"{made[2].id}.mp4", f"{made[3].id}.mp4"}
    with place.store.reading() as connection:
        assert set(connection.execute(sa.select(FILMS.c.id)).scalars()) == {made[2].id, made[3].id}
    assert place.there(model), "a film that is not made yet needs it"


def test_what_killed_servers_left_goes_after_a_day(place: Place) -> None:
    row = place.upload()
    half, loose = place.store.uploads / ".77-0123456789abcdef.tmp", place.store.uploads / ("0" * 64 + ".zip")
    for path in (half, loose):
        path.write_bytes(b"x" * 100)
    for path in (half, loose, place.store.file_path(row)):
        os.utime(path, (place.now, place.now))
    place.now += DAY / 2
    place.look(days=0.0)
    assert half.exists() and loose.exists()
    place.now += DAY
    place.look(days=0.0)
    assert list(place.store.uploads.iterdir()) == [place.store.file_path(row)]


def test_a_deletion_that_is_not_written_deletes_no_bytes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row is never without its bytes, also when the disk is full just then."""
    row = place.upload()
    monkeypatch.setattr(place.store, "_drop", lambda path: pytest.fail("before the row had gone"))

    def full(connection: object) -> None:
        raise MaquetteError("MQ-5180", reason="disk is full")

    with pytest.raises(MaquetteError, match="MQ-5180"):
        place.store.delete_file("a", row.id, full)
    assert place.store.file_path(row).exists() and place.store.get_file("a", row.id) == row


def test_a_job_is_not_taken_for_a_file_that_has_just_gone(place: Place) -> None:
    row = place.upload()
    place.jobs.forget("a", row.id)
    with pytest.raises(MaquetteError, match="MQ-2180"):
        place.jobs.put("train", SPEC | {"file": row.id}, key="a")
    assert place.jobs.list(None) == []


def test_what_is_held_is_measured(place: Place) -> None:
    row = place.upload()
    (place.folder / "models" / "m").mkdir(parents=True)
    (place.folder / "models" / "m" / "weights").write_bytes(b"w" * 1000)
    held = usage(place.folder)
    assert (held["uploads"], held["models"], held["videos"]) == (row.size, 1000, 0)
    assert place.look(days=0.0).bytes["models"] == 1000
