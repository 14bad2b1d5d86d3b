"""The embedded tunes: their notation by hand, and what their harmony keeps."""

import numpy as np
import pytest

from maquette.data.dataset import TEST
from maquette.data.embedded import find
from maquette.data.harmony import harmonised, parsed
from maquette.data.tunes import KEYS, TUNES, UNSEEN, arranged
from maquette.evaluate.scores import voices
from maquette.media.music import Config
from maquette.media.notes import HELD, sounding

H = HELD


def test_the_notation_is_read_as_it_is_written() -> None:
    spans = parsed('C"G7"^F3/2F/2|F,z\'2"Bbm"c\'=B2 b|', "D")
    assert [span.chord for span in spans] == [(), (7, 11, 2, 5), (10, 1, 5)]
    assert spans[0].tune == [(61, 2)], "D major has C sharp"
    assert spans[1].tune == [(66, 3), (66, 1), (54, 2), (-1, 4)]
    assert spans[2].tune == [(85, 2), (71, 4), (83, 2)], "an accidental holds for its octave, up to the bar"
    assert parsed('"C"C', "C", 5)[0] == ((5, 9, 0), [(65, 2)])
    assert parsed('"C"B', "F")[0].tune == [(70, 2)]
    with pytest.raises(ValueError):
        parsed("C H", "C")


def test_a_cadence_is_set_by_the_rules() -> None:
    piece = harmonised(parsed('"C"e2"F"f2"G"d2"C"c4', "C"))
    assert piece[:, 0].tolist() == [76, *[76 + H] * 3, 77, *[77 + H] * 3, 74, *[74 + H] * 3, 72, *[72 + H] * 7]
    assert (sounding(piece)[:, 3] % 12).tolist() == [0] * 4 + [5] * 4 + [7] * 4 + [0] * 8
    assert voices.parallels(piece) == voices.crossings(piece) == 0
    for start, third in ((0, 4), (4, 9), (8, 11), (12, 4)):
        assert third in (sounding(piece)[start] % 12).tolist(), "every chord has its third"


@pytest.mark.parametrize("name", TUNES)
def test_every_tune_is_whole_and_singable(name: str) -> None:
    tune = TUNES[name]
    bars = [bar for bar in tune.abc.split("|") if bar]
    lengths = [sum(length for span in parsed(bar, tune.key) for _, length in span.tune) for bar in bars]
    usual = max(set(lengths), key=lengths.count)
    assert all(length == usual for length in lengths[1:-1]), "bars are equal, but for an upbeat and what it leaves"
    piece = arranged(name)
    assert len(piece) == sum(lengths)
    found = voices.chords(piece)
    assert voices.crossings(piece) == voices.parallels(piece) == 0
    assert found[:, 0].max() <= 81 and found[:, 0][found[:, 0] >= 0].min() >= 59


def test_they_are_there_in_twelve_keys_and_two_are_unseen() -> None:
    medium = Config(per_quarter=2, steps=160).build()
    rows = list(find("tunes", medium).read().rows)
    assert len(rows) == len(KEYS) * (len(TUNES) - len(UNSEEN)) + len(UNSEEN)
    assert {row.name.split("/")[1][:-2] for row in rows if row.split == TEST} == set(UNSEEN)
    ode = [row for row in rows if row.name.startswith("tunes/ode-to-joy")]
    items = [row.load() for row in ode]
    first = [int(item[1, 0]) for item in items]
    assert first == [69 + key for key in KEYS], "it begins with A in the key of F"
    melody = sounding(items[6])[1:17, 0]
    assert melody.tolist() == np.repeat([69, 69, 70, 72, 72, 70, 69, 67], 2).tolist()
    assert (items[6][1:5, 0] < H).tolist() == [True, False, True, False], "a note that is struck again begins again"


def test_a_melody_alone_can_be_had() -> None:
    medium = Config(voices=1, per_quarter=2, steps=160).build()
    row = next(row for row in find("tunes", medium).read().rows if row.name == "tunes/ode-to-joy+0")
    assert row.load()[1:9, 0].tolist() == [69, 69 + H, 69, 69 + H, 70, 70 + H, 72, 72 + H]
