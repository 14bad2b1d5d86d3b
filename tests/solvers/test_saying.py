"""Wraps of predictors of tokens, by hand; each for the next token and for all places."""

import math

import torch
from torch import Tensor

from maquette.core.types import Marks, Sampling
from maquette.solvers.decoding import MAKE, decode, search, unmask
from maquette.solvers.saying import Recorder, answering, going_on, only, until

P = torch.tensor([0.1, 0.2, 0.3, 0.4])


def next_token(x: Tensor, at: int) -> Tensor:
    return P.log().expand(len(x), -1)


def every_place(x: Tensor) -> Tensor:
    return P.log().expand(*x.shape, -1)


def test_only_what_is_allowed_is_made_and_what_is_known_stays() -> None:
    allowed = torch.tensor([False, True, True, False])
    start = torch.full((50, 6), MAKE)
    start[:, 3] = 0
    u = torch.rand(50, 6, generator=torch.Generator().manual_seed(0))
    for made in (
        decode(only(next_token, allowed), start, u, Sampling()),
        unmask(only(every_place, allowed), start, u, u.flip(1), Sampling(), 3),
    ):
        assert (made[:, 3] == 0).all()
        assert set(made[:, [0, 1, 2, 4, 5]].unique().tolist()) == {1, 2}
    known = only(next_token, allowed)(start, 3)
    assert torch.equal(known, next_token(start, 3)), "a place that is known is judged as it was"


def test_no_gap_ends_a_sample_that_goes_on_as_it_is_known() -> None:
    start = torch.full((200, 6), MAKE)
    start[::2, 3] = 2  # every other row has a known token in the middle; number 0 ends a sample
    start[::2, 5] = 0
    u = torch.rand(200, 6, generator=torch.Generator().manual_seed(0))
    for made in (
        decode(going_on(next_token, start, 0), start, u, Sampling(), end=0),
        unmask(going_on(every_place, start, 0), start, u, u.flip(1), Sampling(), 3),
        search(going_on(next_token, start[:4], 0), start[:4], 3, 0.6, end=0),
    ):
        assert (made[::2, :3] != 0).all() and (made[::2, 3] == 2).all()
    assert (decode(going_on(next_token, start, 0), start, u, Sampling(), end=0)[1::2, :3] == 0).any()


def test_an_answer_ends_where_a_question_would_follow() -> None:
    marks = Marks(end=0, prompt=1, answer=2)
    x = torch.full((2, 3), MAKE)
    for logits in (answering(next_token, marks)(x, 1)[0], answering(every_place, marks)(x)[1, 2]):
        assert torch.allclose(logits.exp(), torch.tensor([0.3, 0.0, 0.0, 0.4]))
    assert torch.allclose(next_token(x, 1)[0].exp(), P), "the predictor's own logits are left alone"


def test_a_row_that_is_over_ends_and_nothing_is_computed_when_all_are() -> None:
    asked = []

    def predict(x: Tensor, at: int) -> Tensor:
        asked.append(at)
        return torch.tensor([0.0, 0.0, 0.0, 9.0]).expand(len(x), -1)

    def over(so_far: Tensor) -> Tensor:
        return (so_far == 3).sum(1) >= torch.tensor([2, 4])

    made = decode(until(predict, over, 0), torch.full((2, 9), MAKE), torch.full((2, 9), 0.5), Sampling(), 0)
    assert made.tolist() == [[3, 3, 0, 0, 0, 0, 0, 0, 0], [3, 3, 3, 3, 0, 0, 0, 0, 0]]
    assert asked == [0, 1, 2, 3]


def test_what_was_chosen_is_recorded_as_the_model_saw_it() -> None:
    start = torch.tensor([[1, MAKE, MAKE, 2, MAKE], [MAKE, MAKE, 1, 1, MAKE]])
    u = torch.rand(2, 5, generator=torch.Generator().manual_seed(1))
    for way in ("next", "every", "again"):
        record = Recorder(every_place if way == "every" else next_token, start, likeliest=2)
        if way == "next":
            made = decode(record, start, u, Sampling(temperature=0.3, top_k=3))
            record.note(made)
        elif way == "every":
            made = unmask(record, start, u, u.flip(1), Sampling(top_p=0.9), 4)
            record.note(made)
        else:
            record.replay(start, made)
        gaps = start == MAKE
        assert torch.allclose(record.chosen[gaps], P.log()[made[gaps]])
        assert (record.chosen[~gaps] == 0).all()
        assert record.others[gaps].unique(dim=0).tolist() == [[3, 2]]
        assert torch.allclose(record.how_likely[gaps][0], torch.tensor([math.log(0.4), math.log(0.3)]))
