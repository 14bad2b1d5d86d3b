"""Other people's programs, run as they are: from installed packages, or from a checkout that MAQUETTE_PEERS names.

`MAQUETTE_PEERS` is a folder that holds checkouts by repository name: `$MAQUETTE_PEERS/examples/dcgan/main.py` is
pytorch/examples. Nothing of them is copied here, and nothing here changes what they do: torchvision, which has no CPU
build beside torch's, is stood in for where a program needs it for data and pictures alone.
"""

import contextlib
import os
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def checkout(path: str) -> Path:
    """A file below MAQUETTE_PEERS."""
    folder = os.environ.get("MAQUETTE_PEERS", "")
    file = Path(folder) / path
    if not folder or not file.exists():
        raise FileNotFoundError(f"set MAQUETTE_PEERS to a folder with {path} (a checkout of that repository)")
    return file


def test_data(name: str) -> Path:
    """A data set below MAQUETTE_TEST_DATA."""
    folder = Path(os.environ.get("MAQUETTE_TEST_DATA", "../shared/data")).resolve() / name
    if not folder.is_dir():
        raise FileNotFoundError(f"set MAQUETTE_TEST_DATA to a folder with {name}")
    return folder


def pictures(name: str, split: str, size: int | None = None, channels: int = 1) -> tuple[Tensor, Tensor]:
    """The pictures of a parquet data set as uint8 [n, c, h, w] (resized if `size` says so), and their labels."""
    import io

    import numpy as np
    import pyarrow.parquet
    from PIL import Image

    (file,) = test_data(name).glob(f"{split}-*.parquet")
    table = pyarrow.parquet.read_table(file)
    rows = []
    for entry in table["image"].to_pylist():
        picture = Image.open(io.BytesIO(entry["bytes"])).convert("L" if channels == 1 else "RGB")
        if size is not None and picture.size != (size, size):
            picture = picture.resize((size, size), Image.Resampling.BICUBIC)
        rows.append(np.asarray(picture).reshape(picture.height, picture.width, channels))
    labels = table["label"].to_pylist() if "label" in table.column_names else [-1] * len(rows)
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels)


def to_unit(items: Tensor) -> Tensor:
    """uint8 -> [-1, 1]."""
    return items.float() / 127.5 - 1


class Stop(BaseException):
    """Leaves a peer's loop from inside the function that it calls each step."""


class Stepwise:
    """A loop that runs by itself, made to wait after each of its steps: `work` lets it take one."""

    def __init__(self, loop: Callable[[Callable[[], None]], Any]):
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._failure: BaseException | None = None
        self._loop = loop
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        self._go.acquire()
        try:
            self._loop(self._tick)
        except BaseException as failure:
            self._failure = failure
            self._done.release()

    def _tick(self) -> None:
        self._done.release()
        self._go.acquire()

    def work(self) -> None:
        self._go.release()
        self._done.acquire()
        if self._failure is not None:
            raise self._failure


class _StandIn(types.ModuleType):
    """A module in which every name that was not set is an empty class."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


@contextlib.contextmanager
def torchvision_stand_in(**names: dict[str, Any]) -> Iterator[None]:
    """Within this block `import torchvision` gives empty modules, with `names` in those that are named."""
    modules = ("datasets", "transforms", "transforms.functional", "utils", "models", "io")
    made = {"torchvision": _StandIn("torchvision")} | {
        f"torchvision.{m}": _StandIn(f"torchvision.{m}") for m in modules
    }
    for name, module in made.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(made[parent], child, module)
    for module, contents in names.items():
        vars(made[f"torchvision.{module}"]).update(contents)
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in made:
            del sys.modules[name]


def run_dcgan_example(images: Tensor, out: Path, tick: Callable[[], None]) -> dict[str, Any]:
    """pytorch/examples `dcgan/main.py`, whole and unchanged, on `images` [n, c, 64, 64] in [-1, 1].

    The pictures are handed to its loader as tensors, in the main process, which spares it decoding and resizing. `tick`
    is called after each of its steps and may raise `Stop`. Returns the program's variables: netG, netD, nz …
    """
    path = checkout("examples/dcgan/main.py")
    dataset = torch.utils.data.TensorDataset(images, torch.zeros(len(images)))

    def note(*words: object) -> None:
        if str(words[0]).startswith("["):  # its line about a step
            tick()

    def nothing(*_: object, **__: object) -> None:
        pass

    out.mkdir(parents=True, exist_ok=True)
    kind = "mnist" if images.shape[1] == 1 else "folder"
    sys.argv = ["main.py", "--dataset", kind, "--dataroot", "-", "--outf", str(out), "--workers", "0"]
    sys.argv += ["--niter", "1000000", "--manualSeed", "0"]
    names: dict[str, Any] = {"__name__": "__main__", "print": note}
    steps = dict.fromkeys(["Compose", "Resize", "CenterCrop", "ToTensor", "Normalize"], nothing)
    sets = {"MNIST": lambda **_: dataset, "ImageFolder": lambda **_: dataset}
    with (
        torchvision_stand_in(datasets=sets, transforms=steps, utils={"save_image": nothing}),
        contextlib.suppress(Stop),
    ):
        exec(compile(path.read_text(), str(path), "exec"), names)
    return names


def count(*modules: torch.nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())
