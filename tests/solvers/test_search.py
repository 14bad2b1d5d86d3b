"""Beam search against a search through everything, and against greedy decoding."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from maquette.core.types import Sampling
from maquette.solvers.decoding import MAKE, decode, search

END = 0


def random_model(vocab: int, seed: int, coarse: bool = False) -> Callable[[Tensor, int], Tensor]:
    """Logits that depend on the whole beginning of a row; `coarse` ones are often equal, as in bf16."""
    table: dict[tuple[int, ...], Tensor] = {}
    generator = torch.Generator().manual_seed(seed)

    def predict(x: Tensor, at: int) -> Tensor:
        rows = []
        for row in x[:, :at].tolist():
            if tuple(row) not in table:
                logits = 2 * torch.randn(vocab, generator=generator)
                table[tuple(row)] = logits.round() if coarse else logits
            rows.append(table[tuple(row)])
        return torch.stack(rows)

    return predict


def log_probability(predict: Callable[[Tensor, int], Tensor], tokens: list[int], first: int) -> tuple[float, int]:
    """Of tokens `first` and after up to an END among them, and how many these are."""
    total, count = 0.0, 0
    for at in range(first, len(tokens)):
        total += predict(torch.tensor([tokens]), at).double().log_softmax(1)[0, tokens[at]].item()
        count += 1
        if tokens[at] == END:
            break
    return total, count


def likeliest(predict: Callable[[Tensor, int], Tensor], start: list[int], vocab: int, penalty: float) -> list[int]:
    """The best of all ways to fill the gaps of `start`, which have nothing behind them."""
    first = start.index(MAKE)
    best, best_score = [], -float("inf")
    for made in itertools.product(range(vocab), repeat=len(start) - first):
        end = made.index(END) if END in made else len(made)
        if any(made[end:]):
            continue  # the same text as the one that is filled up with END
        tokens = start[:first] + list(made)
        total, count = log_probability(predict, tokens, first)
        score = total / ((5 + count) / 6) ** penalty
        if score > best_score:
            best, best_score = tokens, score
    return best


@pytest.mark.parametrize("penalty", [0.0, 0.6, 2.0])
def test_enough_beams_find_the_likeliest_of_all(penalty: float) -> None:
    longer = 0
    for seed in range(6):
        predict = random_model(4, seed)
        start = [[END, MAKE, MAKE, MAKE, MAKE], [END, 2, 1, MAKE, MAKE], [END, 3, MAKE, MAKE, MAKE]]
        found = search(predict, torch.tensor(start), 64, penalty, END).tolist()
        assert found == [likeliest(predict, row, 4, penalty) for row in start]
        longer += sum(token != END for row in found for token in row)
    assert longer > 0


def test_a_longer_text_needs_the_length_penalty() -> None:
    """p(END) = 0.45 at once, or 0.55 x 0.7 = 0.385 with one token more: the sum prefers the first, equation 14 not."""
    first, second = torch.tensor([0.45, 0.55]).log(), torch.tensor([0.7, 0.3]).log()

    def predict(x: Tensor, at: int) -> Tensor:
        return (first if at == 1 else second).expand(len(x), -1)

    start = torch.tensor([[END, MAKE, MAKE]])
    assert search(predict, start, 2, 0.0, END).tolist() == [[END, END, END]]
    # log 0.45 = -0.799; log 0.385 = -0.955, over (7/6)^1.2 = 1.203 it is -0.793
    assert search(predict, start, 2, 1.2, END).tolist() == [[END, 1, END]]


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("end", [END, None])
def test_one_beam_is_greedy_decoding(end: int | None, coarse: bool) -> None:
    for seed in range(8):
        predict = random_model(5, seed, coarse)
        start = torch.full((4, 9), MAKE)
        start[:, 0] = END
        start[1, 1:4] = torch.tensor([3, 1, 2])
        start[2, 5:] = END  # at most four tokens
        start[3, 4] = 2  # known in the middle
        greedy = decode(predict, start, torch.zeros(4, 9), Sampling(top_k=1), end)
        for penalty in (0.0, 1.0):
            assert torch.equal(search(predict, start, 1, penalty, end), greedy)


def test_nothing_is_likelier_than_what_enough_beams_find() -> None:
    start = torch.full((1, 5), MAKE)
    fewer = 0
    for seed in range(8):
        predict = random_model(5, seed)
        found = [search(predict, start, beams, 0.0).tolist()[0] for beams in (1, 3, 5**4)]
        greedy, few, all_of_them = (log_probability_of_all(predict, tokens) for tokens in found)
        assert max(greedy, few) <= all_of_them + 1e-9
        fewer += greedy < all_of_them - 1e-9
    assert fewer > 0, "greedy decoding always found the best, so this shows nothing"


def log_probability_of_all(predict: Callable[[Tensor, int], Tensor], tokens: list[int]) -> float:
    return sum(
        predict(torch.tensor([tokens]), at).double().log_softmax(1)[0, token].item() for at, token in enumerate(tokens)
    )


def test_what_is_known_between_gaps_weighs_on_the_choice() -> None:
    """Token 1 is likelier at the gap, but after it what is known is next to impossible."""

    def predict(x: Tensor, at: int) -> Tensor:
        if at == 0:
            return torch.tensor([0.0, 0.6, 0.4]).log().expand(len(x), -1)
        unlikely, likely = torch.tensor([0.0, 0.99, 0.01]).log(), torch.tensor([0.0, 0.1, 0.9]).log()
        return torch.where(x[:, :1] == 1, unlikely, likely)

    start = torch.tensor([[MAKE, 2, MAKE]])
    assert search(predict, start, 1, 0.0).tolist()[0][0] == 1
    assert search(predict, start, 3, 0.0).tolist()[0][:2] == [2, 2]


def test_a_row_does_not_see_the_others() -> None:
    predict = random_model(6, 3)
    start = torch.full((3, 8), MAKE)
    start[0, :3], start[1, :1], start[2, :5] = torch.tensor([0, 4, 4]), torch.tensor([0]), torch.tensor([0, 1, 2, 3, 4])
    together = search(predict, start, 4, 0.6, END)
    alone = torch.cat([search(predict, row[None], 4, 0.6, END) for row in start])
    assert torch.equal(together, alone)


def test_a_start_without_gaps_stays_as_it_is() -> None:
    start = torch.tensor([[0, 1, 2], [0, MAKE, 1]])
    made = search(random_model(4, 0), start, 3, 0.6, END)
    assert made[0].tolist() == [0, 1, 2] and made[1, 0] == 0 and (made >= 0).all()
