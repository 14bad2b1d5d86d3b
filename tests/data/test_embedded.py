"""The sets that need no download are what they say they are."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from maquette.core.errors import MaquetteError
from maquette.data import embedded, glyphs
from maquette.data.dataset import TEST, TRAIN, Dataset
from maquette.data.source import Data, open_data
from maquette.media.image import Config
from maquette.media.points import Config as PointsConfig

POINTS = PointsConfig().build()


@pytest.fixture(scope="module")
def letters() -> Dataset:
    return open_data(Data(source="glyphs"), Config(size=32).build())


def test_digits_are_scikit_learns() -> None:
    data = open_data(Data(source="digits"), Config(size=8).build())
    found = load_digits()
    items = np.concatenate([data.train.items, data.test.items])[..., 0]
    assert np.array_equal(items, np.round(found.images * 255 / 16).astype(np.uint8))
    assert np.array_equal(np.concatenate([data.train.labels, data.test.labels]), found.target)
    assert (len(data.train), len(data.test)) == (1438, 359) and data.classes == list("0123456789")


def test_digits_come_in_any_size_and_colour() -> None:
    data = open_data(Data(source="digits"), Config(size=16, channels=3).build())
    assert data.train.items.shape == (1438, 16, 16, 3)
    assert np.array_equal(data.train.items[..., 0], data.train.items[..., 2])


def test_glyphs_are_balanced_and_split_by_typeface(letters: Dataset) -> None:
    assert len(letters.train) == 16 * 34 * 24 and len(letters.test) == 5 * 34 * 16
    assert set(np.bincount(letters.train.labels)) == {16 * 24} and set(np.bincount(letters.test.labels)) == {5 * 16}
    faces = [{name.partition("/")[0] for name in split.names} for split in (letters.train, letters.test)]
    assert faces == [set(glyphs.FACES[TRAIN]), set(glyphs.FACES[TEST])] and not faces[0] & faces[1]
    assert letters.classes == list(glyphs.CHARACTERS) and len(set(letters.classes)) == 34
    assert letters.train.names[0].split("/")[1] == letters.classes[letters.train.labels[0]]


def test_glyphs_are_white_on_black_whole_and_all_different(letters: Dataset) -> None:
    items = letters.train.items[..., 0]
    assert (items.max((1, 2)) > 200).all() and (np.median(items, (1, 2)) == 0).all()
    border = np.concatenate([items[:, 0], items[:, -1], items[:, :, 0], items[:, :, -1]], 1)
    assert (border.max(1) > 128).mean() < 0.01  # hardly one touches the edge
    assert len({item.tobytes() for item in items}) == len(items)


def test_glyphs_can_be_learnt_from_some_faces_for_others(letters: Dataset) -> None:
    """Nearest neighbours alone tell three quarters of the characters of faces that they have never seen."""
    train = letters.train.items[::4, ::2, ::2, 0].reshape(len(letters.train) // 4, -1)
    test = letters.test.items[::8, ::2, ::2, 0].reshape(len(letters.test) // 8, -1)
    model = KNeighborsClassifier(1).fit(train, letters.train.labels[::4])
    assert model.score(test, letters.test.labels[::8]) > 0.75


def test_glyphs_follow_size_and_seed() -> None:
    def items(size: int, seed: int) -> np.ndarray:
        source = glyphs.source(Config(size=size).build(), seed)
        return next(iter(source.read().rows)).load()

    assert items(64, 0).shape == (64, 64, 1)
    assert np.array_equal(items(32, 0), items(32, 0)) and not np.array_equal(items(32, 0), items(32, 1))


@pytest.mark.parametrize("name, k", [("ring8", 8), ("grid25", 25)])
def test_mixtures_have_the_modes_that_they_tell(name: str, k: int) -> None:
    data = open_data(Data(source=name), POINTS)
    assert data.modes is not None and data.modes.centres.shape == (k, 2) and data.modes.sigma == 0.05
    assert (len(data.train), len(data.test)) == (20_000, 4_000)
    for split in (data.train, data.test):
        off = split.items - data.modes.centres[split.labels]
        assert np.allclose(off.std(0), 0.05, rtol=0.05) and np.abs(off.mean(0)).max() < 0.003
        share = np.bincount(split.labels, minlength=k) / len(split)
        assert np.abs(share - 1 / k).max() < 5 * np.sqrt(1 / k / len(split))
    x = POINTS.to_tensor(data.train.items)
    assert x.abs().max() < 1.2
    assert not np.array_equal(data.train.items[:10], open_data(Data(source=name, seed=1), POINTS).train.items[:10])


def test_ring8_is_the_one_of_the_books() -> None:
    centres = open_data(Data(source="ring8"), POINTS).modes.centres  # type: ignore[union-attr]
    assert np.allclose(np.linalg.norm(centres, axis=1), 2)
    assert np.allclose(np.linalg.norm(centres - np.roll(centres, 1, 0), axis=1), 4 * np.sin(np.pi / 8))


def test_moons_are_two_half_circles() -> None:
    data = open_data(Data(source="moons"), POINTS)
    assert data.modes is None and data.classes == ["upper", "lower"]
    unit = data.train.items / 1.2 + [0.5, 0.25]
    for label, centre, sign in ((0, (0, 0), 1), (1, (1, 0.5), -1)):
        off = unit[data.train.labels == label] - centre
        assert abs(np.linalg.norm(off, axis=1).mean() - 1) < 0.02
        assert (sign * off[:, 1] > -0.4).all()


def test_a_set_of_another_medium_is_refused() -> None:
    for name in embedded.NAMES:
        medium = Config().build() if name in ("ring8", "grid25", "moons") else POINTS
        with pytest.raises(MaquetteError, match="MQ-3011"):
            open_data(Data(source=name), medium)
    with pytest.raises(MaquetteError, match="medium.dims=2"):
        open_data(Data(source="moons"), PointsConfig(dims=3).build())


def test_embedded_sets_do_not_hang_on_torchs_state() -> None:
    torch.manual_seed(1)
    first = open_data(Data(source="moons", seed=5), POINTS).fingerprint
    torch.manual_seed(2)
    again = embedded.find("moons", POINTS, 5)
    rows = list(again.read().rows)
    data = open_data(Data(source="moons", seed=5), POINTS)
    assert data.fingerprint == first and np.array_equal(rows[7].load(), data.train.items[7])
