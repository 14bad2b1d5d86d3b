"""What models that guess hidden tokens share: a Transformer that sees both ways, and a sample that begins hidden.

What is known may stand anywhere: a beginning, an end, or parts in between. Tokens of a grid are read row by row.
"""

import math
from abc import abstractmethod

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from maquette.core.seeds import Seeds
from maquette.core.sequences import counted
from maquette.core.types import Batch, Condition, Given, Predictor, Sampling, Stats, Tokens, Turn
from maquette.models.base import Model
from maquette.nets import transformer
from maquette.nets.conditioning import LabelEmbedder
from maquette.solvers import decoding


class Hidden(Model):
    """Its predictor is `x -> logits [b, l, vocab]` of the tokens that are hidden in `x` (-1)."""

    accepts = (Tokens,)
    stepwise = True

    def __init__(self, net: transformer.Config, embed: LabelEmbedder, space: Tokens):
        super().__init__()
        self.space: Tokens = space  # pyright: ignore[reportIncompatibleVariableOverride]
        self.classes = embed.classes
        length, width = math.prod(space.shape), net.width
        self.embed = embed
        self.table = nn.Embedding(space.vocab + 1, width)  # the last one stands for what is hidden
        self.net = net.build((length, width), (length, width), embed.width)
        nn.init.normal_(self.table.weight, 0.0, 0.02)

    def turns(self) -> list[Turn]:
        return [Turn("model", self.loss)]

    @abstractmethod
    def loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]: ...

    def made(self, x: Int[Tensor, "b l"]) -> Bool[Tensor, "b l"]:
        """Which tokens are made rather than given; padding is made, since it says where a text ends."""
        if self.space.marks is None:
            return counted(x, self.space)
        return F.pad(counted(x, self.space, padding=True), (1, 0), value=False)

    def guess(self, tokens: Int[Tensor, "b l"], condition: Condition) -> Float[Tensor, "b l vocab"]:
        """Logits of every place; number `vocab` is what is hidden."""
        h = self.net(self.net.config.unit(self.table(tokens)), None, condition)
        return F.linear(h, self.table.weight[: self.space.vocab])

    def condition(self, given: Given, n: int) -> Condition:
        return self.embed(given, n)

    def predictor(self, condition: Condition) -> Predictor:
        return lambda x: self.guess(torch.where(x == decoding.MAKE, self.space.vocab, x), condition)

    def start(self, n: int, how: Sampling, rng: Seeds) -> Int[Tensor, "n *space"]:
        """Everything hidden; in a space with marks the end of an earlier document stands first."""
        return decoding.blank(n, self.space, rng.device)
