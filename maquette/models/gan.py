"""Generative adversarial networks (Goodfellow et al. 2014): a generator learns to make what a critic takes for real.

    critic:     min_D  E l(D(x), real) + E l(D(G(z)), made)         generator:  min_G  E l(D(G(z)), real)

Four losses l are offered (`LOSSES`), and three bounds on the critic: spectral normalisation (a property of its net),
the gradient penalty of Gulrajani et al. (2017), and R1 (Mescheder et al. 2018), taken on every 16th step as Karras et
al. (2020) do. A critic without batch normalisation judges real and made samples in one pass, which is faster and
changes nothing; with it they go in two, as in DCGAN, because the statistics of a mixed batch would tell them apart.

Where a picture is given with each sample, the generator maps it instead of the noise, which joins the label, and the
critic sees it beside the sample, in patches if asked; `l1` adds the distance from the sample that belongs to it. That
is pix2pix (Isola et al. 2017, equations 3 and 4), with noise in place of their dropout.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Beside, Condition, Given, Predictor, Real, Sampling, Space, Stats, Turn
from maquette.models.base import Model, ModelConfig, refuse_space
from maquette.nets import convnet
from maquette.nets.base import Net, NetConfig
from maquette.nets.conditioning import ImageEmbedder, LabelEmbedder
from maquette.nets.norm import mixes_rows

Scores = Float[Tensor, "b *patches"]


class Loss(NamedTuple):
    """What each player lowers, from the critic's scores (logits: the critic has no sigmoid)."""

    critic: Callable[[Scores, Scores], Float[Tensor, ""]]
    """(scores of real samples, scores of made ones)"""
    generator: Callable[[Scores], Float[Tensor, ""]]


LOSSES = {
    # Goodfellow et al. 2014, section 3: -log D(G(z)) keeps its slope where log(1 - D(G(z))) has none
    "non-saturating": Loss(
        lambda real, made: F.softplus(-real).mean() + F.softplus(made).mean(), lambda made: F.softplus(-made).mean()
    ),
    # Lim and Ye 2017
    "hinge": Loss(lambda real, made: F.relu(1 - real).mean() + F.relu(1 + made).mean(), lambda made: -made.mean()),
    # Mao et al. 2017, eq. 9
    "least-squares": Loss(
        lambda real, made: ((real - 1).square().mean() + made.square().mean()) / 2,
        lambda made: (made - 1).square().mean() / 2,
    ),
    # Arjovsky et al. 2017, eq. 2
    "wasserstein": Loss(lambda real, made: made.mean() - real.mean(), lambda made: -made.mean()),
}


@dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    """A generator against a critic."""

    takes: ClassVar[tuple[str, ...]] = ("label", "image")

    generator: NetConfig = field(default_factory=lambda: convnet.Config(activation="relu"))
    critic: NetConfig = field(default_factory=lambda: convnet.Config(norm="spectral"))
    latent: int = 128
    """Width of the noise that samples are made from."""
    loss: Literal["non-saturating", "hinge", "least-squares", "wasserstein"] = "non-saturating"
    gradient_penalty: float = 0.0
    """Weight of the penalty on the critic's slope between real and made samples; wasserstein wants 10."""
    r1: float = 0.0
    """Weight gamma of the penalty gamma/2 on the critic's squared slope at real samples; 0 leaves it out."""
    r1_every: int = 16
    """R1 is taken on each such step, that many times as strong."""
    critic_steps: int = 1
    """The generator moves on each such step."""
    patches: int = 0
    """The critic gives a score to each of so many by so many overlapping patches; 0: one to the whole."""
    l1: float = 0.0
    """Weight of the mean distance from the sample that belongs to the given picture; pix2pix wants 100."""
    label_width: int = 64
    """Of the vector that tells a conditional network its label."""
    label_drop: float = 0.1
    """Share of training rows without their label, so that samples of no given class can be asked for."""

    def __post_init__(self) -> None:
        for name in ("latent", "r1_every", "critic_steps", "label_width"):
            self.check(getattr(self, name) > 0, name, "a positive whole number")
        self.check(self.patches >= 0, "patches", "0 or a positive whole number")
        for name in ("gradient_penalty", "r1", "l1"):
            self.check(getattr(self, name) >= 0, name, "0 or a positive number")
        self.check(0 <= self.label_drop < 1, "label_drop", "a share in [0, 1)")

    def build(self, space: Space, classes: int = 0, beside: Beside = Beside()) -> "GAN":
        if not isinstance(space, Real):
            raise refuse_space("gan", "real-valued samples", space, "use a kind that takes tokens, or a codec to reals")
        if self.l1 and beside.image is None:
            reason, todo = "no picture is given that a sample belongs to", "say which by data.given or data.pair"
            raise MaquetteError("MQ-2009", path="model.l1", value=self.l1, reason=reason, todo=todo)
        model = GAN(self, space, classes, beside)
        if (self.gradient_penalty or self.r1) and mixes_rows(model.critic):
            raise MaquetteError("MQ-2020", path="model.critic.norm")
        return model


