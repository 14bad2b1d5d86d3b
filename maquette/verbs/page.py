"""Reports as one self-contained page: no network, no script, pictures as data, charts drawn by `charts.py`.

One renderer serves a single evaluation and a comparison. It computes nothing new: figures come from reports, order and
sentences from `evaluate/ranking.py`.
"""

import base64
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from maquette import __version__
from maquette.core.errors import Sentence, told
from maquette.core.exit import Mark
from maquette.evaluate.chinese import CHINESE
from maquette.evaluate.ranking import OVER_SEEDS, Ranking
from maquette.evaluate.report import KINDS, PLAYED, Baseline, Report, Score
from maquette.evaluate.scores.intervals import Estimate, of_mean
from maquette.evaluate.words import Traits
from maquette.media import marks
from maquette.verbs import charts
from maquette.verbs.charts import Number, Span, short
from maquette.verbs.sample import Sheet

COLOURS = 8
CHARTED = (
    "fid",
    "kid",
    "precision",
    "recall",
    "coverage",
    "density",
    "inception_score",
    "label_accuracy",
    "pitch_accuracy",
    "words_heard",
    "every_word",
    "answer_snr",
    "chrf",
    "bleu",
    "rouge_l",
    "accuracy",
    "linear_accuracy",
    "divergence",
    "repetition",
)
MOST_CHARTS = 6
PLAIN = ("", "share", "modes")
"""Units that need not be named beside a score's title."""
ARROWS = {"lower": "↓", "higher": "↑", "floor": "→"}
BINS = 60
"""Points that a learning curve is thinned to."""

Words = tuple[str, str]
"""The same in English and in Chinese."""


@dataclass(frozen=True)
class Study:
    """Models that met on one data set under one budget.

    Attributes:
        reports: several of one name are seeds of one contestant.
        ranking: of contestants; those that it does not rank come last.
        facts: what stands under the title, by name.
        metrics: the lines of metrics.jsonl by contestant.
        verdict: sentences about all of them; `words`: what each is good and bad at.
        environment: what the figures were computed with.
    """

    title: str
    reports: Sequence[Report]
    command: str
    facts: Sequence[tuple[Words, str]] = ()
    verdict: Sequence[Sentence] = ()
    ranking: Ranking | None = None
    words: Mapping[str, Traits] = field(default_factory=dict)
    metrics: Mapping[str, Sequence[dict[str, Any]]] = field(default_factory=dict)
    real: bytes | None = None
    real_clip: tuple[str, bytes] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


Cell = str | tuple[str, str]
"""A cell of a table: a text, or a text and where it leads."""


@dataclass(frozen=True)
class Chart:
    """An inline SVG and what stands above it."""

    title: Words
    svg: str


@dataclass(frozen=True)
class Aside:
    """What a page tells before its studies: sentences, charts, a table, a command to type."""

    title: Words
    sentences: Sequence[Words] = ()
    charts: Sequence[Chart] = ()
    head: Sequence[Words] = ()
    rows: Sequence[Sequence[Cell]] = ()
    command: str = ""


@dataclass(frozen=True)
class Contestant:
    """The reports of one name, one for each seed it was trained with."""

    name: str
    colour: int
    reports: Sequence[Report]

    @property
    def first(self) -> Report:
        return self.reports[0]

    def estimate(self, name: str) -> Estimate | None:
        """A score: the report's own for one seed, the mean with its interval over several."""
        scores = [score for report in self.reports if (score := report.score(name)) is not None]
        if not scores:
            return None
        if len(scores) == 1:
            return Estimate(scores[0].value, scores[0].low, scores[0].high, scores[0].method)
        return of_mean([score.value for score in scores], OVER_SEEDS)

    def most(self, name: str) -> str:
        """`≤ ` before a score that is only a bound."""
        return "≤ " if any(score.bound for r in self.reports if (score := r.score(name)) is not None) else ""

    def mean_cost(self, name: str) -> float | None:
        """The mean over seeds of a field of `Cost`; None where a report does not know it."""
        values = [getattr(report.cost, name) for report in self.reports]
        return None if None in values else sum(values) / len(values)


def render(title: Words, lede: Words, studies: Sequence[Study], asides: Sequence[Aside] = ()) -> bytes:
    """The page as UTF-8 HTML."""
    page = {"title": title, "lede": lede, "asides": asides, "studies": [_study(study) for study in studies]}
    return _template().render(page=page, version=__version__).encode()


