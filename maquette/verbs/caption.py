"""What a model sees in pictures, in its own words."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maquette.pipeline import Pipeline, load
from maquette.verbs.sample import pictures_in


def caption(
    source: Pipeline | Path | str, pictures: Sequence[Path | str] | Path | str, device: str = "auto"
) -> dict[str, str]:
    """Each picture's caption, by the name of its file.

    Args:
        source: a run, a bundle or a loaded pipeline of a model that has learnt to write captions (recipe `dalle`).
        pictures: files, or folders of them.

    Raises:
        MaquetteError: MQ-2104 when it has not, MQ-3002 when there is no picture, and what reading a picture raises.
    """
    pipeline = source if isinstance(source, Pipeline) else load(source, device)
    paths = pictures_in(pictures, pipeline.medium.suffixes)
    items = np.stack([pipeline.medium.read(Path(path)) for path in paths])
    return dict(zip(map(str, paths), pipeline.captioned(items), strict=True))
