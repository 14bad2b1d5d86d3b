"""The music medium: files and rows to items, items to tokens and back, and what can be seen and heard of them."""

import io
import wave
from pathlib import Path

import mido
import numpy as np
import pytest
import torch
from PIL import Image as pillow

from maquette.core.errors import MaquetteError
from maquette.core.exit import Mark
from maquette.core.sequences import counted
from maquette.media import midi
from maquette.media.music import FIRST, MARKS, Config
from maquette.media.notes import END, HELD, REST, notes, of_pitches

H = HELD
MARK = Mark(model="ab" * 32, seed=3)
TWO = Config(voices=2, per_quarter=1, steps=4, low=48, high=72)
MEDIUM = TWO.build()
PIECE = np.array([[60, 48], [60 + H, 50], [REST, 50 + H]], np.int16)


def item_of(piece: np.ndarray, config: Config = TWO) -> np.ndarray:
    (item,) = config.build().cutter().put(np.vstack([np.full((1, piece.shape[1]), END, np.int16), piece]))
    return item


def test_a_step_is_a_token_for_each_voice_and_the_rest_is_marks() -> None:
    # of each voice a rest, the notes 48 to 72 that begin, and those that go on
    high, low = FIRST + 1, FIRST + 51 + 1
    x = MEDIUM.to_tensor(item_of(PIECE)[None])
    assert x.tolist() == [[0, high + 12, low, high + 25 + 12, low + 2, FIRST, low + 25 + 2, 0, 0]]
    assert MEDIUM.space.shape == (9,) and MEDIUM.space.vocab == FIRST + 2 * 51
    assert np.array_equal(MEDIUM.from_tensor(x), item_of(PIECE)[None])
    assert np.array_equal(MEDIUM.sung(item_of(PIECE)), PIECE)
    # the three steps are paid for, and that the piece ends, once; nothing else
    assert counted(x, MEDIUM.space).tolist() == [[True] * 7 + [False]]
    assert MEDIUM.units(x).tolist() == [3]


def test_without_onsets_a_token_is_what_sounds() -> None:
    medium = Config(voices=2, per_quarter=1, steps=4, low=48, high=72, onsets=False).build()
    again = PIECE % H * (PIECE >= 0) - (PIECE < 0)  # every note of it begins
    x = medium.to_tensor(np.stack([item_of(PIECE), item_of(again.astype(np.int16))]))
    high, low = FIRST + 1, FIRST + 26 + 1
    assert x.tolist() == [[0, high + 12, low, high + 12, low + 2, FIRST, low + 2, 0, 0]] * 2
    assert medium.space.vocab == FIRST + 2 * 26
    assert np.array_equal(medium.from_tensor(x), np.stack([item_of(PIECE)] * 2))


def test_any_tokens_are_an_item() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randint(MEDIUM.space.vocab, (200, 9), generator=g)
    x[:, 0] = MARKS.end
    for item in MEDIUM.from_tensor(x):
        piece = MEDIUM.sung(item)
        assert (piece >= REST).all() and len(piece) <= 4
        assert len(notes(piece)) == ((piece >= 0) & (piece < H)).sum(), "every note begins"


def test_a_piece_is_cut_into_items_that_overlap_by_a_step() -> None:
    config = Config(voices=1, per_quarter=4, steps=4)
    medium = config.build()
    piece = np.arange(60, 71, dtype=np.int16)[:, None]
    cutter = medium.cutter()
    items = [*cutter.put(np.vstack([[[END]], piece])), *cutter.put(np.array([[END], [50]], np.int16)), *cutter.rest()]
    assert np.array_equal(np.stack(items)[..., 0], [[END, 60, 61, 62, 63], [63, 64, 65, 66, 67],
                                                    [67, 68, 69, 70, END], [END, 50, END, END, END]])  # fmt: skip
    x = medium.to_tensor(np.stack(items))
    # every step once, and once for each piece that it ends
    assert medium.units(x).sum() == 12 and counted(x, medium.space).sum() == 12 + 2


def test_rows_are_read_on_the_grid_that_is_asked_for() -> None:
    row = {"notes": [[72, 48]] * 4 + [[72, 50]] * 2 + [[71, 50]] * 2 + [[70, -1]] * 4}
    fine, eighths, quarters = (
        Config(voices=2, per_quarter=n, low=48, high=72).build().from_record(row, "r") for n in (4, 2, 1)
    )
    assert fine[1:].tolist() == of_pitches(np.array(row["notes"])).tolist()
    assert eighths[1:, 0].tolist() == [72, 72 + H, 72 + H, 71, 70, 70 + H]
    assert quarters.tolist() == [[END, END], [72, 48], [72 + H, 50], [70, REST]]


@pytest.mark.parametrize(
    "rows", [None, "60", [60], [[60]], [[60, 128]], [[60, -2]], [[60, 0.5]], [[60, 60], [60]], [[-1, -1]], [],
             [[60, float("nan")]], [[True, None]], [[47, 60]], [[60, 73]]]
)  # fmt: skip
def test_rows_that_are_no_music_are_refused(rows: object) -> None:
    with pytest.raises(MaquetteError, match="MQ-3001"):
        MEDIUM.from_record({"notes": rows}, "row 1")


