"""Films from strangers: the frames of each tick, and one sentence for whatever is no film."""

import struct
from fractions import Fraction

import numpy as np
import pytest

from maquette.core.errors import MaquetteError
from maquette.core.exit import Mark
from maquette.media import film
from maquette.media.film import Shot, at_ticks
from maquette.media.marks import read_mark
from maquette.media.video import Config
from tests.media.films import (
    CONTAINERS,
    fragmented,
    mutants,
    numbered,
    numbers,
    sound_alone,
    turned,
    waves,
    written,
)
from tests.media.pictures import photo, saved

MEDIUM = Config(size=32, frames=16, rate=8).build()


def seen(begins: list[float], rate: float, most: int = 99, last: float = 0.0) -> list[int]:
    """Which of the shots that begin then are seen at the ticks."""
    lasts = [0.0] * (len(begins) - 1) + [last][: len(begins)]
    shots = [Shot(start, length, 1, lambda: np.empty(0)) for start, length in zip(begins, lasts, strict=True)]
    return [shots.index(shot) for shot in at_ticks(iter(shots), rate, most)]


# -- which frame at which time ----------------------------------------------------------------------------------------


def test_at_each_tick_the_last_shot_that_has_begun_is_seen() -> None:
    assert seen([0, 0.25, 0.5, 0.75], rate=4) == [0, 1, 2, 3]
    assert seen([0, 0.25, 0.5, 0.75], rate=2, last=0.25) == [0, 2]
    assert seen([0, 0.25, 0.5, 0.75], rate=8, last=0.25) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert seen([0, 0.10, 0.13, 0.91, 0.95, 2.00], rate=8, most=16) == [0] + [2] * 7 + [4] * 8
    assert seen([5.0, 5.5, 6.0], rate=2) == [0, 1, 2]  # a film begins with its first frame
    assert seen([0, 1000.0], rate=1, most=3) == [0, 0, 0]


def test_a_film_is_over_when_its_last_shot_has_been_seen() -> None:
    assert seen([0, 1], rate=1, last=1) == [0, 1]
    assert seen([0, 1], rate=1, last=3) == [0, 1, 1, 1]
    assert seen([0, 1], rate=1) == [0, 1]  # nothing says how long: a tick
    assert seen([0], rate=8) == [0] and seen([], rate=8) == []
    assert seen([0, 1], rate=1, last=3, most=2) == [0, 1]


def test_rounded_times_double_no_frame() -> None:
    """Milliseconds of WebM, hundredths of GIF, and NTSC's 30,000 / 1,001."""
    for times in ([round(1000 * k / 30) / 1000 for k in range(30)], [round(100 * k / 25) / 100 for k in range(25)]):
        assert seen(times, rate=len(times)) == list(range(len(times)))
    assert seen([k * 1001 / 30_000 for k in range(90)], rate=30) == list(range(90))


def test_nothing_is_decoded_behind_the_last_tick() -> None:
    asked = []

    def shots():
        for k in range(100):
            asked.append(k)
            yield Shot(k / 10, 0.1, 1, lambda: np.empty(0))

    assert len(list(at_ticks(shots(), 10, 5))) == 5 and len(asked) <= 6


# -- real files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", CONTAINERS)
@pytest.mark.parametrize("rate", [8, 30])
def test_every_container_gives_its_frames_in_their_order(suffix: str, rate: int) -> None:
    medium = Config(size=32, frames=16, rate=rate).build()
    assert numbers(medium.from_bytes(written(numbered(16), rate, suffix), f"a.{suffix}")) == list(range(16))


