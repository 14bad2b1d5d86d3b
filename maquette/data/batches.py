"""Rows to batches: which rows, in which order, with which noise, is a pure function of (seed, step).

The rows of a run are one endless sequence: the permutation of epoch 0, that of epoch 1, and so on. Step k takes the
k-th stretch of it, so every row comes once an epoch whatever the batch size, and resuming needs only the step. What is
given with a row is changed as the row is, and what a craft takes of it is taken here, on the device.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from maquette.codecs.base import Codec
from maquette.core import seeds
from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds, mix
from maquette.core.types import Batch, Given
from maquette.data.dataset import Items, Split
from maquette.media.base import Medium

Change = Callable[[torch.Tensor], torch.Tensor]

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
        self.how = dict(augment or {})
        self.first, self.n = rank * (batch // world), batch // world
        self.stream, self.feed = stream, Feed(split, medium, torch.device(device), conditional, codec)
        self._order = _Order(len(split), seed, seeds.DATA)
        self._others = None if split.others is None else _Order(len(split.others), seed, seeds.GIVEN)
        medium.augment(torch.zeros(1, *medium.space.shape), self.how, torch.zeros(1, UNIFORMS))  # refuses mistakes now

    @property
    def steps_per_epoch(self) -> int:
        """Steps after which every row has come at least once."""
        return math.ceil(len(self.split) / self.batch)

    def __call__(self, step: int) -> Batch:
        """This rank's rows of the batch of `step` (0, 1, …)."""
        return self._of(self.rows(step), step)

    def some(self, n: int) -> Batch:
        """The first `n` rows, or as many as there are: for a look before the first step."""
        return self._of(np.arange(min(n, self.n, len(self.split))), 0)

    def rows(self, step: int) -> np.ndarray:
        """Which rows of the split this rank takes in `step`: int64 [batch / world]."""
        return self._order(step * self.batch + self.first, self.n)

    def _of(self, rows: np.ndarray, step: int) -> Batch:
        others = None
        if self._others is not None:
            others = self._others(step * self.batch + self.first, len(rows))
        rng, taken = self._seeds(rows, step, self.stream), self._seeds(rows, step, seeds.GIVEN)
        if not self.how:
            return self.feed(rows, rng, taken, others)
        uniform = self._seeds(rows, step, seeds.AUGMENT).uniform(UNIFORMS)
        return self.feed(rows, rng, taken, others, lambda x: self.medium.augment(x, self.how, uniform))

    def _seeds(self, rows: np.ndarray, step: int, stream: int) -> Seeds:
        return Seeds.for_batch(self.seed, step, len(rows), self.first, self.batch, stream, self.feed.device)


class PoissonBatches(Batches):
    """Each row is in the batch of a step with probability batch / rows, whatever else is in it: what an accountant of
    privacy takes for granted. A batch has any number of rows, none among them; what is random about a row depends on
    that row and the step alone. One process; `seed` should be one that nobody can guess.
    """

    @property
    def rate(self) -> float:
        """The probability of a row to be in a batch."""
        return self.batch / len(self.split)

    def rows(self, step: int) -> np.ndarray:
        return np.flatnonzero(seeds.generator(self.seed, seeds.DATA, step).random(len(self.split)) < self.rate)

    def _seeds(self, rows: np.ndarray, step: int, stream: int) -> Seeds:
        return Seeds.for_seeds([mix(self.seed, stream, step, row) for row in rows.tolist()], self.feed.device)


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


@dataclass(frozen=True)
class Feed:
    """Rows of a split as a model receives them, with what is given with each.

    Attributes:
        conditional: whether labels are given along.
        codec: what samples become before a model sees them, on `device`; none changes nothing.
    """

    split: Split
    medium: Medium
    device: torch.device
    conditional: bool = False
    codec: Codec | None = None

    def __call__(
        self, rows: np.ndarray, rng: Seeds, taken: Seeds, others: np.ndarray | None = None, change: Change | None = None
    ) -> Batch:
        """The batch of these rows.

        Args:
            rng: the batch's own randomness.
            taken: that of what a craft takes.
            others: rows of `split.others`.
            change: what is done to every picture once it is read.
        """
        codes = self._codes(rows) if change is None else None
        x = None
        if codes is None or self.split.craft is not None:  # what is taken is taken of the picture, never of its code
            x = self._tensors(self.split.items, rows, change)
        given = Given(
            label=torch.from_numpy(self.split.labels[rows]).to(self.device) if self.conditional else None,
            image=self._image(x, rows, taken, others, change),
            text=None if self.split.texts is None else torch.from_numpy(self.split.texts[rows]).to(self.device),
        )
        return Batch(self._encoded(x) if codes is None else codes, given, rng)

    def _image(
        self,
        x: torch.Tensor | None,
        rows: np.ndarray,
        taken: Seeds,
        others: np.ndarray | None,
        change: Change | None,
    ) -> torch.Tensor | None:
        """The picture that is given with each sample of `x`."""
        split = self.split
        if split.craft is not None:
            assert x is not None, "a craft has a picture to take from"
            return split.craft.take(x, taken)
        if split.images is not None:
            return self._tensors(split.images, rows, change)
        if split.others is not None and others is not None:
            return self._tensors(split.others, others, change)
        return None

    def _codes(self, rows: np.ndarray) -> torch.Tensor | None:
        """The codes of these rows, where they were computed once."""
        if self.split.codes is None or self.codec is None:
            return None
        codes = torch.from_numpy(self.split.codes[rows]).to(self.device, non_blocking=True)
        return codes if codes.is_floating_point() else codes.long()

    def _tensors(self, items: Items, rows: np.ndarray, change: Change | None) -> torch.Tensor:
        chosen = torch.from_numpy(items[rows]).to(self.device, non_blocking=True)  # bytes: a quarter of the samples
        x = self.medium.to_tensor(chosen)
        return x if change is None else change(x)

    @torch.no_grad()
    def _encoded(self, x: torch.Tensor | None) -> torch.Tensor:
        assert x is not None, "without codes there are pictures"
        return x if self.codec is None else self.codec.encode(x)


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
    chosen = shuffled(len(split), seed)[:limit]
    feed = Feed(split, medium, torch.device(device), conditional, codec)
    given = None if split.others is None else np.resize(shuffled(len(split.others), seed), len(chosen))
    for step, start in enumerate(range(0, len(chosen), batch)):
        rows = chosen[start : start + batch]
        others = None if given is None else given[start : start + batch]
        rng, taken = (
            Seeds.for_batch(seed, step, len(rows), stream=stream, device=device)
            for stream in (seeds.VALIDATE, seeds.GIVEN)
        )
        yield feed(rows, rng, taken, others)


def shuffled(n: int, seed: int) -> np.ndarray:
    """The numbers below `n` in the order in which held-out rows are looked at."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(mix(seed, seeds.VALIDATE))).numpy()
