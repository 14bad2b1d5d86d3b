"""Every path called by the official client at a real server, streams and mistakes too."""

import base64
import io
import json
import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from PIL import Image as pillow

from maquette.pipeline import load
from maquette.request import Request
from maquette.server.engine import Engine
from tests.server.served import painter, talker
from tests.server.web import serving

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:openai.*", "ignore:.*Sora API.*", "ignore:deprecated:DeprecationWarning"
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "painter": painter(folder / "painter", "gan"),
        "denoiser": painter(folder / "denoiser", "diffusion"),
        "writer": talker(folder / "writer"),
        "answerer": talker(folder / "answerer", asks=True),
    }


@pytest.fixture(scope="module")
def address(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    engine = Engine(list(models.values()), device="cpu", compiled=False)
    with serving(tmp_path_factory.mktemp("data"), engine) as (address, _):
        yield address


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert set(listed) == {"painter", "denoiser", "writer", "answerer"}
    one: Any = client.models.retrieve("painter")
    assert (one.object, one.owned_by, one.medium, one.classes) == ("model", "maquette", "image", ["a", "b", "c"])
    assert listed["painter"] == one
    with pytest.raises(openai.NotFoundError) as bad:
        client.models.retrieve("paniter")
    assert bad.value.code == "model_not_found" and "nearest: 'painter'" in bad.value.message
    assert "paniter" not in bad.value.message


def test_a_text_goes_on(client: openai.OpenAI, models: dict[str, Path]) -> None:
    said = load(models["writer"], "cpu").say(Request(prompt="春", seed=3, n=2, max_tokens=8))
    done = client.completions.create(model="writer", prompt="春", seed=3, n=2, max_tokens=8)
    assert [choice.text for choice in done.choices] == [one.text.removeprefix("春") for one in said]
    assert [choice.finish_reason for choice in done.choices] == [one.ended for one in said]
    assert done.usage is not None and done.usage.completion_tokens == sum(len(one.tokens) for one in said)
    assert done.object == "text_completion" and [choice.index for choice in done.choices] == [0, 1]
    echoed = client.completions.create(model="writer", prompt="春", seed=3, n=2, max_tokens=8, echo=True)
    assert [choice.text for choice in echoed.choices] == ["春" + choice.text for choice in done.choices]


def test_a_stream_says_what_the_whole_says(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = dict(model="writer", prompt=["春", "花"], seed=5, n=2, max_tokens=9, temperature=0.8)
    whole = client.completions.create(**asked)
    texts, reasons, usage = ["", "", "", ""], [""] * 4, None
    for chunk in client.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            reasons[choice.index] = choice.finish_reason or reasons[choice.index]
        usage = chunk.usage or usage
    assert texts == [choice.text for choice in whole.choices]
    assert reasons == [choice.finish_reason for choice in whole.choices]
    assert usage == whole.usage


def test_the_likelihood_of_tokens_is_told(client: openai.OpenAI, models: dict[str, Path]) -> None:
    (said,) = load(models["writer"], "cpu").say(Request(prompt="春", seed=1, max_tokens=5, likeliest=3))
    done = client.completions.create(model="writer", prompt="春", seed=1, max_tokens=5, logprobs=3)
    told = done.choices[0].logprobs
    assert told is not None and told.tokens == list(said.tokens)
    assert told.token_logprobs == pytest.approx(said.log_probabilities, abs=1e-4)
    assert told.top_logprobs is not None and [len(one) for one in told.top_logprobs] == [3] * len(said.tokens)


def test_a_text_ends_before_a_stop_string(client: openai.OpenAI) -> None:
    whole = client.completions.create(model="writer", prompt="春", seed=2, max_tokens=20).choices[0].text
    stop = whole[3]
    cut = client.completions.create(model="writer", prompt="春", seed=2, max_tokens=20, stop=[stop]).choices[0]
    assert cut.text == whole[: whole.index(stop)] and cut.finish_reason == "stop"


def test_a_conversation(client: openai.OpenAI, models: dict[str, Path]) -> None:
    pipeline = load(models["answerer"], "cpu")
    (said,) = pipeline.say(Request(prompt="花", history=(("春", "夏"),), seed=4, max_tokens=6))
    messages: Any = [
        {"role": "user", "content": "春"},
        {"role": "assistant", "content": "夏"},
        {"role": "user", "content": [{"type": "text", "text": "花"}]},
    ]
    asked: dict[str, Any] = dict(model="answerer", messages=messages, seed=4, max_completion_tokens=6)
    done = client.chat.completions.create(**asked, logprobs=True, top_logprobs=2)
    assert done.choices[0].message.content == said.text and done.choices[0].message.role == "assistant"
    assert done.choices[0].finish_reason == said.ended
    told = done.choices[0].logprobs
    assert told is not None and told.content is not None
    assert [one.token for one in told.content] == list(said.tokens)
    assert all(len(one.top_logprobs) == 2 for one in told.content)
    text, usage = "", None
    for chunk in client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
        usage = chunk.usage or usage
    assert text == said.text and usage == done.usage
    again = client.chat.completions.create(**asked, n=3)
    assert [choice.index for choice in again.choices] == [0, 1, 2] and again.choices[0].message.content == said.text


def test_pictures(client: openai.OpenAI, models: dict[str, Path]) -> None:
    pipeline = load(models["painter"], "cpu")
    items = pipeline.generate(Request(n=3, seed=7, label="b"))
    done = client.images.generate(model="painter", prompt="b", n=3, extra_body={"seed": 7})
    assert done.data is not None and [pixels(one.b64_json) for one in done.data] == [item.tobytes() for item in items]
    again = client.images.generate(model="painter", prompt="", n=3, size="8x8", extra_body={"seed": 7, "label": "b"})
    assert again.data == done.data and done.size == "8x8"
    png = base64.b64decode(done.data[0].b64_json or "")
    aigc = json.loads(pillow.open(io.BytesIO(png)).info["AIGC"])["AIGC"]
    assert aigc["Label"] == "1" and aigc["ProduceID"].endswith("-7")


def test_pictures_on_the_way(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = dict(model="denoiser", prompt="", extra_body={"seed": 1, "steps": 6})
    whole = client.images.generate(**asked)
    events = list(client.images.generate(**asked, stream=True, partial_images=2))
    kinds = [event.type for event in events]
    assert kinds == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    assert [event.partial_image_index for event in events[:2]] == [0, 1]  # type: ignore[union-attr]
    assert whole.data is not None and events[-1].b64_json == whole.data[0].b64_json
    assert events[0].b64_json != events[-1].b64_json


def test_a_picture_is_made_anew_in_part(client: openai.OpenAI, models: dict[str, Path]) -> None:
    known = np.arange(64, dtype=np.uint8).reshape(8, 8, 1) * 4
    hidden = np.zeros((8, 8), bool)
    hidden[:, 4:] = True
    request = Request(n=1, seed=2, label=0, image=known, mask=hidden[None])
    (item,) = load(models["denoiser"], "cpu").generate(request)
    white, clear = np.where(hidden, 255, 0).astype(np.uint8), np.where(hidden, 0, 255).astype(np.uint8)
    alpha = np.stack([white * 0 + 90] * 3 + [clear], -1)
    for mask in (pillow.fromarray(white), pillow.fromarray(alpha)):
        done = client.images.edit(
            model="denoiser", image=file(pillow.fromarray(known[:, :, 0])), mask=file(mask), prompt="a",
            extra_body={"seed": 2},
        )  # fmt: skip
        assert done.data is not None and pixels(done.data[0].b64_json) == item.tobytes()
    assert (item[:, :4] == known[:, :4]).all() and (item[:, 4:] != known[:, 4:]).any()


def test_pictures_begin_from_another(client: openai.OpenAI) -> None:
    picture = file(pillow.new("L", (8, 8), 200))
    asked: Any = client.images.create_variation
    done = asked(model="denoiser", image=picture, n=2, extra_body={"seed": 3, "strength": 0.2})
    assert len(done.data) == 2 and done.data[0] != done.data[1]
    with pytest.raises(openai.BadRequestError):
        asked(model="painter", image=file(pillow.new("L", (8, 8))))


def test_moderation_without_rules_flags_nothing(client: openai.OpenAI) -> None:
    done = client.moderations.create(input=["a", "b"])
    assert [one.flagged for one in done.results] == [False, False] and done.results[0].categories.violence is False


ASKED: Any = {"messages": [{"role": "user", "content": "a"}]}
TOOLS: Any = {"tools": [{"type": "function", "function": {"name": "f"}}]}
MISTAKES: list[tuple[str, dict[str, Any], int, str, str | None]] = [
    ("completions", {"model": "nobody", "prompt": "a"}, 404, "model_not_found", "model"),
    ("completions", {"model": "painter", "prompt": "a"}, 400, "wrong_model", "model"),
    ("completions", {"model": "writer", "prompt": "a", "temperature": 1e9}, 400, "invalid_value", "temperature"),
    (
        "completions",
        {"model": "writer", "prompt": "a", "presence_penalty": 1},
        400,
        "invalid_value",
        "presence_penalty",
    ),
    ("completions", {"model": "writer", "prompt": "春" * 5000}, 400, "context_length_exceeded", "prompt"),
    ("completions", {"model": "writer", "prompt": "a", "extra_body": {"topk": 3}}, 400, "unknown_parameter", None),
    ("chat.completions", {"model": "writer"} | ASKED, 400, "MQ-2133", "model"),
    ("chat.completions", {"model": "answerer", "messages": []}, 400, "invalid_value", "messages"),
    ("chat.completions", {"model": "answerer"} | ASKED | TOOLS, 400, "invalid_value", "tools"),
    ("images", {"model": "writer", "prompt": "a"}, 400, "wrong_model", "model"),
    ("images", {"prompt": "a"}, 400, "invalid_value", "model"),
    ("images", {"model": "painter", "prompt": "no such label"}, 400, "MQ-2104", "prompt"),
    ("images", {"model": "painter", "prompt": "", "size": "512x512"}, 400, "invalid_value", "size"),
    ("images", {"model": "painter", "prompt": "", "n": 65}, 400, "invalid_value", "n"),
    ("images", {"model": "painter", "prompt": "", "response_format": "url"}, 400, "invalid_value", "response_format"),
    ("embeddings", {"model": "painter", "input": "a"}, 400, "MQ-2161", "model"),
    ("audio.speech", {"model": "painter", "input": "a", "voice": "x"}, 400, "wrong_model", "model"),
    ("videos", {"model": "painter", "prompt": "a"}, 400, "wrong_model", "model"),
]


@pytest.mark.parametrize(("path", "body", "status", "code", "param"), MISTAKES)
def test_a_mistake_is_told_as_the_client_expects(
    client: openai.OpenAI, path: str, body: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    resource = operator.attrgetter(path)(client)
    with pytest.raises(openai.APIStatusError) as bad:
        (resource.generate if path == "images" else resource.create)(**body)
    assert (bad.value.status_code, bad.value.code, bad.value.param) == (status, code, param)
    assert bad.value.type == "invalid_request_error" and 10 < len(str(bad.value.message)) < 400


def pixels(b64: str | None) -> bytes:
    return pillow.open(io.BytesIO(base64.b64decode(b64 or ""))).tobytes()


def file(picture: pillow.Image) -> tuple[str, bytes, str]:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "a.png", buffer.getvalue(), "image/png"
