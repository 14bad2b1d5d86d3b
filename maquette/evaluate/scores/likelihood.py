"""How probable unseen data are to a model: bits per dimension, or nats where space is a continuum."""

import math
from collections.abc import Iterable

import torch

from maquette.core import cancel
from maquette.core.types import Batch, Likelihood, Space, Tokens
from maquette.evaluate.scores.intervals import Estimate, of_mean

PER_ITEM = "95 %, Student's t over items"


def has_levels(space: Space) -> bool:
    """Whether samples take countably many values, so that a likelihood is counted in bits."""
    return isinstance(space, Tokens) or space.levels > 0


def unit(space: Space) -> str:
    return "bits per dimension" if has_levels(space) else "nats per sample"


@torch.inference_mode()
def likelihood(model: Likelihood, batches: Iterable[Batch], space: Space) -> Estimate:
    """Mean negative log-likelihood (or its upper bound, the negative ELBO) over `batches`, in `unit(space)`.

    Bits per dimension divide by the number of coordinates (channels count) and by ln 2; 8-bit pictures drawn evenly
    have 8. Lower is better.
    """
    values: list[float] = []
    for batch in batches:
        cancel.check()
        values += model.nll(batch).double().tolist()
    scale = math.prod(space.shape) * math.log(2) if has_levels(space) else 1.0
    return of_mean([v / scale for v in values], PER_ITEM)
