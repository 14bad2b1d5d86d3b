"""The diffusion Transformer (Peebles and Xie 2023): attention among the patches of a sample of one, two or three axes.

    h <- h + gate attention(scale norm(h) + shift),    h <- h + gate mlp(scale norm(h) + shift)

Scale, shift and gate of each part are linear in what is told, the time and the condition's vector, and begin at zero,
so that a block begins as the identity (adaLN-zero, their section 3.2). A condition's sequence is attended to between
the two (Chen et al. 2024, PixArt-alpha, section 2.3), its grid is concatenated to the sample. Where a patch lies is
told twice: sinusoids along each axis are added once, as in the paper, and queries and keys, divided by their root mean
squares (Henry et al. 2020), are turned by their places along each axis (Su et al. 2021; Heo et al. 2024), in one pass.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from maquette.core.types import Condition
from maquette.nets.attention import CrossAttention, attend, rotate
from maquette.nets.base import Net, NetConfig, Shape, refuse_shapes, zeroed
from maquette.nets.conditioning import TimeEmbedder

Table = Float[Tensor, "l h"]


@dataclass(frozen=True, kw_only=True)
class Config(NetConfig):
    """A Transformer over patches of sound, pictures or films; its cost grows with the number of patches."""

    patch: int = 4
    """Pixels on a side of a patch; half as many are four times as many patches of a picture."""
    width: int = 192
    """Of the residual stream."""
    depth: int = 6
    """Blocks."""
    heads: int = 6
    expand: float = 4.0
    """Hidden units of an MLP, in widths."""

    def __post_init__(self) -> None:
        for name in ("patch", "width", "depth", "heads"):
            self.check(getattr(self, name) > 0, name, "a positive whole number")
        self.check(self.width % (2 * self.heads) == 0, "width", f"a multiple of twice the {self.heads} heads")
        self.check(self.expand > 0, "expand", "a positive number")

    @classmethod
    def tiny(cls) -> "Config":
        """Small enough for a test."""
        return cls(patch=2, width=16, depth=2, heads=2)

    def build(self, source: Shape, target: Shape, vector: int = 0, timed: bool = False, sequence: int = 0) -> "DiT":
        reason, todo = "", "use another net, such as mlp"
        if not 2 <= len(source) <= 4 or source[1:] != target[1:]:
            reason = "a DiT maps samples of one to three axes to samples of the same size"
        elif not (vector or timed):
            reason = "a DiT is steered by what it is told, a time or a vector"
        elif any(side % self.patch for side in source[1:]):
            reason, todo = f"patches of {self.patch} do not divide it", "use a divisor of the sides for dit.patch"
        if reason:
            raise refuse_shapes("dit", source, target, reason, todo)
        return DiT(self, source, target, vector, timed, sequence)


class DiT(Net):
    """`condition.grid` is concatenated to the input; its channels are counted in `source`."""

    places: Tensor
    cos: Tensor
    sin: Tensor

    def __init__(self, config: Config, source: Shape, target: Shape, vector: int, timed: bool, sequence: int):
        super().__init__()
        self.source, self.target, self.vector, self.sequence = source, target, vector, sequence
        self.patch, width = config.patch, config.width
        size = config.patch ** len(source[1:])
        self.time = TimeEmbedder(width) if timed else None
        self.given = nn.Linear(vector, width) if vector else None
        self.enter = nn.Linear(source[0] * size, width)
        self.blocks = nn.ModuleList(Block(config, sequence) for _ in range(config.depth))
        self.modulate = zeroed(nn.Linear(width, 2 * width))
        self.leave = zeroed(nn.Linear(width, target[0] * size))
        grid = tuple(side // config.patch for side in source[1:])
        cos, sin = lattice(grid, width // config.heads // 2, base=100.0)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.register_buffer("places", torch.cat(lattice(grid, width // 2, base=10_000.0), -1), persistent=False)

    def forward(
        self,
        x: Float[Tensor, "b c *sides"],
        t: Float[Tensor, " b"] | None = None,
        condition: Condition = Condition(),
    ) -> Float[Tensor, "b c2 *sides"]:
        if condition.grid is not None:
            x = torch.cat([x, condition.grid], dim=1)
        told = self.embed(t, condition)
        h = self.enter(patched(x, self.patch))
        h = h + self.places.to(h.dtype)
        turn = self.cos[:, None, None], self.sin[:, None, None]
        for block in self.blocks:
            h = block(h, told, turn, condition)
        shift, scale = self.modulate(told)[:, None].to(h.dtype).chunk(2, dim=-1)
        return unpatched(self.leave(modulated(h, shift, scale)), x.shape[2:], self.patch)

    def embed(self, t: Tensor | None, condition: Condition) -> Float[Tensor, "b w"]:
        """Time and the condition's vector as one, activated once for all blocks."""
        told = [part(given) for part, given in ((self.time, t), (self.given, condition.vector)) if part is not None]
        return F.silu(torch.stack(told).sum(0))


