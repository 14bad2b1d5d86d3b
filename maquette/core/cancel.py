"""Stopping long work between steps: a flag and a deadline that every sampler and training loop looks at."""

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar


class Cancelled(Exception):
    """Raised by `check` inside the work that was told to stop."""


class Token:
    """Hand one to `working`; `cancel()` it from any thread, or let `seconds` run out."""

    def __init__(self, seconds: float | None = None):
        self.deadline = None if seconds is None else time.monotonic() + seconds
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    @property
    def over(self) -> bool:
        return self.cancelled or (self.deadline is not None and time.monotonic() > self.deadline)

    def check(self) -> None:
        """Raises `Cancelled` when it is over. One who shares the device with others lets them go on here."""
        if self.over:
            raise Cancelled


_current: ContextVar[Token | None] = ContextVar("maquette_cancel", default=None)


@contextlib.contextmanager
def working(token: Token) -> Iterator[None]:
    """Within this block, `check` obeys `token`."""
    before = _current.set(token)
    try:
        yield
    finally:
        _current.reset(before)


def check() -> None:
    """Called once per step of any long loop; raises `Cancelled` when the current token is over."""
    token = _current.get()
    if token is not None:
        token.check()
