"""The queue over real databases, and its supervisor with workers that fail in every way."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from maquette.core.catalogue import CATALOGUE
from maquette.core.errors import MaquetteError
from maquette.server import plans
from maquette.server.jobs import Jobs
from maquette.server.states import Job, Policy, Watch
from maquette.server.store import Store
from maquette.server.supervisor import Supervisor
from maquette.server.tailing import Course, starved
from tests.server.fake import weights
from tests.server.life import FAKE, POLICY, ROOT, begin, supervisor

SPEC: dict[str, Any] = {"word": "good", "stem": "tiny", "model": "tiny"}
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(autouse=True)
def _workers_find_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def jobs(database: str, tmp_path: Path) -> Iterator[Jobs]:
    store = Store(database, tmp_path)
    yield Jobs(store, POLICY, chance=lambda: 0.0)
    store.close()


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Jobs]:
    store = Store(f"sqlite:///{tmp_path}/server.db")
    yield Jobs(store, POLICY, chance=lambda: 0.0)
    store.close()


def wait(until: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


def state(jobs: Jobs, job: Job) -> str:
    return jobs.get(None, job.id).state


# -- the queue --------------------------------------------------------------------------------------------------------


def test_a_job_is_kept_before_put_returns(database: str, tmp_path: Path, jobs: Jobs) -> None:
    job = jobs.put("train", SPEC, key="a")
    other = Jobs(Store(database, tmp_path))
    assert other.get("a", job.id) == jobs.get("a", job.id) and job.state == "queued"
    assert [event.message for event in other.events("a", job.id)] == ["Waiting for its turn"]
    other.store.close()


def test_what_goes_on_is_told_in_the_language_of_who_asks(lite: Jobs, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "samples" / "step-00000003.png").parent.mkdir(parents=True)
    (run / "samples" / "step-00000003.png").write_bytes(b"")
    (run / "metrics.jsonl").write_text('{"step": 3, "progress": 0.5, "model.loss": 0.25}\n')
    (tmp_path / "made.jsonl").write_text("{}\n{}\n")
    job = lite.put("train", SPEC, key="a")
    lite.claim("x")
    course = Course({"": run}, {}, made=(tmp_path / "made.jsonl", 5))
    lite.advance(job.id, 1, 0.5, {}, [*course.look(), ("message", "by itself", {})])
    lite.end(job.id, 1, "refused", "MQ-1181", MaquetteError("MQ-1181", status=9).sentence)
    events = lite.events("a", job.id)
    assert [event.said("en") for event in events] == [event.message for event in events]
    assert [event.said("zh") for event in events] == [
        "等待轮到它",
        "已开始",
        "第 3 步：model.loss 0.25",
        "样本 step-00000003.png",
        "已生成 2 / 5",
        "by itself",
        f"失败：{CATALOGUE['MQ-1181'].zh[0].format(status=9)}",
    ]


def test_an_idempotency_key_gives_the_same_job(jobs: Jobs) -> None:
    one = jobs.put("train", SPEC, key="a", idempotency="x")
    assert jobs.put("train", dict(reversed(SPEC.items())), key="a", idempotency="x").id == one.id
    assert jobs.put("train", SPEC, key="b", idempotency="x").id != one.id
    assert jobs.put("train", SPEC, key="a").id != one.id
    with pytest.raises(MaquetteError, match="MQ-2183"):
        jobs.put("train", SPEC | {"seed": 1}, key="a", idempotency="x")


def test_a_tenant_sees_and_does_nothing_to_anothers(jobs: Jobs) -> None:
    job = jobs.put("train", SPEC, key="a")
    for call in (jobs.get, jobs.cancel, jobs.pause, jobs.go_on, jobs.events):
        with pytest.raises(MaquetteError, match="MQ-2180"):
            call("b", job.id)
    assert jobs.list("b") == []


def test_pages_and_kinds(jobs: Jobs) -> None:
    made = [jobs.put("train" if i % 2 else "sample", SPEC, key="a") for i in range(7)]
    first = jobs.list("a", limit=3)
    second = jobs.list("a", after=first[-1].id, limit=10)
    assert [job.id for job in [*first, *second]] == [job.id for job in reversed(made)]
    assert [job.id for job in jobs.list("a", ("train",))] == [made[i].id for i in (5, 3, 1)]


def test_a_key_may_have_so_many(database: str, tmp_path: Path) -> None:
    jobs = Jobs(Store(database, tmp_path), Policy(unfinished=2, running=1))
    one = jobs.put("train", SPEC, key="a")
    jobs.put("train", SPEC, key="a")
    with pytest.raises(MaquetteError, match="MQ-4180"):
        jobs.put("train", SPEC, key="a")
    jobs.put("train", SPEC, key="b")
    assert [job.tenant if (job := jobs.claim("x")) else "" for _ in range(3)] == ["a", "b", ""]
    jobs.cancel("a", one.id)
    assert jobs.end(one.id, 1, "done").state == "cancelled"  # type: ignore[union-attr]
    jobs.put("train", SPEC, key="a")
    jobs.store.close()


def test_the_higher_priority_first_then_the_first_in(jobs: Jobs) -> None:
    low = [jobs.put("train", SPEC, key="a") for _ in range(2)]
    high = jobs.put("train", SPEC, key="a", priority=5)
    claimed = [jobs.claim("x") for _ in range(3)]
    assert [job.id if job else "" for job in claimed] == [high.id, low[0].id, low[1].id]
    with pytest.raises(MaquetteError, match="MQ-2002"):
        jobs.put("train", SPEC, key="a", priority=99)


def test_a_late_completion_is_fenced(jobs: Jobs) -> None:
    job = jobs.put("train", SPEC, key="a")
    first = jobs.claim("sleeper")
    steady = [0.0]
    jobs.steady = lambda: steady[0]
    watch = Watch(10.0)
    assert jobs.reap(watch, "me", (), lambda owner: False) == []
    steady[0] = 9.0
    assert jobs.beat(job.id, 1) is not None and jobs.reap(watch, "me", (), lambda owner: False) == []
    steady[0] = 19.5
    assert [back.state for back in jobs.reap(watch, "me", (), lambda owner: False)] == ["queued"]
    second = jobs.claim("me")
    assert first is not None and second is not None and (first.attempt, second.attempt) == (1, 2)
    assert jobs.end(job.id, 1, "done", result={"model": "old"}) is None, "the sleeper has woken up"
    assert jobs.beat(job.id, 1) is None and jobs.advance(job.id, 1, 1.0, {}, []) is None
    assert jobs.end(job.id, 2, "done", result={"model": "new"}) is not None
    assert jobs.get("a", job.id).result == {"model": "new"}
    assert jobs.end(job.id, 2, "done", result={"model": "twice"}) is None
    assert [event.data.get("state") for event in jobs.events("a", job.id)] == [
        "queued", "running", "queued", "running", "succeeded",
    ]  # fmt: skip


def test_events_are_numbered_without_gaps_and_resumed(jobs: Jobs) -> None:
    job = jobs.put("train", SPEC, key="a")
    jobs.claim("x")
    for step in range(5):
        jobs.advance(job.id, 1, step / 10, {"step": step}, [("metrics", f"Step {step}", {"step": step})])
    events = jobs.events("a", job.id)
    assert [event.number for event in events] == [1, 2, 3, 4, 5, 6, 7]
    assert [event.number for event in jobs.events("a", job.id, after=5)] == [6, 7]
    assert [event.number for event in jobs.events("a", job.id, limit=2, newest=True)] == [7, 6]
    assert [event.number for event in jobs.events("a", job.id, after=6, limit=2, newest=True)] == [5, 4]


CLAIM = """
import sys
from maquette.server.jobs import Jobs
from maquette.server.states import Policy
from maquette.server.store import Store
jobs = Jobs(Store(sys.argv[1], sys.argv[2], patience=60.0), Policy(running=10**6))
print("up", flush=True)
sys.stdin.readline()
while (job := jobs.claim(sys.argv[3])) is not None:
    print(job.id, flush=True)
    assert jobs.end(job.id, job.attempt, "done") is not None
