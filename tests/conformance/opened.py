"""What the model of a run or a bundle makes, also in a process of its own.

python -m tests.conformance.opened BUNDLE... prints the digest of what each of them draws.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from maquette.core.files import digest
from maquette.pipeline import Pipeline, Request, load


def drawn(run: Path | str) -> tuple[Pipeline, np.ndarray]:
    """A run's model, and what it makes of three grey pictures where it is given any."""
    pipeline = load(run)
    image = pipeline.model.beside.image
    given = None if image is None else torch.zeros(3, *image.shape)
    return pipeline, pipeline.generate(Request(n=3, seed=5, given=given))


if __name__ == "__main__":
    print(json.dumps({path: digest(drawn(path)[1].tobytes()) for path in sys.argv[1:]}))
