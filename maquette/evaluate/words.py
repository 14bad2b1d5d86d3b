"""What each contestant is good and bad at, in sentences drawn from the figures: no figure, no sentence.

Scores are judged against real-against-real (the floor), costs against the other contestants. The thresholds are
judgement, and stand here together.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from maquette.evaluate.ranking import COSTS, Ranking, pareto
from maquette.evaluate.report import KINDS, Baseline, Report

NEAR_FLOOR, FAR_FLOOR = 2.0, 8.0
"""A Fréchet distance of at most so many floors is close; of at least so many, far."""
SHARE_GOOD, SHARE_BAD = 0.9, 0.65
"""Precision, coverage and label accuracy as shares of their floors."""
QUALITY_GOOD, QUALITY_BAD = 0.85, 0.5
"""Shares of samples within 4 sigma of a mode."""
PSNR_GOOD, PSNR_BAD = 24.0, 18.0
SNR_GOOD, SNR_BAD = 12.0, 3.0
KEPT_GOOD, KEPT_BAD = 0.9, 0.5
"""Shares of a text's tokens that come back from its code."""
COPIES = 0.05
"""More near copies than this (0.01 is expected) are named."""
PASSAGE = 2.0
"""A verbatim passage so many times as long as any of unseen real text is named."""
SIMPLER = (
    "chrf", "rouge_l", "accuracy", "linear_accuracy", "answer_psnr", "answer_ssim", "answer_snr", "crps", "mase",
)  # fmt: skip
"""Scores that are held against those of simpler ways to do the same."""
TIMES = 3.0
"""A cost is named when it is so many times less or more than the next contestant's."""


