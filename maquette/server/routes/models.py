"""`/v1/models` and `/v1/models/{model}`: what can be asked for, and by whom.

A model that a job has made is there for the key of that job and for keys with the scope admin, until it is shared; to
others it does not exist. The operator's models are there for all.
"""

import asyncio
from typing import Any

from fastapi import APIRouter, Depends, Request

from maquette.core.errors import MaquetteError
from maquette.server.doors import Caller, audit, needs
from maquette.server.engine import Served
from maquette.server.reading import described, read_json
from maquette.server.schemas import Sharing

router = APIRouter()
infer, train = needs("infer"), needs("train")
ABLE = ("talks", "asks", "streams", "embeds", "draws", "denoises", "exports")


@router.get("/v1/models")
async def list_models(request: Request, caller: Caller = Depends(infer)) -> dict[str, Any]:
    """All models that this key sees."""
    data = [told(served, caller) for served in request.app.state.engine.served(caller.sees)]
    return {"object": "list", "data": data}


@router.get("/v1/models/{model}")
async def model(request: Request, model: str, caller: Caller = Depends(infer)) -> dict[str, Any]:
    """One of them."""
    return told(request.app.state.engine.find(model, caller.sees), caller)


@router.post("/v1/models/{model}", openapi_extra=described(Sharing))
async def share(request: Request, model: str, caller: Caller = Depends(train)) -> dict[str, Any]:
    """Share a model of one's own with all keys, or share it no more."""
    body = await read_json(request, Sharing)
    state = request.app.state
    served = _own(request, model, caller)
    await asyncio.to_thread(state.jobs.share, served.job, body.shared)
    audit(request, caller.id, "model.share" if body.shared else "model.unshare", served.id, 200)
    return told(await state.registry.find(served.id), caller)


@router.delete("/v1/models/{model}")
async def delete(request: Request, model: str, caller: Caller = Depends(train)) -> dict[str, Any]:
    """Delete a model of one's own, and the job that made it with all its files; one that is needed is kept."""
    served = _own(request, model, caller)
    await request.app.state.keeping.delete(served)
    audit(request, caller.id, "model.delete", served.id, 200)
    return {"id": served.id, "object": "model", "deleted": True}


def _own(request: Request, model: str, caller: Caller) -> Served:
    """Raises MQ-2160 for one that is not seen, MQ-2181 for the operator's, MQ-2208 for another key's."""
    served: Served = request.app.state.engine.find(model, caller.sees)
    if served.owner is None:
        raise MaquetteError("MQ-2181", what="model", state="the operator's", reason="no job of this server made it")
    if not caller.owns(served):
        raise MaquetteError("MQ-2208", scope="admin")
    return served


def told(served: Served, caller: Caller) -> dict[str, Any]:
    """OpenAI's four fields, and ours: what it makes, what it can do, what it takes beside a label, and whose it is."""
    return {
        "id": served.id,
        "object": "model",
        "created": served.created,
        "owned_by": "maquette",
        "medium": served.medium,
        "kind": served.kind,
        "classes": list(served.classes),
        "takes": list(served.takes),
        "can": [name for name in ABLE if getattr(served, name)],
        "digest": served.digest,
        "own": caller.owns(served),
        "shared": served.owner is None or served.shared,
    }
