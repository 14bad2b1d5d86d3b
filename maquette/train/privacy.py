"""Private training: what a model may give away of any one item is bounded (DP-SGD, Abadi et al. 2016, Algorithm 1).

Each item's gradient g_i is taken alone, shortened to the norm C (`clip`) at most and added up; noise is added to the
sum, which is then divided by the L items (`batch`) that are expected in a batch of independently drawn rows:

    g = (sum_i g_i min(1, C / ||g_i||) + sigma C N(0, I)) / L.

The promise is (epsilon, delta) of one row of the training split being there or not, for whatever is made of the
weights alone: optimisers, averages and samples cost nothing more. k moves in one step look at the same rows and are as
one with the noise sigma / sqrt(k). Epsilon is an upper bound by Rényi divergences (Mironov et al. 2019) and a function
of the step: a resumed run draws the same rows and the same noise again, and owes nothing twice.

Not counted: the number of items and their labels' names; the test split; losses, checkpoints and all else in a run but
its bundle; what was found out by earlier trainings on the same data. The noise is of an ordinary generator with a
secret beginning in ordinary floating point, and nothing is done against who measures time.
"""

import copy
import math
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import gammaln, logsumexp, xlog1py, xlogy
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from maquette.bundle import Bundle, Coding
from maquette.core import devices, seeds
from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Given, Stats, Turn
from maquette.data.batches import PoissonBatches
from maquette.data.dataset import Dataset
from maquette.models.base import Model
from maquette.nets.norm import mixes_rows
from maquette.train.recipe import Privacy, Recipe

ORDERS = np.array([*range(2, 65), 80, 96, 128, 192, 256, 512, 1024])
"""Of the Rényi divergence; whole ones have a closed form."""
ROOM = 1 - 1e-5
"""Of the norm that gradients are shortened to, so that rounding lifts none above it."""
LIKE = 1e-3
"""How far gradients taken together may be from those taken alone, as a share of their norm."""
DROPOUT = 1 << 30
"""The fork of a row's randomness that the global generator is seeded by."""

Weights = Sequence[nn.Parameter]
Way = Callable[[Model, Turn, Weights, Batch, float], Iterator[tuple[list[Tensor], Stats]]]
"""How the gradients of a batch's items are taken: some of them [n, *weight.shape] by each weight, with their losses and
statistics [n], and then more."""


class Private:
    """The private gradients of one model's turns, and what they have cost.

    Args:
        model: as it is before the first step; a copy of it is tried.

    Raises:
        MaquetteError: MQ-2192 when the promise could not be kept, or nothing would be learnt.
    """

    def __init__(self, settings: Privacy, model: Model, batches: PoissonBatches):
        n = len(batches.split)
        if batches.rate > 1 or settings.delta >= 1 / n:
            todo = f"take a smaller batch than that, and a delta below {1 / n:.1g}"
            raise MaquetteError("MQ-2192", reason=f"there are only {n} items to learn from", todo=todo)
        self.settings, self.batches, self.model = settings, batches, model
        self.every = [turn.every for turn in model.turns()]
        self._ways = ways(copy.deepcopy(model), batches.some(2))

    def sums(
        self, number: int, turn: Turn, weights: Weights, batch: Batch, progress: float, parts: int
    ) -> tuple[list[Tensor], Stats]:
        """The sum of the shortened gradients by each of `weights`, and the means of what the loss reported.

        Args:
            number: of the turn in a step.
            parts: so many shares of the batch are held in memory one after the other.
        """
        sums, notes = [torch.zeros_like(p) for p in weights], {}
        size = max(1, math.ceil(len(batch) / parts))
        for start in range(0, len(batch), size):
            part = rows(batch, start, min(size, len(batch) - start))
            for grads, told in self._ways[number](self.model, turn, weights, part, progress):
                norms = norms_of(grads)
                for total, short in zip(sums, shortened(grads, norms, self.settings.clip), strict=True):
                    total += short
                for name, value in {**told, "clipped": (norms > self.settings.clip).float()}.items():
                    share = value.detach().sum(0) / len(batch)
                    notes[name] = notes[name] + share if name in notes else share
        return sums, notes

    def hide(self, number: int, weights: Weights, sums: list[Tensor], step: int) -> None:
        """Leave `sums`, with noise and divided by the expected number of items, as the gradients of `weights`."""
        rng = seeds.generator(self.batches.seed, seeds.NOISE, step, number)
        for p, total in zip(weights, sums, strict=True):
            noise = torch.from_numpy(np.asarray(rng.standard_normal(p.shape, dtype=np.float32)))
            total.add_(noise.to(p.device), alpha=self.settings.noise * self.settings.clip)
            p.grad = total.div_(self.batches.batch)  # in place: it lies in memory as its weight does

    def epsilon(self, steps: int) -> float:
        """What the first `steps` steps have cost."""
        return epsilon(self.settings, self.batches.rate, self.every, steps)

    def promise(self, steps: int) -> str:
        """The sentence of a card."""
        how = f"clip {self.settings.clip:g}, noise {self.settings.noise:g}, sampling rate {self.batches.rate:.4g}"
        return f"epsilon {self.epsilon(steps):.4g} at delta {self.settings.delta:g} for one item (DP-SGD, {how})"


