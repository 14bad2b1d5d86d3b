"""The job's life: promises that hold in any history, and the single steps by hand."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from maquette.server import states
from maquette.server.states import Job, Policy, Watch
from tests.server.histories import POLICY, history

ROOT = Path(__file__).parents[2]


def test_no_history_breaks_a_promise() -> None:
    """In a process of its own, where types are not checked at each of a million calls."""
    command = [sys.executable, "-m", "tests.server.histories", "5000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("5000 histories")


@pytest.mark.parametrize("guard", ["attempt", "cancel", "quota", "lease"])
def test_the_simulation_finds_a_guard_that_is_missing(guard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if guard == "attempt":
        monkeypatch.setattr(states, "holds", lambda job, attempt: job.state == "running")
    elif guard == "cancel":
        real = states.end
        monkeypatch.setattr(states, "end", lambda job, *a, **k: real(replace(job, wish=""), *a, **k))
    elif guard == "quota":
        real_choose = states.choose
        monkeypatch.setattr(states, "choose", lambda queued, running, *a: real_choose(queued, {}, *a))
    else:
        monkeypatch.setattr(Watch, "silent", lambda *a: [])
    with pytest.raises(AssertionError):
        for seed in range(300):
            history(seed)


def job(**values: object) -> Job:
    return replace(Job(number=1, id="j", tenant="a", kind="train", spec={}, created=0.0), **values)  # type: ignore[arg-type]


def test_waits_double_up_to_the_longest() -> None:
    policy = Policy(backoff=2.0, longest=10.0)
    assert [states.wait(policy, n, 1.0) for n in (1, 2, 3, 4, 50)] == [2, 4, 8, 10, 10]
    assert states.wait(policy, 1, 0.0) == 1


def test_a_job_that_gets_further_is_forgiven() -> None:
    run = job(state="running", attempt=4, failures=2, orphaned=3, owner="x", reached=0.5)
    further = states.advance(run, 4, 0.6, {"step": 6})
    assert further is not None and (further.failures, further.orphaned, further.reached) == (0, 0, 0.6)
    same = states.advance(run, 4, 0.5, {})
    assert same is not None and same.failures == 2
    assert states.advance(run, 3, 0.9, {}) is None


def test_a_tenant_with_nothing_running_goes_before_one_with_much() -> None:
    queued = [
        job(id="a1", tenant="a", number=1),
        job(id="b1", tenant="b", number=9),
        job(id="p", number=10, priority=1),
    ]
    assert states.choose(queued, {}, 0.0, POLICY).id == "p"  # type: ignore[union-attr]
    assert states.choose(queued[:2], {"a": 1}, 0.0, POLICY).id == "b1"  # type: ignore[union-attr]
    assert states.choose(queued[:2], {}, 0.0, POLICY).id == "a1"  # type: ignore[union-attr]
    assert states.choose(queued[:1], {"a": 2}, 0.0, POLICY) is None


def test_a_clock_that_is_set_back_delays_nobody_for_long() -> None:
    waiting = job(not_before=5000.0)
    assert not states.ready(waiting, 4999.0, POLICY)
    assert states.ready(waiting, 5000.0 - 3600, POLICY) and states.ready(waiting, 5001.0, POLICY)


def test_silence_is_measured_by_ones_own_watch() -> None:
    watch, run = Watch(10.0), job(state="running", owner="x", attempt=1)
    assert watch.silent([run], 0.0) == [] and watch.silent([run], 9.0) == []
    assert watch.silent([replace(run, beats=1)], 11.0) == []
    assert watch.silent([replace(run, beats=1)], 20.9) == []
    assert watch.silent([replace(run, beats=1)], 21.0) == [replace(run, beats=1)]


def test_putting_back_counts_for_nothing() -> None:
    run = job(state="running", attempt=7, owner="x", failures=2)
    back = states.end(run, 7, "put back", 100.0, POLICY)
    assert back is not None and (back.state, back.failures, back.not_before) == ("queued", 2, 100)
    busy = states.end(run, 7, "put back", 100.0, POLICY, code="MQ-4001")
    assert busy is not None and busy.not_before == 100 + POLICY.busy
    dead = states.end(run, 7, "crashed", 100.0, POLICY, reason="signal 9")
    assert dead is not None and (dead.state, dead.reason) == ("failed", "signal 9")
    paused = states.end(replace(run, wish="pause"), 7, "put back", 100.0, POLICY)
    assert paused is not None and (paused.state, paused.wish) == ("paused", "")


def test_a_server_that_dies_at_once_blames_no_job() -> None:
    run = job(state="running", attempt=9, owner="x", orphaned=POLICY.orphanings - 1)
    unheard = states.end(run, 9, "orphaned", 100.0, POLICY)
    assert unheard is not None and (unheard.state, unheard.orphaned) == ("queued", run.orphaned)
    heard = states.end(replace(run, beats=1), 9, "orphaned", 100.0, POLICY)
    assert heard is not None and heard.state == "failed"