class Block(nn.Module):
    """Attention, attention to the condition's sequence where there is one, and an MLP."""

    def __init__(self, config: Config, sequence: int):
        super().__init__()
        self.heads, width, hidden = config.heads, config.width, round(config.expand * config.width)
        self.modulate = zeroed(nn.Linear(width, 6 * width))
        self.qkv, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.cross = CrossAttention(width, sequence, config.heads) if sequence else None
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(
        self, h: Float[Tensor, "b l w"], told: Tensor, turn: tuple[Tensor, Tensor], condition: Condition
    ) -> Float[Tensor, "b l w"]:
        told = self.modulate(told)[:, None].to(h.dtype)
        shift1, scale1, gate1, shift2, scale2, gate2 = told.chunk(6, dim=-1)
        h = torch.addcmul(h, gate1, self.attend(modulated(h, shift1, scale1), turn))
        if self.cross is not None:
            assert condition.sequence is not None, "this net attends to a sequence"
            h = h + self.cross(F.layer_norm(h, h.shape[-1:]), condition.sequence, condition.mask)
        return torch.addcmul(h, gate2, self.down(F.gelu(self.up(modulated(h, shift2, scale2)), approximate="tanh")))

    def attend(self, h: Float[Tensor, "b l w"], turn: tuple[Tensor, Tensor]) -> Float[Tensor, "b l w"]:
        """Every patch looks at every other."""
        width = h.shape[-1]
        qk, v = self.qkv(h).split([2 * width, width], -1)
        qk = qk.unflatten(-1, (2, self.heads, -1)).to(torch.promote_types(qk.dtype, torch.float32))
        q, k = (x.transpose(1, 2) for x in rotate(qk, *turn, unit=True).to(v.dtype).unbind(2))
        v = v.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return self.mix(attend(q, k, v).transpose(1, 2).flatten(2))


def modulated(h: Float[Tensor, "b l w"], shift: Tensor, scale: Tensor) -> Float[Tensor, "b l w"]:
    """Normalised, then scaled and shifted by what was told."""
    return torch.addcmul(shift, F.layer_norm(h, h.shape[-1:]), 1 + scale)


def patched(x: Float[Tensor, "b c *sides"], patch: int) -> Float[Tensor, "b l d"]:
    """A sample's patches in rows, each with all its channels: d = c patch^axes."""
    n = x.ndim - 2
    x = x.reshape(*x.shape[:2], *(number for side in x.shape[2:] for number in (side // patch, patch)))
    order = [0, *range(2, 2 * n + 2, 2), 1, *range(3, 2 * n + 2, 2)]
    return x.permute(order).flatten(n + 1).flatten(1, n)


def unpatched(h: Float[Tensor, "b l d"], sides: Shape, patch: int) -> Float[Tensor, "b c *sides"]:
    """The sample with `sides` that these are the patches of."""
    n = len(sides)
    h = h.unflatten(1, [side // patch for side in sides]).unflatten(-1, [-1, *[patch] * n])
    order = [0, n + 1, *(axis for i in range(n) for axis in (1 + i, n + 2 + i))]
    return h.permute(order).reshape(len(h), -1, *sides)


def lattice(grid: Shape, pairs: int, base: float) -> tuple[Table, Table]:
    """Cosines and sines of each patch's place along each axis, [patches, pairs].

    Pairs are shared evenly among the axes, the i-th of an axis's k having the frequency base^(-i/k); those left over do
    not turn.
    """
    each = pairs // len(grid)
    places = torch.cartesian_prod(*map(torch.arange, grid)).reshape(-1, len(grid), 1)
    angles = (places * base ** (-torch.arange(each) / max(1, each))).flatten(1)
    angles = F.pad(angles, (0, pairs - angles.shape[1]))
    return angles.cos(), angles.sin()
