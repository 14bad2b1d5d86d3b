"""Distances in features of the standard networks of sound and films, where a person has their weights.

They come beside those of the domain extractor, which alone tells labels and sees motion: of sound the Fréchet audio
distance (Kilgour et al. 2019) by VGGish, of films the Fréchet distance of single frames by Inception. Real against real
stands beside both. A film shows as many of its frames, evenly apart, as make about `FRAMES` in all: each costs as much
as a picture.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from maquette.core import cancel
from maquette.crafts.base import FILMS, SOUND
from maquette.evaluate import inception, vggish
from maquette.evaluate.importer import INCEPTION, VGGISH, Standard, read
from maquette.evaluate.reference import Reference
from maquette.evaluate.report import Score, Stamp
from maquette.evaluate.scores.frechet import Moments, frechet_distance, frechet_estimate

BATCH = 16
FRAMES = 2_000

Look = Callable[[nn.Module, Float[Tensor, "b c *space"]], Float[Tensor, "k d"]]


def scores(reference: Reference, made: np.ndarray, stamp: Stamp) -> Iterator[Score]:
    """The score of `made` items that their medium has, where its network's weights are found."""
    medium, axes = reference.medium, len(reference.medium.space.shape)
    if axes == SOUND and medium.rate:
        yield from _distance("fad", VGGISH, vggish.RESIZE, reference, made, stamp, _heard(medium.rate))
    elif axes == FILMS:
        shown = min(medium.space.shape[1], max(1, FRAMES // len(made)))
        resize = f"{shown} frame{'s' * (shown > 1)} of each film, {inception.RESIZE}"
        yield from _distance("frame_fid", INCEPTION, resize, reference, made, stamp, _seen(shown))


def _distance(
    name: str, network: Standard, resize: str, reference: Reference, made: np.ndarray, stamp: Stamp, look: Look
) -> Iterator[Score]:
    if not network.place.is_file():
        return
    built, digest = read(network, network.place)
    built = built.to(reference.device)

    @torch.inference_mode()
    def features(items: np.ndarray) -> Float[Tensor, "k d"]:
        found = []
        for start in range(0, len(items), BATCH):
            cancel.check()
            x = reference.medium.to_tensor(np.asarray(items[start : start + BATCH])).to(reference.device)
            found.append(look(built, x).float().cpu())
        return torch.cat(found)

    real = Moments.of(features(reference.items))
    floor = frechet_distance(real, Moments.of(features(reference.other)))
    seen = replace(stamp, extractor=network.file.partition("-")[0], weights=digest, resize=resize)
    yield Score.of(name, frechet_estimate(real, features(made)), seen, floor)


def _heard(rate: int) -> Look:
    return lambda network, x: network(vggish.pieces(x, rate))


def _seen(shown: int) -> Look:
    def look(network: nn.Module, x: Float[Tensor, "b c f h w"]) -> Float[Tensor, "k d"]:
        at = torch.linspace(0, x.shape[2] - 1, shown).round().long()
        return network(x[:, :, at].transpose(1, 2).flatten(0, 1))[0]

    return look
