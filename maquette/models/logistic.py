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
    `log_scale` is held above that of a tenth of half a step: narrower ones tell no levels apart.
    """
    half = 1 / (levels - 1)
    sharp = torch.exp(-log_scale.clamp(min=math.log(half / 10)))
    below, above = -F.softplus((mean - x - half) * sharp), -F.softplus((x - mean - half) * sharp)
    step = torch.log(-torch.expm1(-2 * half * sharp))
    inner = below + above + step
    return torch.where(x < half - 1, below, torch.where(x > 1 - half, above, inner))
