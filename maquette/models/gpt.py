"""Tokens one after another by a causal Transformer: p(x) = prod_i p(x_i | x_1 ... x_{i-1}) (Radford et al. 2018).

The loss is the mean negative log-likelihood of the tokens that count; a sample is drawn token by token with the keys
and values of earlier places kept, so that each place is computed once.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from maquette.core.seeds import Seeds
from maquette.core.sequences import apart, counted, predicted, seen
from maquette.core.types import Batch, Condition, Given, Likelihood, Predictor, Sampling, Space, Stats, Tokens, Turn
from maquette.models.base import Model, ModelConfig, refuse_space
from maquette.nets import transformer
from maquette.nets.conditioning import LabelEmbedder
from maquette.solvers import decoding


@dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    """A decoder-only Transformer."""

    net: transformer.Config = field(default_factory=transformer.Config)
    tied: bool = True
    """Whether a token is written with the vector that it is read by."""
    label_width: int = 64
    """Of the vector that a label becomes."""
    label_drop: float = 0.1
    """Share of training samples whose label is withheld, so that guidance has something to compare with."""

    def __post_init__(self) -> None:
        self.check(self.label_width > 0, "label_width", "a positive whole number")
        self.check(0 <= self.label_drop < 1, "label_drop", "in [0, 1)")

    def build(self, space: Space, classes: int = 0) -> "GPT":
        if not isinstance(space, Tokens) or len(space.shape) != 1:
            raise refuse_space("gpt", "sequences of tokens", space, "put a codec to tokens between, or choose text")
        return GPT(self, space, classes)


class GPT(Model, Likelihood):
    """Its predictor is `(x, at) -> logits [b, vocab]` of token number `at` given those before it in `x`."""

    accepts = (Tokens,)

    def __init__(self, config: Config, space: Tokens, classes: int):
        super().__init__()
        self.config, self.space, self.classes = config, space, classes
        length, width = space.shape[0] - bool(space.marks), config.net.width
        self.embed = LabelEmbedder(classes, config.label_width, config.label_drop)
        self.table = nn.Embedding(space.vocab + (space.marks is None), width)
        self.net = config.net.build((length, width), (length, width), self.embed.width, causal=True)
        self.head = None if config.tied else nn.Linear(width, space.vocab, bias=False)
        nn.init.normal_(self.table.weight, 0.0, 0.02)
        if self.head is not None:
            nn.init.zeros_(self.head.weight)

    def turns(self) -> list[Turn]:
        return [Turn("model", self.loss)]

    def loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        """Nats per token of the batch; the statistic leaves out what is not learnt (prompts, padding)."""
        condition = self.embed(batch.given, len(batch), batch.rng.fork(0))
        nats, counts = self._nats(batch.x, condition)
        return nats.sum() / nats.numel(), {"nats_per_token": nats.detach().sum() / counts.sum().clamp(min=1)}

    def nll(self, batch: Batch) -> Float[Tensor, " b"]:
        return self._nats(batch.x, self.embed(batch.given, len(batch)))[0].sum(1)

    def _nats(self, x: Int[Tensor, "b l"], condition: Condition) -> tuple[Float[Tensor, "b m"], Tensor]:
        """Of each prediction, 0 where it does not count, and which count."""
        inputs, targets, counts = seen(x, self.space), predicted(x, self.space), counted(x, self.space)
        logits = self._write(self.net(self._read(inputs), None, condition, apart(inputs, self.space)))
        nats = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
        return nats * counts, counts

    def _read(self, tokens: Int[Tensor, "b l"]) -> Float[Tensor, "b l d"]:
        return F.rms_norm(self.table(tokens), (self.config.net.width,))

    def _write(self, h: Float[Tensor, "b l d"]) -> Float[Tensor, "b l vocab"]:
        return F.linear(h, self.table.weight[: self.space.vocab] if self.head is None else self.head.weight)

    def condition(self, given: Given, n: int) -> Condition:
        return self.embed(given, n)

    def predictor(self, condition: Condition) -> Predictor:
        """Cheap when asked in order, right in any order."""
        return Reader(self, condition)

    def start(self, n: int, how: Sampling, rng: Seeds) -> Int[Tensor, "n l"]:
        """Nothing but gaps; in a space with marks the end of an earlier document stands first."""
        start = torch.full((n, *self.space.shape), decoding.MAKE, device=rng.device)
        if self.space.marks:
            start[:, 0] = self.space.marks.end
        return start

    def draw(self, predict: Predictor, start: Int[Tensor, "n l"], how: Sampling, rng: Seeds) -> Int[Tensor, "n l"]:
        end = self.space.marks.end if self.space.marks else None
        return decoding.decode(predict, start, rng.uniform(start.shape[1]), how, end)


class Reader:
    """Reads a growing sequence and says what comes next; what it has read it keeps."""

    def __init__(self, model: GPT, condition: Condition):
        self.model, self.condition = model, condition
        self.cache: transformer.Cache | None = None
        self.read = torch.empty(0, 0, dtype=torch.int64)

    def __call__(self, x: Int[Tensor, "b l"], at: int) -> Float[Tensor, "b vocab"]:
        model = self.model
        inputs = x[:, :at] if model.space.marks else F.pad(x[:, :at], (1, 0), value=model.space.vocab)
        known = self.read.shape[1]
        kept = self.cache is not None and 0 < known < inputs.shape[1] and torch.equal(self.read, inputs[:, :known])
        if self.cache is None or not kept:
            like = model._read(inputs[:, :1])
            self.cache, known = transformer.Cache(model.net, len(x), like), 0
        h = model.net(model._read(inputs[:, known:]), None, self.condition, None, self.cache)
        self.read = inputs.clone()
        return model._write(h[:, -1:])[:, 0]