@dataclass(frozen=True)
class Traits:
    """What one contestant is good and bad at, a sentence each."""

    good: tuple[str, ...]
    bad: tuple[str, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        return (*self.good, *self.bad)


Sentences = Iterator[tuple[bool, str]]
"""Whether it speaks for the contestant, and the sentence."""


def traits(reports: Sequence[Report]) -> dict[str, Traits]:
    """Sentences about each contestant of `reports`, by name; several reports of one name are read as their means."""
    names = list(dict.fromkeys(report.name for report in reports))
    of = {name: Figures([report for report in reports if report.name == name]) for name in names}
    made = {}
    for name, figures in of.items():
        others = {other: f for other, f in of.items() if other != name}
        told = [line for judge in JUDGES for line in judge(figures, others)]
        made[name] = Traits(tuple(s for good, s in told if good), tuple(s for good, s in told if not good))
    return made


class Figures:
    """The figures of one contestant, each the mean over its reports."""

    def __init__(self, reports: Sequence[Report]):
        self.reports = reports

    def value(self, name: str) -> float | None:
        return _mean([None if (s := r.score(name)) is None else s.value for r in self.reports])

    def floor(self, name: str) -> float | None:
        return _mean([None if (s := r.score(name)) is None else s.floor for r in self.reports])

    def ratio(self, name: str) -> float | None:
        """The score over its floor."""
        value, floor = self.value(name), self.floor(name)
        return None if value is None or not floor else value / floor

    def cost(self, name: str) -> float | None:
        return _mean([COSTS[name][1](r) for r in self.reports])

    def most(self, name: str) -> str:
        """`at most` where a report has only a bound."""
        return "at most " if any(s.bound for r in self.reports if (s := r.score(name)) is not None) else ""

    def baselines(self, name: str) -> dict[str, Baseline]:
        """What simpler ways score."""
        return next((s.baselines for r in self.reports if (s := r.score(name)) is not None), {})

    def interval(self, name: str) -> tuple[float, float] | None:
        """Of the first report that has one."""
        scores = [s for r in self.reports if (s := r.score(name)) is not None]
        return next(((s.low, s.high) for s in scores if s.low is not None and s.high is not None), None)

    def unit(self, name: str) -> str:
        return next((s.unit for r in self.reports if (s := r.score(name)) is not None), "")


Others = dict[str, Figures]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def number(value: float) -> str:
    """Three digits that matter, as people write them.

    >>> number(0.01234), number(41.26), number(5678.9)
    ('0.0123', '41.3', '5,680')
    """
    return f"{float(f'{value:.3g}'):,.0f}" if abs(value) >= 100 else f"{value:.3g}"


# -- what is judged, in the order in which it is told -----------------------------------------------------------------


def _closeness(own: Figures, others: Others) -> Sentences:
    ratio, value = own.ratio("fid"), own.value("fid")
    if ratio is None or value is None:
        return
    said = f"Fréchet distance {number(value)}, {number(ratio)} times that of real against real"
    if ratio <= NEAR_FLOOR:
        yield True, f"As a whole its samples are close to real ones ({said})."
    elif ratio >= FAR_FLOOR:
        yield False, f"As a whole its samples are far from real ones ({said})."


def _fidelity(own: Figures, others: Others) -> Sentences:
    ratio, value, floor = own.ratio("precision"), own.value("precision"), own.floor("precision")
    if ratio is None or value is None or floor is None:
        return
    said = f"{value:.0%} lie where real ones lie; of real ones {floor:.0%} do"
    if ratio >= SHARE_GOOD:
        yield True, f"Single samples look real: {said}."
    elif ratio <= SHARE_BAD:
        yield False, f"Many samples do not look real: {said}."


def _variety(own: Figures, others: Others) -> Sentences:
    ratio, value, floor = own.ratio("coverage"), own.value("coverage"), own.floor("coverage")
    if ratio is None or value is None or floor is None:
        return
    said = f"{value:.0%} of real samples have a made one close by; {floor:.0%} have a real one"
    if ratio >= SHARE_GOOD:
        yield True, f"It covers the variety of the data: {said}."
    elif ratio <= SHARE_BAD:
        yield False, f"It misses much of the variety of the data: {said}."


def _modes(own: Figures, others: Others) -> Sentences:
    found, known = own.value("modes"), own.floor("modes")
    if found is not None and known:
        missed = known - found
        if missed <= 0:
            yield True, f"It finds all {known:.0f} modes."
        else:
            yield False, f"It misses {number(missed)} of {known:.0f} modes."
    quality = own.value("quality")
    if quality is not None and quality >= QUALITY_GOOD:
        yield True, f"{quality:.0%} of its samples lie within 4 sigma of a mode."
    elif quality is not None and quality <= QUALITY_BAD:
        yield False, f"Only {quality:.0%} of its samples lie within 4 sigma of a mode."


def _obedience(own: Figures, others: Others) -> Sentences:
    ratio, value = own.ratio("label_accuracy"), own.value("label_accuracy")
    if ratio is None or value is None:
        return
    if ratio >= SHARE_GOOD:
        yield True, f"It makes what is asked: {value:.0%} are taken for the label asked for."
    elif ratio <= SHARE_BAD:
        yield False, f"It often makes something else than asked: {value:.0%} are taken for the label asked for."


def _likelihood(own: Figures, others: Others) -> Sentences:
    value = own.value("likelihood")
    rivals = {name: v for name, f in others.items() if (v := f.value("likelihood")) is not None}
    if value is None:
        if rivals:
            yield False, f"It cannot say how probable a sample is; {_list(rivals)} can."
        return
    figure = f"{own.most('likelihood')}{number(value)} {own.unit('likelihood')}"
    said = f"It says how probable a sample is ({figure} on unseen data"
    best = rivals and value < min(rivals.values())
    yield True, said + (f", less than {_list(rivals)})." if best else ").")
    if simple := own.baselines("likelihood"):
        name = min(simple, key=lambda way: simple[way].value)
        beats = value < simple[name].value
        against = f"({number(value)} against {number(simple[name].value)} {own.unit('likelihood')})"
        yield beats, f"It {'beats' if beats else 'does not beat'} a {name} {against}."


def _reconstruction(own: Figures, others: Others) -> Sentences:
    for name, good, bad, said in (
        ("psnr", PSNR_GOOD, PSNR_BAD, "PSNR {:.1f} dB"),
        ("snr", SNR_GOOD, SNR_BAD, "SNR {:.1f} dB"),
        ("reconstruction", KEPT_GOOD, KEPT_BAD, "{:.0%} of its tokens come back to their place"),
    ):
        value = own.value(name)
        if value is not None and value >= good:
            yield True, f"It turns samples into codes and back with little loss ({said.format(value)})."
        elif value is not None and value <= bad:
            yield False, f"Its codes lose much of a sample ({said.format(value)})."


def _against_simpler(own: Figures, others: Others) -> Sentences:
    for name in SIMPLER:
        value, bounds, simpler = own.value(name), own.interval(name), own.baselines(name)
        if value is None or bounds is None or not simpler:
            continue
        sign = -1 if KINDS[name].better == "lower" else 1
        best = max(simpler, key=lambda way: sign * simpler[way].value)
        ends = [simpler[best].value if end is None else end for end in (simpler[best].low, simpler[best].high)]
        title, figures = KINDS[name].title, f"({number(value)} against {number(simpler[best].value)})"
        if min(sign * end for end in bounds) > max(sign * end for end in ends):
            yield True, f"{title}: better than the {best} {figures}."
        elif max(sign * end for end in bounds) < min(sign * end for end in ends):
            yield False, f"{title}: worse than the {best} {figures}."
        else:
            yield False, f"{title}: not told apart from the {best} {figures}."


def _memory_of_data(own: Figures, others: Others) -> Sentences:
    value = own.value("near_copies")
    if value is not None and value > COPIES:
        yield False, f"{value:.0%} of its samples are near copies of training items (1 % is expected)."
    passage, usual = own.value("verbatim"), own.floor("verbatim")
    if passage is not None and usual is not None and passage >= PASSAGE * max(usual, 1.0):
        said = f"up to {passage:,.0f} characters in a row stand in the training text; of unseen real text {usual:,.0f}"
        yield False, f"It copies: {said}."


def _speed(own: Figures, others: Others) -> Sentences:
    for better, times, other in _beside(own, others, "sampling"):
        rate = f"{number(1 / (own.cost('sampling') or float('inf')))} a second"
        if better:
            yield True, f"It samples fast: {rate}, {number(times)} times as many as {other}."
        else:
            yield False, f"It samples slowly: {rate}, {other} makes {number(times)} times as many."


def _size(own: Figures, others: Others) -> Sentences:
    for better, times, other in _beside(own, others, "size"):
        size = f"{own.cost('size'):,.0f} parameters"
        if better:
            yield True, f"It is small: {size}; {other} has {number(times)} times as many."
        else:
            yield False, f"It is large: {size}, {number(times)} times those of {other}."


JUDGES: tuple[Callable[[Figures, Others], Sentences], ...] = (
    _closeness,
    _fidelity,
    _variety,
    _modes,
    _obedience,
    _likelihood,
    _reconstruction,
    _against_simpler,
    _memory_of_data,
    _speed,
    _size,
)


def _beside(own: Figures, others: Others, cost: str) -> Iterator[tuple[bool, float, str]]:
    """Whether `own` costs least or most of all, how many times, and the next contestant, if that is worth a word."""
    mine = own.cost(cost)
    costs = {name: c for name, f in others.items() if (c := f.cost(cost)) is not None}
    if mine is None or not costs or mine <= 0:
        return
    cheapest, dearest = min(costs, key=costs.__getitem__), max(costs, key=costs.__getitem__)
    if costs[cheapest] >= TIMES * mine:
        yield True, costs[cheapest] / mine, cheapest
    elif mine >= TIMES * costs[dearest]:
        yield False, mine / costs[dearest], dearest


def _list(names: Sequence[str] | dict) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


# -- about all of them ------------------------------------------------------------------------------------------------


def verdict(ranking: Ranking) -> list[str]:
    """Sentences about a ranking: who is ahead, who cannot be told apart, what quality costs, who was left out."""
    told = []
    if len(ranking.places) > 1:
        first, second = ranking.places[:2]
        by = f"by {ranking.title}, {ranking.better} is better"
        figures = f"{number(first.estimate.value)} against {number(second.estimate.value)} of {second.name}"
        told.append(f"{first.name} comes first ({by}): {figures}.")
        told += [
            f"{a.name} and {b.name} are not told apart: their intervals overlap."
            for a, b in zip(ranking.places, ranking.places[1:], strict=False)
            if b.tied
        ]
        front = pareto(ranking, "sampling")
        if len(front) == 1:
            told.append(f"{front[0]} is also the one that samples fastest.")
        elif front:
            told.append(f"Nothing else is both better and faster at sampling than {_list(front)}.")
        if all(len(place.reports) == 1 for place in ranking.places):
            told.append("One training seed each: another seed may order them otherwise.")
    told += [f"{name} is not ranked: {reason}." for name, reason in ranking.unranked]
    return told
