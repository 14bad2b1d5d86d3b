"""What samples of music are given: a beginning, or voices, from MIDI files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maquette.core.errors import MaquetteError
from maquette.media.base import Medium, Voiced
from maquette.media.notes import REST, Piece, transposed, voice_names


def beginning(medium: Medium, opening: Any, quarters: int | None = None) -> np.ndarray:
    """The tokens [1, m] that samples begin with, to go on from there.

    Args:
        opening: a file, or a stored item.
        quarters: only so many quarter notes of it; None for all.

    Raises:
        MaquetteError: MQ-2104 a medium without voices, MQ-2121 a beginning that leaves nothing to be made, MQ-2002
            quarters that are none, and what reading the file raises.
    """
    voiced = _voiced(medium)
    if quarters is not None and (not isinstance(quarters, int) or isinstance(quarters, bool) or quarters < 1):
        raise MaquetteError("MQ-2002", path="quarters", wanted="a whole number of quarter notes", value=repr(quarters))
    piece = _piece(medium, opening)
    piece = piece if quarters is None else piece[: quarters * voiced.per_quarter]
    tokens = voiced.known(piece)
    if len(tokens) >= medium.space.shape[0]:
        raise MaquetteError("MQ-2121", "opening", what="piece", tokens=len(piece), most=len(piece) - 1)
    return tokens[None].numpy()


def voices(medium: Medium, given: Mapping[str, Any] | Sequence[str]) -> np.ndarray:
    """The tokens [1, l] of samples that have the voices `given`, -1 for those of the others.

    Args:
        given: NAME=FILE, or by name files and stored items, of which the voice of that name is taken, or, where that is
            silent, the highest one that is not.

    Raises:
        MaquetteError: MQ-2104 a medium without voices, MQ-2002 a name that none has, and what reading the files raises.
    """
    voiced = _voiced(medium)
    names = voice_names(voiced.voices)
    pairs = list(given.items()) if isinstance(given, Mapping) else [tuple(one.split("=", 1)) for one in given]
    lines: dict[int, np.ndarray] = {}
    for pair in pairs:
        if len(pair) != 2 or pair[0] not in names:
            wanted = f"NAME=FILE with a name of {', '.join(names)}"
            raise MaquetteError("MQ-2002", path="voice", wanted=wanted, value=repr("=".join(map(str, pair))))
        number, piece = names.index(pair[0]), _piece(medium, pair[1])
        sung = np.flatnonzero((piece >= 0).any(0)).tolist()
        lines[number] = piece[:, number if number in sung or not sung else sung[0]]
    whole = np.full((max(map(len, lines.values())), voiced.voices), REST, np.int16)
    for number, line in lines.items():
        whole[: len(line), number] = line
    return voiced.known(whole, tuple(lines))[None].numpy()


def moved(medium: Medium, items: np.ndarray, semitones: Any) -> np.ndarray:
    """Items so many semitones higher."""
    _voiced(medium)
    if not isinstance(semitones, int) or isinstance(semitones, bool) or abs(semitones) > 48:
        wanted = "a whole number of semitones from -48 to 48"
        raise MaquetteError("MQ-2002", path="transpose", wanted=wanted, value=repr(semitones))
    return transposed(items, semitones)


def _voiced(medium: Medium) -> Voiced:
    if not isinstance(medium, Voiced):
        raise MaquetteError("MQ-2104", task="begin from notes: it makes no music")
    return medium


def _piece(medium: Medium, one: Any) -> Piece:
    item = medium.read(Path(one)) if isinstance(one, str | Path) else np.asarray(one)
    return _voiced(medium).sung(item)
