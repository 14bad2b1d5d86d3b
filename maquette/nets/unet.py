"""A U-shaped convolutional network for pictures of any size (Ronneberger et al. 2015; as denoiser: Ho et al. 2020), and
likewise for sound and films.

Stages halve the resolution by average pooling and double back by repetition, with each block's output carried across to
its mirror block. Time and the condition's vector modulate every residual block by scale and shift (Dhariwal and Nichol
2021); where the resolution is low, attention follows it, among the pixels and then to a condition's sequence (Rombach
et al. 2022, section 3.3). Every residual branch and the output start at zero.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F

from maquette.core.errors import MaquetteError
from maquette.core.types import Condition
from maquette.nets import dims
from maquette.nets.attention import CrossAttention, attend
from maquette.nets.base import Net, NetConfig, Shape, refuse_shapes, zeroed
from maquette.nets.conditioning import TimeEmbedder


@dataclass(frozen=True, kw_only=True)
class Config(NetConfig):
    """A U-Net for sound, pictures or films; much of its cost is at full resolution: put blocks and width below it."""

    width: int = 32
    """Channels of the first stage."""
    stages: tuple[int, ...] = (1, 2, 4)
    """Channels of each stage as multiples of `width`; each stage has half the resolution of the one before."""
    blocks: tuple[int, ...] = (1, 1, 1)
    """Residual blocks of each stage, on the way down and again on the way up."""
    attention: int = 8
    """Attention where the longest side is at most this many places; 0 has none."""
    head: int = 32
    """Channels of an attention head."""
    patch: int = 1
    """Side of the block of values that the first stage sees as one; 2 makes everything four times cheaper for pictures,
    twice for sound and eight times for films."""
    dropout: float = 0.0

    def __post_init__(self) -> None:
        self.check(self.width > 0, "width", "a positive whole number")
        self.check(len(self.stages) > 0 and min(self.stages) > 0, "stages", "a list of positive whole numbers")
        good = len(self.blocks) == len(self.stages) and min(self.blocks) > 0
        self.check(good, "blocks", f"{len(self.stages)} positive whole numbers, one for each of `stages`")
        self.check(self.head > 0, "head", "a positive whole number")
        self.check(self.patch > 0, "patch", "a positive whole number")
        self.check(0 <= self.dropout < 1, "dropout", "in [0, 1)")

    @classmethod
    def tiny(cls) -> "Config":
        """Small enough for a test."""
        return cls(width=8, stages=(1, 2), blocks=(1, 1), attention=4, head=8)

    def build(self, source: Shape, target: Shape, vector: int = 0, timed: bool = False, sequence: int = 0) -> "UNet":
        if not dims.is_sample(source) or source[1:] != target[1:]:
            reason, todo = (
                "a U-Net maps samples of one to three axes to those of the same size",
                "use another net, such as mlp",
            )
            raise refuse_shapes("unet", source, target, reason, todo)
        if any(side % self.patch for side in source[1:]):
            reason, todo = f"it does not divide {'×'.join(map(str, source[1:]))}", "use a divisor of the sides"
            raise MaquetteError("MQ-2009", path="unet.patch", value=self.patch, reason=reason, todo=todo)
        least = self.side(source, len(self.stages) - 1)
        if sequence and least > self.attention:
            reason, todo = f"no stage is small enough to attend to a sequence: the last has {least} places", "raise it"
            raise MaquetteError("MQ-2009", path="unet.attention", value=self.attention, reason=reason, todo=todo)
        return UNet(self, source, target, vector, timed, sequence)

    def side(self, source: Shape, stage: int) -> int:
        """Places of the longest side in that stage."""
        return math.ceil(max(source[1:]) / self.patch / 2**stage)


class UNet(Net):
    """`condition.grid` is concatenated to the input; its channels are counted in `source`."""

    def __init__(self, config: Config, source: Shape, target: Shape, vector: int, timed: bool, sequence: int = 0):
        super().__init__()
        self.source, self.target, self.vector, self.sequence = source, target, vector, sequence
        self.patch, axes = config.patch, len(source) - 1
        widths = [config.width * multiple for multiple in config.stages]
        told = 4 * config.width if timed or vector else 0
        self.time = TimeEmbedder(told) if timed else None
        self.given = nn.Linear(vector, told) if vector else None
        self.enter = dims.conv(axes, source[0] * config.patch**axes, widths[0], 3, padding=1)

        def block(inside: int, outside: int, stage: int) -> Block:
            heads = _heads(outside, config.head) if config.side(source, stage) <= config.attention else 0
            return Block(axes, inside, outside, told, heads, config.dropout, sequence)

        self.down, self.up, self.narrow = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self.halves: list[bool] = []
        before = widths[0]
        for stage, (width, count) in enumerate(zip(widths, config.blocks, strict=True)):
            for first in [True] + [False] * (count - 1):
                self.halves.append(first and stage > 0)
                self.down.append(block(before, width, stage))
                self.up.insert(0, block(2 * width, width, stage))
                self.narrow.append(dims.conv(axes, width, before, 1) if self.halves[-1] else nn.Identity())
                before = width
        self.middle = block(before, before, len(widths) - 1)
        last = zeroed(dims.conv(axes, widths[0], target[0] * config.patch**axes, 3, padding=1))
        self.leave = nn.Sequential(norm(widths[0]), nn.SiLU(), last)

    def forward(
        self,
        x: Float[Tensor, "b c *space"],
        t: Float[Tensor, " b"] | None = None,
        condition: Condition = Condition(),
    ) -> Float[Tensor, "b c2 *space"]:
        if condition.grid is not None:
            x = torch.cat([x, condition.grid], dim=1)
        told = self.embed(t, condition)
        h = self.enter(dims.unshuffled(x, self.patch))
        skips = []
        for block, halve in zip(self.down, self.halves, strict=True):
            h = dims.pooled(h, ceil=True) if halve else h  # an odd side keeps its last places
            h = block(h, told, condition)
            skips.append(h)
        h = self.middle(h, told, condition)
        for block, narrow, skip in zip(self.up, reversed(self.narrow), reversed(skips), strict=True):
            h = narrow(block(torch.cat([_resized(h, skip), skip], dim=1), told, condition))
        return dims.shuffled(self.leave(h), self.patch)

    def embed(self, t: Tensor | None, condition: Condition) -> Tensor | None:
        """Time and the condition's vector as one, activated once for all blocks."""
        told = [part(given) for part, given in ((self.time, t), (self.given, condition.vector)) if part is not None]
        return F.silu(torch.stack(told).sum(0)) if told else None


