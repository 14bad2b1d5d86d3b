"""Samples of many requests drawn together: each is the one that the pipeline makes, and may be watched on the way."""

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maquette.core.types import Sampling
from maquette.pipeline import load
from maquette.request import Request
from maquette.server import samples
from maquette.server.engine import Asked, Engine, Made, Partial
from tests.server.served import events, made, painter, running, talker, texts

KINDS = ("gan", "convolutions", "diffusion", "meanflow")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    return {kind: painter(root / kind, kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_samples_drawn_together_are_those_drawn_alone(kind: str, folders: dict[str, Path]) -> None:
    quick = Sampling(steps=4) if kind in ("diffusion", "meanflow") else Sampling(temperature=0.9)
    requests = [Request(n=1 + i % 3, seed=100 * i, label=("a", 1, "each", None)[i % 4]) for i in range(30)]
    requests += [Request(n=40, seed=7), Request(n=3, seed=1, sampling=quick), Request(n=2, seed=5, sampling=quick)]
    requests += [Request(n=2, seed=3, label="b", guidance=2.0)] * (kind in ("diffusion", "meanflow"))

    async def work(engine: Engine) -> list[list[Made]]:
        return await asyncio.gather(*(made(engine, kind, request) for request in requests))

    engine, pipeline = Engine([folders[kind]], device="cpu"), load(folders[kind], "cpu")
    for request, found in zip(requests, running(engine, work), strict=True):
        assert pipeline.joins(request)
        assert np.array_equal(np.stack([one.item for one in found]), pipeline.generate(request))
        assert [one.mark for one in found] == pipeline.marks(request)


def test_a_batch_is_shared_by_those_who_wait(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    together = samples.Pipeline.together
    monkeypatch.setattr(samples.Pipeline, "together", lambda *a: drawn.append(len(a[1])) or together(*a))

    async def work(engine: Engine) -> None:
        long = asyncio.create_task(made(engine, "diffusion", Request(n=300)))
        while not drawn:
            await asyncio.sleep(0.001)
        await asyncio.gather(*(made(engine, "diffusion", Request(n=2, seed=i)) for i in range(20)))
        assert not long.done()
        await long

    running(Engine([folders["diffusion"]], device="cpu"), work)
    assert sum(drawn) == 340 and len(drawn) == 11  # ten full batches, and what is left


@pytest.mark.parametrize("kind", ["diffusion", "meanflow"])
def test_a_picture_is_shown_on_the_way(kind: str, folders: dict[str, Path]) -> None:
    request = Request(n=2, seed=3, sampling=Sampling(steps=8))

    async def work(engine: Engine) -> list[list[Any]]:
        others = [events(engine, kind, dataclasses.replace(request, seed=50 + i)) for i in range(3)]
        return await asyncio.gather(events(engine, kind, Asked(request=request, partials=3)), *others)

    found, *others = running(Engine([folders[kind]], device="cpu"), work)
    assert [(one.sample, one.number) for one in found if isinstance(one, Partial)] == [
        (sample, number) for number in (1, 2, 3) for sample in (0, 1)
    ]
    assert not any(isinstance(one, Partial) for other in others for one in other)
    final = {one.sample: one.item for one in found if isinstance(one, Made)}
    assert np.array_equal(np.stack([final[0], final[1]]), load(folders[kind], "cpu").generate(request))
    shown = [one.item.astype(int) for one in found if isinstance(one, Partial) and one.sample == 0]
    distances = [np.abs(item - final[0]).mean() for item in shown]
    assert distances[0] > distances[-1] and all(item.shape == final[0].shape for item in shown)


def test_a_task_is_drawn_alone_and_watched_too(folders: dict[str, Path]) -> None:
    image, mask = np.full((8, 8, 1), 200, np.uint8), np.zeros((1, 8, 8), bool)
    mask[:, :, 4:] = True
    request = Request(n=34, image=image, mask=mask, sampling=Sampling(steps=3))

    async def work(engine: Engine) -> list[Any]:
        return await events(engine, "diffusion", Asked(request=request, partials=1))

    found = running(Engine([folders["diffusion"]], device="cpu"), work)
    pipeline = load(folders["diffusion"], "cpu")
    assert not pipeline.joins(request)
    items = np.stack([one.item for one in found if isinstance(one, Made)])
    assert np.array_equal(items, pipeline.generate(request)) and (items[:, :, :4] == 200).all()
    assert sorted(one.sample for one in found if isinstance(one, Partial)) == list(range(34))


def test_a_text_does_not_wait_for_a_picture(folders: dict[str, Path], tmp_path: Path) -> None:
    async def work(engine: Engine) -> None:
        slow = Request(n=32, sampling=Sampling(steps=3000))
        long = asyncio.create_task(made(engine, "diffusion", slow))
        while engine.figures()["running"] == 0:
            await asyncio.sleep(0.001)
        assert await texts(engine, "gpt", Request(max_tokens=20)) == await texts(engine, "gpt", Request(max_tokens=20))
        assert not long.done() and engine.figures()["items_total"] == 2
        long.cancel()

    engine = Engine([folders["diffusion"], talker(tmp_path / "gpt")], device="cpu", compiled=False)
    running(engine, work)
