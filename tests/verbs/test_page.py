"""The page of a report: self-contained, well formed, accessible, and it says what the figures say."""

import base64
import doctest
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from maquette.core.errors import Sentence
from maquette.core.exit import Mark
from maquette.evaluate.classify import FREQUENT
from maquette.evaluate.ranking import OVER_SEEDS, rank
from maquette.evaluate.report import Baseline, Cost, Report, Score, Shot, Stamp, illustrated
from maquette.evaluate.scores.intervals import Estimate
from maquette.evaluate.words import Traits
from maquette.media import image, wav
from maquette.media.marks import read_mark
from maquette.verbs import charts, page
from maquette.verbs import study as study_module

GOOD, BAD = Sentence("Good at this.", "擅长此事。"), Sentence("Bad at that.", "不擅长那事。")
VOID = {"meta", "link", "img", "input", "br"}


def report(name: str, fid: float, seed: int = 0, data: str = "d" * 64, warning: str = "") -> Report:
    stamp = Stamp(
        extractor="domain", weights="ab" * 32, resize="none", data=data, split="test", real=64, made=64, seed=seed,
        software={"maquette": "0.1.0"},
    )  # fmt: skip
    scores = (
        Score.of("fid", Estimate(fid, fid - 1, fid + 1, "95 %"), stamp, floor=2.0),
        Score.of("recall", Estimate(1 / fid, 0.0, 0.5, "95 %"), stamp, floor=0.9),
    )
    cost = Cost(
        parameters=int(fid * 1000), samples_per_second=100 / fid, sampling_seconds=1.0, peak_bytes=10**8, device="cpu",
        train_seconds=30.0, train_steps=100,
    )  # fmt: skip
    plain = Report(
        name=name, model_kind=name, model="cd" * 32, seed=seed, licence="", cost=cost, scores=scores,
        warnings=(warning,) if warning else (),
    )  # fmt: skip
    sheet = image.Config(size=8).build().sheet(np.zeros((4, 8, 8, 1), np.uint8))
    return illustrated(plain, [("samples", "Samples", "The first.", sheet), ("neighbours", "Nearest", "Pairs.", sheet)])


def study(**keywords) -> page.Study:
    names = {"one": 4.0, "two <b>": 8.0}
    lines = [{"step": i, "seconds": i / 10, "a.loss": 1.0 + i, "b.loss": 2.0} for i in range(200)]
    given = {
        "title": "glyphs",
        "reports": [report(name, fid) for name, fid in names.items()],
        "command": "maquette compare one two --budget 30s",
        "verdict": [Sentence("one comes nearest.", "one 最接近。")],
        "words": {"one": Traits((GOOD,), ()), "two <b>": Traits((), (BAD,))},
        "metrics": {"one": lines},
    }
    return page.Study(**given | keywords)


def test_a_bound_is_marked_on_the_page_and_in_the_terminal() -> None:
    reports = [report("exact", 4.0), report("bound", 8.0)]
    for i, one in enumerate(reports):
        cost = Score.of("likelihood", Estimate(2.5 - i, 2.4 - i, 2.6 - i, "95 %"), one.scores[0].stamp, bound=i == 1)
        reports[i] = replace(one, scores=(*one.scores, cost))
        reports[i].images.update(one.images)
    shown = study(reports=reports)
    for text in render(shown), study_module.table(shown):
        assert "≤ 1.5" in text and "2.5" in text and "≤ 2.5" not in text


def render(*studies: page.Study) -> str:
    return page.render(("Two recipes", "两种配方"), ("A lede.", "导语。"), studies).decode()