"""


def test_processes_never_claim_a_job_twice(database: str, tmp_path: Path) -> None:
    jobs = Jobs(Store(database, tmp_path), Policy(unfinished=10**6))
    made = {jobs.put("train", SPEC, key=random.choice("ab")).id for _ in range(60)}
    command = [sys.executable, "-c", CLAIM, database, str(tmp_path)]
    several = [
        subprocess.Popen([*command, f"o{i}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
        for i in range(2)
    ]
    for one in several:
        assert one.stdout is not None and one.stdout.readline() == "up\n"
    said = [one.communicate("go\n", timeout=120)[0].split() for one in several if one.stdin]
    claimed = Counter(id for ids in said for id in ids)
    assert set(claimed) == made and set(claimed.values()) == {1}
    jobs.store.close()


def test_a_store_that_is_full_or_locked_takes_nothing_on(lite: Jobs) -> None:
    import sqlalchemy as sa

    with lite.store.reading() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    sa.event.listen(lite.store._engine, "begin", lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={pages}"))
    kept = []
    with pytest.raises(MaquetteError, match="MQ-5180"):
        for _ in range(500):
            kept.append(lite.put("train", SPEC | {"prompt": "x" * 2000}, key="a").id)
    assert {job.id for job in lite.list(None, limit=1000)} == set(kept)


# -- the supervisor ---------------------------------------------------------------------------------------------------


@pytest.fixture
def running(lite: Jobs) -> Iterator[Supervisor]:
    one = begin(supervisor(lite))
    yield one
    one.close(3.0)


def finished(folder: Path, job: Job) -> bool:
    name = plans.run_name(job.id, job.spec)
    return json.loads((folder / "models" / name / "weights").read_text()) == weights(name)


def test_poison_fails_after_its_attempts_and_neighbours_are_done(lite: Jobs, running: Supervisor) -> None:
    good = [lite.put("train", SPEC, key="a") for _ in range(3)]
    poison = lite.put("train", SPEC | {"word": "segfault"}, key="a")
    wrong = lite.put("train", SPEC | {"word": "wrong"}, key="a")
    good += [lite.put("train", SPEC, key="a") for _ in range(3)]
    wait(lambda: all(job.over for job in lite.list(None)))
    assert [state(lite, job) for job in good] == ["succeeded"] * 6
    assert all(finished(running.folder, job) for job in good)
    dead, refused = lite.get("a", poison.id), lite.get("a", wrong.id)
    assert (dead.state, dead.attempt, dead.reason) == ("failed", 3, "its process was ended by SIGSEGV")
    assert (refused.state, refused.attempt, refused.code) == ("failed", 1, "MQ-2001")
    assert refused.reason == "model has no 'latnt'"
    levels = [event.level for event in lite.events("a", poison.id) if event.kind == "state"]
    assert levels.count("warn") == 2 and levels[-1] == "error"
    told = [event.data["step"] for event in lite.events("a", good[0].id) if event.kind == "metrics"]
    assert told == sorted(set(told)) and told[-1] == 12


def test_a_running_job_is_cancelled_paused_and_goes_on(lite: Jobs, running: Supervisor) -> None:
    slow, other = (lite.put("train", SPEC | {"word": "slow"}, key="a") for _ in range(2))
    wait(lambda: all(lite.get("a", job.id).reached > 0 for job in (slow, other)))
    assert lite.cancel("a", slow.id).wish == "cancel"
    assert lite.pause("a", other.id).wish == "pause"
    wait(lambda: (state(lite, slow), state(lite, other)) == ("cancelled", "paused"))
    with pytest.raises(MaquetteError, match="MQ-2181"):
        lite.cancel("a", slow.id)
    waiting = lite.get("a", other.id)
    assert 0 < waiting.reached < 1 and waiting.failures == 0
    lite.go_on("a", other.id)
    wait(lambda: state(lite, other) == "succeeded")
    assert finished(running.folder, other) and lite.get("a", other.id).attempt == 2


def test_what_never_ends_is_ended(lite: Jobs) -> None:
    lite.policy = Policy(seconds=0.5)
    one = begin(supervisor(lite, grace=0.3))
    job = lite.put("train", SPEC | {"word": "endless"}, key="a")
    wait(lambda: lite.get("a", job.id).over)
    assert (state(lite, job), lite.get("a", job.id).reason) == ("failed", "it took longer than 0 s")
    one.close(1.0)


def test_a_drain_puts_jobs_back_where_they_were(lite: Jobs) -> None:
    one = begin(supervisor(lite))
    job, stubborn = (
        lite.put("train", SPEC | {"word": "slow"}, key="a"),
        lite.put("train", SPEC | {"word": "endless"}, key="a"),
    )
    wait(lambda: lite.get("a", job.id).reached > 0 and state(lite, stubborn) == "running")
    one.close(0.5)
    back = lite.get("a", job.id)
    assert (back.state, back.failures, back.orphaned) == ("queued", 0, 0) and 0 < back.reached < 1
    assert state(lite, stubborn) == "queued" and lite.closing
    lite.cancel("a", stubborn.id)
    lite.closing = False
    two = begin(supervisor(lite))
    wait(lambda: state(lite, job) == "succeeded")
    two.close(1.0)
    assert finished(two.folder, job)


def test_a_job_that_cannot_be_begun_is_tried_again_when_that_could_not_be_told(
    lite: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is full just then: the job must not stand as running for ever with nobody who runs it."""
    real, calls = lite.end, [0]

    def full(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] in (1, 3):
            raise MaquetteError("MQ-5180", reason="disk is full")
        return real(*arguments, **named)

    monkeypatch.setattr(lite, "end", full)
    one = begin(supervisor(lite, command=("/nowhere/python",)))
    job = lite.put("train", SPEC, key="a")
    wait(lambda: lite.get("a", job.id).over)
    one.close(1.0)
    ended = lite.get("a", job.id)
    assert ended.state == "failed" and "no worker could be started" in ended.reason and ended.failures == 3


