"""Recipes that work together in rounds, which is what `maquette pipeline FILE` does: all learn the same data and are
judged alike, the last is tuned, the others learn on, and the best of all is chosen.

Nothing is kept of how far it has come but what each step has made: reports, the study of a search, runs. Asked for
again in the same folder, every step finds that it is done or goes on where it was, so that a pipeline that was killed
at any moment ends as one that never was. (`maquette/pipeline.py` is something else: a trained model, ready to make.)
"""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from maquette.core import files
from maquette.core.config import Config, describe, read_yaml
from maquette.core.errors import MaquetteError, Phrase, Sentence, told
from maquette.evaluate.report import PICTURES, REPORT
from maquette.train.recipe import Budget
from maquette.verbs import data, rounds, study
from maquette.verbs.compare import Terms, hold, meet
from maquette.verbs.compare import plan as planned
from maquette.verbs.evaluate import SAMPLES, speaker
from maquette.verbs.page import Aside
from maquette.verbs.recipes import title
from maquette.verbs.rounds import Round
from maquette.verbs.study import Shown
from maquette.verbs.tune import Tuned, library, seconds, tune

PLAN, CHECKED = "pipeline.json", "data.json"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Tuning(Config):
    """How the last of a round is tuned: see `maquette tune`."""

    trials: int = 8
    budget: str = ""
    """Of each trial's training; by default the round's."""
    time: str = ""
    """For all trials of a round; by default as long as they take."""

    def __post_init__(self) -> None:
        self.check(self.trials > 0, "trials", "a positive whole number")
        if self.budget:
            Budget.parse(self.budget)
        if self.time:
            seconds(self.time, "time")


@dataclass(frozen=True, kw_only=True)
class Plan(Config):
    """What the file of a pipeline says."""

    whole: ClassVar[Phrase] = Phrase("the plan", "计划")

    data: str
    """What all learn: a folder, or the name of an embedded set."""
    recipes: tuple[str, ...]
    rounds: tuple[str, ...]
    """What each model has been trained in all by the end of each round, such as [10min, 40min]."""
    keep: int = 0
    """How many of the best learn on after a round, beside the tuned one; 0: all but the last."""
    n: int = SAMPLES
    """How many samples of each are made and compared."""
    seed: int = 0
    """Of training, and of what a search tries."""
    overrides: tuple[str, ...] = ()
    """`key=value` for every recipe."""
    tune: Tuning = field(default_factory=Tuning)

    def __post_init__(self) -> None:
        self.check(len(self.recipes) > 1, "recipes", "at least two")
        self.check(self.keep >= 0, "keep", "0 or a positive whole number")
        wanted = "at least two rising budgets of one unit, such as [10min, 40min] or [500steps, 2000steps]"
        try:
            budgets = [Budget.parse(text) for text in self.rounds]
        except MaquetteError:
            budgets = []
        amounts = [budget.amount for budget in budgets]
        rising = len(amounts) > 1 and all(a < b for a, b in zip(amounts, amounts[1:], strict=False))
        self.check(rising and len({budget.unit for budget in budgets}) == 1, "rounds", wanted)


def cooperate(file: Path | str, out: Path | str = "pipeline", device: str | None = None, quiet: bool = False) -> Shown:
    """Do what `file` plans, and go on with it where it was stopped; `out/report.html` tells it all.

    The data are looked over (`data.json`). Each round trains its contestants to its budget and scores them
    (`round-1` …). After each but the last, whoever comes last is tuned (`tuning-1` …): what was found begins anew in
    the next round, and stays behind if it is nothing better; the best of the others learn on from where they are.
    Chosen is the best figure of any round.

    Raises:
        MaquetteError: MQ-3010 without the extra `tune`; what is wrong with the plan, its recipes or the data; MQ-7032
            when `out` holds something else; and what training and scoring raise, with all that was done intact.
    """
    library()  # before hours of training, not after
    tree, lines = read_yaml(Path(file))
    plan, out = Plan.from_tree(tree, lines=lines), Path(out)
    terms = Terms(data=plan.data, budget=plan.rounds[0], seeds=(plan.seed,), overrides=plan.overrides, device=device)
    entries = planned(plan.recipes, out, terms)
    with files.lock(out):
        recipes = {entry.name: entry.recipe.to_tree() for entry in entries}
        hold(out / PLAN, {"format": FORMAT, "plan": plan.to_tree(), "recipes": recipes})
        contestants = {entry.name: out / "recipes" / f"{entry.name}.yaml" for entry in entries}
        for entry in entries:
            about = f"# {entry.name}, as {file} has it.\n{describe(entry.recipe)}\n"
            files.write_file(contestants[entry.name], about.encode())
        pipe = Pipe(plan, out, device, quiet, shlex.join(["maquette", "pipeline", str(file), "--out", str(out)]))
        found = pipe.look_over(contestants)
        done: list[Round] = []
        for budget in plan.rounds:
            if done:
                pipe.tell(done, found)  # there is something to look at already
                contestants = done[-1].following(contestants)
            done.append(pipe.round(budget, contestants, done))
        return pipe.tell(done, found)


