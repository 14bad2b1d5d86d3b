"""The image medium: levels, files it writes, sheets, labels and augmentation."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as pillow

from maquette.core.errors import MaquetteError
from maquette.core.exit import Mark
from maquette.core.seeds import Seeds
from maquette.media.image import Config
from maquette.media.marks import read_mark
from tests.media.pictures import photo, saved

MARK = Mark(model="ab" * 32, seed=7, producer='Möbel & "Söhne" <o\'clock> 工作室')


def items(n: int, size: int = 16, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, size, size, channels), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_level_survives_the_round_trip_and_spans_minus_one_to_one(channels: int) -> None:
    medium = Config(size=16, channels=channels).build()
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(channels, 3)
    x = medium.to_tensor(levels)
    assert x.shape == (1, channels, 16, 16) and x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert x.min() == -1 and x.max() == 1
    assert torch.equal(x[0, 0].flatten(), torch.arange(256) / 127.5 - 1)
    assert np.array_equal(medium.from_tensor(x), levels)


def test_channels_stay_in_their_places_and_what_is_out_of_range_is_clipped() -> None:
    medium = Config(size=16, channels=3).build()
    x = medium.to_tensor(items(5))
    assert torch.equal(x[2, :, 3, 4], torch.from_numpy(items(5)[2, 3, 4]) / 127.5 - 1)
    assert torch.equal(medium.to_tensor(torch.from_numpy(items(5))), x)
    assert medium.from_tensor(torch.full((1, 3, 16, 16), 9.0)).min() == 255
    assert medium.from_tensor(torch.full((1, 3, 16, 16), -9.0)).max() == 0


@pytest.mark.parametrize("wrong", [{"size": 7}, {"size": 129}, {"channels": 2}, {"sise": 32}])
def test_impossible_sizes_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(MaquetteError, match="MQ-200"):
        Config.from_tree(wrong)


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_a_written_file_has_the_very_pixels_and_the_mark(channels: int) -> None:
    medium = Config(size=16, channels=channels).build()
    data = medium.encode(items(1, channels=channels)[0], MARK)
    assert np.array_equal(medium.from_bytes(data, "made.png"), items(1, channels=channels)[0])
    assert read_mark(data) == MARK.fields()
    assert data == medium.encode(items(1, channels=channels)[0], MARK)
    with pillow.open(io.BytesIO(data)) as opened:
        assert opened.text["AIGC"].startswith('{"AIGC": {"Label": "1"')  # type: ignore[attr-defined]
        assert b"trainedAlgorithmicMedia" in opened.info["xmp"]


def test_the_mark_is_found_where_only_the_packet_is_left() -> None:
    medium = Config(size=16, channels=3).build()
    with pillow.open(io.BytesIO(medium.encode(items(1)[0], MARK))) as opened:
        packet = opened.info["xmp"]
        kept = saved(pillow.fromarray(items(1)[0]), "JPEG", xmp=packet)
    assert read_mark(kept) == MARK.fields()


def test_other_pictures_have_no_mark() -> None:
    assert read_mark(saved(photo())) is None
    from PIL.PngImagePlugin import PngInfo

    for text in ("", "{", "[1]", '{"AIGC": 3}', "null"):
        info = PngInfo()
        info.add_text("AIGC", text)
        assert read_mark(saved(photo(), pnginfo=info)) is None
    with pytest.raises(MaquetteError, match="MQ-3001"):
        read_mark(b"nothing of the kind", "a.png")


# -- what a person sees -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [16, 32, 64, 128])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_label_is_as_high_as_the_rule_asks_whatever_lies_under_it(size: int, level: int) -> None:
    medium = Config(size=size, channels=3).build()
    plain = np.full((size, size, 3), level, np.uint8)
    labelled = medium.label(plain, "AI")
    rows = np.flatnonzero((labelled.max(2) > 130).any(1) & (labelled.min(2) < 128).any(1))  # white ink on its dark band
    assert len(rows) >= 0.05 * size
    assert labelled.shape == plain.shape and (plain == level).all()
    assert (labelled[: size // 2] == level).all()


def test_a_label_in_letters_that_no_typeface_has_is_refused() -> None:
    medium = Config(size=64).build()
    with pytest.raises(MaquetteError, match="MQ-3016"):
        medium.label(np.zeros((64, 64, 1), np.uint8), "\U000e0041\uf8ff")


def opened(sheet: bytes) -> np.ndarray:
    with pillow.open(io.BytesIO(sheet)) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture)


def test_a_sheet_shows_every_item_in_its_place() -> None:
    medium = Config(size=64, channels=3).build()
    page = opened(medium.sheet(items(5, 64), columns=3))
    assert page.shape == (2 * 68 + 4, 3 * 68 + 4, 3)
    for i, item in enumerate(items(5, 64)):
        top, left = 4 + i // 3 * 68, 4 + i % 3 * 68
        assert np.array_equal(page[top : top + 64, left : left + 64], item)
    assert (page[72:136, 140:204] == 255).all()  # the sixth place is empty


def test_a_sheet_enlarges_small_pictures_by_a_whole_number() -> None:
    medium = Config(size=16).build()
    page = opened(medium.sheet(items(1, 16, 1)))
    assert np.array_equal(page[4:68:4, 4:68:4], items(1, 16, 1)[0, :, :, 0])


def test_titles_stand_over_their_columns_and_long_ones_are_cut() -> None:
    medium = Config(size=64).build()
    dark = np.zeros((2, 64, 64, 1), np.uint8)
    page = opened(medium.sheet(dark, 2, ["short", "a title far too long for its column"]))
    assert page.shape[0] == opened(medium.sheet(dark, 2)).shape[0] + 18
    head = page[:18] < 128
    assert head[:, 4:68].any() and head[:, 72:136].any() and not head[:, 68:72].any() and not head[:, 137:].any()


# -- augmentation -----------------------------------------------------------------------------------------------------

MEDIUM = Config(size=16, channels=3).build()
X = MEDIUM.to_tensor(items(64))
U = Seeds.for_batch(0, 0, 64).uniform(8)


def test_flip_mirrors_the_share_that_is_asked_for() -> None:
    flipped = MEDIUM.augment(X, {"flip": 0.5}, U)
    for i in range(64):
        assert torch.equal(flipped[i], X[i].flip(-1) if U[i, 0] < 0.5 else X[i])


def test_crop_shifts_by_whole_pixels_and_repeats_the_border() -> None:
    cropped = MEDIUM.augment(X, {"crop": 3}, U)
    for i in range(64):
        down, right = (int(u * 7) - 3 for u in U[i, 1:3].tolist())
        padded = np.pad(items(64)[i], ((3, 3), (3, 3), (0, 0)), "edge")
        moved = padded[3 - down : 19 - down, 3 - right : 19 - right]
        assert torch.equal(cropped[i], MEDIUM.to_tensor(moved[None])[0])


def test_a_quarter_turn_is_exact() -> None:
    quarter = torch.full((1, 8), 0.75)  # of 180 degrees each way: 90 counter-clockwise
    turned = MEDIUM.augment(X[:1], {"rotate": 180}, quarter)
    assert torch.allclose(turned, X[:1].rot90(1, (2, 3)), atol=1e-4)


def test_colour_keeps_the_range_and_grey_keeps_its_hue() -> None:
    changed = MEDIUM.augment(X, {"colour": 1}, U)
    assert changed.min() >= -1 and changed.max() <= 1 and not torch.equal(changed, X)
    grey = X.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    tinted = MEDIUM.augment(grey, {"colour": 1}, U)
    assert torch.allclose(tinted[:, 0], tinted[:, 1], atol=1e-6)


def test_a_row_depends_on_its_own_numbers_alone() -> None:
    how = {"flip": 0.5, "crop": 2, "rotate": 10, "colour": 0.3}
    whole = MEDIUM.augment(X, how, U)
    assert torch.allclose(whole[10:20], MEDIUM.augment(X[10:20], how, U[10:20]), atol=1e-6)
    assert whole.shape == X.shape


@pytest.mark.parametrize("how", [{"flop": 0.5}, {"flip": 2}, {"crop": -1}, {"rotate": "much"}, {"colour": 1.5}])
def test_wrong_augmentation_is_refused_with_its_path(how: dict[str, Any]) -> None:
    with pytest.raises(MaquetteError, match=r"data\.augment"):
        MEDIUM.augment(X, how, U)
