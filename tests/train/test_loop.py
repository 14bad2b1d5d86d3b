"""The loop: who moves when, what a step is a function of, and when it stops."""

from typing import Any

import pytest
import torch
from torch import Tensor

from maquette.core.errors import MaquetteError
from maquette.train.learner import Learner
from maquette.train.loop import take_step
from tests.train import tiny


def weights(learner: Learner) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in learner.model.named_parameters()}


def moved(learner: Learner, before: dict[str, Tensor]) -> set[str]:
    return {name.split(".")[0] for name, p in learner.model.named_parameters() if not torch.equal(p, before[name])}


def steps(learner: Learner, n: int) -> list[dict[str, Any]]:
    notes = []
    for _ in range(n):
        notes.append(take_step(learner))
        learner.clock.tick()
    return notes


def test_players_move_and_frozen_parts_do_not() -> None:
    learner = tiny.learner()
    before = weights(learner)
    steps(learner, 2)
    assert moved(learner, before) == {"left", "right"}


def test_only_the_acting_player_requires_gradients_and_nothing_wakes() -> None:
    learner = tiny.learner()
    trainable = {name for name, p in learner.model.named_parameters() if p.requires_grad}
    steps(learner, 1)
    _, _, during = learner.model.seen[-1]  # type: ignore[union-attr]
    assert during and all(name.startswith("left.") for name in during)
    assert {name for name, p in learner.model.named_parameters() if p.requires_grad} == trainable
    assert not any(name.startswith("frozen") for name in trainable)


def test_turns_are_taken_on_their_steps() -> None:
    notes = steps(tiny.learner(), 4)
    assert ["left.2.loss" in note for note in notes] == [True, False, False, True]
    assert all({"left.loss", "left.size", "left.grad_norm", "right.loss"} <= note.keys() for note in notes)


def test_progress_is_the_share_of_the_budget() -> None:
    learner = tiny.learner(budget="4steps")
    steps(learner, 4)
    assert [progress for _, progress, _ in learner.model.seen] == [0, 0.25, 0.5, 0.75]  # type: ignore[union-attr]


def test_a_step_is_a_function_of_its_number() -> None:
    """The global generator's past does not matter, dropout included."""
    one, other = tiny.learner(), tiny.learner()
    steps(one, 3)
    for _ in range(3):
        torch.rand(7)
        steps(other, 1)
    assert all(torch.equal(p, weights(other)[name]) for name, p in weights(one).items())


def test_accumulation_takes_the_gradient_of_the_whole() -> None:
    """Two shares and the whole give one gradient (no batch statistics or dropout in `right`)."""
    taken = []
    for parts in (1, 2):
        learner = tiny.learner(parts=parts, optimizers={"right": {"name": "sgd", "lr": 1.0, "betas": [0, 0]}})
        learner.model.left.eval()  # type: ignore[union-attr]
        before = weights(learner)
        note = steps(learner, 1)[0]
        taken.append((weights(learner)["right.weight"] - before["right.weight"], note["right.loss"]))
    torch.testing.assert_close(taken[0], taken[1])


def test_clipping_bounds_the_norm() -> None:
    optimizers = {"right": {"name": "sgd", "lr": 1.0, "betas": [0, 0]}}
    learner = tiny.learner(clip=0.01, optimizers=optimizers)
    before = weights(learner)
    note = steps(learner, 1)[0]
    change = torch.cat([(p - before[n]).flatten() for n, p in weights(learner).items() if n.startswith("right")])
    assert note["right.grad_norm"] > 0.01
    assert change.norm() == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_stops_before_the_update(what: str) -> None:
    learner = tiny.learner()
    steps(learner, 2)
    before, state = weights(learner), {k: v.clone() for k, v in learner.movers["left"].state.items()}
    learner.model.poison = what  # type: ignore[assignment]
    with pytest.raises(MaquetteError) as caught:
        steps(learner, 1)
    assert caught.value.code == "MQ-6001"
    assert "step 2: the " + what + " of 'left'" in str(caught.value)
    assert moved(learner, before) == set()
    assert all(torch.equal(value, state[name]) for name, value in learner.movers["left"].state.items())


def test_an_unknown_player_is_refused_with_the_nearest() -> None:
    with pytest.raises(MaquetteError, match="nearest: 'left'"):
        tiny.learner(optimizers={"lefty": {}})


def test_bf16_keeps_fp32_weights() -> None:
    learner = tiny.learner(precision="bf16")
    note = steps(learner, 2)[1]
    assert note["left.loss"].isfinite()
    assert all(p.dtype == torch.float32 for p in learner.model.parameters())


def test_seeding_a_step_leaves_nothing_behind() -> None:
    """torch.manual_seed would queue a call for each device that is not in use, at every step."""
    learner = tiny.learner()
    steps(learner, 1)
    queued = len(torch.cuda._queued_calls)
    steps(learner, 5)
    assert len(torch.cuda._queued_calls) == queued
