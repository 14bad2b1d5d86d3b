"""Samples that are drawn whole: a batch of several requests at once, or one request by itself."""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np

from maquette.pipeline import Part, Pipeline
from maquette.request import Piece
from maquette.server.batching import Device, Event, Job, Line, Partial, Used, Vectors, Words

QUICK = 0.1
"""Seconds in which a batch is drawn that need not wait until a longer one is."""
TOGETHER = 4
"""Requests of one model that are drawn alone, in turns."""


class Alone(Line):
    """Each request is drawn by itself, a few of them in turns; the answer is that of the command line."""

    def __init__(self, device: Device):
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
            self.begun.append((job, _events(job, self.device)))
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


def _events(job: Job, device: Device) -> Iterator[Event]:
    """What comes of a job that is drawn alone."""

    def watch(numbers: range) -> _Watch:
        return _Watch(device, [(job, number) for number in numbers])

    asked, pipeline, request = job.asked, job.pipeline, job.request
    if asked.embed is not None:
        yield Vectors(pipeline.embed(asked.embed))
    elif pipeline.medium.talks:
        job.used = Used(job.prompted, 0)
        pieces = asked.stream and pipeline.streams(request)
        for told in pipeline.told(request, pieces):
            if isinstance(told, Piece):
                yield Words(told.sample, told.text)
            else:
                yield job.made(told.sample, told.said.item, told.said)
    elif asked.partials and pipeline.unfolds(request):
        yield from _unfolding(job)
    else:
        numbers = range(request.total)
        for items in pipeline.batches(request, watch if asked.partials else None):
            for number, item in zip(numbers, items, strict=False):
                yield job.made(number, item)
            numbers = numbers[len(items) :]


def _unfolding(job: Job) -> Iterator[Event]:
    """The samples of a job as they are made, value by value."""
    pipeline, request, shown = job.pipeline, job.request, 0
    for first, share, items in pipeline.unfolding(request, job.asked.partials):
        shown = 0 if share == 1 else shown + 1
        for sample, item in enumerate(items, first):
            if share == 1:
                yield job.made(sample, item)
            else:
                yield Partial(sample, shown, item, pipeline.mark(request, sample), share)


class Gather(Line):
    """Samples of all requests with the same settings are drawn together, a batch with each step.

    Batches have one size anyway, and a sample depends on its seed alone: it is the one that the command line makes.
    """

    def __init__(self, device: Device, pipeline: Pipeline):
        super().__init__(device)
        self.pipeline = pipeline
        self.parts: dict[Job, Part] = {}
        self.begun: dict[Job, int] = {}
        self.last = 0.0

    @property
    def quick(self) -> bool:
        """As far as the last batch tells."""
        return 0 < self.last < QUICK

    @property
    def jobs(self) -> list[Job]:
        return [*self.parts, *self.waiting]

    def drop(self, job: Job) -> None:
        self.parts.pop(job, None)
        self.begun.pop(job, None)
        with contextlib.suppress(ValueError):
            self.waiting.remove(job)

    def step(self) -> bool:
        self.swept()
        while self.waiting:
            job = self.waiting.popleft()
            with self.guarded([job]):
                self.parts[job], self.begun[job] = self.pipeline.part(job.request), 0
        ready = [job for job in self.parts if not job.ahead]
        if not ready:
            return False
        settings = _settings(ready[0])
        rows = self._dealt([job for job in ready if _settings(job) == settings])
        with self.guarded(list(dict.fromkeys(job for job, _ in rows))):
            self._draw(rows)
        return True

    def _dealt(self, jobs: list[Job]) -> list[tuple[Job, int]]:
        """A batch of (request, number of a sample): one of each request in turn, as long as there are any."""
        rows: list[tuple[Job, int]] = []
        jobs = list(jobs)
        while jobs and len(rows) < self.pipeline.batch:
            job = jobs.pop(0)
            rows.append((job, self.begun[job]))
            self.begun[job] += 1
            job.begun = True
            if self.begun[job] < job.request.total:
                jobs.append(job)
        return rows

    def _draw(self, rows: list[tuple[Job, int]]) -> None:
        began = time.perf_counter()
        watch = _Watch(self.device, rows) if any(job.asked.partials for job, _ in rows) else None
        items = self.pipeline.together([(self.parts[job], number) for job, number in rows], watch)
        self.last = time.perf_counter() - began
        for (job, number), item in zip(rows, items, strict=True):
            self.device.send(job, job.made(number, item))
        for job in dict.fromkeys(job for job, _ in rows):
            if self.begun[job] == job.request.total:
                self.device.end(job)
                self.drop(job)
            else:  # its next turn comes after those of the others
                self.parts[job] = self.parts.pop(job)


def _settings(job: Job) -> tuple[object, ...]:
    request = job.request
    return request.sampling, request.guidance, request.guidance_interval


class _Watch:
    """Shows how the samples of a batch look on the way to those who asked for it, as often as they did.

    Args:
        rows: which sample of which request each row of the batch is.
    """

    def __init__(self, device: Device, rows: list[tuple[Job, int]]):
        self.device = device
        self.coming = [(row, job, sample, _moments(job)) for row, (job, sample) in enumerate(rows)]

    def __call__(self, level: float, show: Callable[[list[int]], np.ndarray]) -> None:
        now = [one for one in self.coming if one[3] and level <= one[3][0] and not one[1].token.over]
        if not now:
            return
        for (_, job, sample, moments), item in zip(now, show([one[0] for one in now]), strict=True):
            while moments and level <= moments[0]:
                moments.pop(0)
            mark = job.pipeline.mark(job.request, sample)
            self.device.send(job, Partial(sample, job.asked.partials - len(moments), item, mark))
        self.device.flush()


def _moments(job: Job) -> list[float]:
    """The levels of noise at which a sample is shown."""
    levels, times = job.pipeline.levels(job.request), job.asked.partials
    return [levels[(i + 1) * len(levels) // (times + 1)] for i in range(times)] if levels else []
