"""What adversarial games have in common: the losses, bounds on the critic, and what may be added to any of them.

Two learning rates (TTUR, Heusel et al. 2017) need nothing here: each player has its own entry in `train.optimizers`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from maquette.core.config import Config
from maquette.core.errors import MaquetteError
from maquette.core.types import Real, Space
from maquette.models.base import ModelConfig
from maquette.nets import dims
from maquette.nets.augmentation import FOR_SOUND, Augmentation, Change
from maquette.nets.conditioning import LabelEmbedder

Column = Float[Tensor, "b *patches"]
"""One critic's scores: one of each row, or of each patch of it."""
Scores = Float[Tensor, "b k *patches"]
"""Those of all critics, which most often is one."""
Slopes = Float[Tensor, "b k"]
Scalar = Float[Tensor, ""]


# -- losses ------------------------------------------------------------------------------------------------------------


class Loss(NamedTuple):
    """What each player lowers, from the critic's scores (logits: the critic has no sigmoid)."""

    critic: Callable[[Column, Column], Scalar]
    """(scores of real samples, scores of made ones)"""
    generator: Callable[[Column], Scalar]
    """(scores of made samples), or how far they are ahead of the real ones where the loss is of pairs"""
    pairs: bool = False


LOSSES = {
    # Goodfellow et al. 2014, section 3: -log D(G(z)) keeps its slope where log(1 - D(G(z))) has none
    "non-saturating": Loss(
        lambda real, made: F.softplus(-real).mean() + F.softplus(made).mean(), lambda made: F.softplus(-made).mean()
    ),
    # the same, equation 1: the generator lowers what the critic raises, which is flat where the critic is sure
    "minimax": Loss(
        lambda real, made: F.softplus(-real).mean() + F.softplus(made).mean(), lambda made: -F.softplus(made).mean()
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
    # Jolicoeur-Martineau 2019, as Huang et al. 2024, eq. 2: each made sample is held against a real one
    "relativistic": Loss(
        lambda real, made: F.softplus(made - real).mean(), lambda ahead: F.softplus(-ahead).mean(), pairs=True
    ),
}


# -- what the games' configurations share ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class GameConfig(ModelConfig):
    """Labels, and what critics see of pictures."""

    augment: tuple[Change, ...] = ()
    """How pictures are changed before a critic sees them: colour, translation, cutout (DiffAugment, Zhao et al. 2020),
    and with `adapt` geometry. For small data; flips belong to data.augment. Sound: translation and cutout alone."""
    adapt: float = 0.0
    """Each change has a probability, adapted so that the mean sign of the critic's scores of real samples is this (ADA,
    Karras et al. 2020a, who take 0.6); 0 makes every change every time."""
    label_width: int = 64
    """Of the vector that tells a conditional network its label."""
    label_drop: float = 0.1
    """Share of training rows without their label, so that samples of no given class can be asked for."""

    def __post_init__(self) -> None:
        self.check(0 <= self.adapt < 1, "adapt", "a number in [0, 1)")
        self.check(self.adapt == 0 or bool(self.augment), "adapt", "0 where `augment` is empty")
        tame = "geometry" not in self.augment or self.adapt > 0
        self.check(tame, "augment", "without geometry where `adapt` is 0: the generator would learn to turn pictures")
        self.check(self.label_width > 0, "label_width", "a positive whole number")
        self.check(0 <= self.label_drop < 1, "label_drop", "a share in [0, 1)")

    def augmentation(self, space: Space) -> Augmentation | None:
        """None where nothing is changed."""
        if not self.augment:
            return None
        reason, todo = "", "leave it empty"
        if not isinstance(space, Real) or not dims.is_sample(space.shape):
            reason = f"samples of {space} are no pictures"
        elif len(space.shape) == 2 and not set(self.augment) <= set(FOR_SOUND):
            reason, todo = "sound has no colours and is not turned", f"choose among {', '.join(FOR_SOUND)}"
        if reason:
            raise MaquetteError("MQ-2009", path="model.augment", value=list(self.augment), reason=reason, todo=todo)
        return Augmentation(self.augment, self.adapt)

    def embedder(self, classes: int) -> LabelEmbedder:
        """Each player has its own; both drop the same labels, because they are given the same source of randomness."""
        return LabelEmbedder(classes, self.label_width, self.label_drop)


class Player(nn.Module):
    """A net together with the embedder of the labels that it alone is told, and further nets of its kind, if any."""

    def __init__(self, net: nn.Module, embed: LabelEmbedder, others: Sequence[nn.Module] = ()):
        super().__init__()
        self.net, self.embed = net, embed
        self.others = nn.ModuleList(others)

    @property
    def nets(self) -> list[Any]:
        """All of a critic's, each a `nets.base.Critic`."""
        return [self.net, *self.others]


# -- bounds on the critic ----------------------------------------------------------------------------------------------


def slopes(score: Scores, *points: Float[Tensor, "b *space"]) -> list[Slopes]:
    """|grad D_k| of each row at each of `points`, differentiable in the critics' weights.

    Args:
        score: the critics' scores of `points`, those of several added: a row of one has no slope at a row of another.
    """
    by_critic = [torch.autograd.grad(column.sum(), points, create_graph=True) for column in score.unbind(1)]
    return [torch.stack([g.flatten(1).float().norm(dim=1) for g in grads], 1) for grads in zip(*by_critic, strict=True)]


def square(slope: Slopes) -> Scalar:
    """E |grad D|^2, added over critics: R1 at real samples (Mescheder et al. 2018, eq. 9), R2 at made ones (eq. 10)."""
    return slope.square().mean(0).sum()


# -- aids --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Aids(Config):
    """What may help a game along; left as they are, all of them do nothing."""

    critics: int = 1
    """How many of them the generator faces (Durugkar et al. 2017)."""
    facing: Literal["mean", "max", "softmax"] = "mean"
    """Whose word counts for the generator: everybody's, the harshest critic's, or each one's by how harsh it is."""
    features: float = 0.0
    """Weight of feature matching: made samples look on average to the critic as real ones do (Salimans et al. 2016)."""
    diversity: float = 0.0
    """Weight of mode seeking: other noise makes another sample (Mao et al. 2019)."""
    noise: float = 0.0
    """Spread of the noise on what the critic sees, falling to 0 over the budget (Sønderby et al. 2017)."""
    smoothing: float = 0.0
    """The critic takes real samples for real with 1 minus this (one-sided, Salimans et al. 2016)."""

    def __post_init__(self) -> None:
        self.check(1 <= self.critics <= 64, "critics", "a whole number from 1 to 64")
        for name in ("features", "diversity", "noise"):
            self.check(getattr(self, name) >= 0, name, "0 or a positive number")
        self.check(0 <= self.smoothing < 0.5, "smoothing", "a share in [0, 0.5)")


def faced(losses: Float[Tensor, " k"], how: str) -> Scalar:
    """What the generator lowers, from its loss against each critic (Durugkar et al. 2017, sections 3.1 and 4.1).

    softmax weighs each loss by softmax(losses); of one loss, all three are that loss itself.
    """
    if how == "max":
        return losses.max()
    return losses.mean() if how == "mean" else (losses.softmax(0) * losses).sum()


def unlike(real: Float[Tensor, "b *seen"], made: Float[Tensor, "b *seen"]) -> Scalar:
    """|E f(x) - E f(G(z))|^2 (Salimans et al. 2016, section 3.1), a mean over features where they have a sum, so that
    one weight suits critics of any width."""
    return (real.float().mean(0) - made.float().mean(0)).square().mean()


def sameness(
    made: Float[Tensor, "b *space"], other: Float[Tensor, "b *space"], z: Float[Tensor, "b d"], w: Float[Tensor, "b d"]
) -> Scalar:
    """1 / (|G(z) - G(w)| / |z - w| + eps), the ratio averaged over rows: what mode seeking lowers to have a generator
    answer to its noise (Mao et al. 2019, eq. 4, in mean absolute differences)."""
    ratio = (made - other).abs().flatten(1).mean(1) / (z - w).abs().mean(1)
    return 1 / (ratio.mean() + 1e-5)


def spread(x: Float[Tensor, "b *space"]) -> Scalar:
    """The variance among rows, averaged over dimensions: near 0 when all samples are one, and never below, whose root
    would be no number."""
    return (x - x.mean(0)).square().mean()
