"""SIGINT, SIGTERM and SIGHUP: the first asks to stop after this step, the second stops at once."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """`asked` says whether to stop at the next step's end; `leave` then ends the process as the signal wants."""

    def __init__(self) -> None:
        self.number = 0

    @property
    def asked(self) -> bool:
        return self.number != 0

    def leave(self) -> None:
        """Exit with 128 + the signal's number (130, 143, 129); another rank's signal counts as SIGTERM."""
        raise SystemExit(128 + (self.number or signal.SIGTERM))

    def _heard(self, number: int, frame: object) -> None:
        if self.number:  # a folder half-written is no harm: nothing counts before its rename
            os._exit(128 + number)
        self.number = number


@contextlib.contextmanager
def listening() -> Iterator[Signals]:
    """Within this block signals only ask; outside the main thread Python hears none, so none are taken."""
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup ignores SIGHUP
    before = {number: signal.signal(number, signals._heard) for number in heard}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
