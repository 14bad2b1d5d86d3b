"""Order among reports: seeds, ties, costs, and figures that may not be compared."""

from dataclasses import replace

import pytest

from maquette.core.errors import MaquetteError
from maquette.evaluate.ranking import pareto, rank
from maquette.evaluate.report import Baseline, Report
from maquette.evaluate.words import traits, verdict
from tests.evaluate.test_report import COST, STAMP, report


def names(ranking) -> list[str]:
    return [place.name for place in ranking.places]


def test_lower_or_higher_first_as_the_score_says() -> None:
    reports = [report("a", fid=9.0, recall=0.9), report("b", fid=3.0, recall=0.2), report("c", fid=5.0, recall=0.5)]
    assert names(rank(reports)) == ["b", "c", "a"]
    assert names(rank(reports, "recall")) == ["a", "c", "b"]


def test_seeds_of_one_name_are_one_place_with_an_interval_over_them() -> None:
    """4 and 6: mean 5, standard error 1, t(1) = 12.706."""
    ranking = rank([report("a", 0, fid=4.0), report("b", 0, fid=4.5), report("a", 1, fid=6.0)])
    place = ranking.places[1]
    assert (place.name, place.seeds, place.estimate.value) == ("a", (0, 1), 5.0)
    assert place.estimate.high == pytest.approx(5 + 12.7062, rel=1e-5)
    assert (
        place.tied
        and "a and b" not in " ".join(verdict(ranking))
        and "b and a are not told apart" in " ".join(verdict(ranking))
    )


def test_overlapping_intervals_are_named() -> None:
    near, far = [report("a", fid=100.0), report("b", fid=101.0)], [report("a", fid=100.0), report("b", fid=110.0)]
    assert rank(near).places[1].tied and not rank(far).places[1].tied
    assert not any("told apart" in sentence for sentence in verdict(rank(far)))


def test_unlike_stamps_are_shown_but_not_ranked() -> None:
    other = replace(STAMP, made=500, extractor="inception")
    reports = [report("odd", stamp=other, fid=1.0), report("a", fid=9.0), report("b", fid=3.0), report("none", kid=1.0)]
    ranking = rank(reports)
    assert names(ranking) == ["b", "a"]
    assert dict(ranking.unranked) == {
        "odd": "its score was taken otherwise: extractor, made differ",
        "none": "it has no fid",
    }
    assert sum("is not ranked" in sentence for sentence in verdict(ranking)) == 2


def test_one_odd_seed_takes_its_name_out() -> None:
    ranking = rank([report("a", fid=1.0), report("a", 1, replace(STAMP, real=5), fid=1.0), report("b", fid=3.0)])
    assert names(ranking) == ["b"] and ranking.unranked[0][0] == "a"


def test_a_score_that_nobody_has() -> None:
    with pytest.raises(MaquetteError) as refused:
        rank([report(fid=1.0)], "fit")
    assert refused.value.code == "MQ-2085" and "'fid'" in str(refused.value)


def cost(rate: float, seconds: float | None = None):
    return replace(COST, samples_per_second=rate, train_seconds=seconds)


def test_quality_against_cost() -> None:
    """Best, fastest and one between them are not beaten; one that is both worse and slower than another is."""
    ranking = rank(
        [
            report("best", cost=cost(1.0), fid=1.0),
            report("between", cost=cost(10.0), fid=2.0),
            report("beaten", cost=cost(5.0), fid=3.0),
            report("fastest", cost=cost(100.0), fid=4.0),
        ]
    )
    assert pareto(ranking, "sampling") == ("best", "between", "fastest")
    assert pareto(ranking, "training") == ()
    assert any("best, between and fastest" in sentence for sentence in verdict(ranking))


def test_equal_in_both_beats_nobody() -> None:
    ranking = rank([report("a", fid=1.0), report("b", fid=1.0)])
    assert pareto(ranking, "size") == ("a", "b")


def test_one_report_has_no_verdict() -> None:
    assert verdict(rank([report(fid=1.0)])) == []


# -- models of text ---------------------------------------------------------------------------------------------------


def of_text(name: str, bits: float, passage: float, usual: float) -> Report:
    made = report(name, likelihood=bits, verbatim=passage)
    one, other = made.scores
    one = replace(one, unit="bits per byte", baselines={"bigram": Baseline(value=3.4), "5-gram": Baseline(value=2.5)})
    return replace(made, scores=(one, replace(other, floor=usual)))


def test_it_is_said_whether_a_model_beats_the_best_of_its_baselines() -> None:
    told = traits([of_text("good", 2.0, 30.0, 20.0), of_text("poor", 3.0, 30.0, 20.0), report("none", fid=1.0)])
    assert "It beats a 5-gram (2 against 2.5 bits per byte)." in told["good"].good
    assert "It does not beat a 5-gram (3 against 2.5 bits per byte)." in told["poor"].bad
    assert not any("gram" in sentence for sentence in told["none"].sentences)


def test_long_passages_of_the_training_text_are_named() -> None:
    told = traits([of_text("copies", 2.0, 120.0, 40.0), of_text("does not", 2.0, 60.0, 40.0)])
    (copies,) = [sentence for sentence in told["copies"].bad if "copies" in sentence]
    assert "120 characters" in copies and "unseen real text 40" in copies
    assert not any("copies" in sentence for sentence in told["does not"].sentences)


def test_a_bound_is_called_one() -> None:
    exact = report("exact", likelihood=2.0)
    bound = replace(exact, name="bound", scores=(replace(exact.scores[0], bound=True),))
    said = traits([exact, bound])
    assert "at most 2" in said["bound"].good[0] and "at most" not in said["exact"].good[0]


@pytest.mark.parametrize(("share", "good", "bad"), [(0.95, 1, 0), (0.7, 0, 0), (0.3, 0, 1)])
def test_what_comes_back_of_texts_is_judged(share: float, good: int, bad: int) -> None:
    said = traits([report("a", reconstruction=share)])["a"]
    assert (len(said.good), len(said.bad)) == (good, bad)
    assert all(f"{share:.0%} of its tokens" in sentence for sentence in said.sentences)
