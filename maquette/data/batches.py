"""Rows to batches: which rows, in which order, with which noise, is a pure function of (seed, step).

The rows of a run are one endless sequence: the permutation of epoch 0, that of epoch 1, and so on. Step k takes the
k-th stretch of it, so every row comes once an epoch whatever the batch size, and resuming needs only the step. What is
given with a row is changed as the row is, and what a craft takes of it is taken here, on the device.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

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
        self.device, self.stream = torch.device(device), stream
        self._order = _Order(len(split), seed, seeds.DATA)
        self._others = None if split.others is None else _Order(len(split.others), seed, seeds.GIVEN)
        medium.augment(torch.zeros(1, *medium.space.shape), self.how, torch.zeros(1, UNIFORMS))  # refuses mistakes now

    @property
    def steps_per_epoch(self) -> int:
        """Steps after which every row has come at least once."""
        return math.ceil(len(self.split) / self.batch)

    def __call__(self, step: int) -> Batch:
        """This rank's rows of the batch of `step` (0, 1, …)."""
        rows, others = self.rows(step), None
        if self._others is not None:
            others = self._others(step * self.batch + self.first, self.n)
        noise = self._seeds(step, seeds.AUGMENT)
        uniform = noise.uniform(UNIFORMS) if self.how else None

        def change(x: torch.Tensor) -> torch.Tensor:
            return x if uniform is None else self.medium.augment(x, self.how, uniform)

        x = change(_tensors(self.split.items, rows, self.medium, self.device))
        rng, taken = self._seeds(step, self.stream), self._seeds(step, seeds.GIVEN)
        given = given_with(self.split, rows, others, x, self.medium, self.conditional, taken, change)
        return Batch(x, given, rng)

    def rows(self, step: int) -> np.ndarray:
        """Which rows of the split this rank takes in `step`: int64 [batch / world]."""
        return self._order(step * self.batch + self.first, self.n)

    def _seeds(self, step: int, stream: int) -> Seeds:
        return Seeds.for_batch(self.seed, step, self.n, self.first, self.batch, stream, self.device)


class _Order:
    """An endless sequence of row numbers: one permutation of `total` after the other."""

    def __init__(self, total: int, seed: int, stream: int):
        self.total, self.seed, self.stream = total, seed, stream
        self._epochs: dict[int, np.ndarray] = {}

    def __call__(self, here: int, n: int) -> np.ndarray:
        """`n` of them from place `here` on: int64 [n]."""
        parts: list[np.ndarray] = []
        while (missing := n - sum(map(len, parts))) > 0:
            epoch, at = divmod(here, self.total)
            parts.append(self._epoch(epoch)[at : at + missing])
            here += len(parts[-1])
        return np.concatenate(parts)

    def _epoch(self, epoch: int) -> np.ndarray:
        if epoch not in self._epochs:
            if len(self._epochs) > 1:  # a step needs two at most, while it crosses from one epoch to the next
                del self._epochs[min(self._epochs)]
            generator = torch.Generator().manual_seed(mix(self.seed, self.stream, epoch))
            self._epochs[epoch] = torch.randperm(self.total, generator=generator).numpy()
        return self._epochs[epoch]


def held_out(
    split: Split,
    medium: Medium,
    batch: int,
    limit: int,
    seed: int,
    device: torch.device | str = "cpu",
    conditional: bool = False,
) -> Iterator[Batch]:
    """At most `limit` rows of `split` in batches of at most `batch`: the same rows with the same noise every time."""
    chosen = shuffled(len(split), seed)[:limit]
    given = None if split.others is None else np.resize(shuffled(len(split.others), seed), len(chosen))
    for step, start in enumerate(range(0, len(chosen), batch)):
        rows = chosen[start : start + batch]
        others = None if given is None else given[start : start + batch]
        x = _tensors(split.items, rows, medium, device)
        rng, taken = (
            Seeds.for_batch(seed, step, len(rows), stream=stream, device=device)
            for stream in (seeds.VALIDATE, seeds.GIVEN)
        )
        yield Batch(x, given_with(split, rows, others, x, medium, conditional, taken), rng)


def shuffled(n: int, seed: int) -> np.ndarray:
    """The numbers below `n` in the order in which held-out rows are looked at."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(mix(seed, seeds.VALIDATE))).numpy()


def _tensors(items: np.ndarray, rows: np.ndarray, medium: Medium, device: torch.device | str) -> torch.Tensor:
    chosen = torch.from_numpy(items[rows])
    return medium.to_tensor(chosen.to(device, non_blocking=True))  # items are bytes: a quarter of what samples weigh


def given_with(
    split: Split,
    rows: np.ndarray,
    others: np.ndarray | None,
    x: torch.Tensor,
    medium: Medium,
    conditional: bool,
    taken: Seeds,
    change: Callable[[torch.Tensor], torch.Tensor] = lambda x: x,
) -> Given:
    """What goes with the samples `x`, which are `rows` of the split.

    Args:
        others: rows of `split.others`.
        taken: randomness of what a craft takes.
        change: what was done to `x` after it was read.
    """

    def picture() -> torch.Tensor | None:
        if split.craft is not None:
            return split.craft.take(x, taken)
        if split.images is not None:
            return change(_tensors(split.images, rows, medium, x.device))
        if split.others is not None and others is not None:
            return change(_tensors(split.others, others, medium, x.device))
        return None

    return Given(
        label=torch.from_numpy(split.labels[rows]).to(x.device) if conditional else None,
        image=picture(),
        text=None if split.texts is None else torch.from_numpy(split.texts[rows]).to(x.device),
    )
