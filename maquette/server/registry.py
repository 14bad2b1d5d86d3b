"""The models that jobs have made, as the database has them now: whichever of its servers made, shared or deleted them.

Every request begins with a look at one row, a word that changes with them; only when it is another one they are read
anew. So what a server has been told of a model holds on all servers from the next request on, and no server need be
told by another.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from maquette.core.errors import MaquetteError
from maquette.server import plans
from maquette.server.engine import Absent, Engine, Served, describe
from maquette.server.jobs import Jobs
from maquette.server.states import Job

AGAIN = 1.0
"""Seconds after which files that were out of reach are looked for again: a folder over a network may come late."""
EVERY = 30.0
"""Seconds between two looks where nobody asks, so that the weights of what is gone do not stay in memory."""

log = logging.getLogger("maquette.server")


class Registry:
    """For one event loop; the engine is changed in its thread alone.

    Args:
        clock: one that is never set.
    """

    def __init__(self, jobs: Jobs, engine: Engine, clock: Callable[[], float] = time.monotonic):
        self._jobs, self._engine, self._clock = jobs, engine, clock
        self._mark: str | None = None
        self._absent: Mapping[str, Absent] = {}
        self._missed: set[str] = set()
        self._again = 0.0
        self._turn = asyncio.Lock()
        self._begun = self._ended = 0
        self._fault: MaquetteError | None = None

    async def sync(self) -> None:
        """What the database said of models before this was called holds when it returns.

        Many who come at once are served by one look: the first that begins after they came.

        Raises:
            MaquetteError: MQ-4181, MQ-5180 or MQ-5181; whether a model may still be served is not known then.
        """
        came = self._begun
        async with self._turn:
            if self._ended <= came:
                self._begun = number = self._begun + 1
                self._fault = None
                try:
                    await self._look()
                except MaquetteError as bad:
                    self._fault = bad
                self._ended = number
            if self._fault is not None:
                raise self._fault

    def served(self) -> list[Served]:
        """All models, as of the last look."""
        return self._engine.served()

    async def find(self, model: str) -> Served:
        """A model by its name, whoever sees it; raises as `Engine.find`."""
        await self.sync()
        return self._engine.find(model)

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.sync()
            except MaquetteError as bad:  # the store is away: requests are told so themselves
                log.warning("models: %s", bad.code)
            except Exception:
                log.exception("models: a fault of ours")

    async def _look(self) -> None:
        mark = await asyncio.to_thread(self._jobs.store.models_mark)
        if mark == self._mark and not (self._absent and self._clock() >= self._again):
            return
        known = {served.job: served for served in self._engine.served() if served.job}
        trained, absent = await asyncio.to_thread(self._read, known)
        self._engine.reconcile(trained, absent)
        self._mark, self._absent = mark, absent  # the rows are at least as new as the word
        self._again = self._clock() + AGAIN

    def _read(self, known: Mapping[str, Served]) -> tuple[dict[str, Served], dict[str, Absent]]:
        """Models by name: those that can be served, and those whose files are out of reach.

        Args:
            known: those that are served already, by their jobs; their files are not read again.
        """
        trained, absent = {}, {}
        for job in self._jobs.models():
            name = job.result.get("model") or plans.run_name(job.id, job.spec)
            try:
                served = known.get(job.id) or self._described(job)
                trained[name] = replace(served, id=name, owner=job.tenant, shared=job.shared, job=job.id)
            except (MaquetteError, OSError) as bad:
                absent[name] = Absent(job.tenant, job.shared)
                if job.id not in self._missed:
                    self._missed.add(job.id)
                    log.warning("%s: its model cannot be served: %s", job.id, getattr(bad, "code", type(bad).__name__))
        return trained, absent

    def _described(self, job: Job) -> Served:
        return describe(self._jobs.store.folder / str(job.result.get("folder", "")))
