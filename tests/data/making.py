"""Small data sets on disk, and the real ones where they are to be had."""

import os
from pathlib import Path

import numpy as np
import pytest

from maquette.core.errors import MaquetteError
from maquette.data.dataset import Dataset
from maquette.data.source import Data, open_data
from maquette.media.image import Config
from tests.media.pictures import saved

from PIL import Image as pillow  # isort: skip

GREY = Config(size=16).build()


def picture(number: int, size: int = 16) -> bytes:
    """A PNG whose pixels tell its number, and no other's."""
    pixels = np.random.default_rng(number).integers(0, 256, (size, size), dtype=np.uint8)
    return saved(pillow.fromarray(pixels))


def write(root: Path, *names: str) -> Path:
    """A different picture under each of `names`."""
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(picture(number))
    return root


def opened(source: Path | str, **how: object) -> Dataset:
    return open_data(Data(source=str(source), **how), GREY)  # type: ignore[arg-type]


def refused(source: Path | str, **how: object) -> MaquetteError:
    with pytest.raises(MaquetteError) as error:
        opened(source, **how)
    return error.value


def labels_by_name(data: Dataset) -> dict[str, str | None]:
    """Name -> class of every row of both splits."""
    return {
        name: data.classes[label] if label >= 0 else None
        for split in (data.train, data.test)
        for name, label in zip(split.names, split.labels, strict=True)
    }


def real_data(name: str) -> Path:
    """A folder of real data; the test is skipped where there is none."""
    root = Path(os.environ.get("MAQUETTE_TEST_DATA") or Path(__file__).parents[2] / "../shared/data").resolve()
    if not (root / name).is_dir():
        pytest.skip(f"no {name} in {root}: set MAQUETTE_TEST_DATA to a folder that has it")
    return root / name
