"""The pictures of a report: samples, one column a class, neighbours, reconstructions, axes of codes, where a critic
looks, the way between samples."""

import io
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from PIL import Image, ImageDraw

from maquette.core.errors import Sentence
from maquette.core.seeds import Seeds
from maquette.core.types import Autoencoder, Given, Judging, Real, Sampling
from maquette.crafts.base import FILMS, PICTURES
from maquette.data.dataset import TEST
from maquette.evaluate.inside import axis_effects, saliency, traversal
from maquette.evaluate.neighbours import nearest, pixel_blocks, pixels
from maquette.evaluate.reference import Reference
from maquette.evaluate.report import Shot
from maquette.evaluate.scores.prdc import BLOCK
from maquette.media.base import Medium
from maquette.pipeline import Pipeline, Request

SHOWN = 64
COLUMNS = 8
FEWER = 4
"""Films take a row each: so many times fewer are shown."""
POINTS = 4000
CLASSES = 10
"""At most so many classes have a column."""
NEAR = 3
AXES = 10
"""At most so many axes of a code have a row."""
REACH = 2.5
"""Standard deviations that a row goes along an axis of a code, either way."""
GRID = 20
"""Codes a side of the map of a model that has two."""
WITHIN = 0.9876
"""Share of normal numbers within `REACH` standard deviations: of noise of another law, so many lie within a row too."""
LAW = 1024
"""Draws of noise that show its law."""
PROBES = 16
"""Codes at which each axis is tried."""


