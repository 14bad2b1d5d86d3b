"""What each contestant is good and bad at, in sentences drawn from the figures: no figure, no sentence. Each is
in English and in Chinese.

Scores are judged against real-against-real (the floor), costs against the other contestants. The thresholds are
judgement, and stand here together.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from maquette.core.errors import Sentence, told
from maquette.evaluate.chinese import UNITS, listed, named
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
    *("chrf", "rouge_l", "accuracy", "linear_accuracy", "answer_psnr", "answer_ssim", "answer_snr"),
    *("harmony_accuracy", "crps", "mase"),
)
"""Scores that are held against those of simpler ways to do the same."""
TIMES = 3.0
"""A cost is named when it is so many times less or more than the next contestant's."""


@dataclass(frozen=True)
class Traits:
    """What one contestant is good and bad at, a sentence each."""

    good: tuple[Sentence, ...]
    bad: tuple[Sentence, ...]

    @property
    def sentences(self) -> tuple[Sentence, ...]:
        return (*self.good, *self.bad)


Sentences = Iterator[tuple[bool, Sentence]]
"""Whether it speaks for the contestant, and the sentence."""


def traits(reports: Sequence[Report]) -> dict[str, Traits]:
    """Sentences about each contestant of `reports`, by name; several reports of one name are read as their means."""
    names = list(dict.fromkeys(report.name for report in reports))
    of = {name: Figures([report for report in reports if report.name == name]) for name in names}
    made = {}
    for name, figures in of.items():
        others = {other: f for other, f in of.items() if other != name}
        said = [line for judge in JUDGES for line in judge(figures, others)]
        made[name] = Traits(tuple(s for good, s in said if good), tuple(s for good, s in said if not good))
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

    def most(self, name: str) -> Sentence:
        """`at most` where a report has only a bound."""
        bound = any(s.bound for r in self.reports if (s := r.score(name)) is not None)
        return Sentence("at most ", "至多 ") if bound else Sentence("", "")

    def baselines(self, name: str) -> dict[str, Baseline]:
        """What simpler ways score."""
        return next((s.baselines for r in self.reports if (s := r.score(name)) is not None), {})

    def interval(self, name: str) -> tuple[float, float] | None:
        """Of the first report that has one."""
        scores = [s for r in self.reports if (s := r.score(name)) is not None]
        return next(((s.low, s.high) for s in scores if s.low is not None and s.high is not None), None)

    def unit(self, name: str) -> Sentence:
        unit = next((s.unit for r in self.reports if (s := r.score(name)) is not None), "")
        return Sentence(unit, UNITS.get(unit, unit))


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
    zh = f"Fréchet 距离为 {number(value)}，是真实对真实的 {number(ratio)} 倍"
    if ratio <= NEAR_FLOOR:
        yield (
            True,
            Sentence(
                f"As a whole its samples are close to real ones ({said}).", f"整体上，它的样本接近真实样本（{zh}）。"
            ),
        )
    elif ratio >= FAR_FLOOR:
        yield (
            False,
            Sentence(
                f"As a whole its samples are far from real ones ({said}).",
                f"整体上，它的样本与真实样本相差很远（{zh}）。",
            ),
        )


def _fidelity(own: Figures, others: Others) -> Sentences:
    ratio, value, floor = own.ratio("precision"), own.value("precision"), own.floor("precision")
    if ratio is None or value is None or floor is None:
        return
    said = f"{value:.0%} lie where real ones lie; of real ones {floor:.0%} do"
    zh = f"{value:.0%} 落在真实样本所在的区域，真实样本自身为 {floor:.0%}"
    if ratio >= SHARE_GOOD:
        yield True, Sentence(f"Single samples look real: {said}.", f"单个样本看起来真实：{zh}。")
    elif ratio <= SHARE_BAD:
        yield False, Sentence(f"Many samples do not look real: {said}.", f"许多样本看起来不真实：{zh}。")


def _variety(own: Figures, others: Others) -> Sentences:
    ratio, value, floor = own.ratio("coverage"), own.value("coverage"), own.floor("coverage")
    if ratio is None or value is None or floor is None:
        return
    said = f"{value:.0%} of real samples have a made one close by; {floor:.0%} have a real one"
    zh = f"{value:.0%} 的真实样本附近有生成的样本，附近有另一个真实样本的占 {floor:.0%}"
    if ratio >= SHARE_GOOD:
        yield True, Sentence(f"It covers the variety of the data: {said}.", f"它覆盖了数据的多样性：{zh}。")
    elif ratio <= SHARE_BAD:
        yield False, Sentence(f"It misses much of the variety of the data: {said}.", f"它遗漏了数据的许多变化：{zh}。")


