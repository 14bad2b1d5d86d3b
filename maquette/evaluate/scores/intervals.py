"""How far a score could have come out otherwise: 95 % intervals from the made samples at hand.

Fréchet and kernel distances, recall and the like are not means over samples, and a bootstrap of a Fréchet distance is
biased (repeated rows shrink the covariance). The delete-a-group jackknife (Kott 2001; Efron and Stein 1981) leaves out
one tenth of the made samples at a time and needs no repeated row. It speaks of the made samples' chance alone: the real
ones are held fixed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scipy.special import stdtrit

GROUPS = 10
JACKKNIFE = f"95 %, Student's t, jackknife over {GROUPS} groups of made samples"


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval (None where there is no way to give one)."""

    value: float
    low: float | None = None
    high: float | None = None
    method: str = ""

    def as_share(self) -> "Estimate":
        """The same with an interval that stays between 0 and 1."""
        if self.low is None or self.high is None:
            return self
        return replace(self, low=max(0.0, self.low), high=min(1.0, self.high))


def group_slices(n: int, groups: int = GROUPS) -> list[slice]:
    """`groups` adjoining shares of `n` rows whose sizes differ by at most one.

    >>> group_slices(5, 2)
    [slice(0, 2, None), slice(2, 5, None)]
    """
    edges = [n * g // groups for g in range(groups + 1)]
    return [slice(a, b) for a, b in zip(edges, edges[1:], strict=False)]


def jackknife(value: float, without: Sequence[float]) -> Estimate:
    """The interval around `value` from what it becomes without each of the groups."""
    groups = len(without)
    mean = sum(without) / groups
    error = math.sqrt((groups - 1) / groups * sum((w - mean) ** 2 for w in without))
    return around(value, error, groups - 1, JACKKNIFE)


def of_mean(values: Sequence[float], method: str) -> Estimate:
    """Mean of independent values with Student's interval; a single value has none."""
    n = len(values)
    mean = sum(values) / n
    if n < 2:
        return Estimate(mean)
    error = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1) / n)
    return around(mean, error, n - 1, method)


def around(value: float, error: float, freedom: int, method: str) -> Estimate:
    """`value` +- the 97.5 % point of Student's t with `freedom` degrees times the standard `error`."""
    reach = float(stdtrit(freedom, 0.975)) * error
    return Estimate(value, value - reach, value + reach, method)
