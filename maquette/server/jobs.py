"""The queue: `states.py` applied to rows, each change one transaction together with the event that tells of it.

A job that `put` has returned is durable. Writers come one at a time (`Store.writing`), and every change that the runner
of a job makes names the attempt it was given: the UPDATE finds no row when another run has taken its place.
"""

import random
import secrets
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from maquette.core import files
from maquette.core.errors import MaquetteError, translated
from maquette.server import states
from maquette.server.states import OVER, Job, Kind, Outcome, Policy, Watch
from maquette.server.store import ENDED, EVENTS, FILES, FILMS, JOBS, FileRow, Store

TEXT = 1000
"""Characters of a reason or a message."""
PRIORITIES = range(-10, 11)
MODELS = ("model", "from", "codec", "judge")
"""Of a spec: what may name a served model, beside `models`."""
TOLD = {
    "queued": ("Waiting for its turn", "等待轮到它"),
    "running": ("Started", "已开始"),
    "paused": ("Paused", "已暂停"),
    "succeeded": ("Done", "已完成"),
    "failed": ("Failed", "失败"),
    "cancelled": ("Cancelled", "已取消"),
}
"""In English, which is what is kept, and in Chinese."""


@dataclass(frozen=True)
class Event:
    """What is told of a job; `number` grows by one with each, so a reader can go on where it left off."""

    job: str
    number: int
    time: float
    level: str
    """info, warn or error."""
    kind: str
    """state, metrics, sample or message."""
    message: str
    data: Mapping[str, Any]

    def said(self, language: str) -> str:
        """The message, in Chinese as what it is about can be said: a state, and why; a step; samples."""
        data, (_, mark, rest) = self.data, self.message.partition(": ")
        told = {name: data.get(name) for name in ("state", "step", "made", "artefact")}
        if language != "zh" or all(value is None for value in told.values()):
            return self.message
        if told["state"] in TOLD:
            return TOLD[told["state"]][1] + ("：" if mark else "") + translated(data.get("code", ""), rest, language)
        if told["made"] is not None:
            return f"已生成 {told['made']} / {data.get('of')}"
        if told["step"] is not None:
            return f"第 {told['step']} 步" + ("：" if mark else "") + rest
        return f"样本 {told['artefact']}" if told["artefact"] is not None else self.message


