"""Precision, recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020) on k-nearest-neighbour balls.

Around each sample stands a ball that reaches its k-th nearest neighbour of its own set.
precision: share of made samples in some real ball. recall: share of real samples in some made ball.
density: in how many real balls a made sample lies, over k. coverage: share of real balls with a made sample in them.

Every pair of rows is visited once, block by block in the features' own dtype (float32 is 16 times less memory
traffic than one float64 table of 10,000 x 10,000), the symmetric tables by their upper halves.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maquette.evaluate.scores.intervals import GROUPS, Estimate, group_slices, jackknife, of_mean

BLOCK = 1024
PER_SAMPLE = "95 %, Student's t over made samples"


@dataclass(frozen=True)
class Prdc:
    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate


def prdc(real: Float[Tensor, "n d"], made: Float[Tensor, "m d"], k: int = 5) -> Prdc:
    """The four figures; n and m above k. Recall's and coverage's intervals leave out groups but keep the balls."""
    centre = real.mean(0)  # shorter vectors lose less in |x|^2 + |y|^2 - 2 x.y
    real, made = real - centre, made - centre
    inside, met_real, met_made = _count(real, made, radii(real, k), radii(made, k))
    return Prdc(
        precision=of_mean((inside > 0).double().tolist(), PER_SAMPLE).as_share(),
        recall=_share_met(met_real),
        density=of_mean((inside.double() / k).tolist(), PER_SAMPLE),
        coverage=_share_met(met_made),
    )


def radii(x: Float[Tensor, "n d"], k: int) -> Float[Tensor, " n"]:
    """Squared distance of each row to its k-th nearest other row."""
    best = x.new_full((len(x), k), float("inf"))
    where = torch.zeros(len(x), k, dtype=torch.int64)
    blocks = [slice(a, min(a + BLOCK, len(x))) for a in range(0, len(x), BLOCK)]
    squares = x.square().sum(1)
    for i, rows in enumerate(blocks):
        for cols in blocks[i:]:
            table = squared_distances(x[rows], x[cols], squares[rows], squares[cols])
            if rows == cols:
                table.fill_diagonal_(float("inf"))
            else:
                _keep_nearest(best, where, cols, table.T.contiguous(), rows.start)
            _keep_nearest(best, where, rows, table, cols.start)
    # the k-th neighbour is known now: its distance is taken again, without cancellation
    kth = where.gather(1, best.argmax(1, keepdim=True))[:, 0]
    return (x - x[kth]).square_().sum(1)


def squared_distances(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], xx: Float[Tensor, " n"], yy: Float[Tensor, " m"]
) -> Float[Tensor, "n m"]:
    """|x - y|^2 for all pairs, from the rows' squared lengths and one matrix product; may round below 0."""
    return torch.addmm(yy, x, y.T, alpha=-2).add_(xx[:, None])


def _keep_nearest(
    best: Float[Tensor, "n k"], where: Int[Tensor, "n k"], rows: slice, table: Float[Tensor, "r c"], first: int
) -> None:
    """Merge the columns of `table` (rows `first` … of the set) into the k nearest so far of `rows`."""
    k = best.shape[1]
    values, columns = table.topk(min(k, table.shape[1]), largest=False, sorted=False)
    values, columns = torch.cat([best[rows], values], 1), torch.cat([where[rows], columns + first], 1)
    best[rows], kept = values.topk(k, largest=False, sorted=False)
    where[rows] = columns.gather(1, kept)


def _count(
    real: Float[Tensor, "n d"], made: Float[Tensor, "m d"], real_radii: Float[Tensor, " n"], made_radii: Tensor
) -> tuple[Int[Tensor, " m"], Bool[Tensor, "n g"], Bool[Tensor, "n g"]]:
    """How many real balls each made row lies in; which real rows lie in a ball of, and have in theirs, group g."""
    inside = torch.zeros(len(made), dtype=torch.int64)
    in_made_ball, has_made = (torch.zeros(len(real), GROUPS, dtype=torch.bool) for _ in range(2))
    xx, yy = real.square().sum(1), made.square().sum(1)
    for g, group in enumerate(group_slices(len(made))):
        for a in range(0, len(real), BLOCK):
            rows = slice(a, a + BLOCK)
            table = squared_distances(real[rows], made[group], xx[rows], yy[group])
            in_real = table < real_radii[rows, None]
            inside[group] += in_real.sum(0)
            has_made[rows, g] = in_real.any(1)
            in_made_ball[rows, g] = (table < made_radii[group]).any(1)
    return inside, in_made_ball, has_made


def _share_met(met: Bool[Tensor, "n g"]) -> Estimate:
    """Share of rows met by any group, with the jackknife over groups."""
    counts = met.sum(1, keepdim=True)
    alone = counts - met.long() > 0  # met without group g
    return jackknife(float((counts > 0).double().mean()), alone.double().mean(0).tolist()).as_share()
