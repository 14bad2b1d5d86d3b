"""Trials of a search, and what a page tells of them: what was found, and a chart and a row of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from maquette.evaluate.report import KINDS, Score
from maquette.evaluate.words import number
from maquette.verbs import charts
from maquette.verbs.page import CHINESE, Aside, Cell, Chart, Words, duration

PANELS = 6
"""Fields that are charted at most."""


@dataclass(frozen=True)
class Trial:
    """One set of values, and what became of it.

    Attributes:
        place: how many came before.
        values: what was tried, by the name of the field.
        score: the one that trials are judged by; None where it failed, for the reason given.
        seconds: that it took, in all attempts.
    """

    place: int
    values: dict[str, Any]
    score: Score | None
    seconds: float
    reason: str = ""

    @property
    def name(self) -> str:
        return f"trial-{self.place:03d}"

    @property
    def order(self) -> float:
        """The less the better; a failed one is worse than any."""
        return float("inf") if self.score is None else self.score.order(self.score.value)


def figure(name: str, value: float) -> Words:
    """A score, a key of `KINDS`, as a sentence has it."""
    return f"{KINDS[name].title} {number(value)}", f"{CHINESE.get(name, name)} {number(value)}"


def found(best: Trial, own: Trial | None, trials: Sequence[Trial], changes: dict[str, Any], command: str) -> Aside:
    """The best trial beside the recipe as it was, and what to type next."""
    assert best.score is not None, "who is best has a score"
    english, chinese = figure(best.score.name, best.score.value)
    told: list[Words] = [
        (
            f"{best.name} is the best of {len(trials)}: {english}.",
            f"{len(trials)} 次试验中 {best.name} 最好：{chinese}。",
        )
    ]
    if own is best:
        told.append(("It is the recipe as it was: nothing better was found.", "它就是原来的配方：没有找到更好的设置。"))
    elif own is not None and own.score is not None:
        english, chinese = figure(own.score.name, own.score.value)
        told.append((f"The recipe as it was: {english}.", f"原来的配方：{chinese}。"))
    told.append(
        (
            "The best of many figures is also the luckiest, and was chosen by the held-out rows that it is told of: "
            "another seed, more training or other rows may order them otherwise.",
            "许多数字中最好的一个也是最幸运的一个，而且正是按它所报告的留出样本选出的：换一个种子、训练更久或换一批样本，次序可能不同。",
        )
    )
    rows: list[list[Cell]] = [[key, written(was), written(now)] for key, (was, now) in changes.items()]
    head = [("Field", "字段"), ("as it was", "原来"), ("now", "现在")]
    return Aside(("What was found", "找到了什么"), told, head=head if rows else [], rows=rows, command=command)


def history(trials: Sequence[Trial]) -> Aside:
    """Every trial: the score by order and by value of each field, and all of it as a table."""
    good = [trial for trial in trials if trial.score is not None]
    best = min(good, key=lambda trial: trial.order)
    keys = list(trials[0].values)
    assert best.score is not None, "who is best has a score"
    name, better = best.score.title, best.score.better
    drawn = [Chart(("In order", "按次序"), _chart(name, "trial", good, [trial.place for trial in good], best, True))]
    for key in keys:
        if all(_is_number(trial.values[key]) for trial in good) and len(drawn) <= PANELS:
            values = [trial.values[key] for trial in good]
            drawn.append(Chart((key, key), _chart(name, _short(key), good, values, best)))
    title = name, CHINESE.get(best.score.name, name)
    head = [("Trial", "试验"), *((_short(key), _short(key)) for key in keys), title, ("Took", "用时")]
    rows: list[list[Cell]] = [
        [
            (trial.name, f"{trial.name}/"),
            *(written(value) for value in trial.values.values()),
            f"failed: {trial.reason}" if trial.score is None else number(trial.score.value) + " ←" * (trial is best),
            duration(trial.seconds),
        ]
        for trial in trials
    ]
    told = ("Higher is better.", "越高越好。") if better == "higher" else ("Lower is better.", "越低越好。")
    return Aside(("Trials", "各次试验"), [told], drawn, head, rows)


def written(value: Any) -> str:
    """A value as a table has it.

    >>> written(0.00049999999), written(64), written("min_snr")
    ('0.0005', '64', 'min_snr')
    """
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _chart(
    title: str, label: str, trials: Sequence[Trial], at: Sequence[charts.Number], best: Trial, rising: bool = False
) -> str:
    points = [(x, trial.score.value) for x, trial in zip(at, trials, strict=True) if trial.score is not None]
    so_far: list[charts.Span] = []
    if rising:  # the line of the best until then
        for point, trial in zip(points, trials, strict=True):
            leader = min(trials[: trials.index(trial) + 1], key=lambda one: one.order)
            assert leader.score is not None
            so_far.append((point[0], leader.score.value))
    return charts.dots(title, points, label, trials.index(best), so_far)


def _short(key: str) -> str:
    """What tells a field from others: its last two names, without the part of the recipe."""
    return ".".join(key.split(".")[1:][-2:])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
