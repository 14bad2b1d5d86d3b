"""StyleGAN2's networks (Karras et al. 2020b): a mapping of noise to styles, a synthesis that styles modulate, a critic.

Weights are kept at unit variance and scaled when they are used, so that one learning rate suits all layers (equalised
learning rate, Karras et al. 2018). Maps double by repeating each place, of which a 3x3 convolution follows: both are
one transposed convolution, whose 4x4 kernel is four shifted 3x3 ones added (Karras et al. 2018, their "fused" layers);
free 4x4 kernels leave a checkerboard. Maps halve by averaging. Leaky units of slope 0.2 follow hidden layers, with a
gain of sqrt(2) that is part of what scales the weights.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from maquette.core.seeds import Seeds
from maquette.nets.base import Shape
from maquette.nets.convnet import Deviation, halvings

GAIN = math.sqrt(2)
FAINT = 0.2
"""Size of the weights that make colours when learning begins: at 1 a picture begins as loud noise, to be unlearnt."""

Vector = Float[Tensor, "b d"]
Map = Float[Tensor, "b c h w"]
Styles = Float[Tensor, "b layers d"]


class Dense(nn.Module):
    """A linear layer of equalised learning rate; `rate` below 1 makes it learn slower than others."""

    def __init__(self, source: int, target: int, gain: float = 1.0, bias: float = 0.0, rate: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(target, source) / rate)
        self.bias = nn.Parameter(torch.full((target,), bias / rate))
        self.scale, self.rate = gain * rate / math.sqrt(source), rate

    def forward(self, x: Vector) -> Float[Tensor, "b d2"]:
        return F.linear(x, self.weight * self.scale, self.bias * self.rate)


class Conv(nn.Module):
    """A convolution of equalised learning rate that keeps the sides."""

    def __init__(self, source: int, target: int, kernel: int, gain: float = 1.0, bias: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(target, source, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(target)) if bias else None
        self.scale, self.padding = gain / math.sqrt(source * kernel**2), kernel // 2

    def forward(self, x: Map) -> Float[Tensor, "b c2 h w"]:
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)


class Modulated(nn.Module):
    """A convolution whose weights each row's style scales, w'_ijk = s_i w_ijk, and which are then divided by their size
    for each output, w''_ijk = w'_ijk / sqrt(sum_ik w'_ijk^2 + eps) (eq. 1-3); with a gain of sqrt(2) for the leaky unit
    that follows.

    Scaling the weights of an input channel is scaling that channel, and dividing those of an output is dividing that
    output: all rows share one convolution.

    Args:
        doubles: the sides, to those given with each call, by repeating each place before the convolution.
        demodulates: leave out the division and the gain where False, as for the layers that make colours.
        start: the size of the weights when learning begins.
    """

    def __init__(
        self,
        source: int,
        target: int,
        kernel: int,
        style: int,
        doubles: bool = False,
        demodulates: bool = True,
        start: float = 1.0,
    ):
        super().__init__()
        self.doubles, self.demodulates = doubles, demodulates
        self.affine = Dense(style, source, bias=1.0)
        shape = (source, target) if doubles else (target, source)
        self.weight = nn.Parameter(start * torch.randn(*shape, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(target))
        # a transposed convolution of stride 2 adds up a quarter of its kernel at each place
        self.share = 1 / 4 if doubles else 1.0
        self.scale = 1 / math.sqrt(source * kernel**2)

    def forward(self, x: Map, w: Vector, side: Sequence[int]) -> Float[Tensor, "b c2 h2 w2"]:
        style = self.affine(w) * self.scale
        h, bias = x * style.to(x.dtype)[:, :, None, None], None if self.demodulates else self.bias
        kernel = fused(self.weight) if self.doubles else self.weight
        if self.doubles:
            odd = [large - 2 * small for large, small in zip(side, x.shape[2:], strict=True)]
            h = F.conv_transpose2d(h, kernel, bias, stride=2, padding=1, output_padding=odd)
        else:
            h = F.conv2d(h, kernel, bias, padding=kernel.shape[-1] // 2)
        if not self.demodulates:
            return h
        factor, shift = GAIN * self._inverse_size(style, kernel), self.bias.to(h.dtype)[:, None, None]
        return torch.addcmul(shift, h, factor.to(h.dtype)[:, :, None, None])

    def _inverse_size(
        self, style: Float[Tensor, "b source"], kernel: Float[Tensor, "_ _ k k"]
    ) -> Float[Tensor, "b target"]:
        squares = self.share * kernel.square().sum((2, 3))
        total = style.square() @ (squares if self.doubles else squares.T)
        return (total + 1e-8).rsqrt()


def fused(weight: Float[Tensor, "source target k k"]) -> Float[Tensor, "source target k+1 k+1"]:
    """The kernel of the transposed convolution of stride 2 that is repeating each place and then convolving by `weight`
    (which a transposed convolution flips)."""
    w = F.pad(weight, (1, 1, 1, 1))
    return w[..., 1:, 1:] + w[..., 1:, :-1] + w[..., :-1, 1:] + w[..., :-1, :-1]


class Layer(nn.Module):
    """A modulated convolution, noise of a learnt strength at each place, and a leaky unit."""

    def __init__(self, source: int, target: int, style: int, side: tuple[int, ...], doubles: bool = False):
        super().__init__()
        self.side = side
        self.conv = Modulated(source, target, 3, style, doubles)
        self.strength = nn.Parameter(torch.zeros(()))

    def forward(self, x: Map, w: Vector, noise: Float[Tensor, "n 1 h2 w2"]) -> Float[Tensor, "b c2 h2 w2"]:
        h = self.conv(x, w, self.side)
        return F.leaky_relu(h.add_((self.strength * noise).to(h.dtype)), 0.2, inplace=True)


class Mapping(nn.Module):
    """z, and the condition's vector if there is one, to a style w; both are brought to unit size first."""

    def __init__(self, latent: int, vector: int, style: int, depth: int):
        super().__init__()
        self.told = Dense(vector, latent) if vector else None
        widths = [2 * latent if vector else latent, *[style] * depth]
        self.layers = nn.ModuleList(
            Dense(before, after, GAIN, rate=0.01) for before, after in zip(widths, widths[1:], strict=False)
        )

    def forward(self, z: Vector, vector: Float[Tensor, "b told"] | None = None) -> Float[Tensor, "b style"]:
        h = _unit(z.float())
        if self.told is not None:
            assert vector is not None, "a conditional mapping is told a vector"
            h = torch.cat([h, _unit(self.told(vector).float())], 1)
        for layer in self.layers:
            h = F.leaky_relu(layer(h), 0.2)
        return h.float()


