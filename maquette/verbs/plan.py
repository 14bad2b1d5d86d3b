"""How long a recipe will train here, and what memory and disk it takes, before it is trained."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from maquette.core.errors import Sentence
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

    def lines(self) -> Iterator[Sentence]:
        """A page for a person, in English and in Chinese."""
        return (Sentence(f"{name:<12} {said}", f"{_wide(name.zh)} {said.zh}") for name, said in self._facts())

    def _facts(self) -> Iterator[tuple[Sentence, Sentence]]:
        """Each line: of what it tells, and what."""
        train, costs, course = self.recipe.train, self.costs, self.course()
        each = ", ".join(f"{name} {n:,}" for name, n in self.parameters.items()) if len(self.parameters) > 1 else ""
        nothing = Sentence("", "")
        yield Sentence("device", "设备"), Sentence(costs.device, costs.device)
        source, n = self.recipe.data.source, f"{self.examples:,}"
        yield (
            Sentence("data", "数据"),
            Sentence(f"{source}: {n} samples to learn from", f"{source}：可学习的样本 {n} 个"),
        )
        all_ = f"{sum(self.parameters.values()):,}"
        yield (
            Sentence("parameters", "参数"),
            Sentence(f"{all_}{f' ({each})' if each else ''}", f"{all_}{f'（{each}）' if each else ''}"),
        )
        rate, step = f"{train.batch / costs.step:,.3g}", _short(costs.step)
        yield (
            Sentence("a step", "每步"),
            Sentence(
                f"{step} for {train.batch} samples: {rate} samples/s",
                f"{train.batch} 个样本用 {step.zh}：{rate} 样本/秒",
            ),
        )
        passes, steps = f"{course.steps / self.per_epoch:.3g}", f"{course.steps:,}"
        yield (
            Sentence("training", "训练"),
            Sentence(
                f"{train.budget}: {steps} steps, {passes} times through the data",
                f"{train.budget}：{steps} 步，把数据过 {passes} 遍",
            ),
        )
        whole = _long(self.seconds())
        yield Sentence("time", "时间"), Sentence(f"{whole} from start to end, of which", f"从头到尾 {whole.zh}，其中")
        taken, before = _long(course.steps * costs.step), _long(costs.start + costs.warm)
        yield (
            nothing,
            Sentence(f"{taken} steps, {before} before the first,", f"训练各步 {taken.zh}，第一步之前 {before.zh}，"),
        )
        looks = [
            Sentence(f"{n} {what} of {_short(seconds)}", f"{n} 次{what.zh}，每次 {_short(seconds).zh}")
            for n, what, seconds in (
                (course.validations, Sentence("validations", "验证"), costs.validate),
                (course.sheets, Sentence("sheets", "样张"), costs.draw),
                (course.checkpoints, Sentence("checkpoints", "检查点"), costs.save),
            )
        ]
        yield nothing, Sentence(", ".join(looks), "；".join(look.zh for look in looks))
        gpu, zh = "", ""
        if costs.gpu:
            gpu, zh = f", {_bytes(costs.gpu)} on the GPU", f"，GPU 上 {_bytes(costs.gpu)}"
        memory, disk = _bytes(costs.memory), _bytes(self.disk())
        yield Sentence("memory", "内存"), Sentence(f"{memory} at most{gpu}", f"最多 {memory}{zh}")
        one = _bytes(costs.checkpoint)
        said, zh = f"{disk} for the run; a checkpoint {one}", f"训练文件夹 {disk}；一个检查点 {one}"
        yield Sentence("disk", "磁盘"), Sentence(said, zh)
        if self.recipe.model.draws:
            n, draw = train.samples, _short(costs.draw / train.samples)
            said, zh = f"{draw} ({n} drawn together)", f"{draw.zh}（{n} 个一起生成）"
            yield Sentence("a sample", "每个样本"), Sentence(said, zh)


def _wide(name: str) -> str:
    """`name` filled to twelve columns, of which a Chinese character takes two."""
    return name + " " * (12 - 2 * len(name))


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


def _short(seconds: float) -> Sentence:
    if seconds >= 0.1:
        return Sentence(f"{seconds:.3g} s", f"{seconds:.3g} 秒")
    return Sentence(f"{1000 * seconds:.3g} ms", f"{1000 * seconds:.3g} 毫秒")


def _long(seconds: float) -> Sentence:
    if seconds < 100:
        return Sentence(f"{seconds:.0f} s", f"{seconds:.0f} 秒")
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return Sentence(f"{hours} h {minutes} min", f"{hours} 小时 {minutes} 分")
    return Sentence(f"{minutes} min {rest} s", f"{minutes} 分 {rest} 秒")


def _bytes(n: int) -> str:
    return f"{n / 1e9:.3g} GB" if n >= 1e9 else f"{n / 1e6:.3g} MB"
