"""Kneser-Ney smoothing: by hand, against a slow reference, as a distribution, and where documents end."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Given, Marks, Tokens
from maquette.evaluate.scores.kneser_ney import KneserNey, discounts

END, PROMPT, ANSWER = MARKS = Marks(end=0, prompt=1, answer=2)
SPACE = Tokens((6,), 5, MARKS)


def batch(*rows: list[int]) -> Batch:
    return Batch(torch.tensor(rows), Given(), Seeds.for_samples(0, len(rows)))


def after(model: KneserNey, *context: int) -> list[float]:
    """The probability of every token after `context`."""
    rows = np.array([[0] * (model.order - 1 - len(context)) + [*context, w] for w in range(model.space.vocab)])
    return model.probability(rows, np.full(len(rows), len(context))).tolist()


# -- by hand ----------------------------------------------------------------------------------------------------------


def test_a_bigram_by_hand() -> None:
    """END a b a b END: the pairs (END a) 1, (a b) 2, (b a) 1, (b END) 1 give Y = 3/5, D = (0.6, 1, 1.5); a stands after
    two tokens, b and END after one, which gives Y = 1/2, D = (0.5, 1, 1.5), and 1/2 of 1/5 to every token."""
    model = KneserNey.fit(torch.tensor([[0, 3, 4, 3, 4, 0]]), SPACE, 2)
    unigram = [0.125 + 0.1, 0.1, 0.1, 0.25 + 0.1, 0.125 + 0.1]
    assert after(model, ANSWER) == pytest.approx(unigram)  # a context that never was
    assert after(model, 3) == pytest.approx([0.5 * p for p in unigram[:4]] + [(2 - 1) / 2 + 0.5 * unigram[4]])
    assert after(model, 4) == pytest.approx([0.2 + 0.6 * 0.225, 0.06, 0.06, 0.2 + 0.6 * 0.35, 0.6 * 0.225])
    cost = -math.log(0.61 * 0.6125 * 0.41 * 0.6125 * 0.335)
    assert model.nll(batch([0, 3, 4, 3, 4, 0])).tolist() == pytest.approx([cost])


def test_discounts_by_hand() -> None:
    """n = (10, 4, 2, 1): Y = 10/18, D = 1 - 2Y 4/10, 2 - 3Y 2/4, 3 - 4Y 1/2."""
    counts = np.repeat([1, 2, 3, 4, 9], [10, 4, 2, 1, 3])
    assert discounts(counts).tolist() == pytest.approx([0, 5 / 9, 7 / 6, 17 / 9])


@pytest.mark.parametrize("counts", [[], [1, 1, 1], [5, 7, 9], [2, 2, 3, 4]])
def test_counts_that_say_nothing_take_halves(counts: list[int]) -> None:
    assert discounts(np.array(counts, dtype=np.int64)).tolist() == [0, 0.5, 1, 1.5]


def test_only_the_discount_that_is_not_said_is_half() -> None:
    """n = (2, 1, 4, 8): Y = 1/2 and D(1) = 1/2, but 2 - 3/2 * 4 and 3 - 2 * 2 are below 0."""
    assert discounts(np.repeat([1, 2, 3, 4], [2, 1, 4, 8])).tolist() == [0, 0.5, 1, 1.5]
    assert discounts(np.repeat([1, 2], [3, 2])).tolist() == pytest.approx([0, 3 / 7, 1, 1.5])


# -- against a slow reference -----------------------------------------------------------------------------------------


class Slow:
    """The same by its definition, with dictionaries."""

    def __init__(self, rows: list[list[int]], vocab: int, order: int):
        self.vocab, self.order = vocab, order
        self.seen: list[Counter] = [Counter() for _ in range(order)]
        for context, token in (pair for row in rows for pair in predictions(row, order)):
            for n in range(len(context) + 1):
                self.seen[n][context[len(context) - n :], token] += 1
        self.spread: list[Counter] = [Counter() for _ in range(order)]
        for n in range(1, order):
            for context, token in self.seen[n]:
                self.spread[n - 1][context[1:], token] += 1
        self.times = {id(table): Counter(table.values()) for table in (*self.seen, *self.spread)}
        self.children = {id(counts): [self.grouped(table) for table in counts] for counts in (self.seen, self.spread)}

    @staticmethod
    def grouped(table: Counter) -> dict[tuple, dict[int, int]]:
        made: dict[tuple, dict[int, int]] = defaultdict(dict)
        for (context, token), count in table.items():
            made[context][token] = count
        return made

    def discount(self, table: Counter, count: int) -> float:
        n = self.times[id(table)]
        y = n[1] / (n[1] + 2 * n[2]) if n[1] else 0
        i = min(count, 3)
        d = i - (i + 1) * y * n[i + 1] / n[i] if n[i] else 0
        return d if 0 < d < i else i / 2

    def probability(self, context: tuple, token: int, counts: list[Counter] | None = None) -> float:
        counts = counts or self.seen
        lower = self.probability(context[1:], token, self.spread) if context else 1 / self.vocab
        n = len(context)
        children = self.children[id(counts)][n].get(context, {})
        if not children:
            return lower
        taken = {w: self.discount(counts[n], c) for w, c in children.items()}
        own = children[token] - taken[token] if token in children else 0
        return (own + sum(taken.values()) * lower) / sum(children.values())


def predictions(row: list[int], order: int) -> Iterator[tuple[tuple, int]]:
    """(context, token) of what counts in a window: neither prompts nor an end after an end, nothing across an end."""
    state, start = END, 0
    for t in range(1, len(row)):
        before, token = row[t - 1], row[t]
        state = before if before in MARKS else state
        start = t - 1 if before == END else start
        if state != PROMPT and token != PROMPT and not before == token == END:
            yield tuple(row[max(start, t - order + 1) : t]), token


def windows(seed: int, n: int, length: int, vocab: int) -> list[list[int]]:
    """Documents of a few favourite tokens, some with a prompt and an answer, in windows with padding at their ends."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        row: list[int] = [] if rng.random() < 0.5 else rng.integers(3, vocab, 4).tolist()
        while len(row) < length - 3:
            words = (3 + rng.geometric(0.4, rng.integers(1, 9)).clip(max=vocab - 3) - 1).tolist()
            asked = [PROMPT, *words[:2], ANSWER] if rng.random() < 0.3 else []
            row += [END, *asked, *words]
        rows.append((row + [END] * length)[:length])
    return rows


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("n", [1, 40])
def test_it_is_the_slow_reference(order: int, n: int) -> None:
    space = Tokens((24,), 12, MARKS)
    known, asked = windows(0, n, 24, 12), windows(1, 20, 24, 12)
    model, slow = KneserNey.fit(torch.tensor(known), space, order), Slow(known, 12, order)
    costs = [-sum(math.log(slow.probability(*pair)) for pair in predictions(row, order)) for row in asked]
    assert model.nll(batch(*asked)).tolist() == pytest.approx(costs, rel=1e-12)


