"""The VAE/GAN (Larsen et al. 2016): an autoencoder that compares samples by what a critic sees in them.

    L = L_prior + L_like + L_GAN                                                                          (eq. 8)
    L_prior = KL(q(z|x) || N(0, I)),      L_like = E_q |f(x) - f(x~)|^2 / (2 s^2),      x~ = decoder(z), z ~ q(z|x)
    encoder: L_prior + L_like      decoder: gamma/d L_like - L_GAN      critic: L_GAN               (algorithm 1)

f are the d features before the critic's last layer, L_GAN its game against reconstructions and against what is decoded
of N(0, I). The paper's features have unit variance by batch normalisation, and s = 1; here s^2 is the running mean of
their variance among real samples, so that L_like means the same for any critic. The decoder's part of L_GAN is the
non-saturating one.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from maquette.core.seeds import Seeds
from maquette.core.types import (
    Autoencoder,
    Batch,
    Condition,
    Given,
    Judging,
    Predictor,
    Real,
    Sampling,
    Space,
    Stats,
    Turn,
)
from maquette.models.adversarial import LOSSES, GameConfig, Player, spread
from maquette.models.base import Model, refuse_space
from maquette.models.codes import active_units, kl_to_standard_normal, sample
from maquette.nets import convnet
from maquette.nets.base import NetConfig
from maquette.nets.tally import Tally

LOSS = LOSSES["non-saturating"]
SLOWEST = 0.01
"""Share of a step's mean in the running mean of s^2, once there were as many steps as make this their plain mean."""

Seen = tuple[Float[Tensor, " b"], Float[Tensor, "b d"]]


