"""Scores of sound and films: values by hand, agreement with SciPy, and whole reports of tiny sets."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy import signal

from maquette.bundle import Bundle
from maquette.core.types import Real
from maquette.crafts import gap, shrink
from maquette.crafts.base import CraftConfig
from maquette.data.along import Along
from maquette.data.dataset import Dataset, both
from maquette.evaluate import crafts, domain, standard
from maquette.evaluate.evaluate import Options, evaluate
from maquette.evaluate.neighbours import pixels, resize
from maquette.evaluate.reference import prepare
from maquette.evaluate.report import Report
from maquette.evaluate.scores.motion import changes, flicker, motion_error
from maquette.evaluate.scores.reconstruction import psnr_estimate, ssim, ssim_of_frames
from maquette.evaluate.scores.sound import in_tune, log_spectral_distance, pitch, snr, spectral_convergence
from maquette.media.base import MediumConfig
from maquette.models import diffusion, vae, vocoder
from maquette.nets import mlp
from maquette.pipeline import Pipeline, Request
from tests.evaluate.made import CPU, FILMS, NOTES, SOUND, Ear, Eye, films, known, notes, stand_in
from tests.evaluate.made import pipeline as untrained

RATE = 8000
SECONDS = torch.arange(2048) / RATE
N = 64


def tone(hertz: float, loud: float = 0.5) -> torch.Tensor:
    return loud * torch.sin(2 * math.pi * hertz * SECONDS)[None, None]


# -- sound ------------------------------------------------------------------------------------------------------------


def test_snr_by_hand() -> None:
    x = torch.tensor([[[2.0, 0, 0, 0]], [[0, 4.0, 0, 0]]])
    assert snr(x, x + torch.tensor([1.0, 0, 1, 0])).value == pytest.approx(10 * math.log10(20 / 4))
    where = torch.tensor([1.0, 1, 0, 0]).expand(2, 1, 4)
    assert snr(x, x + torch.tensor([1.0, 0, 1, 0]), where).value == pytest.approx(10 * math.log10(20 / 2))
    assert snr(x, 0 * x).value == pytest.approx(0)
    assert snr(x, x).value == math.inf and snr(0 * x, x).value == -math.inf
    draw = torch.Generator().manual_seed(0)
    many = torch.randn(50, 1, 100, generator=draw)
    found = snr(many, many + 0.1 * torch.randn(50, 1, 100, generator=draw))
    assert found.value == pytest.approx(20, abs=0.3)
    assert found.low is not None and found.high is not None and 19 < found.low < found.value < found.high < 21


def test_distances_of_spectra_by_hand_and_by_scipy() -> None:
    x = tone(500) + 0.01 * torch.randn(1, 1, 2048, generator=torch.Generator().manual_seed(0))
    assert spectral_convergence(x, 0.25 * x, RATE).value == pytest.approx(0.75, abs=1e-6)
    assert log_spectral_distance(x, x / 10, RATE).value == pytest.approx(20, abs=2.5), "a few bins lie on the floor"
    assert spectral_convergence(x, x, RATE).value == 0 == log_spectral_distance(x, x, RATE).value
    assert spectral_convergence(x, -x, RATE).value == pytest.approx(0, abs=1e-6), "phases do not count"
    assert math.isnan(spectral_convergence(0 * x, x, RATE).value)
    y = tone(700, 0.3)
    window = signal.windows.hann(512, sym=False)
    spectra = signal.ShortTimeFFT(window, hop=128, fs=RATE, phase_shift=None)
    padded = [np.pad(z[0, 0].double().numpy(), (192, 192)) for z in (x, y)]
    s, t = (np.abs(spectra.stft(z, p0=2, p1=18)) / 128 for z in padded)
    assert spectral_convergence(x, y, RATE).value == pytest.approx(np.linalg.norm(s - t) / np.linalg.norm(s), rel=1e-4)
    levels = [20 * np.log10(np.maximum(z, 1e-4)) for z in (s, t)]
    apart = np.sqrt(np.square(levels[0] - levels[1]).mean(0)).mean()
    assert log_spectral_distance(x, y, RATE).value == pytest.approx(apart, rel=1e-3)


@pytest.mark.parametrize("hertz", [82.4, 220.0, 440.0, 987.8])
def test_the_pitch_of_a_note_is_its_fundamental(hertz: float) -> None:
    turn = 2 * np.pi * hertz * np.arange(4000) / RATE
    rich = sum(np.sin(k * turn + k) / k for k in range(1, 6) if k * hertz < RATE / 2)
    hollow = sum(np.sin(k * turn) for k in (2, 3, 4))  # without its fundamental it sounds as high
    for sound in (np.sin(turn), rich, hollow * np.exp(-np.arange(4000) / 3000)):
        assert 1200 * abs(math.log2(pitch(sound, RATE) / hertz)) < 15


def test_what_has_no_pitch_has_none() -> None:
    assert math.isnan(pitch(np.random.default_rng(0).normal(size=4000), RATE))
    assert math.isnan(pitch(np.zeros(4000), RATE)) and math.isnan(pitch(np.ones(3), RATE))


def test_in_tune_is_within_half_a_semitone() -> None:
    x = torch.cat([tone(440 * 2 ** (cents / 1200)) for cents in (0, 40, -40, 60, 1200)])
    assert in_tune(x, RATE, np.full(5, 440.0)).value == pytest.approx(3 / 5)


# -- films ------------------------------------------------------------------------------------------------------------


def test_what_changes_from_frame_to_frame_by_hand() -> None:
    x = torch.tensor([0.0, 1, 1, 3]).view(1, 1, 4, 1, 1).expand(20, 1, 4, 2, 2)
    assert changes(x).tolist() == [1.0] * 20
    found = [flicker(changes(x), changes(y)).value for y in (x, 0 * x, 3 * x)]
    assert found == [0, 1, 2]
    assert motion_error(x, 0.5 * x + 7).value == pytest.approx(0.5)


def test_frames_are_compared_as_pictures() -> None:
    x, y = torch.rand(2, 3, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = ssim_of_frames(x, y, 2.0).value
    assert whole == pytest.approx(np.mean([ssim(x[:, :, i], y[:, :, i], 2.0).value for i in range(4)]))
    where = torch.tensor([False, True, True, False]).expand(3, 4)
    assert ssim_of_frames(x, y, 2.0, where).value == pytest.approx(
        ssim_of_frames(x[:, :, 1:3], y[:, :, 1:3], 2.0).value
    )
    unknown = where.float().view(3, 1, 4, 1, 1).expand(3, 1, 4, 8, 8)
    assert psnr_estimate(x, y, 2.0, unknown).value == pytest.approx(
        psnr_estimate(x[:, :, 1:3], y[:, :, 1:3], 2.0).value
    )


def test_neighbours_of_sound_are_those_of_its_spectrogram() -> None:
    medium, items = SOUND.build(), notes().train.items
    assert resize(medium).startswith("log-mel") and "16x16x16" in resize(FILMS.build())
    x = pixels(items[:8], medium)
    later = np.roll(items[:8], 7, axis=1)  # not a sample stays the same, and nobody hears it
    apart = torch.cdist(pixels(later, medium), x)
    assert torch.equal(apart.argmin(1), torch.arange(8))
    assert pixels(films().train.items[:2], FILMS.build()).shape == (2, 8 * 12 * 12)


# -- reports ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setattr(domain, "PASSES", 2500)
    patch.setenv("MAQUETTE_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


def value(report: Report, name: str) -> float:
    score = report.score(name)
    assert score is not None, name
    return score.value


MODEL = vae.Config(encoder=mlp.Config(width=8, depth=1), decoder=mlp.Config(width=8, depth=1), latent=2)
SETS = pytest.mark.parametrize(("data", "medium"), [(notes, SOUND), (films, FILMS)], ids=["sound", "films"])


@SETS
def test_a_report_of_a_model_that_knows_the_training_items(data, medium: MediumConfig, tmp_path, monkeypatch) -> None:
    """Labels right, near to real, all copies; one that answers with noise is told apart from it, by the standard
    networks too where their weights are there."""
    for attribute, build, name in (("VGGISH", Ear, "ear"), ("INCEPTION", Eye, "eye")):
        network = stand_in(build, tmp_path, name)
        monkeypatch.setattr(standard, attribute, network)
        monkeypatch.setenv(network.variable, str(tmp_path / network.file))
    classes = tuple(data().classes)
    pitches = {name: float(name.split()[1]) for name in NOTES} if data is notes else {}
    dataset = dataclasses.replace(data(), pitches=pitches)
    train, ready = dataset.train, untrained(medium, MODEL, classes)

    def right(request: Request) -> np.ndarray:
        told = request.label if isinstance(request.label, tuple) else range(len(classes))
        return np.stack(
            [train.items[(int(told[i % len(told)]) + len(classes) * i) % len(train)] for i in range(request.total)]
        )

    def noise(request: Request) -> np.ndarray:
        draw = np.random.default_rng(0)
        return ready.medium.from_tensor(
            torch.from_numpy(draw.uniform(-1, 1, (request.total, *medium.build().space.shape)))
        )

    reference = prepare(dataset, ready.medium, CPU, N)
    good = evaluate(known(ready, right, name="good"), dataset, N, reference=reference)
    bad = evaluate(known(ready, noise, name="bad"), dataset, N, reference=reference)
    assert value(good, "fid") < 0.2 * value(bad, "fid") and value(good, "label_accuracy") > 0.8
    assert value(good, "near_copies") > 0.9
    beside = good.score("fad" if data is notes else "frame_fid")
    assert beside is not None and beside.stamp.extractor == ("ear" if data is notes else "eye")
    assert beside.floor is not None and beside.value < 0.2 * value(bad, beside.name)
    if data is notes:
        assert value(good, "pitch_accuracy") == 1 > 0.2 > value(bad, "pitch_accuracy")
        assert value(good, "attribute_accuracy") > 0.9
        assert {"snr", "spectral_convergence", "log_spectral_distance"} <= {score.name for score in good.scores}
    else:
        assert value(good, "flicker") < 0.1 < value(bad, "flicker")
        assert {"psnr", "ssim", "motion"} <= {score.name for score in good.scores}
    names = [picture.name for picture in good.pictures]
    assert {"samples", "classes", "neighbours", "reconstructions", "interpolation"} <= set(names)
    good.write(tmp_path)
    again = Report.read(tmp_path)
    assert again == good and all(again.clips[name] for name in names)


def test_griffin_lim_stands_beside_a_vocoder() -> None:
    """In every figure of how near its sounds are; of one that has learnt nothing it is much nearer."""
    config = vocoder.Config(rate=4000, width=16, blocks=1, periods=(2,), critic_width=4)
    report = evaluate(untrained(SOUND, config), notes(), N)
    for name in ("snr", "spectral_convergence", "log_spectral_distance"):
        score = report.score(name)
        assert score is not None and list(score.baselines) == ["Griffin-Lim"]
    assert score.baselines["Griffin-Lim"].value < 0.5 * score.value


def taken(data: Dataset, craft: CraftConfig) -> Dataset:
    return both(data, lambda split, name: dataclasses.replace(split, craft=craft))


class Knowing(Pipeline):
    """A pipeline whose answers are known."""

    answers: np.ndarray

    def generate(self, request: Request) -> np.ndarray:
        return np.resize(self.answers, (request.total, *self.medium.stored))


def asked(medium: MediumConfig, craft: CraftConfig) -> Knowing:
    along, config = Along(craft=craft), diffusion.Config(net=mlp.Config(width=8, depth=1), steps=1)
    space = medium.build().space
    assert isinstance(space, Real)
    weights = config.fitted(space, 0, along.beside(space)).state_dict()
    return Knowing(Bundle(medium, config, [], weights, {}, "ab" * 32, along=along), CPU)


@pytest.mark.parametrize(
    ("data", "medium", "craft", "best", "other"),
    [
        (notes, SOUND, gap.Config(share=(0.05, 0.1)), "autoregressive interpolation", "linear interpolation"),
        (notes, SOUND, shrink.Config(factor=2), "sinc interpolation", "linear interpolation"),
        (films, FILMS, gap.Config(place="between"), "frame averaging", "last frame repeated"),
    ],
    ids=["gap", "rate", "frames"],
)
def test_answers_are_compared_where_they_had_to_be_made(data, medium, craft, best: str, other: str) -> None:
    dataset, ready = taken(data(), craft), asked(medium, craft)
    reference = prepare(dataset, ready.medium, CPU, N)
    lesson = crafts.lesson(ready, reference)
    assert set(lesson.simpler) == {best, other} and lesson.real is not None
    ready.answers = lesson.simpler[best]
    report = evaluate(ready, dataset, N, reference=reference)
    main = "answer_psnr" if data is films else "answer_snr"
    score = report.score(main)
    assert score is not None and score.baselines[best].value == pytest.approx(score.value)
    assert score.baselines[other].value < score.value
    first = "answer_ssim" if data is films else "answer_convergence"
    assert report.score(first) is not None and report.score("answer_distance") is not None
    assert report.pictures[0].name == "answers" and report.clips["answers"]
    assert any(f"{N} held-out {'films' if data is films else 'sounds'}" in note for note in report.notes)
    if lesson.unknown is not None:
        real, made = (ready.medium.to_tensor(x) for x in (lesson.real, lesson.simpler[best]))
        hidden = lesson.unknown.expand_as(real) > 0
        error = float((real - made).double()[hidden].square().mean())
        power = 4.0 if data is films else float(real.double()[hidden].square().mean())
        assert score.value == pytest.approx(10 * math.log10(power / error), abs=0.02)


def test_sounds_teach_as_pictures_do(monkeypatch: pytest.MonkeyPatch) -> None:
    ready, train = untrained(SOUND, MODEL, tuple(NOTES)), notes().train

    def right(request: Request) -> np.ndarray:
        told = request.label if isinstance(request.label, tuple) else (0,)
        return np.stack([train.items[int(told[i % len(told)])] for i in range(request.total)])

    monkeypatch.setattr(domain, "PASSES", 128)
    report = evaluate(known(ready, right), notes(), N, options=Options(taught=True))
    score = report.score("taught_accuracy")
    assert score is not None and set(score.baselines) == {"real alone", "real and made"}
