"""The nouns that cross packages: spaces, what is asked for, what a network receives, and a player's turn.

jaxtyping names used throughout: b batch, c channels, d width, l length, `*space` the axes of one sample.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maquette.core.config import Config
from maquette.core.devices import Storage
from maquette.core.seeds import Seeds


@dataclass(frozen=True)
class Real:
    """Samples are real tensors of `shape` (channels first for media), nominally in [-1, 1].

    `levels` is the number of equally spaced values that occur (256 for 8-bit pictures), or 0 for a continuum: a
    likelihood in bits per dimension counts levels, and only a space that has them can be quantised.
    """

    shape: tuple[int, ...]
    levels: int = 0

    def __str__(self) -> str:
        return f"Real{self.shape}" + (f" with {self.levels} levels" if self.levels else "")


class Marks(NamedTuple):
    """The tokens of a space of sequences that are no content but say what the tokens after them are."""

    end: int
    """Ends a document, and stands before the first token of the next."""
    prompt: int
    """What follows is asked …"""
    answer: int
    """… and what follows this one is the answer."""


@dataclass(frozen=True)
class Tokens:
    """Samples are int64 tensors of `shape` with values in [0, vocab).

    A space with `marks` holds windows cut from a stream of documents: the first token of a sample is its context and
    not predicted, several documents may stand in one sample, and a prompt is given rather than learnt.
    """

    shape: tuple[int, ...]
    vocab: int
    marks: Marks | None = None

    def __str__(self) -> str:
        return f"Tokens{self.shape} of {self.vocab}"


Space = Real | Tokens
Stats = dict[str, Tensor]


Rows = TypeVar("Rows", bound="_Rows")


class _Rows:
    """Something whose every tensor field has one row per sample."""

    def rows(self: Rows, part: slice | Int[Tensor, " n"]) -> Rows:
        """The samples of `part` alone, or those with these numbers."""
        return self._each(lambda tensor: tensor[part])

    def picked(self: Rows, index: Tensor) -> Rows:
        """The samples of the numbers `index`, as often as they stand there."""
        return self._each(lambda tensor: tensor[index.to(tensor.device)])

    def spread(self: Rows, n: int) -> Rows:
        """Each sample several times in a row, so that there are `n`."""
        return self._each(lambda tensor: tensor.repeat_interleave(n // len(tensor), 0))

    def to(self: Rows, device: torch.device | str) -> Rows:
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def _each(self: Rows, change: Callable[[Tensor], Tensor]) -> Rows:
        kept = {name: change(v) if isinstance(v, Tensor) else v for name, v in vars(self).items()}
        return type(self)(**kept)


@dataclass(frozen=True)
class Given(_Rows):
    """What a person asks from, one row per sample; a field that is absent was not given.

    Attributes:
        label: class numbers; -1 in a row stands for "no label" and takes the embedder's null.
        image: another picture, in the model's space or another: smaller, its edges, with holes and where they are …
        text: the tokens of a caption, padded with 0 after its end; nothing but 0 stands for "no caption".
    """

    label: Int[Tensor, " b"] | None = None
    image: Float[Tensor, "b *shape"] | None = None
    text: Int[Tensor, "b l"] | None = None


@dataclass(frozen=True)
class Beside:
    """The spaces of what a model is given beside a label; None where there is no such thing."""

    image: Real | None = None
    text: Tokens | None = None


@dataclass(frozen=True)
class Condition(_Rows):
    """What a network receives, by three routes: added to time, attended to, concatenated."""

    vector: Float[Tensor, "b d"] | None = None
    sequence: Float[Tensor, "b l e"] | None = None
    mask: Bool[Tensor, "b l"] | None = None
    grid: Float[Tensor, "b c *space"] | None = None


@dataclass(frozen=True)
class Batch:
    """Some rows of one step's global batch: the samples, what was given with them, and their randomness."""

    x: Tensor
    given: Given
    rng: Seeds

    def __len__(self) -> int:
        return len(self.x)

    def split(self, parts: int) -> Iterator["Batch"]:
        """`parts` equal shares; together they draw the very noise that the whole would have drawn."""
        size = len(self.x) // parts
        for start in range(0, size * parts, size):
            part = slice(start, start + size)
            yield Batch(self.x[part], self.given.rows(part), self.rng.rows(start, size))


