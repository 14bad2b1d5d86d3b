"""What is told of long work: nothing unless somebody waits, lines in a log, a bar on a terminal."""

from collections.abc import Iterator

import pytest

from maquette.core import waiting
from maquette.core.waiting import awaited, duration, number, watched

PARTS = ["aa", "aaa", "a"]


def pace(rate: float) -> str:
    return "so fast" if rate > 0 else "never"


def seen(total: int = 6) -> Iterator[str]:
    return watched(iter(PARTS), "drawing", total, pace, len)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at it is 3 seconds after the last."""
    times = iter(range(0, 300, 3))
    monkeypatch.setattr(waiting.time, "monotonic", lambda: next(times))


@pytest.mark.usefixtures("clock")
def test_nobody_is_told_who_does_not_wait(capsys: pytest.CaptureFixture) -> None:
    assert [*seen()] == PARTS
    with awaited(quiet=True):
        assert [*seen()] == PARTS
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("clock")
def test_a_log_gets_a_line_now_and_then(capsys: pytest.CaptureFixture) -> None:
    with awaited():
        assert [*seen(60)] == PARTS
    assert capsys.readouterr().err == "drawing 5 of 60  so fast  1:06 left\n"  # at 6 s, the others are too near
    assert [*seen()] == PARTS and capsys.readouterr().err == "", "it is over"


@pytest.mark.usefixtures("clock")
def test_work_within_work_is_told_of_once(capsys: pytest.CaptureFixture) -> None:
    def outer() -> Iterator[str]:
        for part in PARTS:
            assert [*watched(iter(PARTS), "within", 60, pace, len)] == PARTS
            yield part

    with awaited():
        assert [*watched(outer(), "drawing", 60, pace, len)] == PARTS
    said = capsys.readouterr().err
    assert "drawing 5 of 60" in said and "within" not in said


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with awaited():
        assert [*seen()] == PARTS
    said = capsys.readouterr()
    assert "drawing" in said.err and "100%" in said.err and "so fast" in said.err and said.out == ""


def test_figures() -> None:
    assert [number(rate) for rate in (0.1234, 1.26, 9.9, 12.6, 1234.5)] == ["0.12", "1.3", "9.9", "13", "1,234"]
    assert [duration(s) for s in (5.0, 65.0, 3723.4)] == ["0:05", "1:05", "1:02:03"]
