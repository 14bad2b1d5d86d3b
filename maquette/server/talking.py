"""What the two paths for words share: the words of a request as they come, and what OpenAI tells of tokens."""

import math
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from fastapi import Request as Call
from starlette.datastructures import State

from maquette.core.errors import MaquetteError
from maquette.request import Request, Said
from maquette.server import making
from maquette.server.batching import Asked, Made, Used, Words
from maquette.server.engine import Served
from maquette.server.filtering import Flow
from maquette.server.schemas import Spoken

LEAST = -9999.0
"""Instead of minus infinity, which JSON does not have."""


class Piece(NamedTuple):
    """Some words of a sample."""

    sample: int
    text: str


class End(NamedTuple):
    """All of a sample."""

    sample: int
    text: str
    said: Said
    marks: dict[str, Any]
    """What the file of it would carry: `aigc`, and `maquette` where seed and model are not all."""


def stops(body: Spoken) -> tuple[str, ...]:
    return (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())


async def spoken(
    state: State, served: Served, request: Request, before: Sequence[str], stream: bool
) -> AsyncIterator[Piece | End | Used]:
    """The words that were made, without what stands before them, through the filter, labelled where texts are.

    Args:
        before: what sample i begins with that was not made, at i modulo their number.
        stream: whether pieces are wanted.
    """
    beams = request.sampling is not None and request.sampling.beams
    pieces = stream and served.streams and not beams
    flows: dict[int, Flow] = {}
    shown: dict[int, int] = {}
    visible = f"{state.settings.visible}\n" if state.settings.visible else ""

    def released(sample: int, text: str, last: bool) -> str:
        begun = sample in flows
        flow = flows.setdefault(sample, Flow(state.rules, state.allow))
        return ("" if begun else visible) + flow.put(text, last)

    coming = making.events(state, served, Asked(request=request, stream=pieces))
    try:
        async for event in coming:
            if isinstance(event, Words):
                known = len(before[event.sample % len(before)])
                from_, to = shown.get(event.sample, 0), shown.get(event.sample, 0) + len(event.text)
                shown[event.sample] = to
                if text := released(event.sample, event.text[max(0, known - from_) :], False):
                    yield Piece(event.sample, text)
            elif isinstance(event, Made):
                assert event.said is not None, "what is made of words is said"
                text = beyond(event.said.text, before[event.sample % len(before)])
                known = len(before[event.sample % len(before)])
                rest = text[max(0, shown.get(event.sample, 0) - known) :]
                last = released(event.sample, rest, True)
                if stream and last:
                    yield Piece(event.sample, last)
                mark = making.marked(state, event.mark)
                carried = {"aigc": mark.fields()} | ({"maquette": dict(mark.asked)} if mark.asked else {})
                yield End(event.sample, visible + text, event.said, carried)
            elif isinstance(event, Used):
                yield event
    finally:
        await coming.aclose()  # type: ignore[attr-defined]


def beyond(text: str, before: str) -> str:
    """`text` without what it begins with."""
    return text.removeprefix(before) if text.startswith(before) else text[len(before) :]


async def all_said(words: AsyncIterator[Piece | End | Used]) -> tuple[list[End], Used]:
    """The ends of all samples, in their order."""
    ends: list[End] = []
    used = Used(0, 0)
    async for one in words:
        if isinstance(one, End):
            ends.append(one)
        elif isinstance(one, Used):
            used = one
    return sorted(ends, key=lambda end: end.sample), used


def usage(used: Used) -> dict[str, int]:
    return {
        "prompt_tokens": used.prompt,
        "completion_tokens": used.made,
        "total_tokens": used.prompt + used.made,
    }


def finite(value: float) -> float:
    return round(value, 6) if math.isfinite(value) else LEAST


def needs_words(call: Call, name: str) -> Served:
    """The model called `name`, which must make words."""
    served = making.find(call, name, list({one.medium for one in call.app.state.engine.served()}))
    if not served.talks:
        todo = making.PATHS.get(served.medium, making.ELSEWHERE)
        raise MaquetteError("MQ-2214", "model", made=served.medium, todo=todo)
    return served
