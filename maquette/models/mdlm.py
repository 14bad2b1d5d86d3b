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
from torch import Tensor, nn
from torch.nn import functional as F

from maquette.core.seeds import Seeds
from maquette.core.sequences import counted
from maquette.core.types import Batch, Condition, Given, Likelihood, Predictor, Sampling, Space, Stats, Tokens, Turn
from maquette.models.base import Model, ModelConfig, refuse_space
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
        if not isinstance(space, Tokens) or len(space.shape) != 1:
            raise refuse_space("mdlm", "sequences of tokens", space, "put a codec to tokens between, or choose text")
        return MDLM(self, space, classes)


class MDLM(Model, Likelihood):
    """Its predictor is `x -> logits [b, l, vocab]` of the tokens that are hidden in `x` (-1)."""

    accepts = (Tokens,)
    bound = True
    stepwise = True

    def __init__(self, config: Config, space: Tokens, classes: int):
        super().__init__()
        self.config: Config = config  # pyright: ignore[reportIncompatibleVariableOverride]
        self.space: Tokens = space  # pyright: ignore[reportIncompatibleVariableOverride]
        self.classes = classes
        length, width = space.shape[0], config.net.width
        self.embed = LabelEmbedder(classes, config.label_width, config.label_drop)
        self.table = nn.Embedding(space.vocab + 1, width)  # the last one stands for what is hidden
        self.net = config.net.build((length, width), (length, width), self.embed.width)
        nn.init.normal_(self.table.weight, 0.0, 0.02)

    def turns(self) -> list[Turn]:
        return [Turn("model", self.loss)]

    def loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        """The bound in nats per token, with one time a row, spread evenly over the batch."""
        condition = self.embed(batch.given, len(batch), batch.rng.fork(0))
        counts = self._made(batch.x)
        rng = batch.rng.fork(1)
        nats = self._bound(batch.x, counts, condition, rng.strata(), rng)
        return nats.sum() / counts.numel(), {"nats_per_token": nats.detach().sum() / counts.sum().clamp(min=1)}

    def nll(self, batch: Batch) -> Float[Tensor, " b"]:
        """An upper bound, the mean over a few times."""
        condition, counts = self.embed(batch.given, len(batch)), self._made(batch.x)
        rng = batch.rng.fork(1)
        parts = [(rng.strata() + i) / DRAWS for i in range(DRAWS)]
        return torch.stack([self._bound(batch.x, counts, condition, t, rng) for t in parts]).mean(0)

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
        logits = self._guess(torch.where(hidden, self.space.vocab, x), condition)
        nats = F.cross_entropy(logits.float().flatten(0, 1), x.flatten(), reduction="none").view_as(x)
        return (nats * hidden / t).sum(1)

    def _made(self, x: Int[Tensor, "b l"]) -> Bool[Tensor, "b l"]:
        """Which tokens are made rather than given; padding is made, since it says where a text ends."""
        if self.space.marks is None:
            return counted(x, self.space)
        return F.pad(counted(x, self.space, padding=True), (1, 0), value=False)

    def _guess(self, tokens: Int[Tensor, "b l"], condition: Condition) -> Float[Tensor, "b l vocab"]:
        h = self.net(self.config.net.unit(self.table(tokens)), None, condition)
        return F.linear(h, self.table.weight[: self.space.vocab])

    def condition(self, given: Given, n: int) -> Condition:
        return self.embed(given, n)

    def predictor(self, condition: Condition) -> Predictor:
        return lambda x: self._guess(torch.where(x == decoding.MAKE, self.space.vocab, x), condition)

    def start(self, n: int, how: Sampling, rng: Seeds) -> Int[Tensor, "n l"]:
        """Everything hidden; in a space with marks the end of an earlier document stands first."""
        return decoding.blank(n, self.space, rng.device)

    def draw(self, predict: Predictor, start: Int[Tensor, "n l"], how: Sampling, rng: Seeds) -> Int[Tensor, "n l"]:
        when, which = rng.uniform(start.shape[1]), rng.fork(1).uniform(start.shape[1])
        return decoding.unmask(predict, start, when, which, how, how.steps or self.config.steps)
