"""How one device serves many: jobs join and leave the line of their model between steps, and lines take turns.

One thread owns the device. Each model has lines that go on in steps: `Alone` draws each request by itself, as the
command line does. A step is a piece of a stream, or a batch of samples; while a long batch is drawn, lines whose steps
are short go on between its own (`core.cancel.check` is where it lets them).
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
import torch
from torch import Tensor

from maquette.core import cancel
from maquette.core.errors import MaquetteError
from maquette.core.exit import Mark
from maquette.core.types import Sampling, Seated, Tokens
from maquette.pipeline import Pipeline, Row
from maquette.request import Piece, Request, Said
from maquette.solvers.decoding import MAKE, draw, restrict
from maquette.solvers.saying import answering

LOG = logging.getLogger(__name__)
AHEAD = 64
"""Samples that are made for a client before it has fetched the first of them."""
READ = 512
"""Tokens of prompts that are read between two steps; the last prompt may be longer."""
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
            with cancel.working(_Several(jobs, None if self.quick else self.device.meanwhile)):
                yield
        except Exception as bad:
            if not isinstance(bad, MaquetteError | cancel.Cancelled):
                LOG.exception("what a request asked for could not be made")
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


class _Text:
    """A text that is being made, on its seat."""

    def __init__(self, job: Job, sample: int, row: Row):
        self.job, self.sample, self.row, self.heard = job, sample, row, row.heard
        self.start, self.u, self.x = (t.cpu().numpy() for t in (row.start, row.u, row.start.clone()))
        self.gaps = np.flatnonzero(self.start == MAKE).tolist()
        self.at = self.gaps[0] if self.gaps else len(self.x)
        likeliest = job.request.likeliest
        self.chosen = np.zeros(len(self.x), np.float32)
        self.others = np.zeros((len(self.x), likeliest), np.int64)
        self.how_likely = np.zeros((len(self.x), likeliest), np.float32)
        self.listened = job.asked.stream or bool(job.request.stops)
        self.shown = 0

    @property
    def how(self) -> Sampling:
        return self.job.request.sampling or Sampling()

    def take(self, token: int, end: int) -> bool:
        """The token of this place; whether it was the last one to be made."""
        self.x[self.at] = token
        over = token == end and self.start[self.at] == MAKE
        self.at += 1
        if self.listened:
            self.heard.hear(self.x[self.heard.places : self.at].tolist())
        if over or self.heard.over:
            self.x[self.at :] = end
        elif self.at <= self.gaps[-1]:
            return False
        self.at = len(self.x)
        return True

    def words(self) -> Words | None:
        """What is sure now and was not shown before."""
        before, self.shown = self.shown, max(self.shown, self.heard.sure)
        return Words(self.sample, self.heard.text[before : self.shown]) if self.shown > before else None

    def said(self) -> Said:
        self.heard.hear(self.x[self.heard.places :].tolist())
        self.heard.close()
        noted = (self.start, self.x, self.chosen, self.others, self.how_likely)
        return self.job.pipeline.spoken(self.heard, *map(torch.from_numpy, noted))


class Talk(Line):
    """Texts of all requests, token by token on a number of seats: one comes as soon as another has gone.

    A text depends on its request and its seed alone, to the bit, whoever sits beside it. It is the text that the
    command line makes but where two tokens are as likely as each other to the last bits: products of another shape
    round otherwise.
    """

    quick = True

    def __init__(self, device: "Device", pipeline: Pipeline, slots: int):
        super().__init__(device)
        space = pipeline.model.space
        assert isinstance(pipeline.model, Seated) and isinstance(space, Tokens) and space.marks is not None
        self.pipeline, self.marks = pipeline, space.marks
        with pipeline.computing():
            self.seats = pipeline.model.seats(slots)
        self.free = list(range(slots - 1, -1, -1))
        self.sitting: dict[int, _Text] = {}
        self.coming: deque[tuple[Job, Iterator[tuple[int, Row]]]] = deque()
        self.left: dict[Job, int] = {}

    @property
    def jobs(self) -> list[Job]:
        return [*self.left, *self.waiting]

    def drop(self, job: Job) -> None:
        for seat in [seat for seat, text in self.sitting.items() if text.job is job]:
            self._rise(seat)
        self.coming = deque(one for one in self.coming if one[0] is not job)
        self.left.pop(job, None)
        with contextlib.suppress(ValueError):
            self.waiting.remove(job)

    def step(self) -> bool:
        self.swept()
        self._fill()
        if not self.sitting:
            return False
        with self.guarded(list({text.job: None for text in self.sitting.values()})), self.pipeline.computing():
            self._read()
        return True

    def _fill(self) -> None:
        """Free seats go to the requests in turns; what is long to read lets the others go on first."""
        while self.waiting:
            job = self.waiting.popleft()
            self.left[job] = job.request.total
            self.coming.append((job, enumerate(self.pipeline.rows(job.request))))
        tokens = 0
        for _ in range(len(self.coming) * len(self.free)):
            if not self.free or not self.coming or tokens > READ:
                return
            job, rows = self.coming.popleft()
            self.coming.append((job, rows))
            if job.ahead:
                continue
            with self.guarded([job]), self.pipeline.computing():
                job.used = job.used if job.begun else Used(prompt_tokens(job), 0)
                job.begun = True
                coming = next(rows, None)
                if coming is None:
                    self.coming.pop()
                else:
                    tokens += self._sit(_Text(job, *coming))

    def _sit(self, text: _Text) -> int:
        """How many tokens had to be read before."""
        known = text.row.start[: max(0, text.at - 1)]
        if not text.gaps:
            self._finish(text)
            return 0
        seat = self.free[-1]
        self.seats.sit(seat, known, text.row.condition)
        self.sitting[self.free.pop()] = text
        return len(known)

    def _rise(self, seat: int) -> None:
        del self.sitting[seat]
        self.seats.leave(seat)
        self.free.append(seat)

    def _read(self) -> None:
        """One token more of every text."""
        seats, texts = list(self.sitting), list(self.sitting.values())
        last = torch.tensor([int(text.x[text.at - 1]) for text in texts])
        logits = self.seats.read(seats, last).float()
        if self.pipeline.medium.asks:
            logits = answering(lambda x: logits, self.marks)(last[:, None])
        for seat, text, token in zip(seats, texts, self._choose(logits, texts), strict=True):
            over = text.take(token, self.marks.end)
            said = text.said() if over else None
            if text.job.asked.stream and (words := text.words()) is not None:
                self.device.send(text.job, words)
            if said is not None:
                self._rise(seat)
                self._finish(text, said)

    def _choose(self, logits: Tensor, texts: list[_Text]) -> list[int]:
        """The next token of each text; what is known already is not drawn."""
        tokens = [int(text.start[text.at]) for text in texts]
        groups: dict[Sampling, list[int]] = {}
        for i, text in enumerate(texts):
            if tokens[i] == MAKE:
                groups.setdefault(text.how, []).append(i)
        likely = logits.log_softmax(1)
        for how, group in groups.items():
            several = [texts[i] for i in group]
            u = torch.tensor(np.array([text.u[text.at] for text in several]), device=logits.device)
            allowed = _allowed(logits[group], several)
            drawn = draw(restrict(allowed, _before(several, how).to(logits.device), how), u, how).cpu()
            for i, token in zip(group, drawn.tolist(), strict=True):
                tokens[i] = token
        chosen = likely.gather(1, torch.tensor(tokens, device=logits.device)[:, None])[:, 0].tolist()
        for i, text in enumerate(texts):
            if text.start[text.at] == MAKE:
                text.chosen[text.at] = chosen[i]
                if text.others.shape[1]:
                    best = likely[i].topk(text.others.shape[1])
                    text.others[text.at], text.how_likely[text.at] = best.indices.cpu(), best.values.cpu()
        return tokens

    def _finish(self, text: _Text, said: Said | None = None) -> None:
        job, said = text.job, said or text.said()
        self.device.send(job, job.made(text.sample, said.item, said))
        self.left[job] -= 1
        if not self.left[job]:
            self.device.end(job)
            self.drop(job)


def _allowed(logits: Tensor, texts: list[_Text]) -> Tensor:
    """`logits` with what may not stand in a template at -inf."""
    for i, text in enumerate(texts):
        if text.row.allowed is not None:
            logits[i] = logits[i].masked_fill(~text.row.allowed, -torch.inf)
    return logits


def _before(texts: list[_Text], how: Sampling) -> Tensor:
    """The tokens that stand before the next one of each text, padded by `MAKE`; none where nobody asks."""
    if how.repetition == 1:
        return torch.empty(len(texts), 0, dtype=torch.int64)
    rows = np.full((len(texts), max(text.at for text in texts)), MAKE)
    for row, text in zip(rows, texts, strict=True):
        row[: text.at] = text.x[: text.at]
    return torch.from_numpy(rows)


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
        try:
            worked = line.step()
        except Exception as bad:  # a mistake of ours: whoever stands in this line is told, and the others go on
            LOG.exception("a line of requests had to be given up")
            for job in line.jobs:
                self.end(job, bad)
            self._lines.remove(line)
            worked = True
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
