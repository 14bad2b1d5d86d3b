"""How far a score could have come out otherwise: 95 % intervals from the made samples at hand.

Fréchet and kernel distances, recall and the like are not means over samples, and a bootstrap of a Fréchet distance is
biased (repeated rows shrink the covariance). The delete-a-group jackknife (Kott 2001; Efron and Stein 1981) leaves out
one tenth of the made samples at a time and needs no repeated row. It speaks of the made samples' chance alone: the real
ones are held fixed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri, stdtrit

GROUPS = 10
DRAWS = 1000
"""Of a bootstrap."""
BOOTSTRAP = f"95 %, bootstrap of {DRAWS} draws over questions"
WILSON = "95 %, Wilson's score interval"
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


def bootstrapped(values: Sequence[float]) -> Estimate:
    """Mean of independent values between the 2.5 % and 97.5 % points of the means of samples drawn from them with
    replacement (Efron 1979, the percentile method; Koehn 2004 for texts). The draws are the same each time."""
    array = np.asarray(values, dtype=float)
    drawn = np.random.default_rng(0).integers(len(array), size=(DRAWS, len(array)))
    low, high = np.quantile(array[drawn].mean(1), [0.025, 0.975]).tolist()
    return Estimate(float(array.mean()), low, high, BOOTSTRAP)


def bootstrapped_ratio(tops: Sequence[float], bottoms: Sequence[float], method: str) -> Estimate:
    """The sum of `tops` over that of `bottoms`, rows drawn as by `bootstrapped`; infinite where nothing is below."""
    pairs = np.stack([np.asarray(tops, dtype=float), np.asarray(bottoms, dtype=float)])
    drawn = np.random.default_rng(0).integers(pairs.shape[1], size=(DRAWS, pairs.shape[1]))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.divide(*pairs[:, drawn].sum(2))
        value = float(np.divide(*pairs.sum(1)))
    low, high = np.quantile(ratios, [0.025, 0.975], method="nearest").tolist()
    return Estimate(value, low, high, method)


def wilson(right: int, n: int) -> Estimate:
    """The share `right` / `n` with the score interval of Wilson (1927), which stays between 0 and 1 at any n.

    >>> round(wilson(0, 10).high, 4)
    0.2775
    """
    z, share = float(ndtri(0.975)), right / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Estimate(share, max(0.0, centre - reach), min(1.0, centre + reach), WILSON)


def around(value: float, error: float, freedom: int, method: str) -> Estimate:
    """`value` +- the 97.5 % point of Student's t with `freedom` degrees times the standard `error`."""
    reach = float(stdtrit(freedom, 0.975)) * error
    return Estimate(value, value - reach, value + reach, method)
