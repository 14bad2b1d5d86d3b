"""Several processes that train one model: each takes its rows of the global batch, and gradients are averaged.

Start them with `torchrun --nproc-per-node N -m maquette train …`; one process alone needs nothing. Weights stay equal
on all ranks because they start equal and receive the same averaged gradients; rank 0 alone writes.
"""

import atexit
import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from maquette.core.devices import pick_device


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this is."""

    rank: int = 0
    world: int = 1

    @property
    def main(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """The mean of `values` over all ranks."""
        return self._reduce(values, dist.ReduceOp.SUM) / self.world if self.world > 1 else values

    def largest(self, *numbers: float) -> list[float]:
        """The largest of each number over all ranks: how they agree on a clock or on stopping."""
        if self.world == 1:
            return list(numbers)
        return self._reduce(torch.tensor(numbers, dtype=torch.float64), dist.ReduceOp.MAX).tolist()

    def barrier(self) -> None:
        if self.world > 1:
            self.largest(0.0)

    def _reduce(self, values: Tensor, how: dist.ReduceOp.RedOpType) -> Tensor:
        values = values.clone()
        dist.all_reduce(values, how)
        return values


def join(device: str) -> tuple[Ranks, torch.device]:
    """Meet the other processes that torchrun started, if any; on GPUs each rank takes its own."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    place = pick_device(device)
    if world == 1:
        return Ranks(), place
    if place.type == "cuda" and place.index is None:
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(place)
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    return Ranks(dist.get_rank(), dist.get_world_size()), place


def average_gradients(parameters: Iterable[nn.Parameter], ranks: Ranks) -> None:
    """Replace each gradient by its mean over all ranks, in one all-reduce per dtype."""
    if ranks.world == 1:
        return
    by_dtype: dict[torch.dtype, list[Tensor]] = {}
    for p in parameters:
        if p.grad is not None:
            by_dtype.setdefault(p.grad.dtype, []).append(p.grad)
    for grads in by_dtype.values():
        flat = torch.cat([g.reshape(-1) for g in grads])
        dist.all_reduce(flat)
        flat /= ranks.world
        means = flat.split([g.numel() for g in grads])
        torch._foreach_copy_(grads, [mean.view(g.shape) for mean, g in zip(means, grads, strict=True)])  # pyright: ignore