def _modes(own: Figures, others: Others) -> Sentences:
    found, known = own.value("modes"), own.floor("modes")
    if found is not None and known:
        missed = known - found
        if missed <= 0:
            yield True, Sentence(f"It finds all {known:.0f} modes.", f"它找到了全部 {known:.0f} 个模式。")
        else:
            zh = f"{known:.0f} 个模式中，它遗漏了 {number(missed)} 个。"
            yield False, Sentence(f"It misses {number(missed)} of {known:.0f} modes.", zh)
    quality = own.value("quality")
    if quality is not None and quality >= QUALITY_GOOD:
        zh = f"{quality:.0%} 的样本落在某个模式的 4σ 之内。"
        yield True, Sentence(f"{quality:.0%} of its samples lie within 4 sigma of a mode.", zh)
    elif quality is not None and quality <= QUALITY_BAD:
        zh = f"只有 {quality:.0%} 的样本落在某个模式的 4σ 之内。"
        yield False, Sentence(f"Only {quality:.0%} of its samples lie within 4 sigma of a mode.", zh)


def _obedience(own: Figures, others: Others) -> Sentences:
    ratio, value = own.ratio("label_accuracy"), own.value("label_accuracy")
    if ratio is None or value is None:
        return
    said, zh = f"{value:.0%} are taken for the label asked for", f"{value:.0%} 的样本被认作所要求的标签"
    if ratio >= SHARE_GOOD:
        yield True, Sentence(f"It makes what is asked: {said}.", f"它按要求生成：{zh}。")
    elif ratio <= SHARE_BAD:
        yield (
            False,
            Sentence(f"It often makes something else than asked: {said}.", f"它生成的常与要求不符：只有 {zh}。"),
        )


def _likelihood(own: Figures, others: Others) -> Sentences:
    value = own.value("likelihood")
    rivals = {name: v for name, f in others.items() if (v := f.value("likelihood")) is not None}
    if value is None:
        if rivals:
            names = listed(rivals)
            zh = f"它无法给出样本的概率，{names.zh} 可以。"
            yield False, Sentence(f"It cannot say how probable a sample is; {names} can.", zh)
        return
    most, unit = own.most("likelihood"), own.unit("likelihood")
    said = f"It says how probable a sample is ({most}{number(value)} {unit} on unseen data"
    zh = f"它能给出样本的概率（未见数据上为{most.zh or ' '}{number(value)} {unit.zh}"
    if rivals and value < min(rivals.values()):
        names = listed(rivals)
        said, zh = f"{said}, less than {names}", f"{zh}，低于 {names.zh}"
    yield True, Sentence(f"{said}).", f"{zh}）。")
    if simple := own.baselines("likelihood"):
        name = min(simple, key=lambda way: simple[way].value)
        beats, other = value < simple[name].value, number(simple[name].value)
        said, zh = f"({number(value)} against {other} {unit})", f"（{number(value)} 对 {other} {unit.zh}）"
        verb, chinese = ("beats", "胜过") if beats else ("does not beat", "没有胜过")
        yield beats, Sentence(f"It {verb} a {name} {said}.", f"它{chinese}{named(name)}{zh}。")


def _reconstruction(own: Figures, others: Others) -> Sentences:
    for name, good, bad, said, zh in (
        ("psnr", PSNR_GOOD, PSNR_BAD, "PSNR {:.1f} dB", "PSNR {:.1f} dB"),
        ("snr", SNR_GOOD, SNR_BAD, "SNR {:.1f} dB", "信噪比 {:.1f} dB"),
        (
            "reconstruction",
            KEPT_GOOD,
            KEPT_BAD,
            "{:.0%} of its tokens come back to their place",
            "{:.0%} 的词元回到原位",
        ),
    ):
        value = own.value(name)
        if value is None:
            continue
        said, zh = said.format(value), zh.format(value)
        if value >= good:
            chinese = f"它把样本变成编码再还原，损失很小（{zh}）。"
            yield True, Sentence(f"It turns samples into codes and back with little loss ({said}).", chinese)
        elif value <= bad:
            yield (
                False,
                Sentence(f"Its codes lose much of a sample ({said}).", f"它的编码丢失了样本的许多内容（{zh}）。"),
            )