class Player(nn.Module):
    """A net together with the embedder of the labels that it alone is told."""

    def __init__(self, net: Net, embed: LabelEmbedder):
        super().__init__()
        self.net, self.embed = net, embed


class GAN(Model):
    """Two players. Made samples are squashed by tanh where the space has levels, and left as they are elsewhere."""

    accepts = (Real,)

    def __init__(self, config: Config, space: Real, classes: int, beside: Beside = Beside()):
        super().__init__()
        self.config: Config = config  # pyright: ignore[reportIncompatibleVariableOverride]
        self.space: Real = space  # pyright: ignore[reportIncompatibleVariableOverride]
        self.classes, self.beside = classes, beside
        self.show = ImageEmbedder(beside.image, space)
        width, given = config.label_width if classes else 0, self.show.channels
        source, told = ((given, *space.shape[1:]), width + config.latent) if given else ((config.latent,), width)
        seen = (space.shape[0] + given, *space.shape[1:]) if given else space.shape
        scores = (1, *((config.patches,) * 2 if config.patches else ()))
        self.generator = Player(config.generator.build(source, space.shape, told), self._embedder())
        self.critic = Player(config.critic.build(seen, scores, width), self._embedder())
        self.apart = mixes_rows(self.critic)

    def _embedder(self) -> LabelEmbedder:
        return LabelEmbedder(self.classes, self.config.label_width, self.config.label_drop)

    def players(self) -> dict[str, nn.Module]:
        return {"critic": self.critic, "generator": self.generator}

    def turns(self) -> list[Turn]:
        turns = [Turn("critic", self.critic_loss)]
        if self.config.r1 > 0:
            turns.append(Turn("critic", self.r1_loss, self.config.r1_every))
        return [*turns, Turn("generator", self.generator_loss, self.config.critic_steps)]

    def critic_loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        """The critic's half of the game, with the gradient penalty if there is one."""
        rng = batch.rng.fork(0)
        x = batch.x.float()
        with torch.no_grad():
            made = self._make(batch, rng)
        real_score, made_score = self._judge_both(x, made, batch.given, rng)
        loss = LOSSES[self.config.loss].critic(real_score, made_score)
        stats = {
            "real_score": real_score.detach().mean(),
            "made_score": made_score.detach().mean(),
            "real_sign": real_score.detach().sign().mean(),
            "spread": (_spread(made) / _spread(x)).sqrt(),
        }
        if self.config.gradient_penalty > 0:
            penalty = self._gradient_penalty(x, made, batch.given, rng)
            loss = loss + self.config.gradient_penalty * penalty
            stats["gradient_penalty"] = penalty.detach()
        return loss, stats

    def r1_loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        """gamma/2 E |grad D(x)|^2 at real samples (Mescheder et al. 2018, eq. 9), for all the steps it stands for."""
        slope = self._slope(batch.x.float(), batch.given, batch.rng.fork(1)).square().mean()
        return self.config.r1 / 2 * self.config.r1_every * slope, {"r1": slope.detach()}

    def generator_loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        rng = batch.rng.fork(2)
        made = self._make(batch, rng)
        score = self._judge(made, batch.given, rng)
        loss, stats = LOSSES[self.config.loss].generator(score), {"made_score": score.detach().mean()}
        if self.config.l1 > 0:
            distance = (made - batch.x.float()).abs().mean()
            loss, stats["l1"] = loss + self.config.l1 * distance, distance.detach()
        return loss, stats

    # Both players see the same rows without their labels: each forks the same source for what it drops.

    def _make(self, batch: Batch, rng: Seeds) -> Float[Tensor, "b *space"]:
        condition = self._told(self.generator, batch.given, len(batch), rng.fork(0))
        return self._generate(rng.normal(self.config.latent), condition)

    def _told(self, player: Player, given: Given, n: int, rng: Seeds | None = None) -> Condition:
        """What `player` receives of `given`: a vector of the label, a grid of the picture."""
        device = next(player.parameters()).device
        return replace(player.embed(given, n, rng), grid=self.show(given, n, device))

    def _generate(self, z: Float[Tensor, "b latent"], condition: Condition) -> Float[Tensor, "b *space"]:
        x, vector = z, condition.vector
        if condition.grid is not None:
            x, vector = condition.grid, z if vector is None else torch.cat([vector, z], dim=1)
        return self._squash(self.generator.net(x, condition=Condition(vector=vector)))

    def _judge(self, x: Float[Tensor, "b *space"], given: Given, rng: Seeds) -> Scores:
        return self._scores(x, self._told(self.critic, given, len(x), rng.fork(0)))

    def _scores(self, x: Float[Tensor, "b *space"], told: Condition) -> Scores:
        seen = x if told.grid is None else torch.cat([x, told.grid], dim=1)
        return self.critic.net(seen, condition=Condition(vector=told.vector)).float().squeeze(1)

    def _judge_both(
        self, x: Float[Tensor, "b *space"], made: Float[Tensor, "b *space"], given: Given, rng: Seeds
    ) -> tuple[Scores, Scores]:
        if self.apart:
            return self._judge(x, given, rng), self._judge(made, given, rng)
        told = self._told(self.critic, given, len(x), rng.fork(0))
        twice = Condition(vector=_twice(told.vector), grid=_twice(told.grid))
        real, fake = self._scores(torch.cat([x, made]), twice).chunk(2)
        return real, fake

    def _slope(self, x: Float[Tensor, "b *space"], given: Given, rng: Seeds) -> Float[Tensor, " b"]:
        """|grad D(x)| of each row, differentiable in the critic's weights; asked for in validation too."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            score = self._judge(x, given, rng).sum()
            (grad,) = torch.autograd.grad(score, x, create_graph=True)
            return grad.flatten(1).float().norm(dim=1)

    def _gradient_penalty(
        self, x: Float[Tensor, "b *space"], made: Float[Tensor, "b *space"], given: Given, rng: Seeds
    ) -> Float[Tensor, ""]:
        """E (|grad D(x^)| - 1)^2 at points x^ between real and made samples (Gulrajani et al. 2017, eq. 3)."""
        share = rng.uniform(*[1] * (x.dim() - 1))
        return (self._slope(torch.lerp(made, x, share), given, rng) - 1).square().mean()

    def _squash(self, x: Float[Tensor, "b *space"]) -> Float[Tensor, "b *space"]:
        return x.float().tanh() if self.space.levels else x.float()

    def condition(self, given: Given, n: int) -> Condition:
        return self._told(self.generator, given, n)

    def predictor(self, condition: Condition) -> Predictor:
        """z [b, latent] -> samples [b, *space.shape]."""
        return lambda z: self._generate(z, condition)

    def start(self, n: int, how: Sampling, rng: Seeds) -> Float[Tensor, "b latent"]:
        return rng.normal(self.config.latent) * how.temperature

    def draw(self, predict: Predictor, start: Float[Tensor, "b latent"], how: Sampling, rng: Seeds) -> Tensor:
        return predict(start)


def _twice(x: Tensor | None) -> Tensor | None:
    return None if x is None else torch.cat([x, x])


def _spread(x: Float[Tensor, "b *space"]) -> Float[Tensor, ""]:
    """The variance among rows, averaged over dimensions: near 0 when all samples are one."""
    return x.square().mean() - x.mean(0).square().mean()
