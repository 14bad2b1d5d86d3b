"""Texts that are made together, token by token: one takes a seat as soon as another leaves it."""

import contextlib
from collections import deque
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from maquette.core.types import Sampling, Seated, Tokens
from maquette.pipeline import Pipeline, Row
from maquette.request import Said
from maquette.server.batching import Device, Job, Line, Used, Words
from maquette.solvers.decoding import MAKE, draw, restrict
from maquette.solvers.saying import answering

READ = 512
"""Tokens of prompts that are read between two steps; the last prompt may be longer."""


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
        self.how = job.request.sampling or Sampling()
        self.shown = 0

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

    def __init__(self, device: Device, pipeline: Pipeline, slots: int):
        super().__init__(device)
        space = pipeline.model.space
        assert isinstance(pipeline.model, Seated) and isinstance(space, Tokens) and space.marks is not None
        self.pipeline, self.marks = pipeline, space.marks
        with pipeline.computing():
            self.seats = pipeline.model.seats(slots)
        self.bytes = self.seats.bytes
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
                job.used = job.used if job.begun else Used(job.prompted, 0)
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
