"""Strangers' pictures are opened in other processes: what happens to these happens to nobody else."""

import asyncio
import base64
import io
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image as pillow

from maquette.core.errors import MaquetteError
from maquette.media import decode
from maquette.server.decoders import Decoders
from maquette.server.engine import Engine
from maquette.server.settings import Settings
from tests.server.served import painter
from tests.server.web import serving

STUB = """
import os, signal, sys, time
from maquette.server import decoder

square = decoder.decode.square

def odd(data, *more):
    if data.endswith(b"KILLED"):
        os.kill(os.getpid(), signal.SIGKILL)
    if data.endswith(b"EXITED"):
        os._exit(0)
    if data.endswith(b"ABORTED"):
        os.abort()
    if data.endswith(b"ENDLESS"):
        time.sleep(1000)
    if data.endswith(b"NONSENSE"):
        os.write(3, b"nonsense")
    if data.endswith(b"SHORT"):
        return square(data, *more)[:1]
    return square(data, *more)

decoder.decode.square = odd
decoder.main(int(sys.argv[1]))
"""
ODD = (sys.executable, "-c", STUB)
ENDS = (b"KILLED", b"EXITED", b"ABORTED", b"ENDLESS", b"SHORT")
SETTINGS = Settings(decode_seconds=5.0)


def png(picture: pillow.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


PICTURE = png(pillow.fromarray(np.arange(16 * 12 * 3, dtype=np.uint8).reshape(12, 16, 3)))


def using(decoders: Decoders, work: Callable[[Decoders], Awaitable[Any]]) -> Any:
    async def whole() -> Any:
        try:
            return await work(decoders)
        finally:
            await decoders.close()

    return asyncio.run(whole())


def test_pictures_are_those_of_this_process() -> None:
    clear = pillow.new("LA", (10, 10), (50, 255))
    clear.paste((50, 0), (0, 0, 5, 10))

    async def work(decoders: Decoders) -> None:
        for size, channels in ((8, 1), (16, 3), (12, 3)):
            found = await decoders.square(PICTURE, "image", size, channels)
            assert (found == decode.square(PICTURE, "", size, channels)).all() and found.flags.writeable
        half = await decoders.transparent(png(clear), "image", 10)
        assert half is not None and half.dtype == bool and (half == decode.transparent(png(clear), "", 10)).all()
        assert await decoders.transparent(PICTURE, "image", 8) is None
        assert len(decoders._idle) == 1, "one after another, one process is enough"

    using(Decoders(SETTINGS), work)


def test_what_is_no_picture_is_told_in_the_same_words() -> None:
    async def work(decoders: Decoders) -> None:
        for data in (b"", b"hello", PICTURE[:60], b"\x89PNG\r\n\x1a\n" + b"\0" * 50, png(pillow.new("L", (4, 4)))):
            with pytest.raises(MaquetteError) as here:
                decode.facts(data, "image", 8)
                decode.square(data, "image", 8, 1)
            with pytest.raises(MaquetteError) as there:
                await decoders.square(data, "image", 8, 1)
            assert str(there.value) == str(here.value)
        with pytest.raises(MaquetteError, match="MQ-2204"):
            await decoders.square(png(pillow.new("L", (101, 100))), "image", 8, 1)
        assert (await decoders.square(png(pillow.new("L", (100, 100))), "image", 8, 1)).shape == (8, 8, 1)
        assert len(decoders._idle) == 1, "none of it ended a process"

    using(Decoders(replace(SETTINGS, pixels=10_000)), work)


@pytest.mark.parametrize("end", ENDS)
def test_a_decoder_that_dies_takes_nobody_with_it(end: bytes) -> None:
    """Whoever is served at the same time, and after it, notices nothing."""

    async def work(decoders: Decoders) -> None:
        good = [decoders.square(PICTURE, "image", 8, 1) for _ in range(4)]
        bad, *found = await asyncio.gather(decoders.square(PICTURE + end, "image", 8, 1), *good, return_exceptions=True)
        assert isinstance(bad, MaquetteError) and bad.code == "MQ-3001" and bad.where == "image"
        assert all((one == decode.square(PICTURE, "", 8, 1)).all() for one in found)
        assert (await decoders.square(PICTURE, "image", 8, 1)).any()

    seconds = 1.0 if end == b"ENDLESS" else 20.0
    using(Decoders(replace(SETTINGS, decode_seconds=seconds), ODD), work)


def test_one_that_died_between_two_pictures_blames_none() -> None:
    async def work(decoders: Decoders) -> None:
        await decoders.square(PICTURE, "image", 8, 1)
        (idle,) = decoders._idle
        os.kill(idle.pid, signal.SIGKILL)
        await idle.wait()
        assert (await decoders.square(PICTURE, "image", 8, 1)).any() and decoders._idle[0].pid != idle.pid

    using(Decoders(SETTINGS), work)


def test_a_request_that_is_given_up_leaves_no_half_answer_behind() -> None:
    async def work(decoders: Decoders) -> None:
        given_up = asyncio.create_task(decoders.square(PICTURE + b"ENDLESS", "image", 8, 1))
        await asyncio.sleep(0.5)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        assert (await decoders.square(PICTURE, "image", 8, 1) == decode.square(PICTURE, "", 8, 1)).all()

    using(Decoders(SETTINGS, ODD), work)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of address space is Linux's")
def test_memory_has_a_limit() -> None:
    """Too little for this picture, and enough for the next."""
    large = png(pillow.new("RGB", (4000, 4000)))

    async def work(decoders: Decoders) -> None:
        with pytest.raises(MaquetteError, match="not enough memory"):
            await decoders.square(large, "image", 8, 3)
        assert (await decoders.square(PICTURE, "image", 8, 1)).any()

    using(Decoders(replace(SETTINGS, decode_bytes=24 << 20)), work)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("decoders")
    engine = Engine([painter(folder / "denoiser", "diffusion")], device="cpu", compiled=False)
    with serving(folder, engine) as (address, app):
        app.state.decoders = Decoders(SETTINGS, ODD)
        yield address


def test_the_server_outlives_its_decoder(address: str) -> None:
    def vary(picture: bytes) -> httpx2.Response:
        form = {"model": "denoiser", "seed": "3"}
        return httpx2.post(f"{address}/v1/images/variations", data=form, files={"image": picture}, timeout=60)

    first = vary(PICTURE)
    assert first.status_code == 200
    for end in (b"KILLED", b"EXITED"):
        told = vary(PICTURE + end)
        assert told.status_code == 400
        assert told.json()["error"]["code"] == "MQ-3001" and told.json()["error"]["param"] == "image"
    assert vary(PICTURE).json()["data"] == first.json()["data"]


def test_what_is_no_base64_is_no_fault_of_the_server(address: str) -> None:
    """Letters beyond ASCII are another error to Python than signs that base64 lacks."""
    from maquette.server.routes.embeddings import _bytes

    for text in ("no base64!", "図図図図", "data:image/png;base64,é"):
        with pytest.raises(MaquetteError, match="MQ-2202"):
            _bytes(text)
    assert _bytes("data:image/png;base64," + base64.b64encode(b"abc").decode()) == b"abc"
