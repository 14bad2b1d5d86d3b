"""Answers to unseen questions: BLEU, chrF and ROUGE-L of what a model says, and of what simpler ways would have said.

A question is asked once, whatever the number of its true answers, and answered greedily: the likeliest token each time.
BLEU (Papineni et al. 2002) and chrF (Popovic 2015) are sacreBLEU's (Post 2018), whose signature is in the stamp. Two
ways without a model answer the same questions: the answer to the training question that is nearest by TF-IDF; and,
where questions are much longer than answers, as in summaries, the first sentence of the question.
"""

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from maquette.core.errors import MaquetteError, Sentence
from maquette.core.sequences import exchanges
from maquette.core.types import Sampling, Tokens
from maquette.data.dataset import Dataset, Split
from maquette.evaluate.bag import tf_idf
from maquette.evaluate.reference import picked
from maquette.evaluate.report import Score, Shot, Stamp
from maquette.evaluate.scores import cost
from maquette.evaluate.scores.intervals import DRAWS, Estimate, bootstrapped
from maquette.evaluate.scores.rouge import rouge_l
from maquette.evaluate.scores.words import distinct, repetition, words
from maquette.media.base import Medium
from maquette.pipeline import Pipeline, Request

MOST = 1_000
"""At most so many questions are asked."""
LEAST = 10
"""Fewer questions than this are not scored."""
WINDOWS = 20_000
"""At most so many windows of each split are searched for questions."""
LONGER = 3
"""Questions with so many times the words of their answers are taken for texts to be summarised."""
NEAREST, FIRST = "nearest training question", "first sentence"
BY_SACREBLEU = f"95 %, bootstrap of {DRAWS} draws over questions, by sacreBLEU"
SHOWN, LETTERS = 16, 240
"""Answers on the picture, and characters of each of their questions."""

Questions = Mapping[str, Sequence[str]]
"""Question -> its true answers, each once."""


@dataclass(frozen=True)
class Exam:
    """A model's answers and those of simpler ways, question by question.

    Attributes:
        asked: questions, the shortest first.
        references: the true answers to each.
        answers: what the model said; `simpler`: what each other way says, by its name.
        drawn: the model's answers as stored items, and what they cost.
        known: how many of the questions stand in the training data too.
    """

    asked: Sequence[str]
    references: Sequence[Sequence[str]]
    answers: Sequence[str]
    simpler: Mapping[str, Sequence[str]]
    drawn: cost.Timed[np.ndarray]
    known: int

    def scores(self, stamp: Stamp) -> Iterator[Score]:
        """Every score of the answers, beside those of the simpler ways; `stamp` is for those without sacreBLEU."""
        yield from against(self.answers, self.references, self.simpler, stamp)
        real = [reference[0] for reference in self.references]
        yield Score.of("distinct_2", distinct(self.answers, 2), stamp, distinct(real, 2).value)
        yield Score.of("repetition", repetition(self.answers), stamp, repetition(real).value)

    def notes(self) -> Iterator[str]:
        yield Sentence("Answers are greedy: the likeliest token each time.", "回答用贪心解码：每次取最可能的词元。")
        yield Sentence(
            "What is longer than a window is not asked; of a conversation only the first question is.",
            "超过一个窗口长度的不问；一段对话只问第一个问题。",
        )
        if self.known:
            zh = f"{len(self.asked):,} 个问题中有 {self.known:,} 个也见于训练数据。"
            yield Sentence(f"{self.known:,} of the {len(self.asked):,} questions stand in the training data too.", zh)

    def shot(self, medium: Medium) -> Shot:
        """The picture of a few questions with their answers, spread from the shortest to the longest."""
        rows = np.unique(np.linspace(0, len(self.asked) - 1, SHOWN).astype(int))
        items = [
            medium.label(self.drawn.result[i], f"{self.asked[i][:LETTERS]}\n[{self.references[i][0][:LETTERS]}]")
            for i in rows
        ]
        caption = Sentence(
            "Questions, in brackets a true answer, and what the model answers; from short to long, not chosen.",
            "问题、括号中的正确答案，以及模型的回答；由短到长，未经挑选。",
        )
        return Shot("samples", "Answers", caption, medium.sheet(np.stack(items)))


def against(
    said: Sequence[str], truth: Sequence[Sequence[str]], simpler: Mapping[str, Sequence[str]], stamp: Stamp
) -> Iterator[Score]:
    """chrF, BLEU and ROUGE-L of what is said against what would be right, beside those of simpler ways by name."""
    for name in ("chrf", "bleu"):
        own, signature = _by_sacrebleu(name, said, truth)
        others = {who: _by_sacrebleu(name, other, truth)[0] for who, other in simpler.items()}
        signed = replace(stamp, extractor="sacreBLEU", software=stamp.software | {"sacrebleu": signature})
        yield Score.of(name, own, signed, baselines=others)
    others = {who: _rouge(other, truth) for who, other in simpler.items()}
    yield Score.of("rouge_l", _rouge(said, truth), stamp, baselines=others)


