"""How one device serves many: one thread owns it, and the requests of all models take turns on it.

Each model has up to three lines that go on in steps: `texts.Talk` makes a token of each of the texts on its seats,
`samples.Gather` fills a batch with samples of several requests, and `samples.Alone` draws each request by itself, as
the command line does, for what the other two cannot take. Lines take turns, and so do the requests in each; while a
long batch is drawn, lines whose steps are short go on between its own (`core.cancel.check` is where it lets them).
"""

import asyncio
import contextlib
import logging
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from maquette.core import cancel
from maquette.core.errors import MaquetteError
from maquette.core.exit import Mark
from maquette.pipeline import Pipeline
from maquette.request import Request, Said

LOG = logging.getLogger(__name__)
AHEAD = 64
"""Samples that are made for a client before it has fetched the first of them."""
SHARE = 1.0
"""Seconds for which a long draw waits at most before it takes its next step."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request to one model.

    Attributes:
        stream: whether words are wanted in pieces while they are made.
        partials: how often each sample is wanted as it looks on the way, from models that remove noise or make one
            value after another.
        embed: what to make vectors of, instead of making samples: texts, or stored items.
    """

    request: Request = Request()
    stream: bool = False
    partials: int = 0
    embed: tuple[str, ...] | np.ndarray | None = None


class Words(NamedTuple):
    """Some more words of a sample."""

    sample: int
    text: str


class Partial(NamedTuple):
    """A stored item as it looks now, the `number`-th time that it is shown, and the mark that it will leave with."""

    sample: int
    number: int
    item: np.ndarray
    mark: Mark
    share: float = 0.0
    """How much of it, from its beginning on, will stay as it is."""


class Made(NamedTuple):
    """A finished sample: its stored item, what it says where it is words, and the mark that it leaves with."""

    sample: int
    item: np.ndarray
    said: Said | None
    mark: Mark


class Used(NamedTuple):
    """The last event: how many tokens the prompts had and how many were made; 0 where there are none."""

    prompt: int
    made: int


class Vectors(NamedTuple):
    """What `Asked.embed` became, float32 [n, d]."""

    rows: np.ndarray


Event = Words | Partial | Made | Used | Vectors


class Job:
    """A request on its way through the device.

    Attributes:
        token: cancel it when nobody waits for the answer any more.
        begun: whether the device has begun with it.
        events: what came of it, then None, or what went wrong.
    """

    def __init__(self, asked: Asked, pipeline: Pipeline):
        self.asked, self.request, self.pipeline = asked, asked.request, pipeline
        self.token, self.begun, self.over = cancel.Token(), False, False
        self.events: asyncio.Queue[Event | BaseException | None] = asyncio.Queue()
        self.used = Used(0, 0)
        self.sent = self.fetched = 0

    @property
    def ahead(self) -> bool:
        """Whether its client is so slow that there is no hurry."""
        return self.sent - self.fetched >= AHEAD

    @property
    def prompted(self) -> int:
        """Tokens of the prompts that samples begin with, each prompt counted once; raises as `Pipeline.say`."""
        request, asked = self.request, self.pipeline.medium.asked
        prompts = request.prompt if isinstance(request.prompt, tuple) else (request.prompt or "",)
        return sum(len(asked(prompt, request.history)) - 1 for prompt in prompts[: request.n])  # without the END before

    def made(self, sample: int, item: np.ndarray, said: Said | None = None) -> Made:
        """The event for a finished sample."""
        self.sent += 1
        if said is not None:
            self.used = Used(self.used.prompt, self.used.made + len(said.tokens))
        return Made(sample, item, said, self.pipeline.mark(self.request, sample))


class Line(ABC):
    """Jobs of one model, which all go on a little with each step.

    Attributes:
        quick: whether its steps are so short that those of others may wait for them.
        bytes: what it holds in memory besides the model.
    """

    quick = False
    bytes = 0

    def __init__(self, device: "Device"):
        self.device = device
        self.waiting: deque[Job] = deque()

    @abstractmethod
    def step(self) -> bool:
        """Go on a little; False when there was nothing to do for now."""

    @property
    @abstractmethod
    def jobs(self) -> list[Job]:
        """All that are not over."""

    @abstractmethod
    def drop(self, job: Job) -> None:
        """Forget a job that is over."""

    def swept(self) -> None:
        """Forget jobs that nobody waits for."""
        for job in [job for job in self.jobs if job.token.over]:
            self.device.end(job, cancel.Cancelled())
            self.drop(job)

    @contextlib.contextmanager
    def guarded(self, jobs: list[Job]) -> Iterator[None]:
        """What goes wrong here goes wrong for these jobs alone, which are over then."""
        try:
            with cancel.working(_Several(jobs, None if self.quick else self.device.meanwhile)):
                yield
        except Exception as bad:
            if not isinstance(bad, MaquetteError | cancel.Cancelled):
                LOG.exception("what a request asked for could not be made")
            for job in jobs:
                self.device.end(job, bad)
                self.drop(job)


