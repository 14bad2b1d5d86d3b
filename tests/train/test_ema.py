"""The averaged weights."""

import torch

from maquette.train.ema import Ema
from tests.train import tiny


def test_the_average_worked_by_hand() -> None:
    model = tiny.learner().model
    ema = Ema(model, decay=0.999)
    at_first = model.right.weight.detach().clone()  # type: ignore[union-attr]
    with torch.no_grad():
        model.right.weight.add_(1)  # type: ignore[union-attr]
    ema.update(step=0)  # decay (1 + 0) / (10 + 0) = 0.1
    torch.testing.assert_close(ema.model.right.weight, at_first + 0.9)  # type: ignore[union-attr]
    ema.update(step=10_000_000)  # warmed up: 0.999
    torch.testing.assert_close(ema.model.right.weight, at_first + 0.9 + 0.0001)  # type: ignore[union-attr]


def test_buffers_are_copied_and_frozen_weights_stay() -> None:
    learner = tiny.learner()
    model, ema = learner.model, learner.ema
    model.left[1].running_mean.fill_(3.0)  # type: ignore[index]
    model.left[1].num_batches_tracked.fill_(7)  # type: ignore[index]
    ema.update(0)
    assert ema.model.left[1].running_mean.tolist() == [3.0] * 8  # type: ignore[index]
    assert int(ema.model.left[1].num_batches_tracked) == 7  # type: ignore[index]
    assert torch.equal(ema.model.frozen.weight, model.frozen.weight)  # type: ignore[union-attr]


def test_without_a_decay_the_average_is_the_model() -> None:
    learner = tiny.learner(ema=0.0)
    with torch.no_grad():
        for p in learner.model.parameters():
            p.mul_(1.7)
    learner.ema.update(5)
    for name in ("left", "right"):
        own, averaged = getattr(learner.model, name), getattr(learner.ema.model, name)
        assert all(torch.equal(p, q) for p, q in zip(own.parameters(), averaged.parameters(), strict=True))


def test_it_is_for_looking_only() -> None:
    ema = tiny.learner().ema
    assert not ema.model.training and not any(p.requires_grad for p in ema.model.parameters())
