"""Answers to held-out pictures: how near what a model makes of each is to the true one, beside simpler ways.

Every held-out picture is asked once. Where the true answer is known (something was taken from it, or it came in a pair)
answers are compared with it pixel by pixel (PSNR, SSIM) and in the extractor's features. Ways without a model answer
the same pictures: those of the craft (`maquette/crafts/`), or the true answer to the training picture that is nearest.
A model that goes both ways is asked to bring back what it was given.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from maquette.core.types import Batch, Given, Real, Translator
from maquette.data.batches import held_out, shuffled
from maquette.data.dataset import Split
from maquette.evaluate.neighbours import nearest
from maquette.evaluate.reference import Reference
from maquette.evaluate.report import Score, Shot, Stamp
from maquette.evaluate.scores.frechet import frechet_estimate
from maquette.evaluate.scores.intervals import Estimate, of_mean
from maquette.evaluate.scores.reconstruction import PER_PICTURE, psnr_estimate, ssim
from maquette.media.base import Medium
from maquette.pipeline import Pipeline, Request

BATCH = 64
SEARCHED = 5_000
"""At most so many training pictures are searched for the nearest."""
SIDE = 16
"""Pictures are averaged down to about so many pixels a side before the nearest is looked for."""
SHOWN = 8
"""Rows on the picture of a report."""
UNTOUCHED, NEAREST = "untranslated", "nearest training picture"


@dataclass(frozen=True)
class Lesson:
    """Held-out rows: what is given, and how it can be answered without a model.

    Attributes:
        given: of each row, on the CPU.
        real: the true answers as stored items; None where nobody knows them.
        simpler: what other ways make of the same rows, by their names, as stored items.
        captions: of the same rows.
    """

    given: Given
    real: np.ndarray | None
    simpler: Mapping[str, np.ndarray]
    captions: tuple[str, ...] = ()

    @property
    def pictures(self) -> Float[Tensor, "n c h w"]:
        assert self.given.image is not None, "a lesson gives pictures"
        return self.given.image

    def ask(self, request: Request) -> Request:
        """`request` with what is given, a row for each of its samples."""
        labels = self.given.label
        known = labels is not None and bool((labels >= 0).all())
        told = tuple(labels.tolist()) if known else None  # type: ignore[union-attr]
        words = None if request.prompt is None else self.captions
        return replace(request, given=self.pictures, label=told, prompt=words)


def lesson(pipeline: Pipeline, reference: Reference, say: Callable[[str], None] = lambda line: None) -> Lesson:
    """At most `reference.n` held-out rows, always the same ones of the same seed."""
    medium, data = pipeline.medium, reference.dataset
    rows = _together(held_out(data.test, medium, BATCH, reference.n, reference.seed, "cpu", bool(pipeline.classes)))
    assert rows.given.image is not None and isinstance(medium.space, Real), "pictures are given with pictures"
    image, space = rows.given.image, medium.space
    say("asking simpler ways")
    craft = data.test.craft
    ways = dict(craft.simpler(image, space)) if craft is not None else {}
    known = data.test.others is None
    if craft is None and image.shape[1:] == space.shape:
        ways[UNTOUCHED] = image
    items = {name: medium.from_tensor(x) for name, x in ways.items()}
    if known and data.train.others is None and (craft is None or not ways):
        items[NEAREST] = _nearest(data.train, image, medium, reference.seed)
    asked = shuffled(len(data.test), reference.seed)[: len(rows)]
    captions = tuple(data.test.captions[row] for row in asked) if pipeline.along.captions else ()
    return Lesson(rows.given, medium.from_tensor(rows.x) if known else None, items, captions)


def _together(batches: Iterator[Batch]) -> Batch:
    parts = list(batches)

    def joined(field: str) -> Tensor | None:
        tensors = [getattr(part.given, field) for part in parts]
        return None if tensors[0] is None else torch.cat(tensors)

    given = Given(label=joined("label"), image=joined("image"), text=joined("text"))
    return Batch(torch.cat([part.x for part in parts]), given, parts[0].rng)


def _nearest(train: Split, asked: Float[Tensor, "n c h w"], medium: Medium, seed: int) -> np.ndarray:
    """For each picture the answer to the training picture that is nearest to it in its pixels, averaged down."""
    answers: list[np.ndarray] = []

    def blocks() -> Iterator[Tensor]:
        for batch in held_out(train, medium, BATCH * 8, SEARCHED, seed):
            assert batch.given.image is not None, "pictures are given"
            answers.append(medium.from_tensor(batch.x))
            yield _small(batch.given.image)

    rows = nearest(_small(asked), blocks()).rows[:, 0]
    return np.concatenate(answers)[rows.numpy()]


def _small(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
    factor = max(1, x.shape[2] // SIDE)
    return torch.nn.functional.avg_pool2d(x, factor).flatten(1)


# -- scores -----------------------------------------------------------------------------------------------------------


def scores(taken: Lesson, made: np.ndarray, reference: Reference, stamp: Stamp) -> Iterator[Score]:
    """Answers against true ones, where these are known; `stamp` is for scores without an extractor."""
    if taken.real is None:
        return
    medium, device, extractor = reference.medium, reference.device, reference.extractor
    real = medium.to_tensor(taken.real)
    truth = extractor.see(taken.real, medium, device).features

    def judged(items: np.ndarray) -> dict[str, Estimate]:
        x = medium.to_tensor(items)
        seen = extractor.see(items, medium, device).features
        apart = (seen - truth).square().mean(1)
        return {
            "answer_psnr": psnr_estimate(real, x, 2.0),
            "answer_ssim": ssim(real, x, 2.0),
            "answer_distance": of_mean(apart.tolist(), PER_PICTURE),
        }

    own, others = judged(made), {name: judged(items) for name, items in taken.simpler.items()}
    looked = replace(stamp, extractor=extractor.name, weights=extractor.digest, resize=extractor.resize)
    for name, estimate in own.items():
        beside = {way: found[name] for way, found in others.items() if np.isfinite(found[name].value)}
        if np.isfinite(estimate.value):
            yield Score.of(name, estimate, looked if name == "answer_distance" else stamp, baselines=beside)


def distances(taken: Lesson, reference: Reference) -> dict[str, Estimate]:
    """How far what simpler ways make is from real samples as a whole: the baselines of the Fréchet distance."""
    seen = {name: reference.extractor.see(x, reference.medium, reference.device) for name, x in taken.simpler.items()}
    return {name: frechet_estimate(reference.moments, one.features) for name, one in seen.items()}


def round_trip(taken: Lesson, made: np.ndarray, pipeline: Pipeline, stamp: Stamp) -> Iterator[Score]:
    """How much of what was given comes back from what was made of it, where a model knows the way."""
    if not isinstance(pipeline.model, Translator):
        return
    medium = pipeline.medium
    back = medium.to_tensor(pipeline.generate(Request(n=len(made), given=medium.to_tensor(made), back=True)))
    ratio = psnr_estimate(taken.pictures, back, 2.0)
    if np.isfinite(ratio.value):
        yield Score.of("cycle_psnr", ratio, stamp)
    yield Score.of("cycle_ssim", ssim(taken.pictures, back, 2.0), stamp)


def notes(taken: Lesson) -> Iterator[str]:
    n = f"{len(taken.pictures):,} held-out pictures"
    if taken.real is None:
        yield f"Samples are answers to {n}, of which nobody knows the true answer: only sets of pictures are compared."
    else:
        yield f"Samples are answers to {n}, one each, compared with the true ones; simpler ways answer the same."


def shot(taken: Lesson, made: np.ndarray, pipeline: Pipeline) -> Shot:
    """Each row: what is given, what simpler ways make of it (other than leaving it so), what the model makes, and the
    truth where it is known."""
    n, medium = min(SHOWN, len(made)), pipeline.medium
    given = pipeline.along.shown(taken.pictures[:n], medium)
    others = {name: items for name, items in taken.simpler.items() if not np.array_equal(items[:n], given)}
    columns = {"given": given, **others, "model": made}
    if taken.real is not None:
        columns["real"] = taken.real
    rows = np.stack([items[:n] for items in columns.values()], 1).reshape(-1, *made.shape[1:])
    caption = f"The first {n} held-out rows, not chosen: what is given, what is made of it."
    sheet = medium.sheet(rows, len(columns), list(columns))
    return Shot("answers", "Answers", caption, sheet, medium.clip(rows))
