"""`POST /v1/images/generations`, `/edits` and `/variations`: pictures, and pictures on the way to them."""

import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from maquette.core.errors import MaquetteError
from maquette.core.types import Sampling
from maquette.request import Request as Wanted
from maquette.server import making, pictures
from maquette.server.answering import Events, attend, begun
from maquette.server.batching import Asked, Made, Partial, Used
from maquette.server.doors import needs
from maquette.server.engine import Served
from maquette.server.pictures import Brought
from maquette.server.reading import FORM, JSON, answers, described, read_form, read_json
from maquette.server.schemas import Edit, Generation, Painted, Variation

router = APIRouter()
INFER = [Depends(needs("infer"))]
SOME = 0.5
"""How much of a picture gives way to noise in a variation of it, unless told otherwise."""


@router.post(
    "/v1/images/generations",
    dependencies=INFER,
    response_class=Response,
    responses=answers(JSON, "text/event-stream"),
    openapi_extra=described(Generation),
)
async def generate(request: Request) -> Response:
    """Pictures of what a model learnt, of a label, or of words."""
    body = await read_json(request, Generation)
    served = making.find(request, body.model, ("image",))
    asked = making.requested(
        request.app.state, body, **making.words(request.app.state, served, body.prompt, body.label)
    )
    return await _answered(request, served, body, asked, "image_generation")


@router.post(
    "/v1/images/edits",
    dependencies=INFER,
    response_class=Response,
    responses=answers(JSON, "text/event-stream"),
    openapi_extra=described(Edit, FORM, files=("image", "mask")),
)
async def edit(request: Request) -> Response:
    """A picture made anew in part (`mask`), enlarged, sharpened, coloured, or as a model learnt to do it over."""
    body, files = await read_form(request, Edit, frozenset({"image", "mask"}))
    served = making.find(request, body.model, ("image",))
    image, mask = pictures.one_of(files, "image", "mask")
    assert image is not None, "which is needed"
    more = making.words(request.app.state, served, body.prompt, body.label)
    asked = await _begun(request, served, Brought(image, mask), body, more)
    return await _answered(request, served, body, asked, "image_edit")


@router.post(
    "/v1/images/variations",
    dependencies=INFER,
    response_class=Response,
    responses=answers(JSON, "text/event-stream"),
    openapi_extra=described(Variation, FORM, files=("image",)),
)
async def vary(request: Request) -> Response:
    """Pictures that begin from another, of a model that removes noise."""
    body, files = await read_form(request, Variation, frozenset({"image"}))
    served = making.find(request, body.model, ("image",))
    if not served.denoises:
        raise MaquetteError("MQ-2104", "model", task="vary a picture")
    (image,) = pictures.one_of(files, "image")
    assert image is not None, "which is needed"
    asked = await _begun(request, served, Brought(image, None), Edit(strength=body.strength or SOME), {}, body)
    return await _answered(request, served, body, asked, "image_generation")


async def _begun(
    request: Request, served: Served, brought: Brought, edit: Edit, more: dict[str, Any], body: Painted | None = None
) -> Wanted:
    """The request that begins from a picture."""
    state = request.app.state
    fields = await attend(request, pictures.edited(state.decoders, brought, edit, state.media.outline(served)))
    if body is not None:
        how = making.sampling(body) or Sampling()
        fields["sampling"] = replace(how, strength=float(edit.strength or SOME))
    return making.requested(state, body or edit, **(more | fields))


async def _answered(request: Request, served: Served, body: Painted, asked: Wanted, what: str) -> Response:
    size = making.size_of(making.medium_of(request.app.state, served))
    if body.size not in (None, "auto", size):
        raise MaquetteError("MQ-2202", path="size", wanted=f"auto or {size}, the size of this model", more="")
    if body.stream:
        partials = body.partial_images or 0
        if partials and not (served.denoises or served.streams):
            raise MaquetteError("MQ-2104", "partial_images", task="show pictures on the way")
        coming = making.events(request.app.state, served, Asked(request=asked, stream=True, partials=partials))
        return Events(request, _streamed(request, served, await begun(request, coming), what, size))
    if body.partial_images:
        raise MaquetteError("MQ-2105", "partial_images", first="partial_images", second="stream")
    return JSONResponse(await attend(request, _whole(request, served, asked, size)))


async def _whole(request: Request, served: Served, asked: Wanted, size: str) -> dict[str, Any]:
    made, used = await making.collected(request.app.state, served, Asked(request=asked))
    medium = making.medium_of(request.app.state, served)
    data = []
    for one in made:
        png = await making.leaving(request.app.state, medium, one.item, one.mark)
        data.append({"b64_json": base64.b64encode(png).decode(), "seed": one.mark.seed})
    return {
        "created": making.now(),
        "data": data,
        "size": size,
        "output_format": "png",
        "background": "opaque",
        "usage": _usage(used),
    }


async def _streamed(
    request: Request, served: Served, coming: AsyncIterator[Any], what: str, size: str
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    medium, made = making.medium_of(request.app.state, served), []
    about = {"size": size, "quality": "auto", "background": "opaque", "output_format": "png"}
    used = Used(0, 0)
    async for event in coming:
        if isinstance(event, Partial):
            png = await making.leaving(request.app.state, medium, event.item, event.mark)
            name = f"{what}.partial_image"
            yield name, _told(name, png, about) | {"partial_image_index": event.number - 1, "index": event.sample}
        elif isinstance(event, Made):
            made.append(
                (event.sample, event.mark.seed, await making.leaving(request.app.state, medium, event.item, event.mark))
            )
        elif isinstance(event, Used):
            used = event
    for sample, drawn_from, png in sorted(made):
        name = f"{what}.completed"
        yield name, _told(name, png, about) | {"index": sample, "seed": drawn_from, "usage": _usage(used)}


def _told(name: str, png: bytes, about: dict[str, Any]) -> dict[str, Any]:
    return {"type": name, "b64_json": base64.b64encode(png).decode(), "created_at": making.now(), **about}


def _usage(used: Used) -> dict[str, Any]:
    return {
        "input_tokens": used.prompt,
        "output_tokens": used.made,
        "total_tokens": used.prompt + used.made,
        "input_tokens_details": {"text_tokens": used.prompt, "image_tokens": 0},
    }
