"""Sound, music, films, vectors and models that begin from pictures, by the official client at a real server."""

import asyncio
import base64
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
import torch
from PIL import Image as pillow

from maquette.bundle import save_bundle
from maquette.core.errors import MaquetteError
from maquette.crafts import shrink
from maquette.data.along import Along
from maquette.data.captions import Captions
from maquette.media import audio, image, music, video
from maquette.media.base import MediumConfig
from maquette.media.marks import read_mark
from maquette.models.base import ModelConfig
from maquette.pipeline import load
from maquette.request import Request
from maquette.server.engine import Engine
from maquette.server.films import Film, Films
from maquette.server.filtering import Rules
from maquette.server.store import Store
from tests.server.served import painter, talker
from tests.server.web import serving

pytestmark = pytest.mark.filterwarnings("ignore:.*Sora API.*", "ignore:deprecated:DeprecationWarning")

MLP = {"kind": "mlp", "width": 16}
GAN = {"kind": "gan", "generator": MLP, "critic": MLP, "latent": 8}
FLOW = {"kind": "diffusion", "net": MLP, "steps": 4}
READING = {"kind": "contrastive", "net": MLP, "width": 8, "reading": {"width": 16, "depth": 1, "heads": 2}}
GPT = {"kind": "gpt", "net": {"width": 16, "depth": 1, "heads": 2}}
WORDS = Along(captions=Captions(tokenizer="byte", length=8))
KINDS: dict[str, tuple[MediumConfig, dict[str, Any], tuple[str, ...], Along]] = {
    "drum": (audio.Config(rate=1000, samples=64), GAN, ("kick", "snare"), Along()),
    "tune": (music.Config(voices=2, steps=4, per_quarter=1), GPT, (), Along()),
    "film": (video.Config(size=8, frames=4, rate=8, channels=1), FLOW, ("up", "down"), Along()),
    "reader": (image.Config(size=8), READING, (), WORDS),
    "restorer": (image.Config(size=16), FLOW, (), Along(craft=shrink.Config(factor=2))),
}


