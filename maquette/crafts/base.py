"""What every craft offers: what it takes from a picture, and simple ways to bring that back.

A model that is given only what is left learns to bring back the rest: to enlarge, repair, colour. Every random choice
is counted, so that the same row of the same batch loses the same in every run.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from maquette.core import config
from maquette.core.colour import luma
from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Real

Pictures = Float[Tensor, "b c h w"]
Given = Float[Tensor, "b c2 h2 w2"]


@dataclass(frozen=True, kw_only=True)
class CraftConfig(config.Config, ABC):
    """The `given:` slot of a recipe's data."""

    home: ClassVar[str] = "crafts"

    def space(self, of: Real) -> Real:
        """Of what is left of samples of `of`; raises MQ-2009 where nothing can be taken from such samples."""
        if len(of.shape) != 3:
            raise self.impossible(of, "only pictures have something to take")
        return of

    @abstractmethod
    def take(self, x: Pictures, rng: Seeds) -> Given:
        """What is left of samples `x`; row i is changed by row i of `rng` alone."""

    def brought(self, of: Real) -> Real:
        """The space of a picture that a person brings to have this craft done on it."""
        return self.space(of)

    def bring(self, picture: Given, of: Real, hidden: Bool[Tensor, "1 1 h w"] | None = None) -> Given:
        """What a model of samples of `of` is given of pictures of the space `brought(of)`.

        Args:
            hidden: true where the picture is to be made anew, for a craft that lets a person choose.
        """
        if hidden is not None:
            raise MaquetteError("MQ-2138", "mask", kind=self.kind(), what="mask")
        return picture

    def keep(self, made: Pictures, given: Given) -> Pictures:
        """`made` with what is known for certain put back."""
        return made

    def simpler(self, given: Given, of: Real) -> Mapping[str, Pictures]:
        """What ways without a model make of it, by their names."""
        return {}

    def impossible(self, of: Real, reason: str) -> MaquetteError:
        return MaquetteError(
            "MQ-2009", path="data.given", value=f"{self.kind()} of {of}", reason=reason, todo="choose another craft"
        )


def grey(x: Pictures) -> Float[Tensor, "b 1 h w"]:
    """The brightness of each pixel."""
    return x if x.shape[1] == 1 else luma(x)


def kernel(sigma: float, like: Tensor) -> Float[Tensor, " k"]:
    """A normal law of deviation `sigma` pixels, cut at three of them."""
    reach = max(1, math.ceil(3 * sigma))
    at = torch.arange(-reach, reach + 1, dtype=like.dtype, device=like.device)
    weights = torch.exp(-(at**2) / (2 * sigma**2))
    return weights / weights.sum()


def blurred(x: Pictures, sigma: float) -> Pictures:
    """Each channel blurred by a normal law; beyond the border the picture is mirrored, its last pixels included."""
    weights, channels = kernel(sigma, x), x.shape[1]
    reach = len(weights) // 2
    down = weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    for axis in (2, 3):
        n = x.shape[axis]
        at = torch.arange(-reach, n + reach, device=x.device) % (2 * n)
        x = x.index_select(axis, torch.where(at < n, at, 2 * n - 1 - at))
    return F.conv2d(F.conv2d(x, down, groups=channels), down.mT, groups=channels)
