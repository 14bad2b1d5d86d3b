"""The video medium: levels, files it writes and their mark, windows, rows, sheets, clips, labels and augmentation."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as pillow

from maquette.core.errors import MaquetteError
from maquette.core.exit import Mark
from maquette.core.seeds import Seeds
from maquette.core.types import Real
from maquette.media import film
from maquette.media.image import Image
from maquette.media.marks import onto, read_mark
from maquette.media.video import Config, Video
from tests.data.making import picture
from tests.media.films import mutants, numbered, numbers, waves, written

MARK = Mark(model="ab" * 32, seed=7, producer='Möbel & "Söhne" <o\'clock> 工作室')


def items(n: int, size: int = 16, frames: int = 4, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, frames, size, size, channels), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_level_survives_the_round_trip_and_spans_minus_one_to_one(channels: int) -> None:
    medium = Config(size=16, frames=4, channels=channels).build()
    levels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16, 1).repeat(channels, 4).repeat(4, 1)
    x = medium.to_tensor(levels)
    assert x.shape == (1, channels, 4, 16, 16) == (1, *medium.space.shape) and x.dtype == torch.float32
    assert medium.space == Real((channels, 4, 16, 16), levels=256)
    assert x.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(x[0, 0, 2].flatten(), torch.arange(256) / 127.5 - 1)
    assert np.array_equal(medium.from_tensor(x), levels)


def test_axes_stay_in_their_places_and_what_is_out_of_range_is_clipped() -> None:
    medium = Config(size=16, frames=4, channels=3).build()
    x = medium.to_tensor(items(5))
    assert torch.equal(x[2, :, 1, 3, 4], torch.from_numpy(items(5)[2, 1, 3, 4]) / 127.5 - 1)
    assert torch.equal(medium.to_tensor(torch.from_numpy(items(5))), x)
    assert np.array_equal(medium.from_tensor(x), items(5))
    assert medium.from_tensor(torch.full((1, 3, 4, 16, 16), 9.0)).min() == 255


@pytest.mark.parametrize(
    "wrong",
    [{"size": 6}, {"size": 33}, {"size": 130}, {"frames": 1}, {"frames": 257}, {"rate": 0}, {"rate": 121}]
    + [{"channels": 2}, {"windows": 0}, {"windows": 5000}, {"fps": 8}],
)
def test_impossible_films_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(MaquetteError, match="MQ-200"):
        Config.from_tree(wrong)


def test_smaller_films_have_a_whole_even_side() -> None:
    assert Config(size=64, frames=8, rate=5).smaller(4) == Config(size=16, frames=8, rate=5)
    for factor in (5, 16, 64):
        with pytest.raises(MaquetteError, match="MQ-2103"):
            Config(size=48).smaller(factor)


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_a_written_file_has_the_frames_and_the_mark(channels: int) -> None:
    medium = Config(size=32, frames=16, channels=channels).build()
    item = waves().repeat(channels, 3)
    data = medium.encode(item, MARK)
    assert abs(medium.from_bytes(data, "made.mp4").astype(int) - item).max() <= 2
    assert read_mark(data) == MARK.fields()
    assert data == medium.encode(item, MARK)
    assert medium.facts(data, "made.mp4").notes == ()
    notes = film.carried(data, "made.mp4")
    assert notes.text["AIGC"].startswith('{"AIGC": {"Label": "1"') and "maquette" in notes.text["comment"]
    assert "trainedAlgorithmicMedia" in notes.xmp and notes.xmp.endswith('<?xpacket end="r"?>')


def test_the_mark_is_found_where_only_one_of_the_two_is_left() -> None:
    data = Config().build().encode(waves(), MARK)
    assert read_mark(data[: data.rindex(b"uuid") - 4]) == MARK.fields()
    assert read_mark(data.replace(b"AIGC", b"CGIA", 2)) == MARK.fields()
    assert read_mark(written(waves())) is None


def test_a_damaged_mark_is_none_or_a_sentence() -> None:
    data = Config().build().encode(waves(), MARK)
    for mutant in mutants(data, 60, seed=3):
        try:
            assert read_mark(mutant) is None or isinstance(read_mark(mutant), dict)
        except MaquetteError as bad:
            assert bad.code == "MQ-3001"


def test_a_long_film_becomes_windows_that_keep_their_order(tmp_path: Path) -> None:
    (tmp_path / "long.webm").write_bytes(written(numbered(30), 8, "webm"))
    for windows, lengths in ((1, [8]), (2, [8, 8]), (9, [8, 8, 8])):
        medium = Config(size=32, frames=8, windows=windows).build()
        read = medium.read(tmp_path / "long.webm")
        parts = medium.cutter().put(read)
        assert [len(part) for part in parts] == lengths and medium.cutter().rest() == []
        assert sum(map(numbers, parts), []) == list(range(8 * len(lengths)))
        assert medium.whole == (windows == 1) and medium.cutter().apart
    assert len({str(Config(rate=rate, windows=n).build().identity) for rate in (7, 8) for n in (1, 2)}) == 4


# -- rows of tables ---------------------------------------------------------------------------------------------------


def test_a_row_is_a_list_of_picture_files() -> None:
    medium = Config(size=16, frames=4, rate=8).build()
    files = [{"bytes": picture(number), "path": None} for number in range(9)]
    one_each = medium.from_record({"frames": files}, "train:0")
    by_time = medium.from_record({"frames": files, "fps": 16.0}, "train:0")
    single = Image(16, 1)
    for frames, chosen in ((one_each, range(4)), (by_time, (0, 2, 4, 6))):
        assert np.array_equal(frames, [single.from_bytes(picture(number), "x") for number in chosen])
    assert np.array_equal(medium.from_record({"frames": [file["bytes"] for file in files]}, "x"), one_each)


@pytest.mark.parametrize(
    "record, why",
    [
        ({"frames": None}, "no list"),
        ({"frames": "many"}, "no list"),
        ({"frames": []}, "no list"),
        ({"frames": [{"bytes": None, "path": "/etc/passwd"}] * 9}, "no list"),
        ({"frames": [{"bytes": b"nonsense"}] * 9}, "frame 0: it is text"),
        ({"frames": [{"bytes": picture(1)}] * 3 + [{"bytes": b""}] * 9}, "frame 3: it is empty"),
        ({"frames": [{"bytes": picture(1)}] * 3}, "over after 3 of 4 frames"),
        ({"frames": [{"bytes": picture(1)}] * 9, "fps": 0}, "fps is 0"),
        ({"frames": [{"bytes": picture(1)}] * 9, "fps": float("nan")}, "fps is nan"),
        ({"frames": [{"bytes": picture(1)}] * 9, "fps": "25"}, "fps is '25'"),
    ],
)
def test_other_rows_are_refused(record: dict[str, Any], why: str) -> None:
    with pytest.raises(MaquetteError, match="MQ-3001") as error:
        Config(size=16, frames=4).build().from_record(record, "train:0")
    assert why in str(error.value)


# -- what is given along ----------------------------------------------------------------------------------------------


def test_a_medium_of_another_shape_reads_alike() -> None:
    medium = Config(size=32, frames=16, rate=5, channels=3, windows=2).build()
    shorter = medium.shaped(Real((1, 4, 16, 16)))
    assert isinstance(shorter, Video) and (shorter.stored, shorter.rate, shorter.windows) == ((4, 16, 16, 1), 5, 1)
    still = medium.shaped(Real((3, 32, 32)))
    assert isinstance(still, Image) and still.stored == (32, 32, 3)


# -- what a person sees -----------------------------------------------------------------------------------------------


def test_a_label_is_on_every_frame() -> None:
    medium = Config(size=32, frames=4, channels=3).build()
    plain = items(1, 32)[0]
    labelled = medium.label(plain, "AI")
    assert labelled.shape == plain.shape
    single = Image(32, 3)
    assert np.array_equal(labelled, [single.label(frame, "AI") for frame in plain])


def opened(sheet: bytes) -> np.ndarray:
    with pillow.open(io.BytesIO(sheet)) as page:
        assert page.format == "PNG"
        return np.asarray(page)


def test_a_sheet_has_a_row_of_frames_for_each_item() -> None:
    medium = Config(size=64, frames=4, channels=3).build()
    page = opened(medium.sheet(items(3, 64)))
    assert page.shape == (4 + 3 * 68, 4 + 4 * 66 + 2, 3)
    for row in range(3):
        for place in range(4):
            top, left = 4 + 68 * row, 4 + 66 * place
            assert np.array_equal(page[top : top + 64, left : left + 64], items(3, 64)[row, place])
    titled = opened(medium.sheet(items(3, 64), titles=["left", "right"]))
    assert titled.shape[1] == page.shape[1] + 64 and np.array_equal(titled[:, 64:], page)
    assert all((titled[4 + 68 * row : 68 + 68 * row, :64] < 128).any() for row in range(3))


def test_of_long_films_a_sheet_shows_frames_evenly_picked_the_first_and_the_last_among_them() -> None:
    medium = Config(size=48, frames=31, rate=25).build()
    page = opened(medium.sheet(np.array(numbered(31, 48, 48))[None]))
    tops = [int(page[10, 10 + 50 * place]) for place in range(16)]
    assert tops == [8 * frame + 4 for frame in range(0, 31, 2)] and page.shape[1] == 4 + 16 * 50 + 2


def test_a_clip_shows_items_side_by_side_as_they_move() -> None:
    medium = Config(size=32, frames=16).build()
    films = np.stack([np.array(numbered(16)), np.array(numbered(16))[::-1], waves()])
    suffix, data = medium.clip(films) or ("", b"")
    whole = Config(size=128, frames=16).build()
    assert suffix == ".mp4" and film.facts(data, "clip.mp4", 8, 99, 8).size == (140, 140)
    played = whole.from_bytes(data, "clip.mp4")
    first, second = played[:, 20:50, 20:50].mean((1, 2, 3)), played[:, 20:50, 80:110].mean((1, 2, 3))
    assert (np.diff(first) > 4).all() and np.allclose(first, second[::-1], atol=2)
    assert read_mark(data) is None and read_mark(onto(data, MARK)) == MARK.fields()
    assert np.array_equal(whole.from_bytes(onto(data, MARK), "clip.mp4"), played)
    assert medium.clip(films[:0]) is None


# -- augmentation -----------------------------------------------------------------------------------------------------

MEDIUM = Config(size=16, frames=4, channels=3).build()
SINGLE = Image(16, 3)
X = MEDIUM.to_tensor(items(12))
U = Seeds.for_batch(0, 0, 12).uniform(8)


@pytest.mark.parametrize("how", [{"flip": 0.5}, {"crop": 3}, {"rotate": 20}, {"flip": 0.5, "crop": 2, "rotate": 9}])
def test_every_frame_of_a_film_moves_alike(how: dict[str, Any]) -> None:
    moved = MEDIUM.augment(X, how, U)
    for number in range(4):
        assert torch.allclose(moved[:, :, number], SINGLE.augment(X[:, :, number], how, U), atol=1e-5)


def test_colours_change_by_the_film_and_not_by_the_frame() -> None:
    still = X[:, :, :1].expand_as(X)
    changed = MEDIUM.augment(still, {"colour": 1}, U)
    assert torch.allclose(changed[:, :, 0], changed[:, :, 3])
    assert torch.allclose(changed[:, :, 0], SINGLE.augment(X[:, :, 0], {"colour": 1}, U), atol=1e-5)
    assert MEDIUM.augment(X, {"colour": 1}, U).abs().max() <= 1
    assert torch.equal(MEDIUM.augment(X, {}, U), X)


@pytest.mark.parametrize("how", [{"flop": 0.5}, {"flip": 2}, {"colour": 1.5}])
def test_wrong_augmentation_is_refused_with_its_path(how: dict[str, Any]) -> None:
    with pytest.raises(MaquetteError, match=r"data\.augment"):
        MEDIUM.augment(X, how, U)
