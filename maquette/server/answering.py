"""Work for a client that may go away, at a server that may stop: waiting for it, and streaming it.

A route that waits for work waits here, so that the work ends within one step when nobody is there for its answer, when
it takes too long, or when the server's time to drain is over.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.responses import Response

from maquette.core.errors import MaquetteError
from maquette.server.doors import Gone, Receive, Send
from maquette.server.errors import Later, answer

Some = TypeVar("Some")


async def attend(request: Request, work: Coroutine[Any, Any, Some]) -> Some:
    """What `work` comes to.

    Raises:
        Gone: the client went away.
        MaquetteError: MQ-2213 it took longer than a request may, MQ-2212 the server stops; `work` is cancelled then.
    """
    return await _first(asyncio.ensure_future(work), request.receive, request.app.state)


async def _first(task: "asyncio.Future[Some]", receive: Receive, state: Any) -> Some:
    leaving = asyncio.ensure_future(_gone(receive))
    stopping = asyncio.ensure_future(state.ending.wait())
    try:
        seconds = state.settings.request_seconds
        done, _ = await asyncio.wait({task, leaving, stopping}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            return task.result()
        if leaving in done:
            raise Gone
        if stopping in done:
            raise Later("MQ-2212", 10)
        raise MaquetteError("MQ-2213", what="this request", todo="ask for less at a time")
    finally:
        for other in (task, leaving, stopping):
            other.cancel()
        await asyncio.gather(task, leaving, stopping, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Events(Response):
    """Server-sent events, each a JSON object, and `[DONE]` when `done` says so and nothing went wrong.

    A mistake after the first event is an event with the body of an error, after which the stream ends without `[DONE]`.

    Args:
        events: (name or "", what it says); it is closed whatever happens.
    """

    def __init__(self, request: Request, events: AsyncIterator[tuple[str, Any]], done: bool = False):
        super().__init__(media_type="text/event-stream")
        self._events, self._done, self._state = events, done, request.app.state
        self._fault = request.scope["state"]["request_id"]
        self.headers["x-accel-buffering"] = "no"
        del self.headers["content-length"]

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            await _first(asyncio.ensure_future(self._pour(send)), receive, self._state)
        except MaquetteError as mistake:
            await _say(send, "error", answer(mistake).body)
        except (Gone, asyncio.CancelledError):
            raise
        except Exception:
            await _say(send, "error", answer(MaquetteError("MQ-1002", request=self._fault)).body)
            raise
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pour(self, send: Send) -> None:
        async with contextlib.aclosing(self._events) as events:  # type: ignore[type-var]
            async for name, tree in events:
                await _say(send, name, tree)
        if self._done:
            await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": True})


class Bytes(Events):
    """The bytes of one file as they come; where something goes wrong on the way it ends before its end."""

    def __init__(self, request: Request, pieces: AsyncIterator[bytes], media_type: str, headers: dict[str, str]):
        super().__init__(request, pieces)  # type: ignore[arg-type]
        self.headers["content-type"] = media_type
        self.headers.update(headers)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            await _first(asyncio.ensure_future(self._pour(send)), receive, self._state)
        except MaquetteError:
            raise Gone from None
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pour(self, send: Send) -> None:
        async with contextlib.aclosing(self._events) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})


async def _say(send: Send, name: str, tree: Any) -> None:
    data = json.dumps(tree, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = (f"event: {name}\n" if name else "") + f"data: {data}\n\n"
    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


async def begun(request: Request, events: AsyncIterator[Some]) -> AsyncIterator[Some]:
    """`events` once the first has come, so that a mistake before it is an answer with a status of its own."""
    first = await attend(request, _next(events))

    async def all_of_them() -> AsyncIterator[Some]:
        async with contextlib.aclosing(events):  # type: ignore[type-var]
            if first is not None:
                yield first
                async for event in events:
                    yield event

    return all_of_them()


async def _next(events: AsyncIterator[Some]) -> Some | None:
    try:
        return await anext(events, None)
    except BaseException:
        await events.aclose()  # type: ignore[attr-defined]
        raise
