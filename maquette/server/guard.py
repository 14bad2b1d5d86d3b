"""uvicorn's HTTP/1.1 with limits on time, and an end that comes: what a slow or silent client must not hold.

uvicorn itself waits for ever for headers, for bodies and for readers. Here each connection is looked at every second:
one whose headers or body are late is told so (408) and closed, one that leaves what it was sent unread is cut. On
SIGTERM nothing new is taken, what runs may finish for `drain_seconds`, what still runs then is told to end, and the
exit code is 0.
"""

import asyncio
import json
import socket
import struct
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from maquette.core.errors import MaquetteError
from maquette.server.errors import answer
from maquette.server.settings import Settings

EVERY = 1.0
"""Seconds between two looks at a connection."""
REASONS = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


def protocol(settings: Settings) -> type[H11Protocol]:
    """The protocol of connections under `settings`."""

    class Guarded(Guard):
        limits = settings

    return Guarded


class Guard(H11Protocol):
    """A connection that is looked at every second."""

    limits: Settings

    def __init__(self, *args: Any, **keywords: Any):
        super().__init__(*args, **keywords)
        self.access_log = False  # it would tell paths and queries

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since = self._moved = self.loop.time()
        self._came = self._unread = 0
        self._timer = self.loop.call_later(EVERY, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.conn.their_state is h11.IDLE and self._came == 0:
            self._since = self.loop.time()  # the first byte of a request
        self._came += len(data)
        refused = self.cycle is not None and self.cycle.response_started
        if refused and self._came > 2 * (self.limits.upload + self.limits.head):  # and still its body comes
            self.transport.abort()
            return
        super().data_received(data)

    def on_response_complete(self) -> None:
        self._came, self._since = 0, self.loop.time()
        super().on_response_complete()

    def _look(self) -> None:
        now = self.loop.time()
        if self._reader_sleeps(now):
            self._cut()
            return
        if not self.transport.is_closing() and self._late(now):
            self._refuse(408, MaquetteError("MQ-2213", what="the request", todo="send it without pauses"))
        self._timer = self.loop.call_later(EVERY, self._look)

    def _cut(self) -> None:
        """Drop the connection and all that lies in it, in the system's buffers too."""
        link = self.transport.get_extra_info("socket")
        if link is not None:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _late(self, now: float) -> bool:
        """Whether headers or a body should have come by now."""
        waited, state = now - self._since, self.conn.their_state
        if state is h11.IDLE:
            busy = self.cycle is not None and not self.cycle.response_complete
            idle = self._came == 0 and self.cycle is not None  # between two requests; uvicorn's own timer sees to it
            return not busy and not idle and waited > self.limits.head_seconds
        if state is h11.SEND_BODY:
            return waited > self.limits.body_seconds + self._came / self.limits.pace
        return False

    def _reader_sleeps(self, now: float) -> bool:
        """Whether what was sent lies there, none of it read, for too long."""
        unread = self.transport.get_write_buffer_size()
        if unread == 0 or unread < self._unread:
            self._moved = now
        self._unread = unread
        return now - self._moved > self.limits.read_seconds

    def send_400_response(self, msg: str) -> None:
        """What h11 could not read; its own words stay in the log."""
        large = len(self.conn.trailing_data[0]) > self.limits.head
        unread = MaquetteError("MQ-2217", reason="it cannot be read")
        self._refuse(431 if large else 400, MaquetteError("MQ-2219", most=self.limits.head) if large else unread)

    def _refuse(self, status: int, mistake: MaquetteError) -> None:
        body = json.dumps(answer(mistake).body).encode()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # whoever waits for the rest of the body is told that nobody is there
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.abort()
                return
        head = f"HTTP/1.1 {status} ".encode() + REASONS[status]
        lines = (b"content-type: application/json", b"connection: close", f"content-length: {len(body)}".encode())
        self.transport.write(b"\r\n".join((head, *lines, b"", body)))
        self.transport.close()


class Server(uvicorn.Server):
    """A server whose end is told to the application, and whose exit code after SIGTERM is 0."""

    def __init__(self, config: uvicorn.Config, state: Any):
        super().__init__(config)
        self.state = state

    def handle_exit(self, sig: int, frame: Any) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: Any = None) -> None:
        self.state.draining = True
        self.state.stop_jobs()
        timer = asyncio.get_running_loop().call_later(self.state.settings.drain_seconds, self.state.ending.set)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()


def server(app: Any, settings: Settings) -> Server:
    """uvicorn around `app`, with everything that it can bound bounded."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=protocol(settings),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=2048,
        h11_max_incomplete_event_size=settings.head,
        timeout_keep_alive=settings.idle_seconds,
        timeout_graceful_shutdown=max(1, round(settings.drain_seconds) + 5),
    )
    return Server(config, app.state)
