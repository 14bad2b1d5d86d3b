"""Standard MIDI files <-> voices on a grid of sixteenths, and the mark that a written file carries.

Files come from strangers: at most `MAX_BYTES`, `MAX_NOTES` and `MAX_STEPS` are read, and whatever the library raises
becomes MQ-3001 with a reason. Onsets are rounded to the nearest sixteenth, tempo and loudness are left aside, and drums
(channel 10) are no notes. A piece begins with the quarter in which its first note begins, and ends with its last note.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import mido
import numpy as np

from maquette.core.config import parse_json
from maquette.core.errors import MaquetteError, Phrase
from maquette.media.notes import HELD, PITCHES, REST, Piece, notes, voice_names

SUFFIXES = frozenset({".mid", ".midi"})
MAX_BYTES = 256 << 10
MAX_NOTES = 20_000
MAX_STEPS = 1 << 14
"""Sixteenths of one piece: a thousand bars."""
MAX_TRACKS = 256
FINE = 4
"""Steps of the grid to a quarter note."""
TICKS = 480
"""To a quarter note, in files that are written."""
DRUMS = 9
ORGAN = 19
"""Number of the instrument that written files ask for: church organ, of General MIDI."""
_LONGEST_RUN = 4096
"""Bytes above 127 in a row, of which a time that never ends would be made; no text or data has so many."""


@dataclass
class _Part:
    """The notes of one channel of one track: (first sixteenth, the one after the last, pitch)."""

    name: str
    spans: list[tuple[int, int, int]] = field(default_factory=list)


class _Refused(Exception):
    """The reason why a file is not read, for a person."""


class _Bounded(io.BytesIO):
    """Bytes that end where too many in a row have their highest bit set."""

    run = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if len(data) == 1:
            self.run = self.run + 1 if data[0] > 127 else 0
            if self.run > _LONGEST_RUN:
                raise _Refused(Phrase("a time in it never ends", "其中有一段时间没有结束"))
        return data


def read(data: bytes, name: str, voices: int) -> Piece:
    """The piece of a MIDI file, four steps to a quarter note.

    Tracks that are named as the voices are (`voice_names`) become these. Otherwise as many parts as there are voices,
    each with one note at a time, become the voices from the highest on. Otherwise each step keeps its highest notes
    and, where there are more than voices, its lowest one in the last voice.

    Raises:
        MaquetteError: MQ-3001 naming `name`, with the reason.
    """
    try:
        parts = [part for part in _parts(_opened(data)) if part.spans]
        return _voiced(parts, voices)
    except Exception as bad:  # on damaged input mido raises nearly every type there is
        raise MaquetteError("MQ-3001", name, reason=_reason(bad, data)) from None


def read_mark(data: bytes, name: str = "") -> dict[str, str] | None:
    """The record that a MIDI file carries (`Mark.fields()`), or None when it has none; raises MQ-3001 as `read`."""
    try:
        texts = [m.text for track in _opened(data).tracks for m in track if m.type == "text"]
    except Exception as bad:
        raise MaquetteError("MQ-3001", name, reason=_reason(bad, data)) from None
    for text in texts:
        try:
            tree = parse_json(text, name)
        except MaquetteError:
            continue
        record = tree.get("AIGC") if isinstance(tree, dict) else None
        if isinstance(record, dict):
            return {str(key): str(value) for key, value in record.items()}
    return None


def write(piece: Piece, per_quarter: int, tempo: float, records: Sequence[str] = (), title: str = "") -> bytes:
    """A MIDI file of `piece`: a track with `records` as texts (and `title` as its name), then one for each voice.

    Args:
        per_quarter: steps to a quarter note.
        tempo: quarter notes a minute.
    """
    file = mido.MidiFile(type=1, ticks_per_beat=TICKS)
    head = file.add_track(_latin(title) if title else None)
    head.extend(mido.MetaMessage("text", text=record) for record in records)
    head.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo)))
    step, all_notes = TICKS // per_quarter, notes(piece)
    for voice, name in enumerate(voice_names(piece.shape[1])):
        track, now, channel = file.add_track(name), 0, voice + (voice >= DRUMS)
        track.append(mido.Message("program_change", channel=channel, program=ORGAN))
        for note in (note for note in all_notes if note.voice == voice):
            for kind, at in (("note_on", note.start), ("note_off", note.stop)):
                track.append(mido.Message(kind, channel=channel, note=note.pitch, velocity=64, time=at * step - now))
                now = at * step
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def _latin(text: str) -> str:
    """A string whose Latin-1 bytes, as which the library writes it, are the UTF-8 of `text`."""
    return text.encode("utf-8", "replace").decode("latin-1")


# -- the steps of reading ---------------------------------------------------------------------------------------------


def _opened(data: bytes) -> mido.MidiFile:
    if len(data) > MAX_BYTES:
        raise _Refused(Phrase(f"it has more than {MAX_BYTES >> 10} KB", f"超过 {MAX_BYTES >> 10} KB"))
    return mido.MidiFile(file=_Bounded(data), clip=True)


def _parts(file: mido.MidiFile) -> list[_Part]:
    if file.type == 2:
        raise _Refused(
            Phrase("its tracks are pieces of their own (a file of type 2)", "各音轨自成一曲（类型 2 的文件）")
        )
    if file.ticks_per_beat <= 0:
        raise _Refused(Phrase("it does not say what a quarter note is (ticks)", "没有说明四分音符的时长（ticks）"))
    if len(file.tracks) > MAX_TRACKS:
        raise _Refused(Phrase(f"it has more than {MAX_TRACKS} tracks", f"音轨超过 {MAX_TRACKS} 条"))
    found: dict[tuple[int, int], _Part] = {}
    total = 0
    for number, track in enumerate(file.tracks):
        begun: dict[tuple[int, int], int] = {}
        now, title = 0, ""

        def end(channel: int, pitch: int, now: int, number: int = number, begun: dict = begun) -> None:
            start = begun.pop((channel, pitch), None)
            if start is not None:
                part = found.setdefault((number, channel), _Part(""))
                part.spans.append((_step(start, file), max(_step(now, file), _step(start, file) + 1), pitch))

        for message in track:
            now += message.time
            if _step(now, file) > MAX_STEPS:
                raise _Refused(
                    Phrase(
                        f"it is longer than {MAX_STEPS // FINE:,} quarter notes",
                        f"长度超过 {MAX_STEPS // FINE:,} 个四分音符",
                    )
                )
            if message.type == "track_name":
                title = message.name.strip().lower()
            elif message.type == "set_tempo" and message.tempo == 0:
                raise _Refused(Phrase("a quarter note of it takes no time (tempo)", "其中四分音符的时长为零（速度）"))
            elif message.type in ("note_on", "note_off") and message.channel != DRUMS:
                end(message.channel, message.note, now)
                if message.type == "note_on" and message.velocity > 0:
                    begun[message.channel, message.note], total = now, total + 1
                if total > MAX_NOTES:
                    raise _Refused(Phrase(f"it has more than {MAX_NOTES:,} notes", f"音符超过 {MAX_NOTES:,} 个"))
        for channel, pitch in list(begun):
            end(channel, pitch, now)
        for (own, _), part in found.items():
            part.name = title if own == number else part.name
    return list(found.values())


def _step(tick: int, file: mido.MidiFile) -> int:
    """The nearest sixteenth."""
    return (2 * FINE * tick + file.ticks_per_beat) // (2 * file.ticks_per_beat)


def _voiced(parts: Sequence[_Part], voices: int) -> Piece:
    if not parts:
        raise _Refused(Phrase("there is no note in it", "其中没有音符"))
    first = min(start for part in parts for start, _, _ in part.spans) // FINE * FINE
    length = max(stop for part in parts for _, stop, _ in part.spans) - first
    spans = [[(start - first, stop - first, pitch) for start, stop, pitch in part.spans] for part in parts]
    names = voice_names(voices)
    if all(map(_single, spans)):
        own = [part.name for part in parts]
        if len(set(own)) == len(own) and set(own) <= set(names):
            return _painted({names.index(name): part for name, part in zip(own, spans, strict=True)}, length, voices)
        if len(spans) == voices:
            spans.sort(key=lambda part: -sum((b - a) * p for a, b, p in part) / sum(b - a for a, b, _ in part))
            return _painted(dict(enumerate(spans)), length, voices)
    return _skyline(sum(spans, []), length, voices)


def _single(spans: list[tuple[int, int, int]]) -> bool:
    """Whether no two of the notes sound together."""
    ordered = sorted(spans)
    return all(stop <= start for (_, stop, _), (start, _, _) in zip(ordered, ordered[1:], strict=False))


def _painted(lines: Mapping[int, list[tuple[int, int, int]]], length: int, voices: int) -> Piece:
    piece = np.full((length, voices), REST, np.int16)
    for voice, spans in lines.items():
        for start, stop, pitch in spans:
            piece[start:stop, voice] = pitch + HELD
            piece[start, voice] = pitch
    return piece


def _skyline(spans: list[tuple[int, int, int]], length: int, voices: int) -> Piece:
    """The highest notes of each step, and its lowest in the last voice."""
    owner = np.full((length, PITCHES), -1, np.int32)
    for number, (start, stop, pitch) in enumerate(sorted(spans)):
        owner[start:stop, pitch] = number
    heard = np.where(owner >= 0, np.arange(PITCHES), REST)
    highest = -np.sort(-heard, axis=1)[:, :voices]
    count = (owner >= 0).sum(1)
    lowest = (owner >= 0).argmax(1)
    if voices > 1:
        highest[:, -1] = np.where(count > voices, lowest, highest[:, -1])
    who = np.where(highest >= 0, np.take_along_axis(owner, highest.clip(min=0), 1), -1)
    goes_on = np.zeros(highest.shape, bool)
    goes_on[1:] = (who[1:] == who[:-1]) & (who[1:] >= 0)
    return (highest + HELD * goes_on).astype(np.int16)


def _reason(bad: Exception, data: bytes) -> str:
    if isinstance(bad, _Refused):
        return bad.args[0]
    if not data:
        return Phrase("it is empty (0 bytes)", "文件为空（0 字节）")
    if not data.startswith(b"MThd"):
        return Phrase("it is no MIDI file", "不是 MIDI 文件")
    if isinstance(bad, EOFError):
        return Phrase("it is cut off", "文件不完整")
    return Phrase("this MIDI file is damaged", "此 MIDI 文件已损坏")
