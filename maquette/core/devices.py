"""Where and how numbers are computed: device, precision, memory layout and compilation are decided here and only here.

Policy on a CPU (figures in docs/speed.md): convolutional nets run in channels_last; bf16 runs where the processor has
instructions for it. `PRECISION`: fp32 is exact and the default for likelihoods; bf16 computes matrix products and
convolutions in bfloat16 with fp32 weights, gradients and reductions.
"""

import contextlib
import ctypes
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int8
from torch import Tensor, nn

from maquette.core.errors import MaquetteError

Precision = Literal["fp32", "bf16"]
Storage = Literal["fp32", "bf16", "int8"]
"""How a model that only draws keeps its weights; int8 is each number of a row as a multiple of the row's scale."""
Layout = Literal["contiguous", "channels_last"]
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
"""By the axes of a batch: pictures, films. Sound has no such form."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def pick_device(name: str = "auto") -> torch.device:
    """`auto` (a GPU when there is one), `cpu`, `cuda`, `cuda:1` or `mps`; raises `MaquetteError` if it is not there."""
    keep_freed_memory()
    torch.set_flush_denormal(True)  # numbers below 1e-38: processors take a hundred times as long for them as for 0
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps") if torch.backends.mps.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
        if device.type not in ("cpu", "cuda", "mps"):
            raise RuntimeError("nothing here is made for it")
    except (RuntimeError, AssertionError) as bad:
        reason = (str(bad) or "not available").splitlines()[0]
        raise MaquetteError("MQ-2009", path="device", value=name, reason=reason, todo="use auto or cpu") from None
    return device


def autocast(device: torch.device, precision: Storage) -> contextlib.AbstractContextManager:
    """The context in which losses and predictors are computed: in fp32 unless bf16 is asked for."""
    if precision != "bf16":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def place(module: nn.Module, device: torch.device, layout: Layout = "contiguous") -> None:
    """Move `module` to `device`; 4-D and 5-D weights take `layout`. Parameter names and objects stay what they are."""
    module.to(device)
    if layout == "channels_last":
        for weights in (*module.parameters(), *module.buffers()):
            if weights.ndim in CHANNELS_LAST:
                weights.data = weights.data.to(memory_format=CHANNELS_LAST[weights.ndim])


def arrange(x: torch.Tensor, layout: Layout) -> torch.Tensor:
    """A batch laid out as the weights of a placed module expect it."""
    if layout == "channels_last" and x.ndim in CHANNELS_LAST:
        return x.contiguous(memory_format=CHANNELS_LAST[x.ndim])
    return x.contiguous()


@functools.cache
def keep_freed_memory() -> None:
    """Ask glibc not to hand freed tensors back to the kernel, which would zero their pages anew at every step.

    Made a small VAE's step 1.3 times as fast and a DCGAN's 1.2 times (docs/speed.md). Other C libraries have no such
    knob, and allocators that are preloaded in glibc's place pay no heed to it.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)  # below this size memory comes from the heap, not from a mapping of its own
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)  # and the heap shrinks only when this much of its top is free


def int8(weight: Float[Tensor, "out in"]) -> tuple[Int8[Tensor, "out in"], Float[Tensor, " out"]]:
    """`weight` as whole numbers in [-127, 127], and the scale of each row (Jacob et al. 2018, symmetric)."""
    scale = weight.abs().amax(1) / 127
    return (weight / scale.clamp(min=torch.finfo(scale.dtype).tiny)[:, None]).round().to(torch.int8), scale


@torch.no_grad()
def round_weights(module: nn.Module) -> None:
    """Give linear layers and embeddings the weights that int8 leaves of them: what is lost can then be measured."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            numbers, scale = int8(part.weight)
            part.weight.copy_(numbers * scale[:, None])


def has_fast_bf16(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 natively."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    known = device.type == "cpu" and torch.backends.mkldnn.is_available()
    return known and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def seed(number: int, device: torch.device) -> None:
    """Seed the global generators that dropout and the like draw from.

    `torch.manual_seed` seeds the generators of devices that are not in use as well, by queueing a call with its
    traceback each time: that costs as much as a small network's step, and the queue grows for ever.
    """
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.manual_seed(number)
    elif device.type == "mps":
        torch.mps.manual_seed(number)


def synchronize(device: torch.device) -> None:
    """Wait for the device: before reading a clock, and nowhere else."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(device: torch.device) -> int:
    """Bytes: the most this process has held so far (resident on a CPU, allocated on a GPU)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def memory(device: torch.device) -> int:
    """Bytes that there are: of a GPU its own, else the machine's, or as many of them as this process may have."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_granted()])


def _granted(root: Path = Path("/")) -> Iterator[int]:
    """The bounds that Linux's control groups set to this process: those of a container, or of a unit of systemd's."""
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for group in groups:  # number:controllers:/path
        _, controllers, path = group.split(":", 2)
        if controllers in ("", "memory"):  # of the second version, of the first
            base, name = root / "sys/fs/cgroup" / controllers, "memory.limit_in_bytes" if controllers else "memory.max"
            inner = base / path.lstrip("/")
            for folder in (inner, *inner.parents):
                with contextlib.suppress(OSError, ValueError):  # "max"
                    yield int((folder / name).read_text())
