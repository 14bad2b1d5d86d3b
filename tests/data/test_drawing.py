"""The drawn sets: what their labels and captions say is in the pictures, at any size, and their layouts fit them."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from maquette.core.errors import MaquetteError
from maquette.data import cells, embedded, sprites, streets
from maquette.data.dataset import TEST, TRAIN
from maquette.data.drawing import Canvas, Series
from maquette.media.image import Config
from maquette.media.points import Config as PointsConfig

ALL = (streets.PICTURES, streets.LAYOUTS, cells.PICTURES, cells.MASKS, sprites.PICTURES)


def drawn(series: Series, label: str, seed: int = 0, side: int = 32) -> np.ndarray:
    return series.paint(np.random.default_rng(seed), label, side)


def some(series: Series, side: int, n: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """`n` drawings of each label, and their labels' numbers."""
    found = [
        (drawn(series, label, 100 * copy + k, side), k) for copy in range(n) for k, label in enumerate(series.captions)
    ]
    return np.stack([item for item, _ in found]), np.array([k for _, k in found])


# -- shapes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [16, 64])
def test_shapes_cover_their_areas(side: int) -> None:
    canvas = Canvas(side)
    areas = {
        np.pi * 0.3**2: canvas.disc(0.5, 0.5, 0.3),
        np.pi * 0.3 * 0.1: canvas.disc(0.5, 0.5, 0.3, 0.1, turn=0.7),
        0.5 * 0.25: canvas.box(0.25, 0.5, 0.75, 0.75),
        0.5 * 0.5 - (4 - np.pi) * 0.1**2: canvas.box(0.25, 0.25, 0.75, 0.75, corner=0.1),
        0.4 * 0.2 + np.pi * 0.1**2: canvas.bar(0.3, 0.5, 0.7, 0.5, 0.1),
        0.6 * 0.6 / 2: canvas.convex((0.5, 0.2), (0.8, 0.8), (0.2, 0.8)),
    }
    for area, distance in areas.items():
        canvas.pixels[:] = 0
        canvas.put(distance, (1, 1, 1))
        assert canvas.pixels.mean() == pytest.approx(area, abs=0.15 / side)


def test_an_edge_covers_its_pixels_in_part_and_kinds_are_whole() -> None:
    canvas = Canvas(10)
    canvas.put(canvas.box(0.25, 0.0, 0.75, 1.0), (1, 0.5, 0), kind=3)
    row = canvas.pixels[5, :, 0]
    assert row[2] == pytest.approx(0.5) and row[4] == 1 and row[1] == 0
    assert set(canvas.kinds[5, 3:7]) == {3} and set(canvas.kinds[5, :2]) == {0}


# -- sets -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("series", ALL, ids=lambda series: series.name)
def test_a_set_is_balanced_named_and_captioned(series: Series) -> None:
    reading = embedded.find(series.name, Config(size=16, channels=3).build()).read()
    rows = list(reading.rows)
    assert len(rows) == reading.count and reading.classes == list(series.captions)
    assert len({row.name for row in rows}) == len(rows)
    for split in (TRAIN, TEST):
        labels = [row.label for row in rows if row.split == split]
        assert {labels.count(label) for label in series.captions} == {series.copies[split]}
    assert all(row.text == series.captions[row.label] for row in rows[:200] if row.label)


@pytest.mark.parametrize("series", ALL, ids=lambda series: series.name)
def test_drawings_follow_size_channels_and_seed(series: Series) -> None:
    def item(seed: int = 0, number: int = 40, **medium: int) -> np.ndarray:
        rows = embedded.find(series.name, Config(**medium).build(), seed).read().rows  # type: ignore[arg-type]
        return next(row for k, row in enumerate(rows) if k == number).load()

    assert item(size=48, channels=3).shape == (48, 48, 3) and item(size=20, channels=1).shape == (20, 20, 1)
    assert item(size=32, channels=3).dtype == np.uint8
    assert np.array_equal(item(size=32, channels=3), item(size=32, channels=3))
    assert not np.array_equal(item(size=32, channels=3), item(seed=1, size=32, channels=3))
    colour, grey = item(size=32, channels=3).astype(float), item(size=32, channels=1)[..., 0].astype(float)
    assert np.abs(colour @ (0.299, 0.587, 0.114) - grey).max() <= 0.5


@pytest.mark.parametrize("series", [streets.PICTURES, cells.PICTURES], ids=lambda series: series.name)
def test_a_small_drawing_is_the_large_one_averaged(series: Series) -> None:
    """So that pairs of sizes are pairs for super-resolution; fine rain and dashes may differ."""
    label = next(iter(series.captions))
    for seed in range(4):
        large, small = drawn(series, label, seed, 64).astype(float), drawn(series, label, seed, 32).astype(float)
        averaged = large.reshape(32, 2, 32, 2, 3).mean((1, 3))
        assert np.abs(averaged - small).mean() < 4


