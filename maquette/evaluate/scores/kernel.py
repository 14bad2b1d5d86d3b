"""Kernel distance (Binkowski et al. 2018: KID): the unbiased squared MMD with k(x, y) = (x.y / d + 1)^3.

The literature averages the estimate over random subsets of 1,000 rows. All pairs of all rows are used here: the same
expectation and, as a complete U-statistic, the least variance that the rows allow. Unlike a Fréchet distance it does
not depend on n in the mean, and may come out slightly below 0.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from maquette.evaluate.scores.intervals import GROUPS, Estimate, group_slices, jackknife

BLOCK = 2048
Sums = Float[Tensor, "g h"]


def kernel_distance(real: Float[Tensor, "n d"], made: Float[Tensor, "m d"]) -> Estimate:
    """The distance with its jackknife interval; n and m at least 20, in the dtype of the features."""
    n, sizes = len(real), _sizes(len(made))
    within_real = _kernel_sums(real, None, 1).sum() / (n * (n - 1))
    across, within = _kernel_sums(real, made, GROUPS)[0], _kernel_sums(made, None, GROUPS)

    def distance(kept: Tensor) -> float:
        m = sizes[kept].sum()
        within_made = within[kept][:, kept].sum() / (m * (m - 1))
        return float(within_real + within_made - 2 * across[kept].sum() / (n * m))

    everyone = torch.ones(GROUPS, dtype=torch.bool)
    return jackknife(distance(everyone), [distance(torch.arange(GROUPS) != g) for g in range(GROUPS)])


def _sizes(n: int) -> Float[Tensor, " g"]:
    return torch.tensor([s.stop - s.start for s in group_slices(n)], dtype=torch.float64)


def _kernel_sums(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"] | None, groups: int) -> Sums:
    """Sums of k over pairs, by group of the second set (rows: groups of the first if `y` is None, else one row).

    With `y` None the pairs are those of different rows of `x`: each block of the symmetric matrix is computed once.
    """
    if y is not None:
        sums = torch.zeros(1, groups, dtype=torch.float64)
        for h, cols in enumerate(group_slices(len(y), groups)):
            sums[0, h] = sum(_sum(_kernel(x[a : a + BLOCK], y[cols])) for a in range(0, len(x), BLOCK))
        return sums
    sums = torch.zeros(groups, groups, dtype=torch.float64)
    blocks = [
        (g, slice(a, min(a + BLOCK, rows.stop)))
        for g, rows in enumerate(group_slices(len(x), groups))
        for a in range(rows.start, rows.stop, BLOCK)
    ]
    for i, (g, rows) in enumerate(blocks):
        for h, cols in blocks[i:]:
            k = _kernel(x[rows], x[cols])
            if rows == cols:
                sums[g, h] += _sum(k.fill_diagonal_(0))
            else:  # the mirror image of the block counts too
                total = _sum(k)
                sums[g, h] += total
                sums[h, g] += total
    return sums


def _kernel(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    return torch.addmm(x.new_ones(1), x, y.T, alpha=1 / x.shape[1]).pow_(3)


def _sum(k: Float[Tensor, "n m"]) -> float:
    return float(k.sum(1).double().sum())
