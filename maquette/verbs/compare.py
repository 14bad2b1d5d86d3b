"""Several recipes, one data set, one budget: train each alike, score each alike, rank them, and write it on one page.

A comparison that was stopped continues when it is asked for again in the same folder: what was scored is not trained
again, and what was begun is resumed from its last checkpoint.
"""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from maquette.core import files
from maquette.core.config import at
from maquette.core.devices import pick_device
from maquette.core.errors import MaquetteError, Phrase
from maquette.core.errors import told as in_chinese
from maquette.data.dataset import Dataset
from maquette.data.source import documents, open_data
from maquette.evaluate.evaluate import Options
from maquette.evaluate.ranking import primary, rank
from maquette.evaluate.reference import Reference, prepare
from maquette.evaluate.report import REPORT, Report
from maquette.evaluate.words import traits, verdict
from maquette.media.base import Medium, foretells
from maquette.pipeline import load
from maquette.train import session
from maquette.train.recipe import Recipe
from maquette.train.run import Run
from maquette.verbs import page, study
from maquette.verbs.evaluate import SAMPLES, measure, speaker
from maquette.verbs.recipes import read, title
from maquette.verbs.study import Shown

PLAN = "comparison.json"
FORMAT = 1
NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
CHINESE_NUMBERS = "零一两三四五六七八九十"


