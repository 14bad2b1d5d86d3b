"""From reports and runs to what a person reads: a study of the page, a table for the terminal, the files of both."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maquette.core import files
from maquette.core.errors import Sentence, told
from maquette.data.dataset import Dataset
from maquette.evaluate.chinese import CHINESE
from maquette.evaluate.chinese import UNITS as CHINESE_UNITS
from maquette.evaluate.report import Baseline, Report
from maquette.evaluate.scores.intervals import Estimate
from maquette.media.base import Medium
from maquette.train.recipe import Budget
from maquette.train.run import Run
from maquette.verbs import page
from maquette.verbs.charts import short
from maquette.verbs.env import about
from maquette.verbs.page import ARROWS, Contestant, Study, Words, chinese_duration, duration, ordered

PAGE = "report.html"
REAL = 32
"""Real samples shown above the made ones."""
TABLE = {
    "fid": "Fréchet",
    "kid": "kernel",
    "precision": "precision",
    "recall": "recall",
    "coverage": "coverage",
    "modes": "modes",
    "quality": "in modes",
    "chrf": "chrF",
    "bleu": "BLEU",
    "rouge_l": "ROUGE-L",
    "accuracy": "accuracy",
    "linear_accuracy": "linear head",
    "pitch_accuracy": "in tune",
    "words_heard": "words",
    "answer_snr": "SNR",
    "crps": "CRPS",
    "mase": "MASE",
    "interval_80": "in 80 %",
    "interval_95": "in 95 %",
    "answer_psnr": "PSNR",
    "answer_ssim": "SSIM",
    "answer_distance": "perceptual",
    "cycle_psnr": "round trip",
    "likelihood": "likelihood",
    "divergence": "3-grams",
    "repetition": "repeats",
}
"""Scores of the table in the terminal, which has less room than the page, by what they are called there."""
COSTS = (Sentence("samples/s", "样本/秒"), Sentence("parameters", "参数"), Sentence("trained", "训练时间"))
UNITS = {"bits per dimension": "bits/dim", "bits per byte": "bits/byte", "nats per sample": "nats"}


@dataclass(frozen=True)
class Shown:
    """What evaluating or comparing made: the reports, the files they stand in, and a table for the terminal."""

    reports: list[Report]
    paths: list[Path]
    table: str


def show(out: Path, title: Words, lede: Words, studies: Sequence[Study], asides: Sequence[page.Aside] = ()) -> Shown:
    """Write `out/report.html`, and say the same as a table."""
    files.write_file(out / PAGE, page.render(title, lede, studies, asides))
    reports = [report for study in studies for report in study.reports]
    return Shown(reports, [out / PAGE], "\n".join(table(study) for study in studies))


def facts(dataset: Dataset, reports: Sequence[Report], runs: Sequence[Run]) -> list[tuple[Words, str]]:
    """What stands under the title: the data, what each model was given, what was scored."""
    scored = next((score.stamp for report in reports for score in report.scores), None)
    lines: list[tuple[Words, str]] = []
    if runs:
        recipe = runs[0].recipe
        items = _items(recipe.medium.build())
        shown = Sentence(f"{recipe.data.source}, {items}", f"{recipe.data.source}，{items.zh}")
        lines.append((("Data", "数据"), shown))
    lines.append((("Training items", "训练样本"), f"{len(dataset.train.items):,}"))
    if dataset.classes:
        lines.append((("Classes", "类别"), f"{len(dataset.classes):,}"))
    if runs:
        lines.append((("Budget", "预算"), spoken(runs[0].recipe.train.budget)))
    if scored is not None:
        zh = f"生成 {scored.made:,} 个，真实 {scored.real:,} 个"
        lines.append((("Scored", "评分样本"), Sentence(f"{scored.made:,} made, {scored.real:,} real", zh)))
    lines.append((("Seeds", "种子"), ", ".join(dict.fromkeys(str(report.seed) for report in reports))))
    return lines


def spoken(budget: str) -> Sentence:
    """A budget as people write it.

    >>> spoken("90s"), spoken("2000steps"), spoken("5epochs")
    ('1 min 30 s', '2,000 steps', '5 epochs')
    >>> spoken("90s").zh, spoken("5epochs").zh
    ('1 分 30 秒', '5 轮')
    """
    read = Budget.parse(budget)
    if read.unit == "s":
        return Sentence(duration(read.amount), chinese_duration(read.amount))
    return Sentence(f"{read.amount:,.0f} {read.unit}", f"{read.amount:,.0f} {'步' if read.unit == 'steps' else '轮'}")


def _items(medium: Medium) -> Sentence:
    unit, zh = (
        (" tokens", " 个词元") if medium.talks else (" coordinates", " 个坐标") if len(medium.stored) == 1 else ("", "")
    )
    size = "×".join(map(str, medium.stored))
    return Sentence(size + unit, size + zh)


def real(dataset: Dataset, medium: Medium) -> dict[str, Any]:
    """Real items for a study, a sheet and what plays them: as many as are looked at in one glance, spread over the
    set."""
    split = dataset.test if len(dataset.test.items) else dataset.train
    flat = len(medium.stored) == 1
    shown = len(split.items) if flat else REAL
    items = split.items[:: max(1, len(split.items) // shown)][:shown]
    return {"real": medium.sheet(items, columns=REAL // 2), "real_clip": medium.clip(items)}


def metrics(runs: Mapping[str, Run]) -> dict[str, list[dict]]:
    """The training lines of each contestant's first run."""
    return {name: run.metrics() for name, run in runs.items()}


