"""Sound files from strangers: what they become, and why those that become nothing do not."""

import io
import wave

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maquette.core import cancel
from maquette.core.errors import MaquetteError
from maquette.media import sound
from tests.media.sounds import FILES, RATE, coded, film, raw_wav, tone

LOSSLESS = {"wav", "flac", "aiff", "au"}


def reason(data: bytes, most: int | None = 1000) -> str:
    with pytest.raises(MaquetteError, match="MQ-3001") as refused:
        sound.read(data, "it", RATE, 1, most)
    return str(refused.value.values["reason"])


@pytest.mark.parametrize("suffix", FILES)
def test_every_kind_of_file_is_read(suffix: str) -> None:
    rate = 48_000 if "opus" in FILES[suffix][0] else RATE
    x = tone(rate=rate)
    found = sound.read(coded(x, *FILES[suffix], rate), f"a.{suffix}", rate, 1)
    assert found.dtype == np.int16 and len(x) <= len(found) < 1.3 * len(x)
    if suffix in LOSSLESS:
        assert np.array_equal(found, x)
    else:  # coders begin with a little silence, but the tone is the tone
        spectrum = np.abs(np.fft.rfft(found[rate // 8 : rate // 8 + rate // 4, 0] * np.hanning(rate // 4)))
        assert abs(spectrum.argmax() * 4 - 440) <= 4


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_samples_of_other_widths_are_rounded_to_16_bits(bits: int) -> None:
    x = np.array([-1.0, -0.5, 0.0, 0.25, 0.5])
    numbers = np.rint(x * 2 ** (bits - 1)).astype(np.int64) + (128 if bits == 8 else 0)
    content = b"".join(int(n).to_bytes(bits // 8, "little", signed=bits > 8) for n in numbers)
    assert sound.read(raw_wav(content, bits=bits), "", RATE, 1)[:, 0].tolist() == [-32768, -16384, 0, 8192, 16384]


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_floats_beyond_full_scale_are_clipped(dtype: str) -> None:
    content = np.array([0.5, -0.5, 7.0, -1e30, 1.0], dtype).tobytes()
    found = sound.read(raw_wav(content, kind=3, bits=8 * np.dtype(dtype).itemsize), "", RATE, 1)
    assert found[:, 0].tolist() == [16384, -16384, 32767, -32768, 32767]


@pytest.mark.parametrize("rate", [1000, 11_025, 22_050, 44_100, 44_101, 192_000])
def test_another_rate_is_the_same_sound(rate: int) -> None:
    x = tone(200, 0.5, rate)
    found = sound.read(raw_wav(x.tobytes(), rate), "", RATE, 1)[:, 0]
    wanted = tone(200, 0.5, RATE)[:, 0]
    assert abs(len(found) - len(wanted)) <= 1
    inner = slice(400, len(wanted) - 400)  # behind its edges: there is nothing beyond them to reckon with
    assert np.abs(found[inner].astype(int) - wanted[inner]).max() <= 40  # of 8192


def test_channels_are_mixed_by_their_mean() -> None:
    x = np.array([[1000, 3000], [-4, 2], [32767, 32767]], np.int16)
    assert sound.read(raw_wav(x.tobytes(), channels=2), "", RATE, 1).tolist() == [[2000], [-1], [32767]]
    assert sound.read(raw_wav(x.tobytes(), channels=2), "", RATE, 2).tolist() == x.tolist()
    assert sound.read(raw_wav(x[:, :1].tobytes()), "", RATE, 2).tolist() == [[1000] * 2, [-4] * 2, [32767] * 2]
    six = np.repeat(x, 3, 1)
    assert sound.read(raw_wav(six.tobytes(), channels=6), "", RATE, 2)[:2].tolist() == [[2000] * 2, [-1] * 2]


def test_no_more_is_read_than_is_asked_for() -> None:
    x = tone(seconds=2)
    for suffix in "wav", "flac":
        data = coded(x, *FILES[suffix])
        assert np.array_equal(sound.read(data, "", RATE, 1, 100), x[:100])
        assert np.array_equal(sound.read(data, "", RATE, 1), x)
    assert len(sound.read(raw_wav(x.tobytes(), 3 * RATE), "", RATE, 1, 100)) == 100


def test_a_header_that_lies_about_its_length_deceives_nobody() -> None:
    x = tone(seconds=0.1)
    for said in (2**32 - 1, 2**31, 10**6, 0x7FFFFFFE):
        assert np.array_equal(sound.read(raw_wav(x.tobytes(), said=said), "", RATE, 1), x)
    short = sound.read(raw_wav(x.tobytes(), said=200), "", RATE, 1)
    assert np.array_equal(short, x[: len(short)]) and len(short) >= 100


def test_a_truncated_file_is_what_is_left_of_it() -> None:
    x = tone(seconds=1)
    data = coded(x, *FILES["wav"])
    found = sound.read(data[: len(data) // 2], "", RATE, 1)
    assert 3900 < len(found) < 4100 and np.array_equal(found, x[: len(found)])
    whole = coded(x, *FILES["mp3"])
    assert 2000 < len(sound.read(whole[: len(whole) // 2], "", RATE, 1)) < 6000


def test_why_a_file_is_not_read() -> None:
    x = tone(seconds=0.1)
    assert reason(b"") == "it is empty (0 bytes)"
    assert reason(b"words, words, words\n" * 10) == "it is text, not sound"
    assert reason("歌词".encode() * 10) == "it is text, not sound"
    assert reason(b"\x89PNG\r\n\x1a\n" + bytes(100)) == "not sound: WAV, FLAC, Ogg, MP3, AIFF, AU, MP4, Matroska"
    assert reason(film()) == "it has no sound"
    assert reason(raw_wav(b"")) == "it holds no sound"
    assert "32 channels, at most 8" in reason(raw_wav(bytes(6400), channels=32))
    assert "1 samples per second" in reason(raw_wav(x.tobytes(), rate=1))
    assert "1,000,000 samples per second" in reason(raw_wav(x.tobytes(), rate=10**6))
    assert "0 samples per second" in reason(raw_wav(x.tobytes(), rate=0)) or "damaged" in reason(raw_wav(b"", rate=0))
    for bad in (np.nan, np.inf, -np.inf):
        content = np.array([0.1, bad, 0.2] * 100, "<f4").tobytes()
        assert reason(raw_wav(content, kind=3, bits=32)) == "some of its samples are not finite numbers"
    assert "damaged" in reason(b"fLaC" + bytes(200)) and "damaged" in reason(b"OggS" + bytes(200))
    assert reason(raw_wav(bytes(100), kind=0x7777)).startswith("its sound is coded as")


def test_a_film_is_heard() -> None:
    assert len(sound.read(film(sound=True), "a.mp4", RATE, 1, 1000)) == 1000


def test_a_playlist_leads_nowhere(tmp_path) -> None:
    other = tmp_path / "secret.wav"
    other.write_bytes(coded(tone(), *FILES["wav"]))
    for text in (f"ffconcat version 1.0\nfile '{other}'\n", f"#EXTM3U\n#EXTINF:1,\n{other}\n"):
        assert reason(text.encode()) == "it is text, not sound"


def test_what_is_too_long_is_refused_only_where_all_of_it_is_wanted(monkeypatch) -> None:
    data = coded(np.zeros((200_000, 1), np.int16), *FILES["flac"])  # silence: 25 s in a few hundred bytes
    monkeypatch.setattr(sound, "MAX_VALUES", 50_000)
    assert len(data) < 20_000 and "cut it into parts" in reason(data, None)
    assert len(sound.read(data, "", RATE, 1, 8000)) == 8000
    # … and one that would become so long: 1,000 samples per second to 192,000
    with pytest.raises(MaquetteError, match="cut it into parts"):
        sound.read(raw_wav(bytes(2000), rate=1000), "", 192_000, 1)


def test_work_stops_when_it_is_told_to() -> None:
    token = cancel.Token()
    token.cancel()
    with cancel.working(token), pytest.raises(cancel.Cancelled):
        sound.read(coded(tone(), *FILES["wav"]), "", RATE, 1)


WHOLE = {suffix: coded(tone(seconds=0.3), *FILES[suffix], RATE) for suffix in ("wav", "flac", "mp3", "ogg", "m4a")}


SHARES = st.floats(0, 1, allow_subnormal=False)  # a device that was set up takes those for 0


@pytest.mark.parametrize("suffix", WHOLE)
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=SHARES, flips=st.lists(st.tuples(SHARES, st.integers(0, 7)), max_size=12))
def test_damage_gives_sound_or_a_reason(suffix: str, cut: float, flips: list, capfd) -> None:
    data = bytearray(WHOLE[suffix])
    for place, bit in flips:
        data[min(len(data) - 1, int(place * len(data)))] ^= 1 << bit
    try:
        found = sound.read(bytes(data[: int(cut * len(data)) + 1]), f"a.{suffix}", RATE, 2, 5000)
    except MaquetteError as bad:
        assert bad.code == "MQ-3001" and "0x" not in str(bad.values["reason"])
    else:
        assert found.dtype == np.int16 and 0 < len(found) <= 5000 and found.shape[1] == 2
    said = capfd.readouterr()
    assert said.out == said.err == ""


def test_python_reads_the_same_samples() -> None:
    data = coded(tone(channels=2), *FILES["wav"])
    with wave.open(io.BytesIO(data)) as file:
        own = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    assert np.array_equal(sound.read(data, "", RATE, 2), own)
