"""How well pictures and captions find each other by a table of their similarity, and what chance would find."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maquette.evaluate.scores.intervals import Estimate, wilson


def alike(one: Int[Tensor, "n l"], other: Int[Tensor, "m l"]) -> Bool[Tensor, "n m"]:
    """Which captions of the one list stand in the other, word for word."""
    return (one[:, None] == other[None]).all(2)


def recall(table: Float[Tensor, "n m"], right: Bool[Tensor, "n m"], k: int) -> Estimate:
    """The share of rows with a right column among the `k` of the largest similarity."""
    nearest = table.topk(min(k, table.shape[1]), dim=1).indices
    return wilson(int(right.gather(1, nearest).any(1).sum()), len(table))


def recall_by_chance(right: Bool[Tensor, "n m"], k: int) -> float:
    """The same for `k` columns taken at random: 1 - C(m - r, k) / C(m, k) of a row with r right columns."""
    columns, missed = right.shape[1], torch.ones(len(right), dtype=torch.float64)
    wrong = columns - right.sum(1)
    for taken in range(min(k, columns)):
        missed = missed * (wrong - taken).clamp(min=0) / (columns - taken)
    return float(1 - missed.mean())
