"""The process that opens strangers' pictures: `python -m maquette.server.decoder MEMORY`, started by `decoders.py`.

Pictures are read by native code. What is wrong with it, or with a file, ends this process and not the server: it has no
key and no database, may write no file, and may take so many bytes more than it begins with. It imports no torch, so it
is there again in a moment.

It reads a line of JSON and then the file's bytes, and answers a line of JSON and then the array's bytes, until its
input ends:

    {"do": "square", "size": 8, "channels": 1, "pixels": 16000000, "bytes": 70}  ->  {"bytes": 64}
    {"do": "transparent", "size": 8, "pixels": 16000000, "bytes": 70}            ->  {"bytes": 0}     nothing is clear
                                                                                 ->  {"refused": "it is text, …"}
                                                                                 ->  {"large": true}
"""

import contextlib
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np

from maquette.core.errors import MaquetteError
from maquette.media import decode


def main(memory: int) -> None:
    """Answer until the input ends."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    _limit(memory)
    _say(out, {"ready": True})
    while line := sys.stdin.buffer.readline():
        asked = json.loads(line)
        data = sys.stdin.buffer.read(asked["bytes"])
        try:
            _say(out, *_answer(asked, data))
        except MaquetteError as bad:
            _say(out, {"refused": bad.values["reason"]})


def _answer(asked: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    width, height = decode.facts(data, "", decode.MIN_SIDE).size
    if width * height > asked["pixels"]:
        return {"large": True}, b""
    found: np.ndarray | None
    if asked["do"] == "square":
        found = decode.square(data, "", asked["size"], asked["channels"])
    else:
        found = decode.transparent(data, "", asked["size"])
    array = b"" if found is None else found.tobytes()
    return {"bytes": len(array)}, array


def _say(out: Any, tree: dict[str, Any], array: bytes = b"") -> None:
    out.write(json.dumps(tree).encode() + b"\n" + array)
    out.flush()


def _limit(memory: int) -> None:
    """No core, no file, and `memory` bytes more of address space than are mapped now, where there are such limits."""
    wanted = {resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: 0}
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        wanted[resource.RLIMIT_AS] = pages * os.sysconf("SC_PAGE_SIZE") + memory
    for kind, most in wanted.items():
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    main(int(sys.argv[1]))
