"""Running the queue's jobs: each is a worker process of its own, watched by one thread.

A worker has its own process group, an environment without the server's secrets, and the data folder as its working
folder. It is followed by the files that its run writes. When it ends, its outcome is told to the queue under the
attempt's number; when the queue does not know that attempt any more, the worker is killed and forgotten.

Two things tell that a server is gone whose jobs stand as running: its lock file is free (the kernel lets go of it when
the process dies), or its beats have stood still for a lease. Then the job goes back into the queue, and training goes
on from its newest checkpoint to the very bits it would have reached.
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maquette.core import files
from maquette.core.errors import MaquetteError
from maquette.server import plans
from maquette.server.jobs import Jobs, dataset_folder
from maquette.server.presence import Presence
from maquette.server.states import Job, Outcome, Watch
from maquette.server.tailing import Course, failure, starved

log = logging.getLogger("maquette.server")

ENVIRONMENT = {
    "PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "OMP_NUM_THREADS",
    "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "NVIDIA_VISIBLE_DEVICES",
    "MAQUETTE_CACHE",
}  # fmt: skip
"""What a worker is given of the server's environment; all else, keys and addresses of databases among it, is not."""
QUIET = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "MPLBACKEND": "agg", "MAQUETTE_LANG": "en"}
REFUSED = {2, 3, 6, 7, 8}
"""Exit codes of mistakes that another try would meet again."""
BUSY = 4
"""That of a folder in use."""
GIB = 1 << 30
SELDOM = 30.0
"""Seconds between two looks at a run that has gone on for hours: its events are to be read by people."""


@dataclass
class Worker:
    """A job that runs here: its process, and what is known of it."""

    job: Job
    process: subprocess.Popen[bytes]
    course: Course
    began: float
    beat: float
    looked: float
    stopping: float | None = None
    """Since when it has been asked to stop."""
    overdue: bool = False
    ended: tuple[Outcome, str, str, dict[str, Any]] | None = None
    """What is still to be told to the queue."""
    notes: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)


