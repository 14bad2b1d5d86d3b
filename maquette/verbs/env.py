"""What this machine and this installation are: versions, devices, settings, and one matrix product."""

import importlib.metadata
import os
import platform
import time

import torch

from maquette import __version__
from maquette.core import devices
from maquette.core.errors import MaquetteError

SIZE = 1024
"""Rows and columns of the product."""
NEEDED = (
    "av",
    "mido",
    "torch",
    "numpy",
    "safetensors",
    "pyyaml",
    "pillow",
    "rich",
    "jaxtyping",
    "jinja2",
    "matplotlib",
    "scikit-learn",
    "scipy",
    "tensorboard",
)
"""What Maquette never goes without: the dependencies of pyproject.toml."""
LIBRARIES = ("numpy", "scipy", "safetensors", "pillow", "scikit-learn", "datasets")


def about() -> dict[str, str]:
    """The machine and the installation."""
    return {
        "maquette": __version__,
        "python": f"{platform.python_version()} on {platform.platform()}",
        "torch": torch.__version__,
        **{name: _version(name) for name in LIBRARIES},
        "processors": f"{os.cpu_count()}, of which torch uses {torch.get_num_threads()}",
        "device": _name(devices.pick_device()),
    }


def env() -> dict[str, str]:
    """A line for each thing that an answer to "why does it differ on my machine?" may need, by its name.

    Raises nothing; takes the second that a matrix product is timed for.
    """
    device = devices.pick_device()
    speed = f"{gflops(device, torch.float32):.0f} GFLOP/s fp32, {gflops(device, torch.bfloat16):.0f} GFLOP/s bf16"
    measured = {"fast bf16": "yes" if devices.has_fast_bf16(device) else "no", f"matmul {SIZE}": speed}
    settings = {name: value for name, value in sorted(os.environ.items()) if name.startswith("MAQUETTE_")}
    return about() | measured | settings


def check() -> None:
    """That every library which Maquette always needs is installed, and that the device multiplies rightly.

    Raises:
        MaquetteError: MQ-2171 naming what is missing.
    """
    missing = [name for name in NEEDED if _version(name) == "not installed"]
    if missing:
        raise MaquetteError("MQ-2171", missing=" ".join(missing))
    device = devices.pick_device()
    a = torch.arange(16.0).reshape(4, 4)
    torch.testing.assert_close((a.to(device) @ a.to(device)).cpu(), a @ a)


def gflops(device: torch.device, dtype: torch.dtype, seconds: float = 0.2) -> float:
    """Billions of multiplications and additions a second in square products, the best of those that fit `seconds`."""
    a = torch.randn(SIZE, SIZE, device=device, dtype=dtype)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        torch.mm(a, a)
        devices.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * SIZE**3 / best / 1e9


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
