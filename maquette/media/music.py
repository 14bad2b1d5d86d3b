"""Music: MIDI files, and rows of tables, <-> voices of notes on a grid of steps, as windows of tokens.

An item is int16 [1 + steps, voices] (see `notes.py`): the step before the first, then the steps of a piece and `END`
after its last. A longer piece is cut into several items, each beginning with the last step of the one before.

A sample has one token for each voice and step, step by step, the highest voice first: that is the order of the factors
of a likelihood, and a voice that is given is every so many'th token. A token says whose it is and what sounds, whether
begun there or held, so that a chord can be read off the step before and no voice be taken for another; with `onsets`
notes that begin and notes that go on have tokens of their own. Before a piece and after it stand marks, of which one,
the last of its step, is context, and one, the first after the last note, is learnt and paid for, as in
`core/sequences.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from maquette.core.config import Config as AnyConfig
from maquette.core.errors import MaquetteError, Phrase
from maquette.core.exit import Mark
from maquette.core.types import Marks, Tokens
from maquette.media import midi, organ, roll, wav
from maquette.media.base import Facts, Medium, MediumConfig, Voiced, read_whole
from maquette.media.notes import END, HELD, PITCHES, REST, Piece, of_pitches, sounding, thinned, without_ends
from maquette.media.windows import Windows

MARKS = Marks(end=0, prompt=1, answer=2)
"""Nothing is asked or answered here: of the three only END is ever made."""
FIRST = len(MARKS)
"""Number of the first token of the highest voice: its rest. Its notes follow, and then those of the next voice."""
TEMPO = 90.0
"""Quarter notes a minute, in what is written and heard."""
SHOWN, HEARD = 16, 4
"""At most so many items are on a sheet, and in a clip."""
PAUSE = 0.6
"""Seconds between the items of a clip."""
CUE = (1, 2, 0, 1, 1, 0)
"""The audible label of GB 45438-2025, "AI" in Morse code: steps (half quarters) of each note, 0 being a rest of one."""
CUE_PITCH = 81


@dataclass(frozen=True, kw_only=True)
class Config(MediumConfig):
    """Music of some voices."""

    voices: int = 4
    """Of which each has one note at a time, 1 to 8."""
    per_quarter: Literal[1, 2, 4] = 4
    """Steps to a quarter note: 1, 2 (eighths) or 4 (sixteenths); notes between steps are left out."""
    steps: int = 64
    """Of an item, 4 to 4096; longer pieces are cut."""
    onsets: bool = True
    """Whether a note that is struck again is told from one that lasts; tables of pitches do not say, and are learnt
    sooner without."""
    low: int = 21
    """The lowest MIDI pitch: 21 to 108 are the 88 keys of a piano."""
    high: int = 108

    def __post_init__(self) -> None:
        self.check(1 <= self.voices <= 8, "voices", "a whole number from 1 to 8")
        self.check(4 <= self.steps <= 4096, "steps", "a whole number from 4 to 4096")
        self.check(0 <= self.low < PITCHES, "low", "a MIDI pitch from 0 to 127")
        self.check(
            self.low + 11 <= self.high < PITCHES, "high", "a MIDI pitch, an octave or more above `low`, up to 127"
        )

    def build(self) -> "Music":
        return Music(self)


@dataclass(frozen=True, kw_only=True)
class _Augment(AnyConfig):
    """What `data.augment` may say of music."""

    transpose: int = 0
    """Semitones up or down at most, as far as the range allows; every number of them is as likely."""

    def __post_init__(self) -> None:
        self.check(0 <= self.transpose <= 24, "transpose", "a whole number from 0 to 24")


class Labelled(np.ndarray):
    """A piece with words that its file shall carry."""

    words: str = ""


class Music(Medium, Voiced):
    """Args:
    config: voices, grid and range.
    """

    suffix = ".mid"
    suffixes = midi.SUFFIXES
    columns = (("notes",),)
    dtype = np.dtype(np.int16)
    unit = "step"

    def __init__(self, config: Config):
        self.config, self.voices, self.per_quarter = config, config.voices, config.per_quarter
        self.stored = (1 + config.steps, config.voices)
        self.pitches = config.high - config.low + 1
        self.each = 1 + self.pitches * (1 + config.onsets)  # tokens of a voice
        vocab = FIRST + self.each * config.voices
        self.space: Tokens = Tokens((1 + config.steps * config.voices,), vocab, MARKS)  # pyright: ignore[reportIncompatibleVariableOverride]

    # -- files and rows -> pieces -------------------------------------------------------------------------------------

    def read(self, path: Path) -> np.ndarray:
        return self.from_bytes(read_whole(path, midi.MAX_BYTES), str(path))

    def from_bytes(self, data: bytes, name: str) -> np.ndarray:
        return self._begun(midi.read(data, name, self.voices), name)

    def from_record(self, record: Mapping[str, Any], name: str) -> np.ndarray:
        """A piece from a row whose `notes` are [sixteenths, voices] of MIDI pitches, -1 for a rest.

        Such rows do not say when a note begins: a pitch that is repeated is taken for one that lasts.
        """
        try:
            found: np.ndarray = np.array(record["notes"], dtype=float)
        except (TypeError, ValueError):
            found = np.empty(0)
        good = found.ndim == 2 and found.shape[1] == self.voices and len(found) <= midi.MAX_STEPS
        if not good or not np.isin(found, np.arange(REST, PITCHES)).all():
            reason = f"notes is no list of steps of {self.voices} pitches each (-1 to 127)"
            raise MaquetteError("MQ-3001", name, reason=reason)
        if not (found >= 0).any():
            raise MaquetteError("MQ-3001", name, reason=Phrase("there is no note in it", "其中没有音符"))
        return self._begun(of_pitches(found.astype(np.int16)), name)

    def _begun(self, piece: Piece, name: str) -> np.ndarray:
        """A piece on sixteenths as one on this grid, after the step that stands before it."""
        piece = thinned(piece, midi.FINE // self.config.per_quarter)
        heard = sounding(piece)[piece >= 0]
        strange = heard[(heard < self.config.low) | (heard > self.config.high)]
        if len(strange):
            low, high, which = self.config.low, self.config.high, "(medium.low, medium.high)"
            said = f"pitch {strange[0]} lies outside {low} to {high} {which}"
            reason = Phrase(said, f"音高 {strange[0]} 不在 {low} 至 {high} 之内{which}")
            raise MaquetteError("MQ-3001", name, reason=reason)
        return np.vstack([np.full_like(piece[:1], END), piece])

    def facts(self, data: bytes, name: str) -> Facts:
        length = len(midi.read(data, name, self.voices))
        cut = (
            (Phrase("longer than an item: cut", "长于一个样本：已截断"),)
            if length > self.config.steps * midi.FINE // self.per_quarter
            else ()
        )
        return Facts(size=(-(-length // midi.FINE),), unit="quarter notes", notes=cut)

    def cutter(self) -> Windows:
        return Windows(1 + self.config.steps, True, END, self.dtype, (self.voices,))

    @property
    def identity(self) -> list[Any]:
        return [*super().identity, self.config.to_tree()]

    # -- items <-> samples --------------------------------------------------------------------------------------------

    def to_tensor(self, items: np.ndarray | Tensor) -> Tensor:
        """Items or their beginnings [b, n, voices] -> int64 [b, 1 + (n - 1) * voices]."""
        items = torch.as_tensor(items).long()
        note = 1 - self.config.low + items % HELD + self.pitches * (items >= HELD) * self.config.onsets
        own = FIRST + self.each * torch.arange(self.voices, device=items.device)
        tokens = torch.where(items == END, MARKS.end, own + torch.where(items == REST, 0, note))
        return tokens.flatten(1)[:, self.voices - 1 :]

    def from_tensor(self, x: Tensor) -> np.ndarray:
        """A token of another voice than its place belongs to is that voice's note; END within a piece ends it, and the
        marks that are never made would be rests."""
        tokens = x.detach().cpu()
        note = (tokens - FIRST) % self.each - 1
        pitch = self.config.low + note % self.pitches + HELD * (note >= self.pitches)
        marked = torch.where((tokens < FIRST) | (note < 0), REST, pitch).masked_fill(tokens == MARKS.end, END)
        steps = marked[:, 1:].unflatten(1, (-1, self.voices))
        over = ((steps == END).any(2).cumsum(1) > 0)[..., None]
        first = marked[:, :1, None].expand(-1, 1, self.voices)
        items = torch.cat([first, torch.where(over, END, steps)], 1).numpy().astype(self.dtype)
        return items if self.config.onsets else of_pitches(items)

    def units(self, x: Tensor) -> Tensor:
        """Steps of music that each sample holds."""
        return (x[:, 1 :: self.voices] != MARKS.end).sum(1)

    def sung(self, item: np.ndarray) -> Piece:
        return without_ends(item)

    def known(self, piece: np.ndarray, voices: Sequence[int] | None = None) -> Tensor:
        if len(piece) > self.config.steps:
            raise MaquetteError("MQ-2121", "opening", what="piece", tokens=len(piece), most=self.config.steps)
        tokens = self.to_tensor(np.vstack([np.full((1, self.voices), END), piece])[None])[0]
        if voices is None:
            return tokens
        made = [voice for voice in range(self.voices) if voice not in voices]
        tokens[1:].view(-1, self.voices)[:, made] = -1
        return torch.cat([tokens, torch.full((self.space.shape[0] - len(tokens),), MARKS.end)])

    def augment(self, items: Tensor, how: Mapping[str, Any], uniform: Tensor) -> Tensor:
        most = _Augment.from_tree(dict(how), "data.augment").transpose
        if not most:
            return items
        note = (items.long() - FIRST) % self.each - 1
        pitch, noted = note % self.pitches, (items >= FIRST) & (note >= 0)
        lowest = pitch.masked_fill(~noted, self.pitches).amin(1)
        highest = pitch.masked_fill(~noted, -1).amax(1)
        down, up = lowest.clamp(max=most), (self.pitches - 1 - highest).clamp(max=most)
        shift = (uniform[:, 0].to(items.device) * (down + up + 1)).long() - down
        return torch.where(noted, items + shift[:, None] * noted.any(1, keepdim=True), items)

    # -- what can be seen and heard -----------------------------------------------------------------------------------

    def encode(self, item: np.ndarray, mark: Mark) -> bytes:
        """A MIDI file with the mark as text events."""
        return midi.write(self.sung(item), self.config.per_quarter, TEMPO, mark.lines, getattr(item, "words", ""))

    def label(self, item: np.ndarray, text: str) -> np.ndarray:
        """The item after a cue in its highest voice, the rhythm of "AI" in Morse code; its file is called `text`."""
        unit = max(1, self.config.per_quarter // 2)
        pitch = min(CUE_PITCH, self.config.high)
        cue = [[pitch, *[pitch + HELD] * (length * unit - 1)] if length else [REST] * unit for length in CUE]
        rows = np.full((sum(map(len, cue)), self.voices), REST, np.int16)
        rows[:, 0] = np.concatenate(cue)
        labelled = np.vstack([item[:1], rows, item[1:]]).view(Labelled)
        labelled.words = text
        return labelled

    def clip(self, items: np.ndarray) -> tuple[str, bytes]:
        """A WAV file with the first few items, one after another, played by a soft organ."""
        pause = np.zeros(round(PAUSE * organ.RATE), np.float32)
        seconds = 60 / TEMPO / self.config.per_quarter
        parts = [part for item in items[:HEARD] for part in (organ.played(self.sung(item), seconds), pause)]
        samples = np.round(np.concatenate(parts[:-1]) * 32767).astype(np.int16)
        return ".wav", wav.write(samples[:, None], organ.RATE)

    def sheet(self, items: np.ndarray, columns: int = 8, titles: list[str] | None = None) -> bytes:
        return roll.sheet([self.sung(item) for item in items[: max(SHOWN, len(titles or ()))]], columns, titles)
