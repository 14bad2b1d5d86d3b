"""How probable unseen data are to a model: bits per dimension, or nats where space is a continuum."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from maquette.codecs.base import Codes
from maquette.core import cancel
from maquette.core.sequences import counted
from maquette.core.types import Batch, Denoiser, Likelihood, Real, Space, Tighter, Tokens
from maquette.evaluate.scores.intervals import Estimate, of_mean
from maquette.media.base import Medium
from maquette.models.base import Model
from maquette.solvers.likelihood import flow

PER_ITEM = "95 %, Student's t over items"


def has_levels(space: Space) -> bool:
    """Whether samples take countably many values, so that a likelihood is counted in bits."""
    return isinstance(space, Tokens) or space.levels > 0


def unit(measure: Medium | Codes) -> str:
    names = {"dim": "dimension"}
    if has_levels(measure.space):
        return f"bits per {names.get(measure.unit, measure.unit)}"
    return "nats per sample" if isinstance(measure, Medium) else "nats per sample's codes"


@dataclass(frozen=True)
class Tightened(Likelihood):
    """The bound of `model` that `k` codes a sample tighten."""

    model: Tighter
    k: int

    def nll(self, batch: Batch) -> Float[Tensor, " b"]:
        return self.model.importance_bound(batch, self.k)


@torch.inference_mode()
def likelihood(model: Likelihood, batches: Iterable[Batch], measure: Medium | Codes) -> Estimate:
    """Mean negative log-likelihood (or its upper bound, the negative ELBO) over `batches`, in `unit(measure)`.

    Bits are divided among the units that the medium counts: dimensions (channels count; 8-bit pictures drawn evenly
    have 8), or bytes of text, whatever the tokens. Lower is better.
    """
    return _mean(model.nll, batches, measure)


def of_flow(model: Denoiser, batches: Iterable[Batch], measure: Medium | Codes) -> Estimate:
    """The same by the probability-flow equation of a model that removes noise; see `solvers/likelihood.py`."""
    assert isinstance(model, Model) and isinstance(measure.space, Real)
    values = measure.space.levels

    def nll(batch: Batch) -> Tensor:
        with torch.no_grad():
            denoise = model.predictor(model.condition(batch.given, len(batch)))
        return flow(denoise, batch.x, *model.levels, batch.rng, values)

    return _mean(nll, batches, measure)


def _mean(nll: Callable[[Batch], Tensor], batches: Iterable[Batch], measure: Medium | Codes) -> Estimate:
    nats: list[float] = []
    units: list[float] = []
    for batch in batches:
        cancel.check()
        nats += nll(batch).double().tolist()
        units += measure.units(batch.x).double().tolist()
    scale = sum(units) / len(units) * math.log(2) if has_levels(measure.space) else 1.0
    return of_mean([value / scale for value in nats], PER_ITEM)


def perplexity(bits: Estimate, x: Int[Tensor, "b l"], medium: Medium) -> Estimate:
    """e to the power of the nats per token, from the `bits` per unit that samples `x` of tokens cost.

    So many equally probable tokens would be as hard to choose among. It depends on the tokens: of two models with
    different ones it says nothing.
    """
    assert isinstance(medium.space, Tokens)
    units = float(medium.units(x).sum() / counted(x, medium.space).sum().clamp(min=1))

    def of(value: float | None) -> float | None:
        return None if value is None else 2.0 ** min(value * units, 1000.0)  # more is no longer a number

    return replace(bits, value=of(bits.value), low=of(bits.low), high=of(bits.high))