# -- the gradient of each item ----------------------------------------------------------------------------------------


def alone(
    model: Model, turn: Turn, weights: Weights, batch: Batch, progress: float
) -> Iterator[tuple[list[Tensor], Stats]]:
    """One item after the other: right for every loss."""
    for i in range(len(batch)):
        row = rows(batch, i, 1)
        devices.seed(int(row.rng.fork(DROPOUT).integers(1 << 62)), batch.x.device)
        loss, stats = turn.loss(row, progress)
        grads = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
        yield [grad[None] for grad in grads], {name: value[None] for name, value in {"loss": loss, **stats}.items()}


def together(
    model: Model, turn: Turn, weights: Weights, batch: Batch, progress: float
) -> Iterator[tuple[list[Tensor], Stats]]:
    """All at once, by `torch.func`; RuntimeError where a loss does what that cannot follow."""
    named = {id(p): f"model.{name}" for name, p in model.named_parameters()}
    whole = _Whole(model, turn)

    def loss(values: dict[str, Tensor], x: Tensor, given: dict[str, Tensor], i: Tensor) -> tuple[Tensor, Stats]:
        told = Given(**{name: value[None] for name, value in given.items()})
        return functional_call(whole, values, (Batch(x[None], told, _Row(batch.rng, i)), progress))

    values = {named[id(p)]: p.detach() for p in weights}
    given = {name: value for name, value in vars(batch.given).items() if value is not None}
    # what is drawn within is the same for all, and each item takes its own row of it
    each = vmap(grad_and_value(loss, has_aux=True), in_dims=(None, 0, 0, 0), randomness="same")
    grads, (losses, stats) = each(values, batch.x, given, torch.arange(len(batch), device=batch.x.device))
    yield list(grads.values()), {"loss": losses, **stats}


class _Whole(nn.Module):
    """A turn's loss as a module, whose weights can be lent for a call."""

    def __init__(self, model: Model, turn: Turn):
        super().__init__()
        self.model, self.turn = model, turn

    def forward(self, batch: Batch, progress: float) -> tuple[Tensor, Stats]:
        return self.turn.loss(batch, progress)


class _Row(Seeds):
    """Row `i` of `whole`, `i` being another number for each item that is taken together."""

    def __init__(self, whole: Seeds, i: Tensor):
        self._whole, self._i, self._each, self.device = whole.rows(0, len(whole)), i, True, whole.device

    def __len__(self) -> int:
        return 1

    def rows(self, start: int, n: int) -> "_Row":
        return _Row(self._whole, self._i)

    def fork(self, number: int) -> "_Row":
        return _Row(self._whole.fork(number), self._i)

    def _draw(self, shape, make) -> Tensor:
        return self._whole._draw(shape, make).index_select(0, self._i[None])


def rows(batch: Batch, start: int, n: int) -> Batch:
    """`n` items of a batch."""
    part = slice(start, start + n)
    return Batch(batch.x[part], batch.given.rows(part), batch.rng.rows(start, n))


def norms_of(grads: list[Tensor]) -> Tensor:
    """The norm of each item's gradient over all weights [n]."""
    return torch.stack([grad.reshape(len(grad), -1).norm(dim=1) for grad in grads]).norm(dim=0)


def shortened(grads: list[Tensor], norms: Tensor, clip: float) -> Iterator[Tensor]:
    """The sum over items by each weight, every item's whole gradient being no longer than `clip`."""
    factors = (ROOM * clip / norms).clamp(max=1)
    for grad in grads:
        yield torch.tensordot(factors.to(grad.dtype), grad, 1)


# -- what can be promised ---------------------------------------------------------------------------------------------