class _Several(cancel.Token):
    """The work of several jobs: it is over when nobody waits for any of them; `meanwhile` is done between its steps."""

    def __init__(self, jobs: list[Job], meanwhile: Callable[[], None] | None):
        super().__init__()
        self._jobs, self._meanwhile = jobs, meanwhile

    @property
    def over(self) -> bool:
        return all(job.token.over for job in self._jobs)

    def check(self) -> None:
        if self._meanwhile is not None:
            self._meanwhile()
        super().check()


class Device:
    """The thread that owns the device.

    Args:
        loop: whose tasks wait for what jobs become.

    Attributes:
        seconds: for which it has been busy.
        items, tokens: how many samples and tokens it has made.
        done: how many jobs are over.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self._loop = loop
        self._inbox: queue.SimpleQueue[tuple[Line, Job] | None] = queue.SimpleQueue()
        self._outbox: list[tuple[Job, Event | BaseException | None]] = []
        self._lines: list[Line] = []
        self._stopped = self._inside = False
        self._since = 0.0
        self.seconds, self.items, self.tokens, self.done = 0.0, 0, 0, 0
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)
        self._thread.start()

    def put(self, line: Line, job: Job) -> None:
        """From the loop's thread; raises MQ-4021 when the device has stopped."""
        if self._stopped:
            raise MaquetteError("MQ-4021")
        self._inbox.put((line, job))

    def stop(self) -> None:
        """End what is left with MQ-4021; returns when the thread has ended. From any thread but its own."""
        self._stopped = True
        self._inbox.put(None)
        self._thread.join()

    def refuse(self) -> None:
        """What came in while it stopped is told so too; from the loop's thread."""
        self._take()
        self._end_all()

    # -- from lines, on the device's own thread -----------------------------------------------------------------------

    def send(self, job: Job, event: Event) -> None:
        self.items += isinstance(event, Made)
        self._outbox.append((job, event))

    def end(self, job: Job, error: BaseException | None = None) -> None:
        """The last word of a job."""
        if job.over:
            return
        job.over = True
        self.done += 1
        self.tokens += job.used.made
        if error is None and job.asked.embed is None:
            self._outbox.append((job, job.used))
        self._outbox.append((job, error))

    def meanwhile(self) -> None:
        """Between two steps of a long draw quick lines go on, for as long as it took if there is so much to do."""
        if self._stopped:
            raise MaquetteError("MQ-4021")
        if self._inside:
            return
        self._inside, now = True, time.perf_counter()
        until = now + min(now - self._since, SHARE)
        try:
            self._take()
            while any([self._turn(line) for line in self._lines[:] if line.quick]) and time.perf_counter() < until:
                self._take()
        finally:
            self._inside, self._since = False, time.perf_counter()

    # -- turns --------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopped:
            self._take(wait=None if self._lines else 3600.0)
            began = time.perf_counter()
            worked = [self._turn(line) for line in list(self._lines)]
            self.seconds += time.perf_counter() - began
            if self._lines and not any(worked):  # clients that are slow to fetch what was made
                self._take(wait=0.01)
        self._end_all()

    def _end_all(self) -> None:
        for line in self._lines:
            for job in line.jobs:
                self.end(job, MaquetteError("MQ-4021"))
        self.flush()

    def _take(self, wait: float | None = None) -> None:
        """What has come in joins its line; waits so many seconds for the first of it."""
        with contextlib.suppress(queue.Empty):
            while True:
                come = self._inbox.get(wait is not None, wait)
                wait = None
                if come is None:
                    continue
                line, job = come
                line.waiting.append(job)
                if line not in self._lines:
                    self._lines.append(line)

    def _turn(self, line: Line) -> bool:
        self._since = self._since if self._inside else time.perf_counter()
        try:
            worked = line.step()
        except Exception as bad:  # a mistake of ours: whoever stands in this line is told, and the others go on
            LOG.exception("a line of requests had to be given up")
            for job in line.jobs:
                self.end(job, bad)
                with contextlib.suppress(Exception):
                    line.drop(job)
            worked = True
        if all(job.over for job in line.jobs) and line in self._lines:  # it may have gone within a long draw
            self._lines.remove(line)
        self.flush()
        return worked

    def flush(self) -> None:
        """What was made since the last time goes to those who wait for it, by one call."""
        if self._outbox:
            sent, self._outbox = self._outbox, []
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(_deliver, sent)


def _deliver(sent: list[tuple[Job, Event | BaseException | None]]) -> None:
    for job, event in sent:
        job.events.put_nowait(event)