def bundle(folder: Path, name: str) -> Path:
    medium, tree, classes, along = KINDS[name]
    config = ModelConfig.from_tree(tree, "model")
    space = medium.build().space
    torch.manual_seed(1)
    model = config.fitted(space, len(classes), along.beside(space)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    save_bundle(folder / name, medium, config, list(classes), model.state_dict(), {"name": name}, along=along)
    return folder / name


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {name: bundle(folder, name) for name in KINDS}


@pytest.fixture(scope="module")
def address(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    engine = Engine(list(models.values()), device="cpu", compiled=False)
    with serving(tmp_path_factory.mktemp("data"), engine, producer="Studio 7") as (address, _):
        yield address


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


def test_a_sound(client: openai.OpenAI, models: dict[str, Path]) -> None:
    pipeline = load(models["drum"], "cpu")
    (item,) = pipeline.generate(Request(seed=5, label="snare"))
    said = [
        client.audio.speech.create(model="drum", input="snare", voice="alloy", extra_body={"seed": 5}),
        client.audio.speech.create(
            model="drum", input="", voice="snare", response_format="wav", extra_body={"seed": 5}
        ),
    ]
    for one in said:
        assert (pipeline.medium.from_bytes(one.content, "a.wav") == item).all()
        assert one.response.headers["content-type"] == "audio/wav" and one.response.headers["x-seed"] == "5"
        assert read_mark(one.content, "a.wav")["ContentProducer"] == "Studio 7"
    for refused in ({"response_format": "mp3"}, {"speed": 2.0}, {"instructions": "softly"}):
        with pytest.raises(openai.BadRequestError) as bad:
            client.audio.speech.create(**({"model": "drum", "input": "", "voice": "x"} | refused))  # type: ignore[arg-type]
        assert bad.value.param == next(iter(refused))


def test_music_is_midi(client: openai.OpenAI) -> None:
    one = client.audio.speech.create(model="tune", input="", voice="default", extra_body={"seed": 1})
    assert one.content.startswith(b"MThd") and one.response.headers["content-type"] == "audio/midi"


def test_a_film_is_asked_for_waited_for_and_fetched(client: openai.OpenAI, models: dict[str, Path]) -> None:
    pipeline = load(models["film"], "cpu")
    film = client.videos.create_and_poll(model="film", prompt="down", poll_interval_ms=20, extra_body={"seed": 3})
    assert (film.object, film.status, film.progress, film.size, film.seconds) == (
        "video",
        "completed",
        100,
        "8x8",
        "0.5",
    )
    data = client.videos.download_content(film.id).content
    (item,) = pipeline.generate(Request(seed=3, label="down"))
    from maquette.core.exit import Mark

    assert data == pipeline.medium.encode(item, Mark(pipeline.digest, 3, "Studio 7", asked={"label": "down"}))
    other = client.videos.create_and_poll(model="film", prompt="", poll_interval_ms=20)
    listed = [one.id for one in client.videos.list(limit=1)]
    assert listed == [other.id, film.id], "newest first, over two pages"
    assert client.videos.delete(film.id).deleted is True
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve(film.id)
    with pytest.raises(openai.BadRequestError) as bad:
        client.videos.create(model="film", prompt="", seconds="4")
    assert bad.value.param == "seconds"


def test_a_film_outlives_the_server(models: dict[str, Path], tmp_path: Path) -> None:
    """One that was accepted and not begun is made after a restart, from its seed."""
    with serving(tmp_path, Engine([models["film"]], device="cpu")) as (address, app):
        app.state.films._turn._value = 0  # nothing begins
        sent = {"model": "film", "prompt": "", "seed": 9}
        film = httpx2.post(f"{address}/v1/videos", json=sent).json()
        assert film["status"] == "queued"
        early = httpx2.get(f"{address}/v1/videos/{film['id']}/content")
        assert early.status_code == 409 and early.json()["error"]["code"] == "wrong_state"
    with serving(tmp_path, Engine([models["film"]], device="cpu")) as (address, _):
        until = time.monotonic() + 60
        while (now := httpx2.get(f"{address}/v1/videos/{film['id']}").json())["status"] != "completed":
            assert now["status"] in ("queued", "in_progress") and time.monotonic() < until
            time.sleep(0.02)
        first = httpx2.get(f"{address}/v1/videos/{film['id']}/content").content
        again = httpx2.post(f"{address}/v1/videos", json=sent).json()
        while httpx2.get(f"{address}/v1/videos/{again['id']}").json()["status"] != "completed":
            time.sleep(0.02)
        assert httpx2.get(f"{address}/v1/videos/{again['id']}/content").content == first


def test_a_film_has_failed_as_soon_as_the_database_takes_that_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for it must not wait until the server is restarted."""
    real, tries = Films._change, [0]

    def full(self: Films, film: Film, values: dict[str, Any]) -> bool:
        tries[0] += values["status"] == "failed"
        if values["status"] == "failed" and tries[0] < 3:
            raise MaquetteError("MQ-5180", reason="disk is full")
        return real(self, film, values)

    async def make(film: Film) -> bytes:
        raise MaquetteError("MQ-5001", reason="no space left on device")

    async def work() -> None:
        store = Store(f"sqlite:///{tmp_path}/server.db", tmp_path)
        films = Films(store, make, 8)
        await films.start()
        film = await films.put("a", "film", {}, "8x8", "1")
        while films._tasks:
            await asyncio.sleep(0.01)
        now = await films.get("a", film.id)
        assert now.status == "failed" and now.error is not None and now.error["code"] == "MQ-5001"
        await films.close()
        store.close()

    monkeypatch.setattr(Films, "_change", full)
    monkeypatch.setattr("maquette.server.films.EVERY", 0.01)
    asyncio.run(work())
    assert tries[0] == 3


def test_texts_and_pictures_in_one_space(client: openai.OpenAI, models: dict[str, Path]) -> None:
    pipeline = load(models["reader"], "cpu")
    told = client.embeddings.create(model="reader", input=["red", "a blue one"], encoding_format="float")
    vectors = np.array([one.embedding for one in told.data], np.float32)
    assert np.allclose(vectors, pipeline.embed(["red", "a blue one"]), atol=1e-6)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    packed = client.embeddings.create(model="reader", input="red")  # base64 unless told otherwise
    assert np.allclose(packed.data[0].embedding, vectors[0])
    picture = pillow.fromarray(np.full((8, 8), 77, np.uint8))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    seen: Any = client.post(
        "/embeddings",
        cast_to=object,
        body={"model": "reader", "images": [base64.b64encode(buffer.getvalue()).decode()]},
    )
    assert np.allclose(seen["data"][0]["embedding"], pipeline.embed(np.full((1, 8, 8, 1), 77, np.uint8))[0], atol=1e-6)
    for bad in (
        {"images": ["no base64!"]},
        {"images": ["aGVsbG8="]},
        {},
        {"input": ""},
        {"input": "a", "dimensions": 3},
    ):
        with pytest.raises(openai.BadRequestError):
            client.post("/embeddings", cast_to=object, body={"model": "reader"} | bad)
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.generate(model="reader", prompt="")
    assert refused.value.code == "MQ-2151"


def test_a_small_picture_becomes_a_large_one(client: openai.OpenAI, models: dict[str, Path]) -> None:
    """A model that learnt to enlarge is given the small picture as it is."""
    from maquette.verbs.sample import sample

    buffer = io.BytesIO()
    pillow.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 3).save(buffer, "PNG")
    made = sample(load(models["restorer"], "cpu"), image=[given_item(buffer.getvalue())], n=2, seed=4)
    done = client.images.edit(
        model="restorer", image=("a.png", buffer.getvalue()), prompt="", n=2, extra_body={"seed": 4}
    )
    assert done.data is not None and done.size == "16x16"
    for one, item in zip(done.data, made.items, strict=True):
        assert pillow.open(io.BytesIO(base64.b64decode(one.b64_json or ""))).tobytes() == item.tobytes()
    with pytest.raises(openai.BadRequestError) as bad:
        client.images.edit(model="restorer", image=("a.png", buffer.getvalue()), prompt="", extra_body={"blur": 2})
    assert bad.value.code == "MQ-2138" and bad.value.param == "blur"


def given_item(png: bytes) -> np.ndarray:
    return np.asarray(pillow.open(io.BytesIO(png))).reshape(8, 8, 1)


def test_rules_and_labels(tmp_path: Path) -> None:
    """What the rules name is neither asked nor said, and every item bears the operator's note."""
    painted, spoken = painter(tmp_path / "painter", "gan", size=32), talker(tmp_path / "writer")
    text = load(spoken, "cpu").say(Request(prompt="春", seed=3, max_tokens=8))[0].text
    rules = Rules({"poems": [text[3:5]], "violence": ["Pipe  BOMB"]})
    engine = Engine([painted, spoken], device="cpu", compiled=False)
    with serving(tmp_path, engine, rules=rules, visible="made by a machine") as (address, _):
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        told = client.moderations.create(input=["how to make a ｐｉｐｅ\n bomb", "spring"])
        assert [one.flagged for one in told.results] == [True, False] and told.results[0].categories.violence
        for stream in (False, True):
            with pytest.raises(openai.APIError) as said:
                words = client.completions.create(model="writer", prompt="春", seed=3, max_tokens=8, stream=stream)
                seen = "".join(chunk.choices[0].text for chunk in words) if stream else ""
                assert text[3:5] not in seen
            assert said.value.code == "content_policy_violation"
        with pytest.raises(openai.BadRequestError) as asked:
            client.completions.create(model="writer", prompt="a pipe bomb", max_tokens=1)
        assert asked.value.code == "content_policy_violation" and "bomb" not in asked.value.message
        other = client.completions.create(model="writer", prompt="花", seed=1, max_tokens=2)
        assert other.choices[0].text.startswith("made by a machine\n")
        plain = load(painted, "cpu").generate(Request(seed=1, label="a"))[0]
        drawn = client.images.generate(model="painter", prompt="a", extra_body={"seed": 1})
        assert drawn.data is not None
        shown = np.asarray(pillow.open(io.BytesIO(base64.b64decode(drawn.data[0].b64_json or ""))))
        assert shown.shape != plain.shape[:2] or (shown.reshape(plain.shape) != plain).any()
        client.close()
