"""Which training items made samples come nearest to: to see that they are new, and to count those that are not.

A sample counts as a near copy when its nearest training item is nearer than that of 99 % of unseen real items, so that
one in a hundred is expected of a model that has learnt and not memorised (compare Meehan et al. 2020). Distances are
between pixels: features of a classifier would call every good sample of a class a copy. The pixels of sound are those
of its log-mel spectrogram. Where a codec stands between model and pixels, they are between what it leaves of all.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from maquette.core import cancel, spectra
from maquette.data.dataset import Items
from maquette.evaluate.scores.intervals import Estimate, of_mean
from maquette.evaluate.scores.prdc import squared_distances
from maquette.media.base import Medium
from maquette.nets import dims

SIDES = {2: (1024,), 3: (32, 32), 4: (16, 16, 16)}
"""By the number of axes: what is larger is averaged down to at most this before pixels are compared."""
BLOCK, TOGETHER = 2048, 256
MOST = 50_000
"""At most so many training items are searched."""
EXPECTED = 0.01
ENOUGH = 200
"""Fewer unseen items cannot say where their first hundredth lies."""


Kept = Callable[[np.ndarray], np.ndarray]
"""Stored items -> what is left of them."""


def as_they_are(items: np.ndarray) -> np.ndarray:
    """Nothing is lost."""
    return items


@dataclass(frozen=True)
class Nearest:
    """For each query its k nearest: rows of the searched set and squared distances, nearest first."""

    rows: Int[Tensor, "n k"]
    distances: Float[Tensor, "n k"]


def nearest(queries: Float[Tensor, "n d"], blocks: Iterator[Float[Tensor, "m d"]], k: int = 1) -> Nearest:
    """The k nearest of each query among the rows of all `blocks`, one after the other."""
    rows = torch.zeros(len(queries), 0, dtype=torch.int64)
    best = queries.new_zeros(len(queries), 0)
    lengths, first = queries.square().sum(1), 0
    for block in blocks:
        table = squared_distances(queries, block, lengths, block.square().sum(1)).clamp_min(0)
        best, columns = torch.cat([best, table], 1).topk(min(k, best.shape[1] + len(block)), largest=False)
        known = torch.cat([rows, torch.arange(first, first + len(block)).expand(len(queries), -1)], 1)
        rows, first = known.gather(1, columns), first + len(block)
    return Nearest(rows, best)


def resize(medium: Medium) -> str:
    """What is done to items before they are compared, for stamps."""
    heard = _is_heard(medium)
    sides = "x".join(map(str, SIDES[3 if heard else len(medium.space.shape)]))
    return f"{'log-mel, ' if heard else ''}averaged down to at most {sides}"


def _is_heard(medium: Medium) -> bool:
    return len(medium.space.shape) == 2 and medium.rate > 0


def pixels(items: np.ndarray, medium: Medium) -> Float[Tensor, "n d"]:
    """Stored items as vectors, averaged down to `SIDES`."""
    parts = np.split(np.asarray(items), range(TOGETHER, len(items), TOGETHER))
    return torch.cat([_pixels(medium.to_tensor(part), medium) for part in parts])


def _pixels(x: Float[Tensor, "n *space"] | Int[Tensor, "n *space"], medium: Medium) -> Float[Tensor, "n d"]:
    if _is_heard(medium):
        x = spectra.log_mel(x, spectra.bank(medium.rate))
    factors = [-(-side // most) for side, most in zip(x.shape[2:], SIDES.get(x.ndim - 1, ()), strict=False)]
    if max(factors, default=1) > 1:
        x = dims.pooled(x, tuple(factors), ceil=True)
    return x.flatten(1)


def pixel_blocks(items: Items, medium: Medium, kept: Kept = as_they_are) -> Iterator[Float[Tensor, "m d"]]:
    """The same of many items, a block at a time, or of what is `kept` of them."""
    for start in range(0, min(len(items), MOST), BLOCK):
        cancel.check()
        yield pixels(kept(items[start : start + BLOCK]), medium)


def near_copies(
    made: np.ndarray, train: Items, unseen: np.ndarray, medium: Medium, kept: Kept = as_they_are
) -> Estimate:
    """Share of `made` items that are near copies of `train` items, where `unseen` real ones set the measure.

    Args:
        kept: what a codec leaves of real items, where a model stands behind one. Made items have lost as much: next to
            real ones as they were, all of them would seem smooth, and none a copy.
    """
    both = torch.cat([pixels(made, medium), pixels(kept(unseen), medium)])
    distances = nearest(both, pixel_blocks(train, medium, kept)).distances[:, 0]
    threshold = distances[len(made) :].quantile(EXPECTED)
    return of_mean(
        (distances[: len(made)] < threshold).double().tolist(), "95 %, Student's t over made samples"
    ).as_share()