def _against_simpler(own: Figures, others: Others) -> Sentences:
    for name in SIMPLER:
        value, bounds, simpler = own.value(name), own.interval(name), own.baselines(name)
        if value is None or bounds is None or not simpler:
            continue
        sign = -1 if KINDS[name].better == "lower" else 1
        best = max(simpler, key=lambda way: sign * simpler[way].value)
        ends = [simpler[best].value if end is None else end for end in (simpler[best].low, simpler[best].high)]
        other = number(simpler[best].value)
        if min(sign * end for end in bounds) > max(sign * end for end in ends):
            how, chinese = "better than", f"优于{named(best)}"
        elif max(sign * end for end in bounds) < min(sign * end for end in ends):
            how, chinese = "worse than", f"不如{named(best)}"
        else:
            how, chinese = "not told apart from", f"与{named(best)}分不出高下"
        yield (
            how == "better than",
            Sentence(
                f"{KINDS[name].title}: {how} the {best} ({number(value)} against {other}).",
                f"{named(name)}：{chinese}（{number(value)} 对 {other}）。",
            ),
        )


def _memory_of_data(own: Figures, others: Others) -> Sentences:
    value = own.value("near_copies")
    if value is not None and value > COPIES:
        zh = f"{value:.0%} 的样本是训练样本的近似复制（预期为 1 %）。"
        yield False, Sentence(f"{value:.0%} of its samples are near copies of training items (1 % is expected).", zh)
    passage, usual = own.value("verbatim"), own.floor("verbatim")
    if passage is not None and usual is not None and passage >= PASSAGE * max(usual, 1.0):
        said = f"up to {passage:,.0f} characters in a row stand in the training text; of unseen real text {usual:,.0f}"
        zh = f"最多有连续 {passage:,.0f} 个字符见于训练文本，未见过的真实文本为 {usual:,.0f} 个"
        yield False, Sentence(f"It copies: {said}.", f"它在照抄：{zh}。")


def _speed(own: Figures, others: Others) -> Sentences:
    for better, times, other in _beside(own, others, "sampling"):
        rate, times = number(1 / (own.cost("sampling") or float("inf"))), number(times)
        if better:
            zh = f"它采样快：每秒 {rate} 个，是 {other} 的 {times} 倍。"
            yield True, Sentence(f"It samples fast: {rate} a second, {times} times as many as {other}.", zh)
        else:
            zh = f"它采样慢：每秒 {rate} 个，{other} 生成的是它的 {times} 倍。"
            yield False, Sentence(f"It samples slowly: {rate} a second, {other} makes {times} times as many.", zh)


def _size(own: Figures, others: Others) -> Sentences:
    for better, times, other in _beside(own, others, "size"):
        size, times = f"{own.cost('size'):,.0f}", number(times)
        if better:
            zh = f"它很小：{size} 个参数，{other} 的参数是它的 {times} 倍。"
            yield True, Sentence(f"It is small: {size} parameters; {other} has {times} times as many.", zh)
        else:
            zh = f"它很大：{size} 个参数，是 {other} 的 {times} 倍。"
            yield False, Sentence(f"It is large: {size} parameters, {times} times those of {other}.", zh)


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


# -- about all of them ------------------------------------------------------------------------------------------------


BETTER = {"lower": "越低越好", "higher": "越高越好", "floor": "越接近真实对真实越好"}


def verdict(ranking: Ranking) -> list[Sentence]:
    """Sentences about a ranking: who is ahead, who cannot be told apart, what quality costs, who was left out."""
    said = []
    if len(ranking.places) > 1:
        first, second = ranking.places[:2]
        one, other = number(first.estimate.value), number(second.estimate.value)
        by = f"by {ranking.title}, {ranking.better} is better"
        zh = f"按{named(ranking.by)}，{BETTER[ranking.better]}"
        said.append(
            Sentence(
                f"{first.name} comes first ({by}): {one} against {other} of {second.name}.",
                f"{first.name} 居首（{zh}）：{one}，{second.name} 为 {other}。",
            )
        )
        said += [
            Sentence(
                f"{a.name} and {b.name} are not told apart: their intervals overlap.",
                f"{a.name} 与 {b.name} 分不出高下：二者的区间重叠。",
            )
            for a, b in zip(ranking.places, ranking.places[1:], strict=False)
            if b.tied
        ]
        front = pareto(ranking, "sampling")
        if len(front) == 1:
            zh = f"{front[0]} 同时也是采样最快的。"
            said.append(Sentence(f"{front[0]} is also the one that samples fastest.", zh))
        elif front:
            names = listed(front)
            zh = f"没有别的模型既比 {names.zh} 好，采样又更快。"
            said.append(Sentence(f"Nothing else is both better and faster at sampling than {names}.", zh))
        if all(len(place.reports) == 1 for place in ranking.places):
            zh = "各用一个种子训练了一次：换一个种子，名次可能不同。"
            said.append(Sentence("One training seed each: another seed may order them otherwise.", zh))
    for name, reason in ranking.unranked:
        said.append(Sentence(f"{name} is not ranked: {reason}.", f"{name} 未参与排名：{told(reason, 'zh')}。"))
    return said
