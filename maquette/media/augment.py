"""Pictures changed at random while training: each row by its own eight uniform numbers and nothing else."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from maquette.core.config import Config


@dataclass(frozen=True, kw_only=True)
class Augment(Config):
    """The `data.augment` of a recipe; what is 0 is not done."""

    flip: float = 0.0
    """Share of pictures mirrored left to right."""
    crop: int = 0
    """Largest shift in pixels, each way; the border is repeated."""
    rotate: float = 0.0
    """Largest turn in degrees, each way."""
    colour: float = 0.0
    """Strength in [0, 1] of the change in brightness, contrast and (for RGB) saturation."""

    def __post_init__(self) -> None:
        self.check(0 <= self.flip <= 1, "flip", "a share in [0, 1]")
        self.check(0 <= self.crop <= 64, "crop", "pixels, from 0 to 64")
        self.check(0 <= self.rotate <= 180, "rotate", "degrees, from 0 to 180")
        self.check(0 <= self.colour <= 1, "colour", "a strength in [0, 1]")


def augment(x: Tensor, how: Augment, uniform: Tensor) -> Tensor:
    """Samples [b, c, h, w] in [-1, 1], changed by `uniform` [b, 8] in [0, 1): flip, then crop, rotate, colour.

    Columns: 0 flip; 1, 2 shift down and right; 3 angle; 4 brightness; 5 contrast; 6 saturation.
    """
    if how.flip:
        x = torch.where((uniform[:, 0] < how.flip)[:, None, None, None], x.flip(-1), x)
    if how.crop:
        x = _shift(x, (uniform[:, 1:3] * (2 * how.crop + 1)).long() - how.crop)
    if how.rotate:
        x = _rotate(x, (2 * uniform[:, 3] - 1) * math.radians(how.rotate))
    if how.colour:
        x = _recolour(x, how.colour * (2 * uniform[:, 4:7] - 1))
    return x


def _shift(x: Tensor, by: Tensor) -> Tensor:
    """Rows moved by whole pixels (down, right) [b, 2]."""
    b, _, h, w = x.shape
    down = (torch.arange(h, device=x.device) - by[:, :1]).clamp(0, h - 1)  # [b, h]: where each row comes from
    right = (torch.arange(w, device=x.device) - by[:, 1:]).clamp(0, w - 1)
    return x[torch.arange(b, device=x.device)[:, None, None], :, down[:, :, None], right[:, None, :]].permute(
        0, 3, 1, 2
    )


def _rotate(x: Tensor, angle: Tensor) -> Tensor:
    """Rows turned counter-clockwise by `angle` [b] radians about their centre, bilinear."""
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    matrix = torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _recolour(x: Tensor, by: Tensor) -> Tensor:
    """Brightness added, contrast about the mean and saturation about the grey multiplied, each by [b, 3] in [-1, 1]."""
    brightness, contrast, saturation = (by[:, i, None, None, None] for i in range(3))
    mean = x.mean((1, 2, 3), keepdim=True)
    x = mean + (x - mean) * (1 + 0.5 * contrast) + 0.5 * brightness
    grey = x.mean(1, keepdim=True)
    return (grey + (x - grey) * (1 + saturation)).clamp(-1, 1)
