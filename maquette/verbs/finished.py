"""Finished runs and bundles held against the same real samples, ranked, and written on one page: nothing is trained.

What was scored stays in the folder of the report, so that a comparison that was stopped goes on when it is asked for
again, and one more model costs only its own score.
"""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from maquette.bundle import CONFIG, find_bundle, read_outline
from maquette.core import files
from maquette.core.errors import MaquetteError
from maquette.data.source import Data, open_data
from maquette.evaluate.evaluate import Options
from maquette.evaluate.report import REPORT, Report
from maquette.media.base import MediumConfig
from maquette.pipeline import load
from maquette.train.run import Run
from maquette.verbs import compare, page, study
from maquette.verbs.compare import Contest, Terms
from maquette.verbs.evaluate import SAMPLES, measure, opened, source, speaker
from maquette.verbs.recipes import recipes, title
from maquette.verbs.study import Shown

FORMAT = 1


@dataclass(frozen=True)
class Entry:
    """One model: what it is called, where it is, the hash of its weights, what it makes, and the run if it is one."""

    name: str
    folder: Path
    digest: str
    medium: MediumConfig
    run: Run | None


def is_finished(word: str) -> bool:
    """Whether `word` is the folder of a run or a bundle; the bare name of a recipe is the recipe."""
    path, known = Path(word), {title(recipe.name) for recipe in recipes()}
    there = any((path / name).exists() for name in ("bundle", "recipe.json", CONFIG))
    return there and not (path.name == word and word in known)


def compare_finished(models: Sequence[str], out: Path, terms: Terms) -> Shown:
    """Score and rank `models`; `out/report.html` shows it all, the report of each is in `out/NAME`.

    Raises:
        MaquetteError: MQ-2119 terms that are for training; MQ-2117 two of one name; MQ-2120 they make different things;
            MQ-2116 they learnt different data and `data` is not given; MQ-7032 when `out` holds another comparison.
    """
    unfit = {"--budget": terms.budget, "--seeds": tuple(terms.seeds) != (0,), "key=value": terms.overrides}
    for what in (name for name, given in unfit.items() if given):
        raise MaquetteError("MQ-2119", what=what)
    entries = [_entry(Path(word)) for word in models]
    for name, times in Counter(entry.name for entry in entries).items():
        if times > 1:
            raise MaquetteError("MQ-2117", name=name, what="the models")
    data = _agreed(entries, terms.data)
    with files.lock(out):
        held = {entry.name: entry.digest for entry in entries}
        compare.hold(
            out / compare.PLAN, {"format": FORMAT, "n": terms.n or SAMPLES, "data": data.to_tree(), "models": held}
        )
        medium = entries[0].medium.build()
        contest = Contest(open_data(data, medium), medium, terms.n or SAMPLES, terms.device or "auto", terms.quiet)
        for number, entry in enumerate(entries, 1):
            speaker(terms.quiet)(f"[{number}/{len(entries)}] {entry.name}")
            if not (out / entry.name / REPORT).exists():
                pipeline, how = load(entry.folder, contest.device), Options(name=entry.name)
                report = measure(
                    pipeline, contest.dataset, contest.n, 0, entry.run, contest.reference, how, terms.quiet
                )
                report.write(out / entry.name)
    reports = [Report.read(out / entry.name) for entry in entries]
    runs = {entry.name: entry.run for entry in entries if entry.run is not None}
    options = {"--data": terms.data, "-n": terms.n, "--out": out}
    words = [str(word) for pair in options.items() if pair[1] is not None for word in pair]
    met = compare.studied(
        data.source, reports, runs, contest.dataset, medium, shlex.join(["maquette", "compare", *models, *words])
    )
    met = replace(met, facts=[(("Data", "数据"), data.source), *study.facts(contest.dataset, reports, [])])
    return study.show(out, _heading(len(entries)), _lede(met), [met])


def _entry(path: Path) -> Entry:
    outline, named = read_outline(find_bundle(path)), path.resolve()
    name = named.parent.name if named.name == "bundle" else named.name
    return Entry(name, path, outline.digest, outline.medium_config, opened(path))


def _agreed(entries: Sequence[Entry], asked: str | None) -> Data:
    """The real samples that all are held against.

    Raises:
        MaquetteError: MQ-2120 what they make differs, MQ-2116 their data do.
    """
    if any(entry.medium != entries[0].medium for entry in entries):
        differing = ", ".join(f"{entry.name} {entry.medium.build().space}" for entry in entries)
        raise MaquetteError("MQ-2120", differing=differing)
    learnt = {
        entry.name: source(load(entry.folder, "cpu"), entry.run, asked) if entry.run is None else entry.run.recipe.data
        for entry in entries
    }
    if asked is not None:
        learnt = {name: replace(data, source=asked) for name, data in learnt.items()}
    sources = {name: data.source for name, data in learnt.items()}
    if len(set(sources.values())) > 1:
        differing = ", ".join(f"{name} {one}" for name, one in sources.items())
        raise MaquetteError("MQ-2116", what="data.source", differing=differing, option="--data")
    return next((data for data in learnt.values() if data.conditional), next(iter(learnt.values())))


def _heading(n: int) -> page.Words:
    english, chinese = compare.counted(n)
    return (f"{english} model{'s' * (n != 1)}, the same real samples", f"{chinese}个模型，同一批真实样本")


def _lede(met: page.Study) -> page.Words:
    names = [report.name for report in met.reports]
    made = next(score.stamp.made for score in met.reports[0].scores)
    return (
        f"{compare.listed(names)}, each as it was trained: {made:,} of each were held against real ones of "
        f"{met.title}.",
        f"{'、'.join(names)}：各按其原有训练，各取 {made:,} 个与 {met.title} 的真实样本对照。",
    )