@pytest.mark.skipif(sys.platform != "linux", reason="Linux counts all private memory")
def test_a_job_that_takes_too_much_memory_has_failed_with_that_reason(lite: Jobs) -> None:
    """Once, since it would meet the same again; another job, and the server, have as much as before."""
    one = begin(supervisor(lite, memory=400 << 20))
    hungry, good = lite.put("train", SPEC | {"word": "hungry"}, key="a"), lite.put("train", SPEC, key="a")
    wait(lambda: lite.get("a", hungry.id).over and lite.get("a", good.id).over)
    one.close(1.0)
    told = lite.get("a", hungry.id)
    assert (told.state, told.code, told.attempt) == ("failed", "MQ-2185", 1) and "0.391 GiB" in told.reason
    assert state(lite, good) == "succeeded"


def test_what_else_speaks_of_memory_in_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    for said, so in (
        ("ImportError: libopenblas.so: failed to map segment from shared object", True),
        ("terminate called after throwing an instance of 'std::bad_alloc'", True),
        ("error[MQ-2001]: model has no 'latnt'", False),
    ):
        log.write_text(f"{said}\n")
        assert starved(log) is so
    assert not starved(tmp_path / "none.txt")


@pytest.mark.skipif(sys.platform != "linux", reason="Linux counts all private memory")
@pytest.mark.parametrize(
    "work", ["bytearray(2 << 30)", "numpy.ones(2 << 28)", "torch.ones(2 << 28)", "torch.ones(2 << 26).repeat(8)"]
)
def test_whoever_is_refused_memory_says_so(work: str, tmp_path: Path) -> None:
    program = f"import numpy, torch\nfrom maquette.server import worker\nworker._limit(1 << 30)\n{work}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=ENVIRONMENT, check=False)
    (tmp_path / "log.txt").write_bytes(done.stderr)
    assert done.returncode != 0 and starved(tmp_path / "log.txt"), done.stderr


