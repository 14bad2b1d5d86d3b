"""Likelihoods p(x|z) as functions of a decoder's output: what it says of a sample, value by value, in nats."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from maquette.core.types import Real
from maquette.models.logistic import log_bin

Kind = Literal["auto", "bernoulli", "gaussian", "logistic"]
"""logistic counts the levels of the space, bernoulli takes values as shares of white, gaussian is for a continuum; auto
is logistic where the space has levels, else gaussian."""


def law(kind: Kind, space: Real, scale: float) -> "Bernoulli | Gaussian | Logistic":
    """Of samples of `space`, with this spread, or with a learnt one where it is 0."""
    if kind == "bernoulli":
        return Bernoulli(space.levels)
    gaussian = kind == "gaussian" or not space.levels
    return Gaussian(space, scale) if gaussian else Logistic(space, scale)


class Bernoulli(nn.Module):
    """Values as shares of white, the decoder giving logits: -x log p - (1 - x) log(1 - p), x scaled to [0, 1].

    For two levels this is a likelihood. For more, `forward` is the usual cross-entropy, and `discrete` adds the
    constant that makes p^x (1 - p)^(1 - x) sum to one over the levels.
    """

    def __init__(self, levels: int):
        super().__init__()
        self.levels = levels

    def forward(self, out: Float[Tensor, "b *space"], x: Float[Tensor, "b *space"]) -> Float[Tensor, "b *space"]:
        return F.softplus(out) - (x + 1) / 2 * out

    def discrete(self, out: Float[Tensor, "b *space"], x: Float[Tensor, "b *space"]) -> Float[Tensor, "b *space"]:
        if self.levels <= 2:
            return self(out, x)
        # log of the geometric sum over k < n of exp(k r), r = |logit| / (n - 1): its limit at 0 is n
        n, r = self.levels, (out / (self.levels - 1)).abs().double().clamp(min=1e-9)
        total = (n - 1) * r + (torch.expm1(-n * r) / torch.expm1(-r)).log() - F.softplus((n - 1) * r)
        return self(out, x) + total.float()

    def mean(self, out: Float[Tensor, "b *space"]) -> Float[Tensor, "b *space"]:
        return 2 * torch.sigmoid(out) - 1


class _AtLeast(torch.autograd.Function):
    """max(x, least), with a gradient below it too where a step would raise x: that of clamp is 0, and x stays there."""

    @staticmethod
    def forward(ctx, x: Tensor, least: float) -> Tensor:
        ctx.save_for_backward(x >= least)
        return x.clamp(min=least)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (above,) = ctx.saved_tensors
        return grad * (above | (grad < 0)), None


class _Scaled(nn.Module):
    """A law with one spread per channel, learnt unless `scale` fixes it, and never narrower than a level is wide."""

    def __init__(self, space: Real, scale: float):
        super().__init__()
        self.levels = space.levels
        self.step = 2 / (space.levels - 1) if space.levels else 0.0
        shape = (space.shape[0], *[1] * (len(space.shape) - 1)) if space.levels else space.shape
        if scale:
            self.register_buffer("log_scale", torch.full((1,) * len(space.shape), math.log(scale)))
        else:
            self.log_scale = nn.Parameter(torch.full(shape, math.log(0.5)))

    @property
    def scale(self) -> Tensor:
        return _AtLeast.apply(self.log_scale.exp(), max(self.step, 1e-3))  # type: ignore[return-value]


class Gaussian(_Scaled):
    """-log N(x; mean, scale^2), a density; `discrete` is that of a level, the density times the levels' distance."""

    def forward(self, out: Float[Tensor, "b *space"], x: Float[Tensor, "b *space"]) -> Float[Tensor, "b *space"]:
        return ((x - out) / self.scale).square() / 2 + self.scale.log() + math.log(2 * math.pi) / 2

    def discrete(self, out: Float[Tensor, "b *space"], x: Float[Tensor, "b *space"]) -> Float[Tensor, "b *space"]:
        return self(out, x) - (math.log(self.step) if self.levels else 0.0)

    def mean(self, out: Float[Tensor, "b *space"]) -> Float[Tensor, "b *space"]:
        return out


class Logistic(_Scaled):
    """The probability that a logistic variable falls into a level's cell; the outer cells are open (Kingma 2016)."""

    def forward(self, out: Float[Tensor, "b *space"], x: Float[Tensor, "b *space"]) -> Float[Tensor, "b *space"]:
        return -log_bin(x, out, self.scale.log(), self.levels)

    discrete = forward

    def mean(self, out: Float[Tensor, "b *space"]) -> Float[Tensor, "b *space"]:
        """The likeliest level: the open outer cells draw means of black and white far out of the space."""
        return out.clamp(-1, 1)
