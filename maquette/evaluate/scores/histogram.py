"""Kullback-Leibler divergence of two sets of points, over a common histogram: KL(p || q) = sum p log(p / q), in nats.

For points of one or two dimensions, where boxes can be filled. It is a distance of laws and no test of whether they
differ. Half a point is added to each box of q, so that a box that only p knows costs much and not everything; both that
and the boxes' width bias it, the more the fewer points there are: compare at equal numbers, with the floor beside it.
"""

import math

import numpy as np
from jaxtyping import Float

MOST = 2
"""Dimensions that boxes are made of."""
PER_BOX, SIDES = 10, 64
"""Points to a box, were they spread evenly, and the most boxes that a side is divided into."""
SMOOTHING = 0.5


def kl_divergence(real: Float[np.ndarray, "n d"], made: Float[np.ndarray, "m d"]) -> float:
    """KL(real || made) on boxes that cover the real points; made points outside them count as outside, in one box.

    Raises:
        ValueError: more than `MOST` dimensions.
    """
    n, d = real.shape
    if d > MOST:
        raise ValueError(f"boxes of {d} dimensions stay empty")
    sides = min(max(2, round((n / PER_BOX) ** (1 / d))), SIDES)
    edges = [np.linspace(low, high, sides + 1) for low, high in zip(real.min(0), real.max(0), strict=True)]
    p, q = (np.histogramdd(points, edges)[0].ravel() for points in (real, made))
    q = np.append(q, len(made) - q.sum()) + SMOOTHING
    p, q = np.append(p, 0) / n, q / q.sum()
    there = p > 0
    return float(math.fsum(p[there] * np.log(p[there] / q[there])))
