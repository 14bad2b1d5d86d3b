"""Held-out pairs of a subject and a style: none is learnt, and both of its parts are."""

import itertools
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maquette.core.errors import MaquetteError
from maquette.data import sprites
from maquette.data.combinations import Combinations, apart, held_out
from maquette.data.dataset import Dataset, Split
from maquette.data.source import Data, open_data
from maquette.media.image import Config
from tests.data.making import real_data

TONES = tuple(f"{tone} skin tone" for tone in ("light", "medium-light", "medium", "medium-dark", "dark"))
COLOURS = Combinations(styles=("red", "green", "blue"), share=0.2)


def dataset(captions: list[str], unseen: tuple[str, ...] = ("a red unicorn",)) -> Dataset:
    """Rows whose only pixel is their number, and a test split of its own."""

    def split(texts: tuple[str, ...] | list[str], first: int) -> Split:
        rows = np.arange(first, first + len(texts))
        return Split(
            rows.astype(np.uint8)[:, None], rows, lambda: [[f"row {first + i}", text] for i, text in enumerate(texts)]
        )

    return Dataset(
        train=split(captions, 0), test=split(unseen, 100), classes=[], fingerprint="ab", licence="", bad=[], ignored={}
    )


def captions(split: Split) -> list[str]:
    return [text for _, text in split.notes()]


THINGS = [f"a {colour} {thing}" for colour in COLOURS.styles for thing in ("heart", "key", "sword", "gem", "coin")]


@pytest.mark.parametrize(
    "caption, pair",
    [
        ("man rowing boat: medium-dark skin tone", ("man rowing boat", "medium-dark skin tone")),
        ("dark skin tone", ("", "dark skin tone")),
        ("man rowing boat", None),
        ("kiss: light skin tone, dark skin tone", None),
    ],
)
def test_a_caption_is_a_subject_and_a_style(caption: str, pair: tuple[str, str] | None) -> None:
    assert Combinations(styles=TONES).pair(caption) == pair


def test_an_article_goes_with_the_style() -> None:
    how = Combinations(styles=("red", "orange", "blue"))
    for caption in ("a red key", "an orange key", "A blue key", "red key"):
        assert (how.pair(caption) or "")[0] == "key", caption
    assert how.others("an orange key") == ["a red key", "a blue key"]
    assert how.others("Two apes and A red\ta") == ["Two apes and An orange\ta", "Two apes and A blue\ta"]
    assert how.others("panda red") == ["panda orange", "panda blue"]


def test_every_colour_of_a_sprite_is_a_style() -> None:
    """Of twelve kinds in eight colours each kind is one subject, however its caption begins."""
    how = Combinations(styles=tuple(sprites.COLOURS))
    pairs = {label: how.pair(caption) for label, caption in sprites.CAPTIONS.items()}
    assert all(pair == (label.split()[1], label.split()[0]) for label, pair in pairs.items())
    for caption in sprites.CAPTIONS.values():
        assert set(how.others(caption)) < set(sprites.CAPTIONS.values()) and len(how.others(caption)) == 7


def test_pairs_are_tested_on_whose_parts_are_learnt() -> None:
    told = [*THINGS, "a coin", *THINGS]
    data = apart(dataset(told), COLOURS)
    learnt, tested = ([COLOURS.pair(text) for text in captions(split)] for split in (data.train, data.test))
    assert len(set(tested)) == 3 and not set(learnt) & set(tested) and None in learnt
    assert {subject for subject, _ in tested} <= {pair[0] for pair in learnt if pair}
    assert {style for _, style in tested} <= {pair[1] for pair in learnt if pair}
    assert len(data.train) + len(data.test) == len(told)


def test_rows_keep_their_items_and_what_nobody_has_seen_is_put_aside() -> None:
    data = apart(dataset(THINGS), COLOURS)
    for split in (data.train, data.test):
        rows = np.asarray(split.items)[:, 0]
        assert [THINGS[row] for row in rows] == captions(split) and (rows < 100).all()
        assert np.array_equal(rows, split.labels)
    assert sorted(np.concatenate([data.train.labels, data.test.labels])) == list(range(len(THINGS)))


