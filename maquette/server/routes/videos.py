"""`/v1/videos`: films, which are asked for, waited for and fetched."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.datastructures import State
from starlette.responses import JSONResponse, Response

from maquette.core.errors import MaquetteError
from maquette.server import making
from maquette.server.batching import Asked
from maquette.server.doors import Caller, audit, needs
from maquette.server.films import Film
from maquette.server.reading import FORM, JSON, answers, content_type, described, read_form, read_json
from maquette.server.schemas import Film as Body

router = APIRouter()
infer = needs("infer")
DONE = {"queued": 0, "in_progress": 1, "completed": 100, "failed": 100}
"""Progress in percent: a film is drawn as a whole, so that there is little to tell in between."""


@router.post("/v1/videos", openapi_extra=described(Body, JSON, FORM))
async def create(request: Request, caller: Caller = Depends(infer)) -> Response:
    """Ask for a film; what comes back says whether it is done."""
    if content_type(request) == FORM:
        body, _ = await read_form(request, Body, frozenset())
    else:
        body = await read_json(request, Body)
    served = making.find(request, body.model, ("video",))
    medium = making.medium_of(request.app.state, served)
    size, seconds = making.size_of(medium), f"{medium.stored[0] / medium.rate:g}"
    if body.size not in (None, size):
        raise MaquetteError("MQ-2202", path="size", wanted=f"{size}, the size of this model", more="")
    if body.seconds not in (None, seconds):
        raise MaquetteError("MQ-2202", path="seconds", wanted=f"{seconds}, the length of this model", more="")
    if body.n not in (None, 1):
        raise MaquetteError("MQ-2202", path="n", wanted="1", more="")
    asked = making.requested(
        request.app.state, body, **making.words(request.app.state, served, body.prompt, body.label)
    )
    tree = body.model_dump(exclude_none=True) | {"seed": asked.seed}
    film = await request.app.state.films.put(caller.id, served.id, tree, size, seconds)
    audit(request, caller.id, "video.create", film.id, 200)
    return JSONResponse(told(film))


@router.get("/v1/videos")
async def list_films(
    request: Request,
    caller: Caller = Depends(infer),
    after: Annotated[str | None, Query(max_length=40)] = None,
    limit: Annotated[int, Query(ge=0, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> dict[str, Any]:
    """The films of this key."""
    films = request.app.state.films
    found = await films.of(caller.id)
    found = found if order == "asc" else found[::-1]
    if after is not None:
        last = (await films.get(caller.id, after)).number
        found = [film for film in found if (film.number > last if order == "asc" else film.number < last)]
    page = found[:limit]
    return {
        "object": "list",
        "data": [told(film) for film in page],
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
        "has_more": len(found) > len(page),
    }


@router.get("/v1/videos/{video_id}")
async def retrieve(request: Request, video_id: str, caller: Caller = Depends(infer)) -> dict[str, Any]:
    """How a film is coming along."""
    return told(await request.app.state.films.get(caller.id, video_id))


@router.get("/v1/videos/{video_id}/content", response_class=Response, responses=answers("video/mp4"))
async def content(
    request: Request, video_id: str, caller: Caller = Depends(infer), variant: Literal["video"] = "video"
) -> Response:
    """The MP4 of one that is done."""
    films = request.app.state.films
    film = await films.get(caller.id, video_id)
    name = f'attachment; filename="{film.id}.mp4"'
    return Response(await films.content(film), media_type="video/mp4", headers={"content-disposition": name})


@router.delete("/v1/videos/{video_id}")
async def delete(request: Request, video_id: str, caller: Caller = Depends(infer)) -> dict[str, Any]:
    """Stop and forget a film."""
    films = request.app.state.films
    film = await films.get(caller.id, video_id)
    await films.delete(film)
    audit(request, caller.id, "video.delete", film.id, 200)
    return {"id": film.id, "object": "video.deleted", "deleted": True}


def told(film: Film) -> dict[str, Any]:
    return {
        "id": film.id,
        "object": "video",
        "model": film.model,
        "status": film.status,
        "progress": DONE[film.status],
        "created_at": int(film.created),
        "completed_at": None if film.completed is None else int(film.completed),
        "expires_at": None,
        "error": film.error,
        "prompt": film.body.get("prompt"),
        "seconds": film.seconds,
        "size": film.size,
        "seed": film.body.get("seed"),
        "remixed_from_video_id": None,
    }


async def made(state: State, film: Film) -> bytes:
    """The bytes of a film."""
    body = Body(**film.body)
    served = state.engine.find(film.model)  # whoever asked for the film saw it
    request = making.requested(state, body, **making.words(state, served, body.prompt, body.label))
    (one, *_), _ = await making.collected(state, served, Asked(request=request))
    return await making.leaving(state, making.medium_of(state, served), one.item, one.mark)
