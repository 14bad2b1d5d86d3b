"""MIDI files made by the library, read as voices; and files that are none."""

import io
import struct
from collections.abc import Sequence

import mido
import numpy as np
import pytest

from maquette.core.errors import MaquetteError
from maquette.core.exit import Mark
from maquette.media import midi
from maquette.media.notes import HELD, REST

H = HELD
TICKS = 480
MARK = Mark(model="ab" * 32, seed=3)


def file_of(*tracks: Sequence[mido.Message | mido.MetaMessage], ticks: int = TICKS, type: int = 1) -> bytes:
    file = mido.MidiFile(type=type, ticks_per_beat=ticks)
    file.tracks += [mido.MidiTrack(track) for track in tracks]
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def line(*spans: tuple[int, int, int], channel: int = 0, name: str = "") -> list[mido.Message | mido.MetaMessage]:
    """A track of notes (first tick, last tick, pitch)."""
    events = [(start, 1, pitch) for start, _, pitch in spans] + [(stop, 0, pitch) for _, stop, pitch in spans]
    track: list[mido.Message | mido.MetaMessage] = [mido.MetaMessage("track_name", name=name)] if name else []
    now = 0
    for at, on, pitch in sorted(events):
        track.append(mido.Message("note_on", note=pitch, velocity=64 * on, time=at - now, channel=channel))
        now = at
    return track


def read(data: bytes, voices: int = 2) -> list[list[int]]:
    return midi.read(data, "x.mid", voices).T.tolist()


Q, E, S = TICKS, TICKS // 2, TICKS // 4


def test_notes_are_read_on_a_grid_of_sixteenths() -> None:
    # a quarter, a quarter struck again, an eighth rest, an eighth that a person played a little early and short
    data = file_of(line((0, Q - 10, 60), (Q, 2 * Q, 60), (2 * Q + E - 20, 3 * Q - 40, 62)))
    assert read(data, 1) == [[60, *[60 + H] * 3, 60, *[60 + H] * 3, REST, REST, 62, 62 + H]]


def test_any_number_of_ticks_to_a_quarter() -> None:
    for ticks in (1, 24, 96, 32767):
        data = file_of(line((0, ticks, 60), (ticks, 3 * ticks, 64)), ticks=ticks)
        assert read(data, 1) == [[60, *[60 + H] * 3, 64, *[64 + H] * 7]]


def test_a_note_shorter_than_a_sixteenth_takes_one() -> None:
    assert read(file_of(line((0, 10, 60), (Q, Q + S, 62))), 1) == [[60, REST, REST, REST, 62]]


def test_parts_become_voices_from_the_highest_on() -> None:
    low, high = line((0, Q, 48)), line((0, 3 * S, 72), (3 * S, Q, 40), channel=1)  # on the average it lies higher
    assert read(file_of(low, high)) == [[72, 72 + H, 72 + H, 40], [48, 48 + H, 48 + H, 48 + H]]


def test_named_parts_become_the_voices_of_that_name() -> None:
    data = file_of(line((0, Q, 72), name="Bass"), line((0, Q, 48), name="tenor"))
    assert read(data, 4) == [[REST] * 4, [REST] * 4, [48, *[48 + H] * 3], [72, *[72 + H] * 3]]


def test_of_more_notes_than_voices_the_highest_and_the_lowest_are_kept() -> None:
    chord = file_of(line((0, Q, 60), (0, 2 * Q, 64), (0, Q, 67), (Q, 2 * Q, 65)))
    assert read(chord, 2) == [[67, *[67 + H] * 3, 65, *[65 + H] * 3], [60, *[60 + H] * 3, 64, *[64 + H] * 3]]
    assert read(chord, 1) == [[67, *[67 + H] * 3, 65, *[65 + H] * 3]]
    assert read(chord, 3)[1] == [64, *[64 + H] * 7]


def test_a_piece_begins_with_the_quarter_of_its_first_note() -> None:
    assert read(file_of(line((4 * Q + E, 5 * Q, 60))), 1) == [[REST, REST, 60, 60 + H]]


def test_drums_are_no_notes() -> None:
    drums = line((0, 10 * Q, 36), channel=9)
    assert read(file_of(drums, line((0, S, 60))), 1) == [[60]]
    assert refusal(file_of(drums)) == "there is no note in it"


