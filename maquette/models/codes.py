"""Codes that follow a normal law, q(z|x) = N(mu, sigma^2) with independent axes, held against N(0, I)."""

import math

from jaxtyping import Float
from torch import Tensor

from maquette.core.seeds import Seeds

ACTIVE = 0.01
"""A code's axis is active when the variance of its posterior mean over the data exceeds this (Burda et al. 2016)."""


def sample(mu: Float[Tensor, "b *code"], log_var: Float[Tensor, "b *code"], rng: Seeds) -> Float[Tensor, "b *code"]:
    """z = mu + sigma noise, so that gradients reach both (Kingma and Welling 2013, section 2.4)."""
    return mu + (log_var / 2).exp() * rng.normal(*mu.shape[1:])


def kl_to_standard_normal(mu: Float[Tensor, "b *code"], log_var: Float[Tensor, "b *code"]) -> Float[Tensor, " b"]:
    """KL(N(mu, sigma^2) || N(0, I)) = 1/2 sum(mu^2 + sigma^2 - 1 - log sigma^2) (Kingma and Welling 2013, App. B)."""
    return kl_by_axis(mu, log_var).flatten(1).sum(1)


def kl_by_axis(mu: Float[Tensor, "b *code"], log_var: Float[Tensor, "b *code"]) -> Float[Tensor, "b *code"]:
    """What each axis adds to it."""
    return (mu.square() + log_var.exp() - 1 - log_var) / 2


def log_normal(
    z: Float[Tensor, "b *code"], mu: Float[Tensor, "b *code"], log_var: Float[Tensor, "b *code"]
) -> Float[Tensor, " b"]:
    """log N(z; mu, sigma^2)."""
    return -(((z - mu).square() / log_var.exp() + log_var + math.log(2 * math.pi)) / 2).flatten(1).sum(1)


def active_units(mu: Float[Tensor, "b *code"]) -> Float[Tensor, ""]:
    """How many axes of the code carry something of the data."""
    return (mu.var(0, correction=0) > ACTIVE).sum().float()


def risen(progress: float, warmup: float) -> float:
    """KL annealing (Bowman et al. 2016): the share of its weight that the KL term has, rising from 0 over `warmup`."""
    return progress / warmup if progress < warmup else 1.0
