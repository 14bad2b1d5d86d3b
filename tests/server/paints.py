"""A worker that learns nothing: the run that its plan asks for is there at once, as a bundle of untrained weights.

A recipe called `slow` takes until it is told to stop; what a plan says of other jobs is written to `words.txt`.
"""

import json
import sys
import threading
import time
from pathlib import Path

from maquette.server import worker
from tests.server.served import painter


def main(plan: str) -> None:
    threading.Thread(target=worker._watch, daemon=True).start()
    tree = json.loads(Path(plan).read_text())
    with open("words.txt", "a") as file:
        file.write(" ".join(tree["words"]) + "\n")
    if "slow" in tree["words"]:
        time.sleep(600)
    if tree["run"] is not None:
        painter(Path(tree["run"]), "gan")


if __name__ == "__main__":
    main(sys.argv[1])
