"""Rules of part-writing and counts of intervals, worked by hand."""

import numpy as np
import pytest

from maquette.evaluate.scores import voices
from maquette.media.notes import HELD

C_MAJOR, D_MINOR = [72, 67, 64, 48], [74, 69, 65, 50]
H = HELD


def piece(*chords: list[int]) -> np.ndarray:
    return np.array(chords, np.int16)


@pytest.mark.parametrize(
    ("chords", "expected"),
    [
        ([[67, 60], [69, 62]], 1),  # a fifth into a fifth
        ([[79, 60], [81, 62]], 1),  # a twelfth into a twelfth
        ([[72, 60], [74, 62]], 1),  # octaves
        ([[60, 60], [62, 62]], 1),  # unisons
        ([[67, 60], [67, 60], [69, 62]], 1),  # held first
        ([[67, 60], [69, 60]], 0),  # one of them stays
        ([[67, 60], [62, 55 + 12]], 0),  # they change places: from a fifth to a fourth
        ([[67, 60], [65, 70]], 0),  # in contrary motion
        ([[64, 60], [65, 62]], 0),  # a third
        ([[67, 60], [72, 60 + 12]], 0),  # a fifth into a unison
        ([[67, 60], [-1, -1], [69, 62]], 0),  # a rest between
        ([C_MAJOR, D_MINOR], 2),  # soprano and bass in octaves, alto and bass in fifths; the others in thirds, fourths
        ([[67, 60]], 0),
    ],
)
def test_parallels(chords: list[list[int]], expected: int) -> None:
    assert voices.parallels(piece(*chords)) == expected


def test_crossings_and_ranges_are_counted_chord_by_chord() -> None:
    crossed = piece([60, 64, 55], [60 + H, 64 + H, 55 + H], [67, 64, 70], [67, -1, 70])
    assert voices.chords(crossed).tolist() == [[60, 64, 55], [67, 64, 70], [67, -1, 70]]
    assert voices.crossings(crossed) == 2
    known = voices.ranges([crossed])
    assert known.tolist() == [[60, 64, 55], [67, 64, 70]]
    assert voices.strange(piece([68, 64, 54], [67, -1, 60]), known) == 2
    assert voices.strange(crossed[1:] + np.where(crossed[1:] >= 0, 5, 0), known) == 0, "in another key"
    assert voices.ranges([piece([-1, 60])]).tolist() == [[0, 60], [127, 60]]


def test_figures_are_for_a_hundred_chords_of_all_pieces() -> None:
    estimate = voices.per_hundred([1, 0, 2], [10, 20, 30])
    assert estimate.value == pytest.approx(5.0)
    assert estimate.low is not None and estimate.low < 5 < (estimate.high or 0)
    assert voices.per_hundred([0], [0]).value == 0


def test_what_is_counted_depends_on_no_key() -> None:
    tune = piece([72, 48], [74, 48 + H], [76, 55], [76 + H, 55 + H], [72, 48])
    classes, steps, between, lengths = voices.counted(tune)
    # above the last C: twice C in the bass, D, E, G; the soprano C twice, and C in the second chord again
    assert classes == {0: 5, 2: 1, 4: 1, 7: 1}
    assert steps == {(0, 2): 2, (0, -4): 1, (1, 7): 1, (1, -7): 1}
    assert between == {(0, 1, 0): 2, (0, 1, 2): 1, (0, 1, 9): 1}
    assert lengths == {1: 4, 2: 3}
    assert voices.counted(tune + 5) == (classes, steps, between, lengths)
    assert np.allclose((voices.features(tune) ** 2).sum(), 4), "each of the four tables sums to 1"
    assert voices.features(piece([-1, -1])).sum() == 0
    assert len(voices.features(np.empty((0, 4), np.int16))) == len(voices.features(piece(C_MAJOR)))


def test_divergence_is_nothing_for_the_same_music_in_another_key_and_one_for_nothing_shared() -> None:
    one, other = piece([72, 48], [74, 50], [76, 48]), piece([72, 71], [61, 58], [60, 59], [60 + H, 59 + H])
    assert voices.interval_divergence([one] * 10, [one + 3] * 10).value == pytest.approx(0, abs=1e-12)
    assert 0.5 < voices.interval_divergence([one] * 10, [other] * 10).value <= 1


def test_a_passage_is_the_same_in_any_key() -> None:
    letters: dict[tuple[int, ...], str] = {}
    tune = piece(C_MAJOR, D_MINOR, C_MAJOR, [72, 67, 64, -1])
    one, other = voices.spelt(tune, letters), voices.spelt(np.where(tune >= 0, tune + 2, tune), letters)
    assert one == other and len(one) == 4
    assert voices.spelt(tune[1:], letters)[1:] == one[2:]
    assert voices.spelt(piece([-1, -1, -1, -1], C_MAJOR), letters) != one[:2]


def test_shares_weigh_every_note_alike() -> None:
    estimate = voices.right_shares([np.array([True, False]), np.array([True] * 8)])
    assert estimate.value == pytest.approx(0.9)
