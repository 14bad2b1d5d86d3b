"""Gated causal convolutions: each pixel sees all pixels above it and to its left, and no other.

Conditional PixelCNN (van den Oord et al. 2016, "Conditional Image Generation with PixelCNN Decoders", section 2): a
vertical stack reads the rows above, a horizontal stack the pixels to the left, and what the vertical one found is fed
to the horizontal one, so that together they leave no blind spot. Both are convolutions of shifted input, as in
PixelCNN++ (Salimans et al. 2017), so nothing is masked and no product is thrown away. Dilations widen the view.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from maquette.core.errors import MaquetteError
from maquette.core.types import Condition
from maquette.nets.base import Net, NetConfig, Shape, refuse_sequence


@dataclass(frozen=True, kw_only=True)
class Config(NetConfig):
    """A causal network of pictures."""

    width: int = 24
    """Channels of each stack."""
    layers: int = 8
    kernel: int = 3
    """Columns that a layer of the vertical stack reads; odd. It reads (kernel + 1) / 2 rows."""
    first: int = 5
    """The same for the first layer."""
    dilations: tuple[int, ...] = (1, 2, 4)
    """Distance between the taps of a layer, repeated over the layers."""

    def __post_init__(self) -> None:
        self.check(self.width > 0, "width", "a positive whole number")
        self.check(self.layers > 0, "layers", "a positive whole number")
        for name in ("kernel", "first"):
            self.check(getattr(self, name) > 1 and getattr(self, name) % 2 == 1, name, "an odd number above 1")
        self.check(bool(self.dilations) and min(self.dilations) > 0, "dilations", "a list of positive whole numbers")

    @classmethod
    def tiny(cls) -> "Config":
        """Small enough for a test."""
        return cls(width=8, layers=2)

    def build(self, source: Shape, target: Shape, vector: int = 0, timed: bool = False, sequence: int = 0) -> "Gated":
        if sequence:
            raise refuse_sequence("gated")
        if timed or len(source) != 3 or len(target) != 3 or source[1:] != target[1:]:
            reason = f"it maps (c, h, w) to (d, h, w), not {source} to {target}" + (" at a time" if timed else "")
            raise MaquetteError("MQ-2009", path="net", value="gated", reason=reason, todo="choose another kind of net")
        return Gated(self, source, target, vector)


class Gated(Net):
    """(x, condition) -> one vector per pixel that depends on earlier pixels in reading order only."""

    places: Tensor

    def __init__(self, config: Config, source: Shape, target: Shape, vector: int = 0):
        super().__init__()
        self.config, self.source, self.target, self.vector = config, source, target, vector
        _, h, w = source
        lines = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
        self.register_buffer("places", torch.stack(lines)[None], persistent=False)
        self.down = Down(source[0] + 2, config.width, config.first)
        self.across = Across(source[0] + 2, config.width, config.first)
        dilations = [config.dilations[i % len(config.dilations)] for i in range(config.layers)]
        self.layers = nn.ModuleList(Layer(config.width, config.kernel, d, vector) for d in dilations)
        self.head = nn.Sequential(nn.ReLU(), nn.Conv2d(config.width, config.width, 1), nn.ReLU())
        self.out = nn.Conv2d(config.width, target[0], 1)

    def forward(
        self, x: Float[Tensor, "b c h w"], t: Float[Tensor, " b"] | None = None, condition: Condition = Condition()
    ) -> Float[Tensor, "b d h w"]:
        places = self.places.expand(len(x), -1, -1, -1)
        v = self.down(torch.cat([F.pad(x, (0, 0, 1, -1)), places], 1))  # row i sees the rows before i …
        h = self.across(torch.cat([F.pad(x, (1, -1)), places], 1))  # … and pixel j the pixels before j
        for layer in self.layers:
            v, h = layer(v, h, condition.vector)
        return self.out(self.head(h))


class Down(nn.Conv2d):
    """Reads `kernel` columns of this row and of (kernel - 1) / 2 rows above it."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1):
        self.reach = dilation * (kernel // 2)
        super().__init__(inputs, outputs, (kernel // 2 + 1, kernel), padding=(0, self.reach), dilation=dilation)

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        return super().forward(F.pad(input, (0, 0, self.reach, 0)))


class Across(nn.Conv2d):
    """Reads this pixel and (kernel - 1) / 2 pixels to its left."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1):
        self.reach = dilation * (kernel // 2)
        super().__init__(inputs, outputs, (1, kernel // 2 + 1), dilation=dilation)

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        return super().forward(F.pad(input, (self.reach, 0)))


class Layer(nn.Module):
    """One gated layer of both stacks (Figure 2 of the paper, with a residual in the vertical stack too)."""

    def __init__(self, width: int, kernel: int, dilation: int, vector: int):
        super().__init__()
        self.down = Down(width, 2 * width, kernel, dilation)
        self.across = Across(width, 2 * width, kernel, dilation)
        self.link = nn.Conv2d(width, 2 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        self.told = nn.Linear(vector, 4 * width) if vector else None

    def tell(self, vector: Float[Tensor, "b d"] | None) -> tuple[Tensor | None, Tensor | None]:
        """What the condition adds before the gate of each stack, [b, 2 * width, 1, 1] (Equation 4)."""
        if self.told is None or vector is None:
            return None, None
        vertical, horizontal = self.told(vector)[:, :, None, None].chunk(2, dim=1)
        return vertical, horizontal

    def forward(
        self, v: Float[Tensor, "b c h w"], h: Float[Tensor, "b c h w"], vector: Float[Tensor, "b d"] | None
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
        told_v, told_h = self.tell(vector)
        found = gate(self.down(v), told_v)
        seen = gate(self.across(h) + self.link(found), told_h)
        return v + found, h + self.out(seen)


def gate(y: Float[Tensor, "b two_c *space"], told: Tensor | None = None) -> Float[Tensor, "b c *space"]:
    """One half of the channels, let through by the sigmoid of the other (gated linear unit, Dauphin et al. 2017).

    Equation 2 of the paper has the tanh of the first half, which learnt no better here and takes longer.
    """
    return F.glu(y if told is None else y + told, dim=1)


class Walk:
    """The same network one pixel at a time: `walk(x, i, j)` equals `net(x, condition=condition)[:, :, i, j]`.

    It remembers what it has computed, so that visiting the pixels in reading order costs about one forward pass in
    all. Any other order is answered as well: pixels that have changed since, or a step back, make it begin anew.
    """

    def __init__(self, net: Gated, condition: Condition = Condition()):
        self.net, self.condition = net, condition
        self.seen: Tensor | None = None

    @torch.no_grad()
    def __call__(self, x: Float[Tensor, "b c h w"], i: int, j: int) -> Float[Tensor, "b d"]:
        if self.seen is None or not self._continues(self.seen, x, i, j):
            self._begin(x)
        while self.row < i:
            self._enter(x, self.row + 1)
        while self.column < j:
            self._step(x, self.column + 1)
        end = i * x.shape[3] + j
        self.seen.flatten(2)[:, :, :end] = x.flatten(2)[:, :, :end]  # type: ignore[union-attr]
        return self.value

    def _continues(self, seen: Tensor, x: Tensor, i: int, j: int) -> bool:
        known = self.row * x.shape[3] + self.column
        ahead = seen.shape == x.shape and i * x.shape[3] + j >= known
        return ahead and torch.equal(seen.flatten(2)[:, :, :known], x.flatten(2)[:, :, :known])

    def _begin(self, x: Tensor) -> None:
        net, vector = self.net, self.condition.vector
        self.seen = torch.empty_like(x, memory_format=torch.contiguous_format)
        self.row, self.column, self.value = -1, 0, x.new_empty(0)
        self.places = net.places.expand(len(x), -1, -1, -1)
        self.told = [layer.tell(vector) for layer in net.layers]  # type: ignore[operator]
        self.above = [_Past(down) for down in (net.down, *(layer.down for layer in net.layers))]  # type: ignore[arg-type]

    def _enter(self, x: Tensor, i: int) -> None:
        """The vertical stack at row `i`, and what it tells the horizontal one there."""
        net, self.row, self.column = self.net, i, -1
        above = x[:, :, i - 1] if i else torch.zeros_like(x[:, :, 0])
        v = self.above[0].down(torch.cat([above, self.places[:, :, i]], 1))
        self.links = []
        for layer, past, (told_v, told_h) in zip(net.layers, self.above[1:], self.told, strict=True):
            found = gate(past.down(v)[:, :, None], told_v)
            link = layer.link(found)  # type: ignore[operator]
            self.links.append((link if told_h is None else link + told_h)[:, :, 0])
            v = v + found[:, :, 0]
        self.left = [_Past(across) for across in (net.across, *(layer.across for layer in net.layers))]  # type: ignore[arg-type]

    def _step(self, x: Tensor, j: int) -> None:
        """The horizontal stack at column `j` of this row."""
        net, i, self.column = self.net, self.row, j
        left = x[:, :, i, j - 1] if j else torch.zeros_like(x[:, :, i, 0])
        h = self.left[0].across(torch.cat([left, self.places[:, :, i, j]], 1))
        for layer, past, link in zip(net.layers, self.left[1:], self.links, strict=True):
            h = h + _dense(layer.out, gate(past.across(h) + link[:, :, j]))  # type: ignore[arg-type]
        for part in net.head:
            h = _dense(part, h) if isinstance(part, nn.Conv2d) else part(h)
        self.value = _dense(net.out, h)


class _Past:
    """What a causal convolution still needs of its earlier inputs."""

    def __init__(self, conv: Down | Across):
        self.conv = conv
        self.inputs: list[Tensor] = []

    def _taps(self, now: Tensor, count: int) -> list[Tensor]:
        self.inputs.append(now)
        distance = self.conv.reach // (count - 1)
        places = [len(self.inputs) - 1 - distance * k for k in reversed(range(count))]
        nothing = torch.zeros_like(now)
        return [self.inputs[p] if p >= 0 else nothing for p in places]

    def down(self, row: Float[Tensor, "b c w"]) -> Float[Tensor, "b d w"]:
        conv = self.conv
        rows = torch.stack(self._taps(row, conv.kernel_size[0]), 2)
        across = (1, conv.dilation[1])
        return F.conv2d(rows, conv.weight, conv.bias, padding=conv.padding, dilation=across)[:, :, 0]  # type: ignore[arg-type]

    def across(self, pixel: Float[Tensor, "b c"]) -> Float[Tensor, "b d"]:
        return _dense(self.conv, torch.stack(self._taps(pixel, self.conv.kernel_size[1]), 2).flatten(1))


def _dense(conv: nn.Conv2d, x: Float[Tensor, "b c"]) -> Float[Tensor, "b d"]:
    """A convolution at one pixel is a matrix product."""
    return F.linear(x, conv.weight.flatten(1), conv.bias)
