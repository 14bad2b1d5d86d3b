"""Reports as one self-contained page: no network, no script, pictures as data, charts drawn by `charts.py`.

One renderer serves a single evaluation and a comparison. It computes nothing new: figures come from reports, order and
sentences from `evaluate/ranking.py`.
"""

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from maquette import __version__
from maquette.core.exit import Mark
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

CHINESE = {
    "fid": "Fréchet 距离",
    "kid": "核距离",
    "inception_score": "Inception 式评分",
    "precision": "精确率",
    "recall": "召回率",
    "density": "密度",
    "coverage": "覆盖率",
    "label_accuracy": "标签准确率",
    "modes": "找到的模式数",
    "quality": "高质量占比",
    "kl": "KL 散度",
    "likelihood": "负对数似然",
    "importance_bound": "重要性加权上界",
    "flow_likelihood": "概率流的负对数似然",
    "perplexity": "困惑度",
    "psnr": "重建 PSNR",
    "ssim": "重建 SSIM",
    "snr": "重建信噪比",
    "spectral_convergence": "频谱收敛度",
    "log_spectral_distance": "对数谱距离",
    "motion": "重建运动误差",
    "reconstruction": "还原的词元",
    "codebook": "码本使用率",
    "codebook_perplexity": "码本困惑度",
    "answer_psnr": "答案 PSNR",
    "answer_ssim": "答案 SSIM",
    "answer_motion": "答案运动误差",
    "answer_snr": "答案信噪比",
    "answer_convergence": "答案频谱收敛度",
    "answer_levels": "答案对数谱距离",
    "answer_distance": "感知距离",
    "pitch_accuracy": "音高准确率",
    "words_heard": "听得出的单词",
    "every_word": "听得出的单词（每个词、每种嗓音）",
    "spoken": "索取的单词",
    "fad": "Fréchet 音频距离",
    "frame_fid": "逐帧 Fréchet 距离",
    "flicker": "闪烁",
    "cycle_psnr": "往返 PSNR",
    "cycle_ssim": "往返 SSIM",
    "attribute_accuracy": "属性准确率",
    "text_recall_1": "以图找文",
    "text_recall_5": "以图找文（前 5）",
    "picture_recall_1": "以文找图",
    "picture_recall_5": "以文找图（前 5）",
    "zero_shot": "按名称认标签",
    "agreement_1": "图文相符",
    "agreement_5": "图文相符（前 5）",
    "told_apart": "区分相近说明",
    "near_copies": "近似复制",
    "divergence": "三元组散度",
    "distinct_1": "不同词占比",
    "distinct_2": "不同词对占比",
    "self_bleu": "自 BLEU",
    "repetition": "重复率",
    "step_nats": "每步奈特",
    "note_accuracy": "预见的音",
    "harmony_accuracy": "和声的音",
    "interval_divergence": "音程散度",
    "parallels": "平行五八度",
    "crossings": "声部交叉",
    "out_of_range": "超出音域的音",
    "copied_steps": "最长照搬段落",
    "verbatim": "最长照抄片段",
    "chrf": "chrF",
    "bleu": "BLEU",
    "rouge_l": "ROUGE-L",
    "accuracy": "似然分类准确率",
    "linear_accuracy": "线性分类头准确率",
    "few_shot_1": "看一例后认标签",
    "few_shot_5": "看五例后认标签",
    "values themselves": "原始数值",
    "crps": "连续分级概率评分（CRPS）",
    "mase": "平均绝对标度误差（MASE）",
    "pinball": "分位数损失",
    "interval_80": "落入 80 % 区间",
    "interval_95": "落入 95 % 区间",
    "samples_per_second": "生成速度",
    "classes": "按标签",
    "neighbours": "最近的训练样本",
    "reconstructions": "重建",
    "traversal": "编码的各个维度",
    "map": "编码的地图",
    "codes": "真实样本的编码",
    "saliency": "判别器看哪里",
    "taught_accuracy": "所教分类器的准确率",
    "real alone": "仅真实图像",
    "real and made": "真实与生成图像",
    "interpolation": "样本之间",
    "bigram": "二元模型",
    "5-gram": "五元模型",
    "nearest training question": "最近的训练问题",
    "first sentence": "首句",
    "TF-IDF and logistic regression": "TF-IDF 与逻辑回归",
    "most frequent label": "最常见的标签",
    "answers": "回答",
    "nearest": "最近邻插值",
    "bicubic": "双三次插值",
    "mean fill": "均值填充",
    "biharmonic fill": "双调和填充",
    "border repeated": "重复边缘",
    "linear interpolation": "线性插值",
    "autoregressive interpolation": "自回归插值",
    "autoregressive continuation": "自回归延续",
    "silence": "静音",
    "sinc interpolation": "sinc 插值",
    "frame averaging": "帧平均",
    "last frame repeated": "重复末帧",
    "linear in time": "时间线性插值",
    "Griffin-Lim": "Griffin-Lim",
    "nearest training sound": "最近的训练声音",
    "nearest training film": "最近的训练影片",
    "left grey": "保持灰度",
    "left blurred": "保持模糊",
    "left noisy": "保持噪声",
    "Wiener filter": "维纳滤波",
    "total variation": "全变分",
    "chance": "随机猜测",
    "forecasts": "预测",
    "seasonal naive": "重复上一季节",
    "naive": "重复最后一值",
    "drift": "直线外推",
    "AR": "自回归过程",
    "real pictures": "真实图片",
    "picture of the nearest caption": "最近说明的图片",
    "caption of the nearest picture": "最近图片的说明",
    "retrieval": "以说明找图",
    "likeliest chord by soprano": "高声部之下最常见的和弦",
    "untranslated": "未转换",
    "nearest training picture": "最近的训练图片",
}

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
    verdict: Sequence[str] = ()
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
        "warnings": [f"{r.name}: {warning}" for r in study.reports for warning in r.warnings],
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
        facts.append((("Trained for", "训练时间"), duration(seconds)))
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
    return _shot(report.images[name], f"{listed.title} of {one.name}", listed.caption, mark, clip)


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
                "note": captions.pop() if len(captions) == 1 else "",
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


def _curves(one: Contestant, lines: Sequence[dict[str, Any]]) -> tuple[Markup, list[tuple[str, str]]]:
    """The losses of a contestant's players over seconds, and the names of the lines."""
    names = list(dict.fromkeys(key for line in lines for key in line if key.endswith(".loss")))
    series, key = [], []
    for i, name in enumerate(names):
        points = [(line["seconds"], line[name]) for line in lines if line.get(name) is not None and "seconds" in line]
        if len(points) > 1:
            player = name.removesuffix(".loss")
            series.append(charts.Series(player, one.colour, thinned(points), second=i > 0))
            key.append((f"{player} loss", f"c{one.colour}" + (" dashed" if i else "")))
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
    measured: dict[tuple, list[str]] = {}
    for report in study.reports:
        for score in report.scores:
            pairs = tuple((key, _said(value)) for key, value in score.stamp.to_tree().items() if value not in ("", {}))
            measured.setdefault(pairs, []).append(score.title)
    made = [{"title": ", ".join(dict.fromkeys(titles)), "pairs": pairs} for pairs, titles in measured.items()]
    notes = dict.fromkeys(note for report in study.reports for note in report.notes)
    made.append({"title": "Notes", "pairs": [(str(i), note) for i, note in enumerate(notes, 1)]})
    made.append({"title": "Environment", "pairs": list(study.environment.items())})
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
