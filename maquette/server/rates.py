"""How often: a bucket of tokens for each key."""

import math
import time
from collections.abc import Callable

MOST = 10_000
"""Callers that are remembered; the one that came longest ago is forgotten."""


class Rates:
    """At most `a_minute` in a minute for each caller, as many at once; 0 allows any number."""

    def __init__(self, a_minute: int, clock: Callable[[], float] = time.monotonic):
        self.a_minute, self._clock = a_minute, clock
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, caller: str) -> int:
        """0 when `caller` may go on, which is then counted; else the seconds until it may."""
        wait = self.wait(caller)
        if self.a_minute and not wait:
            self._left[caller] = (self._filled(caller) - 1, self._clock())
        return wait

    def wait(self, caller: str) -> int:
        """As `take`, without being counted."""
        missing = 1 - self._filled(caller) if self.a_minute else 0
        return math.ceil(missing * 60 / self.a_minute) if missing > 1e-9 else 0

    def _filled(self, caller: str) -> float:
        left, then = self._left.pop(caller, (float(self.a_minute), self._clock()))
        left = min(float(self.a_minute), left + (self._clock() - then) * self.a_minute / 60)
        self._left[caller] = (left, self._clock())  # the last to come stands last
        if len(self._left) > MOST:
            del self._left[next(iter(self._left))]
        return left
