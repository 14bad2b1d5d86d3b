"""Residual networks without normalisation, up to a sample and down from one (R3GAN, Huang et al. 2024, config E).

Each resolution has a few bottleneck blocks h + W3 f(W2 f(W1 h)), W2 alone being 3x3; between resolutions a 1x1
convolution changes the channels where the map is small, and interpolation or averaging its sides. In place of
normalisation the blocks begin as nothing, and the branches' weights are smaller the more blocks there are (fix-up,
Zhang et al. 2019a: L^(-1/4) for two layers before the last). R3GAN's 3x3 convolutions are grouped; these are plain and
narrower instead, because a CPU is slow at groups.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from maquette.core.types import Condition
from maquette.nets import dims
from maquette.nets.base import Critic, Net, NetConfig, Shape, refuse_sequence, refuse_shapes
from maquette.nets.convnet import SMALLEST, Deviation, halvings

GAIN = math.sqrt(2 / (1 + 0.2**2))
"""Of weights before a leaky unit of slope 0.2 (He et al. 2015)."""
_impossible = partial(refuse_shapes, "fixup")


@dataclass(frozen=True, kw_only=True)
class Config(NetConfig):
    """A code (d,) to sound (c, l), a picture (c, h, w) or a film (c, t, h, w), or one of these to a code: generators,
    critics, encoders, decoders."""

    width: int = 48
    """Channels of the largest map; each halving doubles them."""
    widest: int = 384
    """No map has more channels than this."""
    blocks: int = 2
    """Residual blocks of each resolution."""
    patch: int = 1
    """Values on a side of what one place of the largest map stands for; with 2 the costliest resolution is left out."""
    deviation: bool = False
    """Whether a critic is told how much the samples of a batch differ (`convnet.Deviation`)."""

    def __post_init__(self) -> None:
        self.check(self.width > 0 and self.width % 2 == 0, "width", "a positive even number")
        self.check(self.widest >= self.width and self.widest % 2 == 0, "widest", "an even number, at least width")
        self.check(self.blocks > 0, "blocks", "a positive whole number")
        self.check(self.patch > 0, "patch", "a positive whole number")

    @classmethod
    def tiny(cls) -> "Config":
        """Small enough for a test."""
        return cls(width=8, widest=16, blocks=1)

    def build(
        self, source: Shape, target: Shape, vector: int = 0, timed: bool = False, sequence: int = 0
    ) -> "Up | Down":
        if sequence:
            raise refuse_sequence("fixup")
        samples = [shape for shape in (source, target) if dims.is_sample(shape)]
        if timed or len(samples) != 1 or not (len(source) == 1 or len(target) == 1):
            reason = (
                "it is told no time" if timed else "it takes a code to a sample with axes, or such a sample to a code"
            )
            raise _impossible(source, target, reason, "use kind unet or mlp")
        if any(side % self.patch for side in samples[0][1:]):
            todo = "use a divisor of the sides for fixup.patch"
            raise _impossible(source, target, f"patches of {self.patch} do not divide it", todo)
        if min(samples[0][1:][-2:]) < SMALLEST * self.patch:
            raise _impossible(source, target, f"a side is shorter than {SMALLEST * self.patch}", "use kind mlp")
        if self.deviation and target != (1,):
            raise _impossible(source, target, "only a critic is told a deviation", "set deviation=false")
        return Up(self, source, target, vector) if len(source) == 1 else Down(self, source, target, vector)

    def edge(self, axes: int, source: int, target: int) -> nn.Module:
        """The convolution next to the sample; one of patches sees those around, too, or their edges would show."""
        kernel = 1 if self.patch == 1 else 3
        return _started(dims.conv(axes, source, target, kernel, padding=kernel // 2), 1.0)

    def stages(self, sample: Shape) -> tuple[list[tuple[int, ...]], list[int]]:
        """Sides and channels of the maps, from the sample's down."""
        sides = list(halvings(*(side // self.patch for side in sample[1:])))
        return sides, [min(self.width << level, self.widest) for level in range(len(sides))]


class Up(Net):
    """[b d] -> [b c *space]: code and condition's vector, side by side, weigh the channels of a learnt smallest map."""

    def __init__(self, config: Config, source: Shape, target: Shape, vector: int = 0):
        super().__init__()
        self.source, self.target, self.vector = source, target, vector
        self.sides, widths = config.stages(target)
        self.sides, widths = self.sides[::-1], widths[::-1]
        self.basis = nn.Parameter(torch.randn(widths[0], *self.sides[0]))
        self.weigh = _started(nn.Linear(source[0] + vector, widths[0]), 1.0)
        self.patch, axes = config.patch, len(self.sides[0])
        self.stages, self.narrow = _stages(config, axes, widths), _changes(axes, widths)
        self.last = config.edge(axes, widths[-1], target[0] * config.patch**axes)

    def forward(
        self, x: Float[Tensor, "b d"], t: Float[Tensor, " b"] | None = None, condition: Condition = Condition()
    ) -> Float[Tensor, "b c *space"]:
        told = x if condition.vector is None else torch.cat([x, condition.vector], 1)
        h = dims.everywhere(self.weigh(told), self.basis[None]) * self.basis
        h = self.stages[0](h)
        for narrow, stage, side in zip(self.narrow, list(self.stages)[1:], self.sides[1:], strict=True):
            h = stage(dims.resized(narrow(h), side))
        return dims.shuffled(self.last(h), self.patch)


class Down(Critic):
    """[b c *space] -> [b d]. As in `convnet.Down` a single score is told the condition's vector by projection."""

    def __init__(self, config: Config, source: Shape, target: Shape, vector: int = 0):
        super().__init__()
        self.source, self.target, self.vector = source, target, vector
        self.sides, widths = config.stages(source)
        self.patch, axes = config.patch, len(self.sides[0])
        self.first = config.edge(axes, source[0] * config.patch**axes, widths[0])
        self.stages, self.widen = _stages(config, axes, widths), _changes(axes, widths)
        self.deviation = Deviation() if config.deviation else nn.Identity()
        self.projects = target == (1,)
        if vector:
            self.told = _started(nn.Linear(vector, widths[-1] if self.projects else target[0], bias=False), 1.0)
        features = (widths[-1] + config.deviation) * math.prod(self.sides[-1])
        self.head = _started(nn.Linear(features, target[0]), 1.0)

    def see(
        self, x: Float[Tensor, "b c *space"], t: Float[Tensor, " b"] | None = None, condition: Condition = Condition()
    ) -> Float[Tensor, "b c2 *small"]:
        h = self.stages[0](self.first(dims.unshuffled(x, self.patch)))
        for widen, stage, side in zip(self.widen, list(self.stages)[1:], self.sides[1:], strict=True):
            halves = tuple(before // after for before, after in zip(h.shape[2:], side, strict=True))
            h = stage(widen(dims.pooled(h, halves)))
        return h

    def say(self, seen: Float[Tensor, "b c *small"], condition: Condition = Condition()) -> Float[Tensor, "b d"]:
        out = self.head(self.deviation(seen).movedim(1, -1).flatten(1))
        if not self.vector:
            return out
        told = self.told(condition.vector)
        return out + ((told * dims.over_places(seen)).sum(1, keepdim=True) if self.projects else told)


class Block(nn.Module):
    """h + W3 f(W2 f(W1 h)), half as wide inside; `depth` is how many such blocks the network has."""

    def __init__(self, axes: int, width: int, depth: int):
        super().__init__()
        gain, inner = GAIN * depth**-0.25, width // 2
        self.enter = _started(dims.conv(axes, width, inner, 1), gain)
        self.inner = _started(dims.conv(axes, inner, inner, 3, padding=1), gain)
        self.leave = _started(dims.conv(axes, inner, width, 1, bias=False), 0.0)

    def forward(self, h: Float[Tensor, "b c *space"]) -> Float[Tensor, "b c *space"]:
        inner = F.leaky_relu(self.enter(h), 0.2, inplace=True)
        return h + self.leave(F.leaky_relu(self.inner(inner), 0.2, inplace=True))


def _stages(config: Config, axes: int, widths: Sequence[int]) -> nn.ModuleList:
    depth = config.blocks * len(widths)
    return nn.ModuleList(nn.Sequential(*(Block(axes, width, depth) for _ in range(config.blocks))) for width in widths)


def _changes(axes: int, widths: Sequence[int]) -> nn.ModuleList:
    """1x1 convolutions from each width to the next; nothing where they are the same."""
    return nn.ModuleList(
        nn.Identity() if before == after else _started(dims.conv(axes, before, after, 1, bias=False), 1.0)
        for before, after in zip(widths, widths[1:], strict=False)
    )


def _started(layer: nn.Linear | dims.Conv, gain: float) -> nn.Module:
    """Weights N(0, gain^2 / inputs), constants 0."""
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