@cache
def _template() -> Any:
    loader = PackageLoader("maquette.verbs")
    world = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    world.filters["zh"] = lambda words: told(words, "zh")
    world.globals["css"] = Markup(loader.get_source(world, "report.css")[0])
    return world.get_template("report.html")


def contestants(reports: Sequence[Report]) -> list[Contestant]:
    """Reports gathered by name, in the order in which the names first appear."""
    names = list(dict.fromkeys(report.name for report in reports))
    return [
        Contestant(name, i % COLOURS, [report for report in reports if report.name == name])
        for i, name in enumerate(names)
    ]


def _study(study: Study) -> dict[str, Any]:
    all_ = ordered(study)
    rows = [_row(name, all_) for name in KINDS if any(one.estimate(name) for one in all_)]
    return {
        "title": study.title,
        "several": len(all_) > 1,
        "columns": _columns(len(all_)),
        "sheets": _columns(len(all_) + (study.real is not None and not _is_pixels(study))),
        "smooth": not _is_pixels(study),
        "facts": study.facts,
        "verdict": study.verdict,
        "warnings": list(_warnings(study.reports)),
        "contestants": [_card(one, study) for one in all_],
        "real": _shot(study.real, "Real samples", "", None, study.real_clip) if study.real else None,
        "rows": rows,
        "baselines": any(row["baselines"] for row in rows),
        "charts": [chart for name in CHARTED if (chart := _interval_chart(name, all_))][:MOST_CHARTS],
        "costs": _cost_charts(all_),
        "words": any(traits.sentences for traits in study.words.values()),
        "learning": any(study.metrics.values()),
        "galleries": _galleries(all_),
        "command": study.command,
        "stamps": _stamps(study),
    }


def _warnings(reports: Sequence[Report]) -> Iterator[Sentence]:
    """What looks wrong, under the name of whom it is said of; what is said of all of several is said once."""
    shared = set.intersection(*(set(report.warnings) for report in reports)) if len(reports) > 1 else set[str]()
    yield from (reports[0].both(warning) for warning in reports[0].warnings if warning in shared)
    for report in reports:
        for warning in (report.both(warning) for warning in report.warnings if warning not in shared):
            yield Sentence(f"{report.name}: {warning}", f"{report.name}：{warning.zh}")


def _columns(n: int) -> int:
    """How many of `n` cards stand side by side where there is room."""
    return max(2, n) if n <= 4 else 4 if n % 4 == 0 or n > 9 else 3


def ordered(study: Study) -> list[Contestant]:
    """Its contestants as the ranking places them, then those that it leaves out."""
    all_ = contestants(study.reports)
    places = [place.name for place in study.ranking.places] if study.ranking else []
    return sorted(all_, key=lambda one: places.index(one.name) if one.name in places else len(places))


def _is_pixels(study: Study) -> bool:
    """Whether pictures show samples enlarged by a whole number, so that a browser must not smooth them."""
    return all(report.score("modes") is None for report in study.reports)


# -- contestants ------------------------------------------------------------------------------------------------------


def _card(one: Contestant, study: Study) -> dict[str, Any]:
    cost = one.first.cost
    facts: list[tuple[Words, str]] = []
    for name in ("fid", "modes", "quality", "chrf", "accuracy"):
        if (estimate := one.estimate(name)) is not None:
            facts.append(((KINDS[name].title, CHINESE[name]), short(estimate.value)))
    facts.append((("Parameters", "参数"), short(cost.parameters)))
    facts.append((("Samples/s", "样本/秒"), short(one.mean_cost("samples_per_second") or 0)))
    if (seconds := one.mean_cost("train_seconds")) is not None:
        facts.append((("Trained for", "训练时间"), Sentence(duration(seconds), chinese_duration(seconds))))
    curves, key = _curves(one, study.metrics.get(one.name, ()))
    return {
        "name": one.name,
        "colour": one.colour,
        "rank": _rank(one.name, study.ranking),
        "samples": _picture(one, "samples"),
        "facts": facts,
        "words": study.words.get(one.name, Traits((), ())),
        "curves": curves,
        "key": key,
    }


def _rank(name: str, ranking: Ranking | None) -> str:
    """`2 / 4`; with an = before it when the place before cannot be told apart."""
    places = ranking.places if ranking else ()
    for number, place in enumerate(places, 1):
        if place.name == name and len(places) > 1:
            return f"{'= ' if place.tied else ''}{number} / {len(places)}"
    return ""


