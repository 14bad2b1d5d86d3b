"""A caption and a picture as one stream of tokens, each after those before it (DALL-E, Ramesh et al. 2021).

    log p(y, x) = sum_i log p(y_i | y_<i) + sum_j log p(x_j | y, x_<j)

y are the tokens of the caption, x those of the picture: codes of a discrete autoencoder, their first stage, through
`codec`. What is asked by weighs 1/8 of the loss and what is asked for 7/8; a picture's places are told by their row and
column, and each place after a caption's end has a vector of its own (all section 2.2).

A share of the rows (`backwards`) is read the other way round, the picture first: then the same weights write captions,
sum_i log p(y_i | x, y_<i).
"""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from maquette.core import cancel
from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Beside, Captioner, Condition, Given, Space, Stats, Tokens
from maquette.models.base import Model, ModelConfig, refuse_space
from maquette.models.tokenwise import Tokenwise
from maquette.nets import transformer
from maquette.nets.conditioning import Embedder, LabelEmbedder, untold

ASKED_BY = 1 / 8
"""Share of the loss of what stands first in the stream."""


@dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    """A decoder-only Transformer over captions and pictures."""

    takes: ClassVar[tuple[str, ...]] = ("label", "text")

    net: transformer.Config = field(default_factory=lambda: transformer.Config(width=256, depth=6, heads=8))
    drop: float = 0.1
    """Share of training rows without their caption or label, so that guidance has something to compare with."""
    backwards: float = 0.0
    """Share of training rows that are read picture first: what is learnt from these are captions of pictures."""
    label_width: int = 64
    """Of the vector that a label becomes."""

    def __post_init__(self) -> None:
        self.check(0 <= self.drop < 1, "drop", "a share in [0, 1)")
        self.check(0 <= self.backwards < 1, "backwards", "a share in [0, 1)")
        self.check(self.label_width > 0, "label_width", "a positive whole number")

    def build(self, space: Space, classes: int = 0, beside: Beside = Beside()) -> "DALLE":
        if not isinstance(space, Tokens) or space.marks is not None:
            raise refuse_space("dalle", "codes of pictures", space, "put a codec to tokens between")
        if beside.text is None:
            raise MaquetteError("MQ-2150", "model", kind="dalle")
        return DALLE(self, space, classes, beside, beside.text)


class Words(Embedder):
    """Captions as vectors [b, 1 + l, width], in order and with gaps after their ends, and labels as one vector."""

    def __init__(self, text: Tokens, width: int, classes: int, config: Config):
        super().__init__()
        self.text, self.width, self.drop = text, width, config.drop
        self.labels = LabelEmbedder(classes, config.label_width, config.drop)
        self.table = nn.Embedding(text.vocab, width)
        self.gaps = nn.Parameter(0.02 * torch.randn(*text.shape, width))
        self.first, self.unit = nn.Parameter(0.02 * torch.randn(width)), config.net.unit
        nn.init.normal_(self.table.weight, 0.0, 0.02)

    def forward(self, given: Given, n: int, rng: Seeds | None = None) -> Condition:
        """With `rng` some captions become nothing but gaps, and some labels the null."""
        given = untold(given, self.drop, rng)
        text = self.shown(self.tokens(given, n), rng)
        return Condition(self.labels(given, n, rng).vector, self.entered(text))

    def tokens(self, given: Given, n: int) -> Int[Tensor, "b l"]:
        text = torch.zeros(n, *self.text.shape, dtype=torch.int64) if given.text is None else given.text
        return text.to(self.gaps.device)

    def shown(self, text: Int[Tensor, "b l"], rng: Seeds | None) -> Int[Tensor, "b l"]:
        """Captions, some of them withheld."""
        return text if rng is None else text * (rng.uniform() >= self.drop)[:, None]

    def entered(self, text: Int[Tensor, "b l"]) -> Float[Tensor, "b m w"]:
        """What begins a caption, and its tokens."""
        said = torch.where((text == 0)[..., None], self.gaps[: text.shape[1]], self.table(text))
        return self.unit(torch.cat([self.first.expand(len(text), 1, -1), said], dim=1))


