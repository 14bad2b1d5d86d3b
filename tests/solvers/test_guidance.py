import pytest
import torch
from torch import Tensor

from maquette.solvers.guidance import guide


def conditional(y: Tensor, s: Tensor) -> Tensor:
    return y + 1


def unconditional(y: Tensor, s: Tensor) -> Tensor:
    return y - 1


def never(*args: Tensor) -> Tensor:
    raise AssertionError("this predictor need not be called")


Y, S = torch.tensor([[0.0, 5.0]]), torch.tensor([2.0])


@pytest.mark.parametrize(("scale", "moved"), [(0.0, -1.0), (0.5, 0.0), (2.0, 3.0), (4.0, 7.0)])
def test_guidance_goes_beyond_the_condition(scale: float, moved: float) -> None:
    assert torch.equal(guide(conditional, unconditional, scale)(Y, S), Y + moved)


def test_a_scale_of_one_is_the_conditional_predictor_itself() -> None:
    assert guide(conditional, never, 1.0) is conditional


@pytest.mark.parametrize(("level", "moved"), [(0.1, 1.0), (0.2, 3.0), (1.0, 3.0), (1.5, 1.0)])
def test_an_interval_guides_only_within_it(level: float, moved: float) -> None:
    s = torch.tensor([level])
    assert torch.equal(guide(conditional, unconditional, 2.0, interval=(0.15, 1.0))(Y, s), Y + moved)
    if moved == 1.0:
        guide(conditional, never, 2.0, interval=(0.15, 1.0))(Y, s)


def test_logits_are_guided_by_the_same_function() -> None:
    guided = guide(lambda tokens: torch.ones(1, 3), lambda tokens: torch.zeros(1, 3), 3.0)
    assert torch.equal(guided(torch.tensor([[1]])), torch.full((1, 3), 3.0))
