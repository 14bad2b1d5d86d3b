"""StyleGAN2 (Karras et al. 2019, 2020b): noise becomes a style, and styles modulate each layer of the generator.

    generator:  min_G  E softplus(-D(G(z))),  and every 8th step  gamma E_w,y (|J_w^T y| - a)^2,  y ~ N(0, I)   (eq. 4)
    critic:     min_D  E softplus(-D(x)) + E softplus(D(G(z))),  and every 16th step  R1

J_w^T y is the gradient of <g(w), y> by the style, a the running mean of its length: equal steps in styles make equal
steps in pictures. The losses are those of the plain game (`adversarial.py`), the networks stand in `nets/style.py`.

Truncation, w' = E w + psi (w - E w), is asked for as `temperature`: psi 0.7 draws nearer to the mean style, towards 0
all samples are one. Noise z is brought to unit size before anything is made of it, so that a temperature of z would do
nothing; that of w asks the same question, how far from the middle samples may lie, and asks it of every family in one
word. Noise inputs are fresh in training and the same ones for all samples that are drawn.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Condition, Given, Judging, Mixing, Predictor, Real, Sampling, Space, Stats, Turn
from maquette.models.adversarial import LOSSES, GameConfig, Player, Scores, slopes, spread, square
from maquette.models.base import Model, refuse_space
from maquette.nets.conditioning import LabelEmbedder
from maquette.nets.convnet import SMALLEST
from maquette.nets.style import Judge, Mapping, Styles, Synthesis
from maquette.nets.tally import Tally

LOSS = LOSSES["non-saturating"]
SLOWEST = 0.005
"""Share of a step's mean in the running mean of styles, once there were as many steps as make this their plain mean."""
PATIENT = 0.01
"""The same for the length a (Karras et al. 2020b, appendix B). Theirs stays near the 0 it begins at for hundreds of
turns, and a short run would learn to be flat."""


