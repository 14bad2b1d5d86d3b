"""`POST /v1/embeddings`: what a model sees in texts or pictures, as vectors."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from maquette.core.errors import MaquetteError
from maquette.server import making, pictures
from maquette.server.answering import attend
from maquette.server.doors import caller_of, needs
from maquette.server.engine import Served
from maquette.server.reading import described, read_json
from maquette.server.schemas import Embedding

router = APIRouter()


@router.post("/v1/embeddings", dependencies=[Depends(needs("infer"))], openapi_extra=described(Embedding))
async def embed(request: Request) -> Response:
    """A vector for each text of `input`, or picture of `images`."""
    body = await read_json(request, Embedding)
    engine = request.app.state.engine
    served = engine.find(body.model, caller_of(request).sees)
    if not served.embeds:
        raise MaquetteError("MQ-2161", "model", kind=served.kind)
    if (body.input is None) == (body.images is None):
        raise MaquetteError("MQ-2202", path="input", wanted="given, or else `images`", more="")
    texts = [body.input] if isinstance(body.input, str) else body.input
    if texts is not None and (not texts or not all(text.strip() for text in texts)):
        raise MaquetteError("MQ-2202", path="input", wanted="texts that are not empty", more="")
    items: Any = texts
    if body.images is not None:
        if served.medium != "image":
            raise MaquetteError("MQ-2214", "images", made=served.medium, todo="`input`")
        items = np.stack(await attend(request, _items(request, served, body.images)))
    vectors = await attend(request, engine.embed(served.id, items))
    if body.dimensions not in (None, vectors.shape[1]):
        wanted = f"{vectors.shape[1]}, as this model has them"
        raise MaquetteError("MQ-2202", path="dimensions", wanted=wanted, more="")
    data = [
        {"object": "embedding", "index": number, "embedding": _told(vector, body.encoding_format)}
        for number, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": 0, "total_tokens": 0}
    return JSONResponse({"object": "list", "data": data, "model": served.id, "usage": usage})


def _told(vector: np.ndarray, how: str | None) -> str | list[float]:
    if how == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return [float(value) for value in vector]


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)
    except ValueError:
        raise MaquetteError("MQ-2202", path="images", wanted="picture files in base64", more="") from None


async def _items(request: Request, served: Served, images: Sequence[str]) -> list[np.ndarray]:
    state = request.app.state
    medium = making.medium_of(state, served)
    return [await pictures.read(state.decoders, _bytes(one), medium, "images") for one in images]
