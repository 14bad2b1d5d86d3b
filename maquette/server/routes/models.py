"""`GET /v1/models` and `/v1/models/{model}`: what can be asked for."""

from typing import Any

from fastapi import APIRouter, Depends, Request

from maquette.server.doors import needs
from maquette.server.engine import Served

router = APIRouter()
INFER = [Depends(needs("infer"))]
ABLE = ("talks", "asks", "streams", "embeds", "draws", "denoises")


@router.get("/v1/models", dependencies=INFER)
async def list_models(request: Request) -> dict[str, Any]:
    """All models of this server."""
    return {"object": "list", "data": [told(served) for served in request.app.state.engine.served()]}


@router.get("/v1/models/{model}", dependencies=INFER)
async def model(request: Request, model: str) -> dict[str, Any]:
    """One of them."""
    return told(request.app.state.engine.find(model))


def told(served: Served) -> dict[str, Any]:
    """OpenAI's four fields, and ours: what it makes, what it can do, and what it takes beside a label."""
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
    }
