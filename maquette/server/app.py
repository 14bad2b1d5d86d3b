"""The application: parts, doors and routes put together. It opens nothing and listens at nothing by itself."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from maquette import __version__
from maquette.server import schemas
from maquette.server.counts import Counts
from maquette.server.decoders import Decoders
from maquette.server.doors import Doors, Lock, Needs
from maquette.server.engine import Engine, describe
from maquette.server.errors import Elsewhere, answer, misread
from maquette.server.films import Film, Films
from maquette.server.filtering import Rules
from maquette.server.jobs import Jobs
from maquette.server.keeping import Keeping
from maquette.server.media import Media
from maquette.server.rates import Rates
from maquette.server.reading import all_schemas
from maquette.server.registry import Registry
from maquette.server.routes import (
    audio,
    bundles,
    chat,
    completions,
    embeddings,
    files,
    health,
    images,
    jobs,
    models,
    moderations,
    tuning,
    videos,
)
from maquette.server.sessions import Sessions
from maquette.server.settings import Settings
from maquette.server.store import Store
from maquette.server.supervisor import Supervisor

TOPICS = (health, models, bundles, completions, chat, images, audio, videos, embeddings, moderations)
WORK = (files, tuning, jobs)
BACKLOG = 1000
"""Rows of the audit log that may wait to be written."""

log = logging.getLogger("maquette.server")


def create_app(
    settings: Settings,
    engine: Engine,
    store: Store,
    supervisor: Supervisor | None = None,
    rules: Rules | None = None,
    allow: Callable[[Any], bool] | None = None,
    pages: APIRouter | None = None,
) -> FastAPI:
    """Every path of the API behind the doors.

    Args:
        supervisor: runs jobs; without one the paths of files, jobs and fine-tuning are not there.
        rules: words that may be neither asked nor said.
        allow: a filter of everything that is made: texts as they are, else stored items. What it does not return True
            for does not leave.
        pages: the studio's; with them a browser may sign in.
    """
    app = FastAPI(
        title="Maquette",
        version=__version__,
        summary="Models that you trained, in the shapes that OpenAI's clients speak",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    state = app.state
    state.settings, state.engine, state.store = settings, engine, store
    state.supervisor, state.jobs = supervisor, supervisor.jobs if supervisor else Jobs(store)
    state.registry = Registry(state.jobs, engine)
    state.rules, state.allow, state.media = rules, allow, Media()
    state.decoders = Decoders(settings)
    state.lock = Lock(store, settings.keys)
    state.described = dict[bool, dict[str, Any]]()
    state.rates, state.strikes = Rates(settings.rate), Rates(settings.strikes)
    state.sessions = Sessions() if pages is not None else None
    state.draining, state.ending, state.warmed = False, asyncio.Event(), False
    state.auditing = Auditing(store)
    state.stop_jobs = lambda: None
    doors: list[Doors] = []

    def around(inner: Any) -> Doors:
        doors.append(Doors(inner, state))
        return doors[0]

    counted = supervisor.jobs.counts if supervisor else dict
    state.keeping = None
    state.counts = Counts(lambda: doors[0].inside if doors else 0, engine.figures, counted, lambda: _held(state))
    app.add_middleware(around)  # type: ignore[arg-type]
    for topic in TOPICS + (WORK if supervisor else ()):
        app.router.routes.extend(topic.router.routes)
    if pages is not None:
        app.router.routes.extend(pages.routes)
    app.add_api_route("/openapi.json", _described(app), dependencies=[_public()], include_in_schema=False)
    app.add_exception_handler(HTTPException, _elsewhere)
    app.add_exception_handler(RequestValidationError, _misread)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    check_scopes(app)
    return app


def check_scopes(app: FastAPI) -> None:
    """Every route says once what a caller must be allowed; one that does not stops the server from being built."""
    for route in app.routes:
        if not isinstance(route, APIRoute) or len(scopes_of(route)) != 1:
            raise TypeError(f"{getattr(route, 'path', route)} declares no scope, or several")


def scopes_of(route: APIRoute) -> list[str]:
    return [need.call.scope for need in route.dependant.dependencies if isinstance(need.call, Needs)]


class Auditing:
    """Rows of the audit log, written one after another beside everything else."""

    def __init__(self, store: Store):
        self._store, self._writer = store, ThreadPoolExecutor(1, "audit")
        self._room = threading.BoundedSemaphore(BACKLOG)

    def submit(self, row: tuple[Any, ...]) -> None:
        if not self._room.acquire(blocking=False):
            log.error("audit: %d rows wait already, one is left out", BACKLOG)
            return
        self._writer.submit(self._write, row)

    def _write(self, row: tuple[Any, ...]) -> None:
        try:
            self._store.audit(*row)
        except Exception as fault:
            log.error("audit: %s", type(fault).__name__)
        finally:
            self._room.release()

    def close(self) -> None:
        self._writer.shutdown()


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state = app.state

    async def made(film: Film) -> bytes:
        return await videos.made(state, film)

    def able(film: Film) -> bool:
        return any(served.id == film.model for served in state.engine.served())

    state.films = Films(state.store, made, state.settings.films, able)
    await state.engine.start()
    await state.registry.sync()
    await state.films.start()
    state.keeping = Keeping(
        state.store, state.jobs, state.registry, state.films, state.settings.keep, state.supervisor is not None
    )
    if state.supervisor is not None:
        await asyncio.to_thread(state.supervisor.start, _finding(state), lambda folder, job: describe(folder).id)
        state.stop_jobs = _stopping(state)
    beside = (state.keeping.run(), state.registry.run(), _warm(state))
    tasks = [asyncio.create_task(each) for each in beside]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if stopped := state.stop_jobs():
            await stopped
        await state.films.close()
        await state.decoders.close()
        await state.engine.close(5.0)
        state.auditing.close()


async def _warm(state: Any) -> None:
    """Load what is to be loaded before the server calls itself ready; what cannot be is told, and keeps nobody else."""
    for name in state.settings.warm:
        try:
            await state.engine.warm(name)
        except Exception as fault:
            log.error("%s could not be loaded: %s", name, getattr(fault, "code", type(fault).__name__))
    state.warmed = True


def _finding(state: Any) -> Callable[[str], Path]:
    """What finds a model's folder in the supervisor's thread; a job that it takes may name one that was made since."""
    loop = asyncio.get_running_loop()
    return lambda name: asyncio.run_coroutine_threadsafe(state.registry.find(name), loop).result().folder


def _stopping(state: Any) -> Callable[[], "asyncio.Future[None]"]:
    """What tells jobs to stop, once: when the server begins to drain, so that both end in the same time."""
    begun: list[asyncio.Future[None]] = []

    def stop() -> "asyncio.Future[None]":
        if not begun:
            closing = asyncio.to_thread(state.supervisor.close, state.settings.drain_seconds)
            begun.append(asyncio.ensure_future(closing))
        return begun[0]

    return stop


def _held(state: Any) -> dict[str, int]:
    return state.keeping.bytes if state.keeping is not None else {}


def _public() -> Any:
    from fastapi import Depends

    return Depends(Needs("public"))


def _described(app: FastAPI) -> Callable[..., Any]:
    async def openapi(request: Request) -> dict[str, Any]:
        """This description."""
        await app.state.lock.closed()
        return app.openapi()

    return openapi


async def _elsewhere(request: Request, bad: Exception) -> Response:
    """What the router says of a path or a method that there is not."""
    assert isinstance(bad, HTTPException)
    allowed = {"Allow": bad.headers["Allow"]} if bad.headers and "Allow" in bad.headers else None
    told = answer(Elsewhere(bad.status_code if bad.status_code in (404, 405) else 400, allowed))
    return JSONResponse(told.body, told.status, told.headers)


async def _misread(request: Request, bad: Exception) -> Response:
    """A query that a path does not have so."""
    assert isinstance(bad, RequestValidationError)
    faults = [fault | {"loc": tuple(fault["loc"])[1:]} for fault in bad.errors()]
    told = answer(misread(faults, []))
    return JSONResponse(told.body, told.status, told.headers)


def _openapi(app: FastAPI) -> dict[str, Any]:
    """OpenAPI 3.1 of all routes: bodies by the schemas that read them, keys by the scopes that are needed."""
    known, shut = app.state.described, app.state.lock.shut
    if shut in known:
        return known[shut]
    tree = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    failure = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}}}
    for route in app.routes:
        if not isinstance(route, APIRoute) or not route.include_in_schema:
            continue
        for method in route.methods or ():
            told = tree["paths"][route.path_format][method.lower()]
            told["responses"].pop("422", None)
            told["responses"] |= {
                "4XX": failure | {"description": "A mistake of the request"},
                "5XX": failure | {"description": "The server cannot answer now"},
            }
            told.pop("x-schema", None)
            (scope,) = scopes_of(route)
            told["x-scope"] = scope
            told["security"] = [{"key": []}] if shut and scope != "public" else []
    components = tree.setdefault("components", {})
    components["schemas"] = all_schemas(schemas)
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    known[shut] = tree
    return tree
