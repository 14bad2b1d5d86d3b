"""Small real data and pipelines whose samples are known, for the tests of this folder."""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch

from maquette.bundle import Bundle
from maquette.data.dataset import Dataset
from maquette.data.source import Data, open_data
from maquette.media import image, points
from maquette.media.base import MediumConfig
from maquette.models.base import ModelConfig
from maquette.pipeline import Pipeline, Request

CPU = torch.device("cpu")
SMALL = image.Config(size=8)
PLANE = points.Config()


@cache
def digits() -> Dataset:
    return open_data(Data(source="digits"), SMALL.build())


@cache
def ring() -> Dataset:
    return open_data(Data(source="ring8"), PLANE.build())


def pipeline(medium: MediumConfig, config: ModelConfig, classes: tuple[str, ...] = (), **card) -> Pipeline:
    """An untrained model as a pipeline."""
    torch.manual_seed(0)
    model = config.build(medium.build().space, len(classes))
    return Pipeline(Bundle(medium, config, list(classes), model.state_dict(), card, "ab" * 32), CPU)


class Known(Pipeline):
    """A pipeline whose samples are what `answer(request)` says, as if its model had learnt just that."""

    answer: Callable[[Request], np.ndarray]

    def generate(self, request: Request) -> np.ndarray:
        return self.answer(request)


def known(like: Pipeline, answer: Callable[[Request], np.ndarray], **card) -> Known:
    bundle = Bundle(like.medium_config, like.model.config, list(like.classes), like.model.state_dict(), card, "cd" * 32)
    made = Known(bundle, CPU)
    made.answer = answer
    return made
