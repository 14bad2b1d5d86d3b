"""Paths from data to noise, and what a network predicts along them, brought to one canonical denoiser.

A path mixes data and noise, x_t = alpha x + sigma noise. Divided by alpha it is y = x + s noise with one number per
sample, the level s = sigma / alpha: so every path is alpha(s) and a clock t(s), and whatever a network predicts becomes
`(y, s) -> x_hat`, the only thing that solvers see. Data are taken to have about unit variance here; who has data of
standard deviation d calls these functions with y / d and s / d (which is Karras et al.'s `sigma_data`).

| path | alpha | clock t(s) | source |
|---|---|---|---|
| cosine | 1/sqrt(1 + s^2) | (2/pi) atan s | Nichol and Dhariwal 2021, without their offset |
| linear | 1/sqrt(1 + s^2) | s^2 = exp(19.9 t^2 / 2 + 0.1 t) - 1 | Ho et al. 2020; Song et al. 2021 |
| edm | 1/sqrt(1 + s^2) | ln(s) / 4 | Karras et al. 2022, table 1: c_in and c_noise |
| flow | 1/(1 + s) | s/(1 + s) | Lipman et al. 2023; Liu et al. 2023 (rectified flow) |

Where alpha reaches 0 (flow and cosine at t = 1) s is infinite. Levels therefore end at a large finite s: 80, Karras et
al.'s largest, is t = 0.988 of flow, and the data that are still to be seen there are 1/80 of the noise.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Levels = Float[Tensor, "*any"]


@dataclass(frozen=True)
class Path:
    """x_t = alpha(s) y, and the clock that the network is told."""

    alpha: Callable[[Tensor], Tensor]
    time: Callable[[Tensor], Tensor]
    """Level -> time; rises with the level."""
    level: Callable[[Tensor], Tensor]
    """Time -> level, the inverse of `time`."""


_BETA_MIN, _BETA_RISE = 0.1, 19.9


def _preserving(s: Tensor) -> Tensor:
    """alpha where alpha^2 + sigma^2 = 1."""
    return torch.rsqrt(1 + s**2)


def _linear_time(s: Tensor) -> Tensor:
    return 2 * torch.log1p(s**2) / (_BETA_MIN + (_BETA_MIN**2 + 2 * _BETA_RISE * torch.log1p(s**2)).sqrt())


def _linear_level(t: Tensor) -> Tensor:
    return torch.expm1(_BETA_RISE * t**2 / 2 + _BETA_MIN * t).sqrt()


PATHS = {
    "cosine": Path(_preserving, lambda s: torch.atan(s) * (2 / math.pi), lambda t: torch.tan(t * (math.pi / 2))),
    "linear": Path(_preserving, _linear_time, _linear_level),
    "edm": Path(_preserving, lambda s: s.log() / 4, lambda t: (4 * t).exp()),
    "flow": Path(lambda s: 1 / (1 + s), lambda s: s / (1 + s), lambda t: t / (1 - t)),
}


# -- what the network's output F means: x_hat = skip y + out F --------------------------------------------------------

Prediction = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(alpha, s) -> (skip, out)."""


def predicts_noise(alpha: Levels, s: Levels) -> tuple[Levels, Levels]:
    """F = noise (Ho et al. 2020, equation 11)."""
    return torch.ones_like(s), -s


def predicts_x(alpha: Levels, s: Levels) -> tuple[Levels, Levels]:
    """F = x."""
    return torch.zeros_like(s), torch.ones_like(s)


def predicts_v(alpha: Levels, s: Levels) -> tuple[Levels, Levels]:
    """F = alpha noise - sigma x (Salimans and Ho 2022), of unit variance at every level.

    On a variance-preserving path this is Karras et al.'s preconditioning (2022, table 1) with the sign of F turned.
    """
    return 1 / (1 + s**2), -s / (alpha * (1 + s**2))


def predicts_velocity(alpha: Levels, s: Levels) -> tuple[Levels, Levels]:
    """F = noise - x, the velocity dx_t/dt of rectified flow (Liu et al. 2023, equation 1)."""
    return 1 / (1 + s), -s / (1 + s)


