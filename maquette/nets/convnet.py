"""DCGAN's two networks (Radford, Metz and Chintala 2015): a code up to a picture, and a picture down to a code.

A third maps a picture to a smaller map, each value of which has seen a patch of it (Isola et al. 2017, section 3.2.2).
Sides are halved while both exceed 7, so 64 ends at 4x4, 28 at 7x7 and 127 at 7x7; strides, kernels and widths are the
paper's. With `bias` false the networks for 64x64 pictures are DCGAN's, parameter for parameter. Self-attention (SAGAN,
Zhang et al. 2019) and minibatch deviation (Karras et al. 2018) can be added.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, addcmul, nn
from torch.nn.utils.parametrizations import spectral_norm

from maquette.core.errors import MaquetteError
from maquette.core.types import Condition
from maquette.nets.attention import attend
from maquette.nets.base import Critic, Net, NetConfig, Shape, refuse_sequence
from maquette.nets.norm import BatchNorm

SMALLEST = 4


@dataclass(frozen=True, kw_only=True)
class Config(NetConfig):
    """A code (d,) to a picture (c, h, w), a picture to a code, or to a map of less than its sides: generators, critics,
    encoders, decoders."""

    width: int = 64
    """Channels at the first halving; each further halving doubles them."""
    widest: int = 512
    """No layer has more channels than this."""
    norm: Literal["batch", "group", "spectral", "none"] = "batch"
    """spectral divides the weights by their largest singular value (Miyato et al. 2018); the others act on layers."""
    activation: Literal["leaky", "relu"] = "leaky"
    """leaky has slope 0.2 below zero."""
    bias: bool = True
    """Whether layers that no normalisation follows add a constant; DCGAN's have none."""
    attention: int = 0
    """Self-attention on the largest map whose longer side is at most this; 0 has none."""
    deviation: bool = False
    """Whether a critic is told how much the samples of a batch differ (`Deviation`)."""

    def __post_init__(self) -> None:
        self.check(self.width > 0 and self.width % 8 == 0, "width", "a positive multiple of 8")
        self.check(self.widest >= self.width and self.widest % 8 == 0, "widest", "a multiple of 8, at least width")

    @classmethod
    def tiny(cls) -> "Config":
        """Small enough for a test."""
        return cls(width=8, widest=16)

    def build(
        self, source: Shape, target: Shape, vector: int = 0, timed: bool = False, sequence: int = 0
    ) -> "Up | Down | Patches":
        if sequence:
            raise refuse_sequence("convnet")
        if len(source) == len(target) == 3 and not timed and not self.deviation:
            return Patches(self, source, target, vector)
        pictures = [shape for shape in (source, target) if len(shape) == 3]
        if timed or len(source) + len(target) != 4 or len(pictures) != 1:
            reason = "it is told no time" if timed else "it takes a code to a picture, or a picture to a code"
            raise _impossible(source, target, reason, "use kind unet or mlp")
        if min(pictures[0][1:]) < SMALLEST:
            raise _impossible(source, target, f"a side is shorter than {SMALLEST}", "use kind mlp")
        if 0 < self.attention < max(list(halvings(*pictures[0][1:]))[-1]):
            raise _impossible(source, target, f"no map is as small as {self.attention}", "set attention to 8, or to 0")
        if self.deviation and target != (1,):
            raise _impossible(source, target, "only a critic is told a deviation", "set deviation=false")
        return Down(self, source, target, vector) if len(source) == 3 else Up(self, source, target, vector)

    def channels(self, halvings: int) -> list[int]:
        """Of the feature maps, from the largest to the smallest."""
        return [min(self.width << level, self.widest) for level in range(max(1, halvings))]


class Up(Net):
    """[b d] -> [b c h w]: a dense layer to the smallest map, then transposed convolutions, each doubling the sides.

    A condition's vector scales and shifts every map after its normalisation (Dumoulin et al. 2017; the generator of
    Miyato and Koyama 2018).
    """

    def __init__(self, config: Config, source: Shape, target: Shape, vector: int = 0):
        super().__init__()
        self.source, self.target, self.vector = source, target, vector
        sides = list(halvings(*target[1:]))[::-1]
        widths = config.channels(len(sides) - 1)[::-1]
        self.smallest = (widths[0], *sides[0])
        dense = _layer(config, nn.Linear(source[0], math.prod(self.smallest), bias=_biased(config)))
        self.first = _Block(config, dense, widths[0], vector)
        self.blocks = nn.ModuleList()
        steps = list(itertools.pairwise(sides))
        for (small, large), (wide, narrow) in zip(steps, itertools.pairwise(widths), strict=False):
            layer = _layer(config, _double(wide, narrow, small, large, _biased(config)))
            self.blocks.append(_Block(config, layer, narrow, vector))
        maps = [self.first, *self.blocks]
        if (at := focus(config.attention, sides[: len(maps)])) is not None:
            maps[at].attention = SelfAttention(config, widths[at])
        if steps:
            self.last = _layer(config, _double(widths[-1], target[0], *steps[-1], bias=config.bias))
        else:
            self.last = _layer(config, nn.Conv2d(widths[-1], target[0], 3, padding=1, bias=config.bias))

    def forward(
        self, x: Float[Tensor, "b d"], t: Float[Tensor, " b"] | None = None, condition: Condition = Condition()
    ) -> Float[Tensor, "b c h w"]:
        h = self.first(x, condition.vector, self.smallest)
        for block in self.blocks:
            h = block(h, condition.vector)
        return self.last(h)


