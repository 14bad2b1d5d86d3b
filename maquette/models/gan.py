"""Generative adversarial networks (Goodfellow et al. 2014): a generator learns to make what a critic takes for real.

    critic:     min_D  E l(D(x), real) + E l(D(G(z)), made)         generator:  min_G  E l(D(G(z)), real)

Six losses l are offered (`LOSSES`), and bounds on the critic: spectral normalisation (a property of its net), the
gradient penalty of Gulrajani et al. (2017), and R1 and R2 (Mescheder et al. 2018), taken on every 16th step as Karras
et al. (2020b) do. The relativistic loss with R1 and R2 on every step is R3GAN (Huang et al. 2024). A critic that judges
each row by itself sees real and made samples in one pass, which is faster and changes nothing; one with batch
normalisation or minibatch deviation sees them in two, because a mixed batch would tell them apart.

Where a picture is given with each sample, the generator maps it instead of the noise, which joins the label, and the
critic sees it beside the sample, in patches if asked; `l1` adds the distance from the sample that belongs to it. That
is pix2pix (Isola et al. 2017, equations 3 and 4), with noise in place of their dropout.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Beside, Condition, Given, Judging, Predictor, Real, Sampling, Space, Stats, Turn
from maquette.models.adversarial import (
    LOSSES,
    Aids,
    GameConfig,
    Player,
    Scores,
    Slopes,
    faced,
    sameness,
    slopes,
    spread,
    square,
    unlike,
)
from maquette.models.base import Model, refuse_space
from maquette.nets import convnet
from maquette.nets.base import NetConfig
from maquette.nets.conditioning import ImageEmbedder
from maquette.nets.convnet import Deviation
from maquette.nets.norm import mixes_rows


@dataclass(frozen=True, kw_only=True)
class Config(GameConfig):
    """A generator against a critic."""

    takes: ClassVar[tuple[str, ...]] = ("label", "image")
    search = {"r1": 10.0, "gradient_penalty": 3.0}

    generator: NetConfig = field(default_factory=lambda: convnet.Config(activation="relu"))
    critic: NetConfig = field(default_factory=lambda: convnet.Config(norm="spectral"))
    """A convnet or fixup is told the label by projection (Miyato and Koyama 2018), an mlp as a further input."""
    latent: int = 128
    """Width of the noise that samples are made from."""
    noise: Literal["normal", "uniform"] = "normal"
    """Its law: N(0, 1), or uniform on [-1, 1]."""
    loss: Literal["non-saturating", "minimax", "hinge", "least-squares", "wasserstein", "relativistic"] = (
        "non-saturating"
    )
    gradient_penalty: float = 0.0
    """Weight of the penalty on the critic's slope between real and made samples; wasserstein wants 10."""
    r1: float = 0.0
    """Weight gamma of the penalty gamma/2 on the critic's squared slope at real samples; 0 leaves it out."""
    r2: float = 0.0
    """The same at made samples."""
    r1_every: int = 16
    """R1 and R2 are taken on each such step, that many times as strong; with 1 they are part of the critic's loss."""
    critic_steps: int = 1
    """The generator moves on each such step."""
    patches: int = 0
    """The critic gives a score to each of so many overlapping patches along each side; 0: one to the whole."""
    l1: float = 0.0
    """Weight of the mean distance from the sample that belongs to the given picture; pix2pix wants 100."""
    aids: Aids = field(default_factory=Aids)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("latent", "r1_every", "critic_steps"):
            self.check(getattr(self, name) > 0, name, "a positive whole number")
        self.check(self.patches >= 0, "patches", "0 or a positive whole number")
        for name in ("gradient_penalty", "r1", "r2", "l1"):
            self.check(getattr(self, name) >= 0, name, "0 or a positive number")
        signed = self.loss not in ("least-squares", "wasserstein")
        self.check(signed or self.adapt == 0, "adapt", "0: the sign of such a score does not say real or made")
        smooth = self.aids.smoothing == 0 or self.loss == "non-saturating"
        self.check(smooth, "loss", "non-saturating where aids.smoothing is set")

    @property
    def bounded(self) -> bool:
        return self.r1 > 0 or self.r2 > 0

    def build(self, space: Space, classes: int = 0, beside: Beside = Beside()) -> "GAN":
        if not isinstance(space, Real):
            raise refuse_space("gan", "real-valued samples", space, "use a kind that takes tokens, or a codec to reals")
        if self.patches and len(space.shape) == 1:
            reason, todo = f"samples of {space} have no sides", "set model.patches=0"
            raise MaquetteError("MQ-2009", path="model.patches", value=self.patches, reason=reason, todo=todo)
        if self.l1 and beside.image is None:
            reason, todo = "no picture is given that a sample belongs to", "say which by data.given or data.pair"
            raise MaquetteError("MQ-2009", path="model.l1", value=self.l1, reason=reason, todo=todo)
        model = GAN(self, space, classes, beside)
        if (self.gradient_penalty or self.bounded) and mixes_rows(model.critic):
            raise MaquetteError("MQ-2020", path="model.critic.norm")
        return model


