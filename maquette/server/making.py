"""From a body to a request of the pipeline's, and from what was made to the bytes that leave."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from fastapi import Request as Call
from starlette.datastructures import State

from maquette.core import exit as exits
from maquette.core.errors import MaquetteError
from maquette.core.exit import Mark
from maquette.core.types import Sampling
from maquette.media.base import Medium
from maquette.request import Request
from maquette.server.batching import Asked, Made, Partial, Used, Words
from maquette.server.doors import caller_of
from maquette.server.engine import Served
from maquette.server.schemas import Drawn

PATHS = {
    "text": "/v1/completions",
    "image": "/v1/images/generations",
    "audio": "/v1/audio/speech",
    "music": "/v1/audio/speech",
    "video": "/v1/videos",
}
"""Where each medium is made."""
ELSEWHERE = "the command line: `maquette sample`"
HOWS = ("solver", "steps", "temperature", "eta", "strength", "top_k", "top_p", "min_p", "repetition", "beams")
SEEDS = 2**31


def find(call: Call, name: str | None, media: Sequence[str]) -> Served:
    """The model called `name`, or the only one of `media` where none is named, of those that the caller sees.

    Raises:
        MaquetteError: MQ-2160 no such model, MQ-2202 none named and several there, MQ-2214 one of another medium,
            MQ-2151 one that makes nothing.
    """
    engine, sees = call.app.state.engine, caller_of(call).sees
    if name is None:
        fitting = [served for served in engine.served(sees) if served.medium in media and served.draws]
        if len(fitting) != 1:
            wanted = "name one of those that GET /v1/models lists"
            raise MaquetteError("MQ-2202", path="model", wanted=wanted, more="")
        return fitting[0]
    served = engine.find(name, sees)
    if served.medium not in media:
        raise MaquetteError("MQ-2214", "model", made=served.medium, todo=PATHS.get(served.medium, ELSEWHERE))
    if not served.draws:
        raise MaquetteError("MQ-2151", "model", kind=served.kind)
    return served


def requested(state: State, body: Drawn, **more: Any) -> Request:
    """What `body` asks of a pipeline, with `more` of its fields.

    Raises:
        MaquetteError: MQ-2202 for more samples than this server makes at once, and as `Request`.
    """
    most = state.settings.n
    n = more.pop("n", body.n or 1)
    if n > most:
        raise MaquetteError("MQ-2202", path="n", wanted=f"at most {most} at once", more="")
    seed = secrets.randbelow(SEEDS) if body.seed is None else body.seed
    values: dict[str, Any] = {"n": n, "seed": seed, "label": body.label, "sampling": sampling(body)}
    values["keep_prompt"] = bool(body.keep_prompt)
    if body.guidance is not None:
        values["guidance"] = float(body.guidance)
    low, high = getattr(body, "guidance_low", None), getattr(body, "guidance_high", None)
    if low is not None or high is not None:
        values["guidance_interval"] = (float(low or 0), float("inf") if high is None else float(high))
    return Request(**(values | more))


def sampling(body: Drawn) -> Sampling | None:
    """How to draw; none where nothing is said of it. A temperature of 0 is the likeliest token."""
    how = {name: value for name in HOWS if (value := getattr(body, name, None)) is not None}
    shorter = getattr(body, "truncation", None)
    if shorter is not None and "temperature" in how:
        raise MaquetteError("MQ-2202", path="truncation", wanted="left out where a temperature is given", more="")
    if shorter is not None:
        how["temperature"] = shorter
    if how.get("temperature") == 0 and "top_p" in type(body).model_fields:
        how = {name: value for name, value in how.items() if name not in ("temperature", "top_p", "min_p")}
        how["top_k"] = 1
    floats = ("temperature", "eta", "strength", "top_p", "min_p", "repetition")
    read: dict[str, Any] = {name: float(value) if name in floats else value for name, value in how.items()}
    return Sampling(**read) if read else None


def words(state: State, served: Served, text: str, label: Any) -> dict[str, Any]:
    """The fields of a request that are given `text`: the name of a label where the model has one, else a prompt."""
    rules = state.rules
    if rules is not None:
        rules.check(text)
    if not text.strip():
        return {}
    if text.strip() in served.classes and label is None:
        return {"label": text.strip()}
    return {"prompt": text}


def events(state: State, served: Served, asked: Asked) -> AsyncIterator[Words | Partial | Made | Used]:
    return state.engine.make(served.id, asked)


async def collected(state: State, served: Served, asked: Asked) -> tuple[list[Made], Used]:
    """All samples of a request, in their order, and what they took."""
    made: dict[int, Made] = {}
    used = Used(0, 0)
    coming = events(state, served, asked)
    try:
        async for event in coming:
            if isinstance(event, Made):
                made[event.sample] = event
            elif isinstance(event, Used):
                used = event
    finally:
        await coming.aclose()  # type: ignore[attr-defined]
    return [made[sample] for sample in sorted(made)], used


def marked(state: State, mark: Mark) -> Mark:
    """`mark` with the name of who answers for it here."""
    producer = state.settings.producer
    return replace(mark, producer=producer) if producer else mark


async def leaving(state: State, medium: Medium, item: np.ndarray, mark: Mark) -> bytes:
    """The file of an item as it may leave: past the filter, labelled and marked; made beside the loop."""
    visible, allow = state.settings.visible, state.allow
    return await asyncio.to_thread(exits.leave, item, medium, marked(state, mark), visible, allow)


def medium_of(state: State, served: Served) -> Medium:
    """The medium of a model, without loading it."""
    return state.media.of(served)


def size_of(medium: Medium) -> str:
    """`WIDTHxHEIGHT` of what a medium of pictures or films makes."""
    height, width = medium.space.shape[-2:]
    return f"{width}x{height}"


def now() -> int:
    return int(time.time())
