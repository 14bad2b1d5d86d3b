"""The medium of sound: files to items to samples and back, what is heard of them and what is seen."""

import io
import re
import wave

import numpy as np
import pytest
import torch
from PIL import Image as pillow

from maquette.core.errors import MaquetteError
from maquette.core.exit import Mark
from maquette.core.types import Real
from maquette.media import audio, wav
from maquette.media.audio import HIGH, SPECTRUM_HIGH, WIDE, Audio, Augment, augmented, cue_of, spectrograms, waveform
from maquette.media.base import Medium
from maquette.media.marks import read_mark
from tests.media.sounds import FILES, RATE, coded, raw_wav, tone

MEDIUM = Audio(RATE, 1000)
MARK = Mark(model="ab" * 32, seed=7, producer="Étude & <co>")


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(pillow.open(io.BytesIO(png)))


# -- items and samples ------------------------------------------------------------------------------------------------


def test_the_65536_levels_span_the_range_exactly() -> None:
    medium = Audio(RATE, 65536)
    items = np.arange(-32768, 32768).astype(np.int16)[None, :, None]
    x = medium.to_tensor(items)
    assert medium.space == Real((1, 65536), levels=65536) and x.shape == (1, 1, 65536)
    assert x.min() == -1 and x.max() == 1 and (x.diff() > 0).all()
    assert np.array_equal(medium.from_tensor(x), items)


def test_channels_go_first_and_come_back() -> None:
    medium = Audio(RATE, 500, 2)
    items = np.stack([tone(channels=2)[:500]] * 3)
    x = medium.to_tensor(items)
    assert x.shape == (3, 2, 500) and torch.equal(x[0, 1], (torch.from_numpy(items[0, :, 1]) + 0.5) / 32767.5)
    assert np.array_equal(medium.from_tensor(x), items)


def test_what_lies_outside_is_clipped_and_what_is_no_number_is_silent() -> None:
    x = torch.tensor([[[-3.0, 3.0, float("nan")]]])
    assert Audio(RATE, 16).from_tensor(x).flatten().tolist() == [-32768, 32767, 0]


@pytest.mark.parametrize("wrong", [{"rate": 10}, {"rate": 10**6}, {"samples": 4}, {"samples": 10**7}, {"channels": 3}])
def test_the_config_says_what_is_possible(wrong: dict) -> None:
    with pytest.raises(MaquetteError, match="MQ-2002"):
        audio.Config.from_tree(wrong, "medium")


# -- reading ----------------------------------------------------------------------------------------------------------


def test_a_short_file_is_followed_by_silence_and_a_long_one_is_cut() -> None:
    x = tone(seconds=0.05)
    item = MEDIUM.from_bytes(raw_wav(x.tobytes()), "a.wav")
    assert item.shape == (1000, 1) and np.array_equal(item[:400], x) and not item[400:].any()
    long = tone(seconds=1)
    assert np.array_equal(MEDIUM.from_bytes(raw_wav(long.tobytes()), "a.wav"), long[:1000])


@pytest.mark.parametrize(
    ("samples", "items"), [(10, 1), (400, 1), (1000, 1), (1499, 1), (1500, 2), (2000, 2), (2700, 3)]
)
def test_a_long_file_becomes_several_items(samples: int, items: int) -> None:
    medium = Audio(RATE, 1000, pieces=True)
    x = tone(seconds=1)[:samples]
    cut = medium.cutter().put(medium.from_bytes(raw_wav(x.tobytes()), "a.wav"))
    assert [item.shape for item in cut] == [(1000, 1)] * items
    whole = np.concatenate(cut)
    kept = min(samples, len(whole))
    assert np.array_equal(whole[:kept], x[:kept]) and not whole[kept:].any()


def test_items_that_would_be_stored_otherwise_are_told_apart() -> None:
    mediums = [Audio(8000, 1000), Audio(9000, 1000), Audio(8000, 999), Audio(8000, 1000, 2), Audio(8000, 1000, 1, True)]
    assert len({str(medium.identity) for medium in mediums}) == len(mediums)


def notes(data: bytes, name: str, medium: Medium = MEDIUM) -> tuple[str, ...]:
    return medium.facts(data, name).notes


