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
from maquette.server.engine import Served
from maquette.server.films import Films
from maquette.server.jobs import Jobs
from maquette.server.registry import Registry
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
        days: after which finished work is old; 0: never.
        runs: whether this server runs jobs; one that does not may have another data folder than those that do, so it
            deletes none for its age.
    """

    def __init__(self, store: Store, jobs: Jobs, registry: Registry, films: Films, days: float, runs: bool = True):
        self._store, self._jobs, self._registry, self._films, self._days = store, jobs, registry, films, days
        self._runs = runs
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
            if self._runs:
                await self._expire(before)
        for job in await asyncio.to_thread(self._jobs.withdrawn) if self._runs else ():
            with _unless_needed():
                await self._discard(job)  # a server was killed before its files had gone
        await asyncio.to_thread(self._store.clean, now - DAY)
        self.bytes = await asyncio.to_thread(usage, self._store.folder)

    async def _expire(self, before: float) -> None:
        for job in await asyncio.to_thread(self._jobs.ended, before):
            if not (job.state == "succeeded" and job.shared):
                with _unless_needed():
                    await self._discard(job)
                    log.info("%s: deleted, it was old", job.id)
        for row in await asyncio.to_thread(self._jobs.loose_files, before):
            with _unless_needed():
                await asyncio.to_thread(self._jobs.forget, row.tenant, row.id)
                log.info("%s: deleted, no job tells of it", row.id)

    async def delete(self, served: Served) -> None:
        """A model, and the job that made it with all its files; raises MQ-2181 while something unfinished needs it."""
        await self._discard(await asyncio.to_thread(self._jobs.get, None, served.job))

    async def _discard(self, job: Job) -> None:
        """A job that is over, whatever it has made, and the model that it has trained."""
        gone = [self._store.folder / "jobs" / job.id]
        if job.kind == "train":
            run = self._store.folder / "models" / plans.run_name(job.id, job.spec)
            gone.append(run)
            await self._withdraw(job, run.resolve())
        for folder in gone:
            if folder.exists():
                await asyncio.to_thread(_remove, folder)
        await asyncio.to_thread(self._jobs.discard, job.id)  # last: what a server that is killed leaves is found again

    async def _withdraw(self, job: Job, run: Path) -> None:
        """Have all servers serve the model of a job no more; raises MQ-2181 while it is needed."""
        if any(served.folder.parent == run and not served.job for served in self._registry.served()):
            raise MaquetteError("MQ-2181", what="model", state="the operator's", reason="the server was given it")
        if job.state == "succeeded":
            await asyncio.to_thread(self._jobs.withdraw, job.id)
            await self._registry.sync()


def _remove(folder: Path) -> None:
    try:
        files.remove_folder(folder)
    except MaquetteError:
        if folder.exists():  # else another server of this database was quicker
            raise


@contextlib.contextmanager
def _unless_needed() -> Iterator[None]:
    """What is needed now may go at another look; what has gone, another server was quicker with."""
    try:
        yield
    except MaquetteError as kept:
        if kept.code not in ("MQ-2181", "MQ-2180"):
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
