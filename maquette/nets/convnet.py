"""DCGAN's two networks (Radford, Metz and Chintala 2015): a code up to a picture, and a picture down to a code.

Sides are halved while both exceed 7, so 64 ends at 4x4, 28 at 7x7 and 127 at 7x7; strides, kernels and widths are the
paper's. With `bias` false the networks for 64x64 pictures are DCGAN's, parameter for parameter.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor, addcmul, nn
from torch.nn.utils.parametrizations import spectral_norm

from maquette.core.errors import MaquetteError
from maquette.core.types import Condition
from maquette.nets.base import Net, NetConfig, Shape, refuse_sequence
from maquette.nets.norm import BatchNorm

SMALLEST = 4


@dataclass(frozen=True, kw_only=True)
class Config(NetConfig):
    """A code (d,) to a picture (c, h, w), or a picture to a code: generators, critics, encoders, decoders."""

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

    def __post_init__(self) -> None:
        self.check(self.width > 0 and self.width % 8 == 0, "width", "a positive multiple of 8")
        self.check(self.widest >= self.width and self.widest % 8 == 0, "widest", "a multiple of 8, at least width")

    @classmethod
    def tiny(cls) -> "Config":
        """Small enough for a test."""
        return cls(width=8, widest=16)

    def build(
        self, source: Shape, target: Shape, vector: int = 0, timed: bool = False, sequence: int = 0
    ) -> "Up | Down":
        if sequence:
            raise refuse_sequence("convnet")
        pictures = [shape for shape in (source, target) if len(shape) == 3]
        if timed or len(source) + len(target) != 4 or len(pictures) != 1:
            reason = "it is told no time" if timed else "it takes a code to a picture, or a picture to a code"
            raise _impossible(source, target, reason, "use kind unet or mlp")
        if min(pictures[0][1:]) < SMALLEST:
            raise _impossible(source, target, f"a side is shorter than {SMALLEST}", "use kind mlp")
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


class Down(Net):
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
        features = widths[-1] * math.prod(sides[-1])
        self.projection = (
            _layer(config, nn.Linear(vector, widths[-1], bias=False)) if vector and target == (1,) else None
        )
        self.beside = _layer(config, nn.Linear(vector, *target, bias=False)) if vector and target != (1,) else None
        self.head = _layer(config, nn.Linear(features, *target, bias=config.bias))

    def forward(
        self, x: Float[Tensor, "b c h w"], t: Float[Tensor, " b"] | None = None, condition: Condition = Condition()
    ) -> Float[Tensor, "b d"]:
        h = x
        for block in self.blocks:
            h = block(h)
        out = self.head(h.movedim(1, -1).flatten(1))
        if self.projection is not None:
            return out + (self.projection(condition.vector) * h.mean((2, 3))).sum(1, keepdim=True)
        return out if self.beside is None else out + self.beside(condition.vector)


class _Block(nn.Module):
    """A layer, its normalisation, the condition's scale and shift, the activation."""

    def __init__(self, config: Config, layer: nn.Module, channels: int, vector: int = 0, normalise: bool = True):
        super().__init__()
        self.layer = layer
        self.norm = _norm(config, channels) if normalise else None
        self.modulation = _layer(config, nn.Linear(vector, 2 * channels)) if vector else None
        self.activation = nn.LeakyReLU(0.2, inplace=True) if config.activation == "leaky" else nn.ReLU(inplace=True)

    def forward(self, h: Tensor, vector: Tensor | None = None, shape: Shape | None = None) -> Tensor:
        h = self.layer(h)
        if shape is not None:  # dense units lie in memory as places of channels: no copy where convolutions want it so
            h = h.unflatten(1, (*shape[1:], shape[0])).movedim(-1, 1)
        if self.norm is not None:
            h = self.norm(h)
        if self.modulation is not None:
            scale, shift = self.modulation(vector)[:, :, None, None].chunk(2, dim=1)
            h = addcmul(h + shift, h, scale)
        return self.activation(h)


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
