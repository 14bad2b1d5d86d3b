"""A model of two players, data and recipes small enough that a training run takes a moment."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Real, Sampling, Space, Stats, Turn
from maquette.data.dataset import Dataset, Split
from maquette.data.source import Data
from maquette.media import points
from maquette.models.base import Model, ModelConfig
from maquette.train.distributed import Ranks
from maquette.train.learner import Learner
from maquette.train.recipe import Recipe, Training


class Duel(Model):
    """`left` fits a line through the data, `right` predicts left's error; `frozen` belongs to nobody."""

    accepts = (Real,)

    def __init__(self, config: "Config", space: Space) -> None:
        super().__init__()
        self.config, self.space, self.classes = config, space, 0
        self.left = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.Linear(8, 2))
        self.right = nn.Linear(2, 1)
        self.frozen = nn.Linear(2, 2)
        self.frozen.weight.requires_grad_(False)  # its bias is trainable, and belongs to nobody all the same
        self.poison: str | None = None
        self.seen: list[Any] = []

    def players(self) -> dict[str, nn.Module]:
        return {"left": self.left, "right": self.right}

    def turns(self) -> list[Turn]:
        return [Turn("left", self.fit), Turn("left", self.shrink, every=3), Turn("right", self.judge)]

    def fit(self, batch: Batch, progress: float) -> tuple[Tensor, Stats]:
        self.seen.append(("fit", progress, {n for n, p in self.named_parameters() if p.requires_grad}))
        error = (self.left(batch.x + 0.1 * batch.rng.normal(2)) - self.frozen(batch.x)).square().mean()
        if self.poison == "loss":
            error = error * torch.nan
        if self.poison == "gradient":
            error = error + (self.left[3].bias[0] * 0).sqrt()
        return error, {"size": batch.x.norm()}

    def shrink(self, batch: Batch, progress: float) -> tuple[Tensor, Stats]:
        return 1e-3 * sum(p.square().sum() for p in self.left.parameters()), {}  # type: ignore[return-value]

    def judge(self, batch: Batch, progress: float) -> tuple[Tensor, Stats]:
        return (self.right(batch.x)[:, 0] - self.left(batch.x).norm(dim=1)).square().mean(), {}

    def predictor(self, condition: Any) -> Any:
        return self.left

    def start(self, n: int, how: Sampling, rng: Seeds) -> Tensor:
        return rng.normal(2)

    def draw(self, predict: Any, start: Tensor, how: Sampling, rng: Seeds) -> Tensor:
        return predict(start)


@dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    def build(self, space: Space, classes: int = 0) -> Duel:
        return Duel(self, space)


MEDIUM = points.Config()


def dataset(n: int = 96) -> Dataset:
    items = np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32)
    labels = np.full(n, -1)
    cut = n * 2 // 3
    return Dataset(
        train=Split(items[:cut], labels[:cut]),
        test=Split(items[cut:], labels[cut:]),
        classes=[],
        fingerprint="0" * 64,
        licence="made here",
        bad=[],
        ignored={},
    )


def recipe(**train: Any) -> Recipe:
    return Recipe(
        data=Data(source="nowhere"),
        medium=MEDIUM,
        model=Config(),
        train=Training.from_tree({"budget": "12steps", "batch": 16} | train),
    )


def learner(**train: Any) -> Learner:
    return Learner(recipe(**train), dataset(), MEDIUM.build(), Ranks(), torch.device("cpu"))


RING: dict[str, Any] = {
    "data": {"source": "ring8"},
    "medium": "points",
    "model": {"kind": "vae", "encoder": {"kind": "mlp", "width": 16, "depth": 1},
              "decoder": {"kind": "mlp", "width": 16, "depth": 1}, "likelihood": "gaussian", "latent": 2},
}  # fmt: skip


def ring(**train: Any) -> Recipe:
    """A recipe that the strict reader reads back, for what goes through a run's folder."""
    return Recipe.from_tree(
        RING | {"train": {"budget": "12steps", "batch": 16, "samples": 8, "sample_every": 0.5} | train}
    )
