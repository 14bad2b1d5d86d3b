"""Everything real that scores compare with, computed once for any number of models: samples, features, floors."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from maquette import __version__
from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds, mix
from maquette.core.types import Batch, Given, Tokens
from maquette.crafts.base import FILMS
from maquette.data.dataset import TEST, TRAIN, Dataset, Split
from maquette.evaluate.extractor import Choice, Extractor, Seen, choose_extractor
from maquette.evaluate.report import Stamp
from maquette.evaluate.scores.frechet import Moments, frechet_estimate
from maquette.evaluate.scores.histogram import MOST, kl_divergence
from maquette.evaluate.scores.inception_score import inception_score
from maquette.evaluate.scores.intervals import Estimate, of_mean
from maquette.evaluate.scores.kernel import kernel_distance
from maquette.evaluate.scores.kneser_ney import KneserNey
from maquette.evaluate.scores.likelihood import likelihood
from maquette.evaluate.scores.modes import modes_found
from maquette.evaluate.scores.motion import changes, flicker
from maquette.evaluate.scores.prdc import prdc
from maquette.evaluate.scores.sound import in_tune
from maquette.media.base import Medium, foretells

LEAST = 50
"""Fewer samples than this are not scored: an interval needs ten groups, and a neighbourhood its neighbours."""
ENOUGH = 1000
"""A test split of at least so many items (or all that are asked for) is compared with; else the training split is."""
NEIGHBOURS = 5
HELD_OUT = 512
"""At most so many unseen items are asked for their likelihood, and for reconstructions."""
COPIES = 1000
"""At most so many made samples are searched for among the training items."""
TOGETHER = 64
"""Films that are held in memory as numbers at once."""
BASELINES = {"bigram": 2, "5-gram": 5}
"""Models of n-grams that a model of text is held against, and how many tokens they look at."""
TAUGHT = 4 << 20
"""Tokens that they learn from at most: a few hundred megabytes while they do."""
PER_ITEM = "95 %, Student's t over samples"


@dataclass(frozen=True)
class Reference:
    """Real samples and what the extractor sees in them.

    Attributes:
        n, seed: how many are compared, and the seed that picked them.
        split: where `items` come from; `floor_split`: where the second real set comes from.
        rows, items, labels, seen: n real samples, and which of the split they are. other: n others, which the floors
            are the scores of.
        learnt: what the models have learnt from, as far as it can be had: copies and neighbours are looked for there.
    """

    dataset: Dataset
    medium: Medium
    extractor: Extractor
    device: torch.device
    n: int
    seed: int
    split: str
    floor_split: str
    rows: np.ndarray
    items: np.ndarray
    labels: np.ndarray
    seen: Seen
    other: np.ndarray
    learnt: Dataset

    @cached_property
    def captions(self) -> tuple[str, ...]:
        """What is said of the real samples."""
        split = self.dataset.test if self.split == TEST else self.dataset.train
        return tuple(split.captions[row] for row in self.rows.tolist())

    @cached_property
    def moments(self) -> Moments:
        return Moments.of(self.seen.features)

    @cached_property
    def floors(self) -> dict[str, float]:
        """Every score of real samples against real ones, at the same n; how many labels are right of unseen ones."""
        seen = self.extractor.see(self.other, self.medium, self.device)
        nothing_asked = np.full(len(self.other), -1)
        found = {name: estimate.value for name, estimate in self.score(self.other, seen, nothing_asked).items()}
        if self.extractor.labels and self.unlearnt is not None:
            seen, labels = self.unlearnt
            assert seen.logits is not None, "who tells labels has logits"
            found["label_accuracy"] = float((seen.logits.argmax(1).numpy() == labels).mean())
        return found

    @cached_property
    def unlearnt(self) -> tuple[Seen, np.ndarray] | None:
        """Real samples with labels from which no classifier has learnt: those of the test split; None where it has
        none. The others are told better than unseen ones can be."""
        test = self.dataset.test
        rows = self.rows if self.split == TEST else picked(test, self.n, self.seed)
        known = np.asarray(test.labels)[rows] >= 0
        if not known.any():
            return None
        rows, seen, told = rows[known], self.seen, torch.from_numpy(known)
        if self.split != TEST:
            return self.extractor.see(np.asarray(test.items[rows]), self.medium, self.device), test.labels[rows]
        return Seen(seen.features[told], None if seen.logits is None else seen.logits[told]), test.labels[rows]

    def score(self, items: np.ndarray, seen: Seen, labels: np.ndarray) -> dict[str, Estimate]:
        """Every score of `items` that compares them with the real ones; `labels` are what was asked, -1 for nothing."""
        shares = prdc(self.seen.features, seen.features, NEIGHBOURS)
        made = {
            "fid": frechet_estimate(self.moments, seen.features),
            "kid": kernel_distance(self.seen.features, seen.features),
            "precision": shares.precision,
            "recall": shares.recall,
            "density": shares.density,
            "coverage": shares.coverage,
        }
        if seen.logits is not None:
            made["inception_score"] = inception_score(seen.logits)
        if seen.logits is not None and self.extractor.labels and (labels >= 0).any():
            asked = torch.from_numpy(labels)
            right = (seen.logits.argmax(1) == asked)[asked >= 0]
            made["label_accuracy"] = of_mean(right.double().tolist(), PER_ITEM).as_share()
        if (modes := self.dataset.modes) is not None:
            found = modes_found(torch.from_numpy(items), torch.from_numpy(np.asarray(modes.centres)), modes.sigma)
            made["modes"] = Estimate(float(found.found))
            made["quality"] = found.quality.as_share()
        if len(self.medium.space.shape) == 1 and self.medium.space.shape[0] <= MOST:
            made["kl"] = Estimate(kl_divergence(self.items, items))
        if self.dataset.pitches and (labels >= 0).any():
            made["pitch_accuracy"] = self._in_tune(items, labels)
        if len(self.medium.space.shape) == FILMS:
            made["flicker"] = flicker(self._changes(self.items), self._changes(items))
        return made | self.extractor.further(self.items, items)

    def _changes(self, items: np.ndarray) -> Tensor:
        """How much each film changes from frame to frame."""
        parts = np.split(items, range(TOGETHER, len(items), TOGETHER))
        return torch.cat([changes(self.medium.to_tensor(part)) for part in parts])

    def _in_tune(self, items: np.ndarray, labels: np.ndarray) -> Estimate:
        """How many of the sounds that were asked for as notes have their pitch."""
        known = self.dataset.pitches
        asked = np.array([known.get(self.dataset.classes[label], np.nan) if label >= 0 else np.nan for label in labels])
        rows = np.flatnonzero(np.isfinite(asked))
        return in_tune(self.medium.to_tensor(items[rows]), self.medium.rate, asked[rows])

    @cached_property
    def unseen(self) -> tuple[str, np.ndarray]:
        """The split, and rows of it, whose likelihood is asked for: the test split if there is one."""
        name, split = (TEST, self.dataset.test) if len(self.dataset.test) else (TRAIN, self.dataset.train)
        return name, picked(split, HELD_OUT, self.seed)

    @property
    def taught(self) -> int:
        """How many training items the baselines learn from."""
        return min(len(self.dataset.train), TAUGHT // self.medium.stored[0])

    @cached_property
    def baselines(self) -> dict[str, Estimate]:
        """What `BASELINES` pay for the very items of `unseen`, in the unit of likelihoods; {} where there are no words
        or nothing is unseen."""
        space, (split, rows) = self.medium.space, self.unseen
        if split != TEST or not isinstance(space, Tokens) or space.marks is None:
            return {}
        train, test = self.dataset.train, self.dataset.test
        known = self.medium.to_tensor(np.asarray(train.items[picked(train, self.taught, self.seed)]))
        asked = Batch(self.medium.to_tensor(np.asarray(test.items[rows])), Given(), Seeds.for_samples(0, len(rows)))
        model = KneserNey.fit(known, space, max(BASELINES.values()))
        return {name: likelihood(model.of_order(n), [asked], self.medium) for name, n in BASELINES.items()}

    @cached_property
    def copied(self) -> dict[str, float]:
        """How much of unseen real items stands in the training data: the floors of copies; {} where none is unseen."""
        test = self.learnt.test
        if not len(test):
            return {}
        unseen = np.asarray(test.items[picked(test, COPIES, self.seed)])
        return {name: estimate.value for name, estimate in self.extractor.copied(unseen).items()}

    @property
    def openings(self) -> np.ndarray | None:
        """What the made samples begin with, as stored [n, k]: the beginnings of the real ones; None for nothing."""
        return self.items[:, : self.extractor.given] if self.extractor.given else None

    def stamp(self, made: int, seed: int) -> Stamp:
        """The stamp of a score of `made` samples against this reference."""
        return Stamp(
            extractor=self.extractor.name,
            weights=self.extractor.digest,
            resize=self.extractor.resize,
            data=self.dataset.fingerprint,
            split=self.split,
            real=self.n,
            made=made,
            seed=seed,
            software=software(),
        )

    @cached_property
    def pool(self) -> np.ndarray:
        """Training items among which neighbours in features are looked for."""
        return np.asarray(self.learnt.train.items[picked(self.learnt.train, self.extractor.pool, self.seed)])

    @cached_property
    def pool_features(self) -> Tensor:
        return self.extractor.see(self.pool, self.medium, self.device).features


def software() -> dict[str, str]:
    """Versions of what computes scores."""
    return {"maquette": __version__, "torch": torch.__version__, "numpy": np.__version__}


def prepare(
    dataset: Dataset,
    medium: Medium,
    device: torch.device,
    n: int = 2000,
    seed: int = 0,
    extractor: Choice = "auto",
    say: Callable[[str], None] = lambda line: None,
    learnt: Dataset | None = None,
) -> Reference:
    """Pick the real samples and look at them.

    The test split is compared with, and the training split gives the floor. Where the test split is small, both are
    halves of the training split. `n` falls to what there is: where pictures are given, to the held-out ones.

    Args:
        learnt: what the models have learnt from, where that is not `dataset`; items of the same medium.

    Raises:
        MaquetteError: MQ-2083 fewer than `LEAST` real samples or n below it, and what `choose_extractor` raises.
    """
    n = min(n, _answers(dataset.test)) if dataset.test.shows else n
    real, other, names = _two_sets(dataset, n, seed)
    n, least = min(n, len(real), len(other)), 1 if examined(medium) else LEAST
    if n < least:
        raise MaquetteError("MQ-2083", n=n, least=least)
    real, other = real[:n], other[:n]
    learnt = learnt or dataset
    chosen = choose_extractor(dataset, medium, device, extractor, 0, say, learnt.train.items)
    splits = {TRAIN: dataset.train, TEST: dataset.test}
    items, others = np.asarray(splits[names[0]].items[real]), np.asarray(splits[names[1]].items[other])
    return Reference(
        dataset=dataset,
        medium=medium,
        extractor=chosen,
        device=device,
        n=n,
        seed=seed,
        split=names[0],
        floor_split=names[1],
        rows=real,
        items=items,
        labels=np.asarray(splits[names[0]].labels)[real],
        seen=chosen.see(items, medium, device),
        other=others,
        learnt=learnt,
    )


def examined(medium: Medium) -> bool:
    """Whether models of it are asked and their answers scored, which are not compared with a set of real items."""
    return medium.asks or foretells(medium)


def _answers(test: Split) -> int:
    """How many different pictures are held out to be answered."""
    return len(test) if test.others is None else min(len(test), len(test.others))


def _two_sets(dataset: Dataset, n: int, seed: int) -> tuple[np.ndarray, np.ndarray, tuple[str, str]]:
    """Rows of the samples to compare with and of those for the floor, and the splits they are rows of."""
    if len(dataset.test) >= min(n, ENOUGH) and len(dataset.train) >= min(n, ENOUGH):
        return picked(dataset.test, n, seed), picked(dataset.train, n, seed), (TEST, TRAIN)
    rows = picked(dataset.train, 2 * n, seed)
    return rows[::2], rows[1::2], (TRAIN, TRAIN)


def picked(split: Split, n: int, seed: int) -> np.ndarray:
    """At most `n` rows of `split` in an order that the seed shuffles."""
    draw = torch.Generator().manual_seed(mix(seed, len(split)))
    return torch.randperm(len(split), generator=draw)[:n].numpy()
