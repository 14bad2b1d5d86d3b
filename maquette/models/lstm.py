"""Tokens one after another by a recurrent network (Hochreiter and Schmidhuber 1997; for text Mikolov et al. 2010).

    h_i = cell(h_{i-1}, E x_{i-1}),    p(x_i | x_1 ... x_{i-1}) = softmax(W h_i)

Loss, likelihood and drawing are those of every model of this kind (`tokenwise.py`). The state is all that is kept of
the past, so each token of a sample costs the same time however long it is.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from maquette.core.types import Batch, Condition, Features, Space, Tokens
from maquette.models.base import ModelConfig, refuse_space
from maquette.models.tokenwise import Tokenwise
from maquette.nets.conditioning import LabelEmbedder

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


@dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    """A recurrent model of tokens."""

    search = {"dropout": (0.0, 0.1, 0.3)}

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
        if not isinstance(space, Tokens):
            raise refuse_space("lstm", "tokens", space, "put a codec to tokens between, or choose text")
        return LSTM(self, space, classes)


class LSTM(Tokenwise, Features):
    """A recurrent state may carry something over from the document before; nothing else does."""

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

    def read(
        self,
        tokens: Int[Tensor, "b l"],
        condition: Condition,
        state: Any = None,
        keep: bool = False,
        allowed: Bool[Tensor, "b 1 l l"] | None = None,
    ) -> tuple[Float[Tensor, "b l vocab"], Any]:
        h, state = self.cells(self._entered(tokens, condition), state)
        weight = self.table.weight[: self.space.vocab] if self.head is None else self.head.weight
        return F.linear(self.dropout(h), weight, self.bias), state

    def reordered(self, state: Any, rows: Int[Tensor, " b"]) -> Any:
        """States are [depth, b, width], of an LSTM two of them."""
        return tuple(part[:, rows] for part in state) if isinstance(state, tuple) else state[:, rows]

    def features(self, batch: Batch) -> Float[Tensor, "b d"]:
        return self.mean_state(batch, lambda tokens, condition, _: self.cells(self._entered(tokens, condition))[0])

    def _entered(self, tokens: Int[Tensor, "b l"], condition: Condition) -> Float[Tensor, "b l d"]:
        h = self.dropout(self.table(tokens))
        return h if self.tell is None else h + self.tell(condition.vector)[:, None]
