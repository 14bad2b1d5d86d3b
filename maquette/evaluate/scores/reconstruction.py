"""How like their originals reconstructions are: PSNR and SSIM of pictures and of the frames of films, tokens of texts.

They compare pairs, and say nothing of new samples.
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from maquette.core import sequences
from maquette.core.types import Tokens
from maquette.evaluate.scores.intervals import DRAWS, Estimate, bootstrapped, of_mean

BY_BOOTSTRAP = f"95 %, bootstrap of {DRAWS} draws over pictures"
PER_PICTURE, PER_TEXT = "95 %, Student's t over pictures", "95 %, Student's t over texts"
PER_FILM = "95 %, Student's t over films"
WINDOW, SIGMA = 11, 1.5
TOGETHER = 64
Pictures = Float[Tensor, "b c h w"]
Films = Float[Tensor, "b c f h w"]
Samples = Float[Tensor, "b c *space"]


def psnr(originals: Samples, copies: Samples, span: float) -> float:
    """Peak signal-to-noise ratio in decibels of the mean squared error of all samples; infinite for equal ones.

    Args:
        span: largest less smallest value that a sample can have (2 for those in [-1, 1]).
    """
    error = (originals.double() - copies.double()).square().mean()
    return float(10 * torch.log10(span**2 / error))


def psnr_estimate(
    originals: Samples, copies: Samples, span: float, where: Float[Tensor, "b 1 *space"] | None = None
) -> Estimate:
    """`psnr` between the ratios of what the mean error can be, drawing samples with replacement; a bound that would be
    infinite is left out.

    Args:
        where: 1 where it counts, 0 elsewhere; None counts everything.
    """
    errors = bootstrapped(
        [error for rows in _parts(len(originals)) for error in _squares(originals, copies, where, rows)]
    )

    def ratio(error: float | None) -> float | None:
        return 10 * math.log10(span**2 / error) if error else None

    value = ratio(errors.value)
    return Estimate(math.inf if value is None else value, ratio(errors.high), ratio(errors.low), BY_BOOTSTRAP)


def ssim(originals: Pictures, copies: Pictures, span: float) -> Estimate:
    """Mean structural similarity (Wang et al. 2004, equation 13), 1 for equal pictures.

    Gaussian window of 11 pixels and sigma 1.5 on every pixel, edges reflected (so at least 6 pixels a side); constants
    (0.01 span)^2 and (0.03 span)^2.
    """
    per_picture = _similarity(originals.double(), copies.double(), span).mean((1, 2, 3))
    return of_mean(per_picture.tolist(), PER_PICTURE)


def ssim_of_frames(originals: Films, copies: Films, span: float, where: Bool[Tensor, "b f"] | None = None) -> Estimate:
    """`ssim` of each frame, averaged over those of a film where `where` is true (by default all), and over films."""
    means: list[float] = []
    for rows in _parts(len(originals)):
        x, y = (films[rows].double().transpose(1, 2) for films in (originals, copies))
        likeness = _similarity(x.flatten(0, 1), y.flatten(0, 1), span).mean((1, 2, 3)).unflatten(0, x.shape[:2])
        counted = torch.ones_like(likeness) if where is None else where[rows].double()
        means += ((likeness * counted).sum(1) / counted.sum(1).clamp(min=1)).tolist()
    return of_mean(means, PER_FILM)


def kept(originals: Int[Tensor, "b l"], copies: Int[Tensor, "b l"], space: Tokens) -> Estimate:
    """Mean share of a text's tokens that its copy has at the same place; context, prompts and padding do not count."""
    counts = sequences.counted(originals, space)
    same = (sequences.predicted(originals, space) == sequences.predicted(copies, space)) & counts
    return of_mean((same.sum(1) / counts.sum(1).clamp(min=1)).tolist(), PER_TEXT).as_share()


def _parts(n: int) -> Iterator[slice]:
    """Rows that are held in memory in double precision at once."""
    return (slice(first, first + TOGETHER) for first in range(0, n, TOGETHER))


def _squares(originals: Samples, copies: Samples, where: Tensor | None, rows: slice) -> list[float]:
    """The mean squared error of each sample of these rows, where it counts."""
    squares, axes = (originals[rows].double() - copies[rows].double()).square(), tuple(range(1, originals.ndim))
    if where is None:
        return squares.mean(axes).tolist()
    counted = where[rows].double()
    return ((squares * counted).sum(axes) / (counted.sum(axes) * originals.shape[1]).clamp(min=1)).tolist()


def _similarity(x: Pictures, y: Pictures, span: float) -> Pictures:
    window = _window(x)
    mean_x, mean_y = _blur(x, window), _blur(y, window)
    var_x, var_y = _blur(x * x, window) - mean_x**2, _blur(y * y, window) - mean_y**2
    covariance = _blur(x * y, window) - mean_x * mean_y
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return likeness / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))


def _window(like: Tensor) -> Float[Tensor, " k"]:
    at = torch.arange(WINDOW, dtype=like.dtype, device=like.device) - WINDOW // 2
    weights = torch.exp(-(at**2) / (2 * SIGMA**2))
    return weights / weights.sum()


def _blur(x: Pictures, window: Float[Tensor, " k"]) -> Pictures:
    """Each channel by the separable window."""
    channels = x.shape[1]
    down = window.view(1, 1, WINDOW, 1).expand(channels, 1, WINDOW, 1)
    x = F.pad(x, (WINDOW // 2,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(x, down, groups=channels), down.mT, groups=channels)
