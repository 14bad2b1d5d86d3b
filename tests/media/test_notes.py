"""Notes on a grid, worked by hand."""

import numpy as np

from maquette.media.notes import HELD, Note, consistent, notes, of_pitches, sounding, thinned, transposed

H = HELD


def column(*pitches: int) -> np.ndarray:
    return np.array(pitches, np.int16)[:, None]


def test_a_repeated_pitch_of_a_table_is_a_note_that_lasts() -> None:
    piece = of_pitches(column(60, 60, 62, -1, -1, 62))
    assert piece.ravel().tolist() == [60, 60 + H, 62, -1, -1, 62]
    assert notes(piece) == [Note(0, 0, 2, 60), Note(0, 2, 3, 62), Note(0, 5, 6, 62)]
    assert sounding(piece).ravel().tolist() == [60, 60, 62, -1, -1, 62]


def test_a_coarser_grid_hears_what_sounds_at_its_steps() -> None:
    # a quarter, two eighths of which the second is not heard, the same pitch struck again, and one that lasts
    piece = column(60, *[60 + H] * 3, 62, 62 + H, 64, 64 + H, 65, 65 + H, 65, 65 + H, 65, *[65 + H] * 4)
    assert thinned(piece, 4).ravel().tolist() == [60, 62, 65, 65, 65 + H]
    assert thinned(piece, 2).ravel().tolist() == [60, 60 + H, 62, 64, 65, 65, 65, 65 + H, 65 + H]
    assert np.array_equal(thinned(piece, 1), piece)
    assert thinned(piece[:3], 4).ravel().tolist() == [60]


def test_a_note_cannot_go_on_where_it_is_not() -> None:
    assert consistent(column(60 + H, 60 + H, 62 + H, -1, 62 + H)).ravel().tolist() == [60, 60 + H, 62, -1, 62]


def test_transposing_moves_notes_alone_and_stays_within_midi() -> None:
    piece = column(60, 60 + H, -1, -2, 125, 3)
    assert transposed(piece, 4).ravel().tolist() == [64, 64 + H, -1, -2, 117, 7]
    assert transposed(piece, -7).ravel().tolist() == [53, 53 + H, -1, -2, 118, 8]
    assert np.array_equal(transposed(transposed(piece[:4], 5), -5), piece[:4])
