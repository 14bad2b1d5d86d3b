"""What a model costs: parameters, time to sample, memory."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import nn

from maquette.core import devices

T = TypeVar("T")


def parameters(module: nn.Module) -> int:
    """How many numbers `module` has learnt or could learn (buffers do not count, shared weights count once)."""
    return sum(p.numel() for p in module.parameters())


@dataclass(frozen=True)
class Timed(Generic[T]):
    """A result with the seconds it took and the bytes that the process had held at most by then."""

    result: T
    seconds: float
    peak_bytes: int


def timed(work: Callable[[], T], device: torch.device) -> Timed[T]:
    """Run `work` and wait for the device."""
    start = time.perf_counter()
    result = work()
    devices.synchronize(device)
    return Timed(result, time.perf_counter() - start, devices.peak_memory(device))