def test_what_is_written_is_read_back() -> None:
    rng = np.random.default_rng(0)
    for voices in (1, 2, 3, 4, 6):
        piece = rng.integers(36, 84, size=(64, voices))
        piece[rng.random(piece.shape) < 0.2] = REST
        piece[-1] = piece[0] = 60
        held = rng.random(piece.shape) < 0.5
        for step in range(1, len(piece)):
            piece[step] = np.where(held[step], piece[step - 1], piece[step])
        held[0] = False
        piece = (piece + HELD * (held & (piece >= 0))).astype(np.int16)
        data = midi.write(piece, 4, 90.0, MARK.lines)
        assert np.array_equal(midi.read(data, "x.mid", voices), piece)
        assert midi.read_mark(data) == MARK.fields()
        assert len(mido.MidiFile(file=io.BytesIO(data)).tracks) == voices + 1


def test_a_title_is_utf8_and_a_stranger_has_no_mark() -> None:
    data = midi.write(np.array([[60]], np.int16), 1, 90.0, MARK.lines, "AI 作曲")
    assert "AI 作曲".encode() in data
    assert midi.read_mark(data) == MARK.fields()
    assert midi.read_mark(file_of(line((0, S, 60)))) is None


def refusal(data: bytes) -> str:
    with pytest.raises(MaquetteError, match="MQ-3001") as refused:
        midi.read(data, "x.mid", 2)
    return refused.value.values["reason"]


GOOD = file_of(line((0, Q, 60), (Q, 2 * Q, 64)))


def chunked(track: bytes, ticks: int = TICKS, kind: int = 1) -> bytes:
    return b"MThd" + struct.pack(">IHHH", 6, kind, 1, ticks & 0xFFFF) + b"MTrk" + struct.pack(">I", len(track)) + track


NOTE = b"\x00\x90\x3c\x40\x60\x80\x3c\x40"
HOSTILE = {
    "empty": (b"", "it is empty (0 bytes)"),
    "text": (b"C major, please", "it is no MIDI file"),
    "cut off": (GOOD[:-9], "it is cut off"),
    "header alone": (GOOD[:14], "it is cut off"),
    "zero ticks": (chunked(NOTE, ticks=0), "it does not say what a quarter note is (ticks)"),
    "time code": (chunked(NOTE, ticks=-7608), "it does not say what a quarter note is (ticks)"),
    "no time": (chunked(b"\x00\xff\x51\x03\x00\x00\x00" + NOTE), "a quarter note of it takes no time (tempo)"),
    "endless": (chunked(b"\xff\xff\xff\x7f\x90\x3c\x40"), "it is longer than 4,096 quarter notes"),
    "endless time": (chunked(b"\xff" * 100_000), "a time in it never ends"),
    "endless text": (chunked(b"\x00\xff\x01\xff\xff\xff\x7f"), "this MIDI file is damaged"),
    "asynchronous": (chunked(NOTE, kind=2), "its tracks are pieces of their own (a file of type 2)"),
    "no notes": (file_of([]), "there is no note in it"),
    "many tracks": (file_of(*[[]] * 300), "it has more than 256 tracks"),
    "many notes": (
        chunked(b"\x00\x90\x3c\x40" + b"\x01\x3c\x00\x00\x3c\x40" * 21),
        "it has more than 20 notes",
    ),
    "large": (GOOD + bytes(midi.MAX_BYTES), "it has more than 256 KB"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_cannot_be_read_is_refused_with_a_reason(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, reason = HOSTILE[case]
    monkeypatch.setattr(midi, "MAX_NOTES", 20)
    assert refusal(data) == reason


def test_damaged_files_are_read_or_refused_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    good = np.frombuffer(file_of(line((0, Q, 60), (Q, 2 * Q, 64)), line((0, Q, 50), name="bass")), np.uint8)
    for _ in range(800):
        bad = good.copy()
        places = rng.integers(len(bad), size=rng.integers(1, 6))
        bad[places] = rng.integers(256, size=len(places))
        data = bad[: rng.integers(len(bad) // 2, len(bad) + 1)].tobytes()
        try:
            piece = midi.read(data, "x.mid", 4)
        except MaquetteError as refused:
            assert refused.code == "MQ-3001"
        else:
            assert (
                piece.dtype == np.int16 and piece.shape[1] == 4 and (piece < 2 * HELD).all() and (piece >= REST).all()
            )
