"""A trained model -> its report: draw, look, score, stamp, picture. Nothing here asks which family it is."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from maquette.codecs.base import Codes
from maquette.core import devices
from maquette.core.config import Config
from maquette.core.errors import MaquetteError, Sentence
from maquette.core.seeds import GIVEN, VALIDATE, Seeds
from maquette.core.types import (
    Autoencoder,
    Batch,
    Captioner,
    Denoiser,
    Likelihood,
    Real,
    Sampling,
    Tighter,
    Tokens,
    TwoTowers,
)
from maquette.crafts.base import FILMS, PICTURES, SOUND
from maquette.data.batches import Feed
from maquette.data.dataset import TEST, TRAIN, Dataset, Split
from maquette.evaluate import (
    agreement,
    answers,
    attributes,
    captions,
    classify,
    crafts,
    episodes,
    forecasts,
    harmony,
    neighbours,
    spoken,
    standard,
    taught,
)
from maquette.evaluate.chinese import listed
from maquette.evaluate.extractor import Choice
from maquette.evaluate.neighbours import near_copies
from maquette.evaluate.pictures import reconstructed, shots, unlearnt
from maquette.evaluate.reference import COPIES, ENOUGH, LEAST, Reference, picked, prepare, software
from maquette.evaluate.report import Cost, Report, Score, Stamp, illustrated
from maquette.evaluate.scores import codebook, cost, likelihood
from maquette.evaluate.scores.intervals import Estimate
from maquette.evaluate.scores.motion import motion_error
from maquette.evaluate.scores.reconstruction import kept, psnr, ssim, ssim_of_frames
from maquette.evaluate.scores.sound import log_spectral_distance, snr, spectral_convergence
from maquette.media.base import InTime, Medium, Voiced, foretells
from maquette.pipeline import DENOISING, Pipeline, Request

BATCH = 32
CODES = 16
"""Codes a sample that the tighter bound is taken with."""
FLOWN = 64
"""Unseen items whose likelihood by the flow is computed, each of them some hundred times as costly as a bound."""

SCORING = Sentence("scoring", "正在评分")
SPLITS = {TRAIN: "训练集", TEST: "测试集"}

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Options(Config):
    """How to evaluate, where the usual way is not wanted."""

    name: str = ""
    """Of the contestant; "" takes the run's."""
    train_seconds: float | None = None
    """How long it trained, if that is known."""
    guidance: float | None = None
    sampling: Sampling | None = None
    """How to draw; none is the model's own way, of both."""
    extractor: Choice = "auto"
    exact: bool = False
    """Whether what unseen items cost is also asked of the flow; the model must then be one that removes noise."""
    taught: bool = False
    """Whether classifiers are taught by what is made; the model must then make pictures of these data's labels."""


