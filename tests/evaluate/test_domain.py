"""The domain extractor: it learns, repeats itself, is kept, and its features see what is wrong with samples."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from maquette.core import files
from maquette.core.errors import MaquetteError
from maquette.core.types import Real
from maquette.data.dataset import Dataset, Split
from maquette.evaluate import domain, extractor
from maquette.evaluate.extractor import DomainExtractor, Fourier, choose_extractor
from maquette.evaluate.scores.frechet import Moments, frechet_distance
from maquette.evaluate.scores.prdc import prdc
from maquette.media.base import Medium
from tests.evaluate.made import CPU, FILMS, PLANE, SMALL, SOUND, digits, films, notes, ring


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(domain, "PASSES", 8000)
    monkeypatch.setenv("MAQUETTE_CACHE", str(tmp_path))


@pytest.fixture
def said() -> list[str]:
    return []


def unlabelled(dataset: Dataset) -> Dataset:
    def strip(split: Split) -> Split:
        return Split(split.items, np.full(len(split), -1))

    return replace(dataset, train=strip(dataset.train), test=strip(dataset.test), classes=[])


def test_learns_the_labels_and_says_how_well(said: list[str]) -> None:
    made = choose_extractor(digits(), SMALL.build(), CPU, say=said.append)
    assert isinstance(made, DomainExtractor) and made.labels
    assert made.network.accuracy > 0.8
    assert f"{made.network.accuracy:.1%}" in made.note and f"{made.network.accuracy:.1%}" in said[-1]


def test_is_trained_once_and_is_the_same_again(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    medium, data = SMALL.build(), digits()
    first = choose_extractor(data, medium, CPU, say=said.append)
    kept = choose_extractor(data, medium, CPU, say=said.append)
    assert len(said) == 2, "the second was read from the cache folder"
    folder = next((files.cache_folder() / "extractors").iterdir())
    (folder / domain.WEIGHTS).write_bytes(b"cut")
    again = choose_extractor(data, medium, CPU, say=said.append)
    assert len(said) == 4, "a damaged one is made again"
    assert first.digest == kept.digest == again.digest
    other = choose_extractor(data, medium, CPU, seed=1)
    assert other.digest != first.digest
    items = data.test.items[:300]
    assert torch.equal(first.see(items, medium, CPU).features, kept.see(items, medium, CPU).features)


def test_features_have_unit_variance_on_the_training_split() -> None:
    made, medium = choose_extractor(digits(), SMALL.build(), CPU), SMALL.build()
    features = made.see(digits().train.items, medium, CPU).features
    live = features.std(0) > 0
    assert live.float().mean() > 0.8
    torch.testing.assert_close(features[:, live].std(0), torch.ones(int(live.sum())), rtol=0.3, atol=0.0)


def test_without_labels_it_learns_how_pictures_are_turned() -> None:
    made = choose_extractor(unlabelled(digits()), SMALL.build(), CPU)
    assert isinstance(made, DomainExtractor) and not made.labels
    assert made.network.accuracy > 0.4, "one in four would be chance"
    assert "turned" in made.note
    assert made.see(digits().test.items[:50], SMALL.build(), CPU).logits is None


@pytest.fixture(scope="module")
def seen() -> Iterator[tuple[DomainExtractor, Medium]]:
    patch = pytest.MonkeyPatch()
    patch.setattr(domain, "PASSES", 8000)
    medium = SMALL.build()
    network = domain.train(digits(), medium, "labels", 10, 0, CPU)
    yield DomainExtractor(network, "", CPU), medium
    patch.undo()


def test_distances_grow_with_every_fault(seen: tuple[DomainExtractor, Medium]) -> None:
    look, medium = seen
    items = digits().train.items
    real, other = items[::2], items[1::2]
    labels = digits().train.labels[1::2]
    noise = np.random.default_rng(0).normal(0, 40, other.shape)
    faulty = {
        "noise": np.clip(other + noise, 0, 255).astype(np.uint8),
        "blur": ((other.astype(float) + np.roll(other, 1, 1) + np.roll(other, 1, 2)) / 3).astype(np.uint8),
        "missing classes": other[labels < 5],
        "one picture": np.repeat(other[:10], len(other) // 10, 0),
    }
    moments = Moments.of(look.see(real, medium, CPU).features)

    def distance(x: np.ndarray) -> float:
        return frechet_distance(moments, Moments.of(look.see(x, medium, CPU).features))

    floor = distance(other)
    assert all(distance(x) > 2 * floor for x in faulty.values())
    half = prdc(look.see(real, medium, CPU).features, look.see(faulty["missing classes"], medium, CPU).features)
    assert half.coverage.value < 0.7 < half.precision.value


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (28, 3), (100, 1), (128, 3)])
def test_every_size_of_picture_fits(size: int, channels: int) -> None:
    network = domain.Domain(Real((channels, size, size)), 7, "labels").eval()
    features, logits = network(torch.zeros(2, channels, size, size))
    assert logits.shape == (2, 7) and 96 <= features.shape[1] <= 448
    assert sum(p.numel() for p in network.parameters()) < 700_000


# -- points -----------------------------------------------------------------------------------------------------------


def test_fourier_features_approximate_gaussian_kernels() -> None:
    """The mean product of features of one length is exp(-|x - y|^2 / 2 l^2)."""
    made = choose_extractor(ring(), PLANE.build(), CPU)
    assert isinstance(made, Fourier)
    look = Fourier(1.0, 2, CPU)
    look.frequencies = torch.randn(2, 200_000, generator=torch.Generator().manual_seed(1))
    look.phases = torch.rand(200_000, generator=torch.Generator().manual_seed(2)) * 2 * torch.pi
    x = torch.tensor([[0.0, 0.0], [1.0, 0.5]])
    features, _ = look.look(x)
    assert float(features[0] @ features[1]) / 200_000 == pytest.approx(np.exp(-1.25 / 2), abs=0.01)


def test_fourier_features_tell_a_ring_from_a_disc() -> None:
    """A Gaussian with the mean and covariance of the ring is far from it, where coordinates alone would see nothing."""
    look, medium = choose_extractor(ring(), PLANE.build(), CPU), PLANE.build()
    real, other = ring().test.items[:1000], ring().test.items[1000:2000]
    draw = np.random.default_rng(0)
    blob = draw.multivariate_normal(real.mean(0), np.cov(real, rowvar=False), 1000).astype(np.float32)
    moments = Moments.of(look.see(real, medium, CPU).features)
    floor, far = (frechet_distance(moments, Moments.of(look.see(x, medium, CPU).features)) for x in (other, blob))
    assert far > 10 * floor
    coordinates = [torch.from_numpy(x) for x in (real, blob)]
    assert frechet_distance(*(Moments.of(x) for x in coordinates)) < 0.05


# -- which one --------------------------------------------------------------------------------------------------------


def test_inception_asked_for_without_weights() -> None:
    with pytest.raises(MaquetteError) as refused:
        choose_extractor(digits(), SMALL.build(), CPU, "inception")
    assert refused.value.code == "MQ-2081" and extractor.INCEPTION.place.name in str(refused.value)


def test_a_space_that_nothing_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    from maquette.core.types import Tokens

    medium = SMALL.build()
    medium.space = Tokens((5,), 7)  # type: ignore[assignment]
    with pytest.raises(MaquetteError) as refused:
        choose_extractor(digits(), medium, CPU)
    assert refused.value.code == "MQ-2080"


# -- sound and films --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "medium"), [(notes, SOUND), (films, FILMS)], ids=["sound", "films"])
def test_sound_and_films_are_told_apart_by_their_labels(data, medium, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain, "PASSES", 4000)
    ready = medium.build()
    made = choose_extractor(data(), ready, CPU)
    assert isinstance(made, DomainExtractor) and made.labels and made.network.accuracy > 0.8
    assert made.resize == ("log-mel" if data is notes else "none")
    again = choose_extractor(data(), ready, CPU)
    assert again.digest == made.digest, "it is kept"
    items = data().train.items
    real, other = items[:200], items[200:]
    moments = Moments.of(made.see(real, ready, CPU).features)

    def distance(x: np.ndarray) -> float:
        return frechet_distance(moments, Moments.of(made.see(x, ready, CPU).features))

    if data is notes:
        faint = data().test.items + np.random.default_rng(0).normal(0, 200, data().test.items.shape)
        logits = made.see(faint.astype(np.int16), ready, CPU).logits
        assert logits is not None and (logits.argmax(1).numpy() == data().test.labels).mean() > 0.8
        hiss = np.random.default_rng(0).normal(0, 3000, other.shape)
        faulty = [(other + hiss).clip(-32768, 32767).astype(np.int16), np.repeat(other[:, ::2], 2, 1), other // 8]
    else:  # what stands still, runs backwards at times, or flickers, looks right frame by frame
        back_and_forth = np.concatenate([other[:, :4], other[:, 3::-1]], 1)
        faulty = [np.repeat(other[:, :1], 8, 1), back_and_forth, other[:, [0, 2, 1, 3, 5, 4, 6, 7]]]
    floor = distance(other)
    assert all(distance(x) > 2 * floor for x in faulty), [distance(x) / floor for x in faulty]


def test_half_of_what_is_heard_hisses() -> None:
    x = torch.ones(400, 1, 64)
    level = domain._hissing(x, torch.Generator().manual_seed(0)).sub(x).square().mean((1, 2)).sqrt()
    assert 0.4 < (level > 0).float().mean() < 0.6
    assert level.max() < 0.45 and 0.0007 < level[level > 0].min() < 0.01


def test_without_labels_samples_are_flipped_four_ways() -> None:
    x = torch.arange(4.0 * 6).view(4, 1, 2, 3)
    changed, answers = domain._task(x, torch.zeros(4).long(), "flips")
    wanted = [x[0], x[1].flip(1), x[2].flip(2), x[3].flip(1, 2)]
    assert torch.equal(changed, torch.stack(wanted)) and answers.tolist() == [0, 1, 2, 3]
    line, _ = domain._task(x.flatten(2), torch.zeros(4).long(), "flips")
    assert torch.equal(line[3], -x[3].flatten(1).flip(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(domain, "PASSES", 4000)
        made = choose_extractor(unlabelled(notes()), SOUND.build(), CPU)
    assert isinstance(made, DomainExtractor) and not made.labels and "flipped" in made.note
    assert 0.4 < made.network.accuracy < 0.7, "a steady tone sounds the same backwards, and never upside down"


def test_what_is_heard_moves_in_time_alone() -> None:
    x = torch.arange(32.0).expand(2, 1, 8, 32) + 100 * torch.arange(8.0)[:, None]
    moved = [domain._moved(x, True, torch.Generator().manual_seed(i)) for i in range(8)]
    assert len({m[0, 0, 0, 10].item() for m in moved}) > 2
    assert all(torch.equal(m[:, :, 3] - m[:, :, 0], torch.full((2, 1, 32), 300.0)) for m in moved)
    film = torch.rand(2, 3, 5, 8, 8)
    shifted = domain._moved(film, False, torch.Generator().manual_seed(1))
    frame = domain._moved(film[:, :, 2], False, torch.Generator().manual_seed(1))
    assert torch.equal(shifted[:, :, 2], frame)


@pytest.mark.parametrize(
    ("shape", "rate"), [((2, 16000), 16000), ((1, 20), 1000), ((3, 40, 48, 64), 8), ((1, 2, 8, 8), 1), ((4, 100), 0)]
)
def test_every_length_fits(shape: tuple[int, ...], rate: int) -> None:
    network = domain.Domain(Real(shape), 7, "labels", rate).eval()
    features, logits = network(torch.zeros(2, *shape))
    assert logits.shape == (2, 7) and 96 <= features.shape[1] <= 448
    assert sum(p.numel() for p in network.parameters()) < 1_500_000
