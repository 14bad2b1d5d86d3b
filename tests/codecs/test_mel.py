"""Spectrograms: values worked by hand, agreement with SciPy, and sounds that come back from their magnitudes."""

import math

import numpy as np
import pytest
import scipy.signal
import torch

from maquette.codecs.mel import Mel
from maquette.core.errors import MaquetteError
from maquette.core.spectra import (
    FLOOR,
    TOP,
    Sizes,
    filterbank,
    first_phases,
    from_bands,
    from_mel,
    griffin_lim,
    hann,
    istft,
    scaled,
    sizes,
    stft,
    to_mel,
    unscaled,
)
from maquette.core.types import Real, Tokens

RATE, LENGTH = 8000, 8192
TIME = torch.arange(LENGTH) / RATE


def tone(hertz: float, loud: float = 0.5) -> torch.Tensor:
    return loud * torch.sin(2 * math.pi * hertz * TIME)


def sounds() -> torch.Tensor:
    """A tone, harmonics with vibrato, a chirp and noise, [4, 8192]."""
    wobble = 220 * TIME + 0.4 * torch.sin(2 * math.pi * 5 * TIME)
    rich = sum(0.3 / k * torch.sin(2 * math.pi * k * wobble) for k in range(1, 12))
    chirp = 0.4 * torch.sin(2 * math.pi * (200 * TIME + 800 * TIME**2))
    hiss = 0.1 * torch.randn(LENGTH, generator=torch.Generator().manual_seed(0))
    return torch.stack([tone(440), torch.as_tensor(rich), chirp, hiss])


