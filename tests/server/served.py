"""Small untrained models as an engine's folders, and how tests ask it."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import torch

from maquette.bundle import save_bundle
from maquette.media import image
from maquette.models.base import ModelConfig
from maquette.request import Request
from maquette.server.engine import Asked, Engine, Made, Used, Words
from tests.pipeline.talking import saved

PICTURES: dict[str, dict[str, Any]] = {
    "gan": {
        "kind": "gan",
        "generator": {"kind": "mlp", "width": 16},
        "critic": {"kind": "mlp", "width": 16},
        "latent": 8,
    },
    "small": {
        "kind": "gan",
        "generator": {"kind": "mlp", "width": 8},
        "critic": {"kind": "mlp", "width": 8},
        "latent": 2,
    },
    "convolutions": {
        "kind": "gan",
        "generator": {"kind": "convnet", "width": 8},
        "critic": {"kind": "convnet", "width": 8},
    },
    "diffusion": {"kind": "diffusion", "net": {"kind": "unet", "width": 8}, "steps": 6},
    "meanflow": {"kind": "meanflow", "net": {"kind": "mlp", "width": 16}, "steps": 6},
}


def painter(folder: Path, kind: str, classes: tuple[str, ...] = ("a", "b", "c"), size: int = 8) -> Path:
    """A bundle of a tiny model of pictures in `folder`."""
    medium, config = image.Config(size=size, channels=1), ModelConfig.from_tree(PICTURES[kind], "model")
    torch.manual_seed(1)
    model = config.build(medium.build().space, len(classes)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    save_bundle(folder / "bundle", medium, config, list(classes), model.state_dict(), {"name": kind})
    return folder


def talker(folder: Path, kind: str = "gpt", classes: tuple[str, ...] = (), **medium: Any) -> Path:
    saved(folder, kind, classes, **medium)
    return folder


def running(engine: Engine, work: Callable[[Engine], Awaitable[Any]], seconds: float = 120) -> Any:
    """What `work` gives, in a loop of its own with the engine started and closed."""

    async def whole() -> Any:
        await engine.start()
        try:
            return await asyncio.wait_for(work(engine), seconds)
        finally:
            await engine.close(5)

    return asyncio.run(whole())


async def events(engine: Engine, model: str, asked: Asked | Request) -> list[Any]:
    asked = asked if isinstance(asked, Asked) else Asked(request=asked)
    return [event async for event in engine.make(model, asked)]


async def made(engine: Engine, model: str, asked: Asked | Request) -> list[Made]:
    """The samples in their order; each is there once, and what was used comes last."""
    found = await events(engine, model, asked)
    assert isinstance(found[-1], Used) and sum(isinstance(event, Used) for event in found) == 1
    samples = sorted((event for event in found if isinstance(event, Made)), key=lambda one: one.sample)
    request = asked.request if isinstance(asked, Asked) else asked
    assert [one.sample for one in samples] == list(range(request.total))
    return samples


async def texts(engine: Engine, model: str, asked: Asked | Request) -> list[str]:
    return [one.said.text for one in await made(engine, model, asked) if one.said is not None]


def joined(found: list[Any], n: int) -> list[str]:
    """The words of each sample, from their pieces."""
    return ["".join(event.text for event in found if isinstance(event, Words) and event.sample == i) for i in range(n)]


def with_seed(request: Request, seed: int) -> Request:
    return dataclasses.replace(request, seed=seed)
