"""Tokens one after another by a recurrent network (Hochreiter and Schmidhuber 1997; for text Mikolov et al. 2010).

    h_i = cell(h_{i-1}, E x_{i-1}),    p(x_i | x_1 ... x_{i-1}) = softmax(W h_i)

The loss is the mean negative log-likelihood of the tokens that count. The state is all that is kept of the past, so a
sample costs the same time for each token however long it is.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from maquette.core.seeds import Seeds
from maquette.core.sequences import counted, predicted, seen
from maquette.core.types import Batch, Condition, Given, Likelihood, Predictor, Sampling, Space, Stats, Tokens, Turn
from maquette.models.base import Model, ModelConfig, refuse_space
from maquette.nets.conditioning import LabelEmbedder
from maquette.solvers import decoding

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


@dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    """A recurrent model of tokens."""

    cell: Literal["lstm", "gru", "rnn"] = "lstm"
    width: int = 256
    """Of the state."""
    depth: int = 1
    """Layers, each reading the states of the one below."""
    tied: bool = True
    """Whether a token is written with the vector that it is read by (Press and Wolf 2017)."""
    dropout: float = 0.0
    """Share of the inputs, of what passes between layers, and of the outputs that is dropped in training."""
    label_width: int = 64
    """Of the vector that a label becomes."""
    label_drop: float = 0.1
    """Share of training samples whose label is withheld, so that guidance has something to compare with."""

    def __post_init__(self) -> None:
        for name in ("width", "depth", "label_width"):
            self.check(getattr(self, name) > 0, name, "a positive whole number")
        self.check(0 <= self.dropout < 1, "dropout", "a share in [0, 1)")
        self.check(0 <= self.label_drop < 1, "label_drop", "in [0, 1)")

    @classmethod
    def tiny(cls) -> "Config":
        """Small enough for a test."""
        return cls(width=16)

    def build(self, space: Space, classes: int = 0) -> "LSTM":
        if not isinstance(space, Tokens) or len(space.shape) != 1:
            raise refuse_space("lstm", "sequences of tokens", space, "put a codec to tokens between, or choose text")
        return LSTM(self, space, classes)


class LSTM(Model, Likelihood):
    """Its predictor is `(x, at) -> logits [b, vocab]` of token number `at` given those before it in `x`."""

    accepts = (Tokens,)

    def __init__(self, config: Config, space: Tokens, classes: int):
        super().__init__()
        self.config, self.space, self.classes, width = config, space, classes, config.width
        self.embed = LabelEmbedder(classes, config.label_width, config.label_drop)
        self.tell = nn.Linear(self.embed.width, width, bias=False) if classes else None
        self.table = nn.Embedding(space.vocab + (space.marks is None), width)
        dropout = config.dropout if config.depth > 1 else 0.0
        self.cells = CELLS[config.cell](width, width, config.depth, batch_first=True, dropout=dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.head = None if config.tied else nn.Linear(width, space.vocab, bias=False)
        self.bias = nn.Parameter(torch.zeros(space.vocab))
        nn.init.normal_(self.table.weight, 0.0, 0.1)
        if config.cell == "lstm":  # a state is kept unless there is a reason to forget it (Jozefowicz et al. 2015)
            with torch.no_grad():
                for name, bias in self.cells.named_parameters():
                    if name.startswith("bias_ih"):
                        bias[width : 2 * width] = 1.0

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
        targets, counts = predicted(x, self.space), counted(x, self.space)
        logits, _ = self.read(seen(x, self.space), condition, None)
        nats = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
        return nats * counts, counts

    def read(self, tokens: Int[Tensor, "b l"], condition: Condition, state):
        """Logits [b, l, vocab] of what follows each token, and the state after the last."""
        h = self.dropout(self.table(tokens))
        if self.tell is not None:
            h = h + self.tell(condition.vector)[:, None]
        h, state = self.cells(h, state)
        weight = self.table.weight[: self.space.vocab] if self.head is None else self.head.weight
        return F.linear(self.dropout(h), weight, self.bias), state

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
    """Reads a growing sequence and says what comes next; the state after what it has read is kept."""

    def __init__(self, model: LSTM, condition: Condition):
        self.model, self.condition, self.state = model, condition, None
        self.done = torch.empty(0, 0, dtype=torch.int64)

    def __call__(self, x: Int[Tensor, "b l"], at: int) -> Float[Tensor, "b vocab"]:
        model = self.model
        inputs = x[:, :at] if model.space.marks else F.pad(x[:, :at], (1, 0), value=model.space.vocab)
        known = self.done.shape[1]
        if not (0 < known < inputs.shape[1] and torch.equal(self.done, inputs[:, :known])):
            self.state, known = None, 0
        logits, self.state = model.read(inputs[:, known:], self.condition, self.state)
        self.done = inputs.clone()
        return logits[:, -1]
