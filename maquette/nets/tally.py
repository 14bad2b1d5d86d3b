"""What a model notes of itself while it learns, for its `after_step`: the same on one process and on several."""

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn


class Tally(nn.Module):
    """The sum of all rows noted since it was last taken, over parts of a batch and over ranks; in training only.

    It is empty between steps, so no checkpoint holds it.
    """

    total: Tensor
    count: Tensor

    def __init__(self, *shape: int):
        super().__init__()
        self.register_buffer("total", torch.zeros(shape), persistent=False)
        self.register_buffer("count", torch.zeros(()), persistent=False)

    @torch.no_grad()
    def note(self, rows: Float[Tensor, "b *shape"]) -> None:
        if self.training:
            self.total += rows.float().sum(0)
            self.count += len(rows)

    @torch.no_grad()
    def take(self) -> tuple[Float[Tensor, "*shape"], Float[Tensor, ""]]:
        """The mean of the rows, 0 when there were none, and how many there were; then begins anew."""
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(self.total)
            dist.all_reduce(self.count)
        mean, count = self.total / self.count.clamp(min=1), self.count.clone()
        self.total.zero_()
        self.count.zero_()
        return mean, count
