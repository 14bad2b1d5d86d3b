"""Long work looks at one token between steps."""

import threading
import time

import pytest

from maquette.core import cancel


def test_without_a_token_nothing_stops() -> None:
    cancel.check()


def test_a_token_stops_the_work_inside_its_block_only() -> None:
    token = cancel.Token()
    with cancel.working(token):
        cancel.check()
        token.cancel()
        with pytest.raises(cancel.Cancelled):
            cancel.check()
        with cancel.working(cancel.Token()):  # work within work has a token of its own
            cancel.check()
        with pytest.raises(cancel.Cancelled):
            cancel.check()
    cancel.check()


def test_a_deadline_passes() -> None:
    with cancel.working(cancel.Token(seconds=0.0)):
        time.sleep(0.01)
        with pytest.raises(cancel.Cancelled):
            cancel.check()
    with cancel.working(cancel.Token(seconds=3600.0)):
        cancel.check()


def test_another_thread_may_cancel_and_has_no_token_itself() -> None:
    token, seen = cancel.Token(), []

    def other() -> None:
        token.cancel()
        cancel.check()  # a token belongs to the thread that works under it
        seen.append(True)

    with cancel.working(token):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert seen and token.over
        with pytest.raises(cancel.Cancelled):
            cancel.check()
