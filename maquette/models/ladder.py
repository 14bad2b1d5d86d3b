"""The ladder VAE (Sønderby et al. 2016): codes of several layers, each the law of the one below.

    p(x, z) = p(x|z_1) p(z_1|z_2) … p(z_L),     p(z_i|z_{i+1}) = N(mu_p, sigma_p^2),     p(z_L) = N(0, I)

The encoder goes up from x and sends each layer a message N(mu_hat, sigma_hat^2); then the codes are drawn from the top
down, what the prior expects and what the message says being weighed by their precisions:

    1 / sigma_q^2 = 1 / sigma_hat^2 + 1 / sigma_p^2,     mu_q = sigma_q^2 (mu_hat / sigma_hat^2 + mu_p / sigma_p^2)

    -ELBO = E_q [-log p(x|z_1) + sum_i KL(q(z_i|z_{i+1}, x) || p(z_i|z_{i+1}))]

in nats per sample. In a model that is linear and normal this q is the exact posterior.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

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
from maquette.models.codes import active_units, log_normal, risen, sample
from maquette.nets import convnet
from maquette.nets.base import NetConfig
from maquette.nets.conditioning import LabelEmbedder

SMALLEST = 1e-8
"""No law has a smaller variance."""


@dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    """An encoder, a decoder, and layers of codes between them."""

    encoder: NetConfig = field(default_factory=convnet.Config)
    decoder: NetConfig = field(default_factory=lambda: convnet.Config(activation="relu"))
    latents: tuple[int, ...] = (32, 16)
    """Widths of the codes, from the data up."""
    width: int = 256
    """Of the vectors between layers."""
    likelihood: laws.Kind = "auto"
    """logistic counts the levels of the space, bernoulli takes values as shares of white, gaussian is for a continuum;
    auto is logistic where the space has levels, else gaussian."""
    scale: float = 0.0
    """Spread of the gaussian or logistic, in units of the space; 0 learns one for each channel."""
    warmup: float = 0.2
    """Share of the budget over which the weight of the KL divergences rises from 0; with none, codes may stay empty."""
    label_width: int = 64
    """Of the vector that tells a conditional network its label."""
    label_drop: float = 0.1
    """Share of training rows without their label, so that samples of no given class can be asked for."""

    def __post_init__(self) -> None:
        self.check(len(self.latents) > 1 and min(self.latents) > 0, "latents", "two or more positive whole numbers")
        for name in ("width", "label_width"):
            self.check(getattr(self, name) > 0, name, "a positive whole number")
        self.check(self.scale >= 0, "scale", "0 or a positive number")
        self.check(0 <= self.warmup <= 1, "warmup", "a share in [0, 1]")
        self.check(0 <= self.label_drop < 1, "label_drop", "a share in [0, 1)")

    @classmethod
    def tiny(cls) -> "Config":
        """Small enough for a test: of two numbers, the default's 48 codes learn nothing in its 200 steps."""
        return cls(latents=(8, 4))

    def build(self, space: Space, classes: int = 0) -> "Ladder":
        if not isinstance(space, Real):
            hint = "use a kind that takes tokens, or a codec to reals"
            raise refuse_space("ladder", "real-valued samples", space, hint)
        if self.likelihood in ("bernoulli", "logistic") and not space.levels:
            kind = f"ladder with likelihood {self.likelihood}"
            raise refuse_space(kind, "values that have levels", space, "set model.likelihood=gaussian")
        return Ladder(self, space, classes)