def shots(pipeline: Pipeline, reference: Reference, made: np.ndarray, ask: Request) -> Iterator[Shot]:
    """Every picture that this model and medium have; `made` are samples of `ask`."""
    medium, axes = pipeline.medium, len(pipeline.medium.space.shape)
    flat, many = axes == 1, 1 if axes < FILMS else FEWER
    caption = Sentence(f"{len(made)} samples.", f"{len(made)} 个样本。")
    if not flat:
        zh = f"种子 {ask.seed} 起的最先样本，没有剔除任何一个。"
        caption = Sentence(f"The first samples of seed {ask.seed}; none was left out.", zh)
    yield _shown(medium, "samples", "Samples", caption, made[: POINTS if flat else SHOWN // many])
    if pipeline.classes:
        yield _by_class(pipeline, ask, 200 if flat else max(1, 6 // many))
    codes = isinstance(pipeline.model, Autoencoder)
    if flat and not (medium.talks and codes):
        return
    if not flat:
        yield _neighbours(reference, made[: max(2, COLUMNS // many)])
    if codes:
        yield _reconstructions(pipeline, reference, SHOWN // many)
    if codes and not flat:
        yield from _traversal(pipeline, reference)
    alone = pipeline.model.space == medium.space and pipeline.model.beside.image is None
    if isinstance(pipeline.model, Judging) and alone and not flat:
        if not codes:
            yield from _noise_axes(pipeline, ask)
        if axes == PICTURES:
            yield _looks(pipeline, reference, made)
    yield _texts_between(pipeline, ask) if flat else _between(pipeline, ask, max(2, 5 // many))


def _shown(
    medium: Medium,
    name: str,
    title: str,
    caption: str,
    items: np.ndarray,
    columns: int = COLUMNS,
    titles: list[str] | None = None,
) -> Shot:
    """The sheet of some items, and what plays them."""
    return Shot(name, title, caption, medium.sheet(items, columns, titles), medium.clip(items))


def _by_class(pipeline: Pipeline, ask: Request, rows: int) -> Shot:
    names = pipeline.classes[:CLASSES]
    items = pipeline.generate(replace(ask, n=rows * len(names), label=tuple(range(len(names))), prompt=None))
    more, zh, total = "", "", len(pipeline.classes)
    if total > CLASSES:
        more, zh = f", the first {CLASSES} of {total}", f"，{total} 个中的前 {CLASSES} 个"
    caption = Sentence(f"One column for each label asked for{more}.", f"每个所要求的标签一列{zh}。")
    if len(pipeline.medium.space.shape) == FILMS:
        caption = Sentence(f"The labels asked for{more}, in turn.", f"依次为所要求的各个标签{zh}。")
    return _shown(pipeline.medium, "classes", "By label", caption, items, len(names), list(names))


def _neighbours(reference: Reference, made: np.ndarray) -> Shot:
    """Each row: a made sample, the training items nearest in features, and those nearest in pixels."""
    medium, train = reference.medium, reference.learnt.train.items
    seen = reference.extractor.see(made, medium, reference.device).features
    alike = nearest(seen, iter(reference.pool_features.split(BLOCK)), NEAR).rows
    near = nearest(pixels(made, medium), pixel_blocks(train, medium), NEAR).rows
    rows = [[item, *reference.pool[alike[i]], *np.asarray(train[near[i].numpy()])] for i, item in enumerate(made)]
    titles = ["made", *["features"] * NEAR, *["pixels"] * NEAR]
    caption = Sentence(
        f"Each row: a made sample, then the {NEAR} training items nearest to it in features "
        f"(of {len(reference.pool):,}) and the {NEAR} nearest in pixels.",
        f"每行：一个生成的样本，接着是特征上与它最近的 {NEAR} 个训练样本（从 {len(reference.pool):,} 个中找），"
        f"以及像素上最近的 {NEAR} 个。",
    )
    items = np.stack([item for row in rows for item in row])
    return _shown(medium, "neighbours", "Nearest training items", caption, items, len(titles), titles)


def _between(pipeline: Pipeline, ask: Request, n: int) -> Shot:
    items = pipeline.generate(replace(ask, n=n, label=None, between=COLUMNS))[:-1]
    caption = Sentence(
        "Each row goes from one sample to the next along the noise that they are drawn from.",
        "每行沿着生成所用的噪声，从一个样本渐变到下一个。",
    )
    return _shown(pipeline.medium, "interpolation", "Between samples", caption, items)


def _texts_between(pipeline: Pipeline, ask: Request) -> Shot:
    """From code to code; always the likeliest tokens, so that nothing else changes on the way."""
    how = replace(ask.sampling or Sampling(), top_k=1)
    items = pipeline.generate(replace(ask, n=3, label=None, between=COLUMNS, sampling=how, opening=None))[:-1]
    caption = Sentence(
        f"From the code of one text to that of another in {COLUMNS} steps, and on to a third.",
        f"从一段文字的编码分 {COLUMNS} 步走到另一段，再到第三段。",
    )
    return _shown(pipeline.medium, "interpolation", "Between samples", caption, items)


@torch.inference_mode()
def _reconstructions(pipeline: Pipeline, reference: Reference, shown: int) -> Shot:
    """Pairs of an unseen real item and what is left of it after its code."""
    items = reference.items[: shown // 2]
    copies = reconstructed(pipeline, items)
    pairs = np.stack([items, copies], 1).reshape(-1, *items.shape[1:])
    titles = ["real", "copy"] * (COLUMNS // 2)
    zh = "测试集" if reference.split == TEST else "训练集"
    caption = Sentence(
        f"Pairs: a real item of the {reference.split} split, and what the model makes of its code.",
        f"成对排列：{zh}中的一个真实样本，以及模型由其编码还原的结果。",
    )
    return _shown(pipeline.medium, "reconstructions", "Reconstructions", caption, pairs, COLUMNS, titles)


@torch.inference_mode()
def _traversal(pipeline: Pipeline, reference: Reference) -> Iterator[Shot]:
    """Along the axes of the code that differ most between real items; nothing where codes are no plain vectors."""
    model = pipeline.model
    assert isinstance(model, Autoencoder)
    if not isinstance(model.latent, Real) or len(model.latent.shape) > 1:
        return
    z = torch.cat(
        [
            model.encode(pipeline.encoded(part))
            for part in np.array_split(reference.items, -(-len(reference.items) // 64))
        ]
    )
    if z.shape[1] == 2:
        yield from _map(pipeline, reference, z)
    spread = z.std(0)
    axes = spread.argsort(descending=True)[:AXES]
    steps = torch.linspace(-REACH, REACH, COLUMNS, device=z.device)
    codes = z.mean(0).repeat(len(axes), COLUMNS, 1)
    codes[torch.arange(len(axes)), :, axes] += spread[axes, None] * steps
    items = pipeline.decoded(model.decode(codes.flatten(0, 1)))
    caption = Sentence(
        f"Each row changes one number of the code, from {REACH:g} standard deviations below its mean to as many above, "
        f"the others at their means; the {len(axes)} of {len(spread)} that differ most between real items.",
        f"每行改变编码的一个数，从低于均值 {REACH:g} 个标准差到高于均值同样多，其余取均值；"
        f"所示为 {len(spread)} 个数中在真实样本之间差别最大的 {len(axes)} 个。",
    )
    yield _shown(pipeline.medium, "traversal", "Axes of the code", caption, items)


def _map(pipeline: Pipeline, reference: Reference, z: torch.Tensor) -> Iterator[Shot]:
    """What codes of two numbers mean (Kingma and Welling 2013, appendix A), and where those of real items lie."""
    assert isinstance(pipeline.model, Autoencoder)
    steps = torch.special.ndtri((torch.arange(GRID, device=z.device) + 0.5) / GRID)
    codes = torch.cartesian_prod(-steps, steps).flip(1)
    items = pipeline.decoded(pipeline.model.decode(codes))
    caption = (
        f"{GRID} x {GRID} codes: the first number grows to the right, the second upwards, each through the quantiles "
        "of N(0, 1), so that every cell stands for as many samples."
    )
    yield _shown(pipeline.medium, "map", "Map of the code", caption, items, GRID)
    side, dot = 480, 2
    sheet = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(sheet)
    places = (z.clamp(-REACH, REACH).cpu() / REACH + 1) / 2 * (side - 1)
    for (x, y), label in zip(places.tolist(), reference.labels.tolist(), strict=True):
        hue = "black" if label < 0 else f"hsl({360 * label // max(1, len(reference.dataset.classes))}, 75%, 45%)"
        draw.ellipse((x - dot, side - 1 - y - dot, x + dot, side - 1 - y + dot), fill=hue)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    caption = (
        f"The codes (means) of {len(z)} real items of the {reference.split} split, from -{REACH:g} to {REACH:g} each "
        "way, a colour for each label."
    )
    yield Shot("codes", "Codes of real items", caption, buffer.getvalue())


@torch.inference_mode()
def _noise_axes(pipeline: Pipeline, ask: Request) -> Iterator[Shot]:
    """Along the axes of the noise that change samples most; nothing where noise is no plain vector."""
    model, how = pipeline.model, ask.sampling or Sampling()
    law = model.start(LAW, how, Seeds.for_samples(ask.seed, LAW)).to(pipeline.device)
    if law.dim() != 2:
        return
    z, reach = law[:PROBES], float(law.abs().flatten().sort().values[int(WITHIN * law.numel())])

    def predict(z: torch.Tensor) -> torch.Tensor:
        drawn = model.predictor(model.condition(Given(), len(z)))
        with pipeline.computing():
            return model.draw(drawn, z, how, Seeds.for_samples(ask.seed, len(z)))

    effects = axis_effects(predict, z, float(law.std()), reach)
    axes = effects.argsort(descending=True)[:AXES]
    items = pipeline.decoded(traversal(predict, z[:1], axes, reach, COLUMNS))
    most, least = effects.max().item(), effects.min().item()
    caption = Sentence(
        f"Each row changes one number of the noise of the first sample, from -{reach:.2g} to {reach:.2g}: the "
        f"{len(axes)} of {len(effects)} that change samples most. One standard deviation changes a value by {most:.3f} "
        f"along the first of them and by {least:.3f} along the last of all (root mean square; values go from -1 to 1).",
        f"每行改变第一个样本噪声的一个数，从 -{reach:.2g} 到 {reach:.2g}：所示为 {len(effects)} 个数中使样本变化最大的 "
        f"{len(axes)} 个。一个标准差使取值改变 {most:.3f}（沿第一个）与 {least:.3f}（沿所有中的最后一个）"
        "（均方根；取值从 -1 到 1）。",
    )
    yield _shown(pipeline.medium, "traversal", "Axes of the noise", caption, items)


def _looks(pipeline: Pipeline, reference: Reference, made: np.ndarray) -> Shot:
    """Pairs of a picture and where the critic looks in it, real ones above made ones."""
    model, medium = pipeline.model, pipeline.medium
    assert isinstance(model, Judging)
    items = np.concatenate([reference.items[:COLUMNS], made[:COLUMNS]])
    where = saliency(model.realness, pipeline.encoded(items).clone(), Seeds.for_samples(0, len(items)))
    maps = medium.from_tensor((2 * where[:, None].cpu() - 1).expand(-1, *medium.space.shape))
    pairs = np.stack([items, maps], 1).reshape(-1, *items.shape[1:])
    zh = "测试集" if reference.split == TEST else "训练集"
    caption = Sentence(
        "Pairs: a picture, and how much the critic's score of it depends on each pixel. The upper half are real, of "
        f"the {reference.split} split, the lower half made.",
        f"成对排列：一张图片，以及判别器对它的打分在多大程度上取决于各个像素。上半是{zh}的真实图片，下半是生成的。",
    )
    sheet = medium.sheet(pairs, COLUMNS, ["picture", "seen"] * (COLUMNS // 2))
    return Shot("saliency", "Where the critic looks", caption, sheet)


@torch.inference_mode()
def reconstructed(pipeline: Pipeline, items: np.ndarray) -> np.ndarray:
    """Stored items after encoding and decoding by the pipeline's autoencoder."""
    model, parts = pipeline.model, []
    assert isinstance(model, Autoencoder)
    for first in range(0, len(items), COLUMNS * 8):
        parts.append(pipeline.decoded(model.decode(model.encode(pipeline.encoded(items[first : first + COLUMNS * 8])))))
    return np.concatenate(parts)


def unlearnt(pipeline: Pipeline, items: np.ndarray) -> dict[str, np.ndarray]:
    """What ways without a model make of the codes of the same stored items, by their names."""
    model, found = pipeline.model, dict[str, list[np.ndarray]]()
    assert isinstance(model, Autoencoder)
    for first in range(0, len(items), COLUMNS * 8):
        with pipeline.computing():
            made = model.unlearnt(pipeline.encoded(items[first : first + COLUMNS * 8]))
        for name, x in made.items():
            found.setdefault(name, []).append(pipeline.decoded(x))
    return {name: np.concatenate(parts) for name, parts in found.items()}
