"""The one loop: learning is turns. It knows players, turns and a budget, and names no family.

A step: for each turn, loss -> backward -> mean over ranks -> finite check -> clip -> update; then the model's own hook,
the average follows, and the step is done. What is random is a function of the step, and signals are looked at between
steps, so a run that was killed and resumed ends in the same bits as one that never was.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from maquette.core import cancel, devices, seeds
from maquette.core.errors import MaquetteError
from maquette.core.types import Batch, Stats, Turn
from maquette.train.distributed import average_gradients
from maquette.train.keeper import Keeper
from maquette.train.learner import Learner
from maquette.train.signals import Signals


def train(learner: Learner, keeper: Keeper, signals: Signals) -> None:
    """Take steps until the budget is spent; raises `SystemExit` at a step's end when a signal asked to stop.

    Raises:
        MaquetteError: MQ-6001 a loss or gradient is not finite; MQ-5001 the disk is full or read-only.
    """
    clock, settings = learner.clock, learner.recipe.train
    clock.start()
    while not clock.over:
        cancel.check()
        keeper.note(take_step(learner))
        clock.tick(stop=signals.asked)
        keeper.log_line()
        due = map(clock.passed, (settings.validate_every, settings.sample_every, settings.checkpoint_every))
        if any(due) or clock.asked_to_stop:
            learner.settle()
        if clock.passed(settings.validate_every):
            keeper.look(keeper.validate)
        if clock.passed(settings.sample_every):
            keeper.look(keeper.draw)
        if clock.passed(settings.checkpoint_every) or clock.asked_to_stop:
            keeper.save()
        if clock.asked_to_stop and not clock.over:
            keeper.stopped()
            signals.leave()


def take_step(learner: Learner) -> Stats:
    """One training step: every turn that is due, the model's own hook, and the average of what came of them."""
    step, progress, settings = learner.clock.step, learner.clock.progress, learner.recipe.train
    devices.seed(seeds.mix(settings.seed, seeds.TRAIN, step, learner.ranks.rank), learner.device)
    batch, notes = learner.batches(step), {}
    x = devices.arrange(batch.x, settings.layout)
    for number, (name, turn) in enumerate(learner.turns.items()):
        if step % turn.every == 0:
            stats = take(learner, number, turn, Batch(x, batch.given, batch.rng.fork(number)), progress)
            notes |= {f"{name}.{key}": value for key, value in stats.items()}
    learner.model.after_step(step)
    learner.ema.update(step)
    return notes


def take(learner: Learner, number: int, turn: Turn, batch: Batch, progress: float) -> Stats:
    """One player's move, the step's `number`th. Returns its loss, its gradient's norm and what the loss reported, still
    on the device."""
    settings, weights = learner.recipe.train, learner.weights[turn.player]
    with only_moves(learner, turn.player):
        notes = (privately if learner.private else plainly)(learner, number, turn, batch, progress)
    average_gradients(weights, learner.ranks)
    grads = [p.grad for p in weights if p.grad is not None]
    notes["grad_norm"] = norm = torch.nn.utils.get_total_norm(grads)
    stop_if_not_finite(turn.player, learner.clock.step, {"loss": notes.get("loss", norm), "gradient": norm})
    if settings.clip:
        torch.nn.utils.clip_grads_with_norm_(weights, settings.clip, norm)
    learner.movers[turn.player].step(progress)
    return notes


def plainly(learner: Learner, number: int, turn: Turn, batch: Batch, progress: float) -> Stats:
    """Leave the gradient of a batch with the weights that move."""
    settings = learner.recipe.train
    notes: Stats = {}
    for part in batch.split(settings.parts):
        with devices.autocast(learner.device, settings.precision):
            loss, stats = turn.loss(part, progress)
        (loss / settings.parts).backward()
        for name, value in {"loss": loss, **stats}.items():
            value = value.detach() / settings.parts
            notes[name] = notes[name] + value if name in notes else value
    return notes


def privately(learner: Learner, number: int, turn: Turn, batch: Batch, progress: float) -> Stats:
    """The same of a batch in which nobody may be found: noise is there even if the batch is empty."""
    settings, weights, private = learner.recipe.train, learner.weights[turn.player], learner.private
    assert private is not None, "asked of who trains privately"
    with devices.autocast(learner.device, settings.precision):
        sums, notes = private.sums(number, turn, weights, batch, progress, settings.parts)
    private.hide(number, weights, sums, learner.clock.step)
    return notes


@contextlib.contextmanager
def only_moves(learner: Learner, player: str) -> Iterator[None]:
    """Within this block the other players hold still; what was frozen before stays so after."""
    others = [p for name, weights in learner.weights.items() if name != player for p in weights]
    for p in others:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in others:
            p.requires_grad_(True)


def stop_if_not_finite(player: str, step: int, numbers: dict[str, Tensor]) -> None:
    """One look at the device for all `numbers`; raises MQ-6001 naming the first that is not finite."""
    for what, fine in zip(numbers, torch.stack([v.float() for v in numbers.values()]).isfinite().tolist(), strict=True):
        if not fine:
            raise MaquetteError("MQ-6001", step=step, what=what, player=player)
