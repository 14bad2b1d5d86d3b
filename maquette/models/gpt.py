"""Tokens one after another by a causal Transformer: p(x) = prod_i p(x_i | x_1 ... x_{i-1}) (Radford et al. 2018).

Loss, likelihood and drawing are those of every model of this kind (`tokenwise.py`); this file says how it reads.
GPT-2 (Radford et al. 2019) is one of its forms, and its files become a bundle and go back (`gpt2.py`).
"""

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from maquette.core.devices import Storage
from maquette.core.errors import MaquetteError
from maquette.core.types import Batch, Compilable, Condition, Features, Seated, Seats, Space, Tokens
from maquette.media.base import Medium
from maquette.models import gpt2
from maquette.models.base import Adopted, ModelConfig, refuse_space
from maquette.models.tokenwise import Tokenwise
from maquette.nets import transformer
from maquette.nets.conditioning import LabelEmbedder


@dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    """A decoder-only Transformer."""

    search = {"net.dropout": (0.0, 0.1, 0.2)}

    net: transformer.Config = field(default_factory=transformer.Config)
    tied: bool = True
    """Whether a token is written with the vector that it is read by."""
    embed_norm: bool = True
    """Whether the vectors of tokens are brought to one length before the first block; those of GPT-2 are not."""
    label_width: int = 64
    """Of the vector that a label becomes."""
    label_drop: float = 0.1
    """Share of training samples whose label is withheld, so that guidance has something to compare with."""

    def __post_init__(self) -> None:
        self.check(self.label_width > 0, "label_width", "a positive whole number")
        self.check(0 <= self.label_drop < 1, "label_drop", "in [0, 1)")

    def build(self, space: Space, classes: int = 0) -> "GPT":
        if not isinstance(space, Tokens):
            raise refuse_space("gpt", "tokens", space, "put a codec to tokens between, or choose text")
        return GPT(self, space, classes)

    def exports(self, medium: Medium, classes: int) -> bool:
        return gpt2.fits(self.to_tree(), medium, classes)

    @classmethod
    def adopt(cls, folder: Path) -> Adopted | None:
        """The model of a folder in GPT-2's format."""
        if (found := gpt2.read(folder)) is None:
            return None
        return Adopted(found.medium, cls.from_tree(found.config, "config.json"), found.weights)


