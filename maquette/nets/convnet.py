"""DCGAN's two networks (Radford, Metz and Chintala 2015): a code up to a picture, and a picture down to a code.

A third maps a picture to a smaller map, each value of which has seen a patch of it (Isola et al. 2017, section 3.2.2).
Sides are halved while both exceed 7, so 64 ends at 4x4, 28 at 7x7 and 127 at 7x7; strides, kernels and widths are the
paper's. With `bias` false the networks for 64x64 pictures are DCGAN's, parameter for parameter. Self-attention (SAGAN,
Zhang et al. 2019) and minibatch deviation (Karras et al. 2018) can be added.

Sound is mapped along its one axis; WaveGAN's networks (Donahue et al. 2019) have `step` 4 and `kernel` 25. A film is
mapped along time as well (Vondrick et al. 2016): its frames are halved while they exceed 7, its height and width as a
picture's are, each beginning with the first layer.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, addcmul, nn
from torch.nn.utils.parametrizations import spectral_norm

from maquette.core.types import Condition
from maquette.nets import dims
from maquette.nets.attention import attend
from maquette.nets.base import Critic, Net, NetConfig, Shape, refuse_sequence, refuse_shapes
from maquette.nets.norm import BatchNorm

SMALLEST = 4
"""No side is made shorter than this."""
_impossible = partial(refuse_shapes, "convnet")


@dataclass(frozen=True, kw_only=True)
class Config(NetConfig):
    """A code (d,) to sound (c, l), a picture (c, h, w) or a film (c, t, h, w), one of these to a code, or to a map of
    less than its sides: generators, critics, encoders, decoders."""

    width: int = 64
    """Channels at the first halving; each further halving doubles them."""
    widest: int = 512
    """No layer has more channels than this."""
    step: int = 2
    """How many times shorter each layer makes the sides: 2 halves them, 4 suits long sound."""
    kernel: int = 0
    """Places along a side that a layer sees; 0: twice the step."""
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
        self.check(2 <= self.step <= 16, "step", "a whole number from 2 to 16")
        self.check(self.kernel == 0 or self.step <= self.kernel <= 64, "kernel", "0, or from step to 64")

    @classmethod
    def tiny(cls) -> "Config":
        """Small enough for a test."""
        return cls(width=8, widest=16)

    def build(
        self, source: Shape, target: Shape, vector: int = 0, timed: bool = False, sequence: int = 0
    ) -> "Up | Down | Patches":
        if sequence:
            raise refuse_sequence("convnet")
        if dims.is_sample(source) and len(source) == len(target) and not timed and not self.deviation:
            return Patches(self, source, target, vector)
        samples = [shape for shape in (source, target) if dims.is_sample(shape)]
        if timed or len(samples) != 1 or not (len(source) == 1 or len(target) == 1):
            reason = (
                "it is told no time" if timed else "it takes a code to a sample with axes, or such a sample to a code"
            )
            raise _impossible(source, target, reason, "use kind unet or mlp")
        if min(samples[0][1:][-2:]) < SMALLEST:
            raise _impossible(source, target, f"a side is shorter than {SMALLEST}", "use kind mlp")
        if 0 < self.attention < max(self.maps(samples[0])[-1]):
            raise _impossible(source, target, f"no map is as small as {self.attention}", "set attention to 8, or to 0")
        if self.deviation and target != (1,):
            raise _impossible(source, target, "only a critic is told a deviation", "set deviation=false")
        return Up(self, source, target, vector) if len(source) == 1 else Down(self, source, target, vector)

    def channels(self, halvings: int) -> list[int]:
        """Of the feature maps, from the largest to the smallest."""
        return [min(self.width << level, self.widest) for level in range(max(1, halvings))]

    def maps(self, sample: Shape) -> list[Shape]:
        """The sides of each map, from the sample's own down."""
        return list(halvings(*sample[1:], step=self.step, more=self.more))

    @property
    def reach(self) -> int:
        """Places along a side that a layer sees."""
        return self.kernel or 2 * self.step

    @property
    def more(self) -> int:
        """A side l becomes (l + more) // step: of kernels that cannot lie evenly about a step, one place more."""
        return (self.reach - self.step) % 2

    def window(self, large: Shape, small: Shape) -> tuple[Shape, Shape, Shape]:
        """Kernel, stride and padding along each axis between maps of these sides; where they are equal it sees 3."""
        kernel = tuple(3 if a == b else self.reach for a, b in zip(large, small, strict=True))
        stride = tuple(1 if a == b else self.step for a, b in zip(large, small, strict=True))
        return kernel, stride, tuple((k - s + 1) // 2 for k, s in zip(kernel, stride, strict=True))

    def smaller(self, before: int, after: int, large: Shape, small: Shape, bias: bool) -> dims.Conv:
        """The convolution down from `before` channels to `after`."""
        return dims.conv(len(large), before, after, *self.window(large, small), bias=bias)

    def larger(self, before: int, after: int, small: Shape, large: Shape, bias: bool) -> dims.Transposed:
        """The transposed convolution up."""
        kernel, stride, padding = self.window(large, small)
        found = ((b - 1) * s - 2 * p + k for b, s, p, k in zip(small, stride, padding, kernel, strict=True))
        more = tuple(a - b for a, b in zip(large, found, strict=True))
        return dims.transposed(len(large), before, after, kernel, stride, padding, more, bias)


class Up(Net):
    """[b d] -> [b c *space]: a dense layer to the smallest map, then transposed convolutions, each doubling the sides.

    A condition's vector scales and shifts every map after its normalisation (Dumoulin et al. 2017; the generator of
    Miyato and Koyama 2018).
    """

    def __init__(self, config: Config, source: Shape, target: Shape, vector: int = 0):
        super().__init__()
        self.source, self.target, self.vector = source, target, vector
        sides = config.maps(target)[::-1]
        widths = config.channels(len(sides) - 1)[::-1]
        self.smallest = (widths[0], *sides[0])
        dense = _layer(config, nn.Linear(source[0], math.prod(self.smallest), bias=_biased(config)))
        self.first = _Block(config, dense, widths[0], vector)
        self.blocks = nn.ModuleList()
        steps = list(itertools.pairwise(sides))
        for (small, large), (wide, narrow) in zip(steps, itertools.pairwise(widths), strict=False):
            layer = _layer(config, config.larger(wide, narrow, small, large, _biased(config)))
            self.blocks.append(_Block(config, layer, narrow, vector))
        maps = [self.first, *self.blocks]
        if (at := focus(config.attention, sides[: len(maps)])) is not None:
            maps[at].attention = SelfAttention(config, len(sides[0]), widths[at])
        if steps:
            self.last = _layer(config, config.larger(widths[-1], target[0], *steps[-1], bias=config.bias))
        else:
            self.last = _layer(config, config.smaller(widths[-1], target[0], *sides * 2, bias=config.bias))

    def forward(
        self, x: Float[Tensor, "b d"], t: Float[Tensor, " b"] | None = None, condition: Condition = Condition()
    ) -> Float[Tensor, "b c *space"]:
        h = self.first(x, condition.vector, self.smallest)
        for block in self.blocks:
            h = block(h, condition.vector)
        return self.last(h)


class Down(Critic):
    """[b c *space] -> [b d]: convolutions that halve the sides, then a dense layer.

    A condition's vector v enters a single score as the inner product of its embedding with the features averaged over
    places, <Vv, mean h> (projection discriminator, Miyato and Koyama 2018, eq. 3); longer codes take it beside the
    features, as an input of the dense layer.
    """

    def __init__(self, config: Config, source: Shape, target: Shape, vector: int = 0):
        super().__init__()
        self.source, self.target, self.vector = source, target, vector
        sides = config.maps(source)
        steps = list(itertools.pairwise(sides)) or [(sides[0], sides[0])]
        widths = config.channels(len(steps))
        self.blocks = nn.ModuleList()
        for i, (before, after) in enumerate(itertools.pairwise([source[0], *widths])):
            plain = i == 0  # DCGAN: no normalisation on the critic's input layer
            bias = config.bias if plain else _biased(config)
            layer = _layer(config, config.smaller(before, after, *steps[i], bias=bias))
            self.blocks.append(_Block(config, layer, after, normalise=not plain))
        if (at := focus(config.attention, sides[-len(self.blocks) :])) is not None:
            self.blocks[at].attention = SelfAttention(config, len(sides[0]), widths[at])
        self.deviation = Deviation() if config.deviation else nn.Identity()
        features = (widths[-1] + config.deviation) * math.prod(sides[-1])
        self.projection = (
            _layer(config, nn.Linear(vector, widths[-1], bias=False)) if vector and target == (1,) else None
        )
        self.beside = _layer(config, nn.Linear(vector, *target, bias=False)) if vector and target != (1,) else None
        self.head = _layer(config, nn.Linear(features, *target, bias=config.bias))

    def see(
        self, x: Float[Tensor, "b c *space"], t: Float[Tensor, " b"] | None = None, condition: Condition = Condition()
    ) -> Float[Tensor, "b c2 *small"]:
        h = x
        for block in self.blocks:
            h = block(h)
        return h

    def say(self, seen: Float[Tensor, "b c *small"], condition: Condition = Condition()) -> Float[Tensor, "b d"]:
        out = self.head(self.deviation(seen).movedim(1, -1).flatten(1))
        if self.projection is not None:
            return out + (self.projection(condition.vector) * dims.over_places(seen)).sum(1, keepdim=True)
        return out if self.beside is None else out + self.beside(condition.vector)


class Patches(Critic):
    """[b c *space] -> [b c2 *small]: convolutions that halve the sides, and one that reads the map off them.

    Sides that are there already stay while others are halved. A condition's vector enters as in `Down`, at each place
    by its own features.
    """

    def __init__(self, config: Config, source: Shape, target: Shape, vector: int = 0):
        super().__init__()
        self.source, self.target, self.vector = source, target, vector
        sides = _towards(source[1:], target[1:], config.step, config.more)
        if len(sides) == 1:
            raise _impossible(source, target, "its sides are not halved, once or more often, to those", "use kind unet")
        steps, widths = list(itertools.pairwise(sides)), config.channels(len(sides) - 1)
        self.blocks = nn.ModuleList()
        for i, (before, after) in enumerate(itertools.pairwise([source[0], *widths])):
            bias = _biased(config) if i else config.bias
            layer = _layer(config, config.smaller(before, after, *steps[i], bias=bias))
            self.blocks.append(_Block(config, layer, after, normalise=i > 0))
        if (at := focus(config.attention, sides[1:])) is not None:
            self.blocks[at].attention = SelfAttention(config, len(sides[0]), widths[at])
        elif config.attention:
            raise _impossible(source, target, f"no map is as small as {config.attention}", "set attention to 0")
        self.head = _layer(config, config.smaller(widths[-1], target[0], target[1:], target[1:], bias=config.bias))
        told = widths[-1] if target[0] == 1 else target[0]
        self.told = _layer(config, nn.Linear(vector, told, bias=False)) if vector else None

    def see(
        self, x: Float[Tensor, "b c *space"], t: Float[Tensor, " b"] | None = None, condition: Condition = Condition()
    ) -> Float[Tensor, "b c2 *small"]:
        h = x
        for block in self.blocks:
            h = block(h)
        return h

    def say(
        self, seen: Float[Tensor, "b c *small"], condition: Condition = Condition()
    ) -> Float[Tensor, "b c2 *small"]:
        out = self.head(seen)
        if self.told is None:
            return out
        told = dims.everywhere(self.told(condition.vector), seen)
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
            scale, shift = dims.everywhere(self.modulation(vector), h).chunk(2, dim=1)
            h = addcmul(h + shift, h, scale)
        return self.attention(self.activation(h))


class SelfAttention(nn.Module):
    """h + gamma o, gamma = 0 at first, where o is what each place gathers from all (Zhang et al. 2019, eq. 1-3)."""

    def __init__(self, config: Config, axes: int, channels: int):
        super().__init__()
        inner = max(1, channels // 8)
        self.ask = _layer(config, dims.conv(axes, channels, 3 * inner, 1, bias=False))
        self.answer = _layer(config, dims.conv(axes, inner, channels, 1, bias=False))
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, h: Float[Tensor, "b c *space"]) -> Float[Tensor, "b c *space"]:
        q, k, v = self.ask(h).unflatten(1, (3, 1, -1)).flatten(4).transpose(3, 4).unbind(1)
        o = attend(q, k, v).squeeze(1).transpose(1, 2).unflatten(2, h.shape[2:])
        return h + (self.gamma * self.answer(o)).to(h.dtype)


class Deviation(nn.Module):
    """One more channel that says how much samples differ: the standard deviation of the features among four rows in a
    row, averaged over features (Karras et al. 2018, section 3). A generator that makes one thing alone is found out.

    Groups of neighbours make a part of a batch the same as the whole, as long as it holds whole groups.
    """

    def forward(self, h: Float[Tensor, "b c *space"]) -> Float[Tensor, "b c2 *space"]:
        group = max(size for size in (4, 3, 2, 1) if len(h) % size == 0)
        rows = h.float().unflatten(0, (-1, group))
        spread = (rows.var(1, correction=0) + 1e-8).sqrt().mean(tuple(range(1, h.ndim)))
        channel = dims.everywhere(spread.repeat_interleave(group)[:, None], h).expand(-1, 1, *h.shape[2:])
        return torch.cat([h, channel.to(h.dtype)], 1)


def focus(most: int, sides: Sequence[tuple[int, ...]]) -> int | None:
    """Which of the maps of such sides is the largest whose longer side is at most `most`; None for 0.

    >>> focus(16, [(7, 7), (14, 14), (28, 28)])
    1
    """
    return max((i for i, side in enumerate(sides) if max(side) <= most), key=lambda i: max(sides[i]), default=None)


def halvings(*sides: int, step: int = 2, more: int = 0) -> Iterator[tuple[int, ...]]:
    """The sides of each map, from the sample's down to the smallest that no side would be too short for.

    Height and width are halved together, the frames of a film by themselves.

    Args:
        step: what sides are divided by, in place of 2.
        more: what is added to them before.

    >>> list(halvings(28, 28))
    [(28, 28), (14, 14), (7, 7)]
    >>> list(halvings(8, 32, 32))
    [(8, 32, 32), (4, 16, 16), (4, 8, 8), (4, 4, 4)]
    """
    while True:
        yield sides
        smaller = tuple(
            (side + more) // step if min(part) >= SMALLEST * step else side
            for part in (sides[:-2], sides[-2:])
            for side in part
        )
        if smaller == sides:
            return
        sides = smaller


def _towards(large: Shape, small: Shape, step: int, more: int) -> list[Shape]:
    """The sides of each map from `large` to `small`; `large` alone when they do not lead there."""
    sides = [large]
    while any(a > b for a, b in zip(sides[-1], small, strict=True)):
        sides.append(tuple((a + more) // step if a > b else a for a, b in zip(sides[-1], small, strict=True)))
    return sides if sides[-1] == small else [large]


def _norm(config: Config, channels: int) -> nn.Module | None:
    if config.norm not in ("batch", "group"):
        return None
    norm = BatchNorm(channels) if config.norm == "batch" else nn.GroupNorm(8, channels)
    nn.init.normal_(norm.weight, 1.0, 0.02)
    return norm


def _biased(config: Config) -> bool:
    """Whether a hidden layer adds a constant: not where a normalisation would take it away again."""
    return config.bias and config.norm in ("spectral", "none")


def _layer(config: Config, layer: nn.Linear | dims.Conv | dims.Transposed) -> nn.Module:
    """DCGAN's initialisation; without any normalisation to mend the scale, He's (2015)."""
    std = 0.02
    if config.norm == "none":
        slope = 0.2 if config.activation == "leaky" else 0.0
        # a transposed convolution adds up a part of its kernel at each place: for pictures and stride 2, a quarter
        transposed = isinstance(layer, dims.Transposed)
        inputs = layer.weight[:, 0].numel() / math.prod(layer.stride) if transposed else layer.weight[0].numel()
        std = math.sqrt(2 / (1 + slope**2) / inputs)
    nn.init.normal_(layer.weight, 0.0, std)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return spectral_norm(layer) if config.norm == "spectral" else layer
