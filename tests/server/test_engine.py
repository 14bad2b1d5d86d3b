"""The engine from outside: what it makes, whom it lets in, what it forgets."""

import asyncio
import time
from pathlib import Path

import numpy as np
import pytest

from maquette.core import cancel
from maquette.core.errors import MaquetteError
from maquette.core.types import Sampling
from maquette.pipeline import Pipeline, load
from maquette.request import Request
from maquette.server.batching import AHEAD, Device, Job, Line
from maquette.server.engine import Asked, Busy, Engine, Made
from maquette.server.samples import Gather
from tests.server.served import events, joined, made, painter, running, talker, texts


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    found = {kind: painter(root / kind, kind) for kind in ("gan", "diffusion")}
    return found | {kind: talker(root / kind, kind) for kind in ("gpt", "lstm", "mdlm")}


@pytest.mark.parametrize("kind", ["gan", "diffusion"])
def test_pictures_are_those_of_the_pipeline(kind: str, folders: dict[str, Path]) -> None:
    request = Request(n=35, seed=4, label="b")
    samples = running(Engine([folders[kind]], device="cpu"), lambda e: made(e, kind, request))
    pipeline = load(folders[kind], "cpu")
    assert np.array_equal(np.stack([one.item for one in samples]), pipeline.generate(request))
    assert [one.mark for one in samples] == pipeline.marks(request)


@pytest.mark.parametrize("kind", ["gpt", "lstm", "mdlm"])
def test_words_are_those_of_the_pipeline(kind: str, folders: dict[str, Path]) -> None:
    request = Request(n=3, seed=2, prompt="春眠", max_tokens=30, sampling=Sampling(temperature=0.8))
    pipeline = load(folders[kind], "cpu")
    found = running(
        Engine([folders[kind]], device="cpu"), lambda e: events(e, kind, Asked(request=request, stream=True))
    )
    said = pipeline.say(request)
    assert [one.said.text for one in found if isinstance(one, Made)] == [one.text for one in said]
    if kind != "mdlm":
        assert joined(found, 3) == [one.text for one in said]
    assert found[-1] == (2, sum(len(one.tokens) for one in said))


def test_models_have_names_and_tell_what_they_can(folders: dict[str, Path], tmp_path: Path) -> None:
    painter(tmp_path / "My Model! (2)", "gan")
    engine = Engine([folders["gan"], folders["gpt"] / "bundle", tmp_path / "My Model! (2)"])
    again = painter(tmp_path / "gan", "diffusion")
    assert engine.add(again).id == "gan-2" == engine.add(again).id
    assert [one.id for one in engine.served()] == ["gan", "gpt", "my-model-2", "gan-2"]
    gan, gpt, other = engine.find("gan"), engine.find("gpt"), engine.find("gan-2")
    assert (gan.medium, gan.kind, gan.classes, gan.denoises) == ("image", "gan", ("a", "b", "c"), False)
    assert other.denoises and gpt.talks and gpt.streams and gpt.embeds and not gpt.asks
    assert gan.digest == load(folders["gan"], "cpu").digest
    with pytest.raises(MaquetteError, match="MQ-2160"):
        engine.find("gpd")


def test_what_a_model_cannot_do_is_refused_and_harms_nobody(folders: dict[str, Path]) -> None:
    async def work(engine: Engine) -> None:
        for wrong, code in ((Request(label="x"), "MQ-2101"), (Request(prompt="a"), "MQ-2104")):
            with pytest.raises(MaquetteError, match=code):
                await events(engine, "gan", wrong)
        with pytest.raises(MaquetteError, match="MQ-2121"):
            await events(engine, "gpt", Request(prompt="a" * 100))
        assert len(await made(engine, "gan", Request(n=2))) == 2 and engine.figures()["failed_total"] == 3

    running(Engine([folders["gan"], folders["gpt"]], device="cpu"), work)


