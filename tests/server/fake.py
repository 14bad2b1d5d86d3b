"""A worker without torch: it reads a plan, and trains, fails, dies or never ends, as its recipe is called.

What it trains is a chain of hashes: `weights` depends on every step, so a run that was killed and went on shows it.
"""

import hashlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from maquette.core import files
from maquette.core.errors import MaquetteError
from maquette.server import worker

STEPS = 12


def main(plan: str) -> None:
    threading.Thread(target=worker._watch, daemon=True).start()
    tree = json.loads(Path(plan).read_text())
    if tree["memory"] is not None:
        worker._limit(tree["memory"])
    words = tree["words"] if tree["run"] is None else worker._course(Path(tree["run"]), tree)
    kind, run = tree["words"][1], Path(tree["run"] or "nowhere")
    with open("starts.txt", "a") as file:
        file.write(f"{run.name} {os.getpid()}\n")
    if kind == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "hungry":
        print(len(bytearray(1 << 30)))
    if kind == "wrong":
        print("error[MQ-2001]: model has no 'latnt'\n  do: nearest: 'latent'", file=sys.stderr)
        sys.exit(2)
    if kind == "endless":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(1)
    train(run, resumed=words[0] == "resume", pause=0.5 if kind == "slow" else 0.02)


def train(run: Path, resumed: bool, pause: float) -> None:
    try:
        with files.lock(run):
            state = {"step": 0, "hash": run.name}
            if resumed:
                last = max((run / "checkpoints").glob("step-????????"))
                state = json.loads((last / "state.json").read_text())
            else:
                files.write_json(run / "recipe.json", {})
            while state["step"] < STEPS:
                state = {"step": state["step"] + 1, "hash": hashlib.sha256(state["hash"].encode()).hexdigest()}
                time.sleep(pause)
                line = {"step": state["step"], "progress": state["step"] / STEPS, "model.loss": 1 / state["step"]}
                files.append_line(run / "metrics.jsonl", line)
                files.commit_folder(
                    run / "checkpoints" / f"step-{state['step']:08d}",
                    lambda folder, state=state: files.put_json(folder / "state.json", state),
                )
            files.write_json(run / "weights", state)
    except MaquetteError as mistake:
        print(mistake.render("en"), file=sys.stderr)
        sys.exit(mistake.exit_code)


def weights(name: str) -> dict[str, object]:
    """What the run `name` must end in."""
    hashed = name
    for _ in range(STEPS):
        hashed = hashlib.sha256(hashed.encode()).hexdigest()
    return {"step": STEPS, "hash": hashed}


if __name__ == "__main__":
    main(sys.argv[1])