def test_an_end_that_cannot_be_told_is_told_later(lite: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    real, failures = lite.end, [0]

    def full(*arguments: Any, **named: Any) -> Any:
        failures[0] += 1
        if failures[0] < 4:
            raise MaquetteError("MQ-5180", reason="disk is full")
        return real(*arguments, **named)

    monkeypatch.setattr(lite, "end", full)
    one = begin(supervisor(lite))
    job = lite.put("train", SPEC, key="a")
    wait(lambda: state(lite, job) == "succeeded")
    one.close(1.0)
    assert failures[0] == 4 and lite.get("a", job.id).attempt == 1


def test_what_cannot_be_served_has_failed(lite: Jobs) -> None:
    def refuse(folder: Path, job: Job) -> str:
        raise MaquetteError("MQ-7030", str(folder))

    one = supervisor(lite)
    one.start(lambda name: Path(name), refuse)
    job = lite.put("train", SPEC, key="a")
    wait(lambda: lite.get("a", job.id).over)
    one.close(1.0)
    assert (state(lite, job), lite.get("a", job.id).code) == ("failed", "MQ-7030")


def test_a_job_that_was_taken_away_is_stopped(lite: Jobs, running: Supervisor) -> None:
    job = lite.put("train", SPEC | {"word": "endless"}, key="a")
    wait(lambda: (running.folder / "starts.txt").exists())
    pid = int((running.folder / "starts.txt").read_text().split()[1])
    assert lite.give_up(lite.get("a", job.id)) is not None  # as another server does after a lease
    wait(lambda: not Path(f"/proc/{pid}").exists())
    lite.cancel("a", job.id)


def lived(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.server.life", str(folder), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=ROOT)


def alive(folder: Path) -> list[int]:
    """The workers of `folder` that still live."""
    path = folder / "starts.txt"
    pids = [int(line.split()[1]) for line in path.read_text().splitlines()] if path.exists() else []
    return [pid for pid in pids if Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text()]


def test_a_server_that_is_killed_loses_and_doubles_nothing(lite: Jobs, tmp_path: Path) -> None:
    killed(lite, f"sqlite:///{tmp_path}/server.db", tmp_path)


@pytest.mark.crash
def test_the_same_over_either_database(jobs: Jobs, database: str, tmp_path: Path) -> None:
    killed(jobs, database, tmp_path)


def killed(jobs: Jobs, database: str, tmp_path: Path) -> None:
    """SIGKILL again and again while jobs wait and run; each ends once, in the bits of one that was never disturbed."""
    dice = random.Random(6)
    made = [jobs.put("train", SPEC, key=dice.choice("ab")) for _ in range(5)]
    for kill in range(4):
        with lived(tmp_path, "--url", database, "--fake", "--workers", "2") as server:
            assert server.stdout is not None and server.stdout.readline() == "up\n"
            time.sleep(dice.uniform(0.05, 0.6))
            server.send_signal(signal.SIGKILL)
        made.append(jobs.put("train", SPEC, key="a", idempotency=f"after {kill}"))
    wait(lambda: not alive(tmp_path), 20)  # their server's death reaches the workers
    with lived(tmp_path, "--url", database, "--fake", "--until-done") as server:
        assert server.wait(120) == 0
    kept = {job.id: job for job in jobs.list(None, limit=100)}
    assert kept.keys() == {job.id for job in made}, "none lost, none made twice"
    for job in kept.values():
        assert (job.state, job.failures) == ("succeeded", 0)
        states = [event.data["state"] for event in jobs.events(None, job.id, limit=1000) if event.kind == "state"]
        assert states.count("succeeded") == 1 and states[-1] == "succeeded"
        assert finished(tmp_path, job)
    assert sum(job.attempt for job in kept.values()) > len(kept), "no kill met a running job"


def test_the_environment_of_a_worker_holds_no_secret(
    lite: Jobs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("OPENAI_API_KEY", "MAQUETTE_DATABASE", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "HOME"):
        monkeypatch.setenv(name, "canary-of-the-server")
    (tmp_path / "print.py").write_text("import os, sys; print(dict(os.environ), os.getcwd(), file=sys.stderr)")
    one = begin(supervisor(lite, command=(sys.executable, str(tmp_path / "print.py"))))
    job = lite.put("sample", {"model": "x", "n": 1}, key="a")
    wait(lambda: lite.get("a", job.id).over)
    one.close(1.0)
    log = (tmp_path / "jobs" / job.id / "log.txt").read_text()
    assert "canary" not in log and f"jobs/{job.id}" in log and log.rstrip().endswith(str(tmp_path))
    assert FAKE[0] == sys.executable