def require_counted(dataset: Dataset, coding: Coding, teacher: Bundle | None, world: int) -> None:
    """Raise `MaquetteError` MQ-2192 where more would be learnt of the data than gradients tell."""
    if world > 1:
        reason, todo = f"{world} processes would each draw rows of their own", "train in one"
    elif coding.autoencoder is not None:
        reason, todo = "what its codec has learnt of the data is not counted", "leave the trained codec out"
    elif teacher is not None:
        reason, todo = "what its teacher has learnt of the data is not counted", "leave the teacher out"
    elif dataset.train.others is not None:
        reason, todo = "an item of data.other is given with several samples", "leave data.other out"
    else:
        return
    raise MaquetteError("MQ-2192", reason=reason, todo=todo)


def keyed(recipe: Recipe, settings: Privacy) -> Recipe:
    """`recipe` with a key that nobody knows, unless it has one."""
    settings = replace(settings, key=settings.key or secrets.token_hex(16))
    return replace(recipe, train=replace(recipe.train, privacy=settings))


def ways(model: Model, batch: Batch) -> list[Way]:
    """For each turn of `model`, which is tried out and spent, how its gradients are taken.

    Raises:
        MaquetteError: MQ-2192 for batch norm, for tensors beside the weights that a loss changes, and for a loss that
            has no slope for an item alone.
    """
    if mixes_rows(model):
        reason = "batch norm makes every item's gradient depend on the others"
        raise MaquetteError("MQ-2192", reason=reason, todo="choose another norm")
    found, slope, players = [], 0.0, model.players()
    for number, turn in enumerate(model.turns()):
        weights = [p for p in players[turn.player].parameters() if p.requires_grad]
        part = Batch(batch.x, batch.given, batch.rng.fork(number))
        kept = {name: value.clone() for name, value in model.named_buffers() if "parametrizations." not in name}
        one = joined(alone(model, turn, weights, part, 0.0))
        for name, value in model.named_buffers():
            if name in kept and not torch.equal(kept[name], value):
                reason = f"{name!r} of the model learns of the items beside the gradients"
                raise MaquetteError("MQ-2192", reason=reason, todo="take settings or a model without it")
        slope = max(slope, one.norm().item())
        try:
            other = joined(together(model, turn, weights, part, 0.0))
            found.append(together if (one - other).norm() <= LIKE * one.norm() else alone)
        except RuntimeError:  # in-place changes, choices by value, gradients within the loss …
            found.append(alone)
    if slope == 0:
        reason = "its loss compares the items of a batch with each other and says nothing of one alone"
        raise MaquetteError("MQ-2192", reason=reason, todo="take another model")
    return found


def joined(taken: Iterator[tuple[list[Tensor], Stats]]) -> Tensor:
    """All gradients in one row of numbers for each item."""
    return torch.cat([torch.cat([grad.reshape(len(grad), -1) for grad in grads], 1) for grads, _ in taken])


# -- the accountant ---------------------------------------------------------------------------------------------------


def epsilon(settings: Privacy, rate: float, every: Sequence[int], steps: int) -> float:
    """The epsilon of `steps` steps: the best bound of any of `ORDERS` (Canonne et al. 2020, proposition 12).

    Args:
        rate: the probability of a row to be in a step's batch.
        every: of each turn, that it is taken on steps divisible by this.
    """
    if steps == 0:
        return 0.0
    due = [sum(step % n == 0 for n in every) for step in range(math.lcm(*every))]
    whole, rest = divmod(steps, len(due))
    times = Counter(due[:rest]) + Counter({moves: n * whole for moves, n in Counter(due).items()})
    spent = [n * renyi(rate, settings.noise / math.sqrt(moves)) for moves, n in times.items() if moves]
    room = np.log1p(-1 / ORDERS) - (math.log(settings.delta) + np.log(ORDERS)) / (ORDERS - 1)
    return max(0.0, float((np.sum(spent, 0) + room).min()))


@cache
def renyi(rate: float, noise: float) -> Float[np.ndarray, " orders"]:
    """The Rényi divergence of one move at each of `ORDERS` (Mironov et al. 2019, section 3.3): for order a

    ln sum_k C(a, k) (1 - q)^(a - k) q^k exp(k (k - 1) / 2 sigma^2) / (a - 1).
    """
    found = []
    for a in ORDERS.tolist():
        k = np.arange(a + 1)
        choose = gammaln(a + 1) - gammaln(k + 1) - gammaln(a - k + 1)
        found.append(
            logsumexp(choose + xlog1py(a - k, -rate) + xlogy(k, rate) + k * (k - 1) / (2 * noise**2)) / (a - 1)
        )
    return np.array(found)