@dataclass(frozen=True, kw_only=True)
class Config(GameConfig):
    """Pictures of at least 4 pixels a side."""

    search = {"r1": 10.0}

    width: int = 32
    """Channels of the largest map; each halving doubles them."""
    widest: int = 256
    """No map has more channels than this."""
    latent: int = 128
    """Width of the noise and of styles."""
    depth: int = 4
    """Layers of the mapping from one to the other; the paper has 8."""
    mixing: float = 0.9
    """Share of training rows whose later layers take the style of another noise."""
    r1: float = 0.1
    """Weight gamma of the penalty gamma/2 on the critic's squared slope at real samples."""
    r1_every: int = 16
    """It is taken on each such step, that many times as strong."""
    path: float = 2.0
    """Weight of path length regularisation; 0 leaves it out."""
    path_every: int = 8
    """It is taken on each such step, that many times as strong."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "latent", "depth", "r1_every", "path_every"):
            self.check(getattr(self, name) > 0, name, "a positive whole number")
        self.check(self.widest >= self.width, "widest", "at least width")
        self.check(0 <= self.mixing <= 1, "mixing", "a share in [0, 1]")
        for name in ("r1", "path"):
            self.check(getattr(self, name) >= 0, name, "0 or a positive number")

    @classmethod
    def tiny(cls) -> "Config":
        """Small enough for a test."""
        return cls(width=8, widest=16, latent=8, depth=2)

    def build(self, space: Space, classes: int = 0) -> "StyleGAN2":
        if not isinstance(space, Real) or len(space.shape) != 3 or min(space.shape[1:]) < SMALLEST:
            raise refuse_space("stylegan2", f"pictures of {SMALLEST} pixels a side or more", space, "use another kind")
        return StyleGAN2(self, space, classes)


class Generator(nn.Module):
    """One player: a mapping, a synthesis and the labels it is told."""

    def __init__(self, config: Config, space: Real, embed: LabelEmbedder):
        super().__init__()
        self.embed = embed
        self.mapping = Mapping(config.latent, embed.width, config.latent, config.depth)
        self.synthesis = Synthesis(config.latent, space.shape, config.width, config.widest)


class StyleGAN2(Model, Mixing, Judging):
    """Two players. Made samples are not squashed; where the space has levels, those that are drawn are cut to [-1, 1].

    Attributes:
        centre: the running mean of styles, E w.
        length: that of |J_w^T y|.
    """

    accepts = (Real,)
    centre: Tensor
    length: Tensor

    def __init__(self, config: Config, space: Real, classes: int):
        super().__init__()
        self.config: Config = config  # pyright: ignore[reportIncompatibleVariableOverride]
        self.space: Real = space  # pyright: ignore[reportIncompatibleVariableOverride]
        self.classes = classes
        self.generator = Generator(config, space, config.embedder(classes))
        embed = config.embedder(classes)
        self.critic = Player(Judge(space.shape, embed.width, config.width, config.widest), embed)
        self.augmentation = config.augmentation(space)
        self.register_buffer("centre", torch.zeros(config.latent))
        self.register_buffer("length", torch.zeros(()))
        self.styles_seen, self.lengths_seen = Tally(config.latent), Tally()

    def players(self) -> dict[str, nn.Module]:
        return {"critic": self.critic, "generator": self.generator}

    def turns(self) -> list[Turn]:
        turns = [Turn("critic", self.critic_loss)]
        if self.config.r1 > 0:
            turns.append(Turn("critic", self.r1_loss, self.config.r1_every))
        turns.append(Turn("generator", self.generator_loss))
        if self.config.path > 0:
            turns.append(Turn("generator", self.path_loss, self.config.path_every))
        return turns

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """The running means follow what the step's losses have seen, and the augmentation the critic's scores."""
        style, n = self.styles_seen.take()
        self.centre.lerp_(style, max(1 / (1 + step), SLOWEST) * (n > 0))
        length, n = self.lengths_seen.take()
        self.length.lerp_(length, max(1 / (1 + step // self.config.path_every), PATIENT) * (n > 0))
        if self.augmentation is not None:
            self.augmentation.adapt()

    # -- turns --------------------------------------------------------------------------------------------------------

    def critic_loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        rng = batch.rng.fork(0)
        with torch.no_grad():
            x, made = batch.x.float(), self._make(batch, rng)[0]
            shown, fake = self._shown(x, rng.fork(1)), self._shown(made, rng.fork(2))
        real_score, made_score = self._judge(shown, batch.given, rng), self._judge(fake, batch.given, rng)
        stats = {
            "real_score": real_score.detach().mean(),
            "made_score": made_score.detach().mean(),
            "real_sign": real_score.detach().sign().mean(),
            "spread": (spread(made) / spread(x)).sqrt(),
        }
        if self.augmentation is not None:
            self.augmentation.watch(real_score)
            stats["augmented"] = self.augmentation.p.clone()
        return LOSS.critic(real_score.squeeze(1), made_score.squeeze(1)), stats

    def r1_loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        """gamma/2 E |grad D(x)|^2 at real samples as the critic sees them, for all the steps it stands for."""
        rng = batch.rng.fork(1)
        with torch.enable_grad():
            x = self._shown(batch.x.float(), rng.fork(1)).detach().requires_grad_()
            r1 = square(*slopes(self._judge(x, batch.given, rng), x))
        return self.config.r1 / 2 * self.config.r1_every * r1, {"r1": r1.detach()}

    def generator_loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        rng = batch.rng.fork(2)
        made, w = self._make(batch, rng)
        self.styles_seen.note(w.detach())
        score = self._judge(self._shown(made, rng.fork(2)), batch.given, rng)
        return LOSS.generator(score.squeeze(1)), {"made_score": score.detach().mean()}

    def path_loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        """(|J_w^T y| - a)^2, y of variance 1 / (h w) at each place, the square of the length averaged over layers."""
        rng = batch.rng.fork(3)
        with torch.enable_grad():
            styles = self._spread(self._style(batch, rng))
            y = rng.normal(*self.space.shape) / math.sqrt(math.prod(self.space.shape[1:]))
            along = (self.generator.synthesis(styles, rng) * y).sum()
            (slope,) = torch.autograd.grad(along, styles, create_graph=True)
            length = slope.float().square().sum(2).mean(1).sqrt()
            self.lengths_seen.note(length.detach())
            penalty = (length - self.length).square().mean()
        stats = {"path": penalty.detach(), "length": length.detach().mean()}
        return self.config.path * self.config.path_every * penalty, stats

    def _style(self, batch: Batch, rng: Seeds) -> Float[Tensor, "b d"]:
        vector = self.generator.embed(batch.given, len(batch), rng.fork(0)).vector
        return self.generator.mapping(rng.normal(self.config.latent), vector)

    def _make(self, batch: Batch, rng: Seeds) -> tuple[Float[Tensor, "b *space"], Float[Tensor, "b d"]]:
        """Samples, and the styles of their first layers; some rows' later layers take those of another noise."""
        w, layers = self._style(batch, rng), self.generator.synthesis.layers
        styles = self._spread(w)
        if self.config.mixing > 0:
            share, first = rng.uniform(2).unbind(1)
            # layers from `first` on, which is 1 to layers - 1, or none of them
            first = torch.where(share < self.config.mixing, 1 + (first * (layers - 1)).floor(), layers)
            other = torch.arange(layers, device=w.device) >= first[:, None]
            styles = torch.where(other[:, :, None], self._spread(self._style(batch, rng)), styles)
        return self.generator.synthesis(styles, rng), w

    def _spread(self, w: Float[Tensor, "b d"]) -> Styles:
        """The same style for all layers."""
        return w[:, None].expand(-1, self.generator.synthesis.layers, -1)

    def _shown(self, x: Float[Tensor, "b *space"], rng: Seeds) -> Float[Tensor, "b *space"]:
        return x if self.augmentation is None else self.augmentation(x, rng)

    def _judge(self, x: Float[Tensor, "b *space"], given: Given, rng: Seeds) -> Scores:
        return self.critic.net(x, self.critic.embed(given, len(x), rng.fork(0)).vector)

    def realness(self, x: Float[Tensor, "b *space"]) -> Float[Tensor, " b"]:
        return self.critic.net(x, self.critic.embed(Given(), len(x)).vector).squeeze(1)

    # -- samples ------------------------------------------------------------------------------------------------------

    def condition(self, given: Given, n: int) -> Condition:
        return self.generator.embed(given, n)

    def predictor(self, condition: Condition) -> Predictor:
        """(z, psi) -> samples [b, *space.shape]; z is [b, latent], or [b, layers, latent] as `mix` makes it."""
        return lambda z, psi=1.0: self._picture(self.styles(z, condition, psi))

    def styles(self, z: Float[Tensor, "b *layers latent"], condition: Condition, psi: float = 1.0) -> Styles:
        """Styles, `psi` times as far from their mean as they would be (Karras et al. 2019, appendix B)."""
        each = z if z.dim() == 3 else z[:, None]
        vector = None if condition.vector is None else condition.vector.repeat_interleave(each.shape[1], 0)
        w = self.generator.mapping(each.flatten(0, 1), vector).unflatten(0, each.shape[:2])
        return torch.lerp(self.centre, w, psi).expand(-1, self.generator.synthesis.layers, -1)

    def mix(
        self, coarse: Float[Tensor, "b latent"], fine: Float[Tensor, "b latent"], share: float
    ) -> Float[Tensor, "b layers latent"]:
        """Style mixing: layers from `share` of the way up on take the other noise (Karras et al. 2019, figure 3)."""
        layers = self.generator.synthesis.layers
        first = min(max(1, round(share * layers)), layers - 1)
        late = torch.arange(layers, device=fine.device) >= first
        return torch.where(late[:, None], fine[:, None], coarse[:, None])

    def _picture(self, styles: Styles) -> Float[Tensor, "b *space"]:
        x = self.generator.synthesis(styles)
        return x.clamp(-1, 1) if self.space.levels else x

    def start(self, n: int, how: Sampling, rng: Seeds) -> Float[Tensor, "b latent"]:
        return rng.normal(self.config.latent)

    def draw(self, predict: Predictor, start: Float[Tensor, "b *layers latent"], how: Sampling, rng: Seeds) -> Tensor:
        return predict(start, how.temperature)