@dataclass(frozen=True)
class Turn:
    """One player's move in a training step.

    `loss(batch, progress)` returns a scalar and statistics to log (tensors: reading one waits for the device);
    progress runs from 0 to 1 over the budget. The turn is taken on steps divisible by `every`.
    """

    player: str
    loss: Callable[[Batch, float], tuple[Float[Tensor, ""], Stats]]
    every: int = 1


Predictor = Callable[..., Tensor]
"""A network with its condition filled in: what a solver calls. Denoisers are `(y, s) -> x_hat`."""


@dataclass(frozen=True)
class Sampling(Config):
    """How to draw: `solver` is a function's name in `maquette/solvers/ode.py`; 0 and "" mean the model's own choice.

    `temperature` scales the spread of start noise or logits; `eta` in [0, 1] is DDIM's share of fresh noise. The rest
    is for tokens: only the `top_k` likeliest (0: all), only the fewest whose probability reaches `top_p` (Holtzman et
    al. 2020), only those at least `min_p` times as likely as the likeliest (Nguyen et al. 2024); `repetition` above 1
    makes tokens that were there before less likely (Keskar et al. 2019). With `beams` nothing is left to chance: the
    likeliest whole sample is searched for with so many hypotheses, and `length_penalty` says how much a longer one may
    be less likely (Wu et al. 2016, alpha of equation 14). `strength` below 1 is for a draw that starts from a picture:
    how much of it gives way to noise first, a half being as much noise as picture.
    """

    solver: str = ""
    steps: int = 0
    temperature: float = 1.0
    eta: float = 0.0
    strength: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition: float = 1.0
    beams: int = 0
    length_penalty: float = 0.6

    def __post_init__(self) -> None:
        self.check(0 <= self.steps <= 10_000, "steps", "a whole number from 0 to 10000")
        self.check(0 < self.temperature <= 100, "temperature", "a number above 0, at most 100")
        self.check(0 <= self.eta <= 1, "eta", "between 0 and 1")
        self.check(0 < self.strength <= 1, "strength", "a number above 0, at most 1")
        self.check(0 <= self.top_k <= 1_000_000, "top_k", "a whole number from 0 to 1000000")
        self.check(0 < self.top_p <= 1, "top_p", "a share in (0, 1]")
        self.check(0 <= self.min_p < 1, "min_p", "a share in [0, 1)")
        self.check(1 <= self.repetition <= 100, "repetition", "a number from 1 to 100")
        self.check(0 <= self.beams <= 256, "beams", "a whole number from 0 to 256")
        self.check(0 <= self.length_penalty <= 10, "length_penalty", "a number from 0 to 10")
        chosen = self.temperature != 1 or (self.top_k, self.top_p, self.min_p, self.repetition) != (0, 1.0, 0.0, 1.0)
        self.check(
            not (self.beams and chosen), "beams", "0 where temperature, top-k, top-p, min-p or repetition is set"
        )

    @property
    def of_tokens(self) -> bool:
        """Whether something is asked that only a model of tokens can do."""
        return (self.top_k, self.top_p, self.min_p, self.repetition, self.beams) != (0, 1.0, 0.0, 1.0, 0)


class Likelihood(ABC):
    """A model that can say how probable data are."""

    bound: ClassVar[bool] = False
    """Whether what it says is only an upper bound."""

    @abstractmethod
    def nll(self, batch: Batch) -> Float[Tensor, " b"]:
        """Negative log-likelihood, or an upper bound of it, in nats per sample (a discrete one if space has levels)."""


class Tighter(ABC):
    """A model whose upper bound of -log p(x) gets tighter with more codes."""

    @abstractmethod
    def importance_bound(self, batch: Batch, k: int) -> Float[Tensor, " b"]:
        """-log 1/k sum p(x, z) / q(z|x) over `k` codes, in nats per sample (Burda et al. 2016, equation 8)."""


class Features(ABC):
    """A model that says in one vector what it sees in a sample."""

    @abstractmethod
    def features(self, batch: Batch) -> Float[Tensor, "b d"]: ...


