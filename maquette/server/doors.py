"""What every request passes, in one order: size -> Host -> Origin -> content type -> key and scope -> rate -> route.

Keys are looked up in the database each time, so one that was revoked at another server opens nothing here either, and
so are the models that jobs have made (`registry.py`). Key, scope and rate are the dependency `needs`, which every route
declares; whatever is raised anywhere becomes one kind of body here. Limits on time are the protocol's (`guard.py`).
"""

import asyncio
import logging
import math
import secrets
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Literal, NamedTuple, get_args
from urllib.parse import unquote_to_bytes

from fastapi import Request
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, cookie_parser
from starlette.responses import JSONResponse

from maquette.core.errors import MaquetteError
from maquette.server import hosts
from maquette.server.engine import Absent, Served
from maquette.server.errors import Answer, Elsewhere, Later, answer
from maquette.server.reading import FORM, JSON
from maquette.server.sessions import COOKIE, HEADER, LANGUAGE, may_change

Scope = Literal["public", "infer", "train", "admin"]
SCOPES = get_args(Scope)[1:]
"""What a key may be allowed."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

GONE = 499
"""The status in the log of a request whose client went away."""

HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
"""Of every answer that does not say otherwise itself."""

log = logging.getLogger("maquette.server")


class Gone(Exception):
    """The client has gone away: there is nobody to answer."""


class Caller(NamedTuple):
    """Who asks: the public id of a key, or "" where none is needed."""

    id: str
    scopes: frozenset[str]

    def sees(self, served: Served | Absent) -> bool:
        """Whether a model is there for it: the operator's, its own jobs', shared ones; with the scope admin all."""
        return served.owner is None or served.shared or self.owns(served)

    def owns(self, served: Served | Absent) -> bool:
        """Whether it may say who else sees a model, and delete it."""
        return served.owner is not None and (served.owner == self.id or "admin" in self.scopes)


LOCAL = Caller("", frozenset(SCOPES))
NOBODY = Caller("", frozenset())


class Lock:
    """Whether requests need a key. They do from when the first one was made in the database, by whomever, and for good:
    keys that are revoked or have expired open nothing, their absence neither."""

    def __init__(self, store: Any, shut: bool):
        self._store, self.shut, self._looked = store, shut, -math.inf

    async def closed(self) -> bool:
        """The state of it, looked at once a second; raises as the store, which lets nobody in either."""
        if not self.shut and time.monotonic() >= self._looked + 1.0:
            self.shut = await asyncio.to_thread(self._store.has_keys)
            self._looked = time.monotonic()
        return self.shut


class Needs:
    """The dependency by which a route says what a caller must be allowed: `Depends(needs("infer"))`."""

    def __init__(self, scope: Scope):
        self.scope: Scope = scope

    async def __call__(self, request: Request) -> Caller:
        """The caller.

        Raises:
            MaquetteError: MQ-2207 no valid key, MQ-2208 one that lacks the scope, MQ-2210 too many requests, and as
                `Registry.sync`.
        """
        request.scope["state"]["route"] = getattr(request.scope.get("route"), "path", "")
        if self.scope == "public":
            return NOBODY
        caller = await self._caller(request)
        request.scope["state"]["caller"] = caller
        if self.scope not in caller.scopes:
            self._denied(request, caller.id, 403)
            raise MaquetteError("MQ-2208", scope=self.scope)
        if caller is not LOCAL and (wait := request.app.state.rates.take(caller.id)):
            raise Later("MQ-2210", wait)
        await request.app.state.registry.sync()  # what follows sees the models as the database has them now
        return caller

    async def _caller(self, request: Request) -> Caller:
        state = request.app.state
        if not await state.lock.closed():
            return LOCAL
        row = await self._row(request)
        if row is None:  # whoever has a key is let in however many guess at the same address, such as a proxy's
            if wait := state.strikes.take(request.client.host if request.client else ""):
                raise Later("MQ-2210", wait)
            self._denied(request, "", 401)
            raise MaquetteError("MQ-2207")
        return Caller(str(row.id), frozenset(row.scopes))

    @staticmethod
    async def _row(request: Request) -> Any:
        """The key in the header, or without one the key that a session of the studio stands for.

        Raises:
            MaquetteError: MQ-2230 a session asks for a change without its token.
        """
        state, headers = request.app.state, request.headers
        if "authorization" in headers:
            kind, _, secret = headers["authorization"].partition(" ")
            if kind.lower() != "bearer" or not secret or len(headers.getlist("authorization")) > 1:
                return None
            return await asyncio.to_thread(state.store.key_of, secret.strip())
        session = state.sessions.find(request.cookies.get(COOKIE)) if state.sessions is not None else None
        if session is None:
            return None
        if not may_change(session, request.method, headers.get(HEADER, "")):
            raise MaquetteError("MQ-2230")
        return await asyncio.to_thread(state.store.live_key, session.key)

    @staticmethod
    def _denied(request: Request, key: str, status: int) -> None:
        audit(request, key, "denied", "", status)


def needs(scope: Scope) -> Needs:
    return Needs(scope)


def caller_of(request: Request) -> Caller:
    """Who asks, once `needs` has let them in."""
    caller: Caller = request.scope["state"]["caller"]
    return caller


def audit(request: Request, key: str, action: str, thing: str, status: int) -> None:
    """A row in the audit log; it never keeps an answer waiting, and a log that is full stops nobody."""
    state = request.scope["state"]
    row = (key, action, thing or state.get("route", ""), status, state["request_id"])
    request.app.state.auditing.submit(row)


class Doors:
    """ASGI: what stands around all routes."""

    def __init__(self, app: Callable[..., Awaitable[None]], state: Any):
        self.app, self.state = app, state
        self.inside = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)  # type: ignore[arg-type]
        own = scope.setdefault("state", {})
        own["request_id"] = request_id = "req_" + secrets.token_hex(12)
        talk = _Talk(_most(scope, headers, self.state.settings), receive, send, request_id)
        began = time.perf_counter()
        self.inside += 1
        try:
            self._check(scope, headers)
            await self.app(scope, talk.receive, talk.send)
        except (Gone, ClientDisconnect):
            talk.status = GONE
        except asyncio.CancelledError:  # the server stops at once
            talk.status = GONE
            raise
        except MaquetteError as mistake:
            await talk.refuse(answer(mistake, language_of(headers)))
        except Exception as fault:
            _report(fault, request_id)
            told = answer(MaquetteError("MQ-1002", request=request_id), language_of(headers))
            await talk.refuse(told)
        finally:
            self.inside -= 1
            self._note(scope, talk.status, time.perf_counter() - began)

    def _check(self, scope: MutableMapping[str, Any], headers: Headers) -> None:
        limits = self.state.settings
        if len(scope.get("raw_path") or b"") + len(scope.get("query_string") or b"") > limits.url:
            raise MaquetteError("MQ-2204", what="address", most=f"{limits.url} bytes")
        if sum(len(name) + len(value) + 4 for name, value in scope["headers"]) > limits.head:
            raise MaquetteError("MQ-2219", most=limits.head)
        address = (scope.get("server") or ("", 0))[0]
        host = hosts.check_host(headers.getlist("host"), limits.names, str(address))
        hosts.check_origin(headers.getlist("origin"), headers.get("sec-fetch-site"), host)
        _check_path(scope.get("raw_path") or scope["path"].encode())
        self._check_body(headers, _most(scope, headers, limits))
        if self.state.draining:
            raise Later("MQ-2212", 10)
        if self.inside > limits.requests:
            raise Later("MQ-2211", 1)

    @staticmethod
    def _check_body(headers: Headers, most: int) -> None:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if headers.get("content-encoding", "identity") != "identity":
            raise MaquetteError("MQ-2205", wanted="a body that is not compressed")
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers and "content-length" in headers:
            raise MaquetteError("MQ-2217", reason="it says its length twice")
        if kind not in ("", JSON, FORM) or len(headers.getlist("content-type")) > 1:
            raise MaquetteError("MQ-2205", wanted=f"{JSON} or {FORM}")
        if not length.isdigit() or len(length) > 15 or int(length) > most:
            raise MaquetteError("MQ-2204", what="body", most=f"{most} bytes")

    def _note(self, scope: MutableMapping[str, Any], status: int, seconds: float) -> None:
        """One line and one count for each request: its route and not its path, who asked and not what."""
        own = scope["state"]
        route, caller = own.get("route") or "-", own.get("caller", NOBODY)
        method = scope["method"] if scope["method"] in ("GET", "POST", "DELETE", "HEAD", "OPTIONS") else "other"
        self.state.counts.note(method, route, status, seconds)
        log.info("%s %s %s %d %.0fms %s", own["request_id"], method, route, status, 1000 * seconds, caller.id or "-")


class _Talk:
    """One request's receive and send: with a limit to what comes, and headers on what goes."""

    def __init__(self, most: int, receive: Receive, send: Send, request_id: str):
        self._most, self._came = most, 0
        self._receive, self._send, self._id = receive, send, request_id
        self.status, self.begun, self.over = 0, False, False

    async def receive(self) -> Message:
        message = await self._receive()
        self._came += len(message.get("body", b""))
        if self._came > self._most:
            raise MaquetteError("MQ-2204", what="body", most=f"{self._most} bytes")
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun, self.status = True, message["status"]
            said = {name.lower() for name, _ in message["headers"]}
            ours = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in said]
            message = {**message, "headers": [*message["headers"], *ours, (b"x-request-id", self._id.encode())]}
        elif not message.get("more_body", False):
            self.over = True
        await self._send(message)

    async def refuse(self, told: Answer) -> None:
        """Answer with a mistake; where an answer has begun, it just ends (a stream says its own mistakes)."""
        if self.begun:
            if not self.over:
                await self.send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        response = JSONResponse(told.body, told.status, told.headers)
        await response({"type": "http"}, self._receive, self.send)


def _most(scope: MutableMapping[str, Any], headers: Headers, limits: Any) -> int:
    """Bytes of a body."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        return limits.json
    return limits.dataset if scope["path"] == "/v1/files" else limits.upload


def language_of(headers: Headers) -> str:
    """ "zh" or "en": what was chosen in the studio, which alone has such a cookie, or else what is accepted first."""
    chosen = cookie_parser(headers.get("cookie", "")).get(LANGUAGE, "") or headers.get("accept-language", "")
    return "zh" if chosen.lower().startswith("zh") else "en"


def _check_path(path: bytes) -> None:
    """Paths here are of plain characters; whatever climbs, hides or is written twice is no path of ours."""
    plain = unquote_to_bytes(path)
    odd = any(c < 33 or c > 126 or c in b"\\%" for c in plain)
    if not plain.startswith(b"/") or odd or any(part in (b".", b"..") for part in plain.split(b"/")):
        raise Elsewhere(404)


def _report(fault: Exception, request_id: str) -> None:
    """A fault of ours in the log: its type and where it was raised, and not what it says, which may be a prompt."""
    frames = traceback.extract_tb(fault.__traceback__)
    places = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames[-6:]))
    log.error("%s %s at %s", request_id, type(fault).__name__, places)