class Down(Critic):
    """[b c h w] -> [b d]: convolutions that halve the sides, then a dense layer.

    A condition's vector v enters a single score as the inner product of its embedding with the features averaged over
    places, <Vv, mean h> (projection discriminator, Miyato and Koyama 2018, eq. 3); longer codes take it beside the
    features, as an input of the dense layer.
    """

    def __init__(self, config: Config, source: Shape, target: Shape, vector: int = 0):
        super().__init__()
        self.source, self.target, self.vector = source, target, vector
        sides = list(halvings(*source[1:]))
        widths = config.channels(len(sides) - 1)
        self.blocks = nn.ModuleList()
        for i, (before, after) in enumerate(itertools.pairwise([source[0], *widths])):
            plain = i == 0  # DCGAN: no normalisation on the critic's input layer
            bias = config.bias if plain else _biased(config)
            stride = 2 if len(sides) > 1 else 1
            layer = _layer(config, nn.Conv2d(before, after, 2 + stride, stride, 1, bias=bias))
            self.blocks.append(_Block(config, layer, after, normalise=not plain))
        if (at := focus(config.attention, sides[-len(self.blocks) :])) is not None:
            self.blocks[at].attention = SelfAttention(config, widths[at])
        self.deviation = Deviation() if config.deviation else nn.Identity()
        features = (widths[-1] + config.deviation) * math.prod(sides[-1])
        self.projection = (
            _layer(config, nn.Linear(vector, widths[-1], bias=False)) if vector and target == (1,) else None
        )
        self.beside = _layer(config, nn.Linear(vector, *target, bias=False)) if vector and target != (1,) else None
        self.head = _layer(config, nn.Linear(features, *target, bias=config.bias))

    def see(
        self, x: Float[Tensor, "b c h w"], t: Float[Tensor, " b"] | None = None, condition: Condition = Condition()
    ) -> Float[Tensor, "b c2 h2 w2"]:
        h = x
        for block in self.blocks:
            h = block(h)
        return h

    def say(self, seen: Float[Tensor, "b c h w"], condition: Condition = Condition()) -> Float[Tensor, "b d"]:
        out = self.head(self.deviation(seen).movedim(1, -1).flatten(1))
        if self.projection is not None:
            return out + (self.projection(condition.vector) * seen.mean((2, 3))).sum(1, keepdim=True)
        return out if self.beside is None else out + self.beside(condition.vector)


class Patches(Critic):
    """[b c h w] -> [b c2 h2 w2]: convolutions that halve the sides, and one that reads the map off them.

    A condition's vector enters as in `Down`, at each place by its own features.
    """

    def __init__(self, config: Config, source: Shape, target: Shape, vector: int = 0):
        super().__init__()
        self.source, self.target, self.vector = source, target, vector
        steps = next((n for n in range(1, 8) if tuple(side >> n for side in source[1:]) == target[1:]), 0)
        if not steps:
            raise _impossible(source, target, "its sides are not halved, once or more often, to those", "use kind unet")
        widths = config.channels(steps)
        self.blocks = nn.ModuleList()
        for i, (before, after) in enumerate(itertools.pairwise([source[0], *widths])):
            bias = _biased(config) if i else config.bias
            layer = _layer(config, nn.Conv2d(before, after, 4, 2, 1, bias=bias))
            self.blocks.append(_Block(config, layer, after, normalise=i > 0))
        sides = [tuple(side >> n for side in source[1:]) for n in range(1, steps + 1)]
        if (at := focus(config.attention, sides)) is not None:
            self.blocks[at].attention = SelfAttention(config, widths[at])
        elif config.attention:
            raise _impossible(source, target, f"no map is as small as {config.attention}", "set attention to 0")
        self.head = _layer(config, nn.Conv2d(widths[-1], target[0], 3, padding=1, bias=config.bias))
        told = widths[-1] if target[0] == 1 else target[0]
        self.told = _layer(config, nn.Linear(vector, told, bias=False)) if vector else None

    def see(
        self, x: Float[Tensor, "b c h w"], t: Float[Tensor, " b"] | None = None, condition: Condition = Condition()
    ) -> Float[Tensor, "b c2 h2 w2"]:
        h = x
        for block in self.blocks:
            h = block(h)
        return h

    def say(self, seen: Float[Tensor, "b c h w"], condition: Condition = Condition()) -> Float[Tensor, "b c2 h w"]:
        out = self.head(seen)
        if self.told is None:
            return out
        told = self.told(condition.vector)[:, :, None, None]
        return out + ((told * seen).sum(1, keepdim=True) if self.target[0] == 1 else told)


