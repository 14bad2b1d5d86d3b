"""Pictures and films averaged down, sound at a lower rate: what a model of super-resolution (Dong et al. 2014) or of
bandwidth extension (Kuleshov et al. 2017) is given. Sound is given at its own rate again, without new frequencies."""

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from maquette.core.seeds import Seeds
from maquette.core.types import Real
from maquette.crafts.base import FILMS, PICTURES, SOUND, CraftConfig, Given, Samples, by_frame

CROSSINGS, BETA = 10, 5.0
"""Of the windowed sinc that decides what a lower rate can hold: its zeros on each side, and Kaiser's window."""


@dataclass(frozen=True, kw_only=True)
class Config(CraftConfig):
    """The mean of each block of pixels, in each frame of a film; of sound the frequencies that each so many-th sample
    can hold. A person brings it small, or at the lower rate."""

    suits: ClassVar[tuple[int, ...]] = (SOUND, PICTURES, FILMS)

    factor: int = 4
    """How many times smaller on each side, or how many times lower in rate."""

    def __post_init__(self) -> None:
        self.check(2 <= self.factor <= 32, "factor", "a whole number from 2 to 32")

    def space(self, of: Real) -> Real:
        small = self.brought(of)
        return of if len(of.shape) == SOUND else small

    def brought(self, of: Real) -> Real:
        shape = super().space(of).shape
        first = 2 if len(shape) == FILMS else 1
        if any(side % self.factor for side in shape[first:]):
            raise self.impossible(of, f"its sides are no multiples of {self.factor}")
        return replace(of, shape=(*shape[:first], *(side // self.factor for side in shape[first:])))

    def take(self, x: Samples, rng: Seeds) -> Given:
        if x.ndim == 3:
            return raised(lower(x, self.factor).clamp(-1, 1), self.factor).clamp(-1, 1)
        return by_frame(lambda pictures: F.avg_pool2d(pictures, self.factor), x)

    def bring(self, sample: Samples, of: Real, hidden: Bool[Tensor, "1 1 *holes"] | None = None) -> Given:
        sample = super().bring(sample, of, hidden)
        return raised(sample, self.factor).clamp(-1, 1) if sample.ndim == 3 else sample

    def simpler(self, given: Given, of: Real) -> dict[str, Samples]:
        if given.ndim == 3:
            small = given[:, :, :: self.factor] / raised(torch.ones_like(given[:1, :1, :1]), self.factor)[0, 0, 0]
            line = torch.cat([small, small[:, :, -1:]], dim=2)
            line = F.interpolate(line, size=of.shape[1] + 1, mode="linear", align_corners=True)[:, :, :-1]
            return {"linear interpolation": line.clamp(-1, 1), "sinc interpolation": given}
        larger = partial(F.interpolate, size=of.shape[-2:])
        bicubic = by_frame(partial(larger, mode="bicubic", align_corners=False), given).clamp(-1, 1)
        return {"nearest": by_frame(partial(larger, mode="nearest"), given), "bicubic": bicubic}


def lower(x: Float[Tensor, "b c l"], factor: int) -> Float[Tensor, "b c l2"]:
    """Each `factor`-th sample of sound, the first included, after a low pass; beyond its ends there is silence."""
    weights = _sinc(factor, x)
    return F.conv1d(x.flatten(0, 1)[:, None], weights, stride=factor, padding=weights.shape[2] // 2).view(
        *x.shape[:2], -1
    )


def raised(x: Float[Tensor, "b c l2"], factor: int) -> Float[Tensor, "b c l"]:
    """Sound at `factor` times its rate, without new frequencies; beyond its ends there is silence."""
    weights = factor * _sinc(factor, x)
    half = weights.shape[2] // 2
    rows = F.conv_transpose1d(x.flatten(0, 1)[:, None], weights, stride=factor, padding=half, output_padding=factor - 1)
    return rows.view(*x.shape[:2], -1)


def _sinc(factor: int, like: Tensor) -> Float[Tensor, "1 1 k"]:
    """A low pass at half the lower rate: sinc under a Kaiser window, of sum 1."""
    half = CROSSINGS * factor
    at = torch.arange(-half, half + 1, dtype=torch.float64)
    weights = torch.sinc(at / factor) * torch.kaiser_window(
        2 * half + 1, periodic=False, beta=BETA, dtype=torch.float64
    )
    return (weights / weights.sum()).to(like)[None, None]
