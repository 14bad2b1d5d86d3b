"""Few-shot episodes: whether what a model sees in samples tells labels apart that it was shown but a few times.

An episode (Vinyals et al. 2016, section 2.2) draws N labels and of each k items that are shown with it and others that
are asked; the nearest label counts, by squared distance to the mean of what was shown of it (prototypes, Snell et al.
2017, equations 1 and 2). Nothing is learnt of the labels. Who knows nothing is right in 1/N of all cases. Beside the
model stand the values of the samples themselves under the same episodes: what its encoder adds to them.

The items are unseen, the labels need not be: a model that learnt from all classes without their names has met their
like, where Vinyals et al. hold whole classes out.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from maquette.core.types import Autoencoder, Features, Real
from maquette.data.dataset import Dataset
from maquette.evaluate.agreement import CHANCE
from maquette.evaluate.classify import states
from maquette.evaluate.reference import picked
from maquette.evaluate.report import Score, Stamp
from maquette.evaluate.scores.intervals import Estimate, of_mean
from maquette.pipeline import Pipeline

WAYS = 5
"""Labels of an episode, or as many as there are."""
SHOTS = (1, 5)
"""Items that are shown of each."""
ASKED = 15
"""Items that are asked of each."""
EPISODES = 600
MOST = 1_000
"""At most so many unseen items are drawn from."""
TOGETHER = 64
VALUES = "values themselves"


class Episode(NamedTuple):
    """Rows of what is shown and asked, a line for each label."""

    shown: Int[np.ndarray, "ways shots"]
    asked: Int[np.ndarray, "ways asked"]


def episode(labels: Int[np.ndarray, " n"], number: int, seed: int, ways: int, shots: int) -> Episode:
    """Episode `number` of `seed`: a function of these and the labels (-1 for none) alone.

    `ways` labels must have `shots` + `ASKED` rows each: see `drawable`.
    """
    rng = np.random.default_rng([seed, number])
    chosen = rng.choice(drawable(labels, shots), ways, replace=False)
    rows = np.stack([rng.permutation(np.flatnonzero(labels == label))[: shots + ASKED] for label in chosen])
    return Episode(rows[:, :shots], rows[:, shots:])


def drawable(labels: Int[np.ndarray, " n"], shots: int) -> Int[np.ndarray, " k"]:
    """The labels with rows enough for an episode."""
    found, often = np.unique(labels[labels >= 0], return_counts=True)
    return found[often >= shots + ASKED]


def right(features: Float[np.ndarray, "n d"], one: Episode) -> float:
    """The share of what is asked that lies nearest to the mean of what was shown of its label."""
    prototypes, asked = features[one.shown].mean(1), features[one.asked]
    farther = np.square(prototypes).sum(1) - 2 * asked @ prototypes.T  # but for what all of them have in common
    return float((farther.argmin(-1) == np.arange(len(prototypes))[:, None]).mean())


def accuracy(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], seed: int, ways: int, shots: int
) -> Estimate:
    """The mean over `EPISODES` episodes, with an interval for which of them were drawn."""
    features = features.astype(np.float64)
    found = [right(features, episode(labels, number, seed, ways, shots)) for number in range(EPISODES)]
    return of_mean(found, f"95 %, Student's t over {EPISODES} episodes").as_share()


def scores(pipeline: Pipeline, data: Dataset, stamp: Stamp) -> Iterator[Score]:
    """Accuracies of a model that sees or encodes, on unseen items with labels; nothing elsewhere.

    Args:
        stamp: of a score that needs no extractor; how many items were drawn from is put in.
    """
    space = pipeline.medium.space
    if len(space.shape) < 2 and isinstance(space, Real):  # points are their own features
        return
    rows = picked(data.test, MOST, 0)
    labels = np.asarray(data.test.labels)[rows]
    items, seen = np.asarray(data.test.items[rows]), None
    for shots in SHOTS:
        ways = min(WAYS, len(drawable(labels, shots)))
        if ways < 2:
            return
        if seen is None and (seen := features(pipeline, items)) is None:
            return
        beside = {CHANCE: Estimate(1 / ways)}
        if isinstance(space, Real):
            plain = pipeline.medium.to_tensor(torch.from_numpy(items)).flatten(1).numpy()
            beside[VALUES] = Estimate(accuracy(plain, labels, stamp.seed, ways, shots).value)
        found = accuracy(seen, labels, stamp.seed, ways, shots)
        yield Score.of(f"few_shot_{shots}", found, replace(stamp, real=len(rows)), baselines=beside)


@torch.inference_mode()
def features(pipeline: Pipeline, items: np.ndarray) -> Float[np.ndarray, "n d"] | None:
    """What the model sees in stored items, or its codes where they are numbers; None where it has neither."""
    model = pipeline.model
    if isinstance(model, Features):
        return states(pipeline, items)
    if not isinstance(model, Autoencoder) or not isinstance(model.latent, Real):
        return None
    parts = (items[start : start + TOGETHER] for start in range(0, len(items), TOGETHER))
    codes: list[Tensor] = [model.encode(pipeline.encoded(part)).flatten(1).float().cpu() for part in parts]
    return torch.cat(codes).numpy()