def test_tokens_without_marks_begin_with_no_context() -> None:
    """Of eight tokens two are 0, four 1, two 2; nothing was counted once, so halves are taken: 1, 1.5 and 1 of 8."""
    space, rows = Tokens((4,), 3), [[0, 1, 2, 1], [0, 1, 1, 2]]
    model = KneserNey.fit(torch.tensor(rows), space, 3)
    assert after(model) == pytest.approx([1 / 8 + 3.5 / 24, 2.5 / 8 + 3.5 / 24, 1 / 8 + 3.5 / 24])
    assert model.nll(batch([0, 1, 2, 1])).item() == pytest.approx(
        -math.log(after(model)[0] * after(model, 0)[1] * after(model, 0, 1)[2] * after(model, 1, 2)[1])
    )


# -- what must hold ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> KneserNey:
    return KneserNey.fit(torch.tensor(windows(2, 30, 24, 12)), Tokens((24,), 15, MARKS), 5)


def test_it_is_a_distribution_after_any_context(model: KneserNey) -> None:
    """Tokens 12 to 14 never occur, so half of the contexts were never seen; the others stand in the text."""
    rng = np.random.default_rng(3)
    seen = [context for row in windows(2, 5, 24, 12) for context, _ in predictions(row, 5)]
    strange = [tuple(rng.integers(0, 15, size).tolist()) for size in (1, 2, 3, 4) * 10]
    for context in [*seen, *strange, (14,), (13, 3), (3, 13)]:
        p = after(model, *context)
        assert sum(p) == pytest.approx(1, abs=1e-12) and min(p) > 0, context


def test_shorter_n_grams_are_a_part_of_longer_ones(model: KneserNey) -> None:
    known, asked = torch.tensor(windows(2, 30, 24, 12)), batch(*windows(4, 10, 24, 12))
    for order in (1, 2, 4):
        assert model.of_order(order).nll(asked).equal(KneserNey.fit(known, model.space, order).nll(asked))


def test_documents_do_not_help_each_other(model: KneserNey) -> None:
    both, first, second = [0, 3, 4, 0, 4, 5, 0, 0], [0, 3, 4, 0, 0, 0, 0, 0], [0, 4, 5, 0, 0, 0, 0, 0]
    together, one, other = model.nll(batch(both, first, second)).tolist()
    assert together == pytest.approx(one + other)


def test_what_is_given_costs_nothing(model: KneserNey) -> None:
    answered = [0, PROMPT, 5, 6, ANSWER, 3, 0, 0]
    costs = model.nll(batch(answered, [0, PROMPT, 5, 5, 5, 5, 5, 5])).tolist()
    answer = -math.log(after(model, PROMPT, 5, 6, ANSWER)[3] * after(model, 5, 6, ANSWER, 3)[0])
    assert costs == [pytest.approx(answer), 0]


def test_nothing_to_learn_from_leaves_every_token_equal() -> None:
    model = KneserNey.fit(torch.zeros((1, 6), dtype=torch.int64), SPACE, 3)
    assert after(model, 3, 4) == pytest.approx([0.2] * 5)


def test_a_text_that_was_learnt_costs_less_the_longer_the_n_grams() -> None:
    rows = [[0, *([3, 4, 5, 3, 5, 4] * 4)[:23]] for _ in range(10)]
    model = KneserNey.fit(torch.tensor(rows), Tokens((24,), 8, MARKS), 5)
    asked: Tensor = torch.tensor(rows[:1])
    costs = [float(model.of_order(n).nll(Batch(asked, Given(), Seeds.for_samples(0, 1)))) for n in (1, 2, 3)]
    assert costs[0] > costs[1] > costs[2]
