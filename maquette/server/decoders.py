"""Processes that open strangers' pictures for the server (`decoder.py`), kept warm between requests.

A process that dies over a picture, takes too long or answers nonsense is replaced when the next picture comes; who sent
that picture is told that it cannot be read, and nobody else notices.
"""

import asyncio
import contextlib
import json
import logging
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from typing import Any

import numpy as np

from maquette.core.errors import MaquetteError
from maquette.server.settings import Settings

log = logging.getLogger("maquette.server")

ENVIRONMENT = {"PATH", "LANG", "LC_ALL", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV"}
"""What a decoder is given of the server's environment."""
COMMAND = (sys.executable, "-m", "maquette.server.decoder")


class Decoders:
    """Build it anywhere; the rest is for one event loop.

    Args:
        command: what decodes; it is given the bytes of memory that it may take.
    """

    def __init__(self, settings: Settings, command: Sequence[str] = COMMAND):
        self._settings, self._command = settings, command
        self._turn = asyncio.Semaphore(settings.decoders)
        self._idle: list[Process] = []

    async def square(self, data: bytes, field: str, size: int, channels: int) -> np.ndarray:
        """The centre square of a picture file, uint8 [size, size, channels].

        Args:
            field: of the request, for what is told of a file that cannot be read.

        Raises:
            MaquetteError: MQ-2204 for more pixels than are read here, MQ-3001 for what is no picture.
        """
        found = await self._ask(data, field, {"do": "square", "size": size, "channels": channels})
        return self._shaped(found, field, (size, size, channels), np.uint8)

    async def transparent(self, data: bytes, field: str, size: int) -> np.ndarray | None:
        """Where the centre square of a picture file is more clear than not, booleans [size, size]; None where nothing
        can be. Raises as `square`."""
        found = await self._ask(data, field, {"do": "transparent", "size": size})
        return self._shaped(found, field, (size, size), np.bool_) if found else None

    async def close(self) -> None:
        while self._idle:
            await _ended(self._idle.pop())

    # -- inside -------------------------------------------------------------------------------------------------------

    @staticmethod
    def _shaped(found: bytes, field: str, shape: tuple[int, ...], kind: type[np.generic]) -> np.ndarray:
        array = np.frombuffer(found, np.uint8)
        if array.size != np.prod(shape):
            raise MaquetteError("MQ-3001", field, reason="it could not be decoded")
        return array.reshape(shape).astype(kind)

    async def _ask(self, data: bytes, field: str, asked: dict[str, Any]) -> bytes:
        """The array's bytes."""
        async with self._turn:
            process = await self._one()
            answered, reason = None, ""
            try:
                asked |= {"pixels": self._settings.pixels, "bytes": len(data)}
                answered = await asyncio.wait_for(_talk(process, asked, data), self._settings.decode_seconds)
            except TimeoutError:
                reason = f"it took longer than {self._settings.decode_seconds:g} s to decode"
            except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):  # it is gone, or talks nonsense
                reason = "it could not be decoded"
            finally:  # cancelled, too
                if answered is not None:
                    self._idle.append(process)
                else:
                    await _ended(process)
                    log.warning("a decoder was ended over a picture, with %s", process.returncode)
        if answered is None:
            raise MaquetteError("MQ-3001", field, reason=reason)
        tree, array = answered
        if tree.get("large"):
            raise MaquetteError("MQ-2204", field, what=field, most=f"{self._settings.pixels} pixels")
        if "refused" in tree:
            raise MaquetteError("MQ-3001", field, reason=tree["refused"])
        return array

    async def _one(self) -> Process:
        """A process that waits for a picture: one that is warm, or else a new one."""
        while self._idle:
            process = self._idle.pop()
            if process.returncode is None:
                return process
        environment = {k: v for k, v in os.environ.items() if k in ENVIRONMENT} | {"OPENBLAS_NUM_THREADS": "1"}
        words = [*self._command, str(self._settings.decode_bytes)]
        process = await asyncio.create_subprocess_exec(
            *words, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=environment, start_new_session=True
        )
        try:
            assert process.stdout is not None
            await asyncio.wait_for(process.stdout.readuntil(b"\n"), self._settings.decode_seconds)
        except BaseException:
            await _ended(process)
            raise
        return process


async def _talk(process: Process, asked: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    """What it answers; raises OSError, EOFError or ValueError when that is no answer."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(asked).encode() + b"\n")
    process.stdin.write(data)
    await process.stdin.drain()
    tree = json.loads(await process.stdout.readuntil(b"\n"))
    if not isinstance(tree, dict) or not {"bytes", "refused", "large"} & tree.keys():
        raise ValueError
    most = asked["size"] ** 2 * asked.get("channels", 1)
    count = tree.get("bytes", 0)
    if not isinstance(count, int) or not 0 <= count <= most:
        raise ValueError
    return tree, await process.stdout.readexactly(count)


async def _ended(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await asyncio.shield(process.wait())
