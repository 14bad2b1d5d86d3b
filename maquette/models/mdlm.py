"""Masked discrete diffusion (Sahoo et al. 2024, "Simple and Effective Masked Diffusion Language Models").

At time t each token is hidden with probability t; a Transformer that sees both ways guesses the hidden ones. With
hidden places H_t,

    -log p(x) <= E_{t ~ U(0, 1)} [1/t sum_{i in H_t} -log p(x_i | visible)]        (their eq. 8 with alpha_t = 1 - t)

A sample begins hidden and is uncovered place by place in random order, so what is known may stand anywhere: a
beginning, an end, or words in between.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Condition, Likelihood, Predictor, Sampling, Space, Stats, Tokens
from maquette.models.base import ModelConfig, refuse_space
from maquette.models.hidden import Hidden
from maquette.nets import transformer
from maquette.nets.conditioning import LabelEmbedder
from maquette.solvers import decoding

LEAST = 1e-3
"""The earliest time: below it next to nothing is hidden, and 1/t is large."""
DRAWS = 4
"""Times at which the bound of a likelihood is taken for each sample, one in each equal part of [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    """Masked diffusion of tokens."""

    net: transformer.Config = field(default_factory=transformer.Config)
    steps: int = 64
    """In which a sample is uncovered, unless the request says otherwise."""
    label_width: int = 64
    """Of the vector that a label becomes."""
    label_drop: float = 0.1
    """Share of training samples whose label is withheld, so that guidance has something to compare with."""

    def __post_init__(self) -> None:
        for name in ("steps", "label_width"):
            self.check(getattr(self, name) > 0, name, "a positive whole number")
        self.check(0 <= self.label_drop < 1, "label_drop", "in [0, 1)")

    def build(self, space: Space, classes: int = 0) -> "MDLM":
        if not isinstance(space, Tokens):
            raise refuse_space("mdlm", "tokens", space, "put a codec to tokens between, or choose text")
        return MDLM(self, space, classes)


class MDLM(Hidden, Likelihood):
    """Uncovered in random order."""

    bound = True

    def __init__(self, config: Config, space: Tokens, classes: int):
        super().__init__(config.net, LabelEmbedder(classes, config.label_width, config.label_drop), space)
        self.config: Config = config  # pyright: ignore[reportIncompatibleVariableOverride]

    def loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        """The bound in nats per token, with one time a row, spread evenly over the batch."""
        condition = self.embed(batch.given, len(batch), batch.rng.fork(0))
        x = batch.x.flatten(1)
        counts = self.made(x)
        rng = batch.rng.fork(1)
        nats = self._bound(x, counts, condition, rng.strata(), rng)
        return nats.sum() / counts.numel(), {"nats_per_token": nats.detach().sum() / counts.sum().clamp(min=1)}

    def nll(self, batch: Batch) -> Float[Tensor, " b"]:
        """An upper bound, the mean over a few times."""
        condition, x = self.embed(batch.given, len(batch)), batch.x.flatten(1)
        counts = self.made(x)
        rng = batch.rng.fork(1)
        parts = [(rng.strata() + i) / DRAWS for i in range(DRAWS)]
        return torch.stack([self._bound(x, counts, condition, t, rng) for t in parts]).mean(0)

    def _bound(
        self,
        x: Int[Tensor, "b l"],
        counts: Bool[Tensor, "b l"],
        condition: Condition,
        t: Float[Tensor, " b"],
        rng: Seeds,
    ) -> Float[Tensor, " b"]:
        t = t.clamp(min=LEAST)[:, None]
        hidden = (rng.uniform(x.shape[1]) < t) & counts
        logits = self.guess(torch.where(hidden, self.space.vocab, x), condition)
        nats = F.cross_entropy(logits.float().flatten(0, 1), x.flatten(), reduction="none").view_as(x)
        return (nats * hidden / t).sum(1)

    def draw(
        self, predict: Predictor, start: Int[Tensor, "n *space"], how: Sampling, rng: Seeds
    ) -> Int[Tensor, "n *space"]:
        x = start.flatten(1)
        when, which = rng.uniform(x.shape[1]), rng.fork(1).uniform(x.shape[1])
        return decoding.unmask(predict, x, when, which, how, how.steps or self.config.steps).view(start.shape)
