"""Whether sounds say the words that they were asked to say: by a classifier of the captions of real ones.

The network is that of `domain.py`, with captions for labels: it never hears what a model makes before it judges it.
Where pairs of a caption and a label were held out of training (`data/combinations.py`) it learns from all real sounds
of the source's training split, these pairs included, since one that never heard a speaker say a word would rather
believe in another; the source's own test split says how often it is right of real ones. Besides, every word is asked
for in every voice, learnt together or not: a few held-out pairs need not have all words among them.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from maquette.core import files
from maquette.core.errors import Sentence
from maquette.data.dataset import Dataset, Split, both
from maquette.evaluate.agreement import CHANCE
from maquette.evaluate.domain import train_or_load
from maquette.evaluate.extractor import DomainExtractor
from maquette.evaluate.reference import picked
from maquette.evaluate.report import Score, Shot, Stamp
from maquette.evaluate.scores.intervals import Estimate, wilson
from maquette.media.base import Medium
from maquette.pipeline import Pipeline, Request

MOST, EACH = 100, 5
"""Different captions at most, and real sounds of each at least, for a classifier to tell them apart."""
ASKED = 500
"""At most so many sounds are asked for."""
ALL = 300
"""About so many, when every word is asked for with every label."""
SHOWN = 6
"""Pairs of words and a label on the picture of a report."""


@dataclass(frozen=True)
class Spoken:
    """Sounds that were asked for by captions of the test split, and what was heard in them.

    Attributes:
        asked, heard: numbers of the captions that each should say, and is taken for.
        pairs: of each its caption and its label, as a person would say them.
        made: stored items [n, *stored]. real: real ones of the same pairs.
        judge: the classifier. learnt: how many real sounds it has learnt from.
        every: of each caption, how often it was heard of how many times it was asked for, with each label in turn.
    """

    asked: Int[np.ndarray, " n"]
    heard: Int[np.ndarray, " n"]
    pairs: list[str]
    made: np.ndarray
    real: np.ndarray
    judge: DomainExtractor
    learnt: int
    every: dict[str, tuple[int, int]]

    def scores(self, stamp: Stamp) -> Iterator[Score]:
        """The shares of right ones beside that of real test sounds; `stamp` is for scores without an extractor."""
        judge, n = self.judge, len(self.made)
        signed = replace(stamp, extractor="words", weights=judge.digest, resize=judge.resize, real=self.learnt)
        right = wilson(int((self.heard == self.asked).sum()), n)
        chance = {CHANCE: Estimate(np.bincount(self.asked).max() / n)}
        yield Score.of("words_heard", right, replace(signed, made=n), judge.network.accuracy, baselines=chance)
        heard, asked = (sum(counts) for counts in zip(*self.every.values(), strict=True))
        chance = {CHANCE: Estimate(1 / len(self.every))}
        signed = replace(signed, made=asked)
        yield Score.of("every_word", wilson(heard, asked), signed, judge.network.accuracy, baselines=chance)

    def note(self) -> str:
        return Sentence(
            f"{len(self.made):,} sounds were asked for by the {len(set(self.pairs)):,} different captions, with their "
            "labels, of the test split: the interval is over sounds, not over captions. What they say is told by a "
            f"network that learnt from {self.learnt:,} real sounds and is right of "
            f"{self.judge.network.accuracy:.1%} of real test sounds. Of all words, each in all voices, it heard "
            + ", ".join(f"{word} {right} of {n} times" for word, (right, n) in self.every.items())
            + ".",
            f"按测试集中 {len(set(self.pairs)):,} 种不同的说明与标签索取了 {len(self.made):,} 段声音："
            "区间是对声音而非对说明而言的。"
            f"它们说了什么，由一个从 {self.learnt:,} 段真实声音学得的网络判断，它对真实测试声音的准确率为 "
            f"{self.judge.network.accuracy:.1%}。每个词以每种嗓音各索取若干次，听对的次数："
            + "，".join(f"{word} {n} 次中 {right} 次" for word, (right, n) in self.every.items())
            + "。",
        )

    def shot(self, medium: Medium) -> Shot:
        """The first sound of each pair under a real one."""
        rows = list({pair: row for row, pair in reversed(list(enumerate(self.pairs)))}.values())[::-1][:SHOWN]
        items = np.concatenate([self.real[rows], self.made[rows]])
        caption = Sentence(
            "Asked for by words and label, not chosen: above a real sound of both, below what the model says.",
            "按单词与标签索取，未经挑选：上为与二者相符的真实声音，下为模型所说。",
        )
        sheet = medium.sheet(items, len(rows), [self.pairs[row] for row in rows])
        return Shot("spoken", "Words asked for", caption, sheet, medium.clip(items))


def hear(
    pipeline: Pipeline, dataset: Dataset, ask: Request, say: Callable[[str], None] = lambda line: None
) -> Spoken | None:
    """What `pipeline` says of the captions of test rows, with their labels where it is told them, in the way of `ask`;
    None where captions are not a few words each of which many real sounds say."""
    told = by_words(dataset.whole or dataset)
    if told is None:
        return None
    number, test = {word: i for i, word in enumerate(told.classes)}, dataset.test
    rows = np.array([row for row in picked(test, len(test), 0).tolist() if test.captions[row] in number], int)
    if not len(rows):
        return None
    rows = np.resize(rows, min(ask.n, ASKED))
    words, labels = [test.captions[row] for row in rows], np.asarray(test.labels)[rows]
    known = len(pipeline.classes) > 0 and pipeline.classes == dataset.classes and bool((labels >= 0).all())
    spoken = tuple(labels.tolist()) if known else None
    asked = replace(ask, n=len(rows), prompt=tuple(words), label=spoken, opening=None)
    judge = DomainExtractor(*train_or_load(told, pipeline.medium, pipeline.device, 0, say), pipeline.device)
    zh = f"正在听 {len(rows)} 段被要求说话的声音"
    say(Sentence(f"listening to {len(rows)} sounds that were asked to say something", zh))
    made = pipeline.generate(asked)

    def heard(made: np.ndarray) -> Int[np.ndarray, " n"]:
        logits = judge.see(made, pipeline.medium, pipeline.device).logits
        assert logits is not None, "it knows labels"
        return logits.argmax(1).numpy()

    voices = range(len(dataset.classes)) if known else [0]
    pairs = [(word, voice) for voice in voices for word in number]
    pairs *= max(1, ALL // len(pairs))
    every = replace(
        ask,
        n=len(pairs),
        prompt=tuple(word for word, _ in pairs),
        label=tuple(voice for _, voice in pairs) if known else None,
        opening=None,
    )
    said = heard(pipeline.generate(every)) == [number[word] for word, _ in pairs]
    names = [f"{dataset.classes[label]}: " if known else "" for label in labels]
    return Spoken(
        asked=np.array([number[word] for word in words]),
        heard=heard(made),
        pairs=[name + word for name, word in zip(names, words, strict=True)],
        made=made,
        real=np.asarray(test.items[rows]),
        judge=judge,
        learnt=int((told.train.labels >= 0).sum()),
        every={word: (int(said[i :: len(number)].sum()), len(said[i :: len(number)])) for word, i in number.items()},
    )


def by_words(dataset: Dataset) -> Dataset | None:
    """`dataset` with its captions for labels; None where they are too many, one alone, or too rare."""
    counts = Counter(caption for caption in dataset.train.captions if caption)
    if not 2 <= len(counts) <= MOST or min(counts.values()) < EACH:
        return None
    number = {word: i for i, word in enumerate(sorted(counts))}

    def labelled(split: Split, name: str) -> Split:
        return replace(split, labels=np.array([number.get(caption, -1) for caption in split.captions], np.int64))

    mark = files.digest(f"{dataset.fingerprint} captions for labels".encode())
    return replace(both(dataset, labelled), classes=list(number), fingerprint=mark)
