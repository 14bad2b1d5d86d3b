"""Noisy pictures: what a model of denoising is given."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from maquette.core.seeds import Seeds
from maquette.core.types import Real
from maquette.crafts.base import CraftConfig, Given, Pictures

ROUNDS, ITERATIONS, STEP = 5, 40, 0.248
"""Of the total variation: how often its weight is set anew, how long it is solved for each time, how fast."""


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
    """The picture u of least total variation that is as far from `noisy` as noise of `level` is (Rudin et al. 1992), by
    Chambolle's projection (2004, equation 9), its weight found as in his section 4."""
    weight = torch.full((len(noisy), 1, 1, 1), level, dtype=noisy.dtype, device=noisy.device)
    dual = noisy.new_zeros(2, *noisy.shape)
    u = noisy
    for _ in range(ROUNDS):
        for _ in range(ITERATIONS):
            slope = _gradient(_divergence(dual) - noisy / weight)
            size = slope.square().sum((0, 2), keepdim=True).sqrt()  # of all channels together
            dual = (dual + STEP * slope) / (1 + STEP * size)
        u = noisy - weight * _divergence(dual)
        found = (u - noisy).square().mean((1, 2, 3), keepdim=True).sqrt()
        weight = weight * level / found.clamp(min=1e-6)
    return u.clamp(-1, 1)


def _gradient(x: Pictures) -> Tensor:
    """Differences to the pixel below and to the right, 0 at the border: [2, b, c, h, w]."""
    down = F.pad(x[:, :, 1:] - x[:, :, :-1], (0, 0, 0, 1))
    return torch.stack([down, F.pad(x[:, :, :, 1:] - x[:, :, :, :-1], (0, 1))])


def _divergence(p: Tensor) -> Pictures:
    """Minus the adjoint of `_gradient`."""
    down, right = p[0, :, :, :-1], p[1, :, :, :, :-1]
    return F.pad(down, (0, 0, 0, 1)) - F.pad(down, (0, 0, 1, 0)) + F.pad(right, (0, 1)) - F.pad(right, (1, 0))
