"""Texts of many requests made together: each is what it is alone, and what the pipeline says."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maquette.core.types import Sampling
from maquette.media.forms import fits, verse
from maquette.pipeline import Pipeline, load
from maquette.request import Request, Said
from maquette.server.engine import Asked, Engine, Made, Words
from tests.server.served import events, joined, made, running, talker

ASKED = {
    "plain": Request(),
    "a beginning": Request(seed=5, prompt="春眠"),
    "few tokens": Request(seed=2, prompt="a", max_tokens=7),
    "one token": Request(seed=3, max_tokens=1),
    "stop strings": Request(seed=1, prompt="ab", stop=("曉", "b", ", "), sampling=Sampling(temperature=0.7)),
    "greedy": Request(seed=4, prompt="abc", sampling=Sampling(top_k=1), max_tokens=40),
    "sharp": Request(seed=6, sampling=Sampling(temperature=0.5, top_p=0.9, min_p=0.01)),
    "no repetition": Request(seed=7, prompt="花落", sampling=Sampling(repetition=1.5, top_k=9)),
    "a template": Request(seed=8, template="ab □□, □!\n□c", sampling=Sampling(temperature=3.0)),
    "a form": Request(seed=9, form="wujue"),
    "several": Request(n=5, seed=10, prompt=("春", "夜來風雨聲", ""), max_tokens=33),
    "nearly no room": Request(seed=12, prompt="a" * 78),
    "the likeliest": Request(seed=13, likeliest=3, max_tokens=20),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return talker(tmp_path_factory.mktemp("runs") / "gpt")


def compiles() -> bool:
    import importlib.util

    return importlib.util.find_spec("numba") is not None


ways = pytest.mark.parametrize(
    "compiled", [False, pytest.param(True, marks=pytest.mark.skipif(not compiles(), reason="needs extra `fast`"))]
)


def said(found: list[Made]) -> list[Said]:
    return [one.said for one in found if one.said is not None]


def same(a: Said, b: Said) -> bool:
    return all(np.array_equal(mine, other) for mine, other in zip(vars(a).values(), vars(b).values(), strict=True))


def nearly(a: Said, b: Said) -> bool:
    """The same words, whose likelihoods differ in their last bits."""
    whole = (a.text, a.tokens, a.ended, a.item.tolist()) == (b.text, b.tokens, b.ended, b.item.tolist())
    others = [[name for name, _ in place] for place in a.likeliest] == [[name for name, _ in p] for p in b.likeliest]
    return whole and others and np.allclose(a.log_probabilities, b.log_probabilities, atol=1e-5)


@ways
def test_a_text_is_the_same_alone_and_among_others_and_that_of_the_pipeline(compiled: bool, folder: Path) -> None:
    async def work(engine: Engine) -> tuple[list[list[Said]], ...]:
        alone = [said(await made(engine, "gpt", request)) for request in ASKED.values()]
        crowd = asyncio.gather(*(made(engine, "gpt", Request(n=9, seed=i, max_tokens=9 + i)) for i in range(2)))
        among = await asyncio.gather(*(made(engine, "gpt", request) for request in ASKED.values()))
        await crowd
        return alone, [said(one) for one in among]

    alone, among = running(Engine([folder], device="cpu", compiled=compiled), work)
    pipeline = load(folder, "cpu")
    for (name, request), first, second in zip(ASKED.items(), alone, among, strict=True):
        assert len(first) == request.n and all(map(same, first, second)), name
        assert all(map(nearly, first, pipeline.say(request))), name


@pytest.mark.parametrize("slots", [1, 3])
def test_fewer_seats_than_texts(slots: int, folder: Path) -> None:
    request = Request(n=9, seed=1, max_tokens=12)
    engine = Engine([folder], device="cpu", slots=slots, compiled=False)
    found = said(running(engine, lambda e: made(e, "gpt", request)))
    assert all(map(nearly, found, load(folder, "cpu").say(request)))


def test_pieces_come_while_they_are_made(folder: Path) -> None:
    request = Request(n=4, seed=5, prompt=("春眠", "", "a"), max_tokens=30, stop="曉")

    async def work(engine: Engine) -> list[Any]:
        return await events(engine, "gpt", Asked(request=request, stream=True))

    found = running(Engine([folder], device="cpu", compiled=False), work)
    texts = [one.text for one in load(folder, "cpu").say(request)]
    assert joined(found, 4) == texts and sum(isinstance(one, Words) for one in found) > 20
    last = {one.sample: i for i, one in enumerate(found) if isinstance(one, Words)}
    assert all(i > last[one.sample] for i, one in enumerate(found) if isinstance(one, Made) and one.sample in last)
    assert found[-1].prompt == 3


def test_a_new_text_need_not_wait_for_a_long_request(folder: Path) -> None:
    async def work(engine: Engine) -> None:
        long = asyncio.create_task(made(engine, "gpt", Request(n=200, max_tokens=60)))
        while engine.figures()["items_total"] == 0:
            await asyncio.sleep(0.001)
        await made(engine, "gpt", Request(max_tokens=2))
        assert not long.done() and engine.figures()["items_total"] < 150
        long.cancel()

    running(Engine([folder], device="cpu", slots=4, compiled=False), work)


def test_seats_of_those_who_go_away_are_free(folder: Path) -> None:
    async def work(engine: Engine) -> None:
        streams = [engine.make("gpt", Asked(request=Request(n=30, seed=i), stream=True)) for i in range(3)]
        for stream in streams:
            await anext(stream)
        for stream in streams:
            await stream.aclose()
        await made(engine, "gpt", Request(n=3, max_tokens=3))
        assert engine.figures()["cancelled_total"] == 3 and engine.figures()["items_total"] < 30

    running(Engine([folder], device="cpu", slots=2, compiled=False), work)


def test_what_cannot_sit_is_drawn_alone(folder: Path) -> None:
    pipeline = load(folder, "cpu")
    requests = [Request(sampling=Sampling(beams=3), max_tokens=8), Request(opening=np.array([[0, 5, -1, -1, 7]]))]

    async def work(engine: Engine) -> list[list[Made]]:
        return await asyncio.gather(*(made(engine, "gpt", request) for request in requests))

    for request, found in zip(requests, running(Engine([folder], device="cpu", compiled=False), work), strict=True):
        assert not pipeline.sits(request) and all(map(same, said(found), pipeline.say(request)))


@ways
def test_answers_of_labelled_models(compiled: bool, tmp_path: Path) -> None:
    folders = [talker(tmp_path / "chat", asks=True), talker(tmp_path / "kinds", classes=("a", "b"))]
    wanted: list[tuple[str, Request]] = [
        ("chat", Request(n=3, prompt="春", sampling=Sampling(temperature=3.0), max_tokens=30)),
        ("chat", Request(n=2, prompt="春", history=(("a", "b"),), stop="a")),
        ("kinds", Request(n=4, label="each", max_tokens=20)),
        ("kinds", Request(n=4, label="b", max_tokens=20)),
        ("kinds", Request(n=2, label="b", max_tokens=5, guidance=2.0)),
    ]

    async def work(engine: Engine) -> list[list[Made]]:
        return await asyncio.gather(*(made(engine, name, request) for name, request in wanted))

    pipelines: dict[str, Pipeline] = {folder.name: load(folder, "cpu") for folder in folders}
    for (name, request), found in zip(
        wanted, running(Engine(folders, device="cpu", compiled=compiled), work), strict=True
    ):
        assert all(map(nearly, said(found), pipelines[name].say(request)))
        if request.form:
            assert all(fits(one.text, verse(request.form)) for one in said(found))
