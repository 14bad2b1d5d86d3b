"""What the data folder holds, and for how long: finished work goes, with its files, when it is older than `keep` days.

It stays for ever unless the operator has said so. What goes are jobs that are over with their runs and models, films,
uploads that no job tells of any more, and lines of the audit log. What never goes for its age: what is not finished,
what an unfinished job or film needs, a shared model with its job and the upload that it learnt from, a model that the
server was given by name, keys, and what the operator has put there. What killed servers have left aside goes after a
day in any case.
"""

import asyncio
import contextlib
import logging
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from maquette.core import files
from maquette.core.errors import MaquetteError
from maquette.server import plans
from maquette.server.engine import Engine, Served
from maquette.server.films import Films
from maquette.server.jobs import Jobs
from maquette.server.states import Job
from maquette.server.store import Store

DAY = 86_400.0
EVERY = 3600.0
"""Seconds between two looks."""
PARTS = ("uploads", "datasets", "models", "jobs", "videos")

log = logging.getLogger("maquette.server")


class Keeping:
    """For one event loop.

    Args:
        jobs: None where the server takes none; then none are deleted.
        days: after which finished work is old; 0: never.
    """

    def __init__(self, store: Store, jobs: Jobs | None, engine: Engine, films: Films, days: float):
        self._store, self._jobs, self._engine, self._films, self._days = store, jobs, engine, films, days
        self.bytes: dict[str, int] = {}
        """How much each part of the data folder held at the last look."""

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            try:
                await self.look()
            except MaquetteError as bad:  # the store is full, locked or away: the next look finds the same
                log.warning("keeping: %s", bad.code)
            except Exception:
                log.exception("keeping: a fault of ours")
            await asyncio.sleep(EVERY)

    async def look(self) -> None:
        """Delete what is old, and measure what is there."""
        now = self._store.clock()
        if self._days:
            before = now - self._days * DAY
            await self._films.expire(before)
            await asyncio.to_thread(self._store.forget_audit, before)
            if self._jobs is not None:
                await self._expire(self._jobs, before)
        await asyncio.to_thread(self._store.clean, now - DAY)
        self.bytes = await asyncio.to_thread(usage, self._store.folder)

    async def _expire(self, jobs: Jobs, before: float) -> None:
        for job in await asyncio.to_thread(jobs.ended, before):
            if not (job.state == "succeeded" and job.shared):
                with _unless_needed():
                    await self._discard(jobs, job)
                    log.info("%s: deleted, it was old", job.id)
        for row in await asyncio.to_thread(jobs.loose_files, before):
            with _unless_needed():
                await asyncio.to_thread(jobs.forget, row.tenant, row.id)
                log.info("%s: deleted, no job tells of it", row.id)

    async def delete(self, served: Served) -> None:
        """A model, and the job that made it with all its files; raises MQ-2181 while something unfinished needs it."""
        assert self._jobs is not None, "no model here was made by a job"
        job = await asyncio.to_thread(self._jobs.maker, served.folder)
        await self._discard(self._jobs, job)

    async def _discard(self, jobs: Jobs, job: Job) -> None:
        """A job that is over, whatever it has made, and the model that it has trained."""
        gone = [self._store.folder / "jobs" / job.id]
        if job.kind == "train":
            run = self._store.folder / "models" / plans.run_name(job.id, job.spec)
            gone.append(run)
            await self._withdraw(jobs, str(job.result.get("model", "")), run.resolve())
        for folder in gone:
            if folder.exists():
                await asyncio.to_thread(files.remove_folder, folder)
        await asyncio.to_thread(jobs.discard, job.id)  # last: what a server that is killed leaves is found again

    async def _withdraw(self, jobs: Jobs, name: str, run: Path) -> None:
        """Serve the model of a run no more; raises MQ-2181 while it is needed."""
        served = next((model for model in self._engine.served() if model.folder.parent == run), None)
        if served is not None and served.owner is None:
            raise MaquetteError("MQ-2181", what="model", state="the operator's", reason="the server was given it")
        await self._check_free(jobs, served.id if served else name)
        if served is None:  # another server's, or of a job that was cancelled
            return
        self._engine.remove(served.id)  # from now on nobody can ask for it
        try:
            await self._check_free(jobs, served.id)  # but somebody may have, in between
        except MaquetteError:
            self._engine.add(served.folder, served.owner, served.shared)
            raise

    async def _check_free(self, jobs: Jobs, name: str) -> None:
        if name in self._films.unfinished() or await asyncio.to_thread(jobs.needs, name):
            reason = "a job or a film that is not over needs it"
            raise MaquetteError("MQ-2181", what="model", state="in use", reason=reason)


@contextlib.contextmanager
def _unless_needed() -> Iterator[None]:
    """What is needed now may go at another look."""
    try:
        yield
    except MaquetteError as kept:
        if kept.code != "MQ-2181":
            raise


def usage(folder: Path) -> dict[str, int]:
    """Bytes of the files in each part of the data folder, and of the database in it."""
    found = Counter({part: sum(_sizes(folder / part)) for part in PARTS})
    found["database"] = sum(path.stat().st_size for path in folder.glob("server.db*") if path.is_file())
    return dict(found)


def _sizes(folder: Path) -> list[int]:
    sizes = []
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                sizes.append(os.lstat(os.path.join(where, name)).st_size)
            except OSError:  # it has just gone
                continue
    return sizes
