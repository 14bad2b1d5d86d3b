"""The codec of a recipe: found, fitted to the data, and kept in the run, which so depends on no other folder."""

import dataclasses
from pathlib import Path

import numpy as np
import torch

from maquette.bundle import FIXED, LATENT, Coding, find_bundle, read_bundle, read_coding
from maquette.codecs.latent import LatentCodec
from maquette.core import files
from maquette.data.dataset import Dataset
from maquette.media.base import MediumConfig

EXAMPLES = 512
"""Training items, evenly spread, whose codes say what the codes are whitened by."""


def find(named: str) -> Coding:
    """What a recipe calls its codec: nothing, a fixed one's name, or the path of a run or bundle.

    Raises:
        MaquetteError: MQ-5004, MQ-7030, MQ-7031 and what `read_bundle` raises.
    """
    if named in FIXED:
        return Coding(named)
    folder = find_bundle(Path(named).expanduser())
    return Coding(LATENT, folder, read_bundle(folder))


def kept(folder: Path) -> Coding | None:
    """What `keep` put there; None when it has not come so far."""
    return read_coding(files.Folder(folder)) if folder.is_dir() else None


def keep(coding: Coding, folder: Path) -> Coding:
    """A copy of a trained codec at `folder`, to be used from now on; of a fixed one there is nothing to keep."""
    if coding.folder is None:
        return coding
    files.commit_folder(folder, coding.put)
    return read_coding(files.Folder(folder))


def fitted(coding: Coding, medium: MediumConfig, dataset: Dataset) -> Coding:
    """`coding` with the whitening that these data ask for, unless it has one; raises as `Coding.build`."""
    if coding.whitening or coding.autoencoder is None:
        return coding
    items = dataset.train.items[:: max(1, len(dataset.train) // EXAMPLES)][:EXAMPLES]
    codec = coding.build(medium, medium.build().to_tensor(torch.from_numpy(np.asarray(items))))
    return dataclasses.replace(coding, whitening=codec.whitening if isinstance(codec, LatentCodec) else {})