def test_all_drawings_differ() -> None:
    for series in (streets.PICTURES, cells.PICTURES, sprites.PICTURES):
        label = next(iter(series.captions))
        assert len({drawn(series, label, seed).tobytes() for seed in range(60)}) >= 57


def test_drawn_sets_are_pictures() -> None:
    for series in ALL:
        with pytest.raises(MaquetteError, match="MQ-3011"):
            embedded.find(series.name, PointsConfig().build())


# -- streets ----------------------------------------------------------------------------------------------------------


def test_layouts_show_the_kinds_that_their_labels_tell() -> None:
    colours = {tuple(colour): kind for kind, colour in enumerate(streets.COLOURS.tolist())}
    vehicles: dict[str, list[float]] = {traffic: [] for traffic in streets.TRAFFIC}
    for label in streets.CAPTIONS:
        shown = drawn(streets.LAYOUTS, label, 3, 64).reshape(-1, 3)
        assert {tuple(colour) for colour in np.unique(shown, axis=0).tolist()} <= set(colours)
        kinds = np.array([colours[tuple(colour)] for colour in shown.tolist()])
        assert {streets.SKY, streets.ROAD, streets.BUILDING, streets.VERGE} <= set(kinds.tolist())
        vehicles[label.split()[2]].append(float((kinds == streets.CAR).mean()))
    assert max(vehicles["empty"]) == 0 < min(vehicles["light"])
    assert np.mean(vehicles["light"]) < np.mean(vehicles["heavy"])


def test_a_layout_is_that_of_the_picture_of_its_name() -> None:
    """On a clear day the sky is the bluest part of every picture, and the road without colour."""
    for seed in range(5):
        picture = drawn(streets.PICTURES, "clear day empty", seed, 64).astype(float)
        layout = drawn(streets.LAYOUTS, "clear day empty", seed, 64)
        sky, road = ((layout == streets.COLOURS[kind]).all(2) for kind in (streets.SKY, streets.ROAD))
        blue = picture[..., 2] - picture[..., 0]
        assert blue[sky].mean() > 40 > 15 > np.abs(blue[road]).mean()
    medium = Config(size=32, channels=3).build()
    names = [
        [row.name for row in series.source(medium, 0).read().rows] for series in (streets.PICTURES, streets.LAYOUTS)
    ]
    assert names[0] == names[1]


def test_weather_and_time_can_be_told_from_the_picture() -> None:
    """A linear classifier of 16 x 16 pixels learns each of them from 8 drawings of each label, for other drawings."""
    x, y = some(streets.PICTURES, 16, 12)
    x, names = x.reshape(len(x), -1) / 255, [list(streets.CAPTIONS)[k].split() for k in y]
    half = 8 * len(streets.CAPTIONS)
    for place, least in ((0, 0.8), (1, 0.95)):
        word = np.array([name[place] for name in names])
        assert LogisticRegression(max_iter=300).fit(x[:half], word[:half]).score(x[half:], word[half:]) > least


# -- cells ------------------------------------------------------------------------------------------------------------


def test_a_mask_is_black_and_white_and_marks_the_dark_nuclei() -> None:
    for seed, label in enumerate(cells.CAPTIONS):
        picture, mask = drawn(cells.PICTURES, label, seed, 64), drawn(cells.MASKS, label, seed, 64)
        assert set(np.unique(mask).tolist()) == {0, 255}
        inside = mask[..., 0] == 255
        assert 0.03 < inside.mean() < 0.5
        assert picture[inside].mean() + 40 < picture[~inside].mean()


# -- sprites ----------------------------------------------------------------------------------------------------------


def test_sprites_are_made_of_sixteen_pixels_a_side() -> None:
    for label in sprites.CAPTIONS:
        picture = drawn(sprites.PICTURES, label, 1, 48)
        blocks = picture.reshape(16, 3, 16, 3, 3)
        assert (blocks == blocks[:, :1, :, :1]).all()


def test_sprites_have_the_colours_of_their_labels() -> None:
    """The hue that covers most of the thing is that of its label."""
    found = []
    for k, label in enumerate(sprites.CAPTIONS):
        art = sprites.Sprite(np.random.default_rng(k), label)
        mean = art.shaded()[art.kinds == sprites.MAIN].mean(0)
        colours = np.array(list(sprites.COLOURS.values()))
        near = np.abs(colours / colours.sum(1, keepdims=True) - mean / mean.sum()).sum(1).argmin()
        found.append(list(sprites.COLOURS)[near] == label.split()[0])
    assert np.mean(found) > 0.9