def _picture(one: Contestant, name: str) -> dict[str, Any] | None:
    report = one.first
    listed = next((picture for picture in report.pictures if picture.name == name), None)
    if listed is None:
        return None
    clip = (listed.clip.suffix, report.clips[name]) if listed.clip else None
    mark = Mark(report.model, report.seed)
    return _shot(report.images[name], f"{listed.title} of {one.name}", report.both(listed.caption), mark, clip)


def _shot(
    png: bytes, alt: str, caption: str, mark: Mark | None, clip: tuple[str, bytes] | None = None
) -> dict[str, Any]:
    """A picture and what plays it for the template; what a model made carries its mark here too."""
    marked = Sheet().encode(png, mark) if mark else png
    width, height = struct.unpack(">II", marked[16:24])
    played = None
    if clip is not None:
        media = PLAYED[clip[0]]
        played = {"tag": media.partition("/")[0], "uri": _uri(media, marks.onto(clip[1], mark) if mark else clip[1])}
    picture = {"uri": _uri("image/png", marked), "width": width, "height": height, "alt": alt, "caption": caption}
    return picture | {"clip": played}


def _uri(media: str, data: bytes) -> str:
    return f"data:{media};base64,{base64.b64encode(data).decode()}"


def _galleries(all_: Sequence[Contestant]) -> list[dict[str, Any]]:
    """Every further picture that the reports have, grouped by what it shows; a caption that all share stands once."""
    titles = {
        picture.name: picture.title for one in all_ for picture in one.first.pictures if picture.name != "samples"
    }
    groups = []
    for name, title in titles.items():
        shots = [({"name": o.name, "colour": o.colour}, shot) for o in all_ if (shot := _picture(o, name))]
        captions = {shot["caption"] for _, shot in shots}
        groups.append(
            {
                "title": title,
                "title_zh": CHINESE.get(name, title),
                "note": shots[0][1]["caption"] if len(captions) == 1 else "",
                "columns": _columns(len(shots)),
                "shots": shots,
            }
        )
    return groups


# -- figures ----------------------------------------------------------------------------------------------------------


def _row(name: str, all_: Sequence[Contestant]) -> dict[str, Any]:
    scores = [one.first.score(name) for one in all_]
    known = [score for score in scores if score is not None]
    kind, floors = known[0], [score.floor for score in known if score.floor is not None]
    best = _best(name, all_)
    return {
        "title": kind.title + (f" ({kind.unit})" if kind.unit not in PLAIN else ""),
        "title_zh": CHINESE.get(name, kind.title),
        "about": KINDS[name].about,
        "arrow": ARROWS[kind.better],
        "cells": [_cell(one.estimate(name), one is best, one.most(name)) for one in all_],
        "floor": short(sum(floors) / len(floors)) if floors else "",
        "baselines": [(way, CHINESE.get(way, way), _cell(b, False, "")) for way, b in kind.baselines.items()],
    }


def _cell(estimate: Estimate | Baseline | None, best: bool, most: str) -> dict[str, Any]:
    if estimate is None:
        return {"text": "–", "interval": "", "best": False}
    bounded = estimate.low is not None and estimate.high is not None
    interval = f"{short(estimate.low)} – {short(estimate.high)}" if bounded else ""  # type: ignore[arg-type]
    return {"text": most + short(estimate.value), "interval": interval, "best": best}


def _best(name: str, all_: Sequence[Contestant]) -> Contestant | None:
    """Who alone has the best value, if at least two have one and all were measured alike."""
    having = [one for one in all_ if one.first.score(name) is not None]
    scores: list[Score] = [score for one in having if (score := one.first.score(name)) is not None]
    if len(having) < 2 or any(scores[0].stamp.unlike(score.stamp) for score in scores):
        return None
    first, second = sorted((scores[0].order(e.value), i) for i, one in enumerate(having) if (e := one.estimate(name)))[
        :2
    ]
    return having[first[1]] if short(first[0]) != short(second[0]) else None


def _marks(name: str, all_: Sequence[Contestant]) -> list[charts.Mark]:
    pairs = [(one, one.estimate(name)) for one in all_]
    return [charts.Mark(one.name, one.colour, e.value, e.low, e.high) for one, e in pairs if e is not None]


def _interval_chart(name: str, all_: Sequence[Contestant]) -> dict[str, Any] | None:
    marks = _marks(name, all_)
    scores = [score for one in all_ if (score := one.first.score(name)) is not None]
    if len(marks) < 2:
        return None
    kind = KINDS[name]
    floor = scores[0].floor
    svg = charts.intervals(kind.title, marks, floor, kind.better, 0.0 if kind.better == "lower" else None)
    return {"title": kind.title, "title_zh": CHINESE[name], "svg": Markup(svg)}