def test_a_full_queue_sends_away(folders: dict[str, Path]) -> None:
    async def work(engine: Engine) -> None:
        asked = Request(n=3, max_tokens=60)
        results = await asyncio.gather(*(texts(engine, "lstm", asked) for _ in range(12)), return_exceptions=True)
        refused = [one for one in results if isinstance(one, Busy)]
        assert refused and all(1 <= one.retry_after <= 60 for one in refused)
        answers = [one for one in results if isinstance(one, list)]
        assert len(answers) + len(refused) == 12 and all(one == answers[0] for one in answers)
        assert await texts(engine, "lstm", asked) == answers[0]

    running(Engine([folders["lstm"]], device="cpu", queue=5), work)


def test_who_goes_away_is_forgotten(folders: dict[str, Path]) -> None:
    async def work(engine: Engine) -> None:
        stream = engine.make("lstm", Asked(request=Request(n=32, max_tokens=75), stream=True))
        await anext(stream)
        await stream.aclose()
        assert len(await texts(engine, "lstm", Request(n=1, max_tokens=3))) == 1
        assert engine.figures()["cancelled_total"] == 1 and engine.figures()["running"] == 0

    running(Engine([folders["lstm"]], device="cpu"), work)


def test_models_are_let_go_when_memory_is_short(folders: dict[str, Path]) -> None:
    largest = max((folders[kind] / "bundle" / "model.safetensors").stat().st_size for kind in ("gan", "diffusion"))
    engine = Engine([folders["gan"], folders["diffusion"]], device="cpu", memory=largest)

    async def work(engine: Engine) -> None:
        first = await made(engine, "gan", Request())
        await made(engine, "diffusion", Request())
        assert np.array_equal((await made(engine, "gan", Request()))[0].item, first[0].item)

    running(engine, work)
    assert engine.figures()["evicted_total"] == 2 and engine.figures()["models_loaded"] == 1


def test_closing_ends_what_runs_with_a_sentence(folders: dict[str, Path]) -> None:
    async def work() -> None:
        engine = Engine([folders["lstm"]], device="cpu")
        await engine.start()
        long = asyncio.create_task(texts(engine, "lstm", Request(n=3000, max_tokens=70)))
        await asyncio.sleep(0.3)
        await engine.close(0.1)
        with pytest.raises(MaquetteError, match="MQ-4021"):
            await long
        with pytest.raises(MaquetteError, match="MQ-4021"):
            await texts(engine, "lstm", Request())

    asyncio.run(asyncio.wait_for(work(), 60))


def test_closing_lets_what_runs_end(folders: dict[str, Path]) -> None:
    async def work() -> None:
        engine = Engine([folders["gpt"]], device="cpu")
        await engine.start()
        short = asyncio.create_task(texts(engine, "gpt", Request(n=2, max_tokens=20)))
        await asyncio.sleep(0)
        await engine.close(20)
        assert len(await short) == 2

    asyncio.run(asyncio.wait_for(work(), 60))


def test_vectors(folders: dict[str, Path]) -> None:
    async def work(engine: Engine) -> None:
        words = ("春眠不覺曉", "a", "ab" * 100)
        vectors = await engine.embed("gpt", words)
        assert vectors.shape == (3, 16) and np.isfinite(vectors).all() and not np.allclose(vectors[0], vectors[1])
        assert np.allclose((await engine.embed("gpt", words[1:2]))[0], vectors[1], atol=1e-5)
        with pytest.raises(MaquetteError, match="MQ-2161"):
            await engine.embed("gan", np.zeros((1, 8, 8, 1), np.uint8))

    running(Engine([folders["gpt"], folders["gan"]], device="cpu"), work)


def test_a_damaged_model_is_told_by_its_name_alone(tmp_path: Path) -> None:
    folder = painter(tmp_path / "secret-place" / "gan", "gan")

    async def work(engine: Engine) -> None:
        weights = folder / "bundle" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")
        with pytest.raises(MaquetteError, match="MQ-5003") as told:
            await made(engine, "gan", Request())
        assert "secret-place" not in str(told.value) and engine.figures()["model_bytes"] == 0

    running(Engine([folder], device="cpu"), work)


