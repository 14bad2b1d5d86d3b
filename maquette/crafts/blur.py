"""Blurred pictures and films: what a model of deblurring is given."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional as F

from maquette.core.seeds import Seeds
from maquette.core.types import Real
from maquette.crafts.base import FILMS, PICTURES, CraftConfig, Given, Pictures, Samples, blurred, by_frame, kernel

SPREAD = 0.5
"""About the standard deviation of pictures in [-1, 1]."""


@dataclass(frozen=True, kw_only=True)
class Config(CraftConfig):
    """A blur by a normal law, and a little noise, without which it could be undone."""

    suits: ClassVar[tuple[int, ...]] = (PICTURES, FILMS)

    sigma: float = 1.5
    """Of the blur, in pixels."""
    noise: float = 0.02
    """Standard deviation of what is added, in units of samples (black to white is 2)."""

    def __post_init__(self) -> None:
        self.check(0 < self.sigma <= 16, "sigma", "pixels, above 0 and at most 16")
        self.check(0 <= self.noise <= 1, "noise", "a number from 0 to 1")

    def space(self, of: Real) -> Real:
        if min(super().space(of).shape[-2:]) < 6 * self.sigma:
            raise self.impossible(of, f"a blur of {self.sigma:g} pixels leaves nothing of it")
        return of

    def take(self, x: Samples, rng: Seeds) -> Given:
        soft = by_frame(lambda pictures: blurred(pictures, self.sigma), x)
        return (soft + self.noise * rng.normal(*x.shape[1:]).to(x)).clamp(-1, 1)

    def simpler(self, given: Given, of: Real) -> dict[str, Samples]:
        return {"left blurred": given, "Wiener filter": by_frame(self._wiener, given).clamp(-1, 1)}

    def _wiener(self, given: Pictures) -> Pictures:
        """K / (K^2 + noise / signal) at each frequency (Wiener 1949). With its mirror images a picture is periodic, and
        blurring it is a product with K there."""
        h, w = given.shape[2:]
        x = torch.cat([given, given.flip(2)], dim=2)
        x = torch.cat([x, x.flip(3)], dim=3)
        weights = kernel(self.sigma, given)
        line = [F.pad(weights, (0, n - len(weights))).roll(-(len(weights) // 2)) for n in x.shape[2:]]
        response = torch.fft.fft2(line[0][:, None] * line[1][None]).real
        ratio = (max(self.noise, 1 / 255) / SPREAD) ** 2
        return torch.fft.ifft2(torch.fft.fft2(x) * response / (response**2 + ratio)).real[:, :, :h, :w]
