"""Drawing tokens: restrictions by hand, known distributions recovered, gaps filled in."""

import warnings

import pytest
import torch

from maquette.core.types import Sampling
from maquette.solvers.decoding import MAKE, decode, draw, restrict, stream, unmask

P = torch.tensor([[0.5, 0.25, 0.15, 0.1]])


def left(**how) -> list[int]:
    kept = restrict(P.log(), torch.empty(1, 0, dtype=torch.int64), Sampling(**how))
    return torch.isfinite(kept[0]).nonzero()[:, 0].tolist()


@pytest.mark.parametrize(
    ("how", "tokens"),
    [
        ({}, [0, 1, 2, 3]),
        ({"top_k": 2}, [0, 1]),
        ({"top_k": 9}, [0, 1, 2, 3]),
        ({"top_p": 0.7}, [0, 1]),
        ({"top_p": 0.5}, [0]),
        ({"top_p": 0.01}, [0]),
        ({"min_p": 0.25}, [0, 1, 2]),
        ({"min_p": 0.6}, [0]),
        ({"top_k": 3, "min_p": 0.4}, [0, 1]),
    ],
)
def test_what_is_left(how: dict, tokens: list[int]) -> None:
    assert left(**how) == tokens


def test_temperature_and_repetition_by_hand() -> None:
    cold = restrict(P.log(), torch.empty(1, 0, dtype=torch.int64), Sampling(temperature=0.5)).softmax(1)
    assert torch.allclose(cold, P.square() / P.square().sum())
    logits = torch.tensor([[2.0, -1.0, 0.5]])
    less = restrict(logits, torch.tensor([[0, 1]]), Sampling(repetition=2.0))
    assert less.tolist() == [[1.0, -2.0, 0.5]]


def test_draws_follow_the_distribution() -> None:
    u = (torch.arange(10_000) + 0.5) / 10_000
    drawn = draw(P.log().expand(10_000, -1), u, Sampling())
    assert torch.allclose(drawn.bincount() / 10_000, P[0], atol=2e-4)
    assert draw(P.log(), torch.tensor([0.999]), Sampling(top_k=1)).tolist() == [0]
    sure = torch.tensor([[-torch.inf, 0.0, -torch.inf]])
    assert draw(sure, torch.tensor([1 - 2**-24]), Sampling()).tolist() == [1]


def counting(x: torch.Tensor, at: int) -> torch.Tensor:
    """The next token is one more than the last, modulo 5; the first is 0."""
    last = x[:, at - 1] if at else torch.full((len(x),), -1)
    return torch.nn.functional.one_hot((last + 1) % 5, 5).float().mul(50.0)


def test_known_tokens_stay_and_gaps_are_made() -> None:
    start = torch.tensor([[MAKE, MAKE, MAKE, MAKE], [2, MAKE, MAKE, MAKE], [MAKE, 3, MAKE, 1]])
    made = decode(counting, start, torch.rand(3, 4), Sampling())
    assert made.tolist() == [[0, 1, 2, 3], [2, 3, 4, 0], [0, 3, 4, 1]]


def test_a_known_beginning_is_read_at_once_and_an_end_ends() -> None:
    asked = []

    def predict(x: torch.Tensor, at: int) -> torch.Tensor:
        asked.append(at)
        return counting(x, at)

    start = torch.full((2, 8), MAKE)
    start[:, :3] = torch.tensor([[4, 0, 1], [4, 0, 2]])  # the 4 before them is context, not an end that was made
    made = decode(predict, start, torch.rand(2, 8), Sampling(), end=4)
    assert made.tolist() == [[4, 0, 1, 2, 3, 4, 4, 4], [4, 0, 2, 3, 4, 4, 4, 4]]
    assert asked == [3, 4, 5]


def test_nothing_is_asked_where_nothing_is_made() -> None:
    asked = []

    def predict(x: torch.Tensor, at: int) -> torch.Tensor:
        asked.append(at)
        return counting(x, at)

    start = torch.full((2, 8), 4)
    start[0, 2:4] = start[1, 1:3] = MAKE  # the first is known to be over after four tokens, the second after three
    made = decode(predict, start, torch.rand(2, 8), Sampling(), end=4)
    assert made.tolist() == [[4, 4, 0, 1, 4, 4, 4, 4], [4, 0, 1, 4, 4, 4, 4, 4]]
    assert asked == [1, 2, 3]
    start[1, 1:3] = torch.tensor([3, MAKE])  # it ends by itself, and what was known after it is not put in
    start[1, 4:] = 2
    assert decode(predict, start, torch.rand(2, 8), Sampling(), end=4)[1].tolist() == [4, 3, 4, 4, 4, 4, 4, 4]


def test_tokens_come_as_they_are_made() -> None:
    start = torch.full((1, 3), MAKE)
    assert [(at, x[0, at].item()) for at, x in stream(counting, start, torch.rand(1, 3), Sampling())] == [
        (0, 0), (1, 1), (2, 2),
    ]  # fmt: skip


def test_unmasking_fills_every_gap_once_and_keeps_what_is_known() -> None:
    seen = []

    def predict(x: torch.Tensor) -> torch.Tensor:
        seen.append((x == MAKE).sum().item())
        return torch.nn.functional.one_hot(torch.arange(x.shape[1]) % 3, 3).float().mul(50).expand(len(x), -1, -1)

    start = torch.full((4, 12), MAKE)
    start[:, 5] = 0
    when, which = torch.rand(2, 4, 12, generator=torch.Generator().manual_seed(0))
    made = unmask(predict, start, when, which, Sampling(), 6)
    expected = torch.arange(12).remainder(3).repeat(4, 1)
    expected[:, 5] = 0
    assert torch.equal(made, expected) and len(seen) <= 6 and seen == sorted(seen, reverse=True)
    assert torch.equal(unmask(predict, start, when, which, Sampling(), 1), expected)


@pytest.mark.parametrize(
    "how",
    [
        {"temperature": 0.7},
        {"top_k": 5},
        {"top_p": 0.8},
        {"top_p": 0.05},
        {"min_p": 0.1},
        {"repetition": 1.3},
        {"repetition": 1.2, "temperature": 1.5, "top_k": 20, "top_p": 0.9, "min_p": 0.02},
    ],
    ids=str,
)
def test_restrictions_are_those_of_transformers(how: dict) -> None:
    pytest.importorskip("transformers", exc_type=ImportError)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library's own imports
        from transformers.generation import logits_process as theirs
    logits = 3 * torch.randn(64, 50, generator=torch.Generator().manual_seed(0))
    before = torch.randint(50, (64, 12), generator=torch.Generator().manual_seed(1))
    steps = {
        "repetition": theirs.RepetitionPenaltyLogitsProcessor,
        "temperature": theirs.TemperatureLogitsWarper,
        "top_k": theirs.TopKLogitsWarper,
        "top_p": theirs.TopPLogitsWarper,
        "min_p": theirs.MinPLogitsWarper,
    }
    expected = logits.clone()
    for name, step in steps.items():
        if name in how:
            expected = step(how[name])(before, expected)
    made = restrict(logits, before, Sampling(**how))
    assert torch.equal(made.isfinite(), expected.isfinite())
    assert torch.allclose(made, expected)
