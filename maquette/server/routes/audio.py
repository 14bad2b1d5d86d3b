"""`POST /v1/audio/speech`: a sound as WAV, or music as MIDI; in pieces, if that is asked for."""

import base64
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from maquette.core.errors import MaquetteError
from maquette.media.base import Medium
from maquette.server import making
from maquette.server.answering import Bytes, Events, attend, begun
from maquette.server.batching import Asked, Made, Partial
from maquette.server.doors import needs
from maquette.server.engine import Served
from maquette.server.reading import answers, described, read_json
from maquette.server.schemas import Speech

router = APIRouter()
TYPES = {".wav": "audio/wav", ".mid": "audio/midi"}
PIECES = 10
"""Of a second of sound."""


@router.post(
    "/v1/audio/speech",
    dependencies=[Depends(needs("infer"))],
    response_class=Response,
    responses=answers(*TYPES.values(), "text/event-stream"),
    openapi_extra=described(Speech),
)
async def speak(request: Request) -> Response:
    """The bytes of one file."""
    body = await read_json(request, Speech)
    served = making.find(request, body.model, ("audio", "music"))
    medium = making.medium_of(request.app.state, served)
    if body.response_format not in (None, medium.suffix[1:]):
        wanted = f"{medium.suffix[1:]}, which this model makes"
        raise MaquetteError("MQ-2202", path="response_format", wanted=wanted, more="")
    if body.n not in (None, 1):
        raise MaquetteError("MQ-2202", path="n", wanted="1: the answer is one file", more="")
    label = body.label if body.label is not None else body.voice if body.voice in served.classes else None
    more = making.words(request.app.state, served, body.input, label)
    asked = making.requested(request.app.state, body, **({"label": label} | more))

    if body.stream_format is not None:
        times = PIECES * medium.stored[0] // medium.rate if served.streams and medium.rate else 0
        pieces = await begun(request, _pieces(request, served, medium, Asked(request=asked, partials=times)))
        if body.stream_format == "sse":
            return Events(request, _told(pieces))
        return Bytes(request, pieces, TYPES[medium.suffix], {"x-seed": str(asked.seed)})

    async def made() -> tuple[bytes, int]:
        (one, *_), _ = await making.collected(request.app.state, served, Asked(request=asked))
        return await making.leaving(request.app.state, medium, one.item, one.mark), one.mark.seed

    data, seed = await attend(request, made())
    return Response(data, media_type=TYPES[medium.suffix], headers={"x-seed": str(seed)})


async def _pieces(request: Request, served: Served, medium: Medium, asked: Asked) -> AsyncIterator[bytes]:
    """The file in pieces: what of it will stay. A filter sees a sound when it is whole; nothing leaves before."""
    state, sent = request.app.state, 0
    async with contextlib.aclosing(making.events(state, served, asked)) as coming:  # type: ignore[type-var]
        async for event in coming:
            if isinstance(event, Made):
                yield (await making.leaving(state, medium, event.item, event.mark))[sent:]
            elif isinstance(event, Partial) and state.allow is None:
                data = await making.leaving(state, medium, event.item, event.mark)
                end = medium.settled(data, event.share)
                if end > sent:
                    yield data[sent:end]
                    sent = end


async def _told(pieces: AsyncIterator[bytes]) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """The events of OpenAI's for them."""
    async with contextlib.aclosing(pieces):  # type: ignore[type-var]
        async for piece in pieces:
            name = "speech.audio.delta"
            yield name, {"type": name, "audio": base64.b64encode(piece).decode()}
    used = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    yield "speech.audio.done", {"type": "speech.audio.done", "usage": used}
