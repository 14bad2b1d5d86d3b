"""Layers and operations for samples of one, two or three axes after their channels: sound, pictures, films.

Whatever goes by the number of axes is asked for here, so that a network is written once. Kernels, strides and the like
are one number for all axes or one for each.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn


class Conv3d(nn.Conv3d):
    """Torch's, padded by hand where a side is shorter than the kernel.

    There oneDNN's gradient of bf16 weights is whatever lay in memory, another each time, and it may write where it
    should not (torch 2.13 on a CPU; two frames under a kernel of three will do).
    """

    def forward(self, input: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c2 t2 h2 w2"]:
        if all(side >= kernel for side, kernel in zip(input.shape[2:], self.kernel_size, strict=True)):
            return super().forward(input)
        t, h, w = self.padding
        return F.conv3d(F.pad(input, (w, w, h, h, t, t)), self.weight, self.bias, self.stride)  # type: ignore[arg-type]


class ConvTranspose3d(nn.ConvTranspose3d):
    """Torch's, cut by hand likewise."""

    def forward(
        self, input: Float[Tensor, "b c t h w"], output_size: list[int] | None = None
    ) -> Float[Tensor, "b c2 t2 h2 w2"]:
        if all(side >= kernel for side, kernel in zip(input.shape[2:], self.kernel_size, strict=True)):
            return super().forward(input)
        y = F.conv_transpose3d(input, self.weight, self.bias, self.stride, 0, self.output_padding)
        return y[(..., *(slice(p, side - p) for p, side in zip(self.padding, y.shape[2:], strict=True)))]  # type: ignore


Size = int | tuple[int, ...]
Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d
Transposed = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d

CONVS: dict[int, type[Conv]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: Conv3d}
TRANSPOSED: dict[int, type[Transposed]] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: ConvTranspose3d}
POOLS = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
SMOOTH = {1: "linear", 2: "bilinear", 3: "trilinear"}


def is_sample(shape: Sequence[int]) -> bool:
    """Whether a shape is that of sound, a picture or a film: channels, and one to three axes."""
    return len(shape) - 1 in CONVS


def conv(axes: int, source: int, target: int, kernel: Size, stride: Size = 1, padding: Size = 0, bias=True) -> Conv:
    """[b source *space] -> [b target *space]."""
    return CONVS[axes](source, target, kernel, stride, padding, bias=bias)  # type: ignore[arg-type]


def transposed(
    axes: int, source: int, target: int, kernel: Size, stride: Size, padding: Size, more: Size, bias: bool
) -> Transposed:
    """The adjoint of such a convolution; `more` places are made at the end of each axis, fewer than its stride."""
    return TRANSPOSED[axes](source, target, kernel, stride, padding, more, bias=bias)  # type: ignore[arg-type]


def pooled(x: Float[Tensor, "b c *space"], factor: Size = 2, ceil: bool = False) -> Float[Tensor, "b c *small"]:
    """Means of blocks; of blocks that are cut short at the end too with `ceil`. A side of 1 stays."""
    factors = factor if isinstance(factor, tuple) else tuple(min(factor, side) for side in x.shape[2:])
    return POOLS[x.ndim - 2](x, factors, ceil_mode=ceil)  # type: ignore[arg-type]


def resized(x: Float[Tensor, "b c *space"], sides: Sequence[int]) -> Float[Tensor, "b c *sides"]:
    """Interpolated linearly along each axis."""
    return F.interpolate(x, size=tuple(sides), mode=SMOOTH[x.ndim - 2], align_corners=False)


def unshuffled(x: Float[Tensor, "b c *space"], patch: int) -> Float[Tensor, "b d *small"]:
    """Each block of `patch` places a side as one place: d = c patch^axes channels, those of one channel together."""
    if x.ndim == 4:
        return F.pixel_unshuffle(x, patch)
    n = x.ndim - 2
    blocks = x.reshape(*x.shape[:2], *(number for side in x.shape[2:] for number in (side // patch, patch)))
    return blocks.permute(0, 1, *range(3, 2 * n + 2, 2), *range(2, 2 * n + 2, 2)).flatten(1, n + 1)


def shuffled(h: Float[Tensor, "b d *small"], patch: int) -> Float[Tensor, "b c *space"]:
    """The inverse of `unshuffled`."""
    if h.ndim == 4:
        return F.pixel_shuffle(h, patch)
    n = h.ndim - 2
    blocks = h.unflatten(1, (-1, *[patch] * n))
    order = (axis for i in range(n) for axis in (2 + n + i, 2 + i))
    return blocks.permute(0, 1, *order).reshape(len(h), -1, *(side * patch for side in h.shape[2:]))


def everywhere(vector: Shaped[Tensor, "b c"], like: Shaped[Tensor, "..."]) -> Shaped[Tensor, "b c *ones"]:
    """One number of each channel for all places of a batch `like`."""
    return vector.reshape(*vector.shape, *[1] * (like.ndim - 2))


def over_places(h: Float[Tensor, "b c *space"]) -> Float[Tensor, "b c"]:
    """The mean of each channel."""
    return h.mean(tuple(range(2, h.ndim)))