def evaluate(
    pipeline: Pipeline,
    dataset: Dataset,
    n: int = 2000,
    seed: int = 0,
    *,
    reference: Reference | None = None,
    options: Options = Options(),
    judge: agreement.Judge | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Report:
    """Draw `n` samples with seeds from `seed` on and tell everything that can be told of them.

    A model whose medium asks is not drawn from at random: it answers unseen questions (`answers.py`), and one whose
    medium foretells goes on from unseen pasts (`forecasts.py`). One that makes
    nothing says what it knows of unseen pairs (`agreement.py`).

    Args:
        n: falls to what real samples there are to compare with, or to the unseen questions.
        reference: of `prepare` with the same data and medium, to be shared by several models; made here if None.
        judge: an encoder that says whether pictures are what their captions ask for.
        say: is told what takes time, a line each.

    Raises:
        MaquetteError: MQ-2083 too few samples, MQ-2084 too few questions, MQ-2152 too few captions, MQ-2104 a model
            without a flow or labels that is asked for them, MQ-6080 samples that are not finite, and what the pipeline,
            `choose_extractor` and a reference that does not fit (MQ-7021) raise.
    """
    medium, device = pipeline.medium, pipeline.device
    if options.exact:
        require_flow(pipeline)
    if options.taught:
        taught.require_labels(pipeline, dataset)
    if not pipeline.model.config.draws:
        if options.guidance is not None or options.sampling is not None:
            raise MaquetteError("MQ-2151", "model", kind=pipeline.model.config.kind())
        return _judging(pipeline, dataset, seed, options)
    if reference is None:
        reference = prepare(dataset, medium, device, n, seed, options.extractor, say)
    if reference.medium.space != medium.space or reference.dataset.fingerprint != dataset.fingerprint:
        raise MaquetteError("MQ-7021", made=medium.space, real=reference.medium.space)
    if pipeline.along.captions is not None and not any(reference.captions):
        todo = "name their column with data.columns={caption: COLUMN}, or evaluate on data that have some"
        raise MaquetteError("MQ-3002", "data", what="caption", todo=todo)
    if medium.asks:
        return _examined(pipeline, reference, n, seed, options, say)
    if foretells(medium):
        return _foretold(pipeline, reference, n, seed, options, say)
    ask = Request(
        n=reference.n,
        seed=seed,
        label=asked_labels(pipeline, reference),
        guidance=options.guidance,
        sampling=options.sampling,
        opening=reference.openings,
        prompt=reference.captions if pipeline.along.captions is not None else None,
    )
    lesson = crafts.lesson(pipeline, reference, say) if dataset.test.shows else None
    ask = ask if lesson is None else lesson.ask(ask)
    say(Sentence(f"drawing {reference.n} samples", f"正在生成 {reference.n} 个样本"))
    drawn = cost.timed(lambda: pipeline.generate(ask), device)
    if not np.isfinite(drawn.result).all():
        share = 1 - np.isfinite(drawn.result.reshape(reference.n, -1)).all(1).mean()
        raise MaquetteError("MQ-6080", share=f"{share:.1%}")
    say(SCORING)
    scores = tuple(_scores(pipeline, reference, drawn.result, ask, lesson))
    if judge is not None:
        say(Sentence("judging by captions", "正在按说明文字评判"))
        plain = _plain_stamp(reference.dataset, TEST, 0, 0, seed)
        scores += tuple(judge.scores(pipeline, dataset, ask, plain, reference.extractor))
    talk = None
    if pipeline.along.captions is not None and len(medium.space.shape) == SOUND:
        talk = spoken.hear(pipeline, dataset, ask, say)
    if talk is not None:
        scores += tuple(talk.scores(_plain_stamp(reference.dataset, TEST, 0, 0, seed)))
    if options.exact:
        say(Sentence("solving the flow", "正在求解概率流"))
        scores += tuple(_by_the_flow(pipeline, reference, seed))
    if options.taught:
        scores += (taught.score(pipeline, dataset, ask, _plain_stamp(dataset, TEST, 0, 0, seed), say),)
    report = replace(
        _report(pipeline, reference.dataset, drawn, seed, options),
        scores=scores,
        notes=(
            *_notes(pipeline, reference, ask, scores),
            *_searched(pipeline, reference),
            *_chosen(pipeline, dataset),
            *_private(pipeline),
            *(crafts.notes(lesson, len(medium.space.shape)) if lesson else ()),
            *((talk.note(),) if talk else ()),
        ),
        warnings=(
            *_compared_with_learnt(pipeline, reference),
            *_warnings([row.tobytes() for row in drawn.result], reference),
        ),
    )
    first = [crafts.shot(lesson, drawn.result, pipeline)] if lesson else []
    first += [talk.shot(medium)] if talk else []
    return illustrated(report, [*first, *shots(pipeline, reference, drawn.result, ask)])


def _examined(
    pipeline: Pipeline, reference: Reference, n: int, seed: int, options: Options, say: Callable[[str], None]
) -> Report:
    """The report of a model that answers: what is scored are its answers to unseen questions."""
    exam = answers.examine(pipeline, reference.dataset, n, say)
    say(SCORING)
    stamp = _plain_stamp(reference.dataset, TEST, sum(map(len, exam.references)), len(exam.asked), seed)
    report = replace(
        _report(pipeline, reference.dataset, exam.drawn, seed, options),
        scores=(*exam.scores(stamp), *_of_model(pipeline, reference, seed)),
        notes=(*exam.notes(), *_chosen(pipeline, reference.dataset)),
        warnings=tuple(_warnings(exam.answers, reference)),
    )
    return illustrated(report, [exam.shot(pipeline.medium)])


def _foretold(
    pipeline: Pipeline, reference: Reference, n: int, seed: int, options: Options, say: Callable[[str], None]
) -> Report:
    """The report of a model that foretells: what is scored are its forecasts of unseen windows."""
    medium, ask = pipeline.medium, Request(seed=seed, guidance=options.guidance, sampling=options.sampling)
    assert isinstance(medium, InTime)
    told = forecasts.foretell(pipeline, reference.dataset, n, ask, say)
    if not np.isfinite(made := told.drawn.result).all():
        raise MaquetteError("MQ-6080", share=f"{1 - np.isfinite(made).all((1, 2)).mean():.1%}")
    say(SCORING)
    stamp = _plain_stamp(reference.dataset, TEST, len(told.truth), len(made), seed)
    report = replace(
        _report(pipeline, reference.dataset, told.drawn, seed, options),
        # what a model pays for a past that it is given is no figure of a model that is not
        scores=(*told.scores(stamp), *(() if pipeline.along.craft else _of_model(pipeline, reference, seed))),
        notes=(*told.notes(medium), *_chosen(pipeline, reference.dataset)),
        warnings=tuple(_warnings([row.tobytes() for row in made], reference)),
    )
    return illustrated(report, [told.shot(medium)])


def _judging(pipeline: Pipeline, data: Dataset, seed: int, options: Options) -> Report:
    """The report of a model that makes nothing: what it says of unseen pairs of a picture and a caption."""
    words = pipeline.along.captions
    assert isinstance(pipeline.model, TwoTowers) and words is not None, "who judges reads captions"
    encoder, rows = agreement.Encoder(pipeline.model, pipeline.medium, pipeline.device), agreement.unseen(data.test)
    found = agreement.of_unseen(encoder, data.test, words.encode, data.classes)
    read = cost.timed(lambda: encoder.pictures(np.asarray(data.test.items[rows])).numpy(), pipeline.device)
    report = replace(
        _report(pipeline, data, read, seed, options),
        scores=(
            *agreement.scores(found, _plain_stamp(data, TEST, len(rows), 0, seed)),
            *episodes.scores(pipeline, data, _plain_stamp(data, TEST, 0, 0, seed)),
        ),
        notes=(
            Sentence(
                f"It makes nothing, and is asked of {len(rows):,} unseen pairs; its speed is of pictures that it "
                "reads.",
                f"它不生成内容，而是对 {len(rows):,} 个未见的图文对作判断；速度是读取图片的速度。",
            ),
            *_chosen(pipeline, data),
        ),
    )
    return illustrated(report, [agreement.shot(encoder, data.test, words.encode)])


def _report(pipeline: Pipeline, data: Dataset, drawn: cost.Timed[np.ndarray], seed: int, options: Options) -> Report:
    """Whose report it is and what it cost to draw, without scores."""
    device = pipeline.device
    return Report(
        name=options.name or str(pipeline.card.get("name", "")) or pipeline.model.config.kind(),
        model_kind=pipeline.model.config.kind(),
        model=pipeline.digest,
        seed=_whole(pipeline.card.get("seed"), seed),
        licence=data.licence,
        cost=Cost(
            parameters=cost.parameters(pipeline.model) + cost.parameters(pipeline.codec),
            samples_per_second=len(drawn.result) / drawn.seconds,
            sampling_seconds=drawn.seconds,
            peak_bytes=drawn.peak_bytes,
            device=f"{device}, {torch.get_num_threads()} threads" if device.type == "cpu" else str(device),
            train_seconds=options.train_seconds,
            train_steps=_whole(pipeline.card.get("steps"), None),
        ),
    )


def _whole(value: object, otherwise: T) -> int | T:
    """A number from a card, which anyone may have written."""
    return value if isinstance(value, int) else otherwise


def asked_labels(pipeline: Pipeline, reference: Reference) -> tuple[int, ...] | None:
    """The labels of the real samples, one by one, so that both sets hold the classes in the same shares."""
    labels = reference.labels
    known = len(pipeline.classes) > 0 and pipeline.classes == reference.dataset.classes and bool((labels >= 0).all())
    return tuple(labels.tolist()) if known else None


# -- scores -----------------------------------------------------------------------------------------------------------


def _scores(
    pipeline: Pipeline, reference: Reference, made: np.ndarray, ask: Request, lesson: crafts.Lesson | None = None
) -> Iterator[Score]:
    """Every score that applies, in the order of a report. One that is not finite is left out."""
    labels = np.array(ask.label if isinstance(ask.label, tuple) else [-1] * len(made))
    seen = reference.extractor.see(made, reference.medium, reference.device)
    stamp = reference.stamp(len(made), ask.seed)
    beside = {"fid": crafts.distances(lesson, reference)} if lesson else {}
    for name, estimate in reference.score(made, seen, labels).items():
        if np.isfinite(estimate.value):
            yield Score.of(name, estimate, stamp, reference.floors.get(name), baselines=beside.get(name, {}))
    yield from standard.scores(reference, made, stamp)
    yield from attributes.scores(reference, seen, labels, stamp)
    if lesson is not None:
        plain = _plain_stamp(reference.dataset, TEST, len(made), len(made), ask.seed)
        yield from crafts.scores(lesson, made, reference, plain)
        yield from crafts.round_trip(lesson, made, pipeline, plain)
    yield from _of_model(pipeline, reference, ask.seed)
    if isinstance(pipeline.model, Captioner) and pipeline.model.writes and pipeline.along.captions is not None:
        yield from captions.of_unseen(
            pipeline, reference.dataset, _plain_stamp(reference.dataset, TEST, 0, 0, ask.seed)
        )
    yield from classify.scores(pipeline, reference, _plain_stamp(reference.dataset, TEST, 0, 0, ask.seed))
    yield from episodes.scores(pipeline, reference.dataset, _plain_stamp(reference.dataset, TEST, 0, 0, ask.seed))
    yield from harmony.scores(pipeline, reference, _plain_stamp(reference.dataset, TEST, 0, 0, ask.seed))
    yield from _copies(pipeline, reference, made, ask.seed)


def _of_model(pipeline: Pipeline, reference: Reference, seed: int) -> Iterator[Score]:
    """What unseen items cost the model, and how it reconstructs them."""
    model, space = pipeline.model, pipeline.medium.space
    name, rows = reference.unseen
    split = reference.dataset.test if name == TEST else reference.dataset.train
    yield from of_unseen(pipeline, reference, seed)
    if not isinstance(model, Autoencoder) or (isinstance(space, Real) and len(space.shape) < 2):
        return
    items = np.asarray(split.items[rows])
    originals = pipeline.medium.to_tensor(items)
    stamp = _plain_stamp(reference.dataset, name, len(rows), len(rows), seed)

    def likeness(copies: np.ndarray) -> dict[str, Estimate]:
        found = _likeness(originals, pipeline.medium.to_tensor(copies), pipeline.medium)
        return {what: estimate for what, estimate in found if np.isfinite(estimate.value)}

    beside = {way: likeness(copies) for way, copies in unlearnt(pipeline, items).items()}
    for what, estimate in likeness(reconstructed(pipeline, items)).items():
        others = {way: found[what] for way, found in beside.items() if what in found}
        yield Score.of(what, estimate, stamp, baselines=others)
    if isinstance(model.latent, Tokens):
        with torch.inference_mode():
            codes = [model.encode(pipeline.encoded(part)) for part in np.array_split(items, -(-len(items) // BATCH))]
        used = codebook.used(torch.cat(codes), model.latent.vocab)
        yield Score.of("codebook", used.share, stamp)
        yield Score.of("codebook_perplexity", used.perplexity, stamp)


def _likeness(originals: Tensor, copies: Tensor, medium: Medium) -> Iterator[tuple[str, Estimate]]:
    """How near copies are to originals, each figure by its name."""
    space = medium.space
    if isinstance(space, Tokens):
        yield "reconstruction", kept(originals, copies, space)
    elif len(space.shape) == SOUND:
        yield "snr", snr(originals, copies)
        if medium.rate:
            yield "spectral_convergence", spectral_convergence(originals, copies, medium.rate)
            yield "log_spectral_distance", log_spectral_distance(originals, copies, medium.rate)
    else:
        yield "psnr", Estimate(psnr(originals, copies, 2.0))
        yield "ssim", (ssim if len(space.shape) == PICTURES else ssim_of_frames)(originals, copies, 2.0)
        if len(space.shape) == FILMS:
            yield "motion", motion_error(originals, copies)


def of_unseen(pipeline: Pipeline, reference: Reference, seed: int) -> Iterator[Score]:
    """What unseen items cost a model that can say so."""
    name, rows = reference.unseen
    split = reference.dataset.test if name == TEST else reference.dataset.train
    medium = pipeline.medium
    measure, stamp = _measured(pipeline, _plain_stamp(reference.dataset, name, len(rows), 0, seed))
    unit = likelihood.unit(measure)
    if isinstance(pipeline.model, Tighter):
        with pipeline.computing():
            tighter = likelihood.Tightened(pipeline.model, CODES)
            bits = likelihood.likelihood(tighter, _batches(pipeline, split, rows), measure)
        yield Score.of("importance_bound", bits, stamp, unit=unit, bound=True)
    if isinstance(pipeline.model, Likelihood):
        beside = reference.baselines if measure is medium else {}
        with pipeline.computing():
            bits = likelihood.likelihood(pipeline.model, _batches(pipeline, split, rows), measure)
        yield Score.of("likelihood", bits, stamp, unit=unit, baselines=beside, bound=pipeline.model.bound)
        if isinstance(medium, Voiced) and measure is medium:
            yield Score.of("step_nats", bits.times(math.log(2)), stamp, bound=pipeline.model.bound)
        if isinstance(measure.space, Tokens) and measure is medium:
            asked = medium.to_tensor(np.asarray(split.items[rows]))
            yield Score.of("perplexity", likelihood.perplexity(bits, asked, medium), stamp)


def _measured(pipeline: Pipeline, stamp: Stamp) -> tuple[Medium | Codes, Stamp]:
    """What likelihoods are counted by, and `stamp` with the codec whose codes they are of, where it loses something."""
    measure = pipeline.codec.measure(pipeline.medium)
    if measure is pipeline.medium:
        return measure, stamp
    return measure, replace(stamp, extractor="codec", weights=pipeline.coding.digest)


def require_flow(pipeline: Pipeline) -> None:
    """Raise `MaquetteError` MQ-2104 unless the model removes noise, which defines a flow."""
    if not isinstance(pipeline.model, Denoiser):
        raise MaquetteError("MQ-2104", "exact", task=f"say what data cost its flow, {DENOISING}")


def _by_the_flow(pipeline: Pipeline, reference: Reference, seed: int) -> Iterator[Score]:
    """What unseen items cost the flow of a model that removes noise."""
    model, (name, rows) = pipeline.model, reference.unseen
    assert isinstance(model, Denoiser), "`require_flow` was asked"
    rows, split = rows[:FLOWN], reference.dataset.test if name == TEST else reference.dataset.train
    measure, stamp = _measured(pipeline, _plain_stamp(reference.dataset, name, len(rows), 0, seed))
    with devices.autocast(pipeline.device, pipeline.precision):
        bits = likelihood.of_flow(model, _batches(pipeline, split, rows), measure)
    counted = likelihood.has_levels(measure.space)
    yield Score.of("flow_likelihood", bits, stamp, unit=likelihood.unit(measure), bound=counted)


def _batches(pipeline: Pipeline, split: Split, rows: np.ndarray) -> Iterator[Batch]:
    """Unseen items with what is given with them, and noise of fixed seeds."""
    if pipeline.along.captions is not None:
        split = replace(split, texts=pipeline.along.captions.encode(split.captions))
    feed = Feed(split, pipeline.medium, pipeline.device, bool(pipeline.classes), pipeline.codec)
    for number, start in enumerate(range(0, len(rows), BATCH)):
        part = rows[start : start + BATCH]
        rng = Seeds.for_batch(0, number, len(part), stream=VALIDATE, device=pipeline.device)
        taken = Seeds.for_batch(0, number, len(part), stream=GIVEN, device=pipeline.device)
        others = None if split.others is None else np.arange(start, start + len(part)) % len(split.others)
        yield feed(part, rng, taken, others)


def _copies(pipeline: Pipeline, reference: Reference, made: np.ndarray, seed: int) -> Iterator[Score]:
    """What stands in the training data; the share of near copies where unseen items are enough to say what is near."""
    data, medium = reference.learnt, reference.medium
    for name, estimate in reference.extractor.copied(made).items():
        stamp = replace(reference.stamp(len(made), seed), data=data.fingerprint)
        yield Score.of(name, estimate, stamp, reference.copied.get(name))
    unseen = np.asarray(data.test.items[picked(data.test, COPIES, reference.seed)]) if len(data.test) else ()
    if len(medium.space.shape) == 1 or len(unseen) < neighbours.ENOUGH:
        return
    made = made[:COPIES]
    searched = min(len(data.train), neighbours.MOST)
    plain = _plain_stamp(data, TRAIN, searched, len(made), seed)
    stamp = replace(plain, extractor="pixels", resize=neighbours.resize(medium))
    copies = near_copies(made, data.train.items, np.asarray(unseen), medium, pipeline.kept)
    yield Score.of("near_copies", copies, stamp, neighbours.EXPECTED)


def _plain_stamp(data: Dataset, split: str, real: int, made: int, seed: int) -> Stamp:
    """The stamp of a score that needs no extractor."""
    return Stamp(
        extractor="none",
        weights="",
        resize="none",
        data=data.fingerprint,
        split=split,
        real=real,
        made=made,
        seed=seed,
        software=software(),
    )


# -- sentences --------------------------------------------------------------------------------------------------------


def _notes(pipeline: Pipeline, reference: Reference, ask: Request, scores: tuple[Score, ...]) -> Iterator[str]:
    n, d = reference.n, reference.seen.features.shape[1]
    yield reference.extractor.note
    split, same = reference.split, reference.floor_split == reference.split
    other = "other items of it" if same else f"the {reference.floor_split} split"
    zh = "其余样本" if same else SPLITS[reference.floor_split]
    yield Sentence(
        f"Made samples are compared with {n:,} real ones of the {split} split; the floor compares {other}.",
        f"生成的样本与{SPLITS[split]}的 {n:,} 个真实样本比较；“真实对真实”比较的是{zh}。",
    )
    if n <= 4 * d:
        yield Sentence(
            f"{n:,} samples are few for {d} features: Fréchet distances come out high; compare them at equal n only.",
            f"对 {d} 个特征而言，{n:,} 个样本太少：Fréchet 距离会偏高，只宜在样本数相同时比较。",
        )
    if names := dict.fromkeys(name for score in scores if score.name == "likelihood" for name in score.baselines):
        yield Sentence(
            f"{' and '.join(names)} are models of n-grams (Kneser-Ney) of the same tokens, learnt from "
            f"{reference.taught:,} training items of these data and asked for the same unseen ones.",
            f"{listed(names).zh}是同样词元的 n 元模型（Kneser-Ney），从这些数据的 {reference.taught:,} 个训练样本学得，"
            "并在同样的未见样本上测试。",
        )
    guidance = pipeline.model.guidance if ask.guidance is None else ask.guidance
    if guidance != 1 or ask.sampling is not None:
        how = {} if ask.sampling is None else {k: v for k, v in vars(ask.sampling).items() if v}
        more = "".join(f", {key} {value}" for key, value in how.items())
        yield Sentence(f"Drawn with guidance {guidance:g}{more}.", f"采样时引导强度为 {guidance:g}{more}。")


def _searched(pipeline: Pipeline, reference: Reference) -> Iterator[str]:
    """Where copies and neighbours were looked for, if not simply among what all else is of."""
    n, own, learnt = len(reference.learnt.train), reference.learnt.fingerprint, pipeline.card.get("fingerprint")
    if len(reference.medium.space.shape) == 1 and not reference.medium.talks:
        return
    if not pipeline.codec.lossless:
        yield Sentence(
            "Near copies are counted among what the codec leaves of training pictures, of unseen and of made ones.",
            "近似复制是在编解码器处理之后的训练图片、未见图片与生成图片之间统计的。",
        )
    if own != learnt:
        why = "The model learnt from other data" if learnt else "It is not known what the model learnt from"
        zh = "模型学习的是别的数据" if learnt else "不知道模型学习的是什么数据"
        yield Sentence(
            f"{why}: copies and neighbours are looked for among {n:,} training items that it may never have seen.",
            f"{zh}：复制与近邻是在 {n:,} 个训练样本中查找的，模型可能从未见过它们。",
        )
    elif own != reference.dataset.fingerprint:
        yield Sentence(
            f"Copies and neighbours are looked for among the {n:,} training items that the model learnt from.",
            f"复制与近邻是在模型学习过的 {n:,} 个训练样本中查找的。",
        )


def _private(pipeline: Pipeline) -> Iterator[Sentence]:
    if promise := pipeline.card.get("privacy"):
        yield Sentence(f"It was trained privately: {promise}.", f"它以差分隐私训练：{promise}。")


def _chosen(pipeline: Pipeline, dataset: Dataset) -> Iterator[str]:
    """That rows which the figures are of have had a say in which weights these are."""
    card = pipeline.card
    if "held_out_loss" in card and card.get("fingerprint") == dataset.fingerprint:
        yield Sentence(
            f"Of the weights of the whole training these, of step {card.get('steps')}, were kept for their loss on "
            "rows of the test split (train.best): figures of that split flatter them a little.",
            f"在整个训练的权重中，第 {card.get('steps')} 步的因其在测试集上的损失而被保留（train.best）："
            "该划分上的数字对它略为有利。",
        )


def _compared_with_learnt(pipeline: Pipeline, reference: Reference) -> Iterator[Sentence]:
    """What the scores mean where samples are compared with those that the model learnt from."""
    n, look, zh = reference.n, "", ""
    if len(reference.medium.space.shape) > 1:  # whose nearest ones are shown
        look, zh = " Look at the nearest training items beside its samples.", "请把它的样本与最近的训练样本对照着看。"
    if reference.split != TRAIN or pipeline.card.get("fingerprint") != reference.dataset.fingerprint:
        return
    yield Sentence(
        f"Too few samples were held out, so what the model made is compared with {n:,} of those that it learnt from. "
        "The scores say how well it imitates these, and not whether it makes anything new: who copies them scores "
        f"well too.{look}",
        f"留出的样本太少，因此生成的样本是与模型学习过的 {n:,} 个样本比较的。这些分数只说明它模仿得像不像，"
        f"不说明它能否生成新的内容：照抄训练样本同样会得高分。{zh}",
    )
    if n < ENOUGH:
        yield Sentence(
            f"Only {n:,} samples are compared with as many real ones. With so few, distances come out high and small "
            "differences may be chance: hold each figure against “real against real”, and compare it with figures of "
            "equally many samples only.",
            f"只有 {n:,} 个样本与同样多的真实样本比较。样本这么少时，距离会偏高，微小的差别可能只是偶然："
            "请把每个数字与“真实对真实”对照，并且只与样本数相同的数字比较。",
        )
    if (held := len(reference.dataset.test)) >= LEAST:
        yield Sentence(
            f"To compare with the {held:,} held-out samples alone: maquette evaluate RUN -n {held}.",
            f"若只与留出的 {held:,} 个样本比较：maquette evaluate RUN -n {held}。",
        )
    else:
        yield Sentence(
            f"For scores of what was never seen, put {LEAST} samples or more into a folder test/ beside train/, train "
            f"again, and evaluate with -n {LEAST}.",
            f"若要得到针对未见样本的分数，请把至少 {LEAST} 个样本放进与 train/ 并列的 test/ 文件夹，重新训练，"
            f"并以 -n {LEAST} 评价。",
        )


def _warnings(made: Sequence[str] | Sequence[bytes], reference: Reference) -> Iterator[str]:
    different = len(set(made))
    if different < 0.9 * len(made):
        zh = f"{len(made):,} 个样本中，互不相同的只有 {different:,} 个。"
        yield Sentence(f"Only {different:,} of {len(made):,} samples differ from each other.", zh)
    if len(reference.dataset.test) == 0:
        yield Sentence(
            "There is no test split: likelihood and reconstructions are of items that the model was trained on.",
            "没有测试集：似然与重建都是在模型训练过的样本上计算的。",
        )