@dataclass(frozen=True)
class Entry:
    """One recipe with one seed, and the folder of its run."""

    name: str
    recipe: Recipe
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What is the same for all: see `compare`."""

    data: str | None = None
    budget: str | None = None
    seeds: Sequence[int] = (0,)
    n: int | None = None
    overrides: Sequence[str] = ()
    device: str | None = None
    quiet: bool = False

    def words(self) -> list[str]:
        """These terms as words of the command."""
        options = {
            "--data": self.data,
            "--budget": self.budget,
            "--seeds": ",".join(map(str, self.seeds)),
            "-n": self.n,
        }
        return [str(word) for pair in options.items() if pair[1] is not None for word in pair]


@dataclass(frozen=True)
class Contest:
    """Where entries meet: the data that all learn, and the real samples that all are held against.

    Attributes:
        n: how many samples of each are made and compared.
    """

    dataset: Dataset
    medium: Medium
    n: int
    device: str
    quiet: bool

    @classmethod
    def of(cls, recipe: Recipe, n: int | None, device: str | None, quiet: bool) -> "Contest":
        """One for entries that share the data and the medium of `recipe`."""
        medium = recipe.medium.learnt(lambda medium: documents(recipe.data, medium)).build()
        return cls(open_data(recipe.data, medium), medium, n or SAMPLES, device or "auto", quiet)

    @cached_property
    def reference(self) -> Reference:
        """The real samples, with what is computed of them once."""
        return prepare(self.dataset, self.medium, pick_device(self.device), self.n, say=speaker(self.quiet))

    def report(self, entry: Entry) -> Report:
        """What is known of an entry, which is trained and scored first unless it has been."""
        if not (entry.folder / REPORT).exists():
            run = trained(entry, self.quiet)
            pipeline, options = load(entry.folder, self.device), Options(name=entry.name)
            report = measure(pipeline, self.dataset, self.n, 0, run, self.reference, options, self.quiet)
            report.write(entry.folder)
        return Report.read(entry.folder)


def compare(
    recipes: Sequence[str],
    data: str | None = None,
    budget: str | None = None,
    out: Path | str = "comparison",
    seeds: Sequence[int] = (0,),
    n: int | None = None,
    overrides: Sequence[str] = (),
    device: str | None = None,
    quiet: bool = False,
) -> Shown:
    """Train, evaluate and rank `recipes`; `out/report.html` shows it all, the runs are `out/RECIPE-SEED`.

    Finished runs and bundles in their place are scored and ranked as they are (`verbs/finished.py`).

    Args:
        data, budget: for every recipe; may be left out where the recipes' own are the same.
        seeds: each recipe is trained once with each.
        n: how many samples are made and compared.
        overrides: `key=value` for every recipe.

    Raises:
        MaquetteError: anything wrong with any of the recipes, before the first is trained; MQ-7032 when `out` holds
            another comparison; MQ-2119 finished runs beside something else.
    """
    from maquette.verbs.finished import compare_finished, is_finished

    terms = Terms(data=data, budget=budget, seeds=seeds, n=n, overrides=overrides, device=device, quiet=quiet)
    finished = [is_finished(word) for word in recipes]
    if all(finished):
        return compare_finished(recipes, Path(out), terms)
    if any(finished):
        stranger = next(word for word, run in zip(recipes, finished, strict=True) if not run)
        raise MaquetteError("MQ-2119", what=Phrase(f"{stranger!r}, which is none", f"{stranger!r}，它不是已完成的训练"))
    met = meet(recipes, Path(out), terms)
    return study.show(Path(out), heading(len(recipes)), lede(met), [met])


def meet(recipes: Sequence[str], out: Path, terms: Terms) -> page.Study:
    """Train and score whatever has not been, and rank it all; writes the runs and their reports into `out`."""
    entries = plan(recipes, out, terms)
    with files.lock(out):
        held = {entry.folder.name: entry.recipe.to_tree() for entry in entries}
        hold(out / PLAN, {"format": FORMAT, "n": terms.n or SAMPLES, "recipes": held})
        contest = Contest.of(entries[0].recipe, terms.n, terms.device, terms.quiet)
        reports = []
        for number, entry in enumerate(entries, 1):
            speaker(terms.quiet)(f"[{number}/{len(entries)}] {entry.folder.name}")
            reports.append(contest.report(entry))
    runs = {entry.name: Run.open(entry.folder) for entry in reversed(entries)}
    words = ["maquette", "compare", *recipes, *terms.words(), "--out", str(out), *terms.overrides]
    return studied(entries[0].recipe.data.source, reports, runs, contest.dataset, contest.medium, shlex.join(words))


def studied(
    title: str, reports: Sequence[Report], runs: Mapping[str, Run], dataset: Dataset, medium: Medium, command: str
) -> page.Study:
    """What the page shows of reports that were taken alike: the ranking, in words too, the curves and the data."""
    ranking = rank(reports, primary(reports[0]))
    return page.Study(
        title=title,
        reports=list(reports),
        command=command,
        facts=study.facts(dataset, reports, list(runs.values())),
        verdict=verdict(ranking),
        ranking=ranking,
        words=traits(reports),
        metrics=study.metrics(runs),
        **study.real(dataset, medium),
        environment=study.environment(reports),
    )


def plan(recipes: Sequence[str], out: Path, terms: Terms) -> list[Entry]:
    """Every recipe with every seed, all of them read before anything is trained.

    Raises:
        MaquetteError: MQ-2117 one is named twice, MQ-2116 they differ in what should be the same, MQ-2xxx a recipe.
    """
    names = [title(recipe) for recipe in recipes]
    for what, counted in (("the recipes", Counter(names)), ("the seeds", Counter(map(str, terms.seeds)))):
        for name, times in counted.items():
            if times > 1:
                raise MaquetteError("MQ-2117", name=name, what=what)
    settings = {"data.source": terms.data, "train.budget": terms.budget, "train.device": terms.device}
    entries = [
        Entry(name, read(recipe, terms.overrides, **settings, **{"train.seed": seed}), out / f"{name}-{seed}")
        for seed in terms.seeds
        for name, recipe in zip(names, recipes, strict=True)
    ]
    trees = {entry.name: entry.recipe.to_tree() for entry in entries}
    first, *others = trees.values()
    media = {path for tree in others for path in _differences(first["medium"], tree["medium"], "medium")}
    crafts = [] if foretells(entries[0].recipe.medium.build()) else ["data.given"]  # all are asked the same
    given = [*crafts, "data.pair.source", "data.pair.by", "data.other", "data.combinations"]
    paths = [*given, *sorted(media)]
    options = {"data.source": "--data", "train.budget": "--budget"} | {path: f"{path}=…" for path in paths}
    for path, option in options.items():
        values = {name: str(at(tree, path)) for name, tree in trees.items()}
        if len(set(values.values())) > 1:
            differing = ", ".join(f"{name} {value}" for name, value in values.items())
            raise MaquetteError("MQ-2116", what=path, differing=differing, option=option)
    return entries


def hold(path: Path, tree: dict[str, Any]) -> None:
    """Write down at `path` what its folder is for, or make sure that it is what was begun there (MQ-7032)."""
    if not path.exists():
        files.write_json(path, tree)
    elif differing := sorted(_differences(files.read_json(path), tree, "")):
        raise MaquetteError("MQ-7032", str(path.parent), differences=", ".join(differing[:5]))


def _differences(a: Any, b: Any, path: str) -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        return [d for key in a.keys() | b.keys() for d in _differences(a.get(key), b.get(key), f"{path}.{key}")]
    return [] if a == b else [path.lstrip(".")]


def trained(entry: Entry, quiet: bool) -> Run:
    """The run of an entry: begun, or continued to the end of its budget."""
    if (entry.folder / "recipe.json").exists():
        return session.resume(entry.folder, quiet, entry.recipe.train.budget)
    return session.start(entry.recipe, entry.folder, quiet)


# -- words ------------------------------------------------------------------------------------------------------------


def heading(n: int) -> page.Words:
    """The title of a comparison of `n` recipes."""
    english, chinese = counted(n)
    return (f"{english} recipe{'s' * (n != 1)}, one budget", f"{chinese}个配方，同一预算")


def lede(met: page.Study) -> page.Words:
    """What was done, in a sentence."""
    names = list(dict.fromkeys(report.name for report in met.reports))
    told = {english: value for (english, _), value in met.facts}
    made = next(score.stamp.made for score in met.reports[0].scores)
    what, chinese = ("samples", "样本") if met.reports[0].score("chrf") is None else ("answers", "回答")
    return (
        f"{listed(names)}: each learned {met.title} with a budget of {told['Budget']}, and {made:,} {what} of each "
        "were held against real ones.",
        f"{'、'.join(names)}：各用 {in_chinese(told['Budget'], 'zh')} 的预算学习 {met.title}，"
        f"并各取 {made:,} 个{chinese}与真实{chinese}对照。",
    )


def counted(n: int) -> page.Words:
    """A number as a title begins with it."""
    english = NUMBERS[n].capitalize() if n < len(NUMBERS) else str(n)
    return english, CHINESE_NUMBERS[n] if n < len(CHINESE_NUMBERS) else str(n)


def listed(names: Sequence[str]) -> str:
    """Names in an English sentence."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
