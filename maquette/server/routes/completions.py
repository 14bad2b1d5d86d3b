"""`POST /v1/completions`: texts that go on from prompts."""

import secrets
from collections.abc import AsyncIterator, Sequence
from itertools import accumulate
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from maquette.request import Said
from maquette.server import making, talking
from maquette.server.answering import Events, attend, begun
from maquette.server.batching import Used
from maquette.server.doors import needs
from maquette.server.reading import JSON, answers, described, read_json
from maquette.server.schemas import Completion
from maquette.server.talking import End, Piece

router = APIRouter()
USUAL = 16
"""Tokens that are made unless told otherwise, as at OpenAI."""


@router.post(
    "/v1/completions",
    dependencies=[Depends(needs("infer"))],
    response_class=Response,
    responses=answers(JSON, "text/event-stream"),
    openapi_extra=described(Completion),
)
async def complete(request: Request) -> Response:
    """Go on with a text, or several; `n` of each."""
    body = await read_json(request, Completion)
    served = talking.needs_words(request, body.model)
    prompts = [body.prompt] if isinstance(body.prompt, str) else list(body.prompt or [""])
    if request.app.state.rules is not None:
        request.app.state.rules.check(*prompts)
    filled = body.template is not None or body.form is not None
    asked = making.requested(
        request.app.state,
        body,
        n=(body.n or 1) * len(prompts),
        prompt=None if body.prompt is None else tuple(prompts),
        max_tokens=None if filled else body.max_tokens or USUAL,
        stop=talking.stops(body),
        likeliest=body.logprobs or 0,
        template=body.template,
        form=body.form,
    )
    before = [""] if served.asks else prompts
    choices = _Choices(body, prompts, before, asked.seed)
    words = talking.spoken(request.app.state, served, asked, before, bool(body.stream))
    if body.stream:
        usage = body.stream_options is not None and bool(body.stream_options.include_usage)
        return Events(request, choices.chunks(await begun(request, words), usage), done=True)
    ends, used = await attend(request, talking.all_said(words))
    tree = {**choices.head, "choices": [choices.whole(end) for end in ends], "usage": talking.usage(used)}
    tree["choices"].sort(key=lambda choice: choice["index"])
    return JSONResponse(tree)


class _Choices:
    """The choices of an answer: of each prompt its `n`, one after another."""

    def __init__(self, body: Completion, prompts: Sequence[str], before: Sequence[str], seed: int):
        self._body, self._prompts, self._before = body, prompts, before
        self.head: dict[str, Any] = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": making.now(),
            "model": body.model,
            "seed": seed,
        }

    def _index(self, sample: int) -> int:
        return sample % len(self._prompts) * (self._body.n or 1) + sample // len(self._prompts)

    def _echo(self, sample: int) -> str:
        return self._prompts[sample % len(self._prompts)] if self._body.echo else ""

    def whole(self, end: End) -> dict[str, Any]:
        text = self._echo(end.sample) + end.text
        return self._choice(end.sample, text, end.said.ended, self._logprobs(end)) | end.marks

    def _choice(self, sample: int, text: str, why: str | None, logprobs: Any = None) -> dict[str, Any]:
        return {"index": self._index(sample), "text": text, "logprobs": logprobs, "finish_reason": why}

    def _logprobs(self, end: End) -> dict[str, Any] | None:
        return None if self._body.logprobs is None else told(end.said, len(self._echo(end.sample)))

    async def chunks(
        self, words: AsyncIterator[Piece | End | Used], usage: bool
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        told, used = set(), Used(0, 0)
        async for one in words:
            if isinstance(one, Used):
                used = one
                continue
            if one.sample not in told and (echo := self._echo(one.sample)):
                yield "", {**self.head, "choices": [self._choice(one.sample, echo, None)]}
            told.add(one.sample)
            if isinstance(one, Piece):
                yield "", {**self.head, "choices": [self._choice(one.sample, one.text, None)]}
            else:
                last = self._choice(one.sample, "", one.said.ended, self._logprobs(one)) | one.marks
                yield "", {**self.head, "choices": [last]}
        if usage:
            yield "", {**self.head, "choices": [], "usage": talking.usage(used)}


def told(said: Said, offset: int) -> dict[str, Any]:
    """The tokens of a text, as this path tells of them."""
    starts = list(accumulate(map(len, said.tokens), initial=offset))[:-1]
    likeliest = [{token: talking.finite(value) for token, value in others} for others in said.likeliest]
    return {
        "tokens": list(said.tokens),
        "token_logprobs": [talking.finite(value) for value in said.log_probabilities],
        "top_logprobs": likeliest or None,
        "text_offset": starts,
    }