def _cost_charts(all_: Sequence[Contestant]) -> list[dict[str, Any]]:
    """Fréchet distance against what a model costs, where at least two have both."""
    floor = next((s.floor for one in all_ if (s := one.first.score("fid")) is not None), None)
    costs = {
        ("Seconds to make 1,000 samples", "生成 1,000 个样本的秒数"): lambda o: (
            1000 / o.mean_cost("samples_per_second")
        ),
        ("Parameters", "参数"): lambda o: o.mean_cost("parameters"),
        ("Seconds of training", "训练秒数"): lambda o: o.mean_cost("train_seconds"),
    }
    made = []
    for (title, title_zh), cost in costs.items():
        pairs = [(one, one.estimate("fid")) for one in all_]
        marks = [
            charts.Mark(one.name, one.colour, cost(one), y=e.value) for one, e in pairs if e is not None and cost(one)
        ]
        if len(marks) > 1 and max(m.x for m in marks) > 1.1 * min(m.x for m in marks):
            svg = charts.scatter(f"Fréchet distance against {title.lower()}", marks, title, "Fréchet distance", floor)
            made.append({"title": title, "title_zh": title_zh, "svg": Markup(svg)})
    return made


# -- learning curves --------------------------------------------------------------------------------------------------


def _curves(one: Contestant, lines: Sequence[dict[str, Any]]) -> tuple[Markup, list[tuple[Sentence, str]]]:
    """The losses of a contestant's players over seconds, and the names of the lines."""
    names = list(dict.fromkeys(key for line in lines for key in line if key.endswith(".loss")))
    series, key = [], []
    for i, name in enumerate(names):
        points = [(line["seconds"], line[name]) for line in lines if line.get(name) is not None and "seconds" in line]
        if len(points) > 1:
            player = name.removesuffix(".loss")
            series.append(charts.Series(player, one.colour, thinned(points), second=i > 0))
            key.append((Sentence(f"{player} loss", f"{player} 损失"), f"c{one.colour}" + (" dashed" if i else "")))
    if not series:
        return Markup(""), []
    return Markup(charts.lines(f"Losses of {one.name}", series, "seconds")), key


def thinned(points: Sequence[Span], bins: int = BINS) -> list[Span]:
    """At most `bins` points, each the mean of as many neighbours.

    >>> thinned([(0, 1.0), (1, 3.0), (2, 5.0), (3, 7.0)], bins=2)
    [(0.5, 2.0), (2.5, 6.0)]
    """
    edges = [len(points) * i // bins for i in range(bins + 1)]
    groups = [points[a:b] for a, b in zip(edges, edges[1:], strict=False) if b > a]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


# -- small print ------------------------------------------------------------------------------------------------------


def _stamps(study: Study) -> list[dict[str, Any]]:
    """What the scores were computed with, each different stamp once, and the environment."""
    measured: dict[tuple, dict[str, str]] = {}
    for report in study.reports:
        for score in report.scores:
            pairs = tuple((key, _said(value)) for key, value in score.stamp.to_tree().items() if value not in ("", {}))
            measured.setdefault(pairs, {})[score.title] = CHINESE.get(score.name, score.title)
    made: list[dict[str, Any]] = [
        {"title": Sentence(", ".join(titles), "、".join(titles.values())), "pairs": pairs}
        for pairs, titles in measured.items()
    ]
    notes = {note: report.both(note) for report in study.reports for note in report.notes}
    made.append({"title": Sentence("Notes", "说明"), "pairs": [(str(i), n) for i, n in enumerate(notes.values(), 1)]})
    made.append({"title": Sentence("Environment", "环境"), "pairs": list(study.environment.items())})
    return [group for group in made if group["pairs"]]


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {inner}" for key, inner in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def duration(seconds: Number) -> str:
    """A time as people say it.

    >>> duration(4.21), duration(95), duration(3700)
    ('4.21 s', '1 min 35 s', '1 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def chinese_duration(seconds: Number) -> str:
    """`duration` in Chinese.

    >>> chinese_duration(4.21), chinese_duration(95), chinese_duration(3700)
    ('4.21 秒', '1 分 35 秒', '1 小时 1 分')
    """
    units = {"s": "秒", "min": "分", "h": "小时"}
    return " ".join(units.get(word, word) for word in duration(seconds).split())