def convergence(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Spectral convergence: the distance of magnitudes as a share of those wanted, [b]."""
    return (found - wanted).norm(dim=(1, 2)) / wanted.norm(dim=(1, 2))


def test_sizes_follow_from_the_rate() -> None:
    assert sizes(8000) == Sizes(128, 512, 64)
    assert sizes(16000) == Sizes(256, 1024, 128)
    assert sizes(44100) == Sizes(512, 2048, 128)
    assert Mel(Real((1, 8192)), 8000).space == Real((1, 64, 64))
    assert Mel(Real((2, 1000)), 8000).space == Real((2, 64, 8))


@pytest.mark.parametrize("space", [Real((2,)), Real((1, 8, 8)), Tokens((4,), 5)])
def test_only_sound_has_a_spectrogram(space) -> None:
    with pytest.raises(MaquetteError, match="MQ-2064"):
        Mel(space)


def test_the_mel_scale_by_hand() -> None:
    # linear to 1 kHz: 3 mel are 200 Hz; then 27 mel to 6.4 kHz, so 13.5 to the geometric mean of the two
    hertz = torch.tensor([0.0, 200.0, 1000.0, 1000 * math.sqrt(6.4), 6400.0], dtype=torch.float64)
    assert torch.allclose(to_mel(hertz), torch.tensor([0.0, 3.0, 15.0, 28.5, 42.0], dtype=torch.float64))
    assert torch.allclose(from_mel(to_mel(hertz)), hertz)


def test_the_filterbank_by_hand() -> None:
    # rate 2000, window 20: frequencies 0, 100 … 1000 Hz are 1.5 mel apart; 4 bands have edges 0, 3, 6 … 15 mel,
    # which is each second frequency, so a triangle has weights 1/2, 1, 1/2 and a sum of 2
    wanted = torch.zeros(4, 11)
    for band in range(4):
        wanted[band, 2 * band + 1 : 2 * band + 4] = torch.tensor([0.25, 0.5, 0.25])
    assert torch.allclose(filterbank(2000, 20, 4), wanted, atol=1e-6)


def test_each_band_is_a_mean_though_it_lie_between_two_frequencies() -> None:
    for rate, window, bands in [(8000, 512, 64), (1000, 64, 8), (8000, 64, 64)]:
        weights = filterbank(rate, window, bands)
        assert torch.allclose(weights.sum(1), torch.ones(bands)) and (weights >= 0).all()


def test_spectra_agree_with_scipy() -> None:
    x = sounds()
    found = stft(x, hann(512)).numpy()
    window = scipy.signal.windows.hann(512, sym=False)
    transform = scipy.signal.ShortTimeFFT(window, hop=128, fs=RATE, phase_shift=None)
    padded = np.pad(x.double().numpy(), ((0, 0), (192, 192)))
    wanted = transform.stft(padded, p0=2, p1=66) / 128  # the first whole window is centred at sample 256
    assert found.shape == (4, 64, 257)
    assert np.abs(found - wanted.swapaxes(1, 2)).max() < 1e-6


def test_a_sine_has_its_amplitude_at_its_frequency() -> None:
    spectra = stft(tone(1000, 0.5)[None], hann(512))[0, 2:-2].abs()
    assert (spectra.argmax(1) == 64).all()  # 1000 Hz / (8000 Hz / 512)
    assert torch.allclose(spectra[:, 64], torch.tensor(0.5), atol=1e-4)
    assert torch.allclose(spectra[:, 63:66:2], torch.tensor(0.25), atol=1e-4)  # the Hann window's main lobe


@pytest.mark.parametrize("length", [8192, 8191, 1000, 100, 1])
def test_spectra_of_a_sound_give_it_back(length: int) -> None:
    x = sounds()[:, :length]
    assert torch.allclose(istft(stft(x, hann(512)), hann(512), length), x, atol=1e-6)


def test_levels_by_hand() -> None:
    assert scaled(torch.tensor([0.0, FLOOR, math.sqrt(FLOOR * TOP), TOP])).tolist() == pytest.approx(
        [-1, -1, 0, 1], abs=1e-6
    )
    level = torch.linspace(-0.99, 1, 50)
    assert torch.allclose(scaled(unscaled(level)), level, atol=1e-5)
    assert unscaled(torch.tensor([-1.0, -7.0, 1.0, 7.0])).tolist() == pytest.approx([0, 0, TOP, TOP])


def test_no_sound_leaves_the_range() -> None:
    extreme = torch.stack([torch.ones(LENGTH), tone(1000, 1).sign(), torch.zeros(LENGTH)])[:, None]
    z = Mel(Real((1, LENGTH)), RATE).encode(extreme)
    assert z.max() <= 1 and z.min() == -1 and (z[2] == -1).all()


def test_the_band_of_a_tone_stands_out() -> None:
    z = Mel(Real((1, LENGTH)), RATE).encode(tone(1000)[None, None])[0, 0]
    middle = z[:, 10:-10].mean(1)
    # 1000 Hz is 15 mel, the centres of 64 bands up to 4000 Hz (35.17 mel) are 0.541 mel apart: number 27.7 from 1
    assert int(middle.argmax()) == 27 and middle.max() > 0.5 and middle[40:].max() < -0.6


def pitch(x: torch.Tensor, near: float) -> float:
    """Hz of the strongest frequency within a third of `near`, to a fiftieth of a hertz."""
    spectrum = torch.fft.rfft(x[1000:7000] * torch.hann_window(6000), n=400_000).abs()
    hertz = torch.arange(len(spectrum)) * RATE / 400_000
    inside = (hertz > near / 1.3) & (hertz < near * 1.3)
    return float(hertz[inside][spectrum[inside].argmax()])


def test_the_first_phases_turn_as_fast_as_the_tone() -> None:
    hertz, window = torch.tensor([277.18, 440.0, 1234.5]), hann(512)
    x = 0.5 * torch.sin(2 * math.pi * hertz[:, None] * TIME)
    spectra = stft(x, window)
    phases = first_phases(spectra.abs())
    assert torch.allclose(phases.abs(), torch.ones(3, 64, 257))
    for row, bin in enumerate((hertz / RATE * 512).round().long()):
        turned = (phases[row, 11:50, bin] / phases[row, 10:49, bin]).angle()
        wanted = (spectra[row, 11:50, bin] / spectra[row, 10:49, bin]).angle()
        assert ((turned - wanted + math.pi) % (2 * math.pi) - math.pi).abs().max() < 0.1
        # those of one lobe are of one tone: at a frame's beginning their phases alternate, as the true ones do
        for lobe in (phases, spectra):
            alternates = lobe[row, 10:50, bin + 1] / lobe[row, 10:50, bin]
            assert (alternates.real < -0.99 * alternates.abs()).all()


def test_griffin_lim_finds_sounds_and_momentum_finds_them_sooner() -> None:
    x, window = sounds(), hann(512)
    wanted = stft(x, window).abs()

    def reached(iterations: int, momentum: float) -> torch.Tensor:
        return convergence(stft(griffin_lim(wanted, window, LENGTH, iterations, momentum), window).abs(), wanted)

    start, plain, fast = reached(0, 0.0), reached(32, 0.0), reached(32, 0.99)
    assert start[0] < 0.1 and (start[3] > 0.3)  # a tone is there at once, noise has no phases to be guessed
    assert (plain < start).all() and (fast < plain).all() and (fast < 0.12).all()


@pytest.mark.parametrize("hertz", [265.0, 277.18, 300.0, 440.0, 493.88])
def test_a_tone_is_in_tune_when_it_comes_back(hertz: float) -> None:
    x, window = tone(hertz)[None], hann(512)
    from_magnitudes = griffin_lim(stft(x, window).abs(), window, LENGTH)[0]
    assert abs(1200 * math.log2(pitch(from_magnitudes, hertz) / hertz)) < 3  # cents
    mel = Mel(Real((1, LENGTH)), RATE)
    assert abs(1200 * math.log2(pitch(mel.decode(mel.encode(x[:, None]))[0, 0], hertz) / hertz)) < 40


def test_magnitudes_fit_their_bands() -> None:
    mel = Mel(Real((1, LENGTH)), RATE)
    bands = stft(sounds(), mel.hann).abs() @ mel.weights.T
    magnitude = from_bands(bands, mel.weights)
    assert (magnitude >= 0).all() and (convergence(magnitude @ mel.weights.T, bands) < 0.05).all()


def test_a_decoded_sound_has_the_spectrogram_it_was_decoded_from() -> None:
    mel = Mel(Real((1, LENGTH)), RATE)
    z = mel.encode(sounds()[:, None])
    x = mel.decode(z)
    assert x.shape == (4, 1, LENGTH) and x.abs().max() <= 1
    # a level is 86 dB / 2, so that 0.07 is 3 dB
    assert ((mel.encode(x) - z).abs().mean((1, 2, 3)) < 0.07).all()
    assert not mel.decode(-torch.ones(1, 1, 64, 64)).any()


def test_a_decoded_sound_depends_on_its_spectrogram_alone() -> None:
    mel = Mel(Real((2, 2048)), RATE)
    z = mel.encode(sounds()[:, :4096].reshape(4, 2, 2048))
    x = mel.decode(z)
    assert torch.equal(x, mel.decode(z)) and torch.allclose(x[2:3], mel.decode(z[2:3]), atol=1e-5)


def test_what_is_drawn_outside_the_range_is_still_a_sound() -> None:
    wild = 4 * torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    x = Mel(Real((1, LENGTH)), RATE).decode(wild)
    assert x.isfinite().all() and x.abs().max() <= 1


def test_spectrograms_pass_gradients() -> None:
    x = sounds()[:1, None].requires_grad_()
    Mel(Real((1, LENGTH)), RATE).encode(x).mean().backward()
    assert x.grad is not None and x.grad.isfinite().all() and x.grad.abs().max() > 0
