"""Edges of pictures, in films of each frame: what a model that draws from sketches is given (Isola et al. 2017, edges
to photos).

Canny (1986) without hysteresis: a blur, Sobel's slopes, and of each ridge of slopes its crest where it is steep enough.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from maquette.core.seeds import Seeds
from maquette.core.types import Real
from maquette.crafts.base import FILMS, PICTURES, CraftConfig, Given, Pictures, Samples, blurred, by_frame, grey

AHEAD = ((0, 1), (1, 1), (1, 0), (1, -1))
"""The neighbour (down, right) that lies in each of four directions."""


@dataclass(frozen=True, kw_only=True)
class Config(CraftConfig):
    """Lines (1) on nothing (-1)."""

    suits: ClassVar[tuple[int, ...]] = (PICTURES, FILMS)

    sigma: float = 0.7
    """Of the blur before, in pixels: more of it keeps the large edges alone."""
    threshold: float = 0.15
    """The least slope of an edge; from black to white in one pixel, unblurred, it is 1."""

    def __post_init__(self) -> None:
        self.check(0 < self.sigma <= 16, "sigma", "pixels, above 0 and at most 16")
        self.check(0 < self.threshold < 1, "threshold", "between 0 and 1")

    def space(self, of: Real) -> Real:
        return replace(of, shape=(1, *super().space(of).shape[1:]), levels=2)

    def take(self, x: Samples, rng: Seeds) -> Given:
        return by_frame(self._lines, x)

    def _lines(self, x: Pictures) -> Float[Tensor, "b 1 h w"]:
        h, w = x.shape[2:]
        padded = F.pad(blurred(grey(x), self.sigma), (1, 1, 1, 1), mode="replicate")
        sobel = x.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
        right, down = F.conv2d(padded, torch.stack([sobel, sobel.T])[:, None]).split(1, dim=1)
        slope = torch.hypot(right, down)
        direction = (torch.atan2(down, right) / (math.pi / 4)).round().long() % 4
        around, crest = F.pad(slope, (1, 1, 1, 1)), torch.zeros_like(slope, dtype=torch.bool)
        for number, (dy, dx) in enumerate(AHEAD):
            ahead = around[:, :, 1 + dy : 1 + dy + h, 1 + dx : 1 + dx + w]
            behind = around[:, :, 1 - dy : 1 - dy + h, 1 - dx : 1 - dx + w]
            # of two equal ones the latter: an edge between two pixels has one line, not two
            crest |= (direction == number) & (slope > ahead) & (slope >= behind)
        return torch.where(crest & (slope > self.threshold), 1.0, -1.0)