class Outline(HTMLParser):
    """Collects tags with their attributes, and refuses what is not well nested."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict]:
        return [attrs for name, attrs in self.tags if name == tag]


def test_nothing_comes_from_a_network() -> None:
    text = render(study())
    outside = set(re.findall(r"(?:https?:)?//[^\s\"'<>)]+", re.sub(r"data:[^\"]*", "", text)))
    assert outside <= {"http://www.w3.org/2000/svg"}
    outline = Outline(text)
    assert not outline.all("script") and not outline.all("iframe") and not outline.all("base")
    sources = [tag.get("src") or tag.get("href", "") for tag in outline.all("img") + outline.all("link")]
    assert sources and all(source.startswith("data:") for source in sources)
    assert "@import" not in text and "url(" not in text


def test_it_is_well_formed_and_has_alternatives_for_what_is_seen() -> None:
    outline = Outline(render(study(), study(title="other")))
    assert all(tag.get("alt") for tag in outline.all("img"))
    assert all(tag["role"] == "img" for tag in outline.all("svg") if "aria-hidden" not in tag)
    assert all(tag.get("scope") in ("row", "col") for tag in outline.all("th"))
    assert all("id" in tag or tag.get("aria-label") for tag in outline.all("input"))
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(ids) == len(set(ids)) and {tag["for"] for tag in outline.all("label") if "for" in tag} <= set(ids)
    assert outline.all("html")[0]["lang"] == "en" and len(outline.all("h1")) == 1


def test_every_heading_is_there_in_both_languages() -> None:
    text = render(study())
    for heading in re.findall(r"<h2[^>]*>(.*?)</h2>", text):
        assert 'lang="en"' in heading and 'lang="zh"' in heading


def test_names_are_text_and_never_markup() -> None:
    text = render(study())
    assert "two <b>" not in text and "two &lt;b&gt;" in text


def test_figures_stand_in_the_table_with_floor_and_best() -> None:
    text = render(study())
    row = re.search(r"<tr><th[^>]*>.*?Fréchet distance.*?</tr>", text, re.S)
    assert row is not None
    assert re.search(r'class="best"><b>4</b>', row[0]) and "3 – 5" in row[0] and 'class="floor">2<' in row[0]
    recall = re.search(r"<tr><th[^>]*>.*?Recall.*?</tr>", text, re.S)
    assert recall is not None and 'class="best"><b>0.25</b>' in recall[0]


def test_baselines_stand_beside_the_figure_in_page_and_terminal() -> None:
    def beside(report: Report) -> Report:
        fid, *others = report.scores
        simple = replace(fid, floor=None, baselines={"bigram": Baseline(value=9.5), "5-gram": Baseline(value=6.25)})
        return replace(report, scores=(simple, *others), pictures=())

    plain = study()
    told = study(reports=[beside(report) for report in plain.reports])
    text = render(told)
    assert 'class="floor"><small><span lang="en">bigram</span><span lang="zh">二元模型</span> 9.5</small>' in text
    assert "simpler ways" in text and "simpler ways" not in render(plain)
    rows = [line.split() for line in study_module.table(told).splitlines()]
    assert ["bigram", "9.5"] in rows and ["5-gram", "6.25"] in rows


def test_unlike_stamps_are_shown_but_have_no_best() -> None:
    text = render(study(reports=[report("one", 4.0), report("two", 8.0, data="e" * 64)]))
    assert 'class="best"' not in text and ">8<" in text


def test_the_ranking_orders_and_ties_are_told() -> None:
    reports = [report("far", 9.0), report("near", 4.0), report("nearly", 5.0)]
    text = render(study(reports=reports, ranking=rank(reports), words={}))
    cards = re.findall(r'<h3>(far|near|nearly)</h3><span class="rank">([^<]*)</span>', text)
    assert cards == [("near", "1 / 3"), ("nearly", "= 2 / 3"), ("far", "3 / 3")]


def test_seeds_of_one_recipe_are_one_contestant_with_a_mean() -> None:
    one, two = page.contestants([report("one", 4.0, 0), report("two", 9.0), report("one", 6.0, 1)])
    assert [len(one.reports), len(two.reports)] == [2, 1]
    estimate = one.estimate("fid")
    assert estimate is not None and estimate.value == 5.0 and estimate.method == OVER_SEEDS
    assert one.mean_cost("samples_per_second") == pytest.approx((25 + 100 / 6) / 2)


def test_pictures_of_made_samples_carry_their_mark() -> None:
    outline = Outline(render(study(real=image.Config(size=8).build().sheet(np.zeros((2, 8, 8, 1), np.uint8)))))
    for tag in outline.all("img"):
        mark = read_mark(base64.b64decode(tag["src"].partition(",")[2]))
        assert (mark is None) == (tag["alt"] == "Real samples")
        assert mark is None or mark["ProduceID"].startswith(Mark("cd" * 32, 0).fields()["ProduceID"])


def test_what_is_heard_or_moves_is_played_without_script_or_network() -> None:
    sound = wav.write(np.zeros((100, 1), np.int16), 8000)
    plain = report("one", 4.0)
    shots = [Shot("samples", "Samples", "", plain.images["samples"], (".wav", sound)),
             Shot("neighbours", "Nearest", "", plain.images["samples"], (".webm", b"\x1a\x45film"))]  # fmt: skip
    shown = study(reports=[illustrated(plain, shots)], words={}, metrics={}, real=plain.images["samples"])
    text = render(replace(shown, real_clip=(".wav", sound)))
    outline = Outline(text)
    heard, seen = outline.all("audio"), outline.all("video")
    assert [tag["aria-label"] for tag in heard] == ["Real samples, played", "Samples of one, played"]
    assert all("controls" in tag and "autoplay" not in tag for tag in heard + seen)
    assert {"loop", "muted"} <= seen[0].keys() and seen[0]["src"].startswith("data:video/webm;base64,")
    assert "media-src data:;" in text and not outline.all("script")
    marks = [read_mark(base64.b64decode(tag["src"].removeprefix("data:audio/wav;base64,"))) for tag in heard]
    assert marks == [None, Mark("cd" * 32, 0).fields()]
    assert "<audio" not in render(study()) and "<video" not in render(study())


def test_warnings_words_commands_and_stamps_are_said() -> None:
    text = render(study(reports=[report("one", 4.0, warning="modes are missing")], environment={"torch": "9"}))
    for said in (
        "one: modes are missing",
        "one comes nearest.",
        "one 最接近。",
        "Good at this.",
        "擅长此事。",
        "--budget 30s",
        "ab" * 32,
        "torch",
    ):
        assert said in text


def test_simpler_ways_stand_beside_the_models() -> None:
    stamp = report("one", 4.0).scores[0].stamp
    simpler = {FREQUENT: Estimate(0.2, 0.1, 0.3), "another": Estimate(0.4)}
    scores = (
        Score.of("accuracy", Estimate(0.5, 0.4, 0.6, "95 %"), stamp, baselines=simpler),
        Score.of("linear_accuracy", Estimate(0.7, 0.65, 0.75, "95 %"), stamp, baselines=dict([*simpler.items()][:1])),
    )
    plain = report("one", 4.0)
    scored = replace(plain, scores=scores)
    scored.images.update(plain.images)
    shown = study(reports=[scored], words={})
    text = render(shown)
    likely, linear = (next(row for row in text.split("<tr>")[1:] if t in row) for t in ("Accuracy by", "a linear head"))
    assert "0.2 (0.1 – 0.3)" in likely and ">another</span>" in likely
    assert "最常见的标签" in linear and "another" not in linear
    assert "Beneath it stand simpler ways" in text and "Beneath it" not in render(study())
    lines = {line[: len("most frequent label")].strip(): line for line in study_module.table(shown).splitlines()}
    assert "0.5 ±0.1" in lines["one"] and "0.2 ±0.1" in lines["most frequent label"] and "0.4" in lines["another"]


# -- charts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (3.0, "3"), (0.012345, "0.0123"), (1234.5, "1.23k"), (2_600_000, "2.6M"), (99.96, "100"), (-0.5, "-0.5"),
     (0.00001, "1.0e-05"), (999.9, "1k"), (float("inf"), "inf")],
)  # fmt: skip
def test_short_numbers(value: float, text: str) -> None:
    assert charts.short(value) == text


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.9, 2.2), (-3, 7), (1e-6, 3e-6), (5, 5), (0, 12345)])
def test_ticks_are_few_round_and_inside(low: float, high: float) -> None:
    ticks = charts.nice_ticks(low, high)
    assert 1 <= len(ticks) <= 6 and all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
    steps = {round(b - a, 12) for a, b in zip(ticks, ticks[1:], strict=False)}
    assert all(f"{step:.0e}"[0] in "125" for step in steps)


def test_an_axis_maps_by_hand() -> None:
    assert charts.Axis(0, 10, 100, 200)(5) == 150
    assert charts.Axis(1, 100, 0, 10, log=True)(10) == 5
    assert charts.Axis(0, 1, 0, 10)(7) == 10  # what lies outside stays on the edge


def test_intervals_place_dots_bars_and_the_floor() -> None:
    marks = [charts.Mark("a", 0, 5.0, 4.0, 6.0), charts.Mark("b", 1, 10.0)]
    svg = charts.intervals("Distance", marks, 0.0, "lower", 0.0)
    dots = [float(x) for x in re.findall(r'class="dot c\d" cx="([\d.]+)"', svg)]
    bar = re.search(r'class="bar c0" x1="([\d.]+)" y1="[\d.]+" x2="([\d.]+)"', svg)
    floor = re.search(r'class="floor" x1="([\d.]+)"', svg)
    assert bar is not None and floor is not None
    assert float(bar[1]) < dots[0] < float(bar[2]) < dots[1]
    assert dots[0] == pytest.approx((float(floor[1]) + dots[1]) / 2, abs=0.02)
    assert "<title>Distance</title>" in svg and "a 5; b 10; real against real 0" in svg and "← better" in svg


def test_lines_leave_out_what_is_not_finite() -> None:
    svg = charts.lines("Losses", [charts.Series("a", 0, [(0, 1.0), (1, float("nan")), (2, 3.0)])], "seconds")
    points = re.search(r'points="([^"]*)"', svg)
    assert points is not None and len(points[1].split()) == 2
    assert charts.lines("Losses", [charts.Series("a", 0, [(0, float("nan"))])], "seconds") == ""


def test_names_in_a_scatter_do_not_lie_on_each_other() -> None:
    svg = charts.scatter("Cost", [charts.Mark(n, 0, 1.0, y=2.0) for n in ("a", "b", "c")], "x", "y", None)
    heights = [float(y) for y in re.findall(r'class="name" x="[\d.]+" y="([\d.]+)"', svg)]
    assert min(abs(a - b) for a, b in zip(heights, heights[1:], strict=False)) >= 12


def test_long_curves_are_thinned_to_means() -> None:
    thin = page.thinned([(i, float(i)) for i in range(1000)])
    assert len(thin) == page.BINS and thin[0][1] == pytest.approx(np.arange(16).mean(), abs=1)
    assert page.thinned([(0, 1.0), (1, 2.0)]) == [(0.0, 1.0), (1.0, 2.0)]


@pytest.mark.parametrize("module", [charts, page, study_module], ids=lambda module: module.__name__)
def test_doctests(module) -> None:
    assert doctest.testmod(module).failed == 0
