"""The variational autoencoder (Kingma and Welling 2013): codes that follow a normal law, and a decoder back.

    -ELBO = E_q(z|x) [-log p(x|z)] + beta KL(q(z|x) || N(0, I)),     z = mu(x) + sigma(x) * noise

in nats per sample, summed over all dimensions. beta = 1 bounds the likelihood; larger ones trade detail for codes with
independent axes (Higgins et al. 2017). KL warm-up lets codes be found before they are paid for (Bowman et al. 2016).
Free bits let each axis carry something (Kingma et al. 2016, appendix C.8): sum_j max(free, E_x KL_j) instead of the KL.

With several codes a sample the objective is the tighter bound of Burda et al. (2016, equation 8):

    -E_{z_1 … z_k ~ q(z|x)} log 1/k sum_i p(x, z_i) / q(z_i|x)

With a `factor` the code is a grid [latent, *sides / factor], as latent diffusion wants (Rombach et al. 2022).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from maquette.core.seeds import Seeds
from maquette.core.types import (
    Autoencoder,
    Batch,
    Condition,
    Given,
    Likelihood,
    Predictor,
    Real,
    Sampling,
    Space,
    Stats,
    Tighter,
    Turn,
)
from maquette.models import laws
from maquette.models.base import Model, ModelConfig, refuse_space
from maquette.models.codes import active_units, kl_by_axis, kl_to_standard_normal, log_normal, risen, sample
from maquette.nets import convnet
from maquette.nets.base import NetConfig
from maquette.nets.conditioning import LabelEmbedder


@dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    """An encoder, a decoder and the law of what the decoder leaves open."""

    search = {"beta": 4.0, "latent": 2.0}

    encoder: NetConfig = field(default_factory=convnet.Config)
    decoder: NetConfig = field(default_factory=lambda: convnet.Config(activation="relu"))
    latent: int = 32
    """Width of the code, or channels of a grid of codes."""
    factor: int = 0
    """Values on a side of the block that one place of a grid of codes stands for; 0: one code for the sample."""
    likelihood: laws.Kind = "auto"
    """logistic counts the levels of the space, bernoulli takes values as shares of white, gaussian is for a continuum;
    auto is logistic where the space has levels, else gaussian."""
    scale: float = 0.0
    """Spread of the gaussian or logistic, in units of the space; 0 learns one for each channel."""
    beta: float = 1.0
    """Weight of the KL divergence once warmed up."""
    warmup: float = 0.0
    """Share of the budget over which that weight rises from 0."""
    free: float = 0.0
    """Nats of KL divergence that each axis of the code may have for nothing, on average over a batch."""
    codes: int = 1
    """Codes a sample in the objective; with more than one it is the importance-weighted bound, and beta must be 1."""
    label_width: int = 64
    """Of the vector that tells a conditional network its label."""
    label_drop: float = 0.1
    """Share of training rows without their label, so that samples of no given class can be asked for."""

    def __post_init__(self) -> None:
        self.check(self.latent > 0, "latent", "a positive whole number")
        self.check(self.label_width > 0, "label_width", "a positive whole number")
        self.check(self.factor >= 0, "factor", "0 or a positive whole number")
        self.check(self.free >= 0, "free", "0 or a positive number")
        self.check(self.codes > 0, "codes", "a positive whole number")
        plain = (self.beta, self.warmup, self.free) == (1, 0, 0)
        self.check(self.codes == 1 or plain, "codes", "1 where beta, warmup or free change the bound")
        self.check(self.scale >= 0, "scale", "0 or a positive number")
        self.check(self.beta >= 0, "beta", "0 or a positive number")
        self.check(0 <= self.warmup <= 1, "warmup", "a share in [0, 1]")
        self.check(0 <= self.label_drop < 1, "label_drop", "a share in [0, 1)")

    def build(self, space: Space, classes: int = 0) -> "VAE":
        if not isinstance(space, Real):
            raise refuse_space("vae", "real-valued samples", space, "use a kind that takes tokens, or a codec to reals")
        if self.likelihood in ("bernoulli", "logistic") and not space.levels:
            kind = f"vae with likelihood {self.likelihood}"
            raise refuse_space(kind, "values that have levels", space, "set model.likelihood=gaussian")
        if self.factor and (len(space.shape) < 2 or any(side % self.factor for side in space.shape[1:])):
            wanted = f"samples with sides that {self.factor} divides"
            raise refuse_space(f"vae of factor {self.factor}", wanted, space, "choose another model.factor, or 0")
        return VAE(self, space, classes)

    def code(self, space: Real) -> tuple[int, ...]:
        """The shape of a code."""
        return (self.latent, *(side // self.factor for side in space.shape[1:])) if self.factor else (self.latent,)


class VAE(Model, Likelihood, Tighter, Autoencoder):
    """Samples are the decoder's means at z ~ N(0, I)."""

    accepts = (Real,)
    bound = True

    def __init__(self, config: Config, space: Real, classes: int):
        super().__init__()
        self.config: Config = config  # pyright: ignore[reportIncompatibleVariableOverride]
        self.space: Real = space  # pyright: ignore[reportIncompatibleVariableOverride]
        self.classes = classes
        code = config.code(space)
        self.latent = Real(code)
        self.embed = LabelEmbedder(classes, config.label_width, config.label_drop)
        self.encoder = config.encoder.build(space.shape, (2 * code[0], *code[1:]), self.embed.width)
        self.decoder = config.decoder.build(code, space.shape, self.embed.width)
        self.likelihood = laws.law(config.likelihood, space, config.scale)

    def turns(self) -> list[Turn]:
        return [Turn("model", self.loss)]

    def loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        """The negative ELBO with its KL term weighed by `beta` and the warm-up, or the importance-weighted bound."""
        rng = batch.rng.fork(0)
        condition = self.embed(batch.given, len(batch), rng.fork(0))
        mu, log_var = self._posterior(batch.x, condition)
        if self.config.codes > 1:
            weights = self._weights(batch.x, mu, log_var, condition, self.config.codes, rng, self.likelihood)
            bound = (math.log(self.config.codes) - weights.logsumexp(0)).mean()
            kl = kl_to_standard_normal(mu, log_var).mean()
            return bound, {"kl": kl.detach(), "active": active_units(mu.detach())}
        out = self._decode(sample(mu, log_var, rng), condition)
        reconstruction = self.likelihood(out, batch.x.float()).flatten(1).sum(1).mean()
        kl = kl_to_standard_normal(mu, log_var).mean()
        stats = {"reconstruction": reconstruction.detach(), "kl": kl.detach(), "active": active_units(mu.detach())}
        counted = kl
        if self.config.free:
            counted = kl_by_axis(mu, log_var).mean(0).clamp(min=self.config.free).sum()
        return reconstruction + self.config.beta * risen(progress, self.config.warmup) * counted, stats

    def nll(self, batch: Batch) -> Float[Tensor, " b"]:
        """-ELBO from one draw of the code: an upper bound of -log p(x), in nats, of levels where the space has them."""
        condition, rng = self.condition(batch.given, len(batch)), batch.rng.fork(1)
        mu, log_var = self._posterior(batch.x, condition)
        out = self._decode(sample(mu, log_var, rng), condition)
        law = self.likelihood.discrete(out, batch.x.float())
        return law.flatten(1).sum(1) + kl_to_standard_normal(mu, log_var)

    def importance_bound(self, batch: Batch, k: int) -> Float[Tensor, " b"]:
        condition = self.condition(batch.given, len(batch))
        mu, log_var = self._posterior(batch.x, condition)
        law = self.likelihood.discrete
        weights = self._weights(batch.x, mu, log_var, condition, k, batch.rng.fork(1), law)
        return math.log(k) - weights.logsumexp(0)

    def _weights(
        self,
        x: Float[Tensor, "b *space"],
        mu: Float[Tensor, "b *code"],
        log_var: Float[Tensor, "b *code"],
        condition: Condition,
        k: int,
        rng: Seeds,
        law: Callable[[Tensor, Tensor], Tensor],
    ) -> Float[Tensor, "k b"]:
        """log p(x, z) / q(z|x) at `k` draws of z from q."""
        rows, zero = [], torch.zeros_like(mu)
        for _ in range(k):
            z = sample(mu, log_var, rng)
            p_x = -law(self._decode(z, condition), x.float()).flatten(1).sum(1)
            rows.append(p_x + log_normal(z, zero, zero) - log_normal(z, mu, log_var))
        return torch.stack(rows)

    def _posterior(
        self, x: Float[Tensor, "b *space"], condition: Condition
    ) -> tuple[Float[Tensor, "b *code"], Float[Tensor, "b *code"]]:
        """Mean and log-variance of q(z|x)."""
        mu, log_var = self.encoder(x.float(), condition=condition).float().chunk(2, dim=1)
        return mu, log_var

    def _decode(self, z: Float[Tensor, "b *code"], condition: Condition) -> Float[Tensor, "b *space"]:
        return self.decoder(z, condition=condition).float()

    def encode(self, x: Float[Tensor, "b *space"]) -> Float[Tensor, "b *code"]:
        """The mean of q(z|x); of a conditional model, without a label."""
        return self._posterior(x, self.condition(Given(), len(x)))[0]

    def decode(self, z: Float[Tensor, "b *code"]) -> Float[Tensor, "b *space"]:
        """The mean of p(x|z); of a conditional model, without a label."""
        return self.predictor(self.condition(Given(), len(z)))(z)

    def condition(self, given: Given, n: int) -> Condition:
        return self.embed(given, n)

    def predictor(self, condition: Condition) -> Predictor:
        """z [b, *latent.shape] -> samples [b, *space.shape]."""
        return lambda z: self.likelihood.mean(self._decode(z, condition))

    def start(self, n: int, how: Sampling, rng: Seeds) -> Float[Tensor, "b *code"]:
        return rng.normal(*self.latent.shape) * how.temperature

    def draw(self, predict: Predictor, start: Float[Tensor, "b *code"], how: Sampling, rng: Seeds) -> Tensor:
        return predict(start)
