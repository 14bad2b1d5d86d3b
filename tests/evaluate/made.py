"""Small real data and pipelines whose samples are known, for the tests of this folder."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from maquette.bundle import Bundle
from maquette.data.dataset import Dataset, Split
from maquette.data.source import Data, open_data
from maquette.evaluate import vggish
from maquette.evaluate.importer import Standard, convert
from maquette.media import audio, image, points, video
from maquette.media.base import MediumConfig
from maquette.models.base import ModelConfig
from maquette.pipeline import Pipeline, Request

CPU = torch.device("cpu")
SMALL = image.Config(size=8)
PLANE = points.Config()


@cache
def digits() -> Dataset:
    return open_data(Data(source="digits"), SMALL.build())


@cache
def ring() -> Dataset:
    return open_data(Data(source="ring8"), PLANE.build())


def pipeline(medium: MediumConfig, config: ModelConfig, classes: tuple[str, ...] = (), **card) -> Pipeline:
    """An untrained model as a pipeline."""
    torch.manual_seed(0)
    model = config.build(medium.build().space, len(classes))
    return Pipeline(Bundle(medium, config, list(classes), model.state_dict(), card, "ab" * 32), CPU)


class Known(Pipeline):
    """A pipeline whose samples are what `answer(request)` says, as if its model had learnt just that."""

    answer: Callable[[Request], np.ndarray]

    def generate(self, request: Request) -> np.ndarray:
        return self.answer(request)


def known(like: Pipeline, answer: Callable[[Request], np.ndarray], **card) -> Known:
    what = (like.medium_config, like.model.config, list(like.classes), like.model.state_dict(), card, "cd" * 32)
    made = Known(Bundle(*what, along=like.along), CPU)
    made.answer = answer
    return made


# -- sound and films --------------------------------------------------------------------------------------------------

SOUND = audio.Config(rate=4000, samples=512)
FILMS = video.Config(size=12, frames=8, rate=4)
PITCHES = (220.0, 330.0, 440.0, 660.0)
NOTES = [f"{timbre} {pitch:.0f}" for timbre in ("soft", "bright") for pitch in PITCHES]
WAYS = ["right", "left", "down", "up"]


def _split(make: Callable[[int, np.random.Generator], np.ndarray], classes: int, n: int, seed: int) -> Split:
    labels, draw = np.arange(n) % classes, np.random.default_rng(seed)
    return Split(np.stack([make(int(label), draw) for label in labels]), labels)


def _dataset(make: Callable[[int, np.random.Generator], np.ndarray], classes: list[str], print_: str) -> Dataset:
    return Dataset(
        train=_split(make, len(classes), 400, 0),
        test=_split(make, len(classes), 240, 1),
        classes=classes,
        fingerprint=print_,
        licence="CC0",
        bad=[],
        ignored={},
    )


@cache
def notes() -> Dataset:
    """Tones of four pitches and two timbres, a little noise with them."""

    def make(label: int, draw: np.random.Generator) -> np.ndarray:
        bright, pitch = divmod(label, 4)
        turn = 2 * np.pi * PITCHES[pitch] * np.arange(512) / 4000 + draw.uniform(0, 7)
        wave = sum(np.sin(k * turn) / k for k in range(1, 4)) / 2 if bright else np.sin(turn)
        wave = draw.uniform(0.2, 0.5) * wave + 0.005 * draw.normal(size=512)
        return (32767 * wave).astype(np.int16)[:, None]

    return _dataset(make, NOTES, "no" * 32)


@cache
def films() -> Dataset:
    """A spot that wanders right, left, down or up and comes in again on the other side: only time tells which."""

    def make(label: int, draw: np.random.Generator) -> np.ndarray:
        y, x = np.mgrid[:12, :12]
        first, step = draw.uniform(0, 12, 2), [(0, 1), (0, -1), (1, 0), (-1, 0)][label]
        frames = []
        for t in range(8):
            apart = [(place - f - t * s + 6) % 12 - 6 for place, f, s in zip((y, x), first, step, strict=True)]
            frames.append(np.exp(-(apart[0] ** 2 + apart[1] ** 2) / 4))
        noise = draw.normal(0, 2, (8, 12, 12))
        return (40 + 200 * np.stack(frames) + noise).clip(0, 255).astype(np.uint8)[..., None]

    return _dataset(make, WAYS, "fi" * 32)


# -- standard networks, whose weights are nobody's here to give -------------------------------------------------------


class Ear(nn.Module):
    """In place of VGGish: a few sums of a piece of log-mel spectra."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(vggish.BANDS, 3, generator=torch.Generator().manual_seed(0)))

    def forward(self, pieces: Tensor) -> Tensor:
        return pieces.mean(1) @ self.weight


class Eye(nn.Module):
    """In place of Inception: mean and spread of a picture, and logits that nobody wants."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        assert x.ndim == 4, "pictures"
        return torch.stack([x.mean((1, 2, 3)), x.std((1, 2, 3))], 1) * self.weight, x


def stand_in(build: type[nn.Module], folder: Path, name: str) -> Standard:
    """A network and its converted weights in a folder."""
    source = folder / f"{name}.safetensors"
    save_file(build().state_dict(), source)
    network = Standard(build, f"{name}.pth", f"{name}-kept.safetensors", f"MAQUETTE_TEST_{name.upper()}")
    convert(network, source, folder / network.file)
    return network
