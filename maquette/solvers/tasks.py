"""Tasks as wraps of a canonical denoiser: what is known is put into every x_hat, so the sample agrees with it.

Noise-free DDNM (Wang et al. 2023, equation 11): x_hat is replaced by the nearest point that meets the observation. No
network is trained for it, and wraps compose with each other, with guidance and with every solver. A denoiser that is
told more than the level (where a step ends) is told it through them. Of films, what concerns pixels is done in each
frame.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from maquette.core.colour import luma
from maquette.core.errors import MaquetteError
from maquette.core.types import Predictor

Change = Callable[[Tensor], Tensor]
POOLS = {2: (F.avg_pool2d, F.max_pool2d), 3: (F.avg_pool3d, F.max_pool3d)}
FAINT = 1e-3
"""`deblur` trusts the blurred picture in frequencies of which the blur left a share well above the root of this."""


def observe(denoise: Predictor, forward: Change, backward: Change, seen: Tensor) -> Predictor:
    """Samples agree with a linear observation: `forward(x) = seen`.

    Args:
        backward: a right inverse of `forward`, `forward(backward(r)) = r` (the pseudo-inverse gives the nearest x).
    """

    def observed(y: Tensor, *levels: Tensor) -> Tensor:
        x = denoise(y, *levels)
        return x + backward(seen - forward(x))

    return observed


def inpaint(denoise: Predictor, known: Float[Tensor, "b *space"], mask: Bool[Tensor, "..."]) -> Predictor:
    """Samples equal `known` where `mask` is true, to the bit, and are made elsewhere.

    `observe` with x -> x mask, which is its own pseudo-inverse; choosing instead of adding leaves no rounding. Where
    the unknown lies around the known it is outpainting, on a canvas of the size that the denoiser makes.
    """
    return lambda y, *levels: torch.where(mask, known, denoise(y, *levels))


def enlarge(denoise: Predictor, small: Float[Tensor, "b c *space"], factor: int, bound: float = 1.0) -> Predictor:
    """Super-resolution: samples whose blocks of `factor` pixels a side have the means `small`, within [-bound, bound].

    `observe` with average pooling and its pseudo-inverse, repetition. What then lies outside the range is drawn back
    by shrinking the detail of its block (which leaves the mean), so that a later clip changes nothing. Sound of
    `factor` times the rate whose low frequencies are those of `small`: there are no blocks to keep in range.

    Raises:
        MaquetteError: MQ-2043 at the first call, when `factor` times `small` is not the denoiser's size.
    """
    block = _block(small.ndim - 2, factor)
    whole = torch.Size(side * times for side, times in zip(small.shape[2:], block, strict=True))

    def fitting(y: Tensor, *levels: Tensor) -> Tensor:
        if y.shape[2:] != whole or y.shape[1] != small.shape[1]:
            sizes = ("×".join(map(str, shape[2:])) for shape in (small.shape, y.shape))
            raise MaquetteError("MQ-2043", factor=factor, **dict(zip(("small", "size"), sizes, strict=True)))
        return denoise(y, *levels)

    if small.ndim == 3:
        return observe(fitting, lambda x: _lowered(x, factor), lambda r: _raised(r, factor), small)
    mean, largest = POOLS[small.ndim - 2]
    means = _repeat(small, factor)

    def enlarged(y: Tensor, *levels: Tensor) -> Tensor:
        x = fitting(y, *levels)
        detail = x - _repeat(mean(x, block), factor)
        return _within(means, detail, lambda excess: _repeat(largest(excess, block), factor), bound)

    return enlarged


def _block(axes: int, factor: int) -> tuple[int, ...]:
    """How many values of each axis become one: of films not along time."""
    return (1,) * (axes - 2) + (factor,) * min(axes, 2)


def _lowered(x: Tensor, factor: int) -> Tensor:
    """Each `factor`-th value of what is left without the frequencies that these cannot hold; x is taken as a circle."""
    n = x.shape[-1] // factor
    return torch.fft.irfft(torch.fft.rfft(x)[..., : n // 2 + 1], n) / factor


def _raised(x: Tensor, factor: int) -> Tensor:
    """The right inverse of `_lowered`: nothing in the higher frequencies."""
    return torch.fft.irfft(torch.fft.rfft(x), factor * x.shape[-1]) * factor


def colourise(denoise: Predictor, grey: Float[Tensor, "b 1 *space"], bound: float = 1.0) -> Predictor:
    """Samples of red, green and blue whose brightness is `grey`, within [-bound, bound].

    `observe` with `luma` and its right inverse, the same number in each channel. What then lies outside the range is
    drawn back by shrinking the pixel's colour (which leaves the brightness).
    """

    def colourised(y: Tensor, *levels: Tensor) -> Tensor:
        x = denoise(y, *levels)
        return _within(grey, x - luma(x), lambda excess: excess.amax(1, keepdim=True), bound)

    return colourised


def deblur(denoise: Predictor, blurred: Float[Tensor, "b c *space"], spread: float) -> Predictor:
    """Samples that are `blurred` after `blur` with this spread.

    `observe` with an inverse that lets go of what the blur left too little of: 8 bits do not hold a frequency that is
    fainter than their rounding, so there the sample is the denoiser's own.
    """

    kept = _kept(spread)

    def inverse(squares: Tensor) -> Tensor:
        return kept(squares) / (kept(squares) ** 2 + FAINT)

    return observe(denoise, lambda x: _filtered(x, kept), lambda r: _filtered(r, inverse), blurred)


def blur(x: Float[Tensor, "b c *space"], spread: float) -> Float[Tensor, "b c *space"]:
    """`x` under a Gaussian of this standard deviation in pixels; beyond its edges it goes on mirrored."""
    return _filtered(x, _kept(spread))


def _kept(spread: float) -> Change:
    """What a Gaussian leaves of a frequency, by its square."""
    return lambda squares: torch.exp(-2 * (math.pi * spread) ** 2 * squares)


def _filtered(x: Tensor, gain: Change) -> Tensor:
    """`x`, going on mirrored, with each frequency times `gain` of its square (cycles per pixel, summed over axes).

    Linear, and its own adjoint, as its kernel is even.
    """
    axes = range(max(2, x.ndim - 2), x.ndim)  # of films not along time
    whole, sides = x, x.shape[axes.start :]
    for axis in axes:
        whole = torch.cat([whole, whole.flip(axis)], axis)
    squares = torch.zeros((), device=x.device)
    for axis, side in enumerate(sides):
        last = axis == len(sides) - 1
        one = (torch.fft.rfftfreq if last else torch.fft.fftfreq)(2 * side, device=x.device)
        squares = squares[..., None] + one.square()
    found = torch.fft.irfftn(
        torch.fft.rfftn(whole, dim=list(axes)) * gain(squares), whole.shape[axes.start :], list(axes)
    )
    return found[(..., *(slice(side) for side in sides))]


def _within(middle: Tensor, detail: Tensor, together: Change, bound: float) -> Tensor:
    """`middle + detail`, the detail shrunk where the sum would leave [-bound, bound].

    Args:
        together: the largest number among those whose details shrink alike.
    """
    room = (bound - middle * detail.sign()).clamp_min(1e-6)
    return middle + detail / together(detail.abs() / room).clamp_min(1)


def _repeat(x: Tensor, factor: int) -> Tensor:
    """Each value `factor` times along every axis of the picture, or of each frame."""
    for axis in range(x.ndim - 2, x.ndim):
        x = x.repeat_interleave(factor, dim=axis)
    return x
