"""`/v1/jobs`: training, evaluation, comparison, large samples and a look at data, which go on when the client has gone.

Progress comes as events with running numbers; who asks with `Last-Event-ID` goes on where they left off.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import Response, StreamingResponse

from maquette.core.errors import MaquetteError, translated
from maquette.data.embedded import NAMES
from maquette.server import orders, plans
from maquette.server.answering import Events
from maquette.server.artefacts import artefact, artefacts, log
from maquette.server.doors import Caller, Receive, Send, audit, language_of, needs
from maquette.server.jobs import Event, Jobs
from maquette.server.reading import described, read_json
from maquette.server.schemas import Work
from maquette.server.states import Job

router = APIRouter()
train = needs("train")
LOOK = 0.3
"""Seconds between two looks for new events."""
QUIET = 15.0
"""Seconds after which a stream without events says that it is still there."""
PAGE = 200

After = Annotated[str | None, Query(max_length=100)]
Limit = Annotated[int, Query(ge=1, le=100)]
Last = Annotated[str | None, Header(alias="Last-Event-ID", max_length=100)]
Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]


@router.post("/v1/jobs", openapi_extra=described(Work))
async def create(request: Request, caller: Caller = Depends(train), idempotency: Key = None) -> dict[str, Any]:
    """Ask for a job; it is kept before the answer comes."""
    body = await read_json(request, Work)
    if (body.priority or 0) > 0 and "admin" not in caller.scopes:
        raise MaquetteError("MQ-2184", "priority", path="priority", reason="above 0 needs the scope admin")
    state = request.app.state
    spec = await asyncio.to_thread(orders.work, state, caller, body)
    return told(request, await put(request, caller, body.kind, spec, body.priority or 0, idempotency))


@router.get("/v1/jobs")
async def list_jobs(
    request: Request, caller: Caller = Depends(train), after: After = None, limit: Limit = 20
) -> dict[str, Any]:
    """The jobs of this key, the newest first."""
    rows = await asyncio.to_thread(request.app.state.jobs.list, caller.id, (), after, limit + 1)
    return {"object": "list", "data": [told(request, job) for job in rows[:limit]], "has_more": len(rows) > limit}


@router.get("/v1/jobs/{job_id}")
async def retrieve(request: Request, job_id: str, caller: Caller = Depends(train)) -> dict[str, Any]:
    """How a job stands."""
    return told(request, await asyncio.to_thread(request.app.state.jobs.get, caller.id, job_id))


@router.post("/v1/jobs/{job_id}/cancel")
async def cancel(request: Request, job_id: str, caller: Caller = Depends(train)) -> dict[str, Any]:
    """Stop it for good."""
    return told(request, await wish(request, caller, "cancel", job_id))


@router.post("/v1/jobs/{job_id}/pause")
async def pause(request: Request, job_id: str, caller: Caller = Depends(train)) -> dict[str, Any]:
    """Let it wait; training keeps what it has learnt."""
    return told(request, await wish(request, caller, "pause", job_id))


@router.post("/v1/jobs/{job_id}/resume")
async def resume(request: Request, job_id: str, caller: Caller = Depends(train)) -> dict[str, Any]:
    """End a pause."""
    return told(request, await wish(request, caller, "resume", job_id))


@router.get("/v1/jobs/{job_id}/events")
async def events(
    request: Request, job_id: str, caller: Caller = Depends(train), after: After = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100, stream: bool = False, last: Last = None,
) -> Any:  # fmt: skip
    """What has been told of it, oldest first; with `stream` or `Accept: text/event-stream` as it comes."""
    jobs: Jobs = request.app.state.jobs
    since = number_of(last or after)
    if streamed(request, stream):
        await asyncio.to_thread(jobs.get, caller.id, job_id)
        return Numbered(request, stream_of(jobs, caller.id, job_id, since, partial(told_event, request)))
    rows = await asyncio.to_thread(jobs.events, caller.id, job_id, since, limit + 1)
    return {"object": "list", "data": [told_event(request, row) for row in rows[:limit]], "has_more": len(rows) > limit}


@router.get("/v1/jobs/{job_id}/logs")
async def logs(
    request: Request, job_id: str, caller: Caller = Depends(train), after: Annotated[int, Query(ge=0, le=2**40)] = 0
) -> dict[str, Any]:
    """What its processes have said, from byte `after` on; `next` is where the rest begins."""
    state = request.app.state
    job = await asyncio.to_thread(state.jobs.get, caller.id, job_id)
    text, rest = await asyncio.to_thread(log, state.store.folder, job, after)
    return {"object": "job.log", "text": text, "next": rest}


@router.get("/v1/jobs/{job_id}/artefacts")
async def list_artefacts(request: Request, job_id: str, caller: Caller = Depends(train)) -> dict[str, Any]:
    """What it has made so far."""
    state = request.app.state
    job = await asyncio.to_thread(state.jobs.get, caller.id, job_id)
    found = await asyncio.to_thread(artefacts, state.store.folder, job)
    data = [{"id": one.id, "object": "artefact", "bytes": one.size, "type": one.type} for one in found.values()]
    return {"object": "list", "data": data, "has_more": False}


@router.get("/v1/jobs/{job_id}/artefacts/{artefact_id}")
async def fetch(request: Request, job_id: str, artefact_id: str, caller: Caller = Depends(train)) -> Response:
    """One of them."""
    state = request.app.state
    job = await asyncio.to_thread(state.jobs.get, caller.id, job_id)
    one = await asyncio.to_thread(artefact, state.store.folder, job, artefact_id)
    headers = {"content-disposition": f'attachment; filename="{one.id}"'}
    return StreamingResponse(one.blocks(), media_type=one.type, headers=headers)


@router.get("/v1/recipes")
async def list_recipes(request: Request, caller: Caller = Depends(train)) -> dict[str, Any]:
    """What can be trained, and the sets that need no upload."""
    listed = await asyncio.to_thread(plans.recipes, request.app.state.store.folder)
    data = [{"id": one.name, "object": "recipe", "about": one.about} for one in listed.values()]
    return {"object": "list", "data": data, "datasets": list(NAMES), "has_more": False}


# -- what jobs and fine-tuning share ----------------------------------------------------------------------------------


async def put(
    request: Request, caller: Caller, kind: Any, spec: plans.Spec, priority: int, idempotency: str | None
) -> Job:
    """Take a job on; raises MQ-2202 for an idempotency key that is none."""
    if idempotency is not None and not re.fullmatch(r"[\x21-\x7e]{1,200}", idempotency):
        raise MaquetteError("MQ-2202", "", path="the header Idempotency-Key", wanted="up to 200 characters", more="")
    jobs: Jobs = request.app.state.jobs
    job = await asyncio.to_thread(
        lambda: jobs.put(kind, spec, key=caller.id, priority=priority, idempotency=idempotency)
    )
    audit(request, caller.id, f"job.{kind}", job.id, 200)
    return job


async def wish(request: Request, caller: Caller, what: str, id: str) -> Job:
    """Cancel, pause or resume."""
    jobs: Jobs = request.app.state.jobs
    act = {"cancel": jobs.cancel, "pause": jobs.pause, "resume": jobs.go_on}[what]
    job = await asyncio.to_thread(act, caller.id, id)
    audit(request, caller.id, f"job.{what}", job.id, 200)
    return job


def told(request: Request, job: Job) -> dict[str, Any]:
    """A job as a client sees it."""
    shown = ("model", "recipe", "recipes", "models", "file", "dataset", "budget", "overrides", "seed", "seeds", "n",
             "codec", "judge", "label", "prompt", "guidance", "solver", "steps", "temperature", "top_k", "top_p",
             "max_tokens")  # fmt: skip
    return {
        "id": job.id,
        "object": "job",
        "kind": job.kind,
        "status": job.state,
        "wish": job.wish or None,
        "created_at": int(job.created),
        "started_at": None if job.started is None else int(job.started),
        "finished_at": None if job.ended is None else int(job.ended),
        "priority": job.priority,
        "attempt": job.attempt,
        "asked": {name: job.spec[name] for name in shown if name in job.spec},
        "progress": round(job.reached, 4),
        "latest": {name: value for name, value in job.progress.items() if name != "seen"},
        "model": job.result.get("model"),
        "good": job.result.get("good"),
        "error": why(request, job),
        "metadata": job.spec.get("metadata", {}),
    }


def why(request: Request, job: Job) -> dict[str, str] | None:
    """Why a job has failed, in the language of who asks."""
    if job.state != "failed":
        return None
    return {"code": job.code or "crashed", "message": translated(job.code, job.reason, language_of(request.headers))}


def told_event(request: Request, event: Event) -> dict[str, Any]:
    return {
        "id": event_id(event),
        "object": "job.event",
        "number": event.number,
        "created_at": int(event.time),
        "level": event.level,
        "type": event.kind,
        "message": event.said(language_of(request.headers)),
        "data": dict(event.data),
    }


def event_id(event: Event) -> str:
    return f"event-{event.job.removeprefix('job-')}-{event.number}"


def number_of(id: str | None) -> int:
    """The running number in an event's id, or the number itself; raises MQ-2202 for what is neither."""
    if not id:
        return 0
    match = re.fullmatch(r"(?:event-[0-9a-f]{1,40}-)?(\d{1,9})", id)
    if match is None:
        raise MaquetteError("MQ-2202", "after", path="after", wanted="the id of an event", more="")
    return int(match[1])


