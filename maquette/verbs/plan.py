"""How long a recipe will train here, and what memory and disk it takes, before it is trained."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from maquette.train import session
from maquette.train.keeper import LOOKS
from maquette.train.log import EVERY
from maquette.train.probe import Costs, costs
from maquette.train.recipe import Budget, Recipe, Training
from maquette.verbs.recipes import read


@dataclass(frozen=True)
class Course:
    """How training goes: what it does how often, and the `seconds` of its loop with all of it."""

    steps: int = 0
    validations: int = 0
    sheets: int = 0
    checkpoints: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Plan:
    """What was found out about training `recipe` here.

    Attributes:
        parameters: how many numbers each player learns.
        examples: how many samples there are to learn from.
        per_epoch: steps that see each of them once.
    """

    recipe: Recipe
    costs: Costs
    parameters: dict[str, int]
    examples: int
    per_epoch: int

    def course(self, budget: str | None = None) -> Course:
        """How training goes within `budget`, by default the recipe's; raises MQ-2002 when it is none."""
        return foreseen(self.recipe.train, Budget.parse(budget or self.recipe.train.budget), self.per_epoch, self.costs)

    def seconds(self, budget: str | None = None) -> float:
        """Of the whole command `maquette train`, its start and its end counted in."""
        return self.costs.start + self.course(budget).seconds

    def disk(self, budget: str | None = None) -> int:
        """Bytes of the run's folder when it is done."""
        course, costs = self.course(budget), self.costs
        kept = min(self.recipe.train.keep, course.checkpoints) * costs.checkpoint + costs.bundle + costs.rest
        return kept + course.sheets * costs.sheet + (course.steps // EVERY + course.validations) * costs.line

    def lines(self) -> Iterator[str]:
        """A page for a person."""
        train, costs, course = self.recipe.train, self.costs, self.course()
        each = ", ".join(f"{name} {n:,}" for name, n in self.parameters.items()) if len(self.parameters) > 1 else ""
        yield f"{'device':<12} {costs.device}"
        yield f"{'data':<12} {self.recipe.data.source}: {self.examples:,} samples to learn from"
        yield f"{'parameters':<12} {sum(self.parameters.values()):,}{f' ({each})' if each else ''}"
        rate = train.batch / costs.step
        yield f"{'a step':<12} {_short(costs.step)} for {train.batch} samples: {rate:,.3g} samples/s"
        passes = course.steps / self.per_epoch
        yield f"{'training':<12} {train.budget}: {course.steps:,} steps, {passes:.3g} times through the data"
        yield f"{'time':<12} {_long(self.seconds())} from start to end, of which"
        yield f"{'':<12} {_long(course.steps * costs.step)} steps, {_long(costs.start + costs.warm)} before the first,"
        looks = [
            f"{n} {what} of {_short(seconds)}"
            for n, what, seconds in (
                (course.validations, "validations", costs.validate),
                (course.sheets, "sheets", costs.draw),
                (course.checkpoints, "checkpoints", costs.save),
            )
        ]
        yield f"{'':<12} {', '.join(looks)}"
        gpu = f", {_bytes(costs.gpu)} on the GPU" if costs.gpu else ""
        yield f"{'memory':<12} {_bytes(costs.memory)} at most{gpu}"
        yield f"{'disk':<12} {_bytes(self.disk())} for the run; a checkpoint {_bytes(costs.checkpoint)}"
        if self.recipe.model.draws:
            together = f"{train.samples} drawn together"
            yield f"{'a sample':<12} {_short(costs.draw / train.samples)} ({together})"


def plan(
    recipe: str | Recipe,
    data: str | None = None,
    budget: str | None = None,
    overrides: Sequence[str] = (),
    device: str | None = None,
) -> Plan:
    """Train `recipe` for some seconds, throw away what came of it, and say what the whole will cost.

    The data are packed where training will find them; nothing else stays. Time and memory come out within about 30 %
    (docs/cost.md), on a machine that is as busy later as it was now.

    Args:
        data, budget, overrides, device: as of `train`.

    Raises:
        MaquetteError: as `train`; MQ-2250 when the machine cannot take the first steps.
    """
    settings = {"data.source": data, "train.budget": budget, "train.device": device}
    ready = read(recipe, overrides, **settings)
    learner = session.prepare(ready)  # in this process, so that the next one finds the data packed, as training will
    parameters = {name: sum(p.numel() for p in own) for name, own in learner.weights.items()}
    examples, per_epoch = len(learner.dataset.train), learner.batches.steps_per_epoch
    del learner
    return Plan(ready, costs(ready), parameters, examples, per_epoch)


def foreseen(train: Training, budget: Budget, per_epoch: int, costs: Costs) -> Course:
    """How the loop comes through `budget`: from one mark of the budget to the next, where it looks and saves.

    The rules are those of `Clock` and of `Keeper.look`: what is due is done behind a step, and where seconds are the
    budget, looks that have had their share of those so far are left out, but for the last.
    """
    limit = budget.amount if budget.unit == "s" else math.inf
    last = max(1, round(budget.amount * (per_epoch if budget.unit == "epochs" else 1))) if limit == math.inf else 0
    due = {"validations": train.validate_every, "sheets": train.sample_every, "checkpoints": train.checkpoint_every}
    each = {"validations": costs.validate, "sheets": costs.draw, "checkpoints": costs.save}
    done = dict.fromkeys(due, 0)
    steps, seconds, looked, progress = 0, costs.warm, 0.0, 0.0
    while progress < 1:
        before, marks = progress, [math.floor(progress / share + 1e-9) + 1 for share in due.values()]
        ahead = min(1.0, *(mark * share for mark, share in zip(marks, due.values(), strict=True)))
        wanted = ahead * last - steps if last else (ahead * limit - seconds) / costs.step
        more = max(1, math.ceil(wanted - 1e-9))
        steps, seconds = steps + more, seconds + more * costs.step
        progress = min(1.0, steps / last if last else seconds / limit)
        for what, share in due.items():
            passed = progress >= 1 or int(progress / share + 1e-9) > int(before / share + 1e-9)
            look = what != "checkpoints"
            if passed and not (look and last == 0 and progress < 1 and looked > LOOKS * seconds):
                done[what] += 1
                seconds += each[what]
                looked += each[what] * look
    return Course(steps, seconds=seconds, **done)


def _short(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 0.1 else f"{1000 * seconds:.3g} ms"


def _long(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _bytes(n: int) -> str:
    return f"{n / 1e9:.3g} GB" if n >= 1e9 else f"{n / 1e6:.3g} MB"