class Normal(NamedTuple):
    """N(mu, sigma^2) with independent axes."""

    mu: Float[Tensor, "b d"]
    log_var: Float[Tensor, "b d"]

    def kl(self, other: "Normal") -> Float[Tensor, " b"]:
        """KL(self || other) = 1/2 sum(log s_o^2 / s^2 + (s^2 + (mu - mu_o)^2) / s_o^2 - 1)."""
        apart = (self.mu - other.mu).square() / other.log_var.exp()
        ratio = self.log_var - other.log_var
        return (apart + ratio.exp() - ratio - 1).sum(1) / 2

    def times(self, other: "Normal") -> "Normal":
        """The normal law in proportion to the product of both densities."""
        log_var = -torch.logaddexp(-self.log_var, -other.log_var)
        mu = self.mu * (log_var - self.log_var).exp() + other.mu * (log_var - other.log_var).exp()
        return Normal(mu, log_var)


class Layer(NamedTuple):
    """A code on its way down, the law that it was drawn from, and what the layer above expected."""

    z: Float[Tensor, "b d"]
    drawn: Normal
    prior: Normal


class Ladder(Model, Likelihood, Tighter, Autoencoder):
    """Its predictor takes the noise of all layers, from the data up, to samples: the decoder's means. A code is z_1."""

    accepts = (Real,)
    bound = True

    def __init__(self, config: Config, space: Real, classes: int):
        super().__init__()
        self.config: Config = config  # pyright: ignore[reportIncompatibleVariableOverride]
        self.space: Real = space  # pyright: ignore[reportIncompatibleVariableOverride]
        self.classes, width = classes, config.width
        self.latent = Real(config.latents[:1])
        self.embed = LabelEmbedder(classes, config.label_width, config.label_drop)
        self.encoder = config.encoder.build(space.shape, (width,), self.embed.width)
        self.up = nn.ModuleList(_hidden(width, width, width) for _ in config.latents[1:])
        self.messages = nn.ModuleList(nn.Linear(width, 2 * latent) for latent in config.latents)
        pairs = zip(config.latents[1:], config.latents[:-1], strict=True)
        self.priors = nn.ModuleList(_hidden(above, width, 2 * below) for above, below in pairs)
        self.decoder = config.decoder.build(config.latents[:1], space.shape, self.embed.width)
        self.likelihood = laws.law(config.likelihood, space, config.scale)

    def turns(self) -> list[Turn]:
        return [Turn("model", self.loss)]

    # -- up and down --------------------------------------------------------------------------------------------------

    def heard(self, x: Float[Tensor, "b *space"], condition: Condition) -> list[Normal]:
        """The message to each layer, from the data up."""
        h = self.encoder(x.float(), condition=condition).float()
        found = [_normal(self.messages[0](h))]
        for up, message in zip(self.up, list(self.messages)[1:], strict=True):
            h = up(h)
            found.append(_normal(message(h)))
        return found

    def down(self, draw: Callable[[Normal, int], Tensor], heard: list[Normal] | None, like: Tensor) -> Iterator[Layer]:
        """The layers from the top down, by their priors alone where nothing is heard.

        Args:
            draw: a code from its law and the number of its layer.
            like: [b, …], for the number of rows and the device.
        """
        z, top = like, len(self.config.latents) - 1
        for number in range(top, -1, -1):
            zero = like.new_zeros(len(like), self.config.latents[top], dtype=torch.float32)
            prior = Normal(zero, zero) if number == top else _normal(self.priors[number](z))
            law = prior if heard is None else heard[number].times(prior)
            z = draw(law, number)
            yield Layer(z, law, prior)

    # -- learning -----------------------------------------------------------------------------------------------------

    def loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        """The negative ELBO with its KL terms weighed by the warm-up."""
        rng = batch.rng.fork(0)
        condition = self.embed(batch.given, len(batch), rng.fork(0))
        heard = self.heard(batch.x, condition)
        layers = list(self.down(lambda law, _: sample(law.mu, law.log_var, rng), heard, batch.x))
        out = self._decode(layers[-1].z, condition)
        reconstruction = self.likelihood(out, batch.x.float()).flatten(1).sum(1).mean()
        kls = [layer.drawn.kl(layer.prior).mean() for layer in reversed(layers)]
        kl = torch.stack(kls).sum()
        stats = {f"kl_{number}": value for number, value in enumerate(kls, 1)}
        stats |= {"reconstruction": reconstruction, "kl": kl, "active": active_units(layers[-1].drawn.mu)}
        loss = reconstruction + risen(progress, self.config.warmup) * kl
        return loss, {name: value.detach() for name, value in stats.items()}

    def nll(self, batch: Batch) -> Float[Tensor, " b"]:
        """-ELBO from one draw of the codes, each KL term exact given the codes above it."""
        condition, rng = self.condition(batch.given, len(batch)), batch.rng.fork(1)
        heard = self.heard(batch.x, condition)
        layers = list(self.down(lambda law, _: sample(law.mu, law.log_var, rng), heard, batch.x))
        law = self.likelihood.discrete(self._decode(layers[-1].z, condition), batch.x.float())
        return law.flatten(1).sum(1) + torch.stack([layer.drawn.kl(layer.prior) for layer in layers]).sum(0)

    def importance_bound(self, batch: Batch, k: int) -> Float[Tensor, " b"]:
        condition, rng = self.condition(batch.given, len(batch)), batch.rng.fork(1)
        heard, weights = self.heard(batch.x, condition), []
        for _ in range(k):
            layers = list(self.down(lambda law, _: sample(law.mu, law.log_var, rng), heard, batch.x))
            law = self.likelihood.discrete(self._decode(layers[-1].z, condition), batch.x.float())
            ratios = [log_normal(z, *prior) - log_normal(z, *drawn) for z, drawn, prior in layers]
            weights.append(torch.stack(ratios).sum(0) - law.flatten(1).sum(1))
        return math.log(k) - torch.stack(weights).logsumexp(0)

    def _decode(self, z: Float[Tensor, "b d"], condition: Condition) -> Float[Tensor, "b *space"]:
        return self.decoder(z, condition=condition).float()

    # -- codes and samples --------------------------------------------------------------------------------------------

    def encode(self, x: Float[Tensor, "b *space"]) -> Float[Tensor, "b d"]:
        """The mean of z_1 where every code above it is at its mean; of a conditional model, without a label."""
        heard = self.heard(x, self.condition(Given(), len(x)))
        return list(self.down(lambda law, _: law.mu, heard, x))[-1].z

    def decode(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b *space"]:
        """The mean of p(x|z_1); of a conditional model, without a label."""
        return self.likelihood.mean(self._decode(z, self.condition(Given(), len(z))))

    def condition(self, given: Given, n: int) -> Condition:
        return self.embed(given, n)

    def predictor(self, condition: Condition) -> Predictor:
        """Noise [b, the sum of latents] -> samples [b, *space.shape]."""

        def predict(noise: Float[Tensor, "b d"]) -> Float[Tensor, "b *space"]:
            parts = noise.split(self.config.latents, dim=1)
            layers = self.down(lambda law, number: law.mu + (law.log_var / 2).exp() * parts[number], None, noise)
            return self.likelihood.mean(self._decode(list(layers)[-1].z, condition))

        return predict

    def start(self, n: int, how: Sampling, rng: Seeds) -> Float[Tensor, "b d"]:
        return rng.normal(sum(self.config.latents)) * how.temperature

    def draw(self, predict: Predictor, start: Float[Tensor, "b d"], how: Sampling, rng: Seeds) -> Tensor:
        return predict(start)


def _hidden(source: int, width: int, target: int) -> nn.Module:
    return nn.Sequential(nn.Linear(source, width), nn.SiLU(), nn.Linear(width, target))


def _normal(out: Float[Tensor, "b d2"]) -> Normal:
    """sigma^2 = softplus(…), as theirs: by an exponential a message that tells nothing yet fades in a few steps, and
    with it the gradient that could bring it back."""
    mu, spread = out.float().chunk(2, dim=1)
    return Normal(mu, F.softplus(spread).clamp(min=SMALLEST).log())