class Supervisor:
    """One thread that claims jobs, runs them and tells how they ended.

    Args:
        workers: how many jobs run at once here.
        lease: seconds of silence after which another server's job is taken over.
        tick: seconds between two looks at everything.
        grace: seconds that a worker has to leave when it is asked to.
        device: what jobs compute on.
        memory: bytes that each process of a job may take of its own; None: as many as there are.
        command: what runs a plan.

    Raises:
        MaquetteError: MQ-5183 where it would run jobs whose files are in another data folder.
    """

    def __init__(
        self,
        jobs: Jobs,
        *,
        workers: int = 1,
        lease: float = 30.0,
        tick: float = 0.25,
        grace: float = 20.0,
        device: str = "auto",
        memory: int | None = None,
        command: Sequence[str] = (sys.executable, "-m", "maquette.server.worker"),
    ):
        self.jobs, self.workers, self.lease, self.tick, self.grace = jobs, workers, lease, tick, grace
        self.device, self.memory, self.command = device, memory, command
        if workers:
            jobs.store.check_folder()
        self.folder = jobs.store.folder.absolute()
        self._presence = Presence(self.folder / "owners")
        self.owner = self._presence.id
        self._watch = Watch(lease)
        self._running: dict[str, Worker] = {}
        self._wake, self._leave = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, model: Callable[[str], Path], trained: Callable[[Path, Job], str]) -> None:
        """Begin.

        Args:
            model: the folder of a served model by its name; raises MaquetteError when there is none.
            trained: called in another thread with the folder of a run that is done and the job whose it is; gives the
                name that its model will be served by, and raises MaquetteError when it cannot be.
        """
        self._model, self._trained = model, trained
        self._presence.enter()
        self._presence.sweep()
        self.jobs.wake = self._wake.set
        self._thread = threading.Thread(target=self._work, name="supervisor", daemon=True)
        self._thread.start()

    def close(self, seconds: float | None = None) -> None:
        """Ask every worker to stop, which has training write a checkpoint, and put its job back into the queue.

        Args:
            seconds: until those that have not left are killed; their jobs go back all the same.
        """
        self.jobs.closing = True
        if seconds is not None:
            self.grace = min(self.grace, seconds)
        self._leave.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(self.grace + 10.0)
        self._presence.leave()

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            for step in (self._reap, self._follow, self._take):
                try:
                    step()
                except MaquetteError as bad:  # the store is full, locked or away: it is asked again
                    log.warning("jobs: %s", bad.code)
                except Exception:
                    log.exception("jobs: a fault of ours")
            if self._leave.is_set() and not self._running:
                return
            self._wake.wait(self.tick)
            self._wake.clear()

    def _reap(self) -> None:
        """Take back what servers that are gone have left running, and what was claimed here and could not be begun when
        the database did not take that down."""
        if self._leave.is_set():
            return
        for job in self.jobs.reap(self._watch, self.owner, self._running, self._presence.dead):
            log.info("%s: nobody runs it any more; %s", job.id, job.state)

    def _take(self) -> None:
        while len(self._running) < self.workers and not self._leave.is_set():
            job = self.jobs.claim(self.owner)
            if job is None:
                return
            try:
                self._begin(job)
            except MaquetteError as bad:
                lasting = bad.code[3] != "5"
                self.jobs.end(job.id, job.attempt, "refused" if lasting else "crashed", bad.code, bad.sentence)
            except Exception as bad:  # whatever it is, the job must not stand as running with nobody who runs it
                log.exception("%s: no worker could be started", job.id)
                none = MaquetteError("MQ-1182", reason=getattr(bad, "strerror", None) or type(bad).__name__)
                self.jobs.end(job.id, job.attempt, "crashed", none.code, none.sentence)

    def _begin(self, job: Job) -> None:
        """Start the worker of a claimed job."""
        own = Path("jobs") / job.id
        kept = job.kind in ("train", "compare")  # goes on where it was; the others begin anew in a folder of their own
        out = Path("models") / plans.run_name(job.id, job.spec) if job.kind == "train" else own / "results"
        if not kept:
            out = own / f"results-{job.attempt}"
        data, unpack = self._data(job)
        spec = dict(job.spec)
        if "of" in spec:
            spec["word"] = str(own / "recipe.yaml")
            files.write_json(self.folder / spec["word"], self._recipe_of(spec["of"]))
        places = plans.Places(data, str(out), self._place, self.device)
        plan = {
            "words": plans.words(job.kind, spec, places),
            "again": ["resume", str(out)] if job.kind == "train" else None,
            "run": str(out) if job.kind == "train" else None,
            "unpack": unpack,
            "memory": self.memory,
        }
        folder = files.make_folder(self.folder / own)
        files.make_folder(folder / "tmp")
        if job.kind == "check":
            files.make_folder(self.folder / out)
        files.write_json(folder / "plan.json", plan)
        said, told = folder / "said.txt", folder / "log.txt"
        if job.kind == "check":
            said = self.folder / out / "findings.txt"
        environment = {k: v for k, v in os.environ.items() if k in ENVIRONMENT} | QUIET
        environment |= {"HOME": str(folder), "TMPDIR": str(folder / "tmp")}
        environment.setdefault("MAQUETTE_CACHE", str(self.folder / "cache"))
        with contextlib.ExitStack() as stack:
            out_fd, err_fd = files.open_log(said), files.open_log(told)
            stack.callback(os.close, out_fd)
            stack.callback(os.close, err_fd)
            process = subprocess.Popen(
                [*self.command, str(own / "plan.json")],
                stdin=subprocess.PIPE, stdout=out_fd, stderr=err_fd, cwd=self.folder, env=environment,
                start_new_session=True, umask=0o077,
            )  # fmt: skip
        now = time.monotonic()
        made = (self.folder / out / "made.jsonl", job.spec.get("n", 16)) if job.kind == "sample" else None
        course = Course(self._runs(job, out), dict(job.progress.get("seen", {})), job.reached, made)
        self._running[job.id] = Worker(job, process, course, now, now, 0.0)
        log.info("%s: %s, attempt %d, process %d", job.id, job.kind, job.attempt, process.pid)

    def _data(self, job: Job) -> tuple[str | None, dict[str, str] | None]:
        """What `--data` is told, and what must be unpacked before."""
        file = job.spec.get("file")
        if file is None:
            return job.spec.get("dataset"), None
        row = self.jobs.store.get_file(job.tenant, file)
        folder = dataset_folder(row)
        unpack = {"from": str(self.jobs.store.file_path(row).relative_to(self.jobs.store.folder)), "to": str(folder)}
        return str(folder if row.suffix == ".zip" else folder / f"data{row.suffix}"), unpack

    def _place(self, model: str) -> Path:
        """A served model's run where it lies in one, else its bundle."""
        folder = self._model(model).absolute()
        if folder.name == "bundle" and (folder.parent / "recipe.json").exists():
            folder = folder.parent
        return folder.relative_to(self.folder) if folder.is_relative_to(self.folder) else folder

    def _recipe_of(self, model: str) -> dict[str, Any]:
        """How a served model was trained; what it learnt itself comes with its weights."""
        return plans.recipe_of(self.folder / self._place(model))

    def _runs(self, job: Job, out: Path) -> dict[str, Path]:
        if job.kind == "train":
            return {"": self.folder / out}
        if job.kind == "compare" and "words" in job.spec:
            names = [Path(word).stem for word in job.spec["words"]]
            return {f"{n}-{s}": self.folder / out / f"{n}-{s}" for n in names for s in job.spec["seeds"]}
        return {}

    # -- while it runs ------------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        for worker in list(self._running.values()):
            try:
                self._see_to(worker)
            except MaquetteError as bad:
                log.warning("%s: %s", worker.job.id, bad.code)

    def _see_to(self, worker: Worker) -> None:
        now = time.monotonic()
        if worker.ended is None:
            over = _over(worker.process)
            if over or now - worker.looked >= max(4 * self.tick, min(SELDOM, (now - worker.began) / 500)):
                worker.looked = now
                self._look(worker)
            if over:
                _kill(worker.process)
                worker.ended = self._outcome(worker, worker.process.wait())
            else:
                self._heed(worker, now)
        if worker.ended is not None:
            outcome, code, reason, result = worker.ended
            job = self.jobs.end(worker.job.id, worker.job.attempt, outcome, code, reason, result)
            log.info("%s: %s", worker.job.id, job.state if job else "taken over by another")
            del self._running[worker.job.id]

    def _look(self, worker: Worker) -> None:
        worker.notes += worker.course.look()
        if not worker.notes:
            return
        progress = {**worker.course.latest, "seen": worker.course.seen}
        told, worker.notes = worker.notes, []
        try:
            self.jobs.advance(worker.job.id, worker.job.attempt, worker.course.reached, progress, told)
        except MaquetteError:
            worker.notes = told[-100:]
            raise

    def _heed(self, worker: Worker, now: float) -> None:
        """Beat; and stop the worker when that is wished, when its time is over, or when the job is another's."""
        if self._leave.is_set() and worker.stopping is None:
            self._stop(worker, now)
        if worker.stopping is None and now - worker.began > self.jobs.policy.seconds:
            worker.overdue = True
            self._stop(worker, now)
        if worker.stopping is not None and now - worker.stopping > self.grace:
            _kill(worker.process)
        job = self.jobs.get(None, worker.job.id)
        if now - worker.beat >= self.lease / 4:
            worker.beat = now
            if self.jobs.beat(worker.job.id, worker.job.attempt) is None:
                job = None
        if job is None or job.attempt != worker.job.attempt or job.state != "running":
            log.warning("%s: another has it now", worker.job.id)
            _kill(worker.process)
            worker.process.wait()
            self._running.pop(worker.job.id, None)
        elif job.wish and worker.stopping is None:
            self._stop(worker, now)

    @staticmethod
    def _stop(worker: Worker, now: float) -> None:
        worker.stopping = now
        with contextlib.suppress(ProcessLookupError):
            worker.process.send_signal(signal.SIGTERM)

    def _outcome(self, worker: Worker, code: int) -> tuple[Outcome, str, str, dict[str, Any]]:
        """What the exit of a worker means."""
        job, folder = worker.job, self.folder / "jobs" / worker.job.id
        name, said = failure(folder / "log.txt") if code else ("", "")
        if code == 0 or (code == 3 and job.kind == "check" and not name):  # 3: it found something, as it should
            return self._done(worker, code)
        said = said.replace(str(self.folder) + "/", "")
        if worker.overdue:
            return "refused", *_said(MaquetteError("MQ-2186", seconds=f"{self.jobs.policy.seconds:.0f}"))
        if worker.stopping is not None:
            return "put back", "", "", {}
        if code == BUSY:
            return "put back", name or "MQ-4001", said, {}
        if self.memory is not None and starved(folder / "log.txt"):
            return "refused", *_said(MaquetteError("MQ-2185", most=f"{self.memory / GIB:.3g}"))
        if code in REFUSED:
            return "refused", name, said, {}
        if code < 0:
            return "crashed", *_said(MaquetteError("MQ-1180", signal=_signal(-code)))
        if not said:
            return "crashed", *_said(MaquetteError("MQ-1181", status=code))
        return "crashed", name, said, {}

    def _done(self, worker: Worker, code: int) -> tuple[Outcome, str, str, dict[str, Any]]:
        job = worker.job
        if job.kind == "train":
            folder = Path("models") / plans.run_name(job.id, job.spec)
            try:
                model = self._trained(self.folder / folder, job)
            except MaquetteError as bad:
                return "refused", *_said(bad)
            return "done", "", "", {"folder": str(folder), "model": model, **worker.course.latest}
        folder = f"jobs/{job.id}/results" + ("" if job.kind == "compare" else f"-{job.attempt}")
        return "done", "", "", {"folder": folder} | ({"good": code == 0} if job.kind == "check" else {})


def _over(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has ended; it is not reaped by this, so that its group's number is still its own."""
    if process.returncode is not None:
        return True
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End it and all its children."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _said(bad: MaquetteError) -> tuple[str, str, dict[str, Any]]:
    """Of an outcome: the code, the reason, and no result."""
    return bad.code, bad.sentence, {}
