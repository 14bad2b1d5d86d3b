"""`/v1/files`: data to learn from and to compare with, sent once and named by id."""

import asyncio
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, BinaryIO, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.responses import Response, StreamingResponse

from maquette.core.errors import MaquetteError
from maquette.server import archive
from maquette.server.doors import Caller, audit, needs
from maquette.server.errors import misread
from maquette.server.reading import FORM, content_type, described
from maquette.server.schemas import Upload
from maquette.server.store import FileRow

router = APIRouter()
train = needs("train")
SUFFIXES = archive.TABLES | {".zip"}
BLOCK = 1 << 20


@router.post("/v1/files", openapi_extra=described(Upload, FORM, files=("file",)))
async def create(request: Request, caller: Caller = Depends(train)) -> dict[str, Any]:
    """Send a data set: a ZIP of pictures, sounds, films, music or texts, or one .jsonl, .csv, .txt or .md file."""
    if content_type(request) != FORM:
        raise MaquetteError("MQ-2205", wanted=FORM)
    state = request.app.state
    coming = int(request.headers.get("content-length", "0"))  # what does not fit need not come at all
    await asyncio.to_thread(state.store.check_room, caller.id, coming, state.settings.storage)
    try:
        form = await request.form(max_files=1, max_fields=8, max_part_size=1024)
    except MaquetteError:
        raise
    except Exception:  # the parser raises several types
        raise MaquetteError("MQ-2201", reason="it is no whole multipart form with one file") from None
    try:
        fields = {name: value for name, value in form.multi_items() if not isinstance(value, UploadFile)}
        sent = form.get("file")
        if not isinstance(sent, UploadFile):
            raise MaquetteError("MQ-2202", "file", path="file", wanted="it is needed", more="")
        body = _purpose(fields)
        row = await asyncio.to_thread(_keep, state, caller.id, sent, body.purpose)
    finally:
        await form.close()
    audit(request, caller.id, "file.create", row.id, 200)
    return told(row)


def _purpose(fields: dict[str, Any]) -> Upload:
    try:
        return Upload.model_validate(fields)
    except ValidationError as bad:
        faults = bad.errors(include_input=False, include_url=False, include_context=False)
        raise misread(faults, sorted(Upload.model_fields)) from None


def _keep(state: Any, tenant: str, sent: UploadFile, purpose: str) -> FileRow:
    """The file as a row, once it has been looked at; what is refused is not kept."""
    name = PurePosixPath((sent.filename or "").replace("\\", "/")).name[:200]
    name = "".join(c for c in name if c.isprintable() and c not in '"<>|*?') or "upload"
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in SUFFIXES:
        reason = "its name ends in none of " + ", ".join(sorted(SUFFIXES))
        raise MaquetteError("MQ-2182", "file", reason=reason)

    def look(path: Path) -> None:
        if suffix == ".zip":
            archive.look(path)
        else:
            archive.check_table(path, suffix)

    limits = state.settings
    return state.store.put_file(tenant, name, purpose, _blocks(sent.file), suffix, limits.dataset, look, limits.storage)


@router.get("/v1/files")
async def list_files(
    request: Request,
    caller: Caller = Depends(train),
    purpose: Annotated[str | None, Query(max_length=40)] = None,
    after: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    order: Literal["asc", "desc"] = "desc",
) -> dict[str, Any]:
    """The files of this key."""
    store = request.app.state.store
    rows = await asyncio.to_thread(store.list_files, caller.id, purpose, after, limit + 1, order == "desc")
    page = [told(row) for row in rows[:limit]]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(rows) > limit,
    }


@router.get("/v1/files/{file_id}")
async def retrieve(request: Request, file_id: str, caller: Caller = Depends(train)) -> dict[str, Any]:
    """One of them."""
    return told(await asyncio.to_thread(request.app.state.store.get_file, caller.id, file_id))


@router.get("/v1/files/{file_id}/content")
async def content(request: Request, file_id: str, caller: Caller = Depends(train)) -> Response:
    """Its bytes."""
    store = request.app.state.store
    row = await asyncio.to_thread(store.get_file, caller.id, file_id)
    if not await asyncio.to_thread(store.file_path(row).exists):
        raise MaquetteError("MQ-5182", what="file")
    headers = {"content-disposition": f'attachment; filename="{row.id}{row.suffix}"', "content-length": str(row.size)}
    return StreamingResponse(_read(store.file_path(row)), media_type="application/octet-stream", headers=headers)


@router.delete("/v1/files/{file_id}")
async def delete(request: Request, file_id: str, caller: Caller = Depends(train)) -> dict[str, Any]:
    """Forget it; one that a job still needs is kept."""
    await asyncio.to_thread(request.app.state.jobs.forget, caller.id, file_id)
    audit(request, caller.id, "file.delete", file_id, 200)
    return {"id": file_id, "object": "file", "deleted": True}


def told(row: FileRow) -> dict[str, Any]:
    """OpenAI's file object, with the SHA-256 of its bytes."""
    return {
        "id": row.id,
        "object": "file",
        "bytes": row.size,
        "created_at": int(row.created),
        "expires_at": None,
        "filename": row.name,
        "purpose": row.purpose,
        "status": "processed",
        "status_details": None,
        "sha256": row.sha256,
    }


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    while block := file.read(BLOCK):
        yield block


def _read(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            yield block