@pytest.mark.parametrize("rate, expected", [(1, [0] * 8 + [1] * 8), (4, [k // 2 for k in range(16)])])
def test_slow_films_stand_and_quick_ones_are_thinned(rate: int, expected: list[int]) -> None:
    assert numbers(MEDIUM.from_bytes(written(numbered(8), rate), "slow.mp4")) == expected
    quick = np.repeat(numbered(16), 125, 0)  # 1,000 frames a second: 125 of each
    assert numbers(MEDIUM.from_bytes(written(quick, 1000), "quick.mp4")) == list(range(16))


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_variable_rate_is_read_by_its_times(suffix: str) -> None:
    data = written(numbered(7), 30, suffix, times=[0, 100, 130, 910, 950, 1800, 2600])
    # a tick every 125 ms: at 125 what begins at 130 counts as begun, at 875 what begins at 910 does not
    assert numbers(MEDIUM.from_bytes(data, "vfr")) == [0] + [2] * 7 + [4] * 7 + [5]


def test_pictures_are_cut_to_their_centre_and_resized_as_still_ones_are() -> None:
    bright = np.zeros((16, 32, 96, 1), np.uint8)
    bright[:, :, 32:64] = 200  # the centre square alone
    assert abs(MEDIUM.from_bytes(written(bright), "wide.mp4")[:, 4:-4, 4:-4].astype(int) - 200).max() < 4
    small = Config(size=16, frames=16, rate=8).build().from_bytes(written(waves(16, 64, 64), suffix="apng"), "a.apng")
    still = (
        Config(size=16, frames=16, rate=8)
        .build()
        .shaped(small_space())
        .from_bytes(  # type: ignore[arg-type]
            saved(picture(waves(1, 64, 64)[0])), "a.png"
        )
    )
    assert np.array_equal(small[0], still)


def small_space():
    from maquette.core.types import Real

    return Real((1, 16, 16), levels=256)


def picture(frame: np.ndarray):
    from PIL import Image

    return Image.fromarray(frame[..., 0])


@pytest.mark.parametrize("degrees, quarter_turns", [(90, -1), (180, 2), (270, 1)])
def test_films_are_upright(degrees: int, quarter_turns: int) -> None:
    corner = np.zeros((16, 32, 32, 1), np.uint8)
    corner[:, :16, :16] = 200
    found = MEDIUM.from_bytes(turned(written(corner), degrees), "phone.mp4")[3, :, :, 0] > 100
    assert np.array_equal(found, np.rot90(corner[0, :, :, 0] > 100, quarter_turns))


def test_pixels_that_are_not_square_are_stretched() -> None:
    """64 pixels that are half as wide as high are as wide as 32: nothing is cut away."""
    data = written(waves(16, 32, 64), suffix="mkv", wide=Fraction(1, 2))
    facts = MEDIUM.facts(data, "narrow.mkv")
    assert facts.notes == ("with pixels that are not square",)
    whole = waves(16, 32, 64)[:, :, ::2].astype(int)
    assert abs(MEDIUM.from_bytes(data, "narrow.mkv").astype(int) - whole).mean() < 8
    assert abs(MEDIUM.from_bytes(written(waves(16, 32, 64)), "wide.mp4").astype(int) - whole).mean() > 30


def test_sound_is_left_out_and_fragments_are_put_together() -> None:
    data = written(numbered(16), sound=True)
    assert numbers(MEDIUM.from_bytes(data, "loud.mp4")) == list(range(16))
    assert "with sound, which is left out" in MEDIUM.facts(data, "loud.mp4").notes
    assert numbers(MEDIUM.from_bytes(fragmented(numbered(16)), "live.mp4")) == list(range(16))


def test_facts_say_what_reading_changes() -> None:
    facts = MEDIUM.facts(written(waves(40, 24, 96), 4), "dir/a.webm")
    assert facts.size == (96, 24) and facts.off == "smaller than 32 x 32"
    assert facts.notes == (
        "MP4 under another suffix",
        "fewer than 8 frames a second: some are seen twice",
        "longer than the 2 s that are read",
    )
    assert MEDIUM.facts(written(waves(16)), "a.mp4").notes == ()
    assert MEDIUM.facts(turned(written(waves(16, 32, 70)), 90), "a.mp4").size == (32, 70)
    assert MEDIUM.facts(written(waves(16), suffix="gif"), "a.gif") == MEDIUM.facts(written(waves(16)), "a.mp4")
    assert MEDIUM.facts(written(waves(20), suffix="webp"), "a.webp").notes == ("longer than the 2 s that are read",)


# -- what is no film --------------------------------------------------------------------------------------------------


def reason(data: bytes, name: str = "a.mp4") -> str:
    with pytest.raises(MaquetteError) as error:
        MEDIUM.from_bytes(data, name)
    assert error.value.code == "MQ-3001" and error.value.where == name
    return str(error.value.values["reason"])


def test_whatever_is_no_film_is_told_in_a_sentence() -> None:
    assert reason(b"") == "it is empty (0 bytes)"
    assert reason(b"#EXTM3U\n#EXT-X-VERSION:3\n/etc/passwd\n") == "it is text, not a film"
    assert reason(bytes(4096)).startswith("not a film: MP4, Matroska, AVI")
    assert "header of this MP4 film" in reason(b"\0\0\0\x18ftypisom" + bytes(999))
    assert reason(sound_alone()) == "it has sound and no pictures"
    assert reason(written(numbered(15))) == "it is over after 15 of 16 frames at 8 a second"
    assert reason(saved(photo(40, 40))) == "it is over after 1 of 16 frames at 8 a second"
    assert "6 x 40 pixels" in reason(written(waves(16, 40, 6)))
    assert "coded as flv, which is not read" in reason(written(waves(16), suffix="avi", codec="flv"))


def test_what_a_file_is_called_does_not_matter() -> None:
    data = written(numbered(16), suffix="webm")
    for name in ("a.mp4", "a.gif", "a"):
        assert numbers(MEDIUM.from_bytes(data, name)) == list(range(16))


def test_frames_too_large_are_refused_by_header_and_by_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    data = written(waves(16, 96, 96))
    monkeypatch.setattr(film, "MAX_PIXELS", 64 * 64)
    assert "96 x 96 pixels, at most" in reason(data)
    at = data.index(b"avc1", data.index(b"stsd")) + 28
    lying = data[:at] + struct.pack(">HH", 32, 32) + data[at + 4 :]
    assert "pixels" in reason(lying) or "damaged" in reason(lying)


def test_the_work_of_a_film_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = written(np.repeat(numbered(16), 10, 0), 80)
    monkeypatch.setattr(film, "MAX_WORK", 32 * 32 * 150)
    assert "would have to be decoded" in reason(data)
    monkeypatch.setattr(film, "MAX_WORK", 32 * 32 * 156)
    assert numbers(MEDIUM.from_bytes(data, "a.mp4")) == list(range(16))  # the 16th is frame 150
    monkeypatch.setattr(film, "MAX_FRAMES", 150)
    assert "would have to be decoded" in reason(data)


def test_a_header_that_claims_millions_of_samples_is_refused() -> None:
    data = fragmented(numbered(16))
    at = data.index(b"trun")
    claim = data[: at + 4] + struct.pack(">II", 1, 50_000_000) + data[at + 12 :]
    assert reason(claim) == "its header claims more samples than a film has"


def test_what_lies_behind_the_frames_that_are_needed_may_be_damaged() -> None:
    data = written(waves(64), suffix="avi")
    cut = data[: data.index(b"movi") + (data.index(b"idx1") - data.index(b"movi")) * 6 // 10]
    assert MEDIUM.from_bytes(cut, "cut.avi").shape == MEDIUM.stored
    windows = Config(size=32, frames=16, rate=8, windows=4).build()
    assert len(windows.from_bytes(data, "whole.avi")) == 64
    assert len(windows.from_bytes(cut, "cut.avi")) == 32


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_damaged_copies_give_an_item_or_a_sentence_and_nothing_on_the_terminal(
    suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    data, refused = written(waves(18), suffix=suffix), 0
    for mutant in mutants(data, 60, seed=ord(suffix[-1])):
        for act in (MEDIUM.from_bytes, MEDIUM.facts, read_mark):
            try:
                made = act(mutant, f"mutant.{suffix}")
                assert not isinstance(made, np.ndarray) or made.shape == MEDIUM.stored
            except MaquetteError as bad:
                assert bad.code == "MQ-3001"
                refused += 1
    assert refused > 30
    assert capfd.readouterr() == ("", "")


# -- writing ----------------------------------------------------------------------------------------------------------


def test_grey_films_come_back_within_two_levels() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 1), dtype=np.uint8)
    for item in (waves(16), noise, np.broadcast_to(np.uint8([[[0]], [[255]]]).reshape(2, 1, 1, 1), (2, 32, 32, 1))):
        medium = Config(size=32, frames=len(item), rate=8).build()
        back = medium.from_bytes(film.write(item, 8), "made.mp4").astype(int)
        assert abs(back - item).max() <= 2 and abs(back - item).mean() < 0.4


def test_colours_come_back_where_they_change_slowly() -> None:
    y, x = np.mgrid[:32, :32]
    item = np.stack([np.stack([64 + 3 * x, 64 + 3 * y, 128 + x - y + t], -1) for t in range(16)])
    medium = Config(size=32, frames=16, rate=8, channels=3).build()
    back = medium.from_bytes(film.write(item.astype(np.uint8), 8), "made.mp4").astype(int)
    assert abs(back - item).mean() < 1 and abs(back - item).max() <= 5


@pytest.mark.parametrize("rate", [1, 8, 25, 120])
def test_a_written_film_has_its_rate(rate: int) -> None:
    medium = Config(size=32, frames=16, rate=rate).build()
    item = np.array(numbered(16))
    data = medium.encode(item, Mark(model="ab" * 32, seed=7))
    assert numbers(medium.from_bytes(data, "made.mp4")) == list(range(16))
    assert medium.facts(data, "made.mp4").notes == ()
    half = Config(size=32, frames=8, rate=max(1, rate // 2)).build()
    if rate > 1:
        assert numbers(half.from_bytes(data, "made.mp4"))[1] == rate // half.rate
