"""Foreign weights -> ours: the one place where a pickle is opened, in a child process that can do nothing else.

The child reads the file with torch's restricted unpickler and hands the tensors back through a pipe as safetensors. An
audit hook ends it at the first attempt to open a connection, start a process or open any file but for reading; limits
on memory and time end it otherwise. The parent believes only names, shapes and types that it knows already.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

import maquette
from maquette.core import files
from maquette.core.errors import MaquetteError
from maquette.evaluate.inception import InceptionV3
from maquette.evaluate.vggish import VGGish


class Standard(NamedTuple):
    """A network of published figures, whose weights are not ours to give.

    Attributes:
        known: the well-known file that holds them.
        file: what they are called in the cache folder, once they are converted.
        variable: of the environment, which may name another place.
    """

    build: Callable[[], nn.Module]
    known: str
    file: str
    variable: str

    @property
    def place(self) -> Path:
        """Where the converted weights are looked for."""
        given = os.environ.get(self.variable)
        return Path(given).expanduser() if given else files.cache_folder() / self.file


INCEPTION = Standard(
    InceptionV3, "pt_inception-2015-12-05-6726825d.pth", "inception-2015-12-05.safetensors", "MAQUETTE_INCEPTION"
)
VGGISH = Standard(VGGish, "vggish-10086976.pth", "vggish-10086976.safetensors", "MAQUETTE_VGGISH")
VGG = "vgg19-features.safetensors"
MAX_BYTES = 320 << 20
SECONDS = 300
MEMORY = 16 << 30
"""Address space; torch alone reserves several GB of it without touching them."""

FORBIDDEN = ("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "ctypes.", "urllib.")


def convert(network: Standard, source: Path | str, target: Path | str | None = None) -> Path:
    """Convert the well-known file of a network to safetensors, unless it is that already, and keep it.

    Args:
        target: of the safetensors file; default where `evaluate` looks for it.

    Raises:
        MaquetteError: MQ-5004 no such file, MQ-2082 it cannot be read, MQ-7020 its tensors are not that network's.
    """
    source, target = Path(source), Path(target) if target else network.place
    if not source.is_file():
        raise MaquetteError("MQ-5004", str(source))
    safe = source.suffix == ".safetensors"
    data = files.read_file(source, MAX_BYTES) if safe else _read_in_child(source, network.known)
    check(network, files.read_tensors(source, data), str(source))
    files.write_file(target, data)
    return target


def import_vgg(source: Path | str) -> Path:
    """Convert the convolutions of torchvision's `vgg19-dcbb9e9d.pth` to safetensors in the cache folder; raises as
    `convert`, but for the tensors, which who reads them checks."""
    source, target = Path(source), files.cache_folder() / VGG
    if not source.is_file():
        raise MaquetteError("MQ-5004", str(source))
    if not target.is_file():
        files.write_file(target, _read_in_child(source, "vgg19-dcbb9e9d.pth", "features."))
    return target


def check(network: Standard, tensors: dict[str, Tensor], where: str) -> None:
    """Refuse tensors whose names, shapes, types or values cannot be that network's."""
    with torch.device("meta"):
        wanted = {name: t for name, t in network.build().state_dict().items() if not _counts(name)}
    found = {name: t for name, t in tensors.items() if not _counts(name)}
    if missing := sorted(wanted.keys() ^ found.keys()):
        lacks = "it lacks" if missing[0] in wanted else "it has"
        raise MaquetteError("MQ-7020", where, reason=f"{lacks} {missing[0]} ({len(missing)} names differ)")
    for name, tensor in found.items():
        if tensor.shape != wanted[name].shape or tensor.dtype != torch.float32:
            sizes = f"{tuple(tensor.shape)} {tensor.dtype}, not {tuple(wanted[name].shape)} torch.float32"
            raise MaquetteError("MQ-7020", where, reason=f"{name} is {sizes}")
        if not tensor.isfinite().all():
            raise MaquetteError("MQ-7020", where, reason=f"{name} is not finite")


def read(network: Standard, path: Path | str) -> tuple[nn.Module, str]:
    """The network with the weights at `path` (safetensors), and their SHA-256."""
    data = files.read_file(path, MAX_BYTES)
    tensors = files.read_tensors(path, data)
    check(network, tensors, str(path))
    built = network.build()
    built.load_state_dict({k: v for k, v in tensors.items() if not _counts(k)}, strict=False)
    return built.eval().requires_grad_(False), files.digest(data)


def _counts(name: str) -> bool:
    """Whether it is a batch counter, which some copies of the file hold and inference ignores."""
    return name.endswith("num_batches_tracked")


def _read_in_child(source: Path, known: str, prefix: str = "") -> bytes:
    """The tensors of a file whose names begin with `prefix`, as safetensors; `known` is what it should be."""
    root = str(Path(maquette.__file__).parent.parent)
    command = [sys.executable, "-m", "maquette.evaluate.importer", str(source.resolve()), prefix]
    environment = {"PYTHONPATH": root, "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise MaquetteError("MQ-2082", str(source), known=known, reason=f"it took more than {SECONDS} s") from None
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        reason = last or f"the reader died ({done.returncode})"
        raise MaquetteError("MQ-2082", str(source), known=known, reason=reason)
    return done.stdout


def _guard(event: str, arguments: tuple) -> None:
    """An audit hook: this process may compute and read, and nothing else."""
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    flags = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if writes or flags or event.startswith(FORBIDDEN):
        os.write(2, f"the file tried to do {event}\n".encode())
        os._exit(8)


def _child(path: str, prefix: str) -> None:
    import resource

    from safetensors.torch import save

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    sys.addaudithook(_guard)
    data = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(data, dict) or not all(isinstance(t, Tensor) and isinstance(n, str) for n, t in data.items()):
        raise SystemExit("it does not hold a table of named tensors")
    data = {name: tensor for name, tensor in data.items() if name.startswith(prefix)}
    if sum(t.numel() * t.element_size() for t in data.values()) > MAX_BYTES:
        raise SystemExit(f"its tensors are larger than {MAX_BYTES:,} bytes")
    sys.stdout.buffer.write(save({name: t.detach().clone().contiguous() for name, t in data.items()}))


if __name__ == "__main__":
    try:
        _child(*sys.argv[1:])
    except Exception as bad:
        raise SystemExit(f"{type(bad).__name__}: {str(bad).strip().partition(chr(10))[0]}") from None
