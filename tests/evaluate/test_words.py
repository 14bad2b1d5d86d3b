"""The words follow the figures: each sentence appears, changes side and goes with the figure it is drawn from."""

from dataclasses import replace

import pytest

from maquette.evaluate.report import Report
from maquette.evaluate.words import Traits, traits
from tests.evaluate.test_report import COST, report


def of(*reports: Report) -> Traits:
    """The traits of the first."""
    return traits(reports)[reports[0].name]


@pytest.mark.parametrize(
    ("score", "good", "between", "bad", "praise", "blame"),
    [
        ("fid", 1.5, 5.0, 20.0, "close to real ones", "far from real ones"),
        ("precision", 0.95, 0.8, 0.4, "look real: 95%", "do not look real: 40%"),
        ("coverage", 0.95, 0.8, 0.4, "covers the variety", "misses much of the variety"),
        ("label_accuracy", 0.95, 0.8, 0.4, "makes what is asked: 95%", "something else than asked: 40%"),
        ("psnr", 30.0, 20.0, 12.0, "with little loss (PSNR 30.0 dB)", "lose much of a sample (PSNR 12.0 dB)"),
        ("quality", 0.9, 0.7, 0.3, "90% of its samples lie within", "Only 30% of its samples lie within"),
    ],
)
def test_judged_against_the_floor(score, good, between, bad, praise, blame) -> None:
    """Floors are 1 here."""
    assert any(praise in s for s in of(report(**{score: good})).good)
    assert of(report(**{score: between})).sentences == ()
    assert any(blame in s for s in of(report(**{score: bad})).bad)
    assert of(report()).sentences == (), "no figure, no sentence"


def test_the_figure_is_in_the_sentence() -> None:
    (sentence,) = of(report(fid=20.0)).bad
    assert "Fréchet distance 20, 20 times that of real against real" in sentence


def test_modes() -> None:
    every, some = report(modes=8.0), report(modes=5.0)
    every, some = (replace(r, scores=tuple(replace(s, floor=8.0) for s in r.scores)) for r in (every, some))
    assert of(every).good == ("It finds all 8 modes.",) and of(some).bad == ("It misses 3 of 8 modes.",)


def test_likelihood_is_praised_and_missed() -> None:
    first, second = report("first", likelihood=2.5), report("second", likelihood=3.5)
    assert "less than second" in of(first, second).good[0] and "less than" not in of(second, first).good[0]
    assert "It cannot say how probable a sample is; first can." in of(report("third"), first).bad
    assert of(report("third"), report("fourth")).sentences == ()


def test_copies() -> None:
    assert of(report(near_copies=0.02)).bad == ()
    assert "20% of its samples are near copies" in of(report(near_copies=0.2)).bad[0]


def with_cost(name: str, rate: float, size: int) -> Report:
    return report(name, cost=replace(COST, samples_per_second=rate, parameters=size))


def test_speed_and_size_are_judged_against_the_others() -> None:
    fast, slow = with_cost("fast", 1000.0, 1000), with_cost("slow", 10.0, 50_000)
    told = traits([fast, slow])
    assert told["fast"].good[0] == "It samples fast: 1,000 a second, 100 times as many as slow."
    assert told["slow"].bad[0] == "It samples slowly: 10 a second, fast makes 100 times as many."
    assert "It is small: 1,000 parameters" in told["fast"].good[1]
    assert "It is large: 50,000 parameters, 50 times those of fast." in told["slow"].bad
    assert of(fast).sentences == (), "nobody to compare with"
    assert of(with_cost("a", 10.0, 10), with_cost("b", 12.0, 12)).sentences == ()


def test_several_seeds_are_read_as_their_mean() -> None:
    (sentence,) = of(report("a", 0, precision=0.2), report("a", 1, precision=0.4)).bad
    assert "30% lie where" in sentence