@dataclass(frozen=True, kw_only=True)
class Config(GameConfig):
    """An encoder, a decoder and a critic."""

    search = {"gamma": 4.0, "latent": 2.0}

    encoder: NetConfig = field(default_factory=convnet.Config)
    decoder: NetConfig = field(default_factory=lambda: convnet.Config(activation="relu"))
    critic: NetConfig = field(default_factory=lambda: convnet.Config(norm="spectral"))
    latent: int = 64
    """Width of the code."""
    gamma: float = 10.0
    """Weight of likeness against the game, for the decoder: the paper's, times the number of features."""

    @classmethod
    def tiny(cls) -> "Config":
        """Small enough for a test; its critic is wide enough to tell small pictures apart, which narrower ones are not,
        and so few steps want likeness to count for more."""
        decoder = convnet.Config(width=8, widest=16, activation="relu")
        critic = convnet.Config(width=16, widest=16, norm="spectral")
        return cls(encoder=convnet.Config.tiny(), decoder=decoder, critic=critic, gamma=30.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check(self.latent > 0, "latent", "a positive whole number")
        self.check(self.gamma >= 0, "gamma", "0 or a positive number")

    def build(self, space: Space, classes: int = 0) -> "VAEGAN":
        if not isinstance(space, Real):
            raise refuse_space(
                "vaegan", "real-valued samples", space, "use a kind that takes tokens, or a codec to reals"
            )
        return VAEGAN(self, space, classes)


class VAEGAN(Model, Autoencoder, Judging):
    """Three players. What is decoded is squashed by tanh where the space has levels, and left as it is elsewhere."""

    accepts = (Real,)
    size: Tensor

    def __init__(self, config: Config, space: Real, classes: int):
        super().__init__()
        self.config: Config = config  # pyright: ignore[reportIncompatibleVariableOverride]
        self.space: Real = space  # pyright: ignore[reportIncompatibleVariableOverride]
        self.classes = classes
        self.latent = Real((config.latent,))

        def player(net: NetConfig, source: tuple[int, ...], target: tuple[int, ...]) -> Player:
            embed = config.embedder(classes)
            return Player(net.build(source, target, embed.width), embed)

        self.encoder = player(config.encoder, space.shape, (2 * config.latent,))
        self.decoder = player(config.decoder, (config.latent,), space.shape)
        self.critic = player(config.critic, space.shape, (1,))
        self.augmentation = config.augmentation(space)
        self.register_buffer("size", torch.ones(()))
        self.sizes = Tally()

    def players(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "decoder": self.decoder, "critic": self.critic}

    def turns(self) -> list[Turn]:
        return [
            Turn("encoder", self.encoder_loss),
            Turn("decoder", self.decoder_loss),
            Turn("critic", self.critic_loss),
        ]

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        size, n = self.sizes.take()
        self.size.lerp_(size, max(1 / (1 + step), SLOWEST) * (n > 0))
        if self.augmentation is not None:
            self.augmentation.adapt()

    def encoder_loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        rng = batch.rng.fork(0)
        back, mu, log_var = self._again(batch, rng)
        with torch.no_grad():
            real = self._see(batch.x.float(), batch.given, rng)
        like = self._unlike(real, self._see(back, batch.given, rng))
        kl = kl_to_standard_normal(mu, log_var).mean()
        stats = {"like": like.detach(), "kl": kl.detach(), "active": active_units(mu.detach())}
        return like + kl, stats

    def decoder_loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        rng = batch.rng.fork(1)
        with torch.no_grad():
            z = self._code(batch, rng)[0]
            real = self._see(batch.x.float(), batch.given, rng)
        seen = self._see(self._decode(z, batch.given, rng), batch.given, rng)
        made = self._see(self._fresh(batch, rng), batch.given, rng, 2)
        like = self._unlike(real, seen)
        game = LOSS.generator(seen[0]) + LOSS.generator(made[0])
        return self.config.gamma / seen[1].shape[1] * like + game, {
            "like": like.detach(),
            "made_score": made[0].detach().mean(),
        }

    def critic_loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        """-L_GAN = -log D(x) - log(1 - D(samples)) - log(1 - D(reconstructions)), for D = sigmoid(score)."""
        rng = batch.rng.fork(2)
        x = batch.x.float()
        with torch.no_grad():
            back, fresh = self._again(batch, rng)[0], self._fresh(batch, rng)
        real, again = (self._see(shown, batch.given, rng) for shown in (x, back))
        made = self._see(fresh, batch.given, rng, 2)
        if len(x) > 1:  # half the squared difference of two rows is the variance, on average
            self.sizes.note((real[1] - real[1].roll(1, 0)).detach().square().mean(1) / 2)
        stats = {
            "real_score": real[0].detach().mean(),
            "made_score": made[0].detach().mean(),
            "spread": (spread(fresh) / spread(x)).sqrt(),
        }
        if self.augmentation is not None:
            self.augmentation.watch(real[0][:, None])
            stats["augmented"] = self.augmentation.p.clone()
        return LOSS.critic(real[0], made[0]) + F.softplus(again[0]).mean(), stats

    # -- parts of the losses ------------------------------------------------------------------------------------------

    def _code(self, batch: Batch, rng: Seeds) -> tuple[Tensor, Tensor, Tensor]:
        """A draw of q(z|x), its mean and its log-variance."""
        condition = self.encoder.embed(batch.given, len(batch), rng.fork(0))
        mu, log_var = self.encoder.net(batch.x.float(), condition=condition).float().chunk(2, dim=1)
        return sample(mu, log_var, rng), mu, log_var

    def _again(self, batch: Batch, rng: Seeds) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstructions, and the mean and log-variance of their codes."""
        z, mu, log_var = self._code(batch, rng)
        return self._decode(z, batch.given, rng), mu, log_var

    def _fresh(self, batch: Batch, rng: Seeds) -> Float[Tensor, "b *space"]:
        return self._decode(rng.normal(self.config.latent), batch.given, rng)

    def _decode(self, z: Float[Tensor, "b d"], given: Given, rng: Seeds) -> Float[Tensor, "b *space"]:
        return self._squash(self.decoder.net(z, condition=self.decoder.embed(given, len(z), rng.fork(0))))

    def _squash(self, x: Float[Tensor, "b *space"]) -> Float[Tensor, "b *space"]:
        return x.float().tanh() if self.space.levels else x.float()

    def _see(self, x: Float[Tensor, "b *space"], given: Given, rng: Seeds, source: int = 1) -> Seen:
        """The critic's scores and features. What is to be compared is augmented alike: from the same `source`."""
        if self.augmentation is not None:
            x = self.augmentation(x, rng.fork(source))
        condition = self.critic.embed(given, len(x), rng.fork(0))
        (net,) = self.critic.nets
        seen = net.see(x, condition=condition)
        return net.say(seen, condition).float().squeeze(1), seen.float().flatten(1)

    def _unlike(self, real: Seen, made: Seen) -> Float[Tensor, ""]:
        """L_like, in nats per sample."""
        return (real[1] - made[1]).square().sum(1).mean() / (2 * self.size.clamp(min=1e-6))

    def realness(self, x: Float[Tensor, "b *space"]) -> Float[Tensor, " b"]:
        return self.critic.nets[0](x, condition=self.critic.embed(Given(), len(x))).float().squeeze(1)

    # -- codes and samples --------------------------------------------------------------------------------------------

    def encode(self, x: Float[Tensor, "b *space"]) -> Float[Tensor, "b d"]:
        """The mean of q(z|x); of a conditional model, without a label."""
        condition = self.encoder.embed(Given(), len(x))
        return self.encoder.net(x.float(), condition=condition).float().chunk(2, dim=1)[0]

    def decode(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b *space"]:
        """Of a conditional model, without a label."""
        return self.predictor(self.condition(Given(), len(z)))(z)

    def condition(self, given: Given, n: int) -> Condition:
        return self.decoder.embed(given, n)

    def predictor(self, condition: Condition) -> Predictor:
        """z [b, latent] -> samples [b, *space.shape]."""
        return lambda z: self._squash(self.decoder.net(z, condition=condition))

    def start(self, n: int, how: Sampling, rng: Seeds) -> Float[Tensor, "b d"]:
        return rng.normal(self.config.latent) * how.temperature

    def draw(self, predict: Predictor, start: Float[Tensor, "b d"], how: Sampling, rng: Seeds) -> Tensor:
        return predict(start)