def examine(pipeline: Pipeline, dataset: Dataset, n: int, say: Callable[[str], None] = lambda line: None) -> Exam:
    """Ask `pipeline` at most `n` unseen questions of `dataset`, and the simpler ways too.

    Raises:
        MaquetteError: MQ-2084 when there are fewer than `LEAST`.
    """
    medium = pipeline.medium
    held, learnt = questions(dataset.test, medium), questions(dataset.train, medium)
    possible = (question for question in held if _can_be_asked(question, medium))
    asked = sorted(itertools.islice(possible, min(n, MOST)), key=len)  # like lengths together: a batch waits for all
    if len(asked) < LEAST:
        raise MaquetteError("MQ-2084", n=len(asked), least=LEAST)
    say(Sentence(f"asking {len(asked)} questions", f"正在提出 {len(asked)} 个问题"))
    ask = Request(n=len(asked), prompt=tuple(asked), sampling=Sampling(top_k=1))
    drawn = cost.timed(lambda: pipeline.generate(ask), pipeline.device)
    references = [held[question] for question in asked]
    simpler = {NEAREST: nearest_answers(learnt, asked)} if learnt else {}
    if median(_ratio(q, a[0]) for q, a in zip(asked, references, strict=True)) >= LONGER:
        simpler[FIRST] = [first_sentence(question) for question in asked]
    return Exam(
        asked=asked,
        references=references,
        answers=[medium.words(item) or "" for item in drawn.result],
        simpler=simpler,
        drawn=drawn,
        known=sum(question in learnt for question in asked),
    )


def questions(split: Split, medium: Medium) -> dict[str, list[str]]:
    """The questions of a split with their answers, in an order that is shuffled but always the same."""
    found: dict[str, list[str]] = {}
    space = medium.space
    for row in picked(split, WINDOWS, 0):
        assert isinstance(space, Tokens) and space.marks is not None, "who asks has marks"
        for question, answer in exchanges(np.asarray(split.items[row]), space.marks):
            answers = found.setdefault(medium.passage(question), [])
            if (said := medium.passage(answer)) not in answers:
                answers.append(said)
    return found


def _can_be_asked(question: str, medium: Medium) -> bool:
    """One that was cut to its window may have more tokens when it is read again, half a character for one."""
    try:
        medium.asked(question)
    except MaquetteError:
        return False
    return True


# -- simpler ways -----------------------------------------------------------------------------------------------------


def nearest_answers(learnt: Questions, asked: Sequence[str]) -> list[str]:
    """For each question the first answer to the training question with the largest cosine of their TF-IDF vectors."""
    vectors = tf_idf()
    known, answers = vectors.fit_transform(list(learnt)), [said[0] for said in learnt.values()]
    near: list[int] = []
    for start in range(0, len(asked), 100):
        near += (vectors.transform(asked[start : start + 100]) @ known.T).toarray().argmax(1).tolist()
    return [answers[i] for i in near]


_SENTENCE = re.compile(r".+?(?:[.!?](?=\s|$)|[。！？])", re.DOTALL)


def first_sentence(text: str) -> str:
    """
    >>> first_sentence("It costs 3.50 euros. Not more."), first_sentence("天晴。走吧。"), first_sentence("no end")
    ('It costs 3.50 euros.', '天晴。', 'no end')
    """
    found = _SENTENCE.match(text.strip())
    return found[0] if found else text.strip()


def _ratio(question: str, answer: str) -> float:
    return len(words(question)) / max(1, len(words(answer)))


# -- scores -----------------------------------------------------------------------------------------------------------


def _by_sacrebleu(name: str, answers: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[Estimate, str]:
    """A corpus score (0 to 100) with its interval, and sacreBLEU's signature of how it was taken."""
    metrics = _sacrebleu()
    metric = metrics.CHRF() if name == "chrf" else metrics.BLEU(tokenize="zh" if mostly_han(references) else "13a")
    most = max(map(len, references))
    streams = [[one[i] if i < len(one) else None for one in references] for i in range(most)]
    score = metric.corpus_score(list(answers), streams, n_bootstrap=DRAWS)
    signature = str(metric.get_signature())
    tree = json.loads(score.format(width=9, signature=signature, is_json=True))
    if "confidence_mean" not in tree:  # not one match in any draw
        return Estimate(score.score, score.score, score.score, BY_SACREBLEU), signature
    mean, reach = tree["confidence_mean"], tree["confidence_var"]
    return Estimate(score.score, max(0.0, mean - reach), mean + reach, BY_SACREBLEU), signature


def mostly_han(references: Sequence[Sequence[str]]) -> bool:
    """Whether most letters are Chinese characters, which BLEU then counts singly."""
    letters = [c for one in references for text in one for c in text if c.isalpha()]
    return 2 * sum("\u3400" <= c <= "\u9fff" for c in letters) > len(letters)


def _rouge(answers: Sequence[str], references: Sequence[Sequence[str]]) -> Estimate:
    return bootstrapped([rouge_l(said, true) for said, true in zip(answers, references, strict=True)])


def _sacrebleu() -> Any:
    try:
        import sacrebleu.metrics
    except ImportError:
        raise MaquetteError("MQ-3010", package="sacrebleu", extra="text") from None
    return sacrebleu.metrics