def environment(reports: Sequence[Report]) -> dict[str, str]:
    """What the figures were computed on."""
    devices = dict.fromkeys(report.cost.device for report in reports)
    return about() | {"sampled on": "; ".join(devices)}


# -- the terminal -----------------------------------------------------------------------------------------------------


def table(study: Study) -> str:
    """One row a contestant, in rank order; best values are marked."""
    from rich.console import Console
    from rich.table import Table

    all_ = ordered(study)
    names = [name for name in TABLE if any(one.estimate(name) for one in all_)]
    grid = Table(title=study.title, title_justify="left", header_style="", box=None, pad_edge=False)
    grid.add_column("")
    for name in names:
        known = next(score for report in study.reports if (score := report.score(name)) is not None)
        title = Sentence(UNITS.get(known.unit, TABLE[name]), CHINESE_UNITS.get(known.unit, CHINESE[name]))
        grid.add_column(f"{told(title)} {ARROWS[known.better]}", justify="right", no_wrap=True)
    for cost in COSTS:
        grid.add_column(told(cost), justify="right", no_wrap=True)
    for one in all_:
        grid.add_row(one.name, *(_cell(name, one) for name in names), *_costs(one))
    floors = [_floor(name, study.reports) for name in names]
    if any(floors):
        grid.add_row(told(Sentence("real against real", "真实对真实")), *floors, "", "", "", style="dim")
    beside = {name: _baselines(name, study.reports) for name in names}
    for simpler in dict.fromkeys(known for figures in beside.values() for known in figures):
        cells = [_estimate(figures[simpler]) if simpler in figures else "" for figures in beside.values()]
        grid.add_row(told(Sentence(simpler, CHINESE.get(simpler, simpler))), *cells, "", "", "", style="dim")
    console = Console(file=io.StringIO(), width=32 + 16 * len(grid.columns))
    console.print(grid)
    sentences = "".join(f"\n  {told(sentence)}" for sentence in study.verdict)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + sentences  # type: ignore[attr-defined]


def _cell(name: str, one: Contestant) -> str:
    estimate = one.estimate(name)
    return "–" if estimate is None else one.most(name) + _estimate(estimate)


def _estimate(estimate: Estimate | Baseline) -> str:
    value = short(estimate.value)
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} ±{float(f'{(estimate.high - estimate.low) / 2:.1g}'):g}"


def _costs(one: Contestant) -> tuple[str, str, str]:
    seconds = one.mean_cost("train_seconds")
    return (
        short(one.mean_cost("samples_per_second") or 0),
        short(one.first.cost.parameters),
        "–" if seconds is None else told(Sentence(duration(seconds), chinese_duration(seconds))),
    )


def _floor(name: str, reports: Sequence[Report]) -> str:
    floors = [s.floor for report in reports if (s := report.score(name)) is not None and s.floor is not None]
    return short(sum(floors) / len(floors)) if floors else ""


def _baselines(name: str, reports: Sequence[Report]) -> dict[str, Baseline]:
    """What simpler ways score, by their name; models that met share them."""
    return next((score.baselines for report in reports if (score := report.score(name)) is not None), {})