class DALLE(Tokenwise, Captioner):
    """Its predictor goes on from a caption; keys and values of earlier places are kept while a sample is drawn."""

    def __init__(self, config: Config, space: Tokens, classes: int, beside: Beside, text: Tokens):
        super().__init__()
        self.config: Config = config  # pyright: ignore[reportIncompatibleVariableOverride]
        self.space, self.classes, self.beside, self.writes = space, classes, beside, config.backwards > 0
        width = config.net.width
        self.embed: Words = Words(text, width, classes, config)  # pyright: ignore[reportIncompatibleVariableOverride]
        self.table = nn.Embedding(space.vocab + 1, width)  # the last one begins a picture
        self.axes = nn.ParameterList([nn.Parameter(torch.zeros(side, width)) for side in space.shape])
        stream = (math.prod(space.shape) + 1 + text.shape[0], width)
        self.net = config.net.build(stream, stream, self.embed.labels.width, causal=True)
        nn.init.normal_(self.table.weight, 0.0, 0.02)

    # -- learning -----------------------------------------------------------------------------------------------------

    learn_from = Model.learn_from  # its loss is one of two orders, and no teacher's

    def loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        """Nats per token, of captions and of pictures, each a mean over all places."""
        rng, n = batch.rng.fork(0), len(batch)
        text, back = self.embed.tokens(batch.given, n), rng.uniform() < self.config.backwards
        told = untold(batch.given, self.config.drop, rng)
        # a caption is written of the picture alone: it is not withheld, and the label is
        text = torch.where(back[:, None], text, self.embed.shown(self.embed.tokens(told, n), rng))
        label = None if told.label is None else told.label.masked_fill(back, -1)
        vector = self.embed.labels(Given(label=label), n, rng).vector
        words, codes = torch.zeros(n, device=text.device), torch.zeros(n, device=text.device)
        for rows, order in ((~back, self._caption_first), (back, self._picture_first)):
            if bool(rows.any()):
                told = Condition(vector=None if vector is None else vector[rows])
                words[rows], codes[rows] = order(batch.x[rows].flatten(1), text[rows], told)
        weight = torch.where(back, 1 - ASKED_BY, ASKED_BY)
        loss = (weight * words / text.shape[1] + (1 - weight) * codes / batch.x[0].numel()).mean()
        counts = _counted(text).sum().clamp(min=1)
        return loss, {"words": words.detach().sum() / counts, "codes": codes.detach().mean() / batch.x[0].numel()}

    def _caption_first(
        self, x: Int[Tensor, "b m"], text: Int[Tensor, "b l"], told: Condition
    ) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """Nats of each caption, and of each picture given it."""
        h = torch.cat([self.embed.entered(text), self._entered(self._begun(x)[:, :-1])], dim=1)
        h = self.net(h, None, told)
        said, made = h[:, : text.shape[1]], h[:, text.shape[1] + 1 :]
        return _nats(self._words(said), text, _counted(text)), _nats(self._codes(made), x)

    def _picture_first(
        self, x: Int[Tensor, "b m"], text: Int[Tensor, "b l"], told: Condition
    ) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """Nats of each caption given its picture, and of each picture."""
        h = torch.cat([self._entered(self._begun(x)), self.embed.entered(text[:, :-1])], dim=1)
        h = self.net(h, None, told)
        made, said = h[:, : x.shape[1]], h[:, x.shape[1] + 1 :]
        return _nats(self._words(said), text, _counted(text)), _nats(self._codes(made), x)

    # -- drawing ------------------------------------------------------------------------------------------------------

    def read(
        self,
        tokens: Int[Tensor, "b l"],
        condition: Condition,
        state: transformer.Cache | None = None,
        keep: bool = False,
        allowed: Bool[Tensor, "b 1 l l"] | None = None,
    ) -> tuple[Float[Tensor, "b l vocab"], transformer.Cache | None]:
        caption = condition.sequence
        assert caption is not None, "a condition of this model holds a caption"
        h = self._entered(tokens, 0 if state is None else state.length - caption.shape[1])
        if state is None:
            h = torch.cat([caption, h], dim=1)
        if keep and state is None:
            state = transformer.Cache(self.net, len(h), h)
        h = self.net(h, None, Condition(vector=condition.vector), None, state)
        return self._codes(h[:, -tokens.shape[1] :]), state

    def reordered(self, state: transformer.Cache, rows: Int[Tensor, " b"]) -> transformer.Cache:
        state.reorder(rows)
        return state

    @torch.no_grad()
    def caption(self, x: Int[Tensor, "b *space"]) -> Int[Tensor, "b l"]:
        """Raises MQ-2009 when no rows were read picture first."""
        if not self.writes:
            reason, todo = "it has not learnt to write captions", "train it with about 0.5"
            raise MaquetteError("MQ-2009", path="model.backwards", value=0, reason=reason, todo=todo)
        n, length = len(x), self.embed.text.shape[0]
        told = Condition(vector=self.embed.labels(Given(), n).vector)
        text, over = x.new_zeros(n, length), torch.zeros(n, dtype=torch.bool, device=x.device)
        h = torch.cat([self._entered(self._begun(x.flatten(1))), self.embed.entered(text[:, :0])], dim=1)
        state = transformer.Cache(self.net, n, h)
        for at in range(length):
            cancel.check()
            logits = self._words(self.net(h, None, told, None, state)[:, -1:])
            text[:, at] = logits[:, 0].argmax(1).masked_fill(over, 0)
            over = over | (text[:, at] == 0)
            if bool(over.all()):
                break
            h = self.embed.entered(text[:, : at + 1])[:, -1:]
        return text

    # -- in and out ---------------------------------------------------------------------------------------------------

    def _begun(self, x: Int[Tensor, "b m"]) -> Int[Tensor, "b l"]:
        """A picture after the token that begins it."""
        return F.pad(x, (1, 0), value=self.space.vocab)

    def _entered(self, tokens: Int[Tensor, "b l"], first: int = 0) -> Float[Tensor, "b l w"]:
        """The tokens of a picture from number `first` on, told which place comes after each."""
        places = torch.zeros(*self.space.shape, self.config.net.width, device=tokens.device)
        for number, axis in enumerate(self.axes):
            places = places + axis.view(*[-1 if i == number else 1 for i in range(len(self.axes))], axis.shape[1])
        after = F.pad(places.flatten(0, -2), (0, 0, 0, 1))[first : first + tokens.shape[1]]
        return self.config.net.unit(self.table(tokens)) + after

    def _codes(self, h: Float[Tensor, "b l w"]) -> Float[Tensor, "b l vocab"]:
        return F.linear(h, self.table.weight[: self.space.vocab])

    def _words(self, h: Float[Tensor, "b l w"]) -> Float[Tensor, "b l vocab"]:
        return F.linear(h, self.embed.table.weight)


def _counted(text: Int[Tensor, "b l"]) -> Bool[Tensor, "b l"]:
    """The tokens of captions and the one end after each; of a row without a caption nothing."""
    told = text != 0
    end = F.pad(told[:, :-1], (1, 0), value=False) & ~told
    return told | end


def _nats(
    logits: Float[Tensor, "b l vocab"], target: Int[Tensor, "b l"], counts: Bool[Tensor, "b l"] | None = None
) -> Float[Tensor, " b"]:
    nats = F.cross_entropy(logits.float().flatten(0, 1), target.flatten(), reduction="none").view_as(target)
    return (nats if counts is None else nats * counts).sum(1)
