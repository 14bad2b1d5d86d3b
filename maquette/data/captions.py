"""Captions as tokens of one length: read by a tokenizer that learns its vocabulary from them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Int

from maquette.core.config import Config
from maquette.core.types import Tokens
from maquette.media import tokens


@dataclass(frozen=True, kw_only=True)
class Captions(Config):
    """How the captions of a table's column, of metadata or of text files beside the samples become tokens."""

    tokenizer: Literal["byte", "character", "bpe", "unigram"] = "bpe"
    vocab: int = 1024
    """At most so many tokens."""
    length: int = 32
    """Tokens of a caption; of a longer one the beginning counts."""
    vocabulary: str = ""
    """What was learnt of the training captions; leave it empty."""

    def __post_init__(self) -> None:
        self.check(tokens.LEARNT <= self.vocab <= 1_000_000, "vocab", f"a whole number from {tokens.LEARNT}")
        self.check(1 <= self.length <= 1024, "length", "a whole number from 1 to 1024")

    def learnt(self, texts: Iterable[str]) -> "Captions":
        """These settings with a vocabulary, from `texts` where there was none."""
        if self.vocabulary or self.tokenizer == "byte":
            return self
        return replace(self, vocabulary=tokens.learn(self.tokenizer, texts, self.vocab))

    @property
    def space(self) -> Tokens:
        """Of a caption."""
        made = tokens.make(self.tokenizer, self.vocabulary)
        return Tokens((self.length,), made.vocab, made.marks)

    def encode(self, texts: Sequence[str]) -> Int[np.ndarray, "n l"]:
        """The tokens of each text; after its end, and where there is no text, 0."""
        made = tokens.make(self.tokenizer, self.vocabulary)
        rows = np.full((len(texts), self.length), tokens.MARKS.end, np.int64)
        for row, text in zip(rows, texts, strict=True):
            said = made.encode(text)[: self.length]
            row[: len(said)] = said
        return rows

    def decode(self, rows: Int[np.ndarray, "n l"]) -> list[str]:
        """The text of each row of tokens, up to its end."""
        made = tokens.make(self.tokenizer, self.vocabulary)
        ends = np.cumprod(rows != tokens.MARKS.end, axis=1).sum(1)
        return [made.decode(row[:end]) for row, end in zip(rows, ends, strict=True)]
