"""Order among reports: by one score over several seeds, and quality against cost. It reads reports and nothing else.

Only figures with like stamps (equal in all but the seed) are ordered; the others are named with what differs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from maquette.core.errors import MaquetteError, Sentence, nearest
from maquette.evaluate.chinese import named
from maquette.evaluate.report import Report, Score, Stamp
from maquette.evaluate.scores.intervals import Estimate, of_mean

OVER_SEEDS = "95 %, Student's t over training seeds"

COSTS: dict[str, tuple[str, Callable[[Report], float | None]]] = {
    "sampling": ("seconds a sample", lambda report: 1 / report.cost.samples_per_second),
    "training": ("seconds of training", lambda report: report.cost.train_seconds),
    "size": ("parameters", lambda report: float(report.cost.parameters)),
    "memory": ("bytes of memory", lambda report: float(report.cost.peak_bytes)),
}
"""What quality is weighed against: a name for people, and the figure (less is better) of a report."""


@dataclass(frozen=True)
class Place:
    """One contestant in a ranking.

    Attributes:
        estimate: its score, the mean over its reports with an interval over seeds when there are several.
        tied: whether its interval overlaps that of the place before it, so that these figures do not tell them apart.
    """

    name: str
    estimate: Estimate
    floor: float | None
    reports: tuple[Report, ...]
    tied: bool = False

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(report.seed for report in self.reports)

    def overlaps(self, other: "Place") -> bool:
        """Whether both have intervals and these overlap."""
        a, b = self.estimate, other.estimate
        if a.low is None or a.high is None or b.low is None or b.high is None:
            return False
        return a.low <= b.high and b.low <= a.high

    def cost(self, name: str) -> float | None:
        """The mean over its reports of a key of `COSTS`; None where one does not know it."""
        values = [COSTS[name][1](report) for report in self.reports]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if len(known) == len(values) else None


@dataclass(frozen=True)
class Ranking:
    """Contestants by one score, best first.

    Attributes:
        by: the score's name; title, better: as its reports say.
        unranked: contestants that are shown but not ranked, each with the reason.
    """

    by: str
    title: str
    better: str
    places: tuple[Place, ...]
    unranked: tuple[tuple[str, str], ...] = ()


def primary(report: Report) -> str:
    """The score that tells how good a model like this one is: of answers and forecasts their own, else the Fréchet
    distance."""
    return next((name for name in ("chrf", "crps") if report.score(name)), "fid")


def rank(reports: Sequence[Report], by: str = "fid") -> Ranking:
    """Contestants (reports of one name are its seeds) in the order of the score called `by`.

    Where stamps differ, the largest group of like ones is ranked (of equal groups the first).

    Raises:
        MaquetteError: MQ-2085 when no report has that score.
    """
    scored = [(report, score) for report in reports if (score := report.score(by)) is not None]
    if not scored:
        known = {score.name for report in reports for score in report.scores}
        raise MaquetteError("MQ-2085", name=by, near=nearest(by, known))
    stamp = _usual_stamp([score for _, score in scored])
    ranked = {report.name for report, _ in scored} - _unlike_names(scored, stamp)
    places = [_place(name, [pair for pair in scored if pair[0].name == name]) for name in _names(reports, ranked)]
    places.sort(key=lambda place: scored[0][1].order(place.estimate.value))
    places = [_tied(place, places[i - 1] if i else None) for i, place in enumerate(places)]
    unranked = [(name, _reason(name, scored, stamp, by)) for name in _names(reports, None) if name not in ranked]
    return Ranking(by, scored[0][1].title, scored[0][1].better, tuple(places), tuple(unranked))


def pareto(ranking: Ranking, cost: str) -> tuple[str, ...]:
    """Names of those that nobody beats in both: no other place is at least as good and as cheap, and better in one.

    Args:
        cost: a key of `COSTS`.
    """
    sign = 1 if ranking.better == "lower" else -1
    points = {p.name: (sign * p.estimate.value, c) for p in ranking.places if (c := p.cost(cost)) is not None}
    return tuple(
        name
        for name, own in points.items()
        if not any(other[0] <= own[0] and other[1] <= own[1] and other != own for other in points.values())
    )


def _names(reports: Sequence[Report], among: set[str] | None) -> list[str]:
    """Contestants in the order in which they first appear."""
    return [name for name in dict.fromkeys(r.name for r in reports) if among is None or name in among]


def _usual_stamp(scores: Sequence[Score]) -> Stamp:
    """The stamp that most scores are like."""
    return max((score.stamp for score in scores), key=lambda stamp: sum(not stamp.unlike(s.stamp) for s in scores))


def _unlike_names(scored: Sequence[tuple[Report, Score]], stamp: Stamp) -> set[str]:
    return {report.name for report, score in scored if stamp.unlike(score.stamp)}


def _reason(name: str, scored: Sequence[tuple[Report, Score]], stamp: Stamp, by: str) -> str:
    own = [score for report, score in scored if report.name == name]
    if not own:
        return Sentence(f"it has no {by}", f"它没有{named(by)}")
    names = ", ".join(dict.fromkeys(field for score in own for field in stamp.unlike(score.stamp)))
    verb = "differ" if ", " in names else "differs"
    return Sentence(f"its score was taken otherwise: {names} {verb}", f"其分数的测量方式不同：{names} 有别")


def _place(name: str, scored: Sequence[tuple[Report, Score]]) -> Place:
    reports, scores = tuple(report for report, _ in scored), [score for _, score in scored]
    one = scores[0]
    own = Estimate(one.value, one.low, one.high, one.method)
    estimate = own if len(scores) == 1 else of_mean([score.value for score in scores], OVER_SEEDS)
    floors = [score.floor for score in scores if score.floor is not None]
    return Place(name, estimate, sum(floors) / len(floors) if floors else None, reports)


def _tied(place: Place, before: Place | None) -> Place:
    return place if before is None else replace(place, tied=place.overlaps(before))