class Synthesis(nn.Module):
    """Styles to a picture: layers upon a learnt smallest map, two for each resolution, whose colours are added up, each
    to those of the resolution below (the skip generator, figure 7b).

    Attributes:
        layers: how many styles it takes. The colours of a resolution are made by the style of the layer after it.
    """

    noise: Tensor

    def __init__(self, style: int, picture: Shape, width: int, widest: int):
        super().__init__()
        self.sides = list(halvings(*picture[1:]))[::-1]
        widths = _widths(len(self.sides), width, widest)[::-1]
        self.first = nn.Parameter(torch.randn(widths[0], *self.sides[0]))
        self.convs: Any = nn.ModuleList()
        self.colours = nn.ModuleList()
        before = None
        for channels, side in zip(widths, self.sides, strict=True):
            if before is not None:
                self.convs.append(Layer(before, channels, style, side, doubles=True))
            self.convs.append(Layer(channels, channels, style, side))
            self.colours.append(Modulated(channels, picture[0], 1, style, demodulates=False, start=FAINT))
            before = channels
        self.layers = len(self.convs) + 1
        self._places = [math.prod(layer.side) for layer in self.convs]
        self.register_buffer("noise", torch.randn(1, sum(self._places)))

    def forward(self, styles: Styles, rng: Seeds | None = None) -> Map:
        """Pictures, with fresh noise from `rng`, or with the same one every time."""
        noise = self.noise if rng is None else rng.normal(sum(self._places))
        parts = noise.split(self._places, dim=1)
        h, picture, at = self.first.expand(len(styles), -1, -1, -1), None, 0
        for level, (side, colours) in enumerate(zip(self.sides, self.colours, strict=True)):
            for _ in range(2 if level else 1):
                h = self.convs[at](h, styles[:, at], parts[at].unflatten(1, (1, *self.convs[at].side)))
                at += 1
            made = colours(h, styles[:, at], side).float()
            if picture is not None:
                made = made + F.interpolate(picture, size=side, mode="bilinear", align_corners=False)
            picture = made
        assert picture is not None
        return picture


class Judge(nn.Module):
    """A picture to one score: residual blocks (figure 7c), the deviation among samples, and the label by projection
    (Miyato and Koyama 2018, eq. 3)."""

    def __init__(self, picture: Shape, vector: int, width: int, widest: int):
        super().__init__()
        sides = list(halvings(*picture[1:]))
        widths = _widths(len(sides), width, widest)
        self.enter = Conv(picture[0], widths[0], 1, GAIN)
        self.blocks = nn.ModuleList(_Halving(a, b) for a, b in zip(widths, widths[1:], strict=False))
        last = widths[-1]
        self.deviation = Deviation()
        self.last, self.dense = Conv(last + 1, last, 3, GAIN), Dense(last * math.prod(sides[-1]), last, GAIN)
        self.score = Dense(last, 1)
        self.told = Dense(vector, last) if vector else None

    def forward(self, x: Map, vector: Vector | None = None) -> Float[Tensor, "b 1"]:
        h = F.leaky_relu(self.enter(x), 0.2, inplace=True)
        for block in self.blocks:
            h = block(h)
        h = F.leaky_relu(self.last(self.deviation(h)), 0.2, inplace=True)
        h = F.leaky_relu(self.dense(h.movedim(1, -1).flatten(1)), 0.2, inplace=True)
        score = self.score(h)
        if self.told is None:
            return score.float()
        assert vector is not None, "a conditional critic is told a vector"
        return score.float() + (self.told(vector) * h).float().sum(1, keepdim=True) / math.sqrt(h.shape[1])


class _Halving(nn.Module):
    def __init__(self, source: int, target: int):
        super().__init__()
        # what both ways bring is added and has twice the variance of one: each is made half of it
        self.same = Conv(source, source, 3, GAIN)
        self.wider = Conv(source, target, 3, GAIN * math.sqrt(0.5))
        self.skip = Conv(source, target, 1, math.sqrt(0.5), bias=False)

    def forward(self, h: Map) -> Float[Tensor, "b c2 h2 w2"]:
        inner = F.avg_pool2d(F.leaky_relu(self.same(h), 0.2, inplace=True), 2)
        return F.leaky_relu(self.wider(inner), 0.2, inplace=True) + self.skip(F.avg_pool2d(h, 2))


def _widths(levels: int, width: int, widest: int) -> list[int]:
    """Channels of the maps, from the picture's to the smallest."""
    return [min(width << level, widest) for level in range(levels)]


def _unit(x: Vector) -> Vector:
    """Rows of mean square 1."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()