def test_files_come_back_and_say_that_they_were_made(tmp_path: Path) -> None:
    medium = Config(voices=4, per_quarter=2, steps=8).build()
    piece = np.array([[72, 67, 60, 48], [72 + H, 65, 60, REST], [71, 67, 59 + 128, 43]], np.int16)
    piece[2, 2] = 59
    (tmp_path / "p.mid").write_bytes(medium.encode(item_of(piece, medium.config), MARK))
    assert np.array_equal(medium.read(tmp_path / "p.mid")[1:], piece)
    assert midi.read_mark((tmp_path / "p.mid").read_bytes()) == MARK.fields()
    with pytest.raises(MaquetteError, match=r"gone\.mid"):
        medium.read(tmp_path / "gone.mid")


def test_a_pitch_outside_the_range_is_named() -> None:
    data = midi.write(np.array([[90, 60]], np.int16), 4, 90.0)
    with pytest.raises(MaquetteError, match="pitch 90 lies outside 48 to 72"):
        MEDIUM.from_bytes(data, "p.mid")


def test_transposing_moves_all_notes_of_a_sample_alike_and_stays_within_the_range() -> None:
    x = MEDIUM.to_tensor(np.stack([item_of(PIECE)] * 4000))
    uniform = torch.rand(4000, 8, generator=torch.Generator().manual_seed(0))
    moved = MEDIUM.augment(x, {"transpose": 5}, uniform)
    shifts = [
        np.unique((a - b)[b > REST]) for a, b in zip(MEDIUM.from_tensor(moved), MEDIUM.from_tensor(x), strict=True)
    ]
    assert {len(shift) for shift in shifts} == {1}
    found, count = np.unique(np.concatenate(shifts), return_counts=True)
    assert found.tolist() == list(range(6)), "48 is the lowest pitch: there is no way down"
    assert count.min() > 4000 / 6 * 0.8
    assert torch.equal(MEDIUM.augment(x, {}, uniform), x)
    silence = MEDIUM.to_tensor(item_of(np.full((4, 2), REST, np.int16))[None])
    assert torch.equal(MEDIUM.augment(silence, {"transpose": 5}, uniform[:1]), silence)
    with pytest.raises(MaquetteError, match="transpose"):
        MEDIUM.augment(x, {"transpoes": 5}, uniform)


def test_known_voices_and_beginnings() -> None:
    high, low = FIRST + 1, FIRST + 51 + 1
    assert MEDIUM.known(PIECE[:2]).tolist() == [0, high + 12, low, high + 25 + 12, low + 2]
    assert MEDIUM.known(PIECE, [0]).tolist() == [0, high + 12, -1, high + 25 + 12, -1, FIRST, -1, 0, 0]
    with pytest.raises(MaquetteError, match="MQ-2121"):
        MEDIUM.known(np.vstack([PIECE, PIECE]))


def test_a_label_is_heard_before_the_music_and_stands_in_the_file() -> None:
    labelled = MEDIUM.label(item_of(PIECE), "made by AI")
    cue = [81 - 9] * 4
    sung = MEDIUM.sung(labelled)
    assert [note.stop - note.start for note in notes(sung[:-3]) if note.voice == 0] == [1, 2, 1, 1]
    assert {note.pitch for note in notes(sung[:-3])} == set(cue)
    assert np.array_equal(sung[-3:], PIECE)
    file = mido.MidiFile(file=io.BytesIO(MEDIUM.encode(labelled, MARK)))
    assert file.tracks[0].name == "made by AI"


def test_what_is_heard_has_the_pitches_of_the_notes() -> None:
    piece = np.array([[69], [69 + H], [REST], [57]], np.int16)
    medium = Config(voices=1, per_quarter=1, steps=4).build()
    suffix, data = medium.clip(np.stack([item_of(piece, medium.config)] * 2))
    assert suffix == ".wav"
    with wave.open(io.BytesIO(data)) as file:
        rate, n = file.getframerate(), file.getnframes()
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        sound = np.frombuffer(file.readframes(n), "<i2") / 32768
    quarter = round(rate * 60 / 90)
    assert 0.1 < np.abs(sound).max() <= 1

    def pitch(part: np.ndarray) -> float:
        return float(np.abs(np.fft.rfft(part)).argmax() * rate / len(part))

    assert pitch(sound[quarter // 4 : 2 * quarter]) == pytest.approx(440, abs=2)
    assert pitch(sound[3 * quarter : 4 * quarter]) == pytest.approx(220, abs=2)
    assert np.abs(sound[2 * quarter + rate // 4 : 3 * quarter]).max() == 0, "a rest is silent"


def test_the_sheet_shows_each_note_where_it_is() -> None:
    sheet = pillow.open(io.BytesIO(MEDIUM.sheet(np.stack([item_of(PIECE)] * 3), 3)))
    one = np.asarray(pillow.open(io.BytesIO(MEDIUM.sheet(item_of(PIECE)[None]))).convert("RGB"))
    red = (one[..., 0] > 180) & (one[..., 1] < 90)
    assert red.any() and np.flatnonzero(red.any(1)).max() < one.shape[0] // 2, "the soprano lies high"
    assert sheet.format == "PNG"
    titled = pillow.open(io.BytesIO(MEDIUM.sheet(np.stack([item_of(PIECE)] * 2), titles=["a", "b"])))
    assert titled.height > one.shape[0] // 2
    assert MEDIUM.sheet(np.full((1, *MEDIUM.stored), END, np.int16))


@pytest.mark.parametrize("wrong", [{"voices": 0}, {"voices": 9}, {"steps": 2}, {"low": 60, "high": 65}, {"high": 128},
                                   {"per_quarter": 3}])  # fmt: skip
def test_impossible_settings_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(MaquetteError):
        Config.from_tree(wrong, "medium")
