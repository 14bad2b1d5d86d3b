"""What every craft offers: what it takes from a sample, and simple ways to bring that back.

A model that is given only what is left learns to bring back the rest: to enlarge, repair, colour, go on. Every random
choice is counted, so that the same row of the same batch loses the same in every run. A craft says which samples it
suits; of films most take from each frame what they take from a picture.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from maquette.core import config
from maquette.core.colour import luma
from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Real

SOUND, PICTURES, FILMS = 2, 3, 4
"""How many axes samples have, the channels being the first: then time; height and width; time, height and width."""
NAMES = {SOUND: "sound", PICTURES: "pictures", FILMS: "films"}

Samples = Float[Tensor, "b c *space"]
Pictures = Float[Tensor, "b c h w"]
Given = Float[Tensor, "b c2 *given"]


@dataclass(frozen=True, kw_only=True)
class CraftConfig(config.Config, ABC):
    """The `given:` slot of a recipe's data."""

    home: ClassVar[str] = "crafts"
    suits: ClassVar[tuple[int, ...]] = (PICTURES,)
    """How many axes samples may have from which it takes something."""

    def space(self, of: Real) -> Real:
        """Of what is left of samples of `of`; raises MQ-2009 where nothing can be taken from such samples."""
        if len(of.shape) not in self.suits:
            names = " and ".join(NAMES[axes] for axes in self.suits)
            raise self.impossible(of, f"only {names} have what it takes")
        return of

    def at(self, rate: int, of: Real) -> None:
        """Raise MQ-2009 where samples of `of` at this `rate` (of the medium, 0 where there is none) do not suit it."""

    def identity(self) -> dict[str, Any]:
        """Plain data that differ where something else is taken of the same samples."""
        return self.to_tree()

    def in_parts(self) -> bool:
        """Whether what lasts longer than a sample may be brought, to be answered part by part: not where what is taken
        has its place in a sample."""
        return True

    @abstractmethod
    def take(self, x: Samples, rng: Seeds) -> Given:
        """What is left of samples `x`; row i is changed by row i of `rng` alone."""

    def brought(self, of: Real) -> Real:
        """The space of a sample that a person brings to have this craft done on it."""
        return self.space(of)

    def bring(self, sample: Given, of: Real, hidden: Bool[Tensor, "1 1 *holes"] | None = None) -> Given:
        """What a model of samples of `of` is given of samples of the space `brought(of)`.

        Args:
            hidden: true where the sample is to be made anew, for a craft that lets a person choose; it spreads over
                what is brought.
        """
        if hidden is not None:
            raise MaquetteError("MQ-2138", "mask", kind=self.kind(), what="mask")
        return sample

    def keep(self, made: Samples, given: Given) -> Samples:
        """`made` with what is known for certain put back."""
        return made

    def unknown(self, given: Given) -> Float[Tensor, "b 1 *space"] | None:
        """1 where a sample has to be made, 0 where it is known for certain; None where nothing is."""
        return None

    def simpler(self, given: Given, of: Real) -> Mapping[str, Samples]:
        """What ways without a model make of it, by their names."""
        return {}

    def shown(self, given: Given, of: Real) -> Samples:
        """What is given as samples of `of`, to be looked at: as large as they are, and of what is hidden nothing."""
        x = given[:, : of.shape[0]].expand(-1, of.shape[0], *given.shape[2:])
        return F.interpolate(x, size=of.shape[1:], mode="nearest")

    def impossible(self, of: Real | str, reason: str, todo: str = "choose another craft") -> MaquetteError:
        return MaquetteError("MQ-2009", path="data.given", value=f"{self.kind()} of {of}", reason=reason, todo=todo)


def by_frame(change: Callable[[Tensor], Tensor], x: Samples) -> Given:
    """What `change` makes of pictures, or of each frame of films as of a picture."""
    if x.ndim < 5:
        return change(x)
    frames = x.transpose(1, 2)
    return change(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).transpose(1, 2)


def grey(x: Samples) -> Float[Tensor, "b 1 *space"]:
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
