"""How one device serves many: jobs join and leave the line of their model between steps, and lines take turns.

One thread owns the device. Each model has lines that go on in steps: `Alone` draws each request by itself, as the
command line does. A step is a piece of a stream, or a batch of samples; while a long batch is drawn, lines whose steps
are short go on between its own (`core.cancel.check` is where it lets them).
"""

import asyncio
import contextlib
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
from maquette.request import Piece, Request, Said

AHEAD = 64
"""Samples that are made for a client before it has fetched the first of them."""
TOGETHER = 4
"""Requests of one model that are drawn alone, in turns."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request to one model.

    Attributes:
        stream: whether words are wanted in pieces while they are made.
        partials: how many pictures of each sample as it looks on the way, from models that remove noise.
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
    """A stored item as it looks now, the `number`-th time that it is shown."""

    sample: int
    number: int
    item: np.ndarray


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
        self.marks = [] if asked.embed is not None else pipeline.marks(asked.request)
        self.used = Used(0, 0)
        self.sent = self.fetched = 0

    @property
    def ahead(self) -> bool:
        """Whether its client is so slow that there is no hurry."""
        return self.sent - self.fetched >= AHEAD

    def made(self, sample: int, item: np.ndarray, said: Said | None = None) -> Made:
        """The event for a finished sample."""
        self.sent += 1
        if said is not None:
            self.used = Used(self.used.prompt, self.used.made + len(said.tokens))
        return Made(sample, item, said, self.marks[sample])


class Line(ABC):
    """Jobs of one model, which all go on a little with each step.

    Attributes:
        quick: whether its steps are so short that those of others may wait for them.
    """

    quick = False

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
            with cancel.working(_Several(jobs, self.device.meanwhile)):
                yield
        except Exception as bad:
            for job in jobs:
                self.device.end(job, bad)
                self.drop(job)


class Alone(Line):
    """Each request is drawn by itself, a few of them in turns; the answer is that of the command line."""

    def __init__(self, device: "Device"):
        super().__init__(device)
        self.begun: deque[tuple[Job, Iterator[Event]]] = deque()

    @property
    def jobs(self) -> list[Job]:
        return [job for job, _ in self.begun] + list(self.waiting)

    def drop(self, job: Job) -> None:
        self.begun = deque(one for one in self.begun if one[0] is not job)
        with contextlib.suppress(ValueError):
            self.waiting.remove(job)

    def step(self) -> bool:
        self.swept()
        while self.waiting and len(self.begun) < TOGETHER:
            job = self.waiting.popleft()
            job.begun = True
            self.begun.append((job, _events(job)))
        turn = next((one for one in self.begun if not one[0].ahead), None)
        if turn is None:
            return False
        self.begun.remove(turn)
        self.begun.append(turn)
        job, events = turn
        with self.guarded([job]):
            event = next(events, None)
            if event is not None:
                self.device.send(job, event)
            else:
                self.device.end(job)
                self.drop(job)
        return True


def _events(job: Job) -> Iterator[Event]:
    """What comes of a job that is drawn alone."""
    asked, pipeline, request = job.asked, job.pipeline, job.request
    if asked.embed is not None:
        yield Vectors(pipeline.embed(asked.embed))
    elif pipeline.medium.talks:
        job.used = Used(prompt_tokens(job), 0)
        pieces = asked.stream and pipeline.streams(request)
        for told in pipeline.told(request, pieces):
            if isinstance(told, Piece):
                yield Words(told.sample, told.text)
            else:
                yield job.made(told.sample, told.said.item, told.said)
    else:
        numbers = iter(range(request.total))
        for items in pipeline.batches(request):
            for item in items:
                yield job.made(next(numbers), item)


def prompt_tokens(job: Job) -> int:
    """Of the prompts that samples begin with, each counted once."""
    request = job.request
    prompts = request.prompt if isinstance(request.prompt, tuple) else (request.prompt or "",)
    asked = job.pipeline.medium.asked
    return sum(len(asked(prompt, request.history)) - 1 for prompt in prompts[: request.n])  # without the END before


class _Several(cancel.Token):
    """The work of several jobs: it is over when nobody waits for any of them, and lets others go on between steps."""

    def __init__(self, jobs: list[Job], meanwhile: Callable[[], None]):
        super().__init__()
        self._jobs, self._meanwhile = jobs, meanwhile

    @property
    def over(self) -> bool:
        return all(job.token.over for job in self._jobs)

    def check(self) -> None:
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
        """Between two steps of a long draw: quick lines take their turns."""
        if self._stopped:
            raise MaquetteError("MQ-4021")
        if self._inside:
            return
        self._inside = True
        try:
            self._take()
            for line in [line for line in self._lines if line.quick]:
                self._turn(line)
        finally:
            self._inside = False

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
        self._flush()

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
        worked = line.step()
        if not line.jobs and line in self._lines:
            self._lines.remove(line)
        self._flush()
        return worked

    def _flush(self) -> None:
        """What was made since the last time goes to those who wait for it, by one call."""
        if self._outbox:
            sent, self._outbox = self._outbox, []
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(_deliver, sent)


def _deliver(sent: list[tuple[Job, Event | BaseException | None]]) -> None:
    for job, event in sent:
        job.events.put_nowait(event)
