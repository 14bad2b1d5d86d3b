"""Sounds and pictures that are made value by value, had while they are made: the same bits as when they are whole."""

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import openai
import pytest
import torch

from maquette.bundle import Coding, save_bundle
from maquette.core.errors import MaquetteError
from maquette.media import audio, image
from maquette.media.base import MediumConfig
from maquette.models.base import ModelConfig
from maquette.pipeline import Pipeline, load
from maquette.request import Request
from maquette.server.batching import Asked, Made, Partial
from maquette.server.engine import Engine
from tests.server.served import events, running
from tests.server.test_media import bundle
from tests.server.web import serving

WAVES = {"kind": "wavenet", "net": {"width": 8, "skip": 8, "layers": 3, "dilations": [1, 2, 4]}}
NET = {"kind": "transformer", "width": 16, "depth": 1, "heads": 2}
KINDS: dict[str, tuple[MediumConfig, dict[str, Any], str]] = {
    "levels": (audio.Config(rate=1000, samples=320), WAVES, ""),
    "mulaw": (audio.Config(rate=1000, samples=320), WAVES, "mulaw"),
    "pixels": (image.Config(size=8, channels=1), {"kind": "gpt", "net": NET}, "quantise"),
}
BODY = {"input": "", "voice": "default", "seed": 3, "temperature": 0.9}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    for name, (medium, tree, kind) in KINDS.items():
        config, coding = ModelConfig.from_tree(tree, "model"), Coding(kind)
        torch.manual_seed(1)
        model = config.build(coding.build(medium).space, 0).eval()
        save_bundle(folder / name, medium, config, [], model.state_dict(), {"name": name}, coding)
    return {name: folder / name for name in KINDS} | {"drum": bundle(folder, "drum")}


@pytest.fixture(scope="module")
def served(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any]]:
    engine = Engine(list(models.values()), device="cpu", compiled=False)
    with serving(tmp_path_factory.mktemp("data"), engine, visible="AI") as (address, app):
        yield f"{address}/v1/audio/speech", app


@pytest.mark.parametrize("name", list(KINDS))
def test_what_is_shown_on_the_way_stays(name: str, models: dict[str, Path]) -> None:
    request = Request(n=2, seed=5)
    wanted = load(models[name], "cpu").generate(request)
    engine = Engine([models[name]], device="cpu", compiled=False)
    found = running(engine, lambda engine: events(engine, name, Asked(request=request, partials=3)))
    made = {event.sample: event for event in found if isinstance(event, Made)}
    assert all((made[sample].item == item).all() for sample, item in enumerate(wanted))
    partials = [event for event in found if isinstance(event, Partial)]
    assert [(event.sample, event.number) for event in partials] == [(s, n) for n in (1, 2, 3) for s in (0, 1)]
    for event in partials:
        now, whole = event.item.ravel(), wanted[event.sample].ravel()
        known = round(event.share * len(whole))
        assert known == event.number * len(whole) // 4 and (now[:known] == whole[:known]).all()
        assert len(np.unique(now[known:])) == 1, "silence, or grey"
        assert event.mark == made[event.sample].mark


@pytest.mark.parametrize("name", ["levels", "mulaw"])
def test_a_sound_flows_while_it_is_made(name: str, served: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    url, body = served[0], BODY | {"model": name}
    whole = httpx.post(url, json=body, timeout=60)
    assert whole.status_code == 200 and int(whole.headers["content-length"]) == len(whole.content)
    heard, unfolding = threading.Event(), Pipeline.unfolding

    def held(*asked: Any) -> Iterator[Any]:
        for number, part in enumerate(unfolding(*asked)):
            if number == 1:  # nothing more is made before the first piece was heard
                assert heard.wait(60)
            yield part

    monkeypatch.setattr(Pipeline, "unfolding", held)
    with httpx.stream("POST", url, json=body | {"stream_format": "audio"}, timeout=60) as answer:
        assert (answer.headers["content-type"], answer.headers["x-seed"]) == ("audio/wav", "3")
        pieces = answer.iter_raw()
        first = next(pieces)
        assert 44 < len(first) < len(whole.content) and whole.content.startswith(first)
        heard.set()
        assert first + b"".join(pieces) == whole.content


def test_a_sound_as_events(served: tuple[str, Any]) -> None:
    url = served[0]
    whole = httpx.post(url, json=BODY | {"model": "mulaw"}, timeout=60).content
    with (
        openai.OpenAI(base_url=url.removesuffix("/audio/speech"), api_key="none", max_retries=0) as client,
        client.audio.speech.with_streaming_response.create(
            model="mulaw", input="", voice="default", stream_format="sse", extra_body={"seed": 3, "temperature": 0.9}
        ) as answer,
    ):
        lines = [line for line in answer.iter_lines() if line]
    told = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert {one["type"] for one in told[:-1]} == {"speech.audio.delta"} and len(told) >= 4
    assert told[-1]["type"] == "speech.audio.done" and lines[0] == "event: speech.audio.delta"
    assert b"".join(base64.b64decode(one["audio"]) for one in told[:-1]) == whole


def test_a_model_that_makes_a_sound_at_once_sends_it_whole(served: tuple[str, Any]) -> None:
    body = BODY | {"model": "drum"}
    whole = httpx.post(served[0], json=body, timeout=60).content
    assert httpx.post(served[0], json=body | {"stream_format": "audio"}, timeout=60).content == whole


def test_nothing_leaves_before_a_filter_has_seen_all_of_it(
    served: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setitem(served[1].state._state, "allow", lambda item: seen.append(len(item)) or False)
    refused = httpx.post(served[0], json=BODY | {"model": "mulaw", "stream_format": "audio"}, timeout=60)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "content_policy_violation")
    assert seen == [320]


def test_a_sound_that_fails_on_the_way_ends_before_its_end(
    served: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    unfolding = Pipeline.unfolding

    def failing(*asked: Any) -> Iterator[Any]:
        yield next(unfolding(*asked))
        raise MaquetteError("MQ-2104", task="go on")

    monkeypatch.setattr(Pipeline, "unfolding", failing)
    body = BODY | {"model": "mulaw"}
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(served[0], json=body | {"stream_format": "audio"}, timeout=60)
    told = httpx.post(served[0], json=body | {"stream_format": "sse"}, timeout=60).text
    assert told.count("event: ") == 2 and '"error"' in told.split("event: error")[1]


def test_pictures_on_the_way_from_a_model_of_pixels(served: tuple[str, Any]) -> None:
    url = served[0].replace("audio/speech", "images/generations")
    body = {"model": "pixels", "prompt": "", "seed": 2, "stream": True, "partial_images": 2}
    told = httpx.post(url, json=body, timeout=60).text
    kinds = [line.removeprefix("event: ") for line in told.splitlines() if line.startswith("event: ")]
    assert kinds == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
