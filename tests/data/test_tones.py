"""`tones`: every note sounds as its label says, in tune, and as loud and long as a string does."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from maquette.core.errors import MaquetteError
from maquette.data import embedded, tones
from maquette.data.dataset import TEST, TRAIN
from maquette.media import audio, image

RATE, SAMPLES = 8000, 8192
MEDIUM = audio.Config(rate=RATE, samples=SAMPLES).build()


def note(label: str, seed: int = 0, rate: int = RATE, samples: int = SAMPLES) -> np.ndarray:
    return tones.note(np.random.default_rng(seed), label, rate, samples)


def pitch(sound: np.ndarray, rate: int) -> float:
    """Hz of the fundamental: the strongest of what the twelve pitches could be, detuning and vibrato included."""
    middle = sound[rate // 5 : rate // 5 + rate // 2]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 8 * len(middle)))
    hertz = np.arange(len(spectrum)) * rate / (8 * len(middle))
    inside = (hertz > 250) & (hertz < 510)
    return float(hertz[inside][spectrum[inside].argmax()])


def test_pitches_are_those_of_a_piano() -> None:
    assert tones.PITCHES["A4"] == 440 and tones.PITCHES["C4"] == pytest.approx(261.626, abs=1e-3)
    assert len(tones.CAPTIONS) == 24 and tones.CAPTIONS["pluck C#4"] == "a plucked C#4"


@pytest.mark.parametrize("label", tones.CAPTIONS)
def test_every_label_is_in_tune(label: str) -> None:
    wanted = tones.PITCHES[label.split()[1]]
    for seed in range(2):
        cents = 1200 * np.log2(pitch(note(label, seed), RATE) / wanted)
        assert abs(cents) < tones.DETUNED + (12 if "bow" in label else 3)


@pytest.mark.parametrize(("rate", "samples"), [(1000, 300), (4000, 512), (16_000, 3000), (44_100, 20_000)])
@pytest.mark.parametrize("timbre", tones.TIMBRES)
def test_any_rate_and_length_will_do(timbre: str, rate: int, samples: int) -> None:
    for seed in range(5):
        sound = note(f"{timbre} E4", seed, rate, samples)
        assert sound.shape == (samples,) and np.isfinite(sound).all() and 0.25 < np.abs(sound).max() <= 0.9
    if samples > rate // 3:
        assert np.abs(1200 * np.log2(pitch(np.tile(sound, 3), rate) / tones.PITCHES["E4"])) < 60


def test_a_plucked_note_dies_away_and_a_bowed_one_swells() -> None:
    def loud(sound: np.ndarray, start: float, stop: float) -> float:
        return float(np.sqrt((sound[int(start * SAMPLES) : int(stop * SAMPLES)] ** 2).mean()))

    for seed in range(6):
        plucked, bowed = note("pluck G4", seed), note("bow G4", seed)
        assert loud(plucked, 0.03, 0.1) > 3 * loud(plucked, 0.4, 0.5) > 9 * loud(plucked, 0.9, 1.0) > 0
        assert loud(bowed, 0, 0.05) < 0.6 * loud(bowed, 0.3, 0.6) and loud(bowed, 0.98, 1.0) < 0.3 * loud(
            bowed, 0.3, 0.6
        )


def test_the_source_is_what_it_says_and_always_the_same() -> None:
    reading = embedded.find("tones", MEDIUM, 3).read()
    rows = list(reading.rows)
    assert reading.count == len(rows) == 24 * 200 and reading.classes == list(tones.CAPTIONS)
    assert [sum(row.split == split for row in rows) for split in (TRAIN, TEST)] == [4008, 792]
    row = rows[25]
    assert (row.name, row.label, row.text) == ("train/pluck C#4/001", "pluck C#4", "a plucked C#4")
    item = row.load()
    assert item.shape == (SAMPLES, 1) and item.dtype == np.int16
    again = list(embedded.find("tones", MEDIUM, 3).read().rows)
    assert np.array_equal(again[25].load(), item) and not np.array_equal(rows[1].load(), item)
    assert not np.array_equal(list(embedded.find("tones", MEDIUM, 4).read().rows)[25].load(), item)
    stereo = audio.Config(samples=64, channels=2).build()
    assert next(iter(embedded.find("tones", stereo).read().rows)).load().shape == (64, 2)


def test_timbre_and_pitch_can_be_learnt_from_spectra() -> None:
    labels = [label for label in tones.CAPTIONS if label.split()[1] in ("C4", "F4", "A#4")]
    sounds = np.stack([note(label, seed) for seed in range(12) for label in labels])
    spectra = np.log(1e-3 + np.abs(np.fft.rfft(sounds[:, :4096]))[:, 100:300:2])
    number = np.arange(len(sounds)) % len(labels)
    model = LogisticRegression(max_iter=200).fit(spectra[: len(sounds) * 3 // 4], number[: len(sounds) * 3 // 4])
    assert model.score(spectra[len(sounds) * 3 // 4 :], number[len(sounds) * 3 // 4 :]) > 0.85


def test_only_sound_has_tones() -> None:
    with pytest.raises(MaquetteError, match="MQ-3011"):
        embedded.find("tones", image.Config().build())
