"""The discretised logistic distribution of values that occur in equal steps, such as 8-bit pixels, and its mixtures."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from maquette.codecs.quantise import to_levels
from maquette.solvers.decoding import invert


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


def count_parameters(mixtures: int, channels: int) -> int:
    """Per pixel: each logistic has a weight, and per channel a mean, a scale and a slope on each channel before it."""
    return mixtures * (1 + 2 * channels + channels * (channels - 1) // 2)


class Mixture:
    """Distributions of pixels, read off a network's output [b, count_parameters(k, c), *at].

    The axes of `weights` are b k *at, those of `means`, `log_scales` and `slopes` b k c *at.
    """

    def __init__(self, output: Float[Tensor, "b p *at"], channels: int, levels: int):
        self.channels, self.levels = channels, levels
        each = count_parameters(1, channels)
        split = output.float().unflatten(1, (-1, each))
        slopes = each - 1 - 2 * channels
        weights, self.means, self.log_scales, slope = split.split([1, channels, channels, slopes], dim=2)
        self.weights, self.slopes = weights.squeeze(2).log_softmax(1), slope.tanh()

    def log_prob(self, x: Float[Tensor, "b c *at"]) -> Float[Tensor, "b *at"]:
        """log p of whole pixels, all channels together."""
        return torch.logsumexp(self._joint(x, self.channels), dim=1)

    def next_value(self, x: Float[Tensor, "b c"], channel: int) -> Float[Tensor, "b levels"]:
        """log p of each level of `channel`, given the channels before it in `x`; for the output of one pixel."""
        weights = self._joint(x, channel).softmax(1)
        levels = bins(self._mean(x, channel), self.log_scales[:, :, channel], self.levels)
        return (weights[:, None] @ levels)[:, 0].clamp_min(torch.finfo(levels.dtype).tiny).log()

    def _joint(self, x: Tensor, channels: int) -> Tensor:
        """log of (weight of each logistic * its probability of the first `channels` values), [b, k, *at]."""
        joint = self.weights
        for c in range(channels):
            joint = joint + log_bin(x[:, None, c], self._mean(x, c), self.log_scales[:, :, c], self.levels)
        return joint

    def _mean(self, x: Tensor, channel: int) -> Tensor:
        """Equation 3: the mean of a channel follows the values of the channels before it."""
        mean, first = self.means[:, :, channel], channel * (channel - 1) // 2
        for before in range(channel):
            mean = mean + self.slopes[:, :, first + before] * x[:, None, before]
        return mean


def draw_levels(
    said: Float[Tensor, "b p"], u: Float[Tensor, "b 2"], levels: int, temperature: float = 1.0
) -> Int[Tensor, " b"]:
    """Levels drawn from mixtures of one channel, whose parameters are as `Mixture` has them: p = 3 k.

    The first of two uniform numbers picks a logistic and the second says where in it (Salimans et al. 2017): the level
    nearest to mean + scale log(u / (1 - u)) has the probability of `log_bin`. A temperature below 1 makes each logistic
    narrower and the likely ones likelier.
    """
    weights, mean, log_scale = said.float().unflatten(1, (-1, 3)).unbind(2)
    which = invert((weights / temperature).double().softmax(1), u[:, 0].double())[:, None]
    scale = temperature / sharpness(log_scale.gather(1, which), levels).double()
    return to_levels((mean.gather(1, which) + scale * u[:, 1:].double().logit(eps=ODD))[:, 0], levels)


ODD = 2.0**-25
"""Between 0 and the smallest number above it that is drawn: nearer to 0 and 1 no sample lies."""
