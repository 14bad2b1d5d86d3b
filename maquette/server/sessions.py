"""People at browsers: a key that was shown once, and then a cookie that stands for it.

The cookie is HttpOnly and SameSite=Strict, so no script reads it and no other site sends it. What changes something
needs the session's token in the header `X-CSRF-Token` besides, which only our own pages know. Sessions live in memory:
when the server ends, so do they; and a key that is revoked opens nothing from then on.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import NamedTuple

COOKIE = "maquette_session"
HEADER = "x-csrf-token"
LANGUAGE = "maquette_language"
"""The cookie of the language that was chosen in the studio."""
SECONDS = 12 * 3600.0
"""How long a session lasts."""
MOST = 1000
"""Sessions that are kept; the oldest makes room."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""


class Session(NamedTuple):
    """The id of the key that it stands for, the token of its pages, and until when by the steady clock."""

    key: str
    csrf: str
    until: float


class Sessions:
    """All that are open. Of a cookie only the SHA-256 is kept."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, seconds: float = SECONDS, most: int = MOST):
        self.seconds, self._clock, self._most = seconds, clock, most
        self._open: dict[str, Session] = {}

    def open(self, key: str) -> str:
        """The cookie of a new session for the key with this id."""
        cookie = secrets.token_urlsafe(32)
        self._open[_digest(cookie)] = Session(key, secrets.token_urlsafe(24), self._clock() + self.seconds)
        while len(self._open) > self._most:
            del self._open[next(iter(self._open))]
        return cookie

    def find(self, cookie: str | None) -> Session | None:
        session = self._open.get(_digest(cookie)) if cookie else None
        if session is not None and session.until <= self._clock():
            self.close(cookie)
            return None
        return session

    def close(self, cookie: str | None) -> None:
        self._open.pop(_digest(cookie or ""), None)


def may_change(session: Session, method: str, token: str) -> bool:
    """Whether a request by this session may do what it asks: it changes nothing, or it has the token."""
    return method in SAFE or hmac.compare_digest(session.csrf.encode(), token.encode("utf-8", "replace"))


def _digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).hexdigest()
