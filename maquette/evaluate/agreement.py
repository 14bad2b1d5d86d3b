"""What an encoder of pictures and captions says: of unseen pairs, of labels it was never taught, of made pictures.

The encoder is asked for similarities alone. Retrieval: which of all unseen captions is a picture's, and the other way
round. Labels: the name of a class as a caption, and the nearest one counts (zero-shot, Radford et al. 2021, section
3.1). Agreement: whether a made picture is nearer to the caption that it was asked by than to other unseen ones; real
pictures of these captions say how good that can be, and those of the nearest training caption, which are real but made
for other words, what finding gives without making. Beside every figure stands what chance gives.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from maquette.core import cancel
from maquette.core.errors import MaquetteError, Sentence
from maquette.core.types import TwoTowers
from maquette.data.combinations import Combinations
from maquette.data.dataset import Dataset, Split
from maquette.evaluate.bag import tf_idf
from maquette.evaluate.classify import FREQUENT
from maquette.evaluate.extractor import Extractor
from maquette.evaluate.report import Score, Shot, Stamp
from maquette.evaluate.scores.agreement import alike, recall, recall_by_chance
from maquette.evaluate.scores.intervals import Estimate, wilson
from maquette.media.base import Medium
from maquette.pipeline import Pipeline, Request

BATCH = 256
MOST = 2_000
"""At most so many unseen pairs are asked for."""
LEAST = 20
"""Fewer than this are not scored."""
CHANCE = "chance"
DEPTHS = (1, 5)
"""The k of recall@k."""
ASKED = 500
"""At most so many unseen captions are asked of a model that is judged."""
REAL, NEAREST = "real pictures", "picture of the nearest caption"
COLUMNS, NEAR = 6, 4
"""Captions on the picture of a report, and how many of their nearest pictures stand under them."""


Encode = Callable[[Sequence[str]], Int[np.ndarray, "n l"]]
"""Captions -> their tokens."""


@dataclass(frozen=True)
class Found:
    """A share, and the share that chance gives."""

    share: Estimate
    chance: float


class Encoder:
    """A model with two towers, asked in batches on its device."""

    def __init__(self, model: TwoTowers, medium: Medium, device: torch.device):
        self.model, self.medium, self.device = model, medium, device

    def pictures(self, items: np.ndarray) -> Float[Tensor, "n d"]:
        """Of stored items."""
        return self._each(items, lambda part: self.model.of_samples(self.medium.to_tensor(part).to(self.device)))

    def captions(self, tokens: Int[np.ndarray, "n l"]) -> Float[Tensor, "n d"]:
        return self._each(tokens, lambda part: self.model.of_texts(torch.from_numpy(part).to(self.device)))

    @torch.inference_mode()
    def _each(self, rows: np.ndarray, see: Callable[[np.ndarray], Tensor]) -> Tensor:
        parts = []
        for start in range(0, len(rows), BATCH):
            cancel.check()
            parts.append(see(np.asarray(rows[start : start + BATCH])).float().cpu())
        return torch.cat(parts)


def retrieval(encoder: Encoder, items: np.ndarray, tokens: Int[np.ndarray, "n l"]) -> dict[str, Found]:
    """recall@k of captions by pictures, among the different captions, and of pictures by captions."""
    different = np.unique(tokens, axis=0)
    right = alike(torch.from_numpy(tokens), torch.from_numpy(different))
    table = encoder.pictures(items) @ encoder.captions(different).T
    found = {}
    for name, similar, fitting in (("text", table, right), ("picture", table.T, right.T)):
        for k in DEPTHS:
            found[f"{name}_recall_{k}"] = Found(recall(similar, fitting, k), recall_by_chance(fitting, k))
    return found


def zero_shot(
    encoder: Encoder, items: np.ndarray, labels: Int[np.ndarray, " n"], classes: Int[np.ndarray, "k l"]
) -> Found:
    """How often the nearest name of a class is that of the picture; chance names every class equally often."""
    nearest = (encoder.pictures(items) @ encoder.captions(classes).T).argmax(1).numpy()
    return Found(wilson(int((nearest == labels).sum()), len(labels)), 1 / len(classes))


def agreement(encoder: Encoder, made: np.ndarray, asked: Int[np.ndarray, "n l"]) -> dict[str, Found]:
    """recall@k of the caption that each made picture was asked by, among all that were asked."""
    different = np.unique(asked, axis=0)
    right = alike(torch.from_numpy(asked), torch.from_numpy(different))
    table = encoder.pictures(made) @ encoder.captions(different).T
    return {f"agreement_{k}": Found(recall(table, right, k), recall_by_chance(right, k)) for k in DEPTHS}


def told_apart(
    encoder: Encoder, made: np.ndarray, asked: Int[np.ndarray, "n l"], others: Int[np.ndarray, "n k l"]
) -> Found:
    """How often a made picture is nearer to its caption than to each of `others`, its own k false ones."""
    pictures = encoder.pictures(made)
    true = (pictures * encoder.captions(asked)).sum(1)
    false = encoder.captions(others.reshape(-1, others.shape[2])).unflatten(0, others.shape[:2])
    right = true > (pictures[:, None] * false).sum(2).amax(1)
    return Found(wilson(int(right.sum()), len(made)), 1 / (others.shape[1] + 1))


def unseen(split: Split, most: int = MOST) -> Int[np.ndarray, " n"]:
    """At most `most` rows of `split` that have a caption, always the same ones.

    Raises:
        MaquetteError: MQ-2152 when there are fewer than `LEAST`.
    """
    told = np.flatnonzero([bool(caption) for caption in split.captions])
    if len(told) < LEAST:
        raise MaquetteError("MQ-2152", n=len(told), least=LEAST)
    return np.sort(np.random.default_rng(0).permutation(told)[:most])


def of_unseen(encoder: Encoder, split: Split, encode: Encode, classes: Sequence[str] = ()) -> dict[str, Found]:
    """Everything that an encoder is asked of unseen rows that have a caption, at most `MOST` of them.

    Args:
        encode: how captions are made tokens.
        classes: names of the labels of `split`, which are asked for as captions where every row has a label.

    Raises:
        MaquetteError: MQ-2152 when there are fewer than `LEAST` rows.
    """
    rows = unseen(split)
    items, labels = np.asarray(split.items[rows]), np.asarray(split.labels)[rows]
    found = retrieval(encoder, items, encode([split.captions[row] for row in rows]))
    if classes and (labels >= 0).all():
        found["zero_shot"] = zero_shot(encoder, items, labels, encode(classes))
    return found


def shot(encoder: Encoder, split: Split, encode: Encode) -> Shot:
    """Unseen captions, and the unseen pictures that lie nearest to each."""
    rows = unseen(split)
    firsts = list({split.captions[row]: row for row in rows.tolist()}.values())[:COLUMNS]
    titles, items = [split.captions[row] for row in firsts], np.asarray(split.items[rows])
    near = (encoder.captions(encode(titles)) @ encoder.pictures(items).T).topk(min(NEAR, len(rows)), 1).indices.numpy()
    sheet = np.concatenate([np.asarray(split.items[firsts])[None], items[near.T]]).reshape(-1, *items.shape[1:])
    caption = Sentence(
        f"Under each caption its own picture, and the {near.shape[1]} of {len(rows)} unseen ones nearest to it.",
        f"每条说明之下是它自己的图片，以及 {len(rows)} 张未见图片中与它最近的 {near.shape[1]} 张。",
    )
    png = encoder.medium.sheet(sheet, len(firsts), titles)
    return Shot("retrieval", "Pictures by their captions", caption, png)


@dataclass(frozen=True)
class Judge:
    """An encoder that says how well made pictures agree with the captions that they were asked by.

    Attributes:
        digest: of its weights.
        combinations: which words of captions are styles, where pairs of a subject and a style were held out.
    """

    encoder: Encoder
    encode: Encode
    digest: str
    combinations: Combinations | None = None

    @classmethod
    def of(cls, judge: Pipeline, judged: Pipeline, combinations: Combinations | None = None) -> "Judge":
        """Raises `MaquetteError` MQ-2153 when `judge` cannot say anything of what `judged` makes."""
        reason, captions = "", judge.along.captions
        if not isinstance(judge.model, TwoTowers) or captions is None:
            reason = f"a {judge.model.config.kind()} model does not compare pictures with captions"
        elif judge.medium.space != judged.medium.space:
            reason = f"it knows samples of {judge.medium.space}, not of {judged.medium.space}"
        elif judged.along.captions is None or judged.model.beside.image is not None:
            reason = "the model makes nothing of captions alone"
        if reason or not isinstance(judge.model, TwoTowers) or captions is None:
            raise MaquetteError("MQ-2153", "judge", reason=reason)
        return cls(Encoder(judge.model, judge.medium, judge.device), captions.encode, judge.digest, combinations)

    def scores(
        self, pipeline: Pipeline, dataset: Dataset, ask: Request, stamp: Stamp, extractor: Extractor
    ) -> Iterator[Score]:
        """What it says of pictures that `pipeline` makes of unseen captions, in the way of `ask`, and which labels the
        extractor takes them for where these captions have several (of one alone everything would be right).

        Args:
            stamp: of scores without an extractor.

        Raises:
            MaquetteError: MQ-2152 when there are too few captions.
        """
        test, rows = dataset.test, unseen(dataset.test, min(ask.n, ASKED))
        captions, labels = [test.captions[row] for row in rows], np.asarray(test.labels)[rows]
        told = tuple(labels.tolist()) if ask.label is not None and bool((labels >= 0).all()) else None
        made = pipeline.generate(replace(ask, n=len(rows), prompt=tuple(captions), label=told))
        near = np.asarray(dataset.train.items[nearest_captions(dataset.train.captions, captions)])
        groups = made, np.asarray(test.items[rows]), near
        own, *others = (self._found(items, captions) for items in groups)
        signed = replace(stamp, extractor="judge", weights=self.digest, real=len(rows), made=len(rows))
        yield from scores(own, signed, dict(zip((REAL, NEAREST), others, strict=True)))
        if extractor.labels and told is None and (labels >= 0).all() and len(np.unique(labels)) > 1:
            taken = [self._taken(extractor, items, labels) for items in groups]
            most, simpler = np.bincount(labels).max() / len(rows), dict(zip((REAL, NEAREST), taken[1:], strict=True))
            named = replace(signed, extractor=extractor.name, weights=extractor.digest, resize=extractor.resize)
            yield Score.of("label_accuracy", taken[0], named, baselines={FREQUENT: Estimate(most)} | simpler)

    def _taken(self, extractor: Extractor, items: np.ndarray, labels: Int[np.ndarray, " n"]) -> Estimate:
        """How many items the extractor takes for what they should be."""
        logits = extractor.see(items, self.encoder.medium, self.encoder.device).logits
        assert logits is not None, "it knows labels"
        return wilson(int((logits.argmax(1).numpy() == labels).sum()), len(labels))

    def _found(self, items: np.ndarray, captions: Sequence[str]) -> dict[str, Found]:
        found = agreement(self.encoder, items, self.encode(captions))
        others = [self.combinations.others(caption) if self.combinations else [] for caption in captions]
        if rows := [row for row, false in enumerate(others) if false]:
            false = np.stack([self.encode(others[row]) for row in rows])
            found["told_apart"] = told_apart(self.encoder, items[rows], self.encode([captions[r] for r in rows]), false)
        return found


def scores(
    found: Mapping[str, Found], stamp: Stamp, simpler: Mapping[str, Mapping[str, Found]] = {}
) -> Iterator[Score]:
    """What was found as scores of a report, beside chance and what simpler ways by name have found."""
    for name, own in found.items():
        others = {who: there[name].share for who, there in simpler.items() if name in there}
        yield Score.of(name, own.share, stamp, baselines={CHANCE: Estimate(own.chance)} | others)


def nearest_captions(known: Sequence[str], asked: Sequence[str]) -> Int[np.ndarray, " n"]:
    """For each caption that is asked the row of the known one with the largest cosine of their TF-IDF vectors."""
    vectors = tf_idf()
    there = vectors.fit_transform(list(known))
    near = [(vectors.transform(part) @ there.T).toarray().argmax(1) for part in _parts(asked)]
    return np.concatenate(near)


def _parts(texts: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(texts), BATCH):
        yield list(texts[start : start + BATCH])
