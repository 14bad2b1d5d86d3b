"""How probable data are to a canonical denoiser: a bound from a few looks, or the density of the flow that it defines.

Both speak of samples x, of noise from `low` to `high` (`y = x + s noise`), and of a start N(0, high^2). Where samples
take `values` equally spaced values in [-1, 1] the answer is a bound on their probability, also for the flow: a density
is no probability, so y of the lowest level stands between, from which Bayes' rule finds the value again,

    -ln P(x) <= E over y of  -ln p(y) - ln P(x | y) + ln q(y | x),    q(y | x) = N(x, low^2)

(variational dequantisation, Ho et al. 2019, with a normal q), and that level lies half a step apart or higher.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from maquette.core import cancel
from maquette.core.seeds import Seeds
from maquette.core.types import Predictor
from maquette.solvers.paths import per_sample

LOOKS = 4
"""Levels at which `bound` looks at each sample."""
PROBES = 2
"""Random directions from which `flow` estimates a trace."""
TOLERANCE = 1e-5
"""Of a step of `flow`: its error, as a share of 1 + |coordinate|, and in nats per dimension (Song et al. 2021's)."""

Samples = Float[Tensor, "b *space"]
Nats = Float[Tensor, " b"]


@torch.no_grad()
def bound(denoise: Predictor, x: Samples, low: float, high: float, rng: Seeds, values: int = 0) -> Nats:
    """The variational bound on -ln p(x), from `LOOKS` levels of each sample (Kingma et al. 2021, equations 11-15).

    prior + reconstruction + E over ln s of |x - x_hat|^2 / s^2 times the length of its range, from a lowest s up. On a
    continuum the reconstruction is normal with deviation s.
    """
    low = lowest(low, values)
    x, u, length = x.float(), rng.strata(), math.log(high / low)
    steps = torch.zeros(len(x), device=x.device)
    for look in range(LOOKS):  # evenly spread over the range, which varies less than levels drawn one by one
        s = (math.log(low) + length * ((u + look / LOOKS) % 1)).exp()
        error = denoise(x + per_sample(s, x) * rng.normal(*x.shape[1:]), s) - x
        steps += length / LOOKS * (error / per_sample(s, x)).square().flatten(1).sum(1)
    prior = (x / high).square().flatten(1).sum(1) / 2
    noise = rng.normal(*x.shape[1:])
    if values:
        return steps + prior + value_nll(noise, low, values)
    error = (x - denoise(x + low * noise, x.new_full((len(x),), low))) / low
    return steps + prior + (error.square() / 2 + math.log(low * math.sqrt(2 * math.pi))).flatten(1).sum(1)


@torch.no_grad()
def flow(
    denoise: Predictor,
    x: Samples,
    low: float,
    high: float,
    rng: Seeds,
    values: int = 0,
    probes: int = PROBES,
    tolerance: float = TOLERANCE,
) -> Nats:
    """-ln p(x) by the probability-flow equation: exact on a continuum, to `tolerance` and the estimate of the trace.

    On a continuum p is the law of what an exact solver of dy/ds = (y - x_hat)/s arrives at when it goes from
    N(0, high^2) down to `low`. The estimate varies, and is right on average. Call it outside of inference mode, as it
    takes derivatives.
    """
    low, x = lowest(low, values), x.float()
    if not values:
        return -log_density(denoise, x, low, high, rng, probes, tolerance)
    noise = rng.normal(*x.shape[1:])
    log_p = log_density(denoise, x + low * noise, low, high, rng, probes, tolerance)
    log_q = -(noise.square() / 2 + math.log(low * math.sqrt(2 * math.pi))).flatten(1).sum(1)
    return log_q - log_p + value_nll(noise, low, values)


def lowest(low: float, values: int) -> float:
    """The lowest level that is looked at: below half a step Bayes' rule over the values knows more than a network."""
    return max(low, 1 / (values - 1)) if values else low


def value_nll(noise: Samples, low: float, values: int) -> Nats:
    """-ln P(x | x + low noise) in nats per sample, where every value is as likely as any other."""
    # y lies `noise` deviations from its own value and `gap` more from each next one; past 14 none counts
    gap = 2 / (values - 1) / low
    if gap < 0.5:  # the sum over values is the integral, to 1 part in 10^34 (Poisson's formula), and takes no memory
        return (noise.square() / 2 + math.log(math.sqrt(2 * math.pi) / gap)).flatten(1).sum(1)
    reach = min(values - 1, math.ceil(14 / gap))
    offsets = torch.arange(-reach, reach + 1, device=noise.device) * gap
    logits = offsets * noise[..., None] - offsets**2 / 2
    return torch.logsumexp(logits, dim=-1).flatten(1).sum(1)


# -- the density of the flow ------------------------------------------------------------------------------------------


def log_density(
    denoise: Predictor, y: Samples, low: float, high: float, rng: Seeds, probes: int, tolerance: float
) -> Nats:
    """ln p(y) at the level `low` of the flow from N(0, high^2) (Song et al. 2021, equation 39), in l = ln s:

        dy/dl = y - x_hat,    ln p(y at low) = ln N(y at high; 0, high^2) + integral of (d - tr dx_hat/dy) dl

    The trace is the mean of e^T (dx_hat/dy) e over `probes` directions of random signs (Hutchinson 1990), the same all
    the way, so that the equation stays an ordinary one. It is solved in y / sqrt(1 + s^2), which does not grow.
    """
    shape, d = y.shape, y[0].numel()
    signs = [(2 * rng.integers(2, *shape[1:]) - 1).to(y) for _ in range(probes)]

    def slope(at: float, state: Tensor) -> Tensor:
        s = math.exp(at)
        scale = math.sqrt(1 + s**2)
        z = state[:, :d]
        with torch.enable_grad():
            y = (z * scale).reshape(shape).requires_grad_()
            x = denoise(y, y.new_full((len(y),), s))
            pulled = [torch.autograd.grad(x, y, e, retain_graph=e is not signs[-1])[0] for e in signs]
        trace = torch.stack([(p * e).flatten(1).sum(1) for p, e in zip(pulled, signs, strict=True)]).mean(0)
        moved = z / scale**2 - x.detach().flatten(1) / scale
        return torch.cat([moved, (1 - trace / d)[:, None]], 1)

    first = y.flatten(1) / math.sqrt(1 + low**2)
    state = rk45(slope, torch.cat([first, first.new_zeros(len(y), 1)], 1), math.log(low), math.log(high), tolerance)
    last = state[:, :d] * (math.sqrt(1 + high**2) / high)
    return d * state[:, d] - (last.square() / 2 + math.log(high * math.sqrt(2 * math.pi))).sum(1)


_STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
"""Each row sums to the share of the step at which its stage lies; the last one is the fifth-order solution itself."""
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


def rk45(
    slope: Callable[[float, Tensor], Tensor],
    state: Float[Tensor, "b n"],
    first: float,
    last: float,
    tolerance: float,
) -> Float[Tensor, "b n"]:
    """The state at `last` of d state / d at = slope(at, state), by Dormand and Prince's pair of orders 5 and 4 (1980).

    A step is taken when the root mean square of each row's estimated errors, each as a share of 1 + |value|, is at most
    `tolerance`; its length follows Hairer et al. (1993, section II.4). What is not finite is not mended.
    """
    at, step, before = first, (last - first) / 20, slope(first, state)
    while True:
        cancel.check()
        ends = step >= last - at
        step = last - at if ends else step
        slopes, moved = [before], state
        for row in _STAGES:
            moved = torch.add(state, _mix(row, slopes), alpha=step)
            slopes.append(slope(at + sum(row) * step, moved))
        share = step * _mix(_ERROR, slopes) / (tolerance * (1 + torch.maximum(state.abs(), moved.abs())))
        size = share.square().mean(1).sqrt().max().item()
        if not size > 1:  # nan too: there is nothing to be gained by a shorter step
            at, state, before = at + step, moved, slopes[-1]
            if ends:
                return state
        step *= min(5.0, max(0.2, 0.9 * max(1e-9, size) ** -0.2))


def _mix(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    return sum((w * k for w, k in zip(weights, slopes, strict=True) if w), torch.zeros_like(slopes[0]))