PREDICTIONS: dict[str, Prediction] = {
    "noise": predicts_noise,
    "x": predicts_x,
    "v": predicts_v,
    "velocity": predicts_velocity,
}


def denoised(
    prediction: Prediction, alpha: Levels, s: Levels, y: Float[Tensor, "b *space"], output: Float[Tensor, "b *space"]
) -> Float[Tensor, "b *space"]:
    """x_hat from the network's output at y; `alpha` and `s` are [b]."""
    skip, out = (per_sample(c, y) for c in prediction(alpha, s))
    return skip * y + out * output


def target(
    prediction: Prediction, alpha: Levels, s: Levels, y: Float[Tensor, "b *space"], x: Float[Tensor, "b *space"]
) -> Float[Tensor, "b *space"]:
    """What the network should have said at y = x + s noise: the inverse of `denoised`."""
    skip, out = (per_sample(c, y) for c in prediction(alpha, s))
    return (x - skip * y) / out


def per_sample(c: Float[Tensor, " b"], like: Float[Tensor, "b *space"]) -> Float[Tensor, "b *ones"]:
    """[b] -> [b, 1, ...], to multiply samples."""
    return c.reshape(-1, *[1] * (like.ndim - 1))


# -- the levels that are practised, and those that a solver visits ----------------------------------------------------


def normal_levels(u: Float[Tensor, " b"], mean: float, std: float, low: Tensor, high: Tensor) -> Float[Tensor, " b"]:
    """Uniform numbers -> levels whose logarithm is normal, kept in [low, high] (Karras et al. 2022, table 1)."""
    normal = math.sqrt(2) * torch.erfinv((2 * u - 1).clamp(-1 + 1e-6, 1 - 1e-6))
    return (mean + std * normal).exp().clamp(low, high)


def first_level(strength: float, data_std: float, low: float, high: float) -> float:
    """Where a draw starts that keeps of a picture what so much noise leaves: `strength` is rectified flow's clock.

    A half is as much noise as data, 1 is the highest level; the lowest that is left to a draw is twice `low`.

    >>> first_level(1.0, 0.5, 0.002, 80.0), first_level(0.5, 0.5, 0.002, 80.0)
    (80.0, 0.5)
    """
    s = data_std * strength / (1 - strength) if strength < 1 else high
    return min(max(s, 2 * low), high)


def karras_levels(n: int, s_min: float, s_max: float, rho: float = 7.0) -> Float[Tensor, " levels"]:
    """`n` falling levels that are dense where they are low, then 0 (Karras et al. 2022, equation 5).

    >>> karras_levels(2, 1.0, 4.0, rho=1.0).tolist()
    [4.0, 1.0, 0.0]
    """
    return _with_zero(torch.linspace(s_max ** (1 / rho), s_min ** (1 / rho), n, dtype=torch.float64) ** rho)


def log_snr_levels(n: int, s_min: float, s_max: float) -> Float[Tensor, " levels"]:
    """`n` falling levels, evenly spaced in log s, then 0 (Lu et al. 2022).

    >>> log_snr_levels(3, 0.25, 4.0).tolist()
    [4.0, 1.0, 0.25, 0.0]
    """
    return _with_zero(torch.linspace(math.log(s_max), math.log(s_min), n, dtype=torch.float64).exp())


def uniform_levels(n: int, s_min: float, s_max: float, path: Path) -> Float[Tensor, " levels"]:
    """`n` falling levels, evenly spaced in the time of `path`, then 0.

    >>> uniform_levels(2, 0.25, 1.0, PATHS["flow"]).tolist()
    [1.0, 0.25, 0.0]
    """
    last, first = path.time(torch.tensor([s_min, s_max], dtype=torch.float64)).tolist()
    return _with_zero(path.level(torch.linspace(first, last, n, dtype=torch.float64)))


def _with_zero(levels: Tensor) -> Tensor:
    return torch.cat([levels, levels.new_zeros(1)]).float()