@dataclass(frozen=True)
class Pipe:
    """A plan, the folder of what comes of it, and the command that began it."""

    plan: Plan
    out: Path
    device: str | None
    quiet: bool
    command: str

    def look_over(self, contestants: Mapping[str, Path]) -> list[Sentence]:
        """What `maquette data check` says of the data, read as the first recipe reads them."""
        path = self.out / CHECKED
        if not path.exists():
            found = data.check_data(self.plan.data, str(next(iter(contestants.values()))))
            files.write_json(path, [[line, line.zh] for line in found.lines()])
        # an earlier version kept them in English alone
        lines = [Sentence(line, line) if isinstance(line, str) else Sentence(*line) for line in files.read_json(path)]
        speaker(self.quiet)("\n".join(map(told, lines)))
        return lines

    def round(self, budget: str, contestants: Mapping[str, Path], before: Sequence[Round]) -> Round:
        """The round after those `before`: train, score, rank, and tune whoever comes last if another follows."""
        place, seed = len(before) + 1, self.plan.seed
        speaker(self.quiet)(
            Sentence(
                f"round {place} of {len(self.plan.rounds)}: {', '.join(contestants)}, {study.spoken(budget)}",
                f"第 {place} 轮，共 {len(self.plan.rounds)} 轮：{'、'.join(contestants)}，{study.spoken(budget).zh}",
            )
        )
        here = self.out / f"round-{place}"
        for name in before[-1].kept if before else ():
            self._carry(self.out / before[-1].run(name), here)
        terms = Terms(budget=budget, seeds=(seed,), n=self.plan.n, device=self.device, quiet=self.quiet)
        met = meet([str(path) for path in contestants.values()], here, terms)
        assert met.ranking is not None, "who meets is ranked"
        met, ranking = dataclasses.replace(met, title=f"Round {place}", command=self.command), met.ranking
        done = Round(place, budget, seed, met, ranking)
        if place == len(self.plan.rounds):
            return done
        kept = [one.name for one in ranking.places[:-1]][: self.plan.keep or None]
        return dataclasses.replace(done, kept=tuple(kept), tuned=self._tune(done, contestants[done.last.name]))

    def _carry(self, run: Path, here: Path) -> None:
        """A copy of a run for the next round to go on with; its report belongs to the round before."""
        if not (here / run.name).exists():
            files.copy_folder(run, here / run.name, without=(REPORT, PICTURES, ".lock"))

    def _tune(self, one: Round, recipe: Path) -> Tuned:
        how = self.plan.tune
        name = one.last.name
        speaker(self.quiet)(Sentence(f"{name} comes last: it is tuned", f"{name} 排在末位：对它调参"))
        return tune(
            str(recipe), trials=how.trials, time=how.time or None, budget=how.budget or one.budget,
            out=self.out / one.search, seed=self.plan.seed, n=self.plan.n, device=self.device, quiet=self.quiet,
        )  # fmt: skip

    def tell(self, done: Sequence[Round], found: Sequence[Sentence]) -> Shown:
        """The page of what has been done so far."""
        recipes, planned = len(self.plan.recipes), len(self.plan.rounds)
        names = [title(name) for name in self.plan.recipes]
        lede = (
            f"{', '.join(names)} learnt {self.plan.data}; after each round but the last, whoever came last was tuned.",
            f"{'、'.join(names)} 学习 {self.plan.data}；除最后一轮外，每一轮之后都调优排在最后的配方。",
        )
        asides = [rounds.choice(done, self.out)] if len(done) == planned else []
        asides += [rounds.figures(done), rounds.changes(done)]
        asides.append(Aside(("The data", "数据"), [(line.strip(), line.zh.strip()) for line in found]))
        heading = f"{recipes} recipes, {planned} rounds", f"{recipes} 个配方，{planned} 轮"
        return study.show(self.out, heading, lede, [one.met for one in done], asides)