class GAN(Model, Judging):
    """Two players. Made samples are squashed by tanh where the space has levels."""

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
        scores = (1, *([config.patches] * (len(space.shape) - 1) if config.patches else ()))

        def critic():
            return config.critic.build(seen, scores, width)

        self.generator = Player(config.generator.build(source, space.shape, told), config.embedder(classes))
        self.critic = Player(critic(), config.embedder(classes), [critic() for _ in range(config.aids.critics - 1)])
        self.augmentation = config.augmentation(space)
        self.apart = mixes_rows(self.critic) or any(isinstance(part, Deviation) for part in self.critic.modules())

    def players(self) -> dict[str, nn.Module]:
        return {"critic": self.critic, "generator": self.generator}

    def turns(self) -> list[Turn]:
        turns = [Turn("critic", self.critic_loss)]
        if self.config.bounded and self.config.r1_every > 1:
            turns.append(Turn("critic", self.r1_loss, self.config.r1_every))
        return [*turns, Turn("generator", self.generator_loss, self.config.critic_steps)]

    def after_step(self, step: int) -> None:
        if self.augmentation is not None:
            self.augmentation.adapt()

    # -- the critic's turns -------------------------------------------------------------------------------------------

    def critic_loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        """The critic's half of the game, with the penalties that belong to every step."""
        config, rng = self.config, batch.rng.fork(0)
        bounded = config.bounded and config.r1_every == 1
        with torch.no_grad():
            raw, made = batch.x.float(), self._make(batch, rng)
            x, fake = self._shown(raw, rng, progress), self._shown(made, rng, progress)
            given = self._shown_with(batch.given, len(batch), rng)
        with torch.set_grad_enabled(bounded or torch.is_grad_enabled()):
            if bounded:
                x, fake = x.detach().requires_grad_(), fake.detach().requires_grad_()
            real_score, made_score = self._judge_both(x, fake, given, rng)
            loss = self._against(real_score, made_score)
            stats = {
                "real_score": real_score.detach().mean(),
                "made_score": made_score.detach().mean(),
                "real_sign": real_score.detach().sign().mean(),
                "spread": (spread(made) / spread(raw)).sqrt(),
            }
            if bounded:
                penalty, found = self._bound(*slopes(real_score + made_score, x, fake))
                loss, stats = loss + penalty, stats | found
        if config.gradient_penalty > 0:
            penalty = self._gradient_penalty(x, fake, given, rng)
            loss = loss + config.gradient_penalty * penalty
            stats["gradient_penalty"] = penalty.detach()
        if self.augmentation is not None:
            self.augmentation.watch(real_score - made_score if LOSSES[config.loss].pairs else real_score)
            stats["augmented"] = self.augmentation.p.clone()
        return loss, stats

    def _against(self, real: Scores, made: Scores) -> Float[Tensor, ""]:
        """The losses of all critics."""
        loss = LOSSES[self.config.loss].critic
        total = torch.stack([loss(r, m) for r, m in zip(real.unbind(1), made.unbind(1), strict=True)]).sum()
        if smoothing := self.config.aids.smoothing:  # (1 - s) softplus(-r) + s softplus(r) = softplus(-r) + s r
            total = total + smoothing * torch.stack([r.mean() for r in real.unbind(1)]).sum()
        return total

    def r1_loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        """R1 and R2, for all the steps they stand for."""
        rng = batch.rng.fork(1)
        with torch.no_grad():
            x, given = self._shown(batch.x.float(), rng, progress), self._shown_with(batch.given, len(batch), rng)
            made = self._shown(self._make(batch, rng), rng, progress) if self.config.r2 > 0 else None
        r1 = self._slope(x, given, rng) if self.config.r1 > 0 else None
        r2 = self._slope(made, given, rng) if made is not None else None
        penalty, stats = self._bound(r1, r2)
        return self.config.r1_every * penalty, stats

    def _bound(self, r1: Slopes | None, r2: Slopes | None) -> tuple[Float[Tensor, ""], Stats]:
        """gamma_1/2 E |grad D(x)|^2 + gamma_2/2 E |grad D(G(z))|^2, from the slopes."""
        found = {
            name: (weight, square(slope))
            for name, weight, slope in (("r1", self.config.r1, r1), ("r2", self.config.r2, r2))
            if weight > 0 and slope is not None
        }
        total = torch.stack([weight / 2 * value for weight, value in found.values()]).sum()
        return total, {name: value.detach() for name, (_, value) in found.items()}

    def _slope(self, x: Float[Tensor, "b *space"], given: Given, rng: Seeds) -> Slopes:
        """|grad D(x)| of each row, asked for in validation too."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return slopes(self._judge(x, given, rng), x)[0]

    def _gradient_penalty(
        self, x: Float[Tensor, "b *space"], made: Float[Tensor, "b *space"], given: Given, rng: Seeds
    ) -> Float[Tensor, ""]:
        """E (|grad D(x^)| - 1)^2 at points x^ between real and made samples (Gulrajani et al. 2017, eq. 3)."""
        share = rng.uniform(*[1] * (x.dim() - 1))
        return (self._slope(torch.lerp(made, x, share), given, rng) - 1).square().mean(0).sum()

    # -- the generator's turn -----------------------------------------------------------------------------------------

    def generator_loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        config, aids, rng = self.config, self.config.aids, batch.rng.fork(2)
        loss, z = LOSSES[config.loss], self._noise(rng)
        made, given = self._make(batch, rng, z), self._shown_with(batch.given, len(batch), rng)
        score, seen = self._look(self._shown(made, rng, progress), given, rng)
        ahead, real_seen = score, list[Tensor]()
        if loss.pairs or aids.features > 0:
            with torch.no_grad():
                real_score, real_seen = self._look(self._shown(batch.x.float(), rng, progress), given, rng)
            ahead = score - real_score if loss.pairs else score
        total = faced(torch.stack([loss.generator(column) for column in ahead.unbind(1)]), aids.facing)
        stats = {"made_score": score.detach().mean()}
        if config.l1 > 0:
            stats["l1"] = (made - batch.x.float()).abs().mean()
            total = total + config.l1 * stats["l1"]
        if aids.features > 0:
            stats["features"] = torch.stack([unlike(r, m) for r, m in zip(real_seen, seen, strict=True)]).mean()
            total = total + aids.features * stats["features"]
        if aids.diversity > 0:
            other = self._noise(rng.fork(3))
            stats["sameness"] = sameness(made, self._make(batch, rng, other), z, other)
            total = total + aids.diversity * stats["sameness"]
        return total, {name: value.detach() for name, value in stats.items()}

    # -- what both use ------------------------------------------------------------------------------------------------
    # Both players see the same rows without their labels: each forks the same source for what it drops.

    def _noise(self, rng: Seeds) -> Float[Tensor, "b latent"]:
        latent = self.config.latent
        return rng.normal(latent) if self.config.noise == "normal" else 2 * rng.uniform(latent) - 1

    def _make(self, batch: Batch, rng: Seeds, z: Float[Tensor, "b latent"] | None = None) -> Float[Tensor, "b *space"]:
        condition = self._told(self.generator, batch.given, len(batch), rng.fork(0))
        return self._generate(self._noise(rng) if z is None else z, condition)

    def _told(self, player: Player, given: Given, n: int, rng: Seeds | None = None) -> Condition:
        """What `player` receives of `given`: a vector of the label, a grid of the picture."""
        return replace(player.embed(given, n, rng), grid=self.show(given, n))

    def _generate(self, z: Float[Tensor, "b latent"], condition: Condition) -> Float[Tensor, "b *space"]:
        x, vector = z, condition.vector
        if condition.grid is not None:
            x, vector = condition.grid, z if vector is None else torch.cat([vector, z], dim=1)
        return self._squash(self.generator.net(x, condition=Condition(vector=vector)))

    def _shown(self, x: Float[Tensor, "b *space"], rng: Seeds, progress: float) -> Float[Tensor, "b *space"]:
        """`x` as the critics see it; gradients pass through.

        What is real, what is made and what is given of a row are changed alike: by the same random numbers.
        """
        rng = rng.fork(1)
        if self.augmentation is not None:
            x = self.augmentation(x, rng)
        if noise := self.config.aids.noise * (1 - progress):
            x = x + noise * rng.normal(*self.space.shape)
        return x

    def _shown_with(self, given: Given, n: int, rng: Seeds) -> Given:
        """`given` with its picture as the critics see it beside samples that are `_shown`."""
        grid = self.show(given, n)
        if self.augmentation is None or grid is None:
            return given
        return replace(given, image=self.augmentation(grid, rng.fork(1)))

    def _judge(self, x: Float[Tensor, "b *space"], given: Given, rng: Seeds) -> Scores:
        seen, told = _beside(x, self._told(self.critic, given, len(x), rng.fork(0)))
        return torch.cat([net(seen, condition=told) for net in self.critic.nets], 1).float()

    def _look(self, x: Float[Tensor, "b *space"], given: Given, rng: Seeds) -> tuple[Scores, list[Tensor]]:
        """The scores, and where features are to be matched what each critic sees."""
        if self.config.aids.features == 0:
            return self._judge(x, given, rng), []
        shown, told = _beside(x, self._told(self.critic, given, len(x), rng.fork(0)))
        seen = [net.see(shown, condition=told) for net in self.critic.nets]
        said = [net.say(s, told) for net, s in zip(self.critic.nets, seen, strict=True)]
        return torch.cat(said, 1).float(), seen

    def _judge_both(
        self, x: Float[Tensor, "b *space"], made: Float[Tensor, "b *space"], given: Given, rng: Seeds
    ) -> tuple[Scores, Scores]:
        if self.apart:
            return self._judge(x, given, rng), self._judge(made, given, rng)
        told = self._told(self.critic, given, len(x), rng.fork(0))
        both, twice = _beside(torch.cat([x, made]), Condition(vector=_twice(told.vector), grid=_twice(told.grid)))
        real, fake = torch.cat([net(both, condition=twice) for net in self.critic.nets], 1).float().chunk(2)
        return real, fake

    def _squash(self, x: Float[Tensor, "b *space"]) -> Float[Tensor, "b *space"]:
        return x.float().tanh() if self.space.levels else x.float()

    def realness(self, x: Float[Tensor, "b *space"]) -> Float[Tensor, " b"]:
        told = self.critic.embed(Given(), len(x))
        return torch.cat([net(x, condition=told) for net in self.critic.nets], 1).flatten(1).mean(1).float()

    # -- samples ------------------------------------------------------------------------------------------------------

    def condition(self, given: Given, n: int) -> Condition:
        return self._told(self.generator, given, n)

    def predictor(self, condition: Condition) -> Predictor:
        """z [b, latent] -> samples [b, *space.shape]."""
        return lambda z: self._generate(z, condition)

    def start(self, n: int, how: Sampling, rng: Seeds) -> Float[Tensor, "b latent"]:
        return self._noise(rng) * how.temperature

    def draw(self, predict: Predictor, start: Float[Tensor, "b latent"], how: Sampling, rng: Seeds) -> Tensor:
        return predict(start)


def _beside(x: Float[Tensor, "b *space"], told: Condition) -> tuple[Tensor, Condition]:
    """What a critic's net takes: samples, each with the picture that was given, and the vector of labels."""
    return x if told.grid is None else torch.cat([x, told.grid], dim=1), Condition(vector=told.vector)


def _twice(x: Tensor | None) -> Tensor | None:
    return None if x is None else torch.cat([x, x])
