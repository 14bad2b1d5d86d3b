"""The domain extractor: it learns, repeats itself, is kept, and its features see what is wrong with samples."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from maquette.core import files
from maquette.core.errors import MaquetteError
from maquette.data.dataset import Dataset, Split
from maquette.evaluate import domain, extractor
from maquette.evaluate.extractor import DomainExtractor, Fourier, choose_extractor
from maquette.evaluate.scores.frechet import Moments, frechet_distance
from maquette.evaluate.scores.prdc import prdc
from maquette.media.base import Medium
from tests.evaluate.made import CPU, PLANE, SMALL, digits, ring


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
    network = domain.Domain(channels, size, 7, "labels").eval()
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
    assert refused.value.code == "MQ-2081" and extractor.inception_path().name in str(refused.value)


def test_a_space_that_nothing_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    from maquette.core.types import Tokens

    medium = SMALL.build()
    medium.space = Tokens((5,), 7)  # type: ignore[assignment]
    with pytest.raises(MaquetteError) as refused:
        choose_extractor(digits(), medium, CPU)
    assert refused.value.code == "MQ-2080"
