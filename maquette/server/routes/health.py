"""Whether the server lives, whether it takes requests, and its figures."""

import asyncio
from typing import Any

from fastapi import APIRouter, Depends, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from maquette.server.doors import needs
from maquette.server.errors import Later
from maquette.server.reading import answers

router = APIRouter()


@router.get("/healthz", dependencies=[Depends(needs("public"))])
async def alive(request: Request) -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", dependencies=[Depends(needs("public"))])
async def ready(request: Request) -> dict[str, Any]:
    """It takes requests without making them wait: the database answers, models that were to be loaded at the start are,
    and it is not stopping (then every path says 503)."""
    await asyncio.to_thread(request.app.state.store.list_audit, None, 1)
    if not request.app.state.warmed:
        raise Later("MQ-2220", 1)
    return {"status": "ready"}


@router.get(
    "/metrics", response_class=Response, responses=answers("text/plain"), dependencies=[Depends(needs("admin"))]
)
async def metrics(request: Request) -> Response:
    """For Prometheus. Where keys are needed, one with the scope admin."""
    return Response(request.app.state.counts.text(), media_type=CONTENT_TYPE_LATEST)
