"""The averaged weights."""

from pathlib import Path

import pytest
import torch

from maquette.bundle import read_bundle
from maquette.train.ema import Ema
from maquette.train.learner import RECENT, Learner
from maquette.train.loop import take_step
from maquette.train.recipe import Recipe
from maquette.train.session import start
from tests.train import tiny, two_ranks


def steps(learner: Learner, n: int) -> Learner:
    for _ in range(n):
        take_step(learner)
        learner.clock.tick()
    return learner


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


def test_what_a_model_does_after_a_step_is_in_the_average(monkeypatch: pytest.MonkeyPatch) -> None:
    """A codebook moves then, and is a buffer: the average of a finished run must not have that of the step before."""
    learner = tiny.learner(ema=0.0)
    codebook = learner.model.left[1].running_mean  # type: ignore[index]
    monkeypatch.setattr(learner.model, "after_step", lambda step: codebook.fill_(5.0))
    steps(learner, 1)
    own, averaged = learner.model.state_dict(), learner.ema.model.state_dict()
    assert own.keys() == averaged.keys() and all(torch.equal(own[name], averaged[name]) for name in own)


def test_batch_normalisation_counts_what_averaged_weights_see() -> None:
    """Worked by hand: the plain mean over the last batches, in both turns, of each batch's mean and variance."""
    learner = steps(tiny.learner(), RECENT + 2)
    average, norm = learner.ema.model, learner.ema.model.left[1]  # type: ignore[index]
    own = learner.model.left[1].running_mean.clone()  # type: ignore[index]
    assert torch.equal(norm.running_mean, own), "copied"
    means, variances = [], []
    for step in range(2, RECENT + 2):
        batch = learner.batches(step)
        noise = batch.rng.fork(1).normal(2)  # the last player's turn comes first
        for x in (batch.x, batch.x + 0.1 * noise):  # as `judge` sees them, as `fit` does
            h = average.left[0](x)  # type: ignore[index]
            means.append(h.mean(0))
            variances.append(h.var(0))
    learner.settle()
    torch.testing.assert_close(norm.running_mean, torch.stack(means).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack(variances).mean(0))
    assert int(norm.num_batches_tracked) == 2 * RECENT and not average.training and not norm.training
    assert torch.equal(learner.model.left[1].running_mean, own), "what is learnt is not touched"  # type: ignore[index]


def test_what_no_batch_passes_keeps_its_statistics() -> None:
    learner = steps(tiny.learner(), 1)
    kept = learner.ema.model.left[1].running_mean.clone()  # type: ignore[index]
    with learner.ema.counting():
        pass
    assert torch.equal(learner.ema.model.left[1].running_mean, kept)  # type: ignore[index]


def test_a_bundle_holds_what_was_counted(tmp_path: Path) -> None:
    tree = two_ranks.recipe("vae").to_tree()
    once = {f"{look}_every": 1.0 for look in ("sample", "validate", "checkpoint")}
    tree["train"] |= {"budget": f"{RECENT + 2}steps", "samples": 2, **once}
    weights = read_bundle(start(Recipe.from_tree(tree), tmp_path / "run", quiet=True).bundle).weights
    counted = {int(value) for name, value in weights.items() if name.endswith("num_batches_tracked")}
    assert counted == {RECENT}


def test_looking_changes_nothing_that_follows() -> None:
    plain, looked = steps(tiny.learner(), 4), steps(tiny.learner(), 2)
    looked.settle()
    steps(looked, 2)
    for one, other in ((plain.model, looked.model), (plain.ema.model, looked.ema.model)):
        own = one.state_dict()
        assert all(torch.equal(own[name], value) for name, value in other.state_dict().items())


def test_it_goes_on_from_a_checkpoint_in_the_same_bits() -> None:
    through, first, second = (tiny.learner() for _ in range(3))
    steps(through, 6)
    steps(first, 3).settle()  # as whoever saves one does
    second.restore(first.checkpoint())
    steps(second, 3)
    own, resumed = through.ema.model.state_dict(), second.ema.model.state_dict()
    assert all(torch.equal(own[name], resumed[name]) for name in own)


def test_it_is_for_looking_only() -> None:
    ema = tiny.learner().ema
    assert not ema.model.training and not any(p.requires_grad for p in ema.model.parameters())
