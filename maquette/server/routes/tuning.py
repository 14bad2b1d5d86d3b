"""`/v1/fine_tuning/jobs`: training in OpenAI's shape. `model` is a recipe, or a served model to go on from."""

import asyncio
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from maquette.core.errors import MaquetteError
from maquette.server import orders
from maquette.server.doors import Caller, language_of, needs
from maquette.server.jobs import Event, Jobs
from maquette.server.reading import described, read_json
from maquette.server.routes.jobs import (
    After,
    Key,
    Last,
    Limit,
    Numbered,
    event_id,
    number_of,
    put,
    stream_of,
    streamed,
    why,
)
from maquette.server.routes.jobs import wish as wished
from maquette.server.schemas import Tuning
from maquette.server.states import Job

router = APIRouter(prefix="/v1/fine_tuning/jobs")
train = needs("train")


@router.post("", openapi_extra=described(Tuning))
async def create(request: Request, caller: Caller = Depends(train), idempotency: Key = None) -> dict[str, Any]:
    """Train; when it is done, `fine_tuned_model` is a name that `/v1/models` lists."""
    body = await read_json(request, Tuning)
    spec = await asyncio.to_thread(orders.tuning, request.app.state, caller, body)
    return told(request, await put(request, caller, "train", spec, 0, idempotency))


@router.get("")
async def list_jobs(
    request: Request, caller: Caller = Depends(train), after: After = None, limit: Limit = 20
) -> dict[str, Any]:
    """The training jobs of this key, the newest first."""
    rows = await asyncio.to_thread(request.app.state.jobs.list, caller.id, ("train",), after, limit + 1)
    return {"object": "list", "data": [told(request, job) for job in rows[:limit]], "has_more": len(rows) > limit}


@router.get("/{job_id}")
async def retrieve(request: Request, job_id: str, caller: Caller = Depends(train)) -> dict[str, Any]:
    """How it stands."""
    return told(request, await _one(request, caller, job_id))


@router.post("/{job_id}/cancel")
async def cancel(request: Request, job_id: str, caller: Caller = Depends(train)) -> dict[str, Any]:
    """Stop it for good."""
    return told(request, await _wish(request, caller, "cancel", job_id))


@router.post("/{job_id}/pause")
async def pause(request: Request, job_id: str, caller: Caller = Depends(train)) -> dict[str, Any]:
    """Let it wait with what it has learnt."""
    return told(request, await _wish(request, caller, "pause", job_id))


@router.post("/{job_id}/resume")
async def resume(request: Request, job_id: str, caller: Caller = Depends(train)) -> dict[str, Any]:
    """End a pause."""
    return told(request, await _wish(request, caller, "resume", job_id))


@router.get("/{job_id}/events")
async def events(
    request: Request, job_id: str, caller: Caller = Depends(train), after: After = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20, stream: bool = False, last: Last = None,
) -> Any:  # fmt: skip
    """What has been told of it, the newest first; with `stream` or `Accept: text/event-stream` as it comes."""
    jobs: Jobs = request.app.state.jobs
    await _one(request, caller, job_id)
    since = number_of(last or after)
    if streamed(request, stream):
        return Numbered(request, stream_of(jobs, caller.id, job_id, since, partial(told_event, request)))
    rows = await asyncio.to_thread(jobs.events, caller.id, job_id, since, limit + 1, True)
    return {"object": "list", "data": [told_event(request, row) for row in rows[:limit]], "has_more": len(rows) > limit}


async def _one(request: Request, caller: Caller, id: str) -> Job:
    job = await asyncio.to_thread(request.app.state.jobs.get, caller.id, id)
    if job.kind != "train":
        raise MaquetteError("MQ-2180", what="training job", id=id)
    return job


async def _wish(request: Request, caller: Caller, what: str, id: str) -> Job:
    await _one(request, caller, id)
    return await wished(request, caller, what, id)


def told(request: Request, job: Job) -> dict[str, Any]:
    """OpenAI's object, with how far it has come."""
    asked = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
    hyperparameters = asked | dict(job.spec.get("hyperparameters", {}))
    error = why(request, job)
    return {
        "id": job.id,
        "object": "fine_tuning.job",
        "created_at": int(job.created),
        "finished_at": None if job.ended is None else int(job.ended),
        "estimated_finish": _estimate(job),
        "model": job.spec["model"],
        "fine_tuned_model": job.result.get("model"),
        "organization_id": "maquette",
        "status": job.state,
        "training_file": job.spec.get("training_file") or job.spec.get("file") or job.spec.get("dataset") or "",
        "validation_file": None,
        "result_files": [],
        "hyperparameters": hyperparameters,
        "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        "trained_tokens": None,
        "seed": job.spec.get("seed", 0),
        "error": error and error | {"param": None},
        "integrations": [],
        "metadata": job.spec.get("metadata", {}),
        "progress": round(job.reached, 4),
        "budget": job.spec.get("budget"),
        "overrides": job.spec.get("overrides", {}),
    }


def _estimate(job: Job) -> int | None:
    """When it will be done, by how long it took so far."""
    seconds = job.progress.get("seconds")
    if job.state != "running" or job.started is None or not seconds or job.reached < 0.01:
        return None
    return int(job.started + seconds / job.reached)


def told_event(request: Request, event: Event) -> dict[str, Any]:
    return {
        "id": event_id(event),
        "object": "fine_tuning.job.event",
        "created_at": int(event.time),
        "level": event.level,
        "message": event.said(language_of(request.headers)),
        "type": "metrics" if event.kind == "metrics" else "message",
        "data": dict(event.data) | {"kind": event.kind},
    }
