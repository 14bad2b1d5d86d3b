"""The discretised logistic distribution of values that occur in equal steps, such as 8-bit pixels."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def log_bin(
    x: Float[Tensor, "*#shape"],
    mean: Float[Tensor, "*#shape"],
    log_scale: Float[Tensor, "*#shape"],
    levels: int,
) -> Float[Tensor, "*shape"]:
    """log of the probability that a logistic distribution gives to the step around each value of `x`.

    Salimans et al. 2017, Equation 2. `x` is one of `levels` equally spaced values from -1 to 1; the first and the last
    take the tails, so the probabilities of all levels sum to 1. The difference of two sigmoids is computed as

        sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - exp(l - u)),

    whose logarithm loses nothing in float32, however far from the mean or however narrow the distribution.
    """
    half, sharp = 1 / (levels - 1), sharpness(log_scale, levels)
    below, above = -F.softplus((mean - x - half) * sharp), -F.softplus((x - mean - half) * sharp)
    step = torch.log(-torch.expm1(-2 * half * sharp))
    inner = below + above + step
    return torch.where(x < half - 1, below, torch.where(x > 1 - half, above, inner))


def bins(
    mean: Float[Tensor, "*shape"], log_scale: Float[Tensor, "*shape"], levels: int
) -> Float[Tensor, "*shape levels"]:
    """exp of `log_bin` for all levels at once: each edge between two levels is evaluated once."""
    half, sharp = 1 / (levels - 1), sharpness(log_scale, levels)[..., None]
    edges = torch.linspace(half - 1, 1 - half, levels - 1, device=mean.device)
    t = (edges - mean[..., None]) * sharp
    below, above = torch.sigmoid(t), torch.sigmoid(-t)
    inner = below[..., 1:] * above[..., :-1] * -torch.expm1(-2 * half * sharp)
    return torch.cat([below[..., :1], inner, above[..., -1:]], -1)


def sharpness(log_scale: Float[Tensor, "*shape"], levels: int) -> Float[Tensor, "*shape"]:
    """1 / scale, of scales from a tenth of half a step, below which no levels are told apart, to e^8, which is flat.

    Without the upper bound a step's share of a wide distribution would vanish in float32 and its logarithm be infinite.
    """
    return torch.exp(-log_scale.clamp(-math.log(10 * (levels - 1)), 8.0))
