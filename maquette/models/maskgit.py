"""Masked tokens guessed together, the surest kept first (Chang et al. 2022, "MaskGIT").

A share cos(pi/2 r) of the tokens is hidden, r ~ U(0, 1), and a Transformer that sees both ways guesses them:

    -E sum_{i hidden} log p(x_i | visible)                                                   (their equation 1)

as a mean over the hidden ones. A sample begins hidden; in each of a few steps every hidden place draws a token, and the
surest are kept. Nothing here is a bound of a likelihood: for one of the same network see `mdlm`.
"""

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Predictor, Sampling, Space, Stats, Tokens
from maquette.models.base import ModelConfig, refuse_space
from maquette.models.hidden import Hidden
from maquette.nets import transformer
from maquette.nets.conditioning import LabelEmbedder
from maquette.solvers import decoding


@dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    """Masked tokens, the surest first."""

    search = {"choice": 2.0, "smoothing": (0.0, 0.1)}

    net: transformer.Config = field(default_factory=transformer.Config)
    steps: int = 12
    """In which a sample is uncovered, unless the request says otherwise."""
    choice: float = 4.5
    """How much chance has to do with what is kept, at first; it falls to 0 with the steps."""
    smoothing: float = 0.0
    """Share of a target's probability that is spread over all tokens: the authors take 0.1. Guesses are drawn from what
    is learnt, so that share of them is then noise."""
    label_width: int = 64
    """Of the vector that a label becomes."""
    label_drop: float = 0.1
    """Share of training samples whose label is withheld, so that guidance has something to compare with."""

    def __post_init__(self) -> None:
        for name in ("steps", "label_width"):
            self.check(getattr(self, name) > 0, name, "a positive whole number")
        self.check(self.choice >= 0, "choice", "0 or a positive number")
        self.check(0 <= self.smoothing < 1, "smoothing", "a share in [0, 1)")
        self.check(0 <= self.label_drop < 1, "label_drop", "in [0, 1)")

    def build(self, space: Space, classes: int = 0) -> "MaskGIT":
        if not isinstance(space, Tokens):
            raise refuse_space("maskgit", "tokens", space, "put a codec to tokens between, or choose text")
        return MaskGIT(self, space, classes)


class MaskGIT(Hidden):
    """Uncovered in order of confidence."""

    def __init__(self, config: Config, space: Tokens, classes: int):
        super().__init__(config.net, LabelEmbedder(classes, config.label_width, config.label_drop), space)
        self.config: Config = config  # pyright: ignore[reportIncompatibleVariableOverride]

    def loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        """Nats per hidden token, each row's mean counting as one; the shares are spread evenly over the batch."""
        x, rng = batch.x.flatten(1), batch.rng.fork(1)
        condition = self.embed(batch.given, len(x), batch.rng.fork(0))
        made = self.made(x)
        rank = rng.uniform(x.shape[1]).masked_fill(~made, 2.0).argsort(1).argsort(1)  # those that are given come last
        count = (made.sum(1) * torch.cos(math.pi / 2 * rng.strata())).ceil().clamp(min=1)[:, None]
        hidden = (rank < count) & made
        logits = self.guess(torch.where(hidden, self.space.vocab, x), condition).float().flatten(0, 1)
        nats = F.cross_entropy(logits, x.flatten(), reduction="none", label_smoothing=self.config.smoothing)
        right = (logits.detach().argmax(1) == x.flatten()).view_as(x)
        stats = {"right": ((right & hidden).sum(1) / count[:, 0]).mean()}
        return ((nats.view_as(x) * hidden).sum(1) / count[:, 0]).mean(), stats

    def draw(
        self, predict: Predictor, start: Int[Tensor, "n *space"], how: Sampling, rng: Seeds
    ) -> Int[Tensor, "n *space"]:
        steps = how.steps or self.config.steps
        return decoding.unmask_surest(predict, start.flatten(1), how, rng, steps, self.config.choice).view(start.shape)
