"""The sentence VAE (Bowman et al. 2016, "Generating Sentences from a Continuous Space"): a code for each text.

    -ELBO = E_q(z|x) [-sum_i log p(x_i | x_1 ... x_{i-1}, z)] + beta KL(q(z|x) || N(0, I))

in nats per text. A Transformer that sees both ways says q(z|x) = N(mu, sigma^2) from the mean over its places; a causal
one that is told z at every place says p. Since it also sees the tokens before, it can do without z, and left alone it
soon does: the KL term falls to 0 and all codes mean the same (posterior collapse). Three remedies:

- KL annealing (Bowman et al. 2016): the weight of the KL term rises from 0 over `warmup`;
- free bits (Kingma et al. 2016, with all axes in one group): the loss counts max(`free`, KL) of each text, so that
  nothing is gained by saving the last nats;
- word dropout (Bowman et al. 2016): the decoder does not see some of the tokens before, and has to ask z.

Codes on the way from one to another are texts on the way from one to another: what interpolation shows.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from maquette.core.seeds import Seeds
from maquette.core.sequences import filled
from maquette.core.types import (
    Autoencoder,
    Batch,
    Condition,
    Given,
    Likelihood,
    Predictor,
    Real,
    Sampling,
    Space,
    Stats,
    Stream,
    Tokens,
    Turn,
)
from maquette.models.base import Model, ModelConfig, refuse_space
from maquette.models.codes import active_units, kl_to_standard_normal, risen, sample
from maquette.models.tokenwise import Tokenwise
from maquette.nets import transformer
from maquette.nets.conditioning import LabelEmbedder
from maquette.solvers import decoding

GREEDY = Sampling(top_k=1)


@dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    """A VAE of texts, one a window (`medium.alone`)."""

    search = {"beta": 4.0, "word_dropout": (0.0, 0.2, 0.4)}

    encoder: transformer.Config = field(default_factory=lambda: transformer.Config(depth=2))
    decoder: transformer.Config = field(default_factory=lambda: transformer.Config(depth=2))
    latent: int = 32
    """Width of the code."""
    beta: float = 1.0
    """Weight of the KL divergence once warmed up."""
    warmup: float = 0.0
    """Share of the budget over which that weight rises from 0."""
    free: float = 10.0
    """Nats of KL divergence that each text may have for nothing; 0 is the plain bound."""
    word_dropout: float = 0.0
    """Share of the tokens before that the decoder does not see in training; 1 leaves it the code alone."""
    label_width: int = 64
    """Of the vector that tells a conditional network its label."""
    label_drop: float = 0.1
    """Share of training samples whose label is withheld, so that guidance has something to compare with."""

    def __post_init__(self) -> None:
        self.check(self.latent > 0, "latent", "a positive whole number")
        self.check(self.beta >= 0, "beta", "0 or a positive number")
        self.check(0 <= self.warmup <= 1, "warmup", "a share in [0, 1]")
        self.check(self.free >= 0, "free", "0 or a positive number")
        self.check(0 <= self.word_dropout <= 1, "word_dropout", "a share in [0, 1]")
        self.check(self.label_width > 0, "label_width", "a positive whole number")
        self.check(0 <= self.label_drop < 1, "label_drop", "a share in [0, 1)")

    def build(self, space: Space, classes: int = 0) -> "TextVAE":
        if not isinstance(space, Tokens) or len(space.shape) != 1:
            raise refuse_space("textvae", "sequences of tokens", space, "choose a kind for real numbers, or text")
        return TextVAE(self, space, classes)


class TextVAE(Model, Likelihood, Autoencoder, Stream):
    """Its predictor is `(x, at, z) -> logits [b, vocab]` of token number `at` of the texts with codes z.

    A draw starts from tokens, so that a text may begin with known ones; its code is drawn when the tokens are.
    """

    accepts = (Tokens,)
    bound = True

    def __init__(self, config: Config, space: Tokens, classes: int):
        super().__init__()
        self.config: Config = config  # pyright: ignore[reportIncompatibleVariableOverride]
        self.space: Tokens = space  # pyright: ignore[reportIncompatibleVariableOverride]
        self.classes = classes
        self.latent = Real((config.latent,))
        self.embed = LabelEmbedder(classes, config.label_width, config.label_drop)
        self.decoder = Decoder(config.decoder, space, config.latent + self.embed.width)
        length, width = space.shape[0] + (space.marks is None), config.encoder.width
        self.encoder = config.encoder.build((length, config.decoder.width), (length, width), self.embed.width)
        self.head = nn.Linear(width, 2 * config.latent)

    def turns(self) -> list[Turn]:
        return [Turn("model", self.loss)]

    def loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        """The negative ELBO, each text's KL term counted from `free` up and weighed by `beta` and the warm-up."""
        rng = batch.rng.fork(0)
        condition = self.embed(batch.given, len(batch), rng.fork(0))
        mu, log_var = self._posterior(batch.x, condition)
        told = self.told(sample(mu, log_var, rng), condition)
        reconstruction = self.decoder.nats(batch.x, told, self._hidden(rng.fork(1)))[0].sum(1).mean()
        kl = kl_to_standard_normal(mu, log_var)
        counted = kl.clamp(min=self.config.free).mean()
        stats = {"reconstruction": reconstruction, "kl": kl.mean(), "active": active_units(mu)}
        loss = reconstruction + self.config.beta * risen(progress, self.config.warmup) * counted
        return loss, {name: value.detach() for name, value in stats.items()}

    def _hidden(self, rng: Seeds) -> Bool[Tensor, "b m"] | None:
        """Which tokens the decoder does not see; what stands before the text is none of them."""
        if not (self.training and self.config.word_dropout):
            return None
        hidden = rng.uniform(self.decoder.net.source[0]) < self.config.word_dropout
        hidden[:, 0] = False
        return hidden

    def nll(self, batch: Batch) -> Float[Tensor, " b"]:
        """-ELBO from one draw of the code: an upper bound of -log p(x) in nats, its KL term exact."""
        condition = self.condition(batch.given, len(batch))
        mu, log_var = self._posterior(batch.x, condition)
        told = self.told(sample(mu, log_var, batch.rng.fork(1)), condition)
        return self.decoder.nats(batch.x, told)[0].sum(1) + kl_to_standard_normal(mu, log_var)

    def _posterior(
        self, x: Int[Tensor, "b l"], condition: Condition
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b d"]]:
        """Mean and log-variance of q(z|x); padding is not looked at, so how much there is changes nothing."""
        tokens = x if self.space.marks else F.pad(x, (1, 0), value=self.space.vocab)
        there = filled(tokens, self.space)
        seen = there[:, None, None].expand(-1, 1, tokens.shape[1], -1) if self.space.marks else None
        h = self.encoder(self.decoder.embedded(tokens), None, condition, seen)
        mean = (h.float() * there[..., None]).sum(1) / there.sum(1, keepdim=True)
        mu, log_var = self.head(mean).float().chunk(2, dim=1)
        return mu, log_var

    def told(self, z: Float[Tensor, "b d"], condition: Condition) -> Condition:
        """What the decoder receives: the code, and behind it the label's vector if there are labels."""
        return Condition(vector=z if condition.vector is None else torch.cat([z, condition.vector], dim=1))

    def encode(self, x: Int[Tensor, "b l"]) -> Float[Tensor, "b d"]:
        """The mean of q(z|x); of a conditional model, without a label."""
        return self._posterior(x, self.condition(Given(), len(x)))[0]

    def decode(self, z: Float[Tensor, "b d"]) -> Int[Tensor, "b l"]:
        """The text whose every token is the likeliest at its place; of a conditional model, without a label."""
        predict = self.decoder.predictor(self.told(z, self.condition(Given(), len(z))))
        start = decoding.blank(len(z), self.space, z.device)
        unused = torch.zeros(start.shape, device=z.device)
        return decoding.decode(predict, start, unused, GREEDY, self.space.marks.end if self.space.marks else None)

    def condition(self, given: Given, n: int) -> Condition:
        return self.embed(given, n)

    def predictor(self, condition: Condition) -> Predictor:
        """Cheap when asked in order about the same codes, right in any order."""
        return Told(self, condition)

    def start(self, n: int, how: Sampling, rng: Seeds) -> Int[Tensor, "n l"]:
        """Nothing but gaps; in a space with marks the end of an earlier document stands first."""
        return decoding.blank(n, self.space, rng.device)

    def draw(self, predict: Predictor, start: Int[Tensor, "n l"], how: Sampling, rng: Seeds) -> Int[Tensor, "n l"]:
        z = self._code(rng)
        return self.decoder.draw(lambda x, at: predict(x, at, z), start, how, rng)

    def stream(
        self, predict: Predictor, start: Int[Tensor, "n l"], how: Sampling, rng: Seeds
    ) -> Iterator[tuple[int, Int[Tensor, "n l"]]]:
        z = self._code(rng)
        return self.decoder.stream(lambda x, at: predict(x, at, z), start, how, rng)

    def _code(self, rng: Seeds) -> Float[Tensor, "n d"]:
        """z ~ N(0, I), whatever the temperature, which is that of the tokens."""
        return rng.fork(1).normal(self.config.latent)


class Decoder(Tokenwise):
    """p(x|z): tokens one after another by a causal Transformer that is told a vector at every place."""

    def __init__(self, net: transformer.Config, space: Tokens, told: int):
        super().__init__()
        self.space, self.classes, self.embed = space, 0, LabelEmbedder(0, 0)
        self.table = nn.Embedding(space.vocab + 1, net.width)  # the last one stands for what is not seen
        shape = space.shape[0] - bool(space.marks), net.width
        self.net = net.build(shape, shape, told, causal=True)
        nn.init.normal_(self.table.weight, 0.0, 0.02)

    def embedded(self, tokens: Int[Tensor, "b l"]) -> Float[Tensor, "b l d"]:
        """Each token's vector, all of one length."""
        return self.net.config.unit(self.table(tokens))

    def read(
        self,
        tokens: Int[Tensor, "b l"],
        condition: Condition,
        state: Any = None,
        keep: bool = False,
        allowed: Bool[Tensor, "b 1 l l"] | None = None,
    ) -> tuple[Float[Tensor, "b l vocab"], Any]:
        h = self.embedded(tokens)
        if keep and state is None:
            state = transformer.Cache(self.net, len(h), h)
        h = self.net(h, None, condition, allowed, state)
        return F.linear(h, self.table.weight[: self.space.vocab]), state


class Told:
    """The decoder with its condition filled in; it goes on reading while it is asked about the same codes.

    Without codes it is asked about those that it was told of last, at first about the mean of all codes.
    """

    def __init__(self, model: TextVAE, condition: Condition):
        self.model, self.condition = model, condition
        self.z: Tensor | None = None

    def __call__(
        self, x: Int[Tensor, "b l"], at: int, z: Float[Tensor, "n d"] | None = None
    ) -> Float[Tensor, "b vocab"]:
        if z is None and self.z is None:
            z = torch.zeros(len(x), self.model.config.latent, device=x.device)
        if z is not None and self.z is not z:
            self.z, self.predict = z, self.model.decoder.predictor(self.model.told(z, self.condition))
        return self.predict(x, at)