class _Block(nn.Module):
    """A layer, its normalisation, the condition's scale and shift, the activation, attention if there is any."""

    def __init__(self, config: Config, layer: nn.Module, channels: int, vector: int = 0, normalise: bool = True):
        super().__init__()
        self.layer = layer
        self.norm = _norm(config, channels) if normalise else None
        self.modulation = _layer(config, nn.Linear(vector, 2 * channels)) if vector else None
        self.activation = nn.LeakyReLU(0.2, inplace=True) if config.activation == "leaky" else nn.ReLU(inplace=True)
        self.attention: nn.Module = nn.Identity()

    def forward(self, h: Tensor, vector: Tensor | None = None, shape: Shape | None = None) -> Tensor:
        h = self.layer(h)
        if shape is not None:  # dense units lie in memory as places of channels: no copy where convolutions want it so
            h = h.unflatten(1, (*shape[1:], shape[0])).movedim(-1, 1)
        if self.norm is not None:
            h = self.norm(h)
        if self.modulation is not None:
            scale, shift = self.modulation(vector)[:, :, None, None].chunk(2, dim=1)
            h = addcmul(h + shift, h, scale)
        return self.attention(self.activation(h))


class SelfAttention(nn.Module):
    """h + gamma o, gamma = 0 at first, where o is what each place gathers from all (Zhang et al. 2019, eq. 1-3)."""

    def __init__(self, config: Config, channels: int):
        super().__init__()
        inner = max(1, channels // 8)
        self.ask = _layer(config, nn.Conv2d(channels, 3 * inner, 1, bias=False))
        self.answer = _layer(config, nn.Conv2d(inner, channels, 1, bias=False))
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, h: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        q, k, v = self.ask(h).unflatten(1, (3, 1, -1)).flatten(4).transpose(3, 4).unbind(1)
        o = attend(q, k, v).squeeze(1).transpose(1, 2).unflatten(2, h.shape[2:])
        return h + (self.gamma * self.answer(o)).to(h.dtype)


class Deviation(nn.Module):
    """One more channel that says how much samples differ: the standard deviation of the features among four rows in a
    row, averaged over features (Karras et al. 2018, section 3). A generator that makes one thing alone is found out.

    Groups of neighbours make a part of a batch the same as the whole, as long as it holds whole groups.
    """

    def forward(self, h: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h w"]:
        group = max(size for size in (4, 3, 2, 1) if len(h) % size == 0)
        rows = h.float().unflatten(0, (-1, group))
        spread = (rows.var(1, correction=0) + 1e-8).sqrt().mean((1, 2, 3))
        channel = spread.repeat_interleave(group)[:, None, None, None].expand(-1, 1, *h.shape[2:])
        return torch.cat([h, channel.to(h.dtype)], 1)


def focus(most: int, sides: Sequence[tuple[int, ...]]) -> int | None:
    """Which of the maps of such sides is the largest whose longer side is at most `most`; None for 0.

    >>> focus(16, [(7, 7), (14, 14), (28, 28)])
    1
    """
    return max((i for i, side in enumerate(sides) if max(side) <= most), key=lambda i: max(sides[i]), default=None)


def halvings(*sides: int) -> Iterator[tuple[int, ...]]:
    """The sides of each map, from the picture down to one with a side of at most 7.

    >>> list(halvings(28, 28))
    [(28, 28), (14, 14), (7, 7)]
    """
    yield sides
    while min(sides) > 7:
        sides = tuple(side // 2 for side in sides)
        yield sides


def _double(before: int, after: int, small: Shape, large: Shape, bias: bool) -> nn.ConvTranspose2d:
    odd = (large[0] - 2 * small[0], large[1] - 2 * small[1])
    return nn.ConvTranspose2d(before, after, 4, 2, 1, output_padding=odd, bias=bias)


def _norm(config: Config, channels: int) -> nn.Module | None:
    if config.norm not in ("batch", "group"):
        return None
    norm = BatchNorm(channels) if config.norm == "batch" else nn.GroupNorm(8, channels)
    nn.init.normal_(norm.weight, 1.0, 0.02)
    return norm


def _biased(config: Config) -> bool:
    """Whether a hidden layer adds a constant: not where a normalisation would take it away again."""
    return config.bias and config.norm in ("spectral", "none")


def _layer(config: Config, layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
    """DCGAN's initialisation; without any normalisation to mend the scale, He's (2015)."""
    std = 0.02
    if config.norm == "none":
        slope = 0.2 if config.activation == "leaky" else 0.0
        # a transposed convolution of stride 2 adds up a quarter of its kernel at each place
        transposed = isinstance(layer, nn.ConvTranspose2d)
        inputs = layer.weight[:, 0].numel() / 4 if transposed else layer.weight[0].numel()
        std = math.sqrt(2 / (1 + slope**2) / inputs)
    nn.init.normal_(layer.weight, 0.0, std)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return spectral_norm(layer) if config.norm == "spectral" else layer


def _impossible(source: Shape, target: Shape, reason: str, todo: str) -> MaquetteError:
    return MaquetteError("MQ-2009", path="convnet", value=f"{source} -> {target}", reason=reason, todo=todo)