class Jobs:
    """All jobs of a store.

    Args:
        steady: a clock that is never set.
        chance: in [0, 1), for the waits after crashes.
    """

    def __init__(
        self,
        store: Store,
        policy: Policy = Policy(),
        steady: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ):
        self.store, self.policy, self.steady, self.chance = store, policy, steady, chance
        self.closing = False
        """Whether the server is about to end: who waits for events then waits no more."""
        self.wake: Callable[[], object] = lambda: None
        """Called when there is something new to be done."""

    # -- for those who ask --------------------------------------------------------------------------------------------

    def put(
        self, kind: Kind, spec: Mapping[str, Any], *, key: str, priority: int = 0, idempotency: str | None = None
    ) -> Job:
        """Take a job on; durable on return.

        Args:
            spec: what `plans.py` has checked.
            key: the tenant.
            idempotency: the client's name for this request: asked again with it, the job of the first time comes back.

        Raises:
            MaquetteError: MQ-4180 too many of this key, MQ-2183 the idempotency key was another request's, MQ-2180 no
                such file.
        """
        if priority not in PRIORITIES:
            wanted = f"{PRIORITIES.start} to {PRIORITIES.stop - 1}"
            raise MaquetteError("MQ-2002", "priority", path="priority", wanted=wanted, value=priority)
        digest = _digest(kind, spec)
        now = self.store.clock()
        with self.store.writing() as connection:
            own = sa.select(JOBS).where(JOBS.c.tenant == key)
            if idempotency is not None:
                row = connection.execute(own.where(JOBS.c.idempotency == idempotency)).mappings().first()
                if row is not None and row["digest"] != digest:
                    raise MaquetteError("MQ-2183")
                if row is not None:
                    return Job(**row)
            if "file" in spec:  # it may have been deleted since it was looked up
                self.store.check_file(connection, key, spec["file"])
            count = sa.select(sa.func.count()).select_from(JOBS).where(JOBS.c.tenant == key, JOBS.c.state.not_in(OVER))
            if connection.execute(count).scalar_one() >= self.policy.unfinished:
                raise MaquetteError("MQ-4180", what="unfinished jobs", most=self.policy.unfinished)
            id = f"job-{secrets.token_hex(12)}"
            job = Job(
                number=0, id=id, tenant=key, kind=kind, spec=dict(spec), created=now, priority=priority,
                idempotency=idempotency, digest=digest, not_before=now,
            )  # fmt: skip
            row = asdict(job)
            del row["number"]
            connection.execute(sa.insert(JOBS).values(**row))
            job = Job(**connection.execute(sa.select(JOBS).where(JOBS.c.id == id)).mappings().one())
            job = self._tell(connection, job, "state", TOLD["queued"][0], {"state": "queued"})
        self.wake()
        return job

    def get(self, key: str | None, id: str) -> Job:
        """A tenant's job, any tenant's for None; raises MQ-2180 where there is none."""
        asked = sa.select(JOBS).where(JOBS.c.id == id)
        with self.store.reading() as connection:
            row = connection.execute(asked if key is None else asked.where(JOBS.c.tenant == key)).mappings().first()
        if row is None:
            raise MaquetteError("MQ-2180", what="job", id=id)
        return Job(**row)

    def list(
        self, key: str | None, kinds: Sequence[Kind] = (), after: str | None = None, limit: int = 20
    ) -> Sequence[Job]:
        """A page of a tenant's jobs, the newest first; `after` is the id of the last one of the page before."""
        asked = sa.select(JOBS).order_by(JOBS.c.number.desc()).limit(limit)
        if key is not None:
            asked = asked.where(JOBS.c.tenant == key)
        if kinds:
            asked = asked.where(JOBS.c.kind.in_(kinds))
        if after is not None:
            asked = asked.where(JOBS.c.number < self.get(key, after).number)
        with self.store.reading() as connection:
            return [Job(**row) for row in connection.execute(asked).mappings()]

    def cancel(self, key: str | None, id: str) -> Job:
        """Wanted no more: a waiting job is over at once, a running one as soon as its runner has stopped it.

        Raises:
            MaquetteError: MQ-2180 no such job, MQ-2181 it is over.
        """
        now = self.store.clock()
        return self._wished(key, id, lambda job: states.cancel(job, now))

    def pause(self, key: str | None, id: str) -> Job:
        """Let it wait, with what it has learnt; raises as `cancel`."""
        return self._wished(key, id, states.pause)

    def go_on(self, key: str | None, id: str) -> Job:
        """End a pause; raises as `cancel`."""
        now = self.store.clock()
        return self._wished(key, id, lambda job: states.go_on(job, now))

    def _wished(self, key: str | None, id: str, change: Callable[[Job], Job | None]) -> Job:
        self.get(key, id)
        with self._changing(id) as held:
            if (job := change(held.job)) is None:
                raise MaquetteError("MQ-2181", what="job", state=held.job.state, reason="this cannot be done to it now")
            job = held.becomes(job)
        self.wake()
        return job

    def events(
        self, key: str | None, id: str, after: int = 0, limit: int = 100, newest: bool = False
    ) -> Sequence[Event]:
        """Those with numbers above `after`, oldest first; or the last ones before `after` (0: all), newest first."""
        self.get(key, id)
        asked = sa.select(EVENTS).where(EVENTS.c.job == id).limit(limit)
        if newest:
            asked = asked.order_by(EVENTS.c.number.desc())
            asked = asked.where(EVENTS.c.number < after) if after else asked
        else:
            asked = asked.order_by(EVENTS.c.number).where(EVENTS.c.number > after)
        with self.store.reading() as connection:
            return [Event(**row) for row in connection.execute(asked).mappings()]

    def forget(self, key: str, file: str) -> None:
        """Delete an upload, and what was unpacked of it.

        Raises:
            MaquetteError: MQ-2180 no such file, MQ-2181 a job that is not over needs it.
        """

        def check(connection: sa.Connection) -> None:
            if any(file == spec.get("file") for spec in self._unfinished(connection)):
                raise MaquetteError("MQ-2181", what="file", state="in use", reason="a job that is not over needs it")

        row = self.store.delete_file(key, file, check)
        unpacked = self.store.folder / dataset_folder(row)
        if unpacked.exists() and not self.store.file_path(row).exists():
            files.remove_folder(unpacked)

    def withdraw(self, id: str) -> Job:
        """From now on no server serves the model that this job has made; then its files may go.

        Raises:
            MaquetteError: MQ-2181 where a job that is not over names the model, MQ-2180 no such job.
        """
        with self._changing(id) as held:
            name = held.job.result.get("model", "")
            specs = self._unfinished(held.connection)
            films = sa.select(FILMS.c.id).where(FILMS.c.model == name, FILMS.c.status.not_in(ENDED)).limit(1)
            if held.connection.execute(films).first() is not None or any(
                name in (spec.get(part) for part in MODELS) or name in spec.get("models", ()) for spec in specs
            ):
                reason = "a job or a film that is not over needs it"
                raise MaquetteError("MQ-2181", what="model", state="in use", reason=reason)
            return held.becomes(replace(held.job, result={**held.job.result, "withdrawn": True}))

    def ended(self, before: float) -> Sequence[Job]:
        """Those that are over since before a time of day, the oldest first."""
        asked = sa.select(JOBS).where(JOBS.c.state.in_(OVER), JOBS.c.ended < before).order_by(JOBS.c.number)
        with self.store.reading() as connection:
            return [Job(**row) for row in connection.execute(asked).mappings()]

    def discard(self, id: str) -> None:
        """Forget a job that is over, and its events."""
        with self.store.writing() as connection:
            gone = sa.delete(JOBS).where(JOBS.c.id == id, JOBS.c.state.in_(OVER))
            if connection.execute(gone).rowcount:
                connection.execute(sa.delete(EVENTS).where(EVENTS.c.job == id))
                self.store.models_changed(connection)

    def loose_files(self, before: float) -> Sequence[FileRow]:
        """Uploads from before a time of day that no job tells of."""
        with self.store.reading() as connection:
            told = {spec.get("file") for (spec,) in connection.execute(sa.select(JOBS.c.spec))}
            old = connection.execute(sa.select(FILES).where(FILES.c.created < before)).mappings()
            return [FileRow(**row) for row in old if row["id"] not in told]

    def share(self, id: str, shared: bool) -> Job:
        """Let everyone see the model that this job has made, or its owner alone; raises MQ-2180 for no such job."""
        with self._changing(id) as held:
            return held.becomes(replace(held.job, result={**held.job.result, "shared": shared}))

    def counts(self) -> dict[str, int]:
        """How many jobs there are in each state, for `/metrics`."""
        asked = sa.select(JOBS.c.state, sa.func.count()).group_by(JOBS.c.state)
        with self.store.reading() as connection:
            return {state: count for state, count in connection.execute(asked)}

    def models(self) -> Sequence[Job]:
        """The training jobs whose models are to be served, oldest first."""
        return [job for job in self._trained() if not job.withdrawn]

    def withdrawn(self) -> Sequence[Job]:
        """Those whose models are served no more, and whose files have not gone yet."""
        return [job for job in self._trained() if job.withdrawn]

    def _trained(self) -> Sequence[Job]:
        asked = sa.select(JOBS).where(JOBS.c.kind == "train", JOBS.c.state == "succeeded").order_by(JOBS.c.number)
        with self.store.reading() as connection:
            return [Job(**row) for row in connection.execute(asked).mappings()]

    # -- for those who run them ---------------------------------------------------------------------------------------

    def claim(self, owner: str) -> Job | None:
        """The next job, which is `owner`'s from now on; None when there is none to be run."""
        if not self._any("queued"):  # without a lock: the usual case
            return None
        now = self.store.clock()
        with self.store.writing() as connection:
            queued = self._jobs(connection, "queued")
            running = states.running_by_tenant(self._jobs(connection, "running"))
            chosen = states.choose(queued, running, now, self.policy)
            job = states.claim(chosen, owner, now) if chosen else None
            return self._save(connection, chosen, job) if chosen and job else None

    def beat(self, id: str, attempt: int) -> Job | None:
        """The runner is alive: the job as it stands, with what is wished of it; None when it is another's."""
        with self._changing(id) as held:
            return held.maybe(states.beat(held.job, attempt))

    def advance(
        self, id: str, attempt: int, reached: float, progress: Mapping[str, Any], told: Sequence[tuple[str, str, Any]]
    ) -> Job | None:
        """It has got so far; `told` are events of it: (kind, message, data)."""
        with self._changing(id) as held:
            job = held.maybe(states.advance(held.job, attempt, reached, progress))
            if job is None:
                return None
            for kind, message, data in told:
                job = self._tell(held.connection, job, kind, message, data)
            return job

    def end(
        self, id: str, attempt: int, outcome: Outcome, code: str = "", reason: str = "",
        result: Mapping[str, Any] | None = None,
    ) -> Job | None:  # fmt: skip
        """The run with this number has ended; None when it does not count."""
        now, chance = self.store.clock(), self.chance()
        reason = reason[:TEXT]
        with self._changing(id) as held:
            return held.maybe(
                states.end(held.job, attempt, outcome, now, self.policy, chance, code, reason, result), attempt
            )

    def running(self) -> Sequence[Job]:
        with self.store.reading() as connection:
            return self._jobs(connection, "running")

    def give_up(self, job: Job) -> Job | None:
        """Put a job back whose runner, as it was seen in `job`, is gone; None when it has been heard of since."""
        now = self.store.clock()
        with self._changing(job.id) as held:
            return held.maybe(states.lost(held.job, job.attempt, job.beats, now, self.policy), job.attempt)

    def reap(self, watch: Watch, owner: str, mine: Container[str], dead: Callable[[str], bool]) -> Sequence[Job]:
        """Put back what nobody runs any more: what others ran that are known to be `dead`, or silent for a lease, and
        what is said to be run by `owner` and is not among `mine`, the ids of those that it does run."""
        running = self.running()
        foreign = [job for job in running if job.owner != owner]
        gone = {job.id: job for job in watch.silent(foreign, self.steady())}
        gone |= {job.id: job for job in foreign if dead(job.owner)}
        gone |= {job.id: job for job in running if job.owner == owner and job.id not in mine}
        return [job for lost in gone.values() if (job := self.give_up(lost)) is not None]

    # -- rows ---------------------------------------------------------------------------------------------------------

    @staticmethod
    def _unfinished(connection: sa.Connection) -> Sequence[Mapping[str, Any]]:
        """The specs of all jobs that are not over."""
        asked = sa.select(JOBS.c.spec).where(JOBS.c.state.not_in(OVER))
        return [spec for (spec,) in connection.execute(asked)]

    def _any(self, state: str) -> bool:
        with self.store.reading() as connection:
            return connection.execute(sa.select(JOBS.c.id).where(JOBS.c.state == state).limit(1)).first() is not None

    def _jobs(self, connection: sa.Connection, state: str) -> Sequence[Job]:
        asked = sa.select(JOBS).where(JOBS.c.state == state).order_by(JOBS.c.number)
        return [Job(**row) for row in connection.execute(asked).mappings()]

    @contextmanager
    def _changing(self, id: str) -> Iterator["_Held"]:
        with self.store.writing() as connection:
            row = connection.execute(sa.select(JOBS).where(JOBS.c.id == id)).mappings().first()
            if row is None:
                raise MaquetteError("MQ-2180", what="job", id=id)
            yield _Held(self, connection, Job(**row))

    def _save(self, connection: sa.Connection, before: Job, job: Job, attempt: int | None = None) -> Job:
        """Write `job` where `before` stood, and an event when its state is another one."""
        row = {name: value for name, value in asdict(job).items() if value != getattr(before, name)}
        if row:
            fenced = [JOBS.c.id == job.id, JOBS.c.state == before.state]
            fenced += [JOBS.c.attempt == (before.attempt if attempt is None else attempt)]
            if connection.execute(sa.update(JOBS).where(*fenced).values(**row)).rowcount != 1:
                raise MaquetteError("MQ-4181")
        if job.kind == "train" and job.state == "succeeded" and row:
            self.store.models_changed(connection)
        if job.state != before.state:
            data: dict[str, Any] = {"state": job.state, "attempt": job.attempt}
            message, level = TOLD[job.state][0], "info"
            if job.state == "failed" or (job.state == "queued" and job.reason):
                data |= {"code": job.code} if job.code else {}
                message = f"{message}: {job.reason}"
                level = "error" if job.state == "failed" else "warn"
            job = self._tell(connection, job, "state", message, data, level)
        return job

    def _tell(
        self, connection: sa.Connection, job: Job, kind: str, message: str, data: Mapping[str, Any], level: str = "info"
    ) -> Job:
        number = job.last_event + 1
        row = {"job": job.id, "number": number, "time": self.store.clock(), "level": level, "kind": kind,
               "message": message[:TEXT], "data": dict(data)}  # fmt: skip
        connection.execute(sa.insert(EVENTS).values(**row))
        connection.execute(sa.update(JOBS).where(JOBS.c.id == job.id).values(last_event=number))
        return replace(job, last_event=number)


@dataclass(frozen=True)
class _Held:
    """A row within the transaction that may change it."""

    jobs: Jobs
    connection: sa.Connection
    job: Job

    def becomes(self, job: Job, attempt: int | None = None) -> Job:
        return self.jobs._save(self.connection, self.job, job, attempt)

    def maybe(self, job: Job | None, attempt: int | None = None) -> Job | None:
        return None if job is None else self.becomes(job, attempt)


def _digest(kind: str, spec: Mapping[str, Any]) -> str:
    import json

    return files.digest(json.dumps([kind, spec], sort_keys=True, ensure_ascii=False).encode())


def dataset_folder(row: FileRow) -> Path:
    """Where an upload is unpacked, below the data folder: one place for the same bytes."""
    return Path("datasets") / row.sha256[:32] / row.suffix.removeprefix(".")