class Stream(ABC):
    """A model whose samples come piece by piece."""

    @abstractmethod
    def stream(self, predict: Predictor, start: Tensor, how: Sampling, rng: Seeds) -> Iterator[tuple[int, Tensor]]:
        """(place, the sample so far) after each place that was made, or several; the last is what `draw` gives."""


class Seats(ABC):
    """Texts of one model at different places, each on a seat of its own: they come and go between steps.

    Attributes:
        bytes: what they take in memory.
    """

    bytes: int

    @abstractmethod
    def sit(self, seat: int, tokens: Int[Tensor, " l"], condition: Condition) -> None:
        """A text takes a seat, `tokens` of it having been read (there may be none); `condition` has one row."""

    @abstractmethod
    def leave(self, seat: int) -> None:
        """Nobody sits there any more."""

    @abstractmethod
    def read(self, seats: list[int], tokens: Int[Tensor, " n"]) -> Float[Tensor, "n vocab"]:
        """Logits of what follows when the text on each of `seats` goes on by its token: they depend on that text alone,
        to the bit."""


class Seated(ABC):
    """A model of tokens whose texts need not be at the same place: what lets a server begin one while others go on."""

    @abstractmethod
    def seats(self, n: int) -> Seats: ...


class Compilable(ABC):
    """A model whose steps of drawing a few dozen rows on a CPU can be compiled."""

    @abstractmethod
    def compile_steps(self, storage: Storage) -> None:
        """Draw by compiled code from now on, where that is faster; raises MQ-2107 when numba is not installed."""


class Autoencoder(ABC):
    """A model that maps samples to codes and back. `latent` is the space of the codes."""

    latent: Space

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor: ...

    def unlearnt(self, x: Tensor) -> Mapping[str, Tensor]:
        """What ways that learn nothing make of the codes of samples `x`, by their names."""
        return {}


class Judging(ABC):
    """A model that learns with a critic, whose eye can be asked for."""

    @abstractmethod
    def realness(self, x: Tensor) -> Float[Tensor, " b"]:
        """The critic's score of samples without a label, of several critics the mean; differentiable in `x`. Where a
        picture is given with each sample the critic cannot be asked without one."""


class TwoTowers(ABC):
    """A model that puts samples and captions into one space, where those that belong together lie close."""

    @abstractmethod
    def of_samples(self, x: Tensor) -> Float[Tensor, "b d"]:
        """Vectors of length 1."""

    @abstractmethod
    def of_texts(self, text: Int[Tensor, "b l"]) -> Float[Tensor, "b d"]:
        """Vectors of length 1 of captions."""


class Captioner(ABC):
    """A model that says what it sees.

    Attributes:
        writes: whether it was made to learn that.
    """

    writes: bool

    @abstractmethod
    def caption(self, x: Tensor) -> Int[Tensor, "b l"]:
        """The likeliest caption of each sample, token by token; 0 after its end."""


class Translator(ABC):
    """A model that makes samples of given pictures, and such pictures of samples."""

    @abstractmethod
    def back(self, condition: Condition) -> Predictor:
        """As `predictor`, for the way back: what is given is a sample, what is drawn is of the kind that was given."""


class Stylist(ABC):
    """A model that makes given pictures over in the manner of others."""

    @abstractmethod
    def manner(self, x: Tensor) -> Tensor:
        """Where drawing begins, as `start` has it, for samples in the manner of pictures `x`, row by row."""


class Mixing(ABC):
    """A model whose samples can take their coarse traits from one start and their fine ones from another."""

    @abstractmethod
    def mix(self, coarse: Tensor, fine: Tensor, share: float) -> Tensor:
        """Starts of which the fine traits, those from `share` in (0, 1) of all on, are those of `fine`."""


class Denoiser(ABC):
    """A model whose predictor is a canonical denoiser `(y, s) -> x_hat`: solvers and the wraps for tasks apply to it.

    A draw starts from noise of the level that `Sampling.strength` asks for, to which a picture may be added.
    """

    levels: tuple[float, float]
    """The lowest and the highest level of noise that it knows."""

    @abstractmethod
    def visited(self, how: Sampling) -> Float[Tensor, " levels"]:
        """The levels of a draw, and 0."""
