"""A job's life as pure functions: no clock, no chance, no files, no database. What they need is passed in.

    queued -> running -> succeeded | failed | cancelled        running -> queued (again), queued | running <-> paused

Each function takes a job and returns what it becomes, or None where that may not be. Whoever runs a job holds its
`attempt`, a number that grows with every claim: the fencing token. Without it nothing about the run is believed,
so a job is executed at least once and completed at most once. A wish to cancel wins over a completion that comes late.

Nobody's clock is compared with another's: a run is given up for dead when its count of beats stands still for a whole
lease by the watch of the one who looks.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from maquette.core.errors import MaquetteError

Kind = Literal["train", "evaluate", "compare", "sample", "check", "export"]
State = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
Outcome = Literal["done", "refused", "crashed", "orphaned", "put back"]
"""How a run ended: well; with a reason that another try would meet again; by a fault that it may not; because the
server around it died; or because it was asked to make way (a drain, a folder in use), which counts for nothing."""

OVER: frozenset[State] = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True)
class Job:
    """A row of the table: what was asked, by whom, and how it stands."""

    number: int
    """Grows with every job: first in, first out."""
    id: str
    tenant: str
    kind: Kind
    spec: Mapping[str, Any]
    created: float
    state: State = "queued"
    priority: int = 0
    """Higher ones first."""
    idempotency: str | None = None
    digest: str = ""
    started: float | None = None
    ended: float | None = None
    attempt: int = 0
    """The fencing token: how often it was claimed."""
    failures: int = 0
    """Runs that crashed since it last got further than before."""
    orphaned: int = 0
    """The same of runs whose server died, of those that had been heard of: a server that dies at once blames no job."""
    reached: float = 0.0
    """How far it ever got, in 0 to 1."""
    owner: str = ""
    beats: int = 0
    wish: Literal["", "pause", "cancel"] = ""
    """What its runner should see to."""
    not_before: float = 0.0
    code: str = ""
    reason: str = ""
    progress: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    last_event: int = 0

    @property
    def over(self) -> bool:
        return self.state in OVER

    @property
    def shared(self) -> bool:
        """Whether the model that it trains is everyone's, as was asked with it or said of the model later."""
        return bool(self.result.get("shared", self.spec.get("shared", False)))

    @property
    def withdrawn(self) -> bool:
        """Whether the model that it has trained is about to be deleted, and served no more."""
        return bool(self.result.get("withdrawn", False))


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How patient the queue is, and how much one key may have."""

    attempts: int = 3
    """Crashes in a row, without getting any further, after which a job has failed."""
    orphanings: int = 20
    """The same of servers that died around it: a job must not take the server with it for ever."""
    backoff: float = 2.0
    """Seconds of the first wait after a crash; each further one is twice as long."""
    longest: float = 300.0
    """Seconds of the longest wait."""
    busy: float = 1.0
    """Seconds until a job that found its folder in use is tried again."""
    running: int = 4
    """Jobs of one key that run at once."""
    unfinished: int = 100
    """Jobs of one key that are not over."""
    seconds: float = 7 * 86_400.0
    """The longest that one run may take."""


def wait(policy: Policy, failures: int, chance: float) -> float:
    """Seconds before the next try: doubling, and spread by `chance` in [0, 1) so that not all come at once."""
    return min(policy.longest, policy.backoff * 2.0 ** max(0, failures - 1)) * (0.5 + 0.5 * chance)


def ready(job: Job, now: float, policy: Policy) -> bool:
    """Whether it may be claimed; a clock that was set back makes nobody wait longer than the longest wait."""
    return job.state == "queued" and not now < job.not_before <= now + policy.longest


def choose(queued: Iterable[Job], running: Mapping[str, int], now: float, policy: Policy) -> Job | None:
    """Who is next: the highest priority; among equals the tenant with fewest running; of a tenant the first in.

    Args:
        running: how many run now, by tenant.
    """
    may = [job for job in queued if ready(job, now, policy) and running.get(job.tenant, 0) < policy.running]
    return min(may, key=lambda job: (-job.priority, running.get(job.tenant, 0), job.number), default=None)


def running_by_tenant(jobs: Iterable[Job]) -> Counter[str]:
    return Counter(job.tenant for job in jobs if job.state == "running")


def claim(job: Job, owner: str, now: float) -> Job | None:
    """`owner` runs it from now on, with a new attempt number."""
    if job.state != "queued":
        return None
    return replace(
        job, state="running", attempt=job.attempt + 1, owner=owner, beats=0, wish="",
        started=now if job.started is None else job.started,
    )  # fmt: skip


def holds(job: Job, attempt: int) -> bool:
    """Whether the run with this number is still the one that counts."""
    return job.state == "running" and job.attempt == attempt


def beat(job: Job, attempt: int) -> Job | None:
    """Its runner is alive."""
    return replace(job, beats=job.beats + 1) if holds(job, attempt) else None


def advance(job: Job, attempt: int, reached: float, progress: Mapping[str, Any]) -> Job | None:
    """It got so far. A job that gets further than ever is no poison: what failed before is forgiven."""
    if not holds(job, attempt):
        return None
    if reached > job.reached:
        job = replace(job, reached=reached, failures=0, orphaned=0)
    return replace(job, progress=progress)


def cancel(job: Job, now: float) -> Job | None:
    """Its owner wants it no more; a running one is stopped by its runner."""
    if job.over:
        return None
    return replace(job, wish="cancel") if job.state == "running" else _over(job, "cancelled", now)


def pause(job: Job) -> Job | None:
    """It shall wait, with what it has learnt, until `go_on`; a wish to cancel is not taken back by it."""
    if job.state == "running":
        return replace(job, wish=job.wish or "pause")
    return replace(job, state="paused") if job.state == "queued" else None


def go_on(job: Job, now: float) -> Job | None:
    """Back into the queue after a pause."""
    if job.state == "running" and job.wish == "pause":
        return replace(job, wish="")
    return replace(job, state="queued", not_before=now) if job.state == "paused" else None


def end(
    job: Job, attempt: int, outcome: Outcome, now: float, policy: Policy, chance: float = 0.0, code: str = "",
    reason: str = "", result: Mapping[str, Any] | None = None,
) -> Job | None:  # fmt: skip
    """What becomes of it when the run `attempt` has ended; None when that run does not count any more.

    Args:
        chance: in [0, 1), spreads the wait before another try.
        code, reason: why it did not end well.
        result: what it made.
    """
    if not holds(job, attempt):
        return None
    if job.wish == "cancel":
        return _over(job, "cancelled", now)
    if outcome == "done":
        return _over(replace(job, result=result or {}, reached=1.0), "succeeded", now)
    if outcome == "refused":
        return _over(replace(job, code=code, reason=reason), "failed", now)
    failures, orphaned = job.failures + (outcome == "crashed"), job.orphaned + (outcome == "orphaned" and job.beats > 0)
    job = replace(job, failures=failures, orphaned=orphaned, code=code, reason=reason)
    if failures >= policy.attempts or orphaned >= policy.orphanings:
        return _over(job, "failed", now)
    if job.wish == "pause":
        return replace(job, state="paused", wish="", owner="")
    delay = wait(policy, failures, chance) if outcome == "crashed" else 0.0
    if outcome == "put back" and code:  # something stood in its way, which may take a moment to go
        delay = policy.busy
    return replace(job, state="queued", owner="", not_before=now + delay)


def lost(job: Job, attempt: int, beats: int, now: float, policy: Policy) -> Job | None:
    """Its runner has not been heard of for a lease; None when it has, since `beats` was seen."""
    if job.beats != beats:
        return None
    gone = MaquetteError("MQ-1183")
    return end(job, attempt, "orphaned", now, policy, code=gone.code, reason=gone.sentence)


class Watch:
    """Tells by one's own steady clock which runs of others have fallen silent.

    Args:
        lease: seconds of silence after which a run is given up.
    """

    def __init__(self, lease: float):
        self.lease = lease
        self._seen: dict[str, tuple[int, int, float]] = {}

    def silent(self, jobs: Iterable[Job], steady: float) -> list[Job]:
        """Of the running `jobs` those that stood still for a lease at `steady`, a clock that is never set."""
        seen, dead = {}, []
        for job in jobs:
            attempt, beats, since = self._seen.get(job.id, (-1, -1, steady))
            if (attempt, beats) != (job.attempt, job.beats):
                since = steady
            seen[job.id] = (job.attempt, job.beats, since)
            if steady - since >= self.lease:
                dead.append(job)
        self._seen = seen
        return dead


def _over(job: Job, state: State, now: float) -> Job:
    return replace(job, state=state, ended=now, wish="", owner="")