def test_the_facts_of_a_file() -> None:
    x = tone(seconds=0.125)
    facts = MEDIUM.facts(raw_wav(x.tobytes()), "a.wav")
    assert (facts.size, facts.unit, facts.notes, facts.off) == ((0.125,), "s", (), "")
    assert notes(raw_wav(x.tobytes()), "a.flac") == ("WAV under another suffix",)
    assert notes(raw_wav(x[:600].tobytes()), "a.wav") == ("shorter than an item: silence follows",)
    assert notes(raw_wav(np.r_[x, x].tobytes()), "a.wav") == ("longer than an item: only its beginning is read",)
    assert notes(raw_wav(np.r_[x, x].tobytes()), "a.wav", Audio(RATE, 1000, pieces=True)) == ()
    double = tone(seconds=0.125, rate=2 * RATE, channels=2)
    assert notes(raw_wav(double.tobytes(), 2 * RATE, 2), "a.wav") == (
        "resampled from 16,000 to 8,000 samples per second",
        "mixed into one of 2 channels",
    )
    assert notes(raw_wav(x.tobytes()), "a.wav", Audio(RATE, 1000, 2)) == ("on both sides the same, of one channel",)
    assert notes(raw_wav(bytes(2000)), "a.wav") == ("silent",)
    assert notes(raw_wav(b"\x05\x00" * 1000), "a.wav") == ("constant: there is nothing to hear",)
    assert notes(raw_wav((8 * x.clip(-4095, 4095)).tobytes()), "a.wav") == ()
    loud = np.where(np.arange(1000) % 50 < 25, 32767, -32768).astype(np.int16)
    assert notes(raw_wav(loud.tobytes()), "a.wav") == ("at full scale, where it may be clipped",)
    with pytest.raises(MaquetteError, match="MQ-3001"):
        MEDIUM.facts(b"no sound", "a.wav")


