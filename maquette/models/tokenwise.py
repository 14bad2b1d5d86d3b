"""What every model of tokens one after another shares: p(x) = prod_i p(x_i | x_1 ... x_{i-1}).

Such a model says how it reads tokens and what it keeps of them; the loss (the mean negative log-likelihood of the
tokens that count), the likelihood and drawing token by token follow.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.sequences import apart, counted, predicted, seen, trimmed
from maquette.core.types import (
    Batch,
    Condition,
    Given,
    Likelihood,
    Predictor,
    Sampling,
    Stats,
    Stream,
    Tokens,
    Turn,
)
from maquette.models.base import Model
from maquette.nets.conditioning import LabelEmbedder
from maquette.solvers import decoding


def divergence(
    student: Float[Tensor, "*b vocab"], teacher: Float[Tensor, "*b vocab"], temperature: float
) -> Float[Tensor, "*b"]:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)) of logits, in nats (Hinton et al. 2015, section 2).

    T^2 makes up for slopes that fall as 1 / T^2: as T grows, the one by a student's logit z_i goes to (z_i - v_i) / N,
    both centred (eq. 4).
    """
    log_q, log_p = ((logits / temperature).log_softmax(-1) for logits in (student, teacher))
    return temperature**2 * F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)


class Teaching(NamedTuple):
    """What a model learns from beside the data: `logits` of (tokens, given) by a teacher, which only they hold."""

    logits: Callable[[Int[Tensor, "b l"], Given], Float[Tensor, "b m vocab"]]
    temperature: float
    share: float


class Tokenwise(Model, Likelihood, Stream):
    """Its predictor is `(x, at) -> logits [b, vocab]` of token number `at` given those before it in `x` [b, l].

    Tokens of a grid are read row by row.
    """

    accepts = (Tokens,)
    space: Tokens  # pyright: ignore[reportIncompatibleVariableOverride]
    embed: LabelEmbedder
    teaching: Teaching | None = None

    @abstractmethod
    def read(
        self,
        tokens: Int[Tensor, "b l"],
        condition: Condition,
        state: Any = None,
        keep: bool = False,
        allowed: Bool[Tensor, "b 1 l l"] | None = None,
    ) -> tuple[Float[Tensor, "b l vocab"], Any]:
        """Logits of what follows each token, and the state after the last one.

        Args:
            tokens: number `vocab` is what stands before the first token of a space without marks.
            state: what an earlier call gave for the tokens before these; None at the beginning.
            keep: whether the state will be asked for; without it None may be given back.
            allowed: which places each place may see (documents apart), for those who see places.
        """

    def before(self, x: Int[Tensor, "b l"], at: int) -> Int[Tensor, "b m"]:
        """What is read before token number `at` can be predicted."""
        return x[:, :at] if self.space.marks else F.pad(x[:, :at], (1, 0), value=self.space.vocab)

    def reordered(self, state: Any, rows: Int[Tensor, " b"]) -> Any:
        """`state` with row i that of row `rows[i]`; None, and all is read again, where a model cannot do that."""
        return None

    def turns(self) -> list[Turn]:
        return [Turn("model", self.loss)]

    def loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        """Nats per token of the batch; the statistic leaves out what is not learnt (prompts, padding)."""
        condition, x = self.embed(batch.given, len(batch), batch.rng.fork(0)), batch.x.flatten(1)
        n, x = predicted(x, self.space).numel(), trimmed(x, self.space)
        logits = self.logits(x, condition)
        nats, counts = self._paid(logits, x)
        loss, scored = nats.sum() / n, counts.sum().clamp(min=1)
        stats = {"nats_per_token": nats.detach().sum() / scored}
        if self.teaching is not None:
            of, temperature, share = self.teaching
            away = (divergence(logits, of(x, batch.given), temperature) * counts).sum()
            loss = (1 - share) * loss + share * away / n
            stats["from_teacher"] = away.detach() / scored
        return loss, stats

    def learn_from(self, teacher: Model, temperature: float, share: float) -> None:
        if not isinstance(teacher, Tokenwise):
            raise MaquetteError("MQ-2140", kind=teacher.config.kind(), what="teach one token after another")

        @torch.no_grad()
        def logits(x: Int[Tensor, "b l"], given: Given) -> Float[Tensor, "b m vocab"]:
            return teacher.logits(x, teacher.embed(given, len(x)))

        self.teaching = Teaching(logits, temperature, share)

    def nll(self, batch: Batch) -> Float[Tensor, " b"]:
        return self.nats(trimmed(batch.x.flatten(1), self.space), self.embed(batch.given, len(batch)))[0].sum(1)

    def nats(
        self, x: Int[Tensor, "b l"], condition: Condition, hidden: Bool[Tensor, "b m"] | None = None
    ) -> tuple[Float[Tensor, "b m"], Bool[Tensor, "b m"]]:
        """What each predicted token costs, 0 where it does not count, and which count.

        Args:
            hidden: tokens that the predictions do not see, for models that know a number `vocab` in their place.
        """
        return self._paid(self.logits(x, condition, hidden), x)

    def logits(
        self, x: Int[Tensor, "b l"], condition: Condition, hidden: Bool[Tensor, "b m"] | None = None
    ) -> Float[Tensor, "b m vocab"]:
        """What is believed of each predicted token, documents apart; `hidden` as for `nats`."""
        inputs = seen(x, self.space)
        shown = inputs if hidden is None else inputs.masked_fill(hidden, self.space.vocab)
        return self.read(shown, condition, allowed=apart(inputs, self.space))[0].float()

    def _paid(
        self, logits: Float[Tensor, "b m vocab"], x: Int[Tensor, "b l"]
    ) -> tuple[Float[Tensor, "b m"], Bool[Tensor, "b m"]]:
        """`nats` of what is believed."""
        targets, counts = predicted(x, self.space), counted(x, self.space)
        nats = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
        return nats * counts, counts

    def mean_state(
        self,
        batch: Batch,
        states: Callable[[Int[Tensor, "b l"], Condition, Bool[Tensor, "b 1 l l"] | None], Float[Tensor, "b l d"]],
    ) -> Float[Tensor, "b d"]:
        """The mean of a model's hidden states at the places whose predictions count.

        Args:
            states: the last hidden state at each place of (tokens, condition, what each place may see).
        """
        x = trimmed(batch.x.flatten(1), self.space)
        inputs, counts = seen(x, self.space), counted(x, self.space)[..., None]
        h = states(inputs, self.embed(batch.given, len(batch)), apart(inputs, self.space)).float()
        return (h * counts).sum(1) / counts.sum(1).clamp(min=1)

    def condition(self, given: Given, n: int) -> Condition:
        return self.embed(given, n)

    def predictor(self, condition: Condition) -> Predictor:
        """Cheap when asked in order, right in any order."""
        return Reader(self, condition)

    def start(self, n: int, how: Sampling, rng: Seeds) -> Int[Tensor, "n *space"]:
        """Nothing but gaps; in a space with marks the end of an earlier document stands first."""
        return decoding.blank(n, self.space, rng.device)

    def draw(
        self, predict: Predictor, start: Int[Tensor, "n *space"], how: Sampling, rng: Seeds
    ) -> Int[Tensor, "n *space"]:
        x = start.flatten(1)
        if how.beams:
            return decoding.search(predict, x, how.beams, how.length_penalty, self._end).view(start.shape)
        return decoding.decode(predict, x, rng.uniform(x.shape[1]), how, self._end).view(start.shape)

    def stream(
        self, predict: Predictor, start: Int[Tensor, "n *space"], how: Sampling, rng: Seeds
    ) -> Iterator[tuple[int, Int[Tensor, "n *space"]]]:
        x = start.flatten(1)
        for at, made in decoding.stream(predict, x, rng.uniform(x.shape[1]), how, self._end):
            yield at, made.view(start.shape)

    @property
    def _end(self) -> int | None:
        return self.space.marks.end if self.space.marks else None


