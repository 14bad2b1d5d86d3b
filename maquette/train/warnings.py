"""Early warnings: each is given once, when the sign has been seen twice in a row, with what to do about it.

They look at numbers that any model may have, not at which model it is.
"""

import torch
from torch import Tensor

from maquette.core.errors import MaquetteError

EARLY = 0.2
"""Share of the budget before which a model may look as it likes."""
FEWEST = 300
"""Steps before which it may do so whatever the budget."""
LEAST_DIVERSITY = 0.25
"""Samples that differ by less than this share of what real items differ by are too much alike."""
LEAST_ACTIVE = 1.0
"""Axes of a latent code that must carry something of the data (counted as in Burda et al. 2016)."""


class Warnings:
    """Remembers what was seen; `samples` and `stats` return a warning when one is due."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def samples(self, made: Tensor, real: Tensor, step: int, progress: float) -> MaquetteError | None:
        """Mode collapse: samples from different noise that are nearly the same."""
        ratio = diversity(made) / max(diversity(real), 1e-12)
        if self._due("MQ-6020", _settled(step, progress) and ratio < LEAST_DIVERSITY):
            return MaquetteError("MQ-6020", step=step, ratio=f"{ratio:.2f}")
        return None

    def stats(self, values: dict[str, float], step: int, progress: float) -> MaquetteError | None:
        """Posterior collapse: a model that reports how many axes of its latent code are `active` reports none."""
        counts = [value for name, value in values.items() if name.rpartition(".")[2] == "active"]
        active = min(counts, default=LEAST_ACTIVE)
        if self._due("MQ-6021", _settled(step, progress) and active < LEAST_ACTIVE):
            return MaquetteError("MQ-6021", step=step, active=f"{active:.2g}")
        return None

    def _due(self, code: str, sign: bool) -> bool:
        self._seen[code] = self._seen.get(code, 0) + 1 if sign else 0 if self._seen.get(code, 0) < 2 else 2
        return sign and self._seen[code] == 2


def _settled(step: int, progress: float) -> bool:
    return progress >= EARLY and step >= FEWEST


def diversity(x: Tensor) -> float:
    """Mean distance between two rows of x [n, *space]: Euclidean, or the share of places that differ for whole numbers.

    >>> diversity(torch.tensor([[0.0], [3.0]]))
    3.0
    """
    n = len(x)
    if n < 2:
        return 0.0
    if x.is_floating_point():
        total = torch.cdist(x.flatten(1), x.flatten(1)).sum()
    else:
        total = (x[:, None] != x[None]).flatten(2).float().mean(2).sum()
    return float(total) / (n * (n - 1))
