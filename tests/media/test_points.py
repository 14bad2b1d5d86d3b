"""The points medium: numbers in, numbers out."""

import io

import numpy as np
import pytest
import torch
from PIL import Image as pillow

from maquette.core.errors import MaquetteError
from maquette.core.exit import Mark
from maquette.media.points import Config

MEDIUM = Config().build()


def test_a_written_point_is_read_back_to_the_bit(tmp_path) -> None:
    for point in np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32) * [1e-30, 1e30]:
        point = point.astype(np.float32)
        data = MEDIUM.encode(point, Mark(model="ab", seed=1))
        assert b'"Label": "1"' in data.splitlines()[0]
        (tmp_path / "p.csv").write_bytes(data)
        assert np.array_equal(MEDIUM.read(tmp_path / "p.csv"), point)


def test_scale_is_what_one_unit_of_model_space_is() -> None:
    points = np.array([[2, -1], [0, 4]], np.float32)
    x = Config(scale=4.0).build().to_tensor(points)
    assert torch.equal(x, torch.tensor([[0.5, -0.25], [0, 1]]))
    assert np.array_equal(Config(scale=4.0).build().from_tensor(x), points)


@pytest.mark.parametrize(
    "data", [b"", b"1", b"1,2,3", b"1,x", b"1,nan", b"1,inf", b"1,2\n3,4", b"\xff\xfe1\x00", b"# 1,2\n", b"x,y\n"]
)
def test_anything_but_one_line_of_finite_numbers_is_refused(data: bytes) -> None:
    with pytest.raises(MaquetteError, match="MQ-3001"):
        MEDIUM.from_bytes(data, "p.csv")


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(MaquetteError, match=r"gone\.csv"):
        MEDIUM.read(tmp_path / "gone.csv")


def test_the_sheet_is_a_scatter_with_a_panel_for_each_title() -> None:
    points = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    points[0] = np.nan
    one, three = (pillow.open(io.BytesIO(MEDIUM.sheet(points, titles=t))) for t in (None, ["a", "b", "c"]))
    assert one.format == "PNG" and three.width == 3 * one.width
    assert np.asarray(one.convert("L")).min() < 160
    assert MEDIUM.sheet(points) == MEDIUM.sheet(points)
    assert Config(dims=1).build().sheet(points[:, :1])


def test_there_is_nothing_to_label_or_to_augment() -> None:
    point = np.ones(2, np.float32)
    assert MEDIUM.label(point, "AI") is point
    x = torch.ones(1, 2)
    assert MEDIUM.augment(x, {}, torch.rand(1, 8)) is x
    with pytest.raises(MaquetteError, match=r"data\.augment has no 'flip'"):
        MEDIUM.augment(x, {"flip": 0.5}, torch.rand(1, 8))


@pytest.mark.parametrize("wrong", [{"dims": 0}, {"dims": 65}, {"scale": 0}])
def test_impossible_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(MaquetteError, match="MQ-2002"):
        Config.from_tree(wrong)
