"""Rhymes judged by a corpus: by hand, and on real poems."""

import pytest

from maquette.evaluate.scores.verse import Rhymes, even_ends
from tests.data.making import real_data

POEM = "春眠不覺曉，處處聞啼鳥。\n夜來風雨聲，花落知多少。"


def poem(*ends: str) -> str:
    return "\n".join(f"甲乙丙丁戊，己庚辛壬{end}。" for end in ends)


def test_the_ends_of_even_lines() -> None:
    assert even_ends(POEM) == ["鳥", "少"]
    assert even_ends(poem(*"東風中空")) == ["東", "風", "中", "空"]
    for irregular in ("", "a", "春眠不覺曉", POEM[:-1] + "多", POEM.replace("，", ""), "春曉\n" + POEM):
        assert even_ends(irregular) == []


def test_rhymes_that_were_seen_or_have_three_in_common() -> None:
    rhymes = Rhymes([poem("a", "b", "c"), poem("a", "d"), poem("e", "b", "c"), "no verse"])
    assert rhymes.rhyme("a", "b") and rhymes.rhyme("d", "a") and rhymes.rhyme("x", "x")
    assert not rhymes.rhyme("a", "e"), "two in common, b and c, are too few"
    assert not rhymes.rhyme("a", "x") and not rhymes.rhyme("b", "d")
    assert Rhymes([poem("a", "b", "c", "f"), poem("e", "b", "c", "f")]).rhyme("a", "e")


def test_shares_by_hand() -> None:
    rhymes = Rhymes([poem("a", "b"), poem("c", "d")])
    assert rhymes.share([poem("a", "b"), poem("a", "c"), poem("c", "d", "a", "b"), "no verse"]) == 3 / 5
    assert rhymes.share(["no verse"]) is None and rhymes.share([]) is None
    assert rhymes.by_chance([poem("a", "c"), "no verse", poem("b", "a")]) == 1 / 2


def test_real_poems_rhyme_by_one_another_and_not_by_chance() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = real_data("tang_poems")
    learnt, unseen = (
        [row for file in folder.glob(f"{split}*") for row in parquet.read_table(file)["text"].to_pylist()]
        for split in ("train", "test")
    )
    rhymes = Rhymes(learnt)
    share, chance = rhymes.share(unseen), rhymes.by_chance(unseen)
    assert share is not None and chance is not None and share > 0.75 and chance < 0.15
