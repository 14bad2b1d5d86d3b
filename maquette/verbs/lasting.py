"""Files that last longer than an item: answered part by part where they can be, else it is told what is left out."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maquette.core.errors import MaquetteError
from maquette.media.base import Medium
from maquette.request import MAX_SAMPLES


class Lasting:
    """What has become of the files of one request.

    Attributes:
        parts: of each thing that is made of several items, how many they are and how long it is along their first
            axis; none where each item is a thing.
        warnings: what was left out.
    """

    def __init__(self, medium: Medium):
        self.medium = medium
        self.parts: list[tuple[int, int]] = []
        self.warnings: list[MaquetteError] = []

    def first(self, file: Any, reader: Medium) -> np.ndarray:
        """The first item of a file (an item stays as it is), telling how much comes after it."""
        if not isinstance(file, str | Path):
            return np.asarray(file)
        items, length = reader.stretch(Path(file))
        if len(items) > 1:
            read = reader.stored[0] / reader.rate
            left = f"{length / reader.rate - read:.3g}"
            self.warnings.append(MaquetteError("MQ-3018", str(file), read=f"{read:.3g}", left=left))
        return items[0]

    def all(self, files: Sequence[Any], reader: Medium, asked: dict[str, Any]) -> list[np.ndarray]:
        """The items of all files; where one has several, those of each thing that is asked for, one after another,
        and `asked` is then of items: how many, and the label and the prompt of each."""
        read = [
            reader.stretch(Path(file)) if isinstance(file, str | Path) else (np.asarray(file)[None], 0)
            for file in files
        ]
        n, one_each = asked.get("n") or len(read), all(len(items) == 1 for items, _ in read)
        if one_each or not isinstance(n, int) or not 1 <= n <= MAX_SAMPLES:  # which the request refuses
            return [items[0] for items, _ in read]
        whole, chosen = self.medium.stored[0], [read[i % len(read)] for i in range(n)]
        self.parts = [
            (len(items), whole if len(items) == 1 else length * whole // reader.stored[0]) for items, length in chosen
        ]
        owner = [i for i, (items, _) in enumerate(chosen) for _ in items]
        for name in ("label", "prompt"):
            if isinstance(several := asked.get(name), list | tuple):
                asked[name] = tuple(several[i % len(several)] for i in owner)
        asked["n"] = len(owner)
        return [item for items, _ in chosen for item in items]

    def starts(self, n: int) -> list[int]:
        """The numbers, among `n` items, of those that things begin with."""
        rows = [rows for rows, _ in self.parts] or [1] * n
        return list(itertools.accumulate(rows[:-1], initial=0))

    def whole(self, items: Sequence[Any]) -> Sequence[Any]:
        """`items` as the things that they are parts of."""
        starts = self.starts(len(items))
        joined = [np.concatenate(items[i : i + n])[:long] for i, (n, long) in zip(starts, self.parts, strict=False)]
        return joined or items
