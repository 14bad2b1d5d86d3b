"""Answers to held-out samples: how near what a model makes of each is to the true one, beside simpler ways.

Every held-out picture, sound or film is asked once. Where the true answer is known (something was taken from it, or it
came in a pair) answers are compared with it: pictures and films pixel by pixel (PSNR, SSIM), films by what changes from
frame to frame, sounds by the power of errors (SNR) and by spectra; all in the extractor's features too. Where a craft
tells what was known, SNR, and of films PSNR and SSIM, are of what had to be made. Ways without a model answer the same:
those of the craft (`maquette/crafts/`), or the true answer to the training sample that is nearest. A model that goes
both ways is asked to bring back what it was given.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from maquette.core import cancel, spectra
from maquette.core.errors import Sentence
from maquette.core.types import Given, Real, Translator
from maquette.crafts.base import FILMS, PICTURES, SOUND, CraftConfig
from maquette.data.batches import held_out, shuffled
from maquette.data.dataset import Split
from maquette.evaluate.neighbours import nearest
from maquette.evaluate.reference import Reference
from maquette.evaluate.report import Score, Shot, Stamp
from maquette.evaluate.scores.frechet import frechet_estimate
from maquette.evaluate.scores.intervals import Estimate, of_mean
from maquette.evaluate.scores.motion import motion_error
from maquette.evaluate.scores.reconstruction import psnr_estimate, ssim, ssim_of_frames
from maquette.evaluate.scores.sound import log_spectral_distance, snr, spectral_convergence
from maquette.media.base import Medium
from maquette.nets import dims
from maquette.pipeline import Pipeline, Request

BATCH = 64
PER_SAMPLE = "95 %, Student's t over samples"
SEARCHED = 5_000
"""At most so many training samples are searched for the nearest."""
SIDE = 16
"""Pictures are averaged down to about so many pixels a side before the nearest is looked for."""
SHOWN = 8
"""Rows on the picture of a report."""
UNTOUCHED = "untranslated"
NOUNS = {SOUND: "sound", PICTURES: "picture", FILMS: "film"}
CHINESE_NOUNS = {SOUND: "声音", PICTURES: "图片", FILMS: "影片"}


@dataclass(frozen=True)
class Lesson:
    """Held-out rows: what is given, and how it can be answered without a model.

    Attributes:
        given: of each row, on the CPU.
        real: the true answers as stored items; None where nobody knows them.
        simpler: what other ways make of the same rows, by their names, as stored items.
        captions: of the same rows.
        unknown: 1 where samples had to be made, 0 where they were known; None where nothing was.
    """

    given: Given
    real: np.ndarray | None
    simpler: Mapping[str, np.ndarray]
    captions: tuple[str, ...] = ()
    unknown: Float[Tensor, "n 1 *space"] | None = None

    @property
    def pictures(self) -> Float[Tensor, "n c *given"]:
        """What is given, whatever it is."""
        assert self.given.image is not None, "a lesson gives something"
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
    batches = list(held_out(data.test, medium, BATCH, reference.n, reference.seed, "cpu", bool(pipeline.classes)))
    given, space, craft = _together([batch.given for batch in batches]), medium.space, data.test.craft
    assert given.image is not None and isinstance(space, Real), "pictures are given with pictures"
    image, known = given.image, data.test.others is None
    say(Sentence("asking simpler ways", "正在用更简单的方法作答"))
    items = _answered(craft, image, space, medium) if craft is not None else {}
    if craft is None and image.shape[1:] == space.shape:
        items[UNTOUCHED] = medium.from_tensor(image)
    if known and data.train.others is None and (craft is None or not items):
        name = f"nearest training {NOUNS[len(space.shape)]}"
        items[name] = _nearest(data.train, image, medium, reference.seed)
    asked = shuffled(len(data.test), reference.seed)[: len(image)]
    captions = tuple(data.test.captions[row] for row in asked) if pipeline.along.captions else ()
    unknown = None if craft is None else craft.unknown(image)
    real = np.concatenate([medium.from_tensor(batch.x) for batch in batches]) if known else None
    return Lesson(given, real, items, captions, unknown)


def _together(parts: Sequence[Given]) -> Given:
    def joined(field: str) -> Tensor | None:
        tensors = [getattr(part, field) for part in parts]
        return None if tensors[0] is None else torch.cat(tensors)

    return Given(label=joined("label"), image=joined("image"), text=joined("text"))


def _answered(craft: CraftConfig, given: Tensor, space: Real, medium: Medium) -> dict[str, np.ndarray]:
    """What simpler ways make of what is given, a batch at a time, as stored items by their names."""
    found: dict[str, list[np.ndarray]] = {}
    for part in given.split(BATCH):
        cancel.check()
        for name, x in craft.simpler(part, space).items():
            found.setdefault(name, []).append(medium.from_tensor(x))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _nearest(train: Split, asked: Float[Tensor, "n c *given"], medium: Medium, seed: int) -> np.ndarray:
    """For each row the answer to the training sample to which the nearest was given, averaged down."""
    answers: list[np.ndarray] = []

    def blocks() -> Iterator[Tensor]:
        for batch in held_out(train, medium, BATCH * 8, SEARCHED, seed):
            assert batch.given.image is not None, "something is given"
            answers.append(medium.from_tensor(batch.x))
            yield _small(batch.given.image, medium.rate)

    rows = nearest(_small(asked, medium.rate), blocks()).rows[:, 0]
    return np.concatenate(answers)[rows.numpy()]


def _small(x: Float[Tensor, "n c *given"], rate: int) -> Float[Tensor, "n d"]:
    """Pixels of about `SIDE` a side, of sound those of its spectrogram."""
    x = spectra.log_mel(x, spectra.bank(rate)) if x.ndim == 3 and rate else x
    return dims.pooled(x, tuple(max(1, side // SIDE) for side in x.shape[2:])).flatten(1)


# -- scores -----------------------------------------------------------------------------------------------------------


def scores(taken: Lesson, made: np.ndarray, reference: Reference, stamp: Stamp) -> Iterator[Score]:
    """Answers against true ones, where these are known; `stamp` is for scores without an extractor."""
    if taken.real is None:
        return
    medium, device, extractor = reference.medium, reference.device, reference.extractor
    real = medium.to_tensor(taken.real)
    truth = extractor.see(taken.real, medium, device).features
    compare = {SOUND: _sounds, PICTURES: _pictures, FILMS: _films}[real.ndim - 1]

    def judged(items: np.ndarray) -> dict[str, Estimate]:
        seen = extractor.see(items, medium, device).features
        apart = (seen - truth).square().mean(1)
        near = compare(real, medium.to_tensor(items), taken.unknown, medium.rate)
        return near | {"answer_distance": of_mean(apart.tolist(), PER_SAMPLE)}

    own, others = judged(made), {name: judged(items) for name, items in taken.simpler.items()}
    looked = replace(stamp, extractor=extractor.name, weights=extractor.digest, resize=extractor.resize)
    for name, estimate in own.items():
        beside = {way: found[name] for way, found in others.items() if np.isfinite(found[name].value)}
        if np.isfinite(estimate.value):
            yield Score.of(name, estimate, looked if name == "answer_distance" else stamp, baselines=beside)


def _pictures(real: Tensor, made: Tensor, unknown: Tensor | None, rate: int) -> dict[str, Estimate]:
    return {"answer_psnr": psnr_estimate(real, made, 2.0), "answer_ssim": ssim(real, made, 2.0)}


def _films(real: Tensor, made: Tensor, unknown: Tensor | None, rate: int) -> dict[str, Estimate]:
    frames = None if unknown is None else unknown.amax((1, 3, 4)) > 0
    return {
        "answer_psnr": psnr_estimate(real, made, 2.0, unknown),
        "answer_ssim": ssim_of_frames(real, made, 2.0, frames),
        "answer_motion": motion_error(real, made),
    }


def _sounds(real: Tensor, made: Tensor, unknown: Tensor | None, rate: int) -> dict[str, Estimate]:
    found = {"answer_snr": snr(real, made, unknown)}
    if rate:
        found["answer_convergence"] = spectral_convergence(real, made, rate)
        found["answer_levels"] = log_spectral_distance(real, made, rate)
    return found


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
    if back.ndim == 4:
        yield Score.of("cycle_ssim", ssim(taken.pictures, back, 2.0), stamp)


def notes(taken: Lesson, axes: int) -> Iterator[str]:
    """A sentence on answers of so many axes."""
    n, zh = f"{len(taken.pictures):,} held-out {NOUNS[axes]}s", f"{len(taken.pictures):,} 个留出的{CHINESE_NOUNS[axes]}"
    if taken.real is None:
        yield Sentence(
            f"Samples are answers to {n}, of which nobody knows the true answer: only sets of pictures are compared.",
            f"样本是对 {zh}的答案，其正确答案无人知晓：只比较两组图片的整体。",
        )
    else:
        yield Sentence(
            f"Samples are answers to {n}, one each, compared with the true ones; simpler ways answer the same.",
            f"样本是对 {zh}的答案，每个一份，与正确答案比较；更简单的方法也回答同样的问题。",
        )


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
    caption = Sentence(
        f"The first {n} held-out rows, not chosen: what is given, what is made of it.",
        f"最先的 {n} 行留出样本，未经挑选：给出的内容，以及由它生成的结果。",
    )
    sheet = medium.sheet(rows, len(columns), list(columns))
    return Shot("answers", "Answers", caption, sheet, medium.clip(rows))
