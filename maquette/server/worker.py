"""The process that runs one job: `python -m maquette.server.worker PLAN.json`, started by the supervisor.

It holds the other end of a pipe. When the server dies, however, the pipe ends: the worker is then told to stop as by
SIGTERM, so that training writes a checkpoint and leaves, and what has not left after a while is killed with all its
children. Thus no two runs of a job go on side by side; the lock of a run's folder sees to it besides.

The plan: {"words": […], "again": […] or null, "run": FOLDER or null, "unpack": {"from", "to"} or null, "memory": BYTES
or null}.
"""

import contextlib
import os
import resource
import runpy
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maquette.core import files
from maquette.core.errors import MaquetteError

GRACE = 20.0
"""Seconds between the request to stop and the end."""
BLOCK = 1 << 20


def main(plan: str) -> None:
    """Make the data ready, then be `maquette` with the plan's words; it leaves as that does."""
    threading.Thread(target=_watch, daemon=True).start()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        tree = files.read_json(plan)
        if tree["memory"] is not None:
            _limit(tree["memory"])
        if tree["unpack"] is not None:
            _unpack(Path(tree["unpack"]["from"]), Path(tree["unpack"]["to"]))
        words = tree["words"] if tree["run"] is None else _course(Path(tree["run"]), tree)
    except MaquetteError as mistake:
        print(mistake.render("en"), file=sys.stderr)
        sys.exit(mistake.exit_code)
    sys.argv = ["maquette", *words]
    runpy.run_module("maquette", run_name="__main__", alter_sys=True)


def _limit(memory: int) -> None:
    """No more than so many bytes of its own for this process, and for each that it starts: beyond them nothing more is
    allocated, and whoever asks is told so.

    What is limited is data (RLIMIT_DATA), as Linux counts them: private memory that can be written. A limit of address
    space would count what CUDA reserves and what is mapped from files, too, which is not memory.
    """
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


def _course(run: Path, tree: dict[str, Any]) -> list[str]:
    """Go on with the run where it has a checkpoint; where it has none, nothing was learnt yet: begin anew."""
    if any((run / "checkpoints").glob("step-????????")):
        return tree["again"]
    if (run / "recipe.json").exists():
        with files.lock(run):  # not while another still writes there
            pass
        files.remove_folder(run)
    return tree["words"]


def _unpack(source: Path, folder: Path) -> None:
    """The data set of an upload as a folder of its own: what lies beside the upload is nobody's business."""
    from maquette.server import archive

    with contextlib.ExitStack() as stack:
        _hold(stack, folder)
        if (folder / files.MANIFEST).exists():
            return
        if source.suffix == ".zip":
            archive.unpack(source, folder)
            return

        def fill(aside: Path) -> None:
            with files.putting(aside / f"data{source.suffix}") as write:
                for block in _blocks(source):
                    write(block)

        files.commit_folder(folder, fill)


def _hold(stack: contextlib.ExitStack, folder: Path) -> None:
    """The lock on a data set, waited for: another job may be unpacking the same."""
    while True:
        try:
            stack.enter_context(files.lock(folder.with_name(f".{folder.name}")))
            return
        except MaquetteError as busy:
            if busy.code != "MQ-4001":
                raise
            time.sleep(0.2)


def _blocks(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            yield block


def _watch() -> None:
    """Wait for the end of the pipe; whatever comes through it is no concern."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1])
