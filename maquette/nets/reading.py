"""What a person wrote -> what a network receives: a small Transformer over the tokens of a caption.

Networks that attend take its `sequence` and `mask`, all others the mean of it, `vector`. A caption that is absent, or
withheld so that guidance has something to compare with (Ho and Salimans 2021), is a sequence of one learnt element.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from maquette.core.config import Config
from maquette.core.seeds import Seeds
from maquette.core.types import Condition, Given, Tokens
from maquette.nets import transformer
from maquette.nets.conditioning import Embedder


@dataclass(frozen=True, kw_only=True)
class Reading(Config):
    """How captions are read, where a model is given them."""

    width: int = 128
    """Of a token's vector."""
    depth: int = 2
    """Blocks of attention and MLP."""
    heads: int = 4

    def __post_init__(self) -> None:
        self.check(self.width > 0 and self.heads > 0, "width", "a positive whole number")
        self.check(self.width % (2 * self.heads) == 0, "width", f"a multiple of twice the {self.heads} heads")
        self.check(self.depth > 0, "depth", "a positive whole number")

    @classmethod
    def tiny(cls) -> "Reading":
        """Small enough for a test."""
        return cls(width=16, depth=1, heads=2)


class TextEmbedder(Embedder):
    """The tokens of a caption as a sequence, and its mean as a vector.

    Args:
        text: the space of captions; none makes an embedder that gives an empty condition.
        drop: share of training rows whose caption is withheld.
    """

    def __init__(self, text: Tokens | None, reading: Reading, drop: float = 0.0):
        super().__init__()
        self.text, self.width, self.drop = text, reading.width if text else 0, drop
        if text is None:
            return
        shape = (text.shape[0] + 1, reading.width)
        self.table = nn.Embedding(text.vocab, reading.width)
        # what stands before every caption, and in the place of one that is not there
        self.first = nn.Parameter(0.02 * torch.randn(2, reading.width))
        parts = transformer.Config(width=reading.width, depth=reading.depth, heads=reading.heads)
        self.net = parts.build(shape, shape)
        nn.init.normal_(self.table.weight, 0.0, 0.02)

    def forward(self, given: Given, n: int, rng: Seeds | None = None) -> Condition:
        """`Condition` for `n` rows; with `rng` some captions are withheld."""
        if self.text is None:
            return Condition()
        tokens = torch.zeros(n, *self.text.shape, dtype=torch.int64) if given.text is None else given.text
        tokens = tokens.to(self.first.device)
        told = (tokens != 0).any(1)
        if rng is not None and self.drop > 0:
            told = told & (rng.uniform() >= self.drop)
        mask = torch.cat([torch.ones_like(told)[:, None], (tokens != 0) & told[:, None]], dim=1)
        h = torch.cat([self.first[1 - told.long()][:, None], self.table(tokens)], dim=1)
        allowed = mask[:, None, None].expand(-1, -1, h.shape[1], -1)
        h = self.net(self.net.config.unit(h), allowed=allowed)
        return Condition(vector=_mean(h, mask), sequence=h, mask=mask)


def _mean(h: Tensor, mask: Tensor) -> Tensor:
    """Over the elements that count."""
    weights = mask[..., None].to(h.dtype)
    return (h * weights).sum(1) / weights.sum(1)
