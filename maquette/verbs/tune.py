"""A search for better settings of a recipe: trials of equal budget, each trained and scored as anything else is.

Optuna says what to try next, by the tree-structured Parzen estimator (Bergstra et al. 2011). Its study is `study.db` in
the folder and holds finished trials alone: each is added in one transaction, once its report is written. What a trial
tries depends on the seed and on the trials before it, and on nothing else. So a search that was killed at any moment
goes on with the very trial that it was in, whose run goes on from its last checkpoint, and no trial counts twice.
"""

import contextlib
import dataclasses
import json
import math
import shlex
import sqlite3
import time as clock
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from maquette.core import files
from maquette.core.config import Tree, at, describe, read_yaml
from maquette.core.errors import MaquetteError, Sentence
from maquette.core.seeds import mix
from maquette.evaluate.ranking import primary, rank
from maquette.evaluate.report import Report, Score
from maquette.evaluate.words import traits, verdict
from maquette.train.recipe import Budget, Recipe
from maquette.train.run import Run
from maquette.train.session import prepare
from maquette.verbs import page, study, trials
from maquette.verbs.compare import Contest, Entry, hold
from maquette.verbs.evaluate import speaker
from maquette.verbs.page import chinese_duration, duration
from maquette.verbs.recipes import read, title
from maquette.verbs.space import Choices, Space, assignment, given, separate, usual
from maquette.verbs.study import Shown
from maquette.verbs.trials import Trial, figure

PLAN, STUDY = "tuning.json", "study.db"
FORMAT = 1
TRIALS = 20
AT_RANDOM = 5
"""Trials before the estimator has something to go by."""
TRAINING = 0.75
"""Share of its part of the time that a trial trains, where a time is given and no budget; the rest is for scoring."""
LONGER = 10
"""What is chosen after short trials or rounds is trained so many times as long."""
SHOWN = 4
"""Trials whose samples the page shows: the recipe as it was, and the best ones."""


@dataclass(frozen=True)
class Tuned:
    """What a search has come to.

    Attributes:
        recipe: the file of the best recipe, which `train` takes.
        own: the trial of the recipe as it was; None where its values lie outside the space.
        changes: the fields in which the best differs from it: as it was, as it is.
    """

    recipe: Path
    trials: list[Trial]
    best: Trial
    own: Trial | None
    changes: dict[str, tuple[Any, Any]]
    shown: Shown

    @property
    def better(self) -> bool:
        """Whether the best is another than the recipe as it was."""
        return self.best is not self.own


def tune(
    recipe: str,
    data: str | None = None,
    trials: int = TRIALS,
    time: str | None = None,
    budget: str | None = None,
    out: Path | str = "tuning",
    space: Path | str | None = None,
    overrides: Sequence[str] = (),
    seed: int = 0,
    n: int | None = None,
    device: str | None = None,
    quiet: bool = False,
) -> Tuned:
    """Search for better settings of `recipe`; called again with the same `out` it goes on, or adds trials.

    Args:
        trials: how many there are in the end, those of earlier calls among them.
        time: for all of them, such as 1h: no trial begins that would end later if it took as long as the longest.
        budget: of each trial's training; by default an equal part of `time`, less a quarter for scoring, and without
            one the recipe's.
        space: a YAML file that gives fields their ranges or choices; `key=LOW..HIGH` and `key=A,B,C` among `overrides`
            come before it. By default what `space.usual` says.
        seed: of what is tried. Training takes the recipe's.
        n: how many samples of each are made and compared.

    Raises:
        MaquetteError: MQ-3010 without the extra `tune`; what is wrong with the recipe, the data or the space, before
            anything is written; MQ-7032 when `out` holds something else, MQ-6030 when every trial failed.
    """
    optuna = library()
    if trials < 1:
        raise MaquetteError("MQ-2002", path="trials", wanted="a positive whole number", value=trials)
    limit = None if time is None else seconds(time, "time")
    if limit is not None and budget is None:
        budget = f"{round(TRAINING * limit / trials, 2):.12g}s"
    fixed, searched = separate(overrides)
    base = read(recipe, fixed, **{"data.source": data, "train.budget": budget, "train.device": device})
    contest = Contest.of(base, n, device, quiet)
    base = _explicit(base, contest)
    of_file = given(base, *read_yaml(Path(space))) if space is not None else {}
    domains = of_file | given(base, searched) or usual(base)
    options = {
        "--data": data, "--trials": trials, "--time": time, "--budget": budget, "--space": space,
        "--seed": seed or None, "-n": n, "--out": out, "--device": device,
    }  # fmt: skip
    words = [str(word) for pair in options.items() if pair[1] is not None for word in pair]
    command = shlex.join(["maquette", "tune", recipe, *words, *overrides])
    search = Search(optuna, title(recipe), base, domains, Path(out), seed, contest)
    with files.lock(out):
        hold(search.out / PLAN, search.plan())
        with search.opened() as kept:
            search.go_on(kept, trials, limit)
            return search.told([search.thawed(trial) for trial in kept.get_trials()], command)


