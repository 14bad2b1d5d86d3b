"""`/v1/models/{model}/card` and `/bundle`: what a model says of itself, and the model itself to take away."""

import asyncio
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response, StreamingResponse

from maquette.bundle import read_card
from maquette.core import files
from maquette.core.errors import MaquetteError
from maquette.server.doors import Caller, audit, needs
from maquette.server.engine import Served

router = APIRouter()
infer, train = needs("infer"), needs("train")
REPORT = "report.json"
"""Beside the bundle in a run that was evaluated."""


@router.get("/v1/models/{model}/card")
async def card(request: Request, model: str, caller: Caller = Depends(infer)) -> dict[str, Any]:
    """The fields of its card, its size, and its scores where it was evaluated."""
    return await asyncio.to_thread(_told, request.app.state.engine.find(model, caller.sees))


@router.get("/v1/models/{model}/bundle")
async def bundle(request: Request, model: str, caller: Caller = Depends(train)) -> Response:
    """The whole bundle as a ZIP, which `maquette` opens anywhere; it holds weights, so making things is not enough."""
    served = request.app.state.engine.find(model, caller.sees)
    parts = [(f"{served.id}/{name}", path) for name, path in await asyncio.to_thread(_files, served)]
    audit(request, caller.id, "model.bundle", served.id, 200)
    headers = {"content-disposition": f'attachment; filename="{served.id}.zip"'}
    return StreamingResponse(files.zipped(parts), media_type="application/zip", headers=headers)


def _told(served: Served) -> dict[str, Any]:
    return {
        "object": "model.card",
        "model": served.id,
        "card": read_card(served.folder),
        "bytes": sum(path.stat().st_size for _, path in _files(served)),
        "scores": _scores(served),
    }


def _files(served: Served) -> list[tuple[str, Path]]:
    """Those that the manifest names, by the names they have there, and the manifest."""
    folder = files.Folder(served.folder)
    return [(name, folder.path / name) for name in (*folder.listed, files.MANIFEST)]


def _scores(served: Served) -> list[dict[str, Any]]:
    """What an evaluation has left in the run, if it was of these weights."""
    path = served.folder.parent / REPORT
    if served.folder.name != "bundle" or not path.exists():
        return []
    try:
        tree = files.read_json(path)
    except MaquetteError:
        return []
    return list(tree.get("scores", [])) if tree.get("model") == served.digest else []
