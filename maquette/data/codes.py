"""Encode once: where nothing is augmented, the codes of a dataset are computed once and mapped ever after.

They lie in the cache folder beside the packs, a committed folder for each pair of data and codec: `train.codes` and
`test.codes` (one row after another) and `index.json`.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from maquette.codecs.base import Codec
from maquette.core import cancel, files
from maquette.core.types import Real, Space
from maquette.data.dataset import TEST, TRAIN, Dataset, Split
from maquette.data.pack import digest, turn, watched, whole
from maquette.media.base import Medium

FORMAT = 1
TOGETHER = 64
"""Rows that are encoded at once."""


def encoded(dataset: Dataset, medium: Medium, codec: Codec, key: Any, device: torch.device) -> Dataset:
    """`dataset` with the codes of every row.

    A codec without weights is quicker than reading codes, and the dataset is left as it is.

    Args:
        codec: on `device`.
        key: plain data that tell the codec from every other.
    """
    if next(codec.parameters(), None) is None:
        return dataset
    key = digest([FORMAT, dataset.fingerprint, key, device.type])
    folder = files.cache_folder() / f"codes-{key[:16]}"
    found = _opened(folder, key, dataset, codec.space)
    if found is None:
        with turn(folder):
            found = _opened(folder, key, dataset, codec.space)  # another process may have encoded it meanwhile
            if found is None:
                files.commit_folder(folder, lambda aside: _fill(aside, key, dataset, medium, codec, device))
                found = _opened(folder, key, dataset, codec.space)
    assert found is not None, "what was just encoded can be read back"
    return found


def _opened(folder: Path, key: str, dataset: Dataset, space: Space) -> Dataset | None:
    pack = whole(folder, key)
    if pack is None:
        return None
    return replace(
        dataset,
        train=_split(folder / f"{TRAIN}.codes", dataset.train, space),
        test=_split(folder / f"{TEST}.codes", dataset.test, space),
    )


def _split(path: Path, split: Split, space: Space) -> Split:
    dtype, shape = stored(space), (len(split), *space.shape)
    codes = np.asarray(np.memmap(path, dtype, mode="c", shape=shape)) if len(split) else np.empty(shape, dtype)
    return replace(split, codes=codes)


@torch.inference_mode()
def _fill(aside: Path, key: str, dataset: Dataset, medium: Medium, codec: Codec, device: torch.device) -> None:
    for name, split in ((TRAIN, dataset.train), (TEST, dataset.test)):
        with files.putting(aside / f"{name}.codes") as append:
            _encode(split, medium, codec, device, append)
    files.put_json(aside / "index.json", {"key": key})


def _encode(
    split: Split, medium: Medium, codec: Codec, device: torch.device, append: Callable[[bytes], object]
) -> None:
    starts = range(0, len(split), TOGETHER)
    for start in watched(starts, "codes", math.ceil(len(split) / TOGETHER)):
        cancel.check()
        items = torch.from_numpy(split.items[start : start + TOGETHER])
        codes = codec.encode(medium.to_tensor(items.to(device)))
        append(codes.cpu().numpy().astype(stored(codec.space)).tobytes())


def stored(space: Space) -> np.dtype:
    """How codes of `space` are kept."""
    if isinstance(space, Real):
        return np.dtype(np.float32)
    return np.dtype(np.uint8 if space.vocab <= 256 else np.int32)
