"""`POST /v1/audio/speech`: a sound as WAV, or music as MIDI."""

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from maquette.core.errors import MaquetteError
from maquette.server import making
from maquette.server.answering import attend
from maquette.server.batching import Asked
from maquette.server.doors import needs
from maquette.server.reading import answers, described, read_json
from maquette.server.schemas import Speech

router = APIRouter()
TYPES = {".wav": "audio/wav", ".mid": "audio/midi"}


@router.post(
    "/v1/audio/speech",
    dependencies=[Depends(needs("infer"))],
    response_class=Response,
    responses=answers(*TYPES.values()),
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

    async def made() -> tuple[bytes, int]:
        (one, *_), _ = await making.collected(request.app.state, served, Asked(request=asked))
        return await making.leaving(request.app.state, medium, one.item, one.mark), one.mark.seed

    data, seed = await attend(request, made())
    return Response(data, media_type=TYPES[medium.suffix], headers={"x-seed": str(seed)})