def test_a_file_that_breaks_off_says_so_and_nothing_else() -> None:
    """Whether what it claims is shorter than an item or longer."""
    for suffix in ("wav", "mp3", "aiff", "au", "mka"):
        for seconds in (0.5, 2.0):
            rate = 48_000 if suffix == "mka" else RATE
            whole, share = coded(tone(seconds=seconds, rate=rate), *FILES[suffix], rate), 7 if seconds < 1 else 4
            for medium in (Audio(RATE, 8000), Audio(RATE, 8000, pieces=True)):
                assert not any("breaks off" in note for note in notes(whole, f"a.{suffix}", medium)), suffix
                found = [note for note in notes(whole[: share * len(whole) // 10], f"a.{suffix}", medium)][-2:]
                assert found[0] == "shorter than an item: silence follows", suffix
                assert (said := re.fullmatch(r"breaks off after ([\d.]+) of ([\d.]+) s", found[1])), suffix
                after, of = said.groups()
                assert abs(float(after) - seconds * share / 10) < 0.15 * seconds, suffix
                assert float(of) == pytest.approx(seconds, abs=0.1), suffix
    endless = raw_wav(tone().tobytes(), said=2**32 - 1)  # written as it came, by who could not know when it ends
    assert notes(endless, "a.wav", Audio(RATE, 4000)) == ()


def test_seconds_are_those_of_the_whole_file() -> None:
    for suffix, (codec, format) in FILES.items():
        if codec == "vorbis":  # libav's coder of it does not count the times that its own reader goes by
            continue
        rate = 48_000 if "opus" in codec else RATE
        seconds = MEDIUM.facts(coded(tone(seconds=2, rate=rate), codec, format, rate), f"a.{suffix}").size[0]
        assert 2 <= seconds < 2.2, suffix


# -- writing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2])
def test_a_written_file_reads_back_and_carries_its_mark(channels: int) -> None:
    medium = Audio(RATE, 1001, channels)
    item = tone(channels=channels)[:1001]
    data = medium.encode(item, MARK)
    assert np.array_equal(medium.from_bytes(data, "a.wav"), item)
    assert read_mark(data) == MARK.fields()
    with wave.open(io.BytesIO(data)) as file:  # Python's own reader knows nothing of what we append
        assert file.getparams()[:4] == (channels, 2, RATE, 1001)
        assert file.readframes(2000) == item.tobytes()
    assert data == medium.encode(item, MARK)


def test_the_mark_is_there_in_each_of_two_places() -> None:
    data = MEDIUM.encode(tone()[:1000], MARK)
    notes = wav.carried(data, "")
    assert notes.text["ISFT"] == MARK.generator and "trainedAlgorithmicMedia" in notes.xmp
    only_xmp = data.replace(b"LISTV", b"XXXXV").replace(b"ICMT", b"IXXX")
    assert read_mark(only_xmp) == MARK.fields()
    assert read_mark(data.replace(b"_PMX", b"XXXX")) == MARK.fields()
    assert read_mark(raw_wav(bytes(8))) is None


@pytest.mark.parametrize("size", [0, 12, 30, 44, 200, 2100, 2300])
def test_marks_of_broken_files_are_read_or_absent(size: int) -> None:
    data = MEDIUM.encode(tone()[:1000], MARK)[:size]
    if size < 12:
        with pytest.raises(MaquetteError, match="MQ-3001"):
            read_mark(data)
    else:
        assert read_mark(data) in (None, MARK.fields())


def test_the_audible_label_is_ai_in_morse_before_the_sound() -> None:
    item = tone(channels=2)
    labelled = Audio(RATE, len(item), 2).label(item, "AI")
    before = len(labelled) - len(item)
    assert np.array_equal(labelled[before:], item) and labelled.dtype == np.int16
    # loud and quiet in units of 60 ms: short, long; short, short; a pause
    unit = round(0.06 * RATE)
    loud = np.abs(labelled[: before // unit * unit, 0].astype(float)).reshape(-1, unit).mean(1) > 1000
    assert "".join("#" if one else "." for one in loud) == "#.###...#.#....."
    assert np.array_equal(labelled[:, 0], labelled[:, 1]) or not np.array_equal(item[:, 0], item[:, 1])
    assert np.abs(cue_of(1000)).max() <= 0.25


def test_a_clip_strings_items_together() -> None:
    items = np.stack([tone(220 * k)[:1000] for k in range(1, 30)])
    suffix, data = MEDIUM.clip(items)
    with wave.open(io.BytesIO(data)) as file:
        played = np.frombuffer(file.readframes(10**6), "<i2")
    step = 1000 + RATE // 4
    assert suffix == ".wav" and len(played) == 15 * step + 1000
    assert np.array_equal(played[step : step + 1000], items[1, :, 0]) and not played[1000:step].any()
    long = np.zeros((9, 20 * RATE, 1), np.int16)
    with wave.open(io.BytesIO(Audio(RATE, 20 * RATE).clip(long)[1])) as file:
        assert file.getnframes() == 20 * RATE


# -- looking ----------------------------------------------------------------------------------------------------------


def test_a_sheet_shows_each_item_in_its_place() -> None:
    items = np.stack([np.zeros((8000, 1), np.int16), tone(1000, 1, level=0.9)])
    page = pixels(Audio(RATE, 8000).sheet(items, 2))
    assert page.shape == (4 + HIGH + SPECTRUM_HIGH + 4, 4 + 2 * (WIDE + 4), 3)
    silent, loud = page[4:-4, 4 : 4 + WIDE].astype(int), page[4:-4, 8 + WIDE : 8 + 2 * WIDE].astype(int)
    blue = [(cell[:HIGH, :, 2] > cell[:HIGH, :, 0] + 50).sum() for cell in (silent, loud)]
    assert blue[0] <= 2 * WIDE and blue[1] > 20 * WIDE
    bright = loud[HIGH:].sum(2).mean(1)
    # 1,000 of 4,000 Hz: a quarter of the way up
    assert abs(int(bright.argmax()) - SPECTRUM_HIGH * 3 // 4) <= 1 and silent[HIGH:].sum(2).max() < 20


def test_titles_stand_over_columns() -> None:
    items = np.stack([tone()[:1000]] * 6)
    plain, titled = pixels(MEDIUM.sheet(items, 3)), pixels(MEDIUM.sheet(items, 3, ["a", "b", "c"]))
    assert titled.shape[0] == plain.shape[0] + 18 and np.array_equal(titled[18:], plain)
    assert (titled[:18] < 100).any()


def test_more_titles_than_columns_stand_over_each_item() -> None:
    items = np.stack([tone()[:1000]] * 6)
    plain, titled = pixels(MEDIUM.sheet(items, 3)), pixels(MEDIUM.sheet(items, 3, list("abcdef")))
    tall = HIGH + SPECTRUM_HIGH + 4
    for row in range(2):
        start = row * (tall + 18)
        assert (titled[start + 4 : start + 18] < 100).any()
        assert np.array_equal(titled[start + 22 : start + 18 + tall], plain[row * tall + 4 : (row + 1) * tall])


@pytest.mark.parametrize("samples", [16, 100, 100_000])
def test_items_of_any_length_have_a_sheet(samples: int) -> None:
    medium = Audio(44_100, samples, 2)
    assert pixels(medium.sheet(np.ones((3, samples, 2), np.int16))).shape[1] == 4 + 3 * (WIDE + 4)


def test_the_waveform_shows_what_is_between_low_and_high() -> None:
    rising = np.linspace(-32768, 32767, 12_800)[:, None].astype(np.int16)
    blue = waveform(rising)[:, :, 0] == 42
    rows = [np.flatnonzero(column).mean() for column in blue.T]
    assert blue.any(0).all() and rows[0] > HIGH - 3 and rows[-1] < 2 and np.all(np.diff(rows) <= 0.5)


def test_a_spectrogram_is_relative_to_the_loudest_of_all() -> None:
    items = np.stack([tone(1000, 1, level=0.9), tone(1000, 1, level=0.009)])
    loud, quiet = spectrograms(items, RATE).astype(int).sum(3).max((1, 2))
    assert loud == 252 + 253 + 191 and 100 < quiet < loud - 100


# -- augmenting -------------------------------------------------------------------------------------------------------


def test_what_is_declared_is_done_by_the_rows_own_numbers() -> None:
    x = MEDIUM.to_tensor(np.stack([tone()[:1000]] * 3))
    uniform = torch.full((3, 8), 0.5)
    assert torch.allclose(augmented(x, Augment(gain=6.0, shift=0.5, polarity=0.5), uniform), x)
    uniform[1, 0], uniform[1, 1], uniform[1, 2] = 1.0, 0.75, 0.1
    louder = augmented(x, Augment(gain=float(20 * np.log10(2))), uniform)
    assert torch.allclose(louder[1], 2 * x[1]) and torch.equal(louder[0], x[0])
    later = augmented(x, Augment(shift=0.2), uniform)  # (2 * 0.75 - 1) * 0.2 of 1,000 samples
    assert not later[1, :, :100].any() and torch.equal(later[1, :, 100:], x[1, :, :-100])
    uniform[1, 1] = 0.25
    earlier = augmented(x, Augment(shift=0.2), uniform)
    assert not earlier[1, :, -100:].any() and torch.equal(earlier[1, :, :-100], x[1, :, 100:])
    turned = augmented(x, Augment(polarity=0.5), uniform)
    assert torch.equal(turned[1], -x[1]) and torch.equal(turned[2], x[2])


def test_noise_belongs_to_its_row() -> None:
    x = torch.zeros(4, 2, 5000)
    uniform = torch.rand(4, 8, generator=torch.Generator().manual_seed(0))
    noisy = augmented(x, Augment(noise=0.1), uniform)
    assert torch.allclose(noisy.std((1, 2)), 0.1 * uniform[:, 3], rtol=0.05)
    assert torch.equal(augmented(x[2:3], Augment(noise=0.1), uniform[2:3]), noisy[2:3])
    assert not torch.equal(noisy[0], noisy[1])


def test_speed_changes_pitch_and_length_together() -> None:
    """A wave of 200 Hz that ends after 500 samples, played a quarter faster, is one of 250 Hz that ends after 400."""
    at = torch.arange(1000)
    x = (torch.sin(2 * torch.pi * 200 * at / 8000) * (at < 500)).view(1, 1, -1)
    uniform = torch.full((1, 8), 0.75)
    faster = augmented(x, Augment(speed=0.5), uniform)
    wanted = torch.sin(2 * torch.pi * 250 * at / 8000) * (at < 400)
    torch.testing.assert_close(faster[0, 0, :399], wanted[:399], rtol=0, atol=1e-3)
    assert not faster[0, 0, 402:].any()
    slower = augmented(x, Augment(speed=0.5), torch.full((1, 8), 0.25))  # three quarters
    wanted = torch.sin(2 * torch.pi * 150 * at / 8000)
    torch.testing.assert_close(slower[0, 0, 2:660], wanted[2:660], rtol=0, atol=1e-3)


def test_an_unknown_augmentation_is_refused() -> None:
    with pytest.raises(MaquetteError, match="MQ-2001"):
        MEDIUM.augment(torch.zeros(1, 1, 1000), {"flip": 0.5}, torch.zeros(1, 8))
    with pytest.raises(MaquetteError, match="MQ-2002"):
        MEDIUM.augment(torch.zeros(1, 1, 1000), {"gain": 100}, torch.zeros(1, 8))
