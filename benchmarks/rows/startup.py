"""From the shell to the help text, and what importing torch and a peer's classes costs."""

import subprocess
import sys

TITLE = "start-up: `maquette --help`"
UNIT = "starts"
PAIRS = [("maquette --help", "import torch", 5.0), ("maquette --help", "import diffusers UNet2DModel", 20.0)]
LIMIT = {"maquette --help": 0.15}
"""Seconds a start may take."""


def starting(*argv: str):
    def contestant():
        def work() -> int:
            subprocess.run([sys.executable, *argv], check=True, stdout=subprocess.DEVNULL)
            return 1

        return work, {"threads": 1}

    return contestant


CONTESTANTS = {
    "maquette --help": starting("-m", "maquette", "--help"),
    "import torch": starting("-c", "import torch"),
    "import diffusers UNet2DModel": starting("-c", "from diffusers import UNet2DModel"),
}
