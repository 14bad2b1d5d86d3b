"""Modes found and samples of quality, on sets in the plane whose modes are known (Srivastava et al. 2017: VEEGAN).

A sample is of high quality when it lies within 4 sigma of its nearest mode. A mode is found when at least 20 of 4,000
samples (that share of any other number, and at least one) are of high quality there.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from maquette.evaluate.scores.intervals import Estimate, of_mean

PER_SAMPLE = "95 %, Student's t over made samples"
WITHIN = 4.0
SHARE = 20 / 4000


@dataclass(frozen=True)
class Modes:
    """`found` of `total` modes, and the share of samples of high quality."""

    found: int
    total: int
    quality: Estimate


def modes_found(points: Float[Tensor, "n d"], centres: Float[Tensor, "k d"], sigma: float) -> Modes:
    """Count the modes at `centres` (spread `sigma`, same units as the points) that `points` found."""
    distance, nearest = torch.cdist(points.double(), centres.double()).min(1)
    good = distance <= WITHIN * sigma
    hits = torch.bincount(nearest[good], minlength=len(centres))
    needed = max(1, round(SHARE * len(points)))
    return Modes(int((hits >= needed).sum()), len(centres), of_mean(good.double().tolist(), PER_SAMPLE))