def seconds(time: str, field: str) -> float:
    """A time such as 90s or 1h in seconds; MQ-2002 names the `field` for anything else."""
    with contextlib.suppress(MaquetteError):
        if (budget := Budget.parse(time)).unit == "s":
            return budget.amount
    raise MaquetteError("MQ-2002", path=field, wanted="like 90s, 10min or 1h", value=repr(time))


def judged(report: Report) -> Score:
    """The score that a trial is judged by.

    Raises:
        MaquetteError: MQ-2085 when the report has none, MQ-6031 when it is not finite.
    """
    by = primary(report)
    rank([report], by)
    score = report.score(by)
    assert score is not None, "who is ranked has the score"
    if not math.isfinite(score.value):
        raise MaquetteError("MQ-6031", name=score.title)
    return score


def library() -> Any:
    """The library, which is to say nothing of its own; raises MQ-3010 when it is not installed."""
    try:
        import optuna
    except ImportError:
        raise MaquetteError("MQ-3010", package="optuna", extra="tune") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _explicit(recipe: Recipe, contest: Contest) -> Recipe:
    """`recipe` with the settings of every player written out."""
    settings = {player: mover.settings for player, mover in prepare(recipe, contest.dataset).movers.items()}
    return dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, optimizers=settings))


@dataclass(frozen=True)
class Search:
    """A recipe `base` called `name`, what varies of it, the folder, the seed of what is tried, and the real samples."""

    optuna: Any
    name: str
    base: Recipe
    space: Space
    out: Path
    seed: int
    contest: Contest

    def plan(self) -> Tree:
        """What the folder is for; how many trials and how long is no part of it, so that a search can be lengthened."""
        varied = {key: list(domain.ends) for key, domain in self.space.items()}
        own = {"n": self.contest.n, "seed": self.seed, "space": varied}
        return {"format": FORMAT, "recipe": self.base.to_tree()} | own

    @property
    def own(self) -> dict[str, Any]:
        """The recipe's own values of what varies."""
        tree = self.base.to_tree()
        return {key: at(tree, key) for key in self.space}

    # -- trials -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def opened(self) -> Iterator[Any]:
        """Optuna's study in `study.db`, which is made whole or not at all."""
        path, aside = self.out / STUDY, self.out / f".{STUDY}.new"
        if not path.exists():
            for left in (aside, aside.with_name(f"{aside.name}-journal")):
                files.remove_file(left)
            self.optuna.create_study(storage=self._storage(aside), study_name=self.name)
            files.move_file(aside, path)
        yield self.optuna.load_study(storage=self._storage(path), study_name=self.name)

    def _storage(self, path: Path) -> Any:
        from sqlalchemy.pool import NullPool

        how = {"creator": lambda: sqlite3.connect(path), "poolclass": NullPool}  # a path may not be what a URL can hold
        return self.optuna.storages.RDBStorage("sqlite://", engine_kwargs=how)

    def go_on(self, kept: Any, wanted: int, limit: float | None) -> None:
        """Add trials to the study `kept` until there are so many, or the next would pass the `limit` in seconds."""
        say = speaker(self.contest.quiet)
        while len(finished := kept.get_trials()) < wanted:
            spent = [trial.user_attrs["seconds"] for trial in finished]
            if limit is not None and spent and sum(spent) + max(spent) > limit:
                n, took = len(finished), sum(spent)
                zh = f"{n} 次试验用了 {chinese_duration(took)}：再来一次就会超时"
                say(Sentence(f"{n} trials took {duration(took)}: another would not end in time", zh))
                return
            values = self.suggested(finished)
            say(f"[{len(finished) + 1}/{wanted}] " + " ".join(f"{k}={trials.written(v)}" for k, v in values.items()))
            trial = self.tried(len(finished), values)
            kept.add_trial(self.frozen(trial))
            if trial.score is None:
                say(f"  {trial.reason}")
            else:
                english, chinese = figure(trial.score.name, trial.score.value)
                say(Sentence(f"  {english}", f"  {chinese}"))

    def suggested(self, finished: Sequence[Any]) -> dict[str, Any]:
        """What to try after the trials `finished`: first the recipe's own values, if the space holds them."""
        if not finished and all(value in self.space[key] for key, value in self.own.items()):
            return self.own
        seed = mix(self.seed, len(finished)) % 2**32
        memory = self.optuna.create_study(
            sampler=self.optuna.samplers.TPESampler(n_startup_trials=AT_RANDOM, seed=seed)
        )
        memory.add_trials(finished)
        return self._values(memory.ask(self.distributions).params)

    def tried(self, place: int, values: dict[str, Any]) -> Trial:
        """The trial of `values`, trained and scored; it has failed when that cannot be done with these values."""
        trial = Trial(place, values, None, 0.0)
        folder = self.out / trial.name
        begun = clock.monotonic() - _trained(folder)
        self.contest.reference  # noqa: B018 - what is wrong with the data is no trial's failure
        score, reason = None, ""
        try:
            recipe = read(self.base, [assignment(key, value) for key, value in values.items()])
            score = judged(self.contest.report(Entry(trial.name, recipe, folder)))
        except MaquetteError as mistake:
            if not _is_own(mistake.code):
                raise
            reason = mistake.render("en").splitlines()[0].partition(": ")[2]
        except torch.OutOfMemoryError:
            reason = "the device has too little memory"
        return dataclasses.replace(trial, score=score, seconds=clock.monotonic() - begun, reason=reason)

    # -- trials <-> Optuna --------------------------------------------------------------------------------------------

    @property
    def distributions(self) -> dict[str, Any]:
        made, known = {}, self.optuna.distributions
        for key, domain in self.space.items():
            if isinstance(domain, Choices):  # of any type: Optuna keeps texts
                made[key] = known.CategoricalDistribution([json.dumps(value) for value in domain.values])
            elif isinstance(domain.low, int) and isinstance(domain.high, int):
                made[key] = known.IntDistribution(domain.low, domain.high, log=domain.log)
            else:
                made[key] = known.FloatDistribution(domain.low, domain.high, log=domain.log)
        return made

    def _values(self, params: dict[str, Any]) -> dict[str, Any]:
        return {key: json.loads(v) if isinstance(self.space[key], Choices) else v for key, v in params.items()}

    def frozen(self, trial: Trial) -> Any:
        """A finished trial as Optuna keeps it. Its value is the less the better, whatever the score is."""
        state = self.optuna.trial.TrialState
        scored = {} if trial.score is None else {"score": trial.score.to_tree()}
        return self.optuna.trial.create_trial(
            state=state.FAIL if trial.score is None else state.COMPLETE,
            value=None if trial.score is None else trial.order,
            params={k: json.dumps(v) if isinstance(self.space[k], Choices) else v for k, v in trial.values.items()},
            distributions=self.distributions,
            user_attrs={"seconds": trial.seconds, "reason": trial.reason} | scored,
        )

    def thawed(self, kept: Any) -> Trial:
        """What `frozen` was made from."""
        told = kept.user_attrs
        score = Score.from_tree(told["score"], "score") if "score" in told else None
        return Trial(kept.number, self._values(kept.params), score, told["seconds"], told["reason"])

    # -- what has come of it ------------------------------------------------------------------------------------------

    def told(self, done: list[Trial], command: str) -> Tuned:
        """Write the best recipe and the page.

        Raises:
            MaquetteError: MQ-6030 when every trial failed.
        """
        best = min(done, key=lambda trial: trial.order)
        if best.score is None:
            raise MaquetteError("MQ-6030", str(self.out), n=len(done), reason=done[-1].reason)
        own = done[0] if done[0].values == self.own and done[0].score is not None else None
        changes = {key: (was, best.values[key]) for key, was in self.own.items() if was != best.values[key]}
        path = self.out / f"{self.name}-tuned.yaml"
        files.write_file(path, self._best(path, best, own, len(done)).encode())
        name = f"{self.name}, tuned", f"{self.name} 的调优"
        lede = (
            f"{len(done)} trials of {study.spoken(self.base.train.budget)} each on {self.base.data.source}.",
            f"在 {self.base.data.source} 上试验 {len(done)} 次，每次训练 {study.spoken(self.base.train.budget)}。",
        )
        next_command = f"maquette train {shlex.quote(str(path))}"
        asides = [trials.found(best, own, done, changes, next_command), trials.history(done)]
        shown = study.show(self.out, name, lede, [self._study(done, own, command)], asides)
        return Tuned(path, done, best, own, changes, dataclasses.replace(shown, paths=[path, *shown.paths]))

    def _best(self, path: Path, best: Trial, own: Trial | None, n: int) -> str:
        """The recipe of the best trial as a file, with a longer budget."""
        budget = Budget.parse(self.base.train.budget).times(LONGER)
        changed = [assignment(key, value) for key, value in best.values.items()]
        recipe = read(self.base, changed, **{"train.budget": budget})
        assert best.score is not None, "who is best has a score"
        by, now = best.score.name, best.score.value
        was = f"; as it was: {figure(by, own.score.value)[0]}" if own is not None and own.score is not None else ""
        header = (
            f"# {self.name}, tuned on {recipe.data.source}: the best of {n} trials of {self.base.train.budget} each.\n"
            f"# {figure(by, now)[0]}{was}. The budget is {LONGER} times that of a trial.\n"
            f"#   maquette train {path}\n"
        )
        return header + describe(recipe) + "\n"

    def _study(self, done: Sequence[Trial], own: Trial | None, command: str) -> page.Study:
        """The best trials, and the recipe as it was, as models that met."""
        order = sorted((trial for trial in done if trial.score is not None), key=lambda trial: trial.order)
        among = [trial for trial in order if trial is not own][: SHOWN - (own is not None)]
        picked = ([own] if own is not None else []) + among
        reports = [Report.read(self.out / trial.name) for trial in picked]
        runs = {trial.name: Run.open(self.out / trial.name) for trial in picked}
        ranking = rank(reports, primary(reports[0]))
        return page.Study(
            title=self.base.data.source,
            reports=reports,
            command=command,
            facts=study.facts(self.contest.dataset, reports, list(runs.values())),
            verdict=verdict(ranking),
            ranking=ranking,
            words=traits(reports),
            metrics=study.metrics(runs),
            **study.real(self.contest.dataset, self.contest.medium),
            environment=study.environment(reports),
        )


def _is_own(code: str) -> bool:
    """Whether a mistake is a trial's own, the recipe itself being good: config, numbers, shapes that do not fit."""
    return code == "MQ-7011" or (code[3] in "26" and code != "MQ-2085")


def _trained(folder: Path) -> float:
    """Seconds that a run in `folder` has trained so far."""
    lines = Run.open(folder).metrics() if (folder / "recipe.json").exists() else []
    return max((line.get("seconds", 0.0) for line in lines), default=0.0)