def test_nothing_of_the_items_is_copied(tmp_path: Path) -> None:
    """64 MiB on the disk are split by the numbers of their rows, and read as batches ask for them."""
    told = 16 * THINGS
    mapped = np.memmap(tmp_path / "items", np.uint8, mode="w+", shape=(len(told), (64 << 20) // len(told)))
    mapped[:, 0] = np.arange(len(told))
    whole = dataset(told)
    tracemalloc.start()
    data = apart(replace(whole, train=replace(whole.train, items=mapped, images=mapped)), COLOURS)
    again = data.train.picked(np.arange(3, 9))
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    for split in (data.train, data.test, again):
        assert split.images is not None and len(split.images) == len(split)
        assert np.array_equal(split.items[:][:, 0], split.labels)
        assert split.items[2][0] == split.labels[2] == split.images[np.array([2])][0, 0]
        assert [told[row] for row in split.labels] == captions(split)


def test_the_last_pair_of_a_part_is_never_held_out() -> None:
    pairs = set(itertools.product(("heart", "key"), ("red", "blue")))
    for seed in range(20):
        left = pairs - held_out(pairs, 0.9, seed)
        assert {subject for subject, _ in left} == {"heart", "key"} and {style for _, style in left} == {"red", "blue"}
    assert len({frozenset(held_out(pairs, 0.3, seed)) for seed in range(20)}) > 1


def test_the_split_shows_in_the_fingerprint() -> None:
    data = dataset(THINGS)
    prints = {apart(data, COLOURS, seed).fingerprint for seed in (0, 0, 1)} | {data.fingerprint}
    assert len(prints) == 3


def test_labels_may_be_the_styles() -> None:
    """Three voices that say four words, ten times each: some say a word that they were never heard with."""
    words, voices = ("one", "two", "three", "four"), ("a", "b", "c")
    pairs = [(word, voice) for word in words for voice in range(3)] * 10
    whole = replace(dataset([word for word, _ in pairs]), classes=list(voices))
    labels = np.array([voice for _, voice in pairs])
    data = apart(replace(whole, train=replace(whole.train, labels=labels)), Combinations(labels=True, share=0.25))
    learnt, tested = (set(zip(captions(split), split.labels, strict=True)) for split in (data.train, data.test))
    assert len(tested) == 3 and not learnt & tested and learnt | tested == set(pairs)
    assert {word for word, _ in tested} <= {word for word, _ in learnt}
    assert data.whole is not None and len(data.whole.train) == 120 and len(data.test) == 30
    with pytest.raises(MaquetteError, match="data.combinations.labels"):
        alone = replace(whole, classes=["a"], train=replace(whole.train, labels=np.full(120, -1)))
        apart(alone, Combinations(labels=True))
    with pytest.raises(MaquetteError, match="labels are the styles"):
        Combinations(labels=True, styles=("red", "blue"))


def test_what_was_divided_before_is_divided_the_same() -> None:
    """The fingerprint of data that were divided by words does not know of labels."""
    assert apart(dataset(THINGS), COLOURS).fingerprint.startswith("908770d61dc29433")


def test_words_that_no_caption_has_are_refused() -> None:
    with pytest.raises(MaquetteError, match="data.combinations.styles"):
        apart(dataset(THINGS), Combinations(styles=("violet", "brown")))
    with pytest.raises(MaquetteError, match="styles"):
        Combinations(styles=("red",))


def test_skin_tones_of_emoji() -> None:
    pytest.importorskip("datasets")
    how = Combinations(styles=TONES, share=0.1)
    source = str(real_data("emoji_noto"))
    data = open_data(Data(source=source, combinations=how), Config(size=32, channels=3).build())
    learnt, tested = ({how.pair(text) for text in captions(split)} for split in (data.train, data.test))
    assert len(tested) > 100 and not learnt & tested and None not in tested