def streamed(request: Request, stream: bool) -> bool:
    return stream or request.headers.get("accept", "").startswith("text/event-stream")


async def stream_of(
    jobs: Jobs, key: str, id: str, after: int, shape: Callable[[Event], dict[str, Any]]
) -> AsyncIterator[tuple[str, Any]]:
    """Events above `after` as they come, (number, event), until the job is over; ("", None) now and then in between."""
    still = 0.0
    while not jobs.closing:
        events = await asyncio.to_thread(jobs.events, key, id, after, PAGE)
        for event in events:
            yield str(event.number), shape(event)
            after = event.number
        if not events:
            job = await asyncio.to_thread(jobs.get, key, id)
            if job.over and job.last_event <= after:
                return
            await asyncio.sleep(LOOK)
            still += LOOK
            if still >= QUIET:
                still = 0.0
                yield "", None


class Numbered(Events):
    """Server-sent events with ids, and `[DONE]` when the job is over."""

    async def _pour(self, send: Send) -> None:
        async for number, tree in self._events:
            text = ":\n\n" if tree is None else f"id: {number}\ndata: {_json(tree)}\n\n"
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
        if not self._state.jobs.closing:
            await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": True})

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        await super().__call__(scope, receive, send)


def _json(tree: Any) -> str:
    return json.dumps(tree, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
