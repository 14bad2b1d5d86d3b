"""Rounds in which recipes met, and what a page tells of them: the choice, every figure, and what tuning changed."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maquette.evaluate.ranking import Place, Ranking
from maquette.evaluate.words import number
from maquette.train.recipe import Budget
from maquette.verbs.page import CHINESE, Aside, Cell, Study, Words
from maquette.verbs.trials import figure, written
from maquette.verbs.tune import LONGER, Tuned


@dataclass(frozen=True)
class Round:
    """What came of a round, the search behind it included.

    Attributes:
        kept: names of those that learn on.
        tuned: the search for a better recipe of whoever came last; None in the last round.
    """

    number: int
    budget: str
    seed: int
    met: Study
    ranking: Ranking
    kept: tuple[str, ...] = ()
    tuned: Tuned | None = None

    @property
    def folder(self) -> str:
        """Where its runs are, beside the page."""
        return f"round-{self.number}"

    @property
    def search(self) -> str:
        """The folder of the search behind it."""
        return f"tuning-{self.number}"

    @property
    def last(self) -> Place:
        return self.ranking.places[-1]

    def run(self, name: str) -> str:
        """The folder of a contestant's run."""
        return f"{self.folder}/{name}-{self.seed}"

    def following(self, recipes: Mapping[str, Path]) -> dict[str, Path]:
        """Who meets in the next round, each with its recipe: `recipes` are those of this one."""
        on = {name: recipes[name] for name in self.kept}
        if self.tuned is not None and (self.tuned.better or not on):
            on[self.tuned.recipe.stem] = self.tuned.recipe
        return on


def ordered(rounds: Sequence[Round]) -> list[tuple[Round, Place]]:
    """Every model of every round, the best first; of equal ones the later."""

    def order(pair: tuple[Round, Place]) -> tuple[float, int]:
        one, place = pair
        score = place.reports[0].score(one.ranking.by)
        assert score is not None, "who is ranked has the score"
        return score.order(place.estimate.value), -one.number

    return sorted(((one, place) for one in rounds for place in one.ranking.places), key=order)


def choice(rounds: Sequence[Round], out: Path) -> Aside:
    """The best model of any round, why it is, and what to type next."""
    (where, best), *others = ordered(rounds)
    n, (english, chinese) = len(others) + 1, _figure(where, best)
    told: list[Words] = [
        (
            f"Chosen: {best.name} of round {where.number}. {english}, the best of {n} models.",
            f"选定第 {where.number} 轮的 {best.name}：{chinese}，是 {n} 个模型中最好的。",
        )
    ]
    rival = next(((one, place) for one, place in others if place.name != best.name), None)
    if rival is not None:
        one, place = rival
        english, chinese = _figure(one, place)
        english = f"The next is {place.name} of round {one.number}: {english}"
        chinese = f"其次是第 {one.number} 轮的 {place.name}：{chinese}"
        if best.overlaps(place):
            english += "; the intervals overlap, so these figures do not tell the two apart"
            chinese += "；两者的区间重叠，这些数字分不出高下"
        told.append((f"{english}.", f"{chinese}。"))
    if where is not rounds[-1]:
        told.append(("More training did not better it.", "更多的训练没有让它变得更好。"))
    told.append(
        (
            "One training seed, and chosen by the held-out rows that the figures are of: another seed or other rows "
            "may order them otherwise.",
            "只用一个训练种子，而且是按这些数字所依据的留出样本选出的：换一个种子或换一批样本，次序可能不同。",
        )
    )
    run = shlex.quote(str(out / where.run(best.name)))
    longer = Budget.parse(where.budget).times(LONGER)
    command = f"maquette sample {run}\nmaquette resume {run} --budget {longer}"
    return Aside(("The choice", "选择"), told, command=command)


def figures(rounds: Sequence[Round]) -> Aside:
    """A row a contestant and a column a round; each figure leads to its run."""
    told: list[Words] = []
    for one in rounds:
        first = one.ranking.places[0].name
        english = f"Round {one.number}: {first} comes first, {one.last.name} last"
        chinese = f"第 {one.number} 轮：{first} 第一，{one.last.name} 最后"
        if one.tuned is not None:
            on = list(one.following({name: Path() for name in one.kept}))
            english, chinese = f"{english}; {', '.join(on)} went on", f"{chinese}；{'、'.join(on)} 继续"
        told.append((f"{english}.", f"{chinese}。"))
    rows: list[list[Cell]] = []
    for name in dict.fromkeys(place.name for one in rounds for place in one.ranking.places):
        places = [next((place for place in one.ranking.places if place.name == name), None) for one in rounds]
        rows.append([name, *map(_cell, rounds, places)])
    ranking = rounds[0].ranking
    head = [(ranking.title, CHINESE[ranking.by]), *((f"Round {one.number}", f"第 {one.number} 轮") for one in rounds)]
    return Aside(("The rounds", "各轮"), told, head=head, rows=rows)


def changes(rounds: Sequence[Round]) -> Aside:
    """What tuning changed, and what it gained."""
    told: list[Words] = []
    rows: list[list[Cell]] = []
    for one, tuned in ((one, one.tuned) for one in rounds if one.tuned is not None):
        name, n, page = one.last.name, len(tuned.trials), f"{one.search}/report.html"
        by, best = one.ranking.by, tuned.best.score
        assert best is not None, "who is best has a score"
        now = figure(by, best.value)
        was = figure(by, tuned.own.score.value) if tuned.own is not None and tuned.own.score is not None else ("–", "–")
        if tuned.better:
            english = (
                f"{name} became {tuned.recipe.stem} in {n} trials of equal budget: {was[0]} before, {now[0]} after."
            )
            chinese = f"{name} 经 {n} 次同预算的试验成为 {tuned.recipe.stem}：之前 {was[1]}，之后 {now[1]}。"
            rows += [[(name, page), key, written(a), written(b)] for key, (a, b) in tuned.changes.items()]
        else:
            english = f"{name} ({now[0]}): nothing better in {n} trials, so it stayed behind."
            chinese = f"{name}（{now[1]}）：{n} 次试验没有找到更好的设置，因此不再继续。"
            rows.append([(name, page), "–", "–", "–"])
        told.append((english, chinese))
    head = [("Recipe", "配方"), ("Field", "字段"), ("as it was", "原来"), ("now", "现在")]
    return Aside(("What was tuned", "调优了什么"), told, head=head, rows=rows)


def _figure(one: Round, place: Place) -> Words:
    return figure(one.ranking.by, place.estimate.value)


def _cell(one: Round, place: Place | None) -> Cell:
    return "" if place is None else (number(place.estimate.value), f"{one.run(place.name)}/")
