"""What a person who waits for long work is told on stderr: how far it has come, how fast, and how long it will take.

As with `cancel`, those who work say nothing of who listens: a verb opens `awaited`, and whatever is `watched` within it
is shown, as a bar on a terminal and else as a line now and then.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import TypeVar

SPEAK_EVERY = 5.0
"""Seconds between lines where there is no terminal."""

Part = TypeVar("Part")
Pace = Callable[[float], str]
"""So many items a second, in words."""

_awaited: ContextVar[bool] = ContextVar("maquette_awaited", default=False)


@contextlib.contextmanager
def awaited(quiet: bool = False) -> Iterator[None]:
    """Within this block somebody waits for what is `watched`, unless he wants it `quiet`."""
    before = _awaited.set(not quiet)
    try:
        yield
    finally:
        _awaited.reset(before)


def watched(
    parts: Iterable[Part], what: str, total: int, pace: Pace, size: Callable[[Part], int] = lambda part: 1
) -> Iterator[Part]:
    """`parts` as they come; who waits is told how many of `total` items they hold so far.

    Args:
        size: how many items a part holds.
    """
    if not _awaited.get():
        yield from parts
        return
    show = _bar(what, total, pace) if sys.stderr.isatty() else _lines(what, total, pace)
    with awaited(quiet=True), show as come:  # what is watched within the parts is told of by the parts
        done = 0
        for part in parts:
            done += size(part)
            come(done)
            yield part


@contextlib.contextmanager
def _lines(what: str, total: int, pace: Pace) -> Iterator[Callable[[int], None]]:
    began = spoke = time.monotonic()

    def come(done: int) -> None:
        nonlocal spoke
        now = time.monotonic()
        if done < total and now - spoke >= SPEAK_EVERY:
            spoke, rate = now, done / (now - began)
            told = f"{what} {done:,} of {total:,}  {pace(rate)}  {duration((total - done) / rate)} left"
            print(told, file=sys.stderr, flush=True)

    yield come


@contextlib.contextmanager
def _bar(what: str, total: int, pace: Pace) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[pace]}")
    with Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), refresh_per_second=4, transient=True
    ) as bar:
        task, began = bar.add_task(what, total=total, pace=""), time.monotonic()

        def come(done: int) -> None:
            bar.update(task, completed=done, pace=pace(done / max(time.monotonic() - began, 1e-9)))

        yield come


def number(rate: float) -> str:
    """A rate, as exactly as one that changes all the time is worth telling."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
