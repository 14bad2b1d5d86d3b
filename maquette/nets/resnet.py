"""A sample to a smaller grid and back: residual blocks between halvings or doublings of the sides.

The encoder and decoder of VQGAN (Esser et al. 2021) and of latent diffusion (Rombach et al. 2022), small, with the
blocks of the U-Net: group norms, SiLU, attention where the sides are short. A halving is an average, a doubling a
repetition, each followed by the block of its stage. Pictures are theirs; sound and films are mapped likewise.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from maquette.core.types import Condition
from maquette.nets import dims
from maquette.nets.base import Net, NetConfig, Shape, refuse_sequence, refuse_shapes
from maquette.nets.unet import Block, norm


@dataclass(frozen=True, kw_only=True)
class Config(NetConfig):
    """A sample (c, *sides) to a grid (d, *sides / 2^n), or back: n follows from the shapes."""

    width: int = 32
    """Channels at full resolution; each halving doubles them."""
    widest: int = 128
    """No stage has more channels than this."""
    blocks: int = 1
    """Residual blocks of each stage."""
    attention: bool = True
    """Whether places of the smallest grid look at each other."""
    patch: int = 1
    """Side of the block of values that the largest stage sees as one, a power of two: 8 suits sound."""

    def __post_init__(self) -> None:
        self.check(self.width > 0 and self.width % 8 == 0, "width", "a positive multiple of 8")
        self.check(self.widest >= self.width and self.widest % 8 == 0, "widest", "a multiple of 8, at least width")
        self.check(self.blocks > 0, "blocks", "a positive whole number")
        self.check(self.patch > 0 and self.patch.bit_count() == 1, "patch", "a power of two")

    @classmethod
    def tiny(cls) -> "Config":
        """Small enough for a test."""
        return cls(width=8, widest=16)

    def build(self, source: Shape, target: Shape, vector: int = 0, timed: bool = False, sequence: int = 0) -> "ResNet":
        if sequence:
            raise refuse_sequence("resnet")
        reason, todo = "", "use kind unet for one size, convnet or mlp for codes"
        if timed:
            reason = "it is told no time"
        elif not dims.is_sample(source) or len(source) != len(target) or _steps(source, target) is None:
            reason = "it maps samples of one to three axes to those with sides 2^n times as long or short"
        elif self.patch > 1 << abs(_steps(source, target) or 0):
            reason, todo = (
                f"sides are not halved as often as patches of {self.patch} want",
                "use a smaller resnet.patch",
            )
        if reason:
            raise refuse_shapes("resnet", source, target, reason, todo)
        return ResNet(self, source, target, vector)


class ResNet(Net):
    """Down if the target is the smaller, else up. A condition's vector modulates every block."""

    def __init__(self, config: Config, source: Shape, target: Shape, vector: int):
        super().__init__()
        self.source, self.target, self.vector = source, target, vector
        axes, self.patch = len(source) - 1, config.patch
        steps = abs(_steps(source, target) or 0) + 1 - config.patch.bit_length()
        self.down, told = source[1] >= target[1], 4 * config.width if vector else 0
        self.given = nn.Linear(vector, told) if vector else None
        widths = [min(config.width << stage, config.widest) for stage in range(steps + 1)]
        widths, patches = widths if self.down else widths[::-1], config.patch**axes
        smallest = len(widths) - 1 if self.down else 0
        inside, outside = (source[0] * patches, target[0]) if self.down else (source[0], target[0] * patches)
        self.enter = dims.conv(axes, inside, widths[0], 3, padding=1)
        self.stages = nn.ModuleList()
        before = widths[0]
        for stage, width in enumerate(widths):
            heads = 1 if config.attention and stage == smallest else 0
            sources = [before, *[width] * (config.blocks - 1)]
            self.stages.append(nn.ModuleList(Block(axes, wide, width, told, heads, 0.0) for wide in sources))
            before = width
        self.leave = nn.Sequential(norm(before), nn.SiLU(), dims.conv(axes, before, outside, 3, padding=1))

    def forward(
        self, x: Float[Tensor, "b c *source"], t: Float[Tensor, " b"] | None = None, condition: Condition = Condition()
    ) -> Float[Tensor, "b c2 *target"]:
        told = F.silu(self.given(condition.vector)) if self.given is not None else None
        h = self.enter(dims.unshuffled(x, self.patch) if self.down else x)
        for number, stage in enumerate(self.stages):
            if number and self.down:
                h = dims.pooled(h)
            elif number:
                h = F.interpolate(h, scale_factor=2, mode="nearest")
            for block in stage:  # type: ignore[attr-defined]
                h = block(h, told, condition)
        h = self.leave(h)
        return h if self.down else dims.shuffled(h, self.patch)


def _steps(source: Shape, target: Shape) -> int | None:
    """How many halvings lead from `source` to `target`, negative for doublings; None when none do."""
    large, small = (source, target) if source[1] >= target[1] else (target, source)
    for steps in range(large[1].bit_length()):
        if all(b << steps == a for a, b in zip(large[1:], small[1:], strict=True)):
            return steps if large is source else -steps
    return None
