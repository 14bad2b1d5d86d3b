"""Data sets that need no download.

Pictures: `digits` (1,797 real handwritten digits, from scikit-learn), `glyphs`, and drawings with captions: `streets`,
`cells` and `sprites` (see the file of each name). `streets-layout` and `cells-mask` show what is where in the pictures
of that set, row by row under the same names. Films: `moving-digits` (see `moving.py`). Points, in units where
everything lies in about [-2, 2]: `ring8` (8 Gaussians on a circle of radius 2), `grid25` (5 x 5 Gaussians) and `moons`
(two half circles, interleaved). Text, as the Python at hand carries it: `pydoc` (its language reference) and `stdlib`
(the source of its standard library). Sound: `tones` (notes, plucked and bowed).
"""

import io
import math
import sys
import sysconfig
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image as pillow

from maquette.core import seeds
from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.data import cells, glyphs, moving, sprites, streets, tones
from maquette.data.dataset import TEST, TRAIN, Modes, Reading, Row, Source
from maquette.data.drawing import Series
from maquette.media.base import Medium

POINTS = {TRAIN: 20_000, TEST: 4_000}
"""How many points each split of a set of points has."""
PSF = "PSF License Agreement (The Python Software Foundation)"
SIGMA = 0.05
"""Standard deviation of each Gaussian of ring8 and grid25."""


def find(name: str, medium: Medium, seed: int = 0) -> Source:
    """The embedded set `name`, one of `NAMES`.

    Raises:
        MaquetteError: MQ-3011 when it is not of this medium.
    """
    return _SETS[name](medium, seed)


def _digits(medium: Medium, seed: int) -> Source:
    """Handwritten digits of 43 people, 8 x 8; the last fifth, by other writers, is tested on."""
    _require(medium, ".png", "digits", "pictures")

    def rows() -> Iterator[Row]:
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        last = round(0.8 * len(images))
        for i, (image, label) in enumerate(zip(images.reshape(-1, 8, 8), labels, strict=True)):
            buffer = io.BytesIO()
            pillow.fromarray(np.round(image * (255 / 16)).astype(np.uint8)).save(buffer, "PNG")
            split, data = TRAIN if i < last else TEST, buffer.getvalue()
            yield Row(f"digits/{i:04}", lambda data=data: medium.from_bytes(data, "digits"), split, str(label))

    def read() -> Reading:
        return Reading(rows=rows(), count=1797, classes=[str(i) for i in range(10)], licence=moving.LICENCE)

    return Source(name="digits", place="digits", key=["digits", 1], read=read)


def _glyphs(medium: Medium, seed: int) -> Source:
    _require(medium, ".png", "glyphs", "pictures")
    return glyphs.source(medium, seed)


def _moving(medium: Medium, seed: int) -> Source:
    _require(medium, ".mp4", moving.NAME, "films")
    return moving.source(medium, seed)


def _drawn(series: Series) -> Callable[[Medium, int], Source]:
    """The maker of a set of drawings."""

    def find(medium: Medium, seed: int) -> Source:
        _require(medium, ".png", series.name, "pictures")
        return series.source(medium, seed)

    return find


def _tones(medium: Medium, seed: int) -> Source:
    _require(medium, ".wav", "tones", "sound")
    return tones.source(medium, seed)


def _pydoc(medium: Medium, seed: int) -> Source:
    """Python's own language reference, one document a topic, as this Python carries it."""
    _require_text(medium, "pydoc")

    def rows() -> Iterator[Row]:
        from pydoc_data.topics import topics

        for name, text in sorted(topics.items()):
            yield Row(f"pydoc/{name}", lambda text=text: medium.from_bytes(text.encode(), "pydoc"))

    return Source(
        name="pydoc",
        place="pydoc",
        key=["pydoc", 1, sys.version_info[:3]],
        read=lambda: Reading(rows=rows(), licence=PSF),
    )


def _stdlib(medium: Medium, seed: int) -> Source:
    """The modules of Python's standard library, packages and tests left out, one document a module."""
    _require_text(medium, "stdlib")
    modules = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    rows = [Row(f"stdlib/{path.name}", partial(medium.read, path)) for path in modules]
    return Source(
        name="stdlib",
        place="stdlib",
        key=["stdlib", 1, sys.version_info[:3]],
        read=lambda: Reading(rows=rows, count=len(rows), licence=PSF),
    )


