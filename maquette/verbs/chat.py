"""Talk with a model that learnt from questions and answers."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from maquette.core.errors import MaquetteError, Phrase
from maquette.core.types import Stream
from maquette.pipeline import Pipeline, load
from maquette.request import Request

ROOM = 4
"""A share of the context, one in so many tokens, is kept free for an answer unless `max_tokens` says how long it is."""


class Conversation:
    """Questions and their answers, each given all that was said before it.

    When the model's context is full the oldest turns fall away.

    Args:
        source: a run, a bundle or a loaded pipeline.
        request: the fields of `Request` for each answer: seed (answer i is drawn from seed + i), max_tokens, stop and
            sampling.

    Attributes:
        turns: the questions and answers that the next answer will be given.
        forgotten: how many turns have fallen away.

    Raises:
        MaquetteError: MQ-2133 for a model that only goes on with texts, MQ-2104 for one without words.
    """

    def __init__(self, source: Pipeline | Path | str, device: str = "auto", **request: Any):
        self.pipeline = source if isinstance(source, Pipeline) else load(source, device)
        if not self.pipeline.medium.talks:
            raise MaquetteError("MQ-2104", task=Phrase("hold a conversation", "对话"))
        if not self.pipeline.medium.asks:
            raise MaquetteError("MQ-2133")
        given = {name: value for name, value in request.items() if value is not None}
        self._request = Request.from_tree(given)
        self.turns: list[tuple[str, str]] = []
        self.forgotten = self._answers = 0

    def begin_anew(self) -> None:
        """Forget what was said."""
        self.turns.clear()

    def ask(self, question: str) -> Iterator[str]:
        """The answer in pieces as they are made; when the last has come, it belongs to what was said.

        Raises:
            MaquetteError: MQ-2121 for a question longer than the context, MQ-2130 for an empty one.
        """
        self.pipeline.medium.asked(question)  # what can never be asked makes nothing fall away
        while self.turns and not self._leaves_room(question):
            self.turns.pop(0)
            self.forgotten += 1
        seed = self._request.seed + self._answers
        request = replace(self._request, n=1, prompt=question, history=tuple(self.turns), seed=seed)
        answer = ""
        for piece in self._pieces(request):
            answer += piece
            yield piece
        self.turns.append((question, answer))
        self._answers += 1

    def _pieces(self, request: Request) -> Iterator[str]:
        if isinstance(self.pipeline.model, Stream):
            yield from (piece.text for piece in self.pipeline.stream(request))
        else:
            yield self.pipeline.say(request)[0].text

    def _leaves_room(self, question: str) -> bool:
        context = self.pipeline.medium.stored[0]
        try:
            known = len(self.pipeline.medium.asked(question, self.turns))
        except MaquetteError as bad:
            if bad.code != "MQ-2121":
                raise
            return False
        return known + (self._request.max_tokens or context // ROOM) <= context
