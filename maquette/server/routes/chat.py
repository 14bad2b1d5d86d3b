"""`POST /v1/chat/completions`: answers, given what was said before."""

import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from maquette.core.errors import MaquetteError
from maquette.request import Said
from maquette.server import making, talking
from maquette.server.answering import Events, attend, begun
from maquette.server.batching import Used
from maquette.server.doors import needs
from maquette.server.reading import JSON, answers, described, read_json
from maquette.server.schemas import Chat, Message
from maquette.server.talking import End, Piece

router = APIRouter()


@router.post(
    "/v1/chat/completions",
    dependencies=[Depends(needs("infer"))],
    response_class=Response,
    responses=answers(JSON, "text/event-stream"),
    openapi_extra=described(Chat),
)
async def chat(request: Request) -> Response:
    """The next turn of a conversation, `n` times; of a model that learnt from questions and answers."""
    body = await read_json(request, Chat)
    served = talking.needs_words(request, body.model)
    if not served.asks:
        raise MaquetteError("MQ-2133", "model")
    if request.app.state.rules is not None:
        request.app.state.rules.check(*(message.text() for message in body.messages))
    question, history = turns(body.messages)
    asked = making.requested(
        request.app.state,
        body,
        prompt=question,
        history=history,
        max_tokens=body.max_completion_tokens or body.max_tokens,
        stop=talking.stops(body),
        likeliest=body.top_logprobs or 0,
    )
    choices = _Choices(body, asked.seed)
    words = talking.spoken(request.app.state, served, asked, [""], bool(body.stream))
    if body.stream:
        usage = body.stream_options is not None and bool(body.stream_options.include_usage)
        return Events(request, choices.chunks(await begun(request, words), usage), done=True)
    ends, used = await attend(request, talking.all_said(words))
    tree = {**choices.head("chat.completion"), "choices": [choices.whole(end) for end in ends]}
    return JSONResponse(tree | {"usage": talking.usage(used)})


def turns(messages: Sequence[Message]) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The last question, and the questions and answers before it. What a system says stands before the first question.

    Raises:
        MaquetteError: MQ-2202 when the last is no question, or two answers follow one another.
    """
    questions: list[str] = []
    answers: list[str] = []
    for number, message in enumerate(messages):
        text = message.text()
        if message.role == "assistant":
            if len(answers) >= len(questions):
                wanted = "an answer follows a question"
                raise MaquetteError("MQ-2202", path=f"messages[{number}].role", wanted=wanted, more="")
            answers.append(text)
        elif len(questions) > len(answers):
            questions[-1] += "\n" + text
        else:
            questions.append(text)
    if len(questions) == len(answers):
        raise MaquetteError("MQ-2202", path="messages", wanted="the last one is a question", more="")
    return questions[-1], tuple(zip(questions, answers, strict=False))


class _Choices:
    def __init__(self, body: Chat, seed: int):
        self._body = body
        self._head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": making.now(), "model": body.model}
        self._seed = seed

    def head(self, what: str) -> dict[str, Any]:
        return {**self._head, "object": what, "seed": self._seed}

    def whole(self, end: End) -> dict[str, Any]:
        return {
            "index": end.sample,
            "message": {"role": "assistant", "content": end.text, "refusal": None},
            "logprobs": self._logprobs(end),
            "finish_reason": end.said.ended,
            **end.marks,
        }

    def _logprobs(self, end: End) -> dict[str, Any] | None:
        return {"content": told(end.said), "refusal": None} if self._body.logprobs else None

    async def chunks(
        self, words: AsyncIterator[Piece | End | Used], usage: bool
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        head, begun, used = self.head("chat.completion.chunk"), set(), Used(0, 0)

        def choice(sample: int, delta: dict[str, Any], why: str | None = None, **more: Any) -> dict[str, Any]:
            return {**head, "choices": [{"index": sample, "delta": delta, "finish_reason": why} | more]}

        async for one in words:
            if isinstance(one, Used):
                used = one
                continue
            if one.sample not in begun:
                begun.add(one.sample)
                yield "", choice(one.sample, {"role": "assistant", "content": "", "refusal": None})
            if isinstance(one, Piece):
                yield "", choice(one.sample, {"content": one.text})
            else:
                yield "", choice(one.sample, {}, one.said.ended, logprobs=self._logprobs(one), **one.marks)
        if usage:
            yield "", {**head, "choices": [], "usage": talking.usage(used)}


def told(said: Said) -> list[dict[str, Any]]:
    """The tokens of an answer, as this path tells of them."""
    likeliest = said.likeliest or ((),) * len(said.tokens)
    return [
        _token(token, value) | {"top_logprobs": [_token(*other) for other in others]}
        for token, value, others in zip(said.tokens, said.log_probabilities, likeliest, strict=True)
    ]


def _token(token: str, value: float) -> dict[str, Any]:
    return {"token": token, "logprob": talking.finite(value), "bytes": list(token.encode())}
