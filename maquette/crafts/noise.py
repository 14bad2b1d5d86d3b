"""Noisy samples: what a model of denoising is given."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from maquette.core.seeds import Seeds
from maquette.core.types import Real
from maquette.crafts.base import FILMS, PICTURES, SOUND, CraftConfig, Given, Samples

ITERATIONS, STEP = 200, 0.496
"""Of the total variation: how long it is solved for, how fast (shared among the axes)."""
WEIGHT = 0.5
"""Of the total variation, in levels of noise: of 0.25 to 1.75 the best on small pictures of clothes. The weight that
takes away as much as noise brings (Rudin et al. 1992) is too large where noise beyond black and white is cut off."""
WINDOW, MEMORY, LEAST = 512, 0.98, 10**-1.5
"""Of the Wiener filter for sound: samples of a frame, how much of the last frame's ratio it believes, and the least
ratio of signal to noise, -15 dB (Cappé 1994)."""


@dataclass(frozen=True, kw_only=True)
class Config(CraftConfig):
    """Normal noise, the same for all values."""

    suits: ClassVar[tuple[int, ...]] = (SOUND, PICTURES, FILMS)

    level: float = 0.4
    """Its standard deviation, in units of samples (black to white is 2); 0.4 is 50 of 255."""

    def __post_init__(self) -> None:
        self.check(0 < self.level <= 4, "level", "a number above 0, at most 4")

    def take(self, x: Samples, rng: Seeds) -> Given:
        return (x + self.level * rng.normal(*x.shape[1:]).to(x)).clamp(-1, 1)

    def simpler(self, given: Given, of: Real) -> dict[str, Samples]:
        if given.ndim == 3:
            return {"left noisy": given, "Wiener filter": wiener(given, self.level).clamp(-1, 1)}
        return {"left noisy": given, "total variation": total_variation(given, self.level)}


def wiener(noisy: Float[Tensor, "b c l"], level: float) -> Float[Tensor, "b c l"]:
    """Each frequency of each frame times r / (1 + r), r being its ratio of signal to noise: mostly that which the frame
    before had after filtering, a little its own (decision-directed, Ephraim and Malah 1984, equation 51; with this
    gain, Scalart and Filho 1996)."""
    rows, n = noisy.flatten(0, 1), min(WINDOW, noisy.shape[2])
    window = torch.hann_window(n, device=noisy.device)
    frames = torch.stft(rows, n, n // 4, window=window, pad_mode="reflect", return_complex=True)
    power = level**2 * window.square().sum()
    kept, before = [], torch.zeros_like(frames[:, :, 0].real)
    for frame in frames.unbind(2):
        own = (frame.abs().square() / power - 1).clamp(min=0)
        ratio = (MEMORY * before + (1 - MEMORY) * own).clamp(min=LEAST)
        kept.append(frame * ratio / (1 + ratio))
        before = kept[-1].abs().square() / power
    return torch.istft(torch.stack(kept, 2), n, n // 4, window=window, length=noisy.shape[2]).view_as(noisy)


def total_variation(noisy: Samples, level: float) -> Samples:
    """The picture u of least |u - noisy|^2 / 2 + weight TV(u) (Rudin et al. 1992), by Chambolle's projection (2004,
    equation 9); of a film, along time too."""
    axes = noisy.ndim - 2
    weight, dual, step = WEIGHT * level, noisy.new_zeros(axes, *noisy.shape), STEP / axes
    for _ in range(ITERATIONS):
        slope = _gradient(_divergence(dual) - noisy / weight)
        size = slope.square().sum((0, 2), keepdim=True).sqrt()  # of all channels together
        dual = (dual + step * slope) / (1 + step * size)
    u = noisy - weight * _divergence(dual)
    return u.clamp(-1, 1)


def _gradient(x: Samples) -> Tensor:
    """Differences to the next value along each axis, 0 at the border: [axes, b, c, *space]."""
    return torch.stack([F.pad(x.diff(dim=axis), _ends(x.ndim, axis, 0, 1)) for axis in range(2, x.ndim)])


def _divergence(p: Tensor) -> Samples:
    """Minus the adjoint of `_gradient`."""
    total = torch.zeros_like(p[0])
    for axis, slope in enumerate(p, start=2):
        inner = slope.narrow(axis, 0, slope.shape[axis] - 1)
        total = total + F.pad(inner, _ends(slope.ndim, axis, 0, 1)) - F.pad(inner, _ends(slope.ndim, axis, 1, 0))
    return total


def _ends(axes: int, axis: int, before: int, after: int) -> tuple[int, ...]:
    """What `F.pad` is told to lengthen one axis of a tensor."""
    return (*[0, 0] * (axes - 1 - axis), before, after)
