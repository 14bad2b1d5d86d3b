"""Sound value by value: p(x) = prod_t p(x_t | x_1 ... x_{t-1}) (van den Oord et al. 2016, WaveNet, equation 1).

A dilated causal net reads the values before each one. Of tokens, such as sound by the mu-law in 256 steps, it says
logits (section 2.2); of real numbers with levels, such as sound in 16 bits, the parameters of a mixture of logistic
distributions (Salimans et al. 2017, as in parallel WaveNet, van den Oord et al. 2018, section 4). A label is told to
all layers (section 2.5), and so are frames, such as a spectrogram: a given picture whose last axis is time.

Drawing takes one pass of the net a value. On a CPU all passes of a long sample are one compiled loop (`nets/looped.py`)
where numba is installed, unasked: torch's calls alone take longer than the sound lasts (docs/adr/0016).
"""

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from maquette.codecs.quantise import from_levels, to_levels
from maquette.core import cancel
from maquette.core.devices import Storage
from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.sequences import counted, predicted, seen
from maquette.core.types import (
    Batch,
    Beside,
    Compilable,
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
from maquette.models.logistic import ODD, Mixture, count_parameters, draw_levels
from maquette.models.tokenwise import Reader, Tokenwise
from maquette.nets import dilated
from maquette.nets.conditioning import LabelEmbedder
from maquette.solvers.decoding import MAKE

LONG = 2048
"""Places from which on a sample is drawn by the compiled loop unasked: it takes as long to compile, once a machine."""


@dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    """An autoregressive model of sound and other sequences in time, with an exact likelihood."""

    takes = ("label", "image")

    net: dilated.Config = field(default_factory=dilated.Config)
    mixtures: int = 10
    """Logistic distributions of a value, where values are real numbers."""
    window: int = 0
    """Places of each sample that a training step learns from, with all that they see before them; 0 takes all."""
    label_width: int = 64
    """Of the vector that a label becomes."""
    label_drop: float = 0.1
    """Share of training samples whose label is withheld, so that guidance has something to compare with."""

    def __post_init__(self) -> None:
        self.check(self.mixtures > 0, "mixtures", "a positive whole number")
        self.check(self.window >= 0, "window", "a whole number, 0 or above")
        self.check(self.label_width > 0, "label_width", "a positive whole number")
        self.check(0 <= self.label_drop < 1, "label_drop", "in [0, 1)")

    def build(self, space: Space, classes: int = 0, beside: Beside = Beside()) -> "OfTokens | OfLevels":
        if isinstance(space, Tokens):
            return OfTokens(self, space, classes, beside)
        if len(space.shape) != 2 or space.shape[0] != 1 or space.levels < 2:
            hint = "16-bit sound of one channel is such a space; put a codec to tokens between, or choose another model"
            raise refuse_space("wavenet", "tokens, and Real(1, length) with levels", space, hint)
        return OfLevels(self, space, classes, beside)


class Told(LabelEmbedder):
    """A label as a vector, and a given picture as frames: its last axis is time, all others are channels."""

    silence: Tensor

    def __init__(self, config: Config, classes: int, image: Real | None):
        super().__init__(classes, config.label_width, config.label_drop)
        self.channels = 0 if image is None else math.prod(image.shape[:-1])
        self.register_buffer("silence", torch.zeros(image.shape if image else 0), persistent=False)

    def forward(self, given: Given, n: int, rng: Seeds | None = None) -> Condition:
        """Without a picture the frames are zeros."""
        vector = super().forward(given, n, rng).vector
        if not self.channels:
            return Condition(vector)
        image = self.silence.expand(n, *self.silence.shape) if given.image is None else given.image.to(self.silence)
        return Condition(vector, grid=image.flatten(1, -2))


class Waves(Model, Compilable):
    """What models of tokens and of levels share: how numbers are read and learnt, and the loop that draws them.

    Number `vocab` stands before the first of a sample. A predictor is `(x, at) -> what the net says of value number
    `at`, given those before it in x`.
    """

    embed: LabelEmbedder
    net: dilated.Dilated
    vocab: int
    table: nn.Embedding | None
    compiled: Any = None

    @abstractmethod
    def entered(self, numbers: Int[Tensor, "b l"]) -> Float[Tensor, "b l c"]:
        """What goes into the net."""

    @abstractmethod
    def before(self, x: Any, at: int) -> Int[Tensor, "b m"]:
        """The numbers that are read before number `at` of samples can be predicted."""

    @abstractmethod
    def lesson(self, x: Tensor) -> tuple[Int[Tensor, "b l"], Int[Tensor, "b l"], Bool[Tensor, "b l"]]:
        """Of samples: the numbers that are read, those that are predicted, and which of these count."""

    @abstractmethod
    def costs(self, said: Float[Tensor, "b l out"], targets: Int[Tensor, "b l"]) -> Float[Tensor, "b l"]:
        """What each number costs."""

    @property
    def window(self) -> int:
        assert isinstance(self.config, Config)
        return self.config.window

    # -- learning -----------------------------------------------------------------------------------------------------

    def turns(self) -> list[Turn]:
        return [Turn("model", self.loss)]

    def loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        """Nats per value; the statistic leaves out what is not learnt."""
        condition = self.embed(batch.given, len(batch), batch.rng.fork(0))
        inputs, targets, counts = self.lesson(batch.x)
        if self.training and 0 < self.window < inputs.shape[1]:
            first, places, new = self._window(inputs.shape[1], batch.rng.fork(1))
            inputs = inputs.gather(1, places.clamp(min=0))
            targets, counts = (part.gather(1, places[:, -self.window :]) for part in (targets, counts))
            counts = counts & new
        else:
            first = None
        said, _ = self.net.run(self.entered(inputs), condition, first=first, last=targets.shape[1])
        nats = self.costs(said, targets) * counts
        bits = nats.detach().sum() / counts.sum().clamp(min=1) / math.log(2)
        return nats.sum() / nats.numel(), {"bits_per_value": bits}

    def nll(self, batch: Batch) -> Float[Tensor, " b"]:
        inputs, targets, counts = self.lesson(batch.x)
        said, _ = self.net.run(self.entered(inputs), self.embed(batch.given, len(batch)))
        return (self.costs(said, targets) * counts).sum(1)

    def _window(self, length: int, rng: Seeds) -> tuple[Int[Tensor, " b"], Int[Tensor, "b m"], Bool[Tensor, "b w"]]:
        """The first place of each row's window with all that it sees, the places of these, of which some are before 0,
        and which of the window's own are learnt from.

        Each place is as likely to be learnt from as any other: where windows do not divide the length the last one
        begins earlier, and what it shares with the one before it is learnt from there.
        """
        window, reach = self.window, self.net.config.reach - 1
        begin = window * (rng.uniform() * -(-length // window)).long()
        first = begin.clamp(max=length - window) - reach
        places = first[:, None] + torch.arange(reach + window, device=first.device)
        return first, places, places[:, -window:] >= begin[:, None]

    # -- reading ------------------------------------------------------------------------------------------------------

    def condition(self, given: Given, n: int) -> Condition:
        return self.embed(given, n)

    def predictor(self, condition: Condition) -> Predictor:
        """Cheap when asked in order, right in any order."""
        return Reader(self, condition)

    def read(
        self,
        tokens: Int[Tensor, "b l"],
        condition: Condition,
        state: Any = None,
        keep: bool = False,
        allowed: Bool[Tensor, "b 1 l l"] | None = None,
    ) -> tuple[Float[Tensor, "b l out"], Any]:
        """As `Tokenwise.read`; the state is what the net keeps, or the loop and what it keeps."""
        if state is None and keep:
            loop = self._loop()
            state = (
                self.net.past(len(tokens), condition) if loop is None else (loop, loop.begin(len(tokens), condition))
            )
        if isinstance(state, tuple):
            loop, memory = state
            return loop.read(tokens, memory), state
        return self.net.run(self.entered(tokens), condition, state)

    def reordered(self, state: Any, rows: Int[Tensor, " b"]) -> Any:
        return (state[0], state[1].picked(rows)) if isinstance(state, tuple) else state.picked(rows)

    # -- the loop -----------------------------------------------------------------------------------------------------

    def compile_steps(self, storage: Storage) -> None:
        self.compiled = self._looped(storage)

    def _looped(self, storage: Storage) -> Any:
        try:
            from maquette.nets.looped import Loop
        except ImportError:
            raise MaquetteError("MQ-2107") from None
        return Loop(self.net, None if self.table is None else self.table.weight, self.vocab, storage)

    def _loop(self) -> Any:
        """The compiled loop if it was asked for, or is faster and can be had; else None.

        It is made anew for each drawing unless it was asked for: while a model learns its weights change.
        """
        if self.compiled is not None:
            return self.compiled
        if self.net.source[1] < LONG or self.net.out.weight.device.type != "cpu":
            return None
        try:
            return self._looped("fp32")
        except MaquetteError:
            return None

    def _alone(self, predict: Predictor, how: Sampling) -> Any:
        """The loop where it may draw by itself: it knows no wraps, and of the ways to choose among tokens temperature,
        the likeliest and `min_p`; else None."""
        plain = how.top_k in (0, 1) and how.top_p == 1 and how.repetition == 1 and not how.beams
        return self._loop() if plain and isinstance(predict, Reader) else None

    def _stretches(
        self, loop: Any, condition: Condition, numbers: Int[Tensor, "n l"], u: Float[Tensor, "k n l"], how: Sampling
    ) -> Iterator[tuple[int, Int[Tensor, "n l"]]]:
        """(place, the numbers so far) after each stretch that the loop has made."""
        from maquette.nets.looped import Choice

        choice = Choice(len(u) > 1, how.top_k == 1, np.float32(max(how.temperature, 1e-6)), np.float32(how.min_p))
        columns = F.pad(numbers, (1, 0), value=self.vocab)
        for known in loop.draw(columns, u, choice, condition):
            yield known - 2, columns[:, 1:]


class OfTokens(Waves, Tokenwise):  # pyright: ignore[reportIncompatibleVariableOverride]
    """Its predictor gives logits [b, vocab]. Tokens of a grid are read row by row."""

    def before(self, x: Int[Tensor, "b l"], at: int) -> Int[Tensor, "b m"]:
        return Tokenwise.before(self, x, at)

    def __init__(self, config: Config, space: Tokens, classes: int, beside: Beside):
        super().__init__()
        self.config, self.space, self.classes, self.beside, self.vocab = config, space, classes, beside, space.vocab
        self.embed = Told(config, classes, beside.image)
        length, width = math.prod(space.shape) - bool(space.marks), config.net.width
        self.table = nn.Embedding(space.vocab + (space.marks is None), width)
        self.net = config.net.build((width, length), (space.vocab, length), self.embed.width, grid=self.embed.channels)

    def entered(self, numbers: Int[Tensor, "b l"]) -> Float[Tensor, "b l c"]:
        assert self.table is not None
        return self.table(numbers)

    def lesson(self, x: Int[Tensor, "b *space"]) -> tuple[Int[Tensor, "b l"], Int[Tensor, "b l"], Bool[Tensor, "b l"]]:
        x = x.flatten(1)
        return seen(x, self.space), predicted(x, self.space), counted(x, self.space)

    def costs(self, said: Float[Tensor, "b l out"], targets: Int[Tensor, "b l"]) -> Float[Tensor, "b l"]:
        flat = F.cross_entropy(said.float().flatten(0, 1), targets.flatten(), reduction="none")
        return flat.view_as(targets)

    def draw(
        self, predict: Predictor, start: Int[Tensor, "n *space"], how: Sampling, rng: Seeds
    ) -> Int[Tensor, "n *space"]:
        if self.space.marks or self._alone(predict, how) is None:
            return super().draw(predict, start, how, rng)
        *_, (_, x) = self.stream(predict, start, how, rng)
        return x

    def stream(
        self, predict: Predictor, start: Int[Tensor, "n *space"], how: Sampling, rng: Seeds
    ) -> Iterator[tuple[int, Int[Tensor, "n *space"]]]:
        loop = None if self.space.marks else self._alone(predict, how)
        if loop is None:
            yield from super().stream(predict, start, how, rng)
            return
        x = start.flatten(1)
        u = rng.uniform(x.shape[1])[None]
        for at, so_far in self._stretches(loop, predict.condition, x, u, how):  # type: ignore[attr-defined]
            yield at, so_far.view(start.shape)


class OfLevels(Waves, Likelihood, Stream):
    """Its predictor gives the parameters of a mixture [b, 3 mixtures], as `Mixture` has them; guidance mixes those.

    A start holds the values that are known and is not a number elsewhere.
    """

    accepts = (Real,)

    def __init__(self, config: Config, space: Real, classes: int, beside: Beside):
        super().__init__()
        self.config, self.space, self.classes, self.beside, self.vocab = config, space, classes, beside, space.levels
        self.embed, self.table = Told(config, classes, beside.image), None
        length, outputs = space.shape[1], count_parameters(config.mixtures, 1)
        self.net = config.net.build((1, length), (outputs, length), self.embed.width, grid=self.embed.channels)
        with torch.no_grad():  # begin near the uniform distribution: narrow logistics side by side
            self.net.out.weight.mul_(0.1)
            bias = torch.zeros(config.mixtures, 3)
            bias[:, 1] = torch.linspace(-1, 1, config.mixtures + 2)[1:-1]
            bias[:, 2] = -math.log(config.mixtures)
            self.net.out.bias = nn.Parameter(bias.flatten())

    def entered(self, numbers: Int[Tensor, "b l"]) -> Float[Tensor, "b l c"]:
        return from_levels(numbers, self.vocab).masked_fill(numbers == self.vocab, 0.0)[..., None]

    def lesson(self, x: Float[Tensor, "b 1 l"]) -> tuple[Int[Tensor, "b l"], Int[Tensor, "b l"], Bool[Tensor, "b l"]]:
        numbers = to_levels(x[:, 0], self.vocab)
        return F.pad(numbers[:, :-1], (1, 0), value=self.vocab), numbers, torch.ones_like(numbers, dtype=torch.bool)

    def costs(self, said: Float[Tensor, "b l out"], targets: Int[Tensor, "b l"]) -> Float[Tensor, "b l"]:
        return -Mixture(said.mT, 1, self.vocab).log_prob(from_levels(targets, self.vocab)[:, None])

    def before(self, x: Float[Tensor, "b 1 l"], at: int) -> Int[Tensor, "b m"]:
        return F.pad(to_levels(x[:, 0, :at], self.vocab), (1, 0), value=self.vocab)

    def start(self, n: int, how: Sampling, rng: Seeds) -> Float[Tensor, "n 1 l"]:
        return torch.full((n, *self.space.shape), math.nan, device=rng.device)

    def draw(self, predict: Predictor, start: Float[Tensor, "n 1 l"], how: Sampling, rng: Seeds) -> Tensor:
        *_, (_, x) = self.stream(predict, start, how, rng)
        return x

    @torch.no_grad()
    def stream(
        self, predict: Predictor, start: Float[Tensor, "n 1 l"], how: Sampling, rng: Seeds
    ) -> Iterator[tuple[int, Float[Tensor, "n 1 l"]]]:
        levels, u = self.vocab, rng.uniform(2, start.shape[2]).clamp_min(ODD)
        known, x = start[:, 0].isfinite(), start.clone()
        numbers = torch.where(known, to_levels(start[:, 0].nan_to_num(), levels), MAKE)
        if (loop := self._alone(predict, how)) is not None:
            both = u.transpose(0, 1).contiguous()
            for at, so_far in self._stretches(loop, predict.condition, numbers, both, how):  # type: ignore[attr-defined]
                yield at, torch.where(so_far == MAKE, math.nan, from_levels(so_far, levels))[:, None]
            return
        for at in range(start.shape[2]):
            cancel.check()
            number = draw_levels(predict(x, at), u[:, :, at], levels, max(how.temperature, 1e-6))
            x[:, 0, at] = from_levels(torch.where(known[:, at], numbers[:, at], number), levels)
            yield at, x