@pytest.mark.parametrize("where", [(Pipeline, "together"), (Gather, "_dealt")], ids=str)
def test_a_mistake_of_ours_ends_those_it_concerns_and_nobody_else(
    where: tuple[type, str], folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(engine: Engine) -> None:
        good = await texts(engine, "gpt", Request(max_tokens=3))
        with monkeypatch.context() as broken:
            broken.setattr(*where, lambda *_: 1 / 0)
            results = await asyncio.gather(
                *(made(engine, "gan", Request(seed=i)) for i in range(3)),
                texts(engine, "gpt", Request(max_tokens=3)),
                return_exceptions=True,
            )
        assert [type(one) for one in results[:3]] == [ZeroDivisionError] * 3 and results[3] == good
        assert len(await made(engine, "gan", Request())) == 1

    running(Engine([folders["gan"], folders["gpt"]], device="cpu", compiled=False), work)


def test_a_client_that_fetches_nothing_is_not_made_for(folders: dict[str, Path]) -> None:
    async def work(engine: Engine) -> None:
        slow = engine.make("gan", Asked(request=Request(n=1000)))
        await anext(slow)
        for seed in range(10):
            await made(engine, "gan", Request(seed=seed))
        assert engine.figures()["items_total"] <= 10 + AHEAD + 32
        assert sum([isinstance(event, Made) async for event in slow]) == 999

    running(Engine([folders["gan"]], device="cpu"), work)


def test_a_warm_model_is_loaded_and_has_made_something(folders: dict[str, Path]) -> None:
    async def work(engine: Engine) -> None:
        await engine.warm("gpt")
        figures = engine.figures()
        assert figures["models_loaded"] == 1 and figures["items_total"] == 1 and figures["tokens_total"] <= 1

    running(Engine([folders["gan"], folders["gpt"]], device="cpu", compiled=False), work)


def test_models_that_are_loading_count_too(folders: dict[str, Path]) -> None:
    largest = max((folders[kind] / "bundle" / "model.safetensors").stat().st_size for kind in ("gan", "diffusion"))

    async def work(engine: Engine) -> None:
        both = await asyncio.gather(
            *(made(engine, kind, Request()) for kind in ("gan", "diffusion")), return_exceptions=True
        )
        assert sum(isinstance(one, Busy) for one in both) == 1 == sum(isinstance(one, list) for one in both)
        assert engine.figures()["model_bytes"] <= largest

    running(Engine([folders["gan"], folders["diffusion"]], device="cpu", memory=largest), work)


class Broken(Line):
    """A mistake of ours."""

    quick = True

    def step(self) -> bool:
        raise RuntimeError("broken")

    @property
    def jobs(self) -> list[Job]:
        return list(self.waiting)

    def drop(self, job: Job) -> None:
        self.waiting.remove(job)


class Long(Broken):
    """One step, which waits for another line and then lets it go on in between."""

    quick = False

    def step(self) -> bool:
        if len(self.device._lines) < 2:
            time.sleep(0.001)
            return True
        with self.guarded(self.jobs):
            cancel.check()
        self.device.end(self.waiting[0])
        self.drop(self.waiting[0])
        return True


def test_a_line_that_breaks_within_a_long_draw_ends_alone() -> None:
    """It is given up between two steps of another, and met again in the same round: the device must outlive both."""

    async def work() -> None:
        device = Device(asyncio.get_running_loop())
        long, broken = Long(device), Broken(device)
        for _ in range(2):
            jobs = [Job(Asked(embed=("a",)), object.__new__(Pipeline)) for _ in range(3)]
            device.put(long, jobs[0])
            device.put(broken, jobs[1])
            device.put(broken, jobs[2])
            ends = [await asyncio.wait_for(job.events.get(), 20) for job in jobs]
            assert ends[0] is None and [type(end) for end in ends[1:]] == [RuntimeError] * 2
            assert device._thread.is_alive()
        device.stop()

    asyncio.run(work())