@runtime_checkable
class Reading(Protocol):
    """What a `Reader` asks of a model: the methods of `Tokenwise` of these names."""

    def before(self, x: Any, at: int) -> Int[Tensor, "b m"]: ...

    def read(
        self, tokens: Int[Tensor, "b m"], condition: Condition, state: Any = None, keep: bool = False
    ) -> tuple[Float[Tensor, "b m out"], Any]: ...

    def reordered(self, state: Any, rows: Int[Tensor, " b"]) -> Any: ...


class Reader:
    """Reads a growing sequence and says what comes next; what it has read it need not read again.

    Asked for several times as many rows as its condition has (hypotheses of a search), those of a sample stand side by
    side. Rows that change places, or follow from another row than before, are read on from where that row was.
    """

    def __init__(self, model: Reading, condition: Condition):
        self.model, self.condition, self.state = model, condition, None
        self.done = torch.empty(0, 0, dtype=torch.int64)

    def __call__(self, x: Int[Tensor, "b l"] | Float[Tensor, "b c l"], at: int) -> Float[Tensor, "b out"]:
        inputs = self.model.before(x, at)
        known = self.done.shape[1]
        if not (0 < known < inputs.shape[1] and self._follows(inputs[:, :known])):
            self.state, known = None, 0
        condition, vector = self.condition, self.condition.vector
        if vector is not None and len(vector) != len(inputs):
            condition = condition.spread(len(inputs))
        logits, self.state = self.model.read(inputs[:, known:], condition, self.state, keep=True)
        self.done = inputs.clone()
        return logits[:, -1]

    def _follows(self, before: Int[Tensor, "b m"]) -> bool:
        """Whether the state is, or could be made, that of having read `before`."""
        if torch.equal(self.done, before):
            return True
        if len(self.done) != len(before):
            return False
        place = {row.tobytes(): i for i, row in enumerate(self.done.cpu().numpy())}
        rows = [place.get(row.tobytes()) for row in before.cpu().numpy()]
        if None in rows:
            return False
        self.state = self.model.reordered(self.state, torch.tensor(rows, device=before.device))
        return self.state is not None