class Block(nn.Module):
    """Two convolutions with what is told in between, and attention with `heads` heads after them."""

    def __init__(self, axes: int, inside: int, outside: int, told: int, heads: int, dropout: float, sequence: int = 0):
        super().__init__()
        self.norm1, self.conv1 = norm(inside), dims.conv(axes, inside, outside, 3, padding=1)
        self.norm2, self.conv2 = norm(outside), zeroed(dims.conv(axes, outside, outside, 3, padding=1))
        self.modulate = zeroed(nn.Linear(told, 2 * outside)) if told else None
        self.skip = dims.conv(axes, inside, outside, 1) if inside != outside else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.attention = Attention(axes, outside, heads) if heads else nn.Identity()
        self.listen = Listening(outside, sequence, heads) if heads and sequence else None

    def forward(self, x: Tensor, told: Tensor | None, condition: Condition) -> Tensor:
        h = self.norm2(self.conv1(F.silu(self.norm1(x))))
        if self.modulate is not None:
            scale, shift = dims.everywhere(self.modulate(told), h).to(h.dtype).chunk(2, dim=1)
            h = torch.addcmul(shift, h, 1 + scale)
        h = self.attention(self.skip(x) + self.conv2(self.dropout(F.silu(h))))
        return h if self.listen is None else self.listen(h, condition)


class Attention(nn.Module):
    """Every position looks at every other (self-attention), added to the input."""

    def __init__(self, axes: int, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm, self.ask = norm(width), dims.conv(axes, width, 3 * width, 1)
        self.answer = zeroed(dims.conv(axes, width, width, 1))

    def forward(self, x: Float[Tensor, "b c *space"]) -> Float[Tensor, "b c *space"]:
        q, k, v = self.ask(self.norm(x)).unflatten(1, (3, self.heads, -1)).flatten(4).transpose(3, 4).unbind(1)
        return x + self.answer(attend(q, k, v).transpose(2, 3).reshape(x.shape))


class Listening(nn.Module):
    """Every position attends to the condition's sequence, added to the input."""

    def __init__(self, width: int, sequence: int, heads: int):
        super().__init__()
        self.norm, self.cross = norm(width), CrossAttention(width, sequence, heads)

    def forward(self, x: Float[Tensor, "b c *space"], condition: Condition) -> Float[Tensor, "b c *space"]:
        assert condition.sequence is not None, "this net attends to a sequence"
        found = self.cross(self.norm(x).flatten(2).transpose(1, 2), condition.sequence, condition.mask)
        return x + found.transpose(1, 2).reshape(x.shape)


def _resized(h: Tensor, like: Tensor) -> Tensor:
    """`h` repeated to the sides of `like`."""
    return h if h.shape[2:] == like.shape[2:] else F.interpolate(h, size=like.shape[2:], mode="nearest")


def _heads(width: int, head: int) -> int:
    """How many heads of at least `head` channels `width` can be divided into; 1 when it is narrower."""
    return max(n for n in range(1, max(1, width // head) + 1) if width % n == 0)


class GroupNorm(nn.GroupNorm):
    """Torch's, whose derivative in forward mode refuses pictures that lie in memory with their channels last."""

    def forward(self, input: Tensor) -> Tensor:
        if forward_ad.unpack_dual(input).tangent is not None:
            input = input.clone(memory_format=torch.contiguous_format)
        return super().forward(input)


def norm(width: int) -> GroupNorm:
    """Groups of 16 channels, or of the largest size below that divides `width` by a power of two."""
    return GroupNorm(width // math.gcd(width, 16), width)