def _mixture(name: str, centres: np.ndarray) -> Callable[[Medium, int], Source]:
    """The maker of an equal mixture of Gaussians of `SIGMA` about `centres` [k, 2]."""

    def draw(rng: Seeds) -> tuple[torch.Tensor, torch.Tensor]:
        mode = rng.integers(len(centres))
        return torch.from_numpy(centres)[mode] + SIGMA * rng.normal(2), mode

    classes = [str(i) for i in range(len(centres))]
    return lambda medium, seed: _points(name, medium, seed, classes, draw, Modes(centres, SIGMA))


def _moons(medium: Medium, seed: int) -> Source:
    """Two interleaved half circles of radius 1.2, blurred by 0.1."""

    def draw(rng: Seeds) -> tuple[torch.Tensor, torch.Tensor]:
        angle, lower = math.pi * rng.uniform(), rng.integers(2)
        x = torch.where(lower == 1, 1 - angle.cos(), angle.cos()) - 0.5
        y = torch.where(lower == 1, 0.5 - angle.sin(), angle.sin()) - 0.25
        return 1.2 * torch.stack([x, y], 1) + 0.1 * rng.normal(2), lower

    return _points("moons", medium, seed, ["upper", "lower"], draw, None)


def _points(
    name: str,
    medium: Medium,
    seed: int,
    classes: list[str],
    draw: Callable[[Seeds], tuple[torch.Tensor, torch.Tensor]],
    modes: Modes | None,
) -> Source:
    _require(medium, ".csv", name, "points")
    if medium.stored != (2,):
        raise MaquetteError(
            "MQ-3011", name=name, holds="points of 2 numbers", medium=medium.space, todo="set medium.dims=2"
        )

    def rows() -> Iterator[Row]:
        for number, (split, n) in enumerate(POINTS.items()):
            points, labels = draw(Seeds.for_batch(seed, number, n, stream=seeds.BUILD))
            for i, (point, label) in enumerate(zip(points.float().numpy(), labels.tolist(), strict=True)):
                yield Row(f"{split}/{i:05}", lambda point=point: point, split, classes[label])

    def read() -> Reading:
        licence = "none needed: drawn from a formula"
        return Reading(rows=rows(), count=sum(POINTS.values()), classes=classes, licence=licence)

    return Source(name=name, place=name, key=[name, 1, seed], read=read, modes=modes)


def _require_text(medium: Medium, name: str) -> None:
    """Refuse a medium whose items are no words."""
    if not medium.talks:
        raise _other_medium(medium, name, "text")


def _require(medium: Medium, suffix: str, name: str, holds: str) -> None:
    """Refuse a medium that does not read files of `suffix`."""
    if suffix not in medium.suffixes:
        raise _other_medium(medium, name, holds)


def _other_medium(medium: Medium, name: str, holds: str) -> MaquetteError:
    kind = type(medium).__name__.lower()
    return MaquetteError("MQ-3011", name=name, holds=holds, medium=kind, todo=f"choose a recipe for {holds}")


_ANGLES = 2 * math.pi * np.arange(8) / 8
_RING = 2 * np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1).astype(np.float32)
_GRID = np.stack(np.meshgrid(np.arange(-2, 3), np.arange(-2, 3)), -1).reshape(25, 2).astype(np.float32)
_SETS: dict[str, Callable[[Medium, int], Source]] = {
    "digits": _digits,
    "glyphs": _glyphs,
    **{
        series.name: _drawn(series)
        for series in (streets.PICTURES, streets.LAYOUTS, cells.PICTURES, cells.MASKS, sprites.PICTURES)
    },
    moving.NAME: _moving,
    "ring8": _mixture("ring8", _RING),
    "grid25": _mixture("grid25", _GRID),
    "moons": _moons,
    "pydoc": _pydoc,
    "stdlib": _stdlib,
    "tones": _tones,
}
NAMES = tuple(_SETS)
"""Of the embedded sets."""
