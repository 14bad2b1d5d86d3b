"""Fréchet distance of two sets of features, as Gaussians (Heusel et al. 2017, equation 6: FID).

    |mu_1 - mu_2|^2 + tr S_1 + tr S_2 - 2 tr (S_1 S_2)^(1/2)

No matrix square root is taken. With S_1 = L L^T the eigenvalues of S_1 S_2 are those of the symmetric L^T S_2 L, and
the trace is the sum of their roots. Where a covariance is singular (fewer rows than features, features that never
vary) a root of rounding noise would count, so the same trace is taken as the sum of the singular values of
L_1^T L_2 with factors cut to their rank.

The estimate is biased upwards for small n: compare only at equal n, and with the real-against-real floor beside it.
"""

from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
from jaxtyping import Float
from scipy.linalg.lapack import dsygst  # type: ignore[attr-defined]
from torch import Tensor

from maquette.evaluate.scores.intervals import Estimate, group_slices, jackknife

EPS = np.finfo(np.float64).eps
TOLERANCE = 1e-7
"""What rounding may cost the trace before the slower way is taken, as a share of it."""


@dataclass(frozen=True)
class Moments:
    """How many rows, their mean and their scatter (sum of squared deviations), in float64; the factor is cached."""

    n: int
    mean: Float[np.ndarray, " d"]
    scatter: Float[np.ndarray, "d d"]

    @classmethod
    def of(cls, features: Float[Tensor, "n d"] | Float[np.ndarray, "n d"]) -> "Moments":
        rows = np.asarray(features).astype(np.float64)
        mean = rows.mean(0)
        rows -= mean
        return cls(len(rows), mean, rows.T @ rows)  # numpy computes x^T x in half the work (BLAS syrk)

    def with_(self, other: "Moments") -> "Moments":
        """The moments of both sets of rows together (Chan et al. 1979)."""
        n = self.n + other.n
        gap = other.mean - self.mean
        scatter = self.scatter + other.scatter + np.outer(gap, gap) * (self.n * other.n / n)
        return Moments(n, self.mean + gap * (other.n / n), scatter)

    def without(self, part: "Moments") -> "Moments":
        """The moments of these rows less those of `part`."""
        n = self.n - part.n
        mean = (self.n * self.mean - part.n * part.mean) / n
        gap = part.mean - mean
        return Moments(n, mean, self.scatter - part.scatter - np.outer(gap, gap) * (part.n * n / self.n))

    @cached_property
    def covariance(self) -> Float[np.ndarray, "d d"]:
        return self.scatter / (self.n - 1)

    @cached_property
    def factor(self) -> Float[np.ndarray, "d r"]:
        """L with L L^T = covariance; r < d says that the covariance is singular."""
        try:
            lower = np.linalg.cholesky(self.covariance)
            pivots = np.diag(lower) ** 2
            if pivots.min() > len(pivots) * EPS * pivots.max():
                return lower
        except np.linalg.LinAlgError:
            pass
        values, vectors = np.linalg.eigh(self.covariance)
        # always cut at least one column: the caller reads the rank from the shape
        kept = values > max(len(values) * EPS * values[-1], values[0])
        return vectors[:, kept] * np.sqrt(values[kept])

    @property
    def singular(self) -> bool:
        return self.factor.shape[1] < len(self.mean)


def frechet_distance(first: Moments, second: Moments) -> float:
    """The distance; at least 0 but for rounding, symmetric, 0 for equal moments."""
    gap = first.mean - second.mean
    traces = float(np.trace(first.covariance) + np.trace(second.covariance))
    return float(gap @ gap) + traces - 2 * trace_of_root(first, second)


def trace_of_root(first: Moments, second: Moments) -> float:
    """tr (S_1 S_2)^(1/2)."""
    if not first.singular:
        # LAPACK's reduction of S_2 S_1 x = lambda x: the lower half of L^T S_2 L, at a quarter of two products' work
        product, _ = dsygst(second.covariance.T, first.factor, itype=2, lower=1)
        values = np.linalg.eigvalsh(product)
        noise = 10 * EPS * values[-1]  # about how far rounding moves an eigenvalue, hence a root by noise / root
        roots = np.sqrt(np.maximum(values, noise))
        if (noise / roots).sum() < TOLERANCE * roots.sum():
            return float(roots.sum())
    return float(np.linalg.svd(first.factor.T @ second.factor, compute_uv=False).sum())


def frechet_estimate(real: Moments, made: Float[Tensor, "n d"]) -> Estimate:
    """The distance of `made` rows from `real` ones with its jackknife interval.

    The groups' moments are taken once and subtracted, so an interval costs one eigenvalue problem a group.
    """
    parts = [Moments.of(made[rows]) for rows in group_slices(len(made))]
    whole = reduce(Moments.with_, parts)
    return jackknife(frechet_distance(real, whole), [frechet_distance(real, whole.without(p)) for p in parts])
