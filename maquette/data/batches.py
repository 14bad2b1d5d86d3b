"""Rows to batches: which rows, in which order, with which noise, is a pure function of (seed, step).

The rows of a run are one endless sequence: the permutation of epoch 0, that of epoch 1, and so on. Step k takes the
k-th stretch of it, so every row comes once an epoch whatever the batch size, and resuming needs only the step.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from maquette.codecs.base import Codec
from maquette.core import seeds
from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds, mix
from maquette.core.types import Batch, Given
from maquette.data.dataset import Split
from maquette.media.base import Medium

UNIFORMS = 8
"""Random numbers that a medium's `augment` is given for each row."""


class Batches:
    """`batches(step)` is the batch of that step, whatever was asked for before.

    Args:
        split: what to learn from.
        medium: that its items belong to.
        batch: samples per step over all ranks.
        seed: of order, augmentation and the batches' own noise.
        conditional: whether labels are given along.
        augment: what the recipe declares; the medium refuses what it does not know.
        rank: which share of each batch is ours: of `world` equal ones in a row. Together they are the whole batch.
        device: where batches are put.
        stream: of the batches' noise.
        codec: what samples become before a model sees them, on `device`; none changes nothing.

    Raises:
        MaquetteError: MQ-3002 for an empty split, MQ-2009 when `world` does not divide `batch`, and for `augment`.
    """

    def __init__(
        self,
        split: Split,
        medium: Medium,
        batch: int,
        seed: int,
        conditional: bool = False,
        augment: Mapping[str, Any] | None = None,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
        stream: int = seeds.TRAIN,
        codec: Codec | None = None,
    ):
        if len(split) == 0:
            raise MaquetteError(
                "MQ-3002", what="sample to learn from", todo="give data with at least one readable file"
            )
        if batch % world:
            reason, todo = f"{world} processes cannot share it equally", f"choose a multiple of {world}"
            raise MaquetteError("MQ-2009", path="train.batch", value=batch, reason=reason, todo=todo)
        self.split, self.medium, self.batch, self.seed = split, medium, batch, seed
        self.conditional, self.how = conditional, dict(augment or {})
        self.first, self.n = rank * (batch // world), batch // world
        self.device, self.stream, self.codec = torch.device(device), stream, codec
        self._orders: dict[int, np.ndarray] = {}
        medium.augment(torch.zeros(1, *medium.space.shape), self.how, torch.zeros(1, UNIFORMS))  # refuses mistakes now

    @property
    def steps_per_epoch(self) -> int:
        """Steps after which every row has come at least once."""
        return math.ceil(len(self.split) / self.batch)

    def __call__(self, step: int) -> Batch:
        """This rank's rows of the batch of `step` (0, 1, …)."""
        rows = self.rows(step)
        if self.how:
            x = _items(self.split, rows, self.medium, self.device)
            noise = Seeds.for_batch(self.seed, step, self.n, self.first, self.batch, seeds.AUGMENT, self.device)
            x = _encoded(self.medium.augment(x, self.how, noise.uniform(UNIFORMS)), self.codec)
        else:
            x = _samples(self.split, rows, self.medium, self.device, self.codec)
        rng = Seeds.for_batch(self.seed, step, self.n, self.first, self.batch, self.stream, self.device)
        return Batch(x, _given(self.split, rows, self.conditional, self.device), rng)

    def rows(self, step: int) -> np.ndarray:
        """Which rows of the split this rank takes in `step`: int64 [batch / world]."""
        total, here = len(self.split), step * self.batch + self.first
        parts = []
        while (missing := self.n - sum(map(len, parts))) > 0:
            epoch, at = divmod(here, total)
            parts.append(self._order(epoch)[at : at + missing])
            here += len(parts[-1])
        return np.concatenate(parts)

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            if len(self._orders) > 1:  # a step needs two at most, while it crosses from one epoch to the next
                del self._orders[min(self._orders)]
            generator = torch.Generator().manual_seed(mix(self.seed, seeds.DATA, epoch))
            self._orders[epoch] = torch.randperm(len(self.split), generator=generator).numpy()
        return self._orders[epoch]


def held_out(
    split: Split,
    medium: Medium,
    batch: int,
    limit: int,
    seed: int,
    device: torch.device | str = "cpu",
    conditional: bool = False,
    codec: Codec | None = None,
) -> Iterator[Batch]:
    """At most `limit` rows of `split` in batches of at most `batch`: the same rows with the same noise every time."""
    generator = torch.Generator().manual_seed(mix(seed, seeds.VALIDATE))
    chosen = torch.randperm(len(split), generator=generator).numpy()[:limit]
    for step, start in enumerate(range(0, len(chosen), batch)):
        rows = chosen[start : start + batch]
        rng = Seeds.for_batch(seed, step, len(rows), stream=seeds.VALIDATE, device=device)
        yield Batch(_samples(split, rows, medium, device, codec), _given(split, rows, conditional, device), rng)


def _samples(
    split: Split, rows: np.ndarray, medium: Medium, device: torch.device | str, codec: Codec | None
) -> torch.Tensor:
    """What a model sees of these rows: codes that are at hand, or else what becomes of the items."""
    if split.codes is None or codec is None:
        return _encoded(_items(split, rows, medium, device), codec)
    codes = torch.from_numpy(split.codes[rows]).to(device, non_blocking=True)
    return codes if codes.is_floating_point() else codes.long()


def _items(split: Split, rows: np.ndarray, medium: Medium, device: torch.device | str) -> torch.Tensor:
    items = torch.from_numpy(split.items[rows])
    return medium.to_tensor(items.to(device, non_blocking=True))  # items are bytes: a quarter of what samples weigh


@torch.no_grad()
def _encoded(x: torch.Tensor, codec: Codec | None) -> torch.Tensor:
    return x if codec is None else codec.encode(x)


def _given(split: Split, rows: np.ndarray, conditional: bool, device: torch.device | str) -> Given:
    return Given(label=torch.from_numpy(split.labels[rows]).to(device)) if conditional else Given()
