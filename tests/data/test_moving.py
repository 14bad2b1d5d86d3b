"""`moving-digits`: digits that fly as they are said to, at any size, length and rate."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from maquette.core.colour import LUMA
from maquette.core.errors import MaquetteError
from maquette.data import moving
from maquette.data.dataset import TEST, TRAIN, Dataset, Row
from maquette.data.source import Data, find, open_data
from maquette.media.image import Config as ImageConfig
from maquette.media.video import Config, Video

MEDIUM = Config(size=32, frames=16, rate=8).build()


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return open_data(Data(source="moving-digits"), MEDIUM)


def rows(medium: Video, seed: int = 0) -> list[Row]:
    return list(find("moving-digits", medium, seed).read().rows)


def centres(films: np.ndarray) -> np.ndarray:
    """Where the light of each frame is, down and to the right in sides: [..., frames, 2]."""
    light = films[..., 0].astype(float)
    at = (np.arange(light.shape[-1]) + 0.5) / light.shape[-1]
    down = (light.sum(-1) * at).sum(-1) / light.sum((-1, -2))
    return np.stack([down, (light.sum(-2) * at).sum(-1) / light.sum((-1, -2))], -1)


def test_two_flights_of_every_digit_split_by_writers(digits: Dataset) -> None:
    assert (len(digits.train), len(digits.test)) == (2876, 718)
    assert digits.classes == list("0123456789") and digits.train.items.shape == (2876, 16, 32, 32, 1)
    writers = [{int(name[:4]) for name in split.names} for split in (digits.train, digits.test)]
    assert max(writers[0]) < min(writers[1]) and len(writers[0] | writers[1]) == 1797
    labels = load_digits(return_X_y=True)[1]
    assert [int(digits.classes[label]) for label in digits.train.labels[:50]] == list(labels[:50])
    assert len({item.tobytes() for item in digits.train.items}) == 2876


def test_captions_say_where_a_digit_flies_at_first(digits: Dataset) -> None:
    moves = np.diff(centres(digits.train.items[:, :2]), axis=1)[:, 0]
    agree = []
    for (down, right), said, label in zip(moves, digits.train.captions, digits.train.labels, strict=True):
        assert said.startswith(f"a {digits.classes[label]} moving ")
        vertical, horizontal = said.split(" moving ")[1].split(" and ")
        agree += [vertical == ("down" if down > 0 else "up"), horizontal == ("right" if right > 0 else "left")]
    assert np.mean(agree) > 0.9  # the others bounce before the second frame


def test_speed_is_constant_between_walls(digits: Dataset) -> None:
    steps = np.abs(np.diff(centres(digits.train.items[:500]), axis=1))
    usual = np.median(steps, 1, keepdims=True)
    assert (np.abs(steps - usual) < 0.004).mean() > 0.75  # the others bounce
    speed = 8 * np.hypot(usual[..., 0], usual[..., 1])
    assert moving.SPEED[0] - 0.02 < speed.min() and speed.max() < moving.SPEED[1] + 0.02


def test_digits_touch_the_walls_and_stay_whole(digits: Dataset) -> None:
    light = digits.train.items[:500, ..., 0].astype(float).sum((2, 3))
    assert (light.min(1) / light.max(1)).min() > 0.9  # nothing is lost behind a wall
    edges = np.concatenate([digits.train.items[..., side, :, 0] for side in (0, -1)], -1)
    assert (edges.max((1, 2)) > 100).mean() > 0.2


def test_the_flight_does_not_hang_on_size_length_or_rate() -> None:
    slow, quick = Config(size=32, frames=4, rate=4).build(), Config(size=64, frames=16, rate=16).build()
    for a, b in list(zip(rows(slow), rows(quick), strict=True))[:40]:
        assert (a.name, a.label, a.text) == (b.name, b.label, b.text)
        assert np.abs(centres(a.load()) - centres(b.load())[::4]).max() < 0.01


def test_edges_are_soft_and_small_films_are_clean() -> None:
    film = rows(Config(size=64, frames=4, rate=8).build())[0].load()
    assert film.max() > 250 and film.min() == 0 and ((film > 40) & (film < 215)).mean() > 0.01
    tiny = rows(Config(size=8, frames=4, rate=8).build())[0].load()
    assert tiny.max() > 60 and np.abs(tiny.astype(float).mean() - film.mean()) < 2


def test_films_follow_the_seed() -> None:
    assert np.array_equal(rows(MEDIUM)[7].load(), rows(MEDIUM)[7].load())
    assert not np.array_equal(rows(MEDIUM)[7].load(), rows(MEDIUM, 1)[7].load())


def test_each_digit_has_a_colour_that_its_brightness_does_not_tell() -> None:
    seen: dict[str, np.ndarray] = {}
    for row, grey in zip(rows(Config(size=32, frames=2, rate=8, channels=3).build())[:60], rows(MEDIUM), strict=False):
        film, plain = row.load().astype(float), grey.load()[:2].astype(float)
        assert np.abs(film @ np.array(LUMA) - 0.5 * plain[..., 0]).max() < 1, "half as bright as in grey"
        seen.setdefault(str(row.label), np.zeros(3))
        seen[str(row.label)] = np.maximum(seen[str(row.label)], film.max((0, 1, 2)) / film.max())
    colours = np.stack([*seen.values()])
    apart = np.abs(colours[:, None] - colours[None]).max(-1) + np.eye(10)
    assert len(colours) == 10 and apart.min() > 0.15


def test_splits_are_said_and_pictures_are_refused() -> None:
    assert {row.split for row in rows(MEDIUM)} == {TRAIN, TEST}
    with pytest.raises(MaquetteError, match="MQ-3011"):
        find("moving-digits", ImageConfig(size=32).build())
    for name in ("digits", "glyphs", "streets"):
        with pytest.raises(MaquetteError, match="MQ-3011"):
            find(name, MEDIUM)
