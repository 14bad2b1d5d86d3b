"""Noisy pictures: what a model of denoising is given."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from maquette.core.seeds import Seeds
from maquette.core.types import Real
from maquette.crafts.base import CraftConfig, Given, Pictures

ITERATIONS, STEP = 200, 0.248
"""Of the total variation: how long it is solved for, how fast."""
WEIGHT = 0.5
"""Of the total variation, in levels of noise: of 0.25 to 1.75 the best on small pictures of clothes. The weight that
takes away as much as noise brings (Rudin et al. 1992) is too large where noise beyond black and white is cut off."""


@dataclass(frozen=True, kw_only=True)
class Config(CraftConfig):
    """Normal noise, the same for all values."""

    level: float = 0.4
    """Its standard deviation, in units of samples (black to white is 2); 0.4 is 50 of 255."""

    def __post_init__(self) -> None:
        self.check(0 < self.level <= 4, "level", "a number above 0, at most 4")

    def take(self, x: Pictures, rng: Seeds) -> Given:
        return (x + self.level * rng.normal(*x.shape[1:]).to(x)).clamp(-1, 1)

    def simpler(self, given: Given, of: Real) -> dict[str, Pictures]:
        return {"left noisy": given, "total variation": total_variation(given, self.level)}


def total_variation(noisy: Pictures, level: float) -> Pictures:
    """The picture u of least |u - noisy|^2 / 2 + weight TV(u) (Rudin et al. 1992), by Chambolle's projection (2004,
    equation 9)."""
    weight, dual = WEIGHT * level, noisy.new_zeros(2, *noisy.shape)
    for _ in range(ITERATIONS):
        slope = _gradient(_divergence(dual) - noisy / weight)
        size = slope.square().sum((0, 2), keepdim=True).sqrt()  # of all channels together
        dual = (dual + STEP * slope) / (1 + STEP * size)
    u = noisy - weight * _divergence(dual)
    return u.clamp(-1, 1)


def _gradient(x: Pictures) -> Tensor:
    """Differences to the pixel below and to the right, 0 at the border: [2, b, c, h, w]."""
    down = F.pad(x[:, :, 1:] - x[:, :, :-1], (0, 0, 0, 1))
    return torch.stack([down, F.pad(x[:, :, :, 1:] - x[:, :, :, :-1], (0, 1))])


def _divergence(p: Tensor) -> Pictures:
    """Minus the adjoint of `_gradient`."""
    down, right = p[0, :, :, :-1], p[1, :, :, :, :-1]
    return F.pad(down, (0, 0, 0, 1)) - F.pad(down, (0, 0, 1, 0)) + F.pad(right, (0, 1)) - F.pad(right, (1, 0))
