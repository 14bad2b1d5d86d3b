"""Tasks as wraps of a canonical denoiser: what is known is put into every x_hat, so the sample agrees with it exactly.

Noise-free DDNM (Wang et al. 2023, equation 11): x_hat is replaced by the nearest point that meets the observation. No
network is trained for it, and wraps compose with each other, with guidance and with every solver.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from maquette.core.errors import MaquetteError
from maquette.core.types import Predictor

Change = Callable[[Tensor], Tensor]
POOLS = {1: (F.avg_pool1d, F.max_pool1d), 2: (F.avg_pool2d, F.max_pool2d), 3: (F.avg_pool3d, F.max_pool3d)}


def observe(denoise: Predictor, forward: Change, backward: Change, seen: Tensor) -> Predictor:
    """Samples agree with a linear observation: `forward(x) = seen`.

    Args:
        backward: a right inverse of `forward`, `forward(backward(r)) = r` (the pseudo-inverse gives the nearest x).
    """

    def observed(y: Tensor, s: Tensor) -> Tensor:
        x = denoise(y, s)
        return x + backward(seen - forward(x))

    return observed


def inpaint(denoise: Predictor, known: Float[Tensor, "b *space"], mask: Bool[Tensor, "..."]) -> Predictor:
    """Samples equal `known` where `mask` is true, to the bit, and are made elsewhere.

    `observe` with x -> x mask, which is its own pseudo-inverse; choosing instead of adding leaves no rounding.
    """
    return lambda y, s: torch.where(mask, known, denoise(y, s))


def enlarge(denoise: Predictor, small: Float[Tensor, "b c *space"], factor: int, bound: float = 1.0) -> Predictor:
    """Super-resolution: samples whose blocks of `factor` pixels a side have the means `small`, within [-bound, bound].

    `observe` with average pooling and its pseudo-inverse, repetition. What then lies outside the range is drawn back
    by shrinking the detail of its block (which leaves the mean), so that a later clip changes nothing.

    Raises:
        MaquetteError: MQ-2043 at the first call, when `factor` times `small` is not the denoiser's size.
    """
    mean, largest = POOLS[small.ndim - 2]
    means = _repeat(small, factor)

    def enlarged(y: Tensor, s: Tensor) -> Tensor:
        if y.shape[1:] != means.shape[1:]:
            sizes = ("×".join(map(str, shape[2:])) for shape in (small.shape, y.shape))
            raise MaquetteError("MQ-2043", factor=factor, **dict(zip(("small", "size"), sizes, strict=True)))
        x = denoise(y, s)
        detail = x - _repeat(mean(x, factor), factor)
        excess = detail.abs() / (bound - means * detail.sign()).clamp_min(
            1e-6
        )  # of each pixel's room; above 1: outside
        return means + detail / _repeat(largest(excess, factor), factor).clamp_min(1)

    return enlarged


def _repeat(x: Tensor, factor: int) -> Tensor:
    """Each value `factor` times along every axis of the picture."""
    for axis in range(2, x.ndim):
        x = x.repeat_interleave(factor, dim=axis)
    return x
