"""`tunes`: old tunes known to many, which belong to nobody, set for four voices by `harmony.py`.

Each is there in twelve keys, from six semitones below the one that it is sung in to five above. Two tunes are tested
on, and there in their own key alone.
"""

from collections.abc import Iterator
from functools import cache, partial
from typing import NamedTuple

import numpy as np

from maquette.data.dataset import TEST, TRAIN, Reading, Row, Source
from maquette.data.harmony import harmonised, parsed
from maquette.media import midi
from maquette.media.base import Medium
from maquette.media.notes import Piece, transposed

KEYS = range(-6, 6)
UNSEEN = ("good-king-wenceslas", "lightly-row")


class Tune(NamedTuple):
    """Where it comes from, the key that it is written in, how much higher it is sung, and its notes."""

    origin: str
    key: str
    up: int
    abc: str


TUNES = {
    "ode-to-joy": Tune(
        "Beethoven 1824", "C", 5,
        '"C"E2E2"F"F2"G"G2|"C"G2"F"F2"C"E2"G"D2|"C"C2C2"G"D2"C"E2|"C"E3D"G"D4|'
        '"C"E2E2"F"F2"G"G2|"C"G2"F"F2"C"E2"G"D2|"C"C2C2"G"D2"C"E2|"G7"D3C"C"C4|'
        '"G"D2D2"C"E2C2|"G"D2EF"C"E2C2|"G"D2EF"C"E2"G"D2|"Am"C2"D7"D2"G"G,4|'
        '"C"E2E2"F"F2"G"G2|"C"G2"F"F2"C"E2"G"D2|"C"C2C2"G"D2"C"E2|"G7"D3C"C"C4|',
    ),
    "ah-vous-dirai-je-maman": Tune(
        "France, printed 1761", "C", 5,
        '"C"C2C2G2G2|"F"A2A2"C"G4|"F"F2F2"C"E2E2|"G7"D2D2"C"C4|"C"G2G2"F"F2F2|"C"E2E2"G"D4|'
        '"C"G2G2"F"F2F2|"C"E2E2"G"D4|"C"C2C2G2G2|"F"A2A2"C"G4|"F"F2F2"C"E2E2|"G7"D2D2"C"C4|',
    ),
    "frere-jacques": Tune(
        "France, 18th century", "C", 7,
        '"C"C2D2"C"E2C2|"C"C2D2"C"E2C2|"C"E2"F"F2"C"G4|"C"E2"F"F2"C"G4|"C"GAGF"C"E2C2|"C"GAGF"C"E2C2|'
        '"C"C2"G"G,2"C"C4|"C"C2"G"G,2"C"C4|',
    ),
    "greensleeves": Tune(
        "England, 16th century", "Am", 0,
        'A|"Am"c2de3/2^f/2e|"G"d2BG3/2A/2B|"Am"c2AA3/2^G/2A|"E"B2^GE2A|"Am"c2de3/2^f/2e|"G"d2BG3/2A/2B|'
        '"Am"c3/2B/2A"E"^G3/2^F/2^G|"Am"A3A3|"C"g3g3/2^f/2e|"G"d2BG3/2A/2B|"Am"c2AA3/2^G/2A|"E"B2^GE3|'
        '"C"g3g3/2^f/2e|"G"d2BG3/2A/2B|"Am"c3/2B/2A"E"^G3/2^F/2^G|"Am"A3A3|',
    ),
    "amazing-grace": Tune(
        "New Britain, United States, 1829", "G", 0,
        'D2|"G"G4BG|"G"B4"D"A2|"C"G4E2|"G"D4D2|"G"G4BG|"G"B4"Em"A2|"D"d6|"D"d4B2|"G"d3BdB|"G"G4D2|"C"E3GGE|'
        '"G"D4D2|"G"G4BG|"G"B4"D7"A2|"C"G4"C"G2|"G"G4|',
    ),
    "auld-lang-syne": Tune(
        "Scotland, printed 1799", "F", 2,
        'C2|"F"F3F"F"F2A2|"C"G3F"C7"G2A2|"F"F3F"F"A2c2|"Bb"d6d2|"F"c3A"F"A2F2|"C"G3F"C7"G2A2|"Dm"F3D"C7"D2C2|'
        '"F"F6d2|"F"c3A"F"A2F2|"C"G3F"C7"G2d2|"F"c3A"F"A2c2|"Bb"d6d2|"F"c3A"F"A2F2|"C"G3F"C7"G2A2|"Bb"F3D"C7"D2C2|"F"F6|',
    ),
    "old-hundredth": Tune(
        "Geneva 1551", "G", 0,
        '"G"G2"G"G2"D"F2"Em"E2"G"D2"Em"G2"D"A2"G"B4|"G"B2"G"B2"Em"B2"D"A2"G"G2"Am"c2"G"B2"D"A4|'
        '"G"G2"D"A2"G"B2"D"A2"Em"G2"C"E2"D"F2"G"G4|"G"d2"G"B2"Em"G2"D"A2"Am"c2"G"B2"D7"A2"G"G4|',
    ),
    "god-save-the-king": Tune(
        "England, printed 1744", "G", 0,
        '"G"G2"Em"G2"Am"A2|"D"F3G"D"A2|"G"B2"Em"B2"C"c2|"G"B3A"Em"G2|"Am"A2"G"G2"D7"F2|"G"G6|"G"d2"G"d2"G"d2|'
        '"G"d3c"G"B2|"D"c2"D"c2"D"c2|"D7"c3B"D"A2|"G"B2"G"cB"G"AG|"G"B3c"G"d2|"C"ec"G"B2"D7"A2|"G"G6|',
    ),
    "silent-night": Tune(
        "Gruber 1818", "C", 0,
        '"C"G3/2A/2G"C"E3|"C"G3/2A/2G"C"E3|"G"d2d"G7"B3|"C"c2c"C"G3|"F"A2A"F"c3/2B/2A|"C"G3/2A/2G"C"E3|"F"A2A"F"c3/2B/2A|'
        '"C"G3/2A/2G"C"E3|"G"d2d"G7"f3/2d/2B|"C"c3"C"e3|"C"c3/2G/2E"G7"G3/2F/2D|"C"C6|',
    ),
    "au-clair-de-la-lune": Tune(
        "France, 18th century", "C", 7,
        '"C"C2C2"C"C2"G"D2|"C"E4"G"D4|"C"C2E2"G"D2D2|"C"C8|"C"C2C2"C"C2"G"D2|"C"E4"G"D4|"C"C2E2"G"D2D2|"C"C8|'
        '"Dm"D2D2D2D2|"Am"A,4A,4|"Dm"D2C2"G"B,2A,2|"G"G,8|"C"C2C2"C"C2"G"D2|"C"E4"G"D4|"C"C2E2"G"D2D2|"C"C8|',
    ),
    "london-bridge": Tune(
        "England, 18th century", "C", 5,
        '"C"G3A"C"G2F2|"C"E2F2"C"G4|"G"D2E2"G7"F4|"C"E2F2"C"G4|"C"G3A"C"G2F2|"C"E2F2"C"G4|"G"D4"G7"G4|"C"E2C6|',
    ),
    "yankee-doodle": Tune(
        "North America, 18th century", "G", 0,
        '"G"G2G2"G"A2B2|"G"G2B2"D"A2D2|"G"G2G2"G"A2B2|"G"G4"D"F4|"G"G2G2"G"A2B2|"C"c2B2"C"A2G2|"D"F2D2"D7"E2F2|"G"G4"G"G4|'
        '"C"E3F"C"E2D2|"C"E2F2"C"G4|"G"D3E"G"D2C2|"G"B,4"G"D4|"C"E3F"C"E2D2|"C"E2F2"C"G2E2|"G"D2G2"D7"F2A2|"G"G4"G"G4|',
    ),
    "good-king-wenceslas": Tune(
        "Tempus adest floridum, printed 1582", "G", 0,
        '"G"G2G2"G"G2"D"A2|"G"G2G2"D"D4|"C"E2"G"D2"C"E2"D"F2|"G"G4"G"G4|"G"G2G2"G"G2"D"A2|"G"G2G2"D"D4|'
        '"C"E2"G"D2"C"E2"D"F2|"G"G4"G"G4|"G"d2"Am"c2"G"B2"D"A2|"G"B2"D"A2"G"G4|"C"E2"G"D2"C"E2"D"F2|"G"G4"G"G4|'
        '"G"D2D2"C"E2"D"F2|"G"G2"Em"G2"D"A4|"G"d2"Am"c2"G"B2"D"A2|"G"G4"C"c4|"G"G8|',
    ),
    "jingle-bells": Tune(
        "Pierpont 1857", "G", 0,
        '"G"B2B2"G"B4|"G"B2B2"G"B4|"G"B2d2"G"G3A|"G"B8|"C"c2c2"C"c3c|"G"c2B2"G"B2BB|"Am"B2A2"Am"A2B2|"D"A4"D7"d4|'
        '"G"B2B2"G"B4|"G"B2B2"G"B4|"G"B2d2"G"G3A|"G"B8|"C"c2c2"C"c3c|"G"c2B2"G"B2BB|"D"d2d2"D7"c2A2|"G"G8|',
    ),
    "oh-susanna": Tune(
        "Foster 1848", "G", 0,
        'GA|"G"B2d2"G"d3e|"G"d2B2"G"G3A|"G"B2B2"G"A2G2|"D"A6GA|"G"B2d2"G"d3e|"G"d2B2"G"G3A|"G"B2B2"D7"A2A2|"G"G6z2|'
        '"C"c4"C"c4|"C"e2e4e2|"G"d2d2"G"B2G2|"D"A6GA|"G"B2d2"G"d3e|"G"d2B2"G"G3A|"G"B2B2"D7"A2A2|"G"G8|',
    ),
    "mo-li-hua": Tune(
        "China, 18th century", "C", 5,
        '"C"E2EG"Am"AccA|"C"G2GA"C"G4|"C"E2EG"Am"AccA|"C"G2GA"C"G4|"C"G2G2"C"G2EG|"F"A2A2"C"G4|"C"E2DE"C"G2ED|"Am"C2CD"Am"C4|'
        '"C"EDCE"G"D3E|"C"G2Ac"C"G4|"G"D2EG"Am"DECA,|"G"G,4"Am"A,2C2|"G"D3E"Am"CDCA,|"C"G,8|',
    ),
    "row-your-boat": Tune(
        "United States 1852", "C", 5,
        '"C"C3"C"C3|"C"C2D"C"E3|"C"E2D"C"E2F|"C"G6|"C"ccc"C"GGG|"C"EEE"C"CCC|"G7"G2F"G7"E2D|"C"C6|',
    ),
    "when-the-saints": Tune(
        "United States, 19th century", "C", 5,
        'z2C2E2F2|"C"G8|z2C2E2F2|"C"G8|z2C2E2F2|"C"G4"C"E4|"C"C4"C"E4|"G"D8|z2E2E2D2|"C"C6C2|"C"E4"C"G4|"C"G4"F"F4|'
        '"F"z4E2F2|"C"G4"C"E4|"C"C4"G7"D4|"C"C8|',
    ),
    "deck-the-halls": Tune(
        "Nos Galan, Wales, printed 1794", "F", 0,
        '"F"c3B"F"A2G2|"F"F2G2"F"A2F2|"C"GABG"F"A3G|"F"F2"C"E2"F"F4|"F"c3B"F"A2G2|"F"F2G2"F"A2F2|"C"GABG"F"A3G|"F"F2"C"E2"F"F4|'
        '"C"G3A"C"B2G2|"F"A3B"C"c2G2|"F"A=Bc2"Bb"def2|"C"e2"G7"d2"C"c4|"F"c3B"F"A2G2|"F"F2G2"F"A2F2|"Bb"dddd"F"c3B|"F"A2"C7"G2"F"F4|',
    ),
    "lightly-row": Tune(
        "Germany, 18th century", "C", 5,
        '"C"G2E2"C"E4|"G"F2D2"G"D4|"C"C2D2"C"E2F2|"C"G2G2"C"G4|"C"G2E2"C"E4|"G"F2D2"G"D4|"C"C2E2"G"G2G2|"C"C8|'
        '"G"D2D2"G"D2D2|"G"D2E2"G7"F4|"C"E2E2"C"E2E2|"C"E2F2"C"G4|"C"G2E2"C"E4|"G"F2D2"G"D4|"C"C2E2"G"G2G2|"C"C8|',
    ),
    "mary-had-a-little-lamb": Tune(
        "United States, 19th century", "C", 5,
        '"C"E3D"C"C2D2|"C"E2E2"C"E4|"G"D2D2"G"D4|"C"E2G2"C"G4|"C"E3D"C"C2D2|"C"E2E2"C"E2E2|"G"D2D2"G7"E2D2|"C"C8|',
    ),
    "korobeiniki": Tune(
        "Russia 1861", "Am", 0,
        '"E"e2Bc"E"d2cB|"Am"A2Ac"Am"e2dc|"E"B3c"E"d2e2|"Am"c2A2"Am"A4|"Dm"d3f"Dm"a2gf|"C"e3c"C"e2dc|"E"B2Bc"E"d2e2|"Am"c2A2"Am"A4|',
    ),
    "minuet-in-g": Tune(
        "Petzold, about 1725", "G", 0,
        '"G"d2GABc|"G"d2G2G2|"C"e2cdef|"G"g2G2G2|"Am"c2dcBA|"G"B2cBAG|"D"F2GABG|"D"A6|'
        '"G"d2GABc|"G"d2G2G2|"C"e2cdef|"G"g2G2G2|"Am"c2dcBA|"G"B2cBAG|"D7"A2BAGF|"G"G6|',
    ),
}  # fmt: skip


def source(medium: Medium) -> Source:
    """The tunes as items of a medium that reads MIDI files."""

    def rows() -> Iterator[Row]:
        for name in TUNES:
            split = TEST if name in UNSEEN else TRAIN
            for key in KEYS if split == TRAIN else (0,):
                place = f"tunes/{name}{key:+d}"
                yield Row(place, partial(_made, name, key, medium, place), split, text=name.replace("-", " "))

    return Source(
        name="tunes",
        place="tunes",
        key=["tunes", 1],
        read=lambda: Reading(rows=rows(), licence="none needed: old tunes, set for four voices by rules"),
    )


@cache
def arranged(name: str) -> Piece:
    """A tune for four voices, in the key that it is sung in."""
    tune = TUNES[name]
    return harmonised(parsed(tune.abc, tune.key, tune.up))


def _made(name: str, key: int, medium: Medium, place: str) -> np.ndarray:
    return medium.from_bytes(midi.write(transposed(arranged(name), key), midi.FINE, 90.0), place)