class GPT(Tokenwise, Seated, Compilable, Features):
    """Keys and values of earlier places are kept while a sample is drawn, so that each place is computed once."""

    compiled: Any = None

    def __init__(self, config: Config, space: Tokens, classes: int):
        super().__init__()
        self.config: Config = config  # pyright: ignore[reportIncompatibleVariableOverride]
        self.space, self.classes = space, classes
        length, width = math.prod(space.shape) - bool(space.marks), config.net.width
        self.embed = LabelEmbedder(classes, config.label_width, config.label_drop)
        self.table = nn.Embedding(space.vocab + (space.marks is None), width)
        self.net = config.net.build((length, width), (length, width), self.embed.width, causal=True)
        self.head = None if config.tied else nn.Linear(width, space.vocab, bias=False)
        nn.init.normal_(self.table.weight, 0.0, 0.02)
        if self.head is not None:
            nn.init.zeros_(self.head.weight)

    def read(
        self,
        tokens: Int[Tensor, "b l"],
        condition: Condition,
        state: transformer.Cache | None = None,
        keep: bool = False,
        allowed: Bool[Tensor, "b 1 l l"] | None = None,
    ) -> tuple[Float[Tensor, "b l vocab"], transformer.Cache | None]:
        quick = self.compiled if self.compiled is not None and len(tokens) <= self.compiled.most else None
        if keep and state is None and quick is not None:
            state = quick.cache(len(tokens))
        if quick is not None and state is not None and tokens.shape[1] == 1:
            return quick.advance(tokens, condition, state), state
        h = self._entered(tokens)
        if keep and state is None:
            state = transformer.Cache(self.net, len(h), h)
        return F.linear(self.net(h, None, condition, allowed, state), self._written), state

    @property
    def _written(self) -> Float[Tensor, "vocab d"]:
        """The vectors that tokens are written with."""
        return self.table.weight[: self.space.vocab] if self.head is None else self.head.weight

    def compile_steps(self, storage: Storage) -> None:
        try:
            from maquette.nets.compiled import Compiled
        except ImportError:
            raise MaquetteError("MQ-2107") from None
        self.compiled = Compiled(self.net, self._vectors(self.table.weight), self._written, storage)

    def seats(self, n: int) -> Seats:
        quick = self.compiled if self.compiled is not None and n <= self.compiled.most else None
        return _Compiled(self, n) if quick is not None else _Together(self, n)

    def reordered(self, state: transformer.Cache, rows: Int[Tensor, " b"]) -> transformer.Cache:
        state.reorder(rows)
        return state

    def features(self, batch: Batch) -> Float[Tensor, "b d"]:
        return self.mean_state(batch, self._states)

    def _states(
        self, tokens: Int[Tensor, "b l"], condition: Condition, allowed: Bool[Tensor, "b 1 l l"] | None
    ) -> Float[Tensor, "b l d"]:
        return self.net(self._entered(tokens), None, condition, allowed)

    def _entered(self, tokens: Int[Tensor, "b l"]) -> Float[Tensor, "b l d"]:
        return self._vectors(self.table(tokens))

    def _vectors(self, h: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        return self.config.net.unit(h) if self.config.embed_norm else h

    def begin(self, weights: dict[str, Tensor]) -> None:
        """Learned places beyond a window that is shorter now are left behind."""
        own, places = self.net.places, weights.get("net.places")
        if own is not None and places is not None and len(places) > len(own):
            weights = weights | {"net.places": places[: len(own)]}
        super().begin(weights)

    def export(self, folder: Path, medium: Medium) -> None:
        """GPT-2's format."""
        gpt2.write(folder, self.config.to_tree(), self.state_dict(), medium, self.classes)


class _Places(Seats):
    """What both ways of reading share: how texts come to their seats, and where they are."""

    cache: Any

    def __init__(self, model: GPT, n: int, cache: transformer.Cache):
        self.model, self.cache, self.lengths = model, cache, [0] * n
        self.vectors = model.table.weight.new_zeros(n, model.embed.width)
        self.bytes = sum(kept.numel() * kept.element_size() for kept in (*cache.keys, *cache.values))

    def sit(self, seat: int, tokens: Int[Tensor, " l"], condition: Condition) -> None:
        h = self.model._entered(tokens[None])
        before = transformer.Cache(self.model.net, 1, h)
        if len(tokens):
            self.model.net(h, None, condition, None, before)
        self.cache.sit(seat, before)
        self.lengths[seat] = len(tokens)
        if condition.vector is not None:
            self.vectors[seat] = condition.vector[0]

    def leave(self, seat: int) -> None:
        self.lengths[seat] = 0

    def read(self, seats: list[int], tokens: Int[Tensor, " n"]) -> Float[Tensor, "n vocab"]:
        logits = self._read(seats, tokens)
        for seat in seats:
            self.lengths[seat] += 1
        return logits

    @abstractmethod
    def _read(self, seats: list[int], tokens: Int[Tensor, " n"]) -> Float[Tensor, "n vocab"]:
        """As `read`, the texts being where `lengths` says."""

    def _told(self, part: slice | list[int]) -> Condition:
        """What is told on some seats."""
        return Condition(vector=self.vectors[part] if self.model.embed.width else None)


class _Together(_Places):
    """All seats go through the network in each step, taken or not: products of one shape give a row the same bits."""

    def __init__(self, model: GPT, n: int):
        super().__init__(model, n, transformer.Seats(model.net, n, model._entered(torch.zeros(1, 1).long())))

    def _read(self, seats: list[int], tokens: Int[Tensor, " n"]) -> Float[Tensor, "n vocab"]:
        device = self.vectors.device
        last = torch.zeros(len(self.lengths), 1, dtype=torch.int64)
        last[seats, 0] = tokens
        self.cache.lengths = torch.tensor(self.lengths, device=device)
        h = self.model.net(self.model._entered(last.to(device)), None, self._told(slice(None)), None, self.cache)
        return F.linear(h[:, 0], self.model._written)[seats]


class _Compiled(_Places):
    """Compiled steps give a row the same bits whatever stands beside it: the seats that are taken are enough."""

    def __init__(self, model: GPT, n: int):
        super().__init__(model, n, model.compiled.cache(n))

    def sit(self, seat: int, tokens: Int[Tensor, " l"], condition: Condition) -> None:
        n = len(tokens)
        if not 0 < n <= self.model.compiled.most:
            return super().sit(seat, tokens, condition)
        if condition.vector is not None:
            self.vectors[seat] = condition.vector[0]
        self.model.compiled.step(tokens, condition.spread(n), self.cache, np.full(n, seat), np.arange(n))
        self.lengths[seat] = n

    def _read(self, seats: list[int], tokens: Int[Tensor, " n"]) -> Float[Tensor, "n vocab"]:
        places = np.array([self.lengths[seat] for seat in seats])
        return self.model.compiled.step(tokens, self._told(seats), self.cache, np.array(seats), places)
