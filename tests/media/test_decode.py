"""Every kind of picture file becomes the right pixels, or one sentence."""

import re
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pillow

from maquette.core.errors import MaquetteError
from maquette.media import decode
from maquette.media.image import Config
from maquette.media.marks import read_mark
from tests.media.pictures import FORMATS, bomb, frames, malformed, mutants, photo, rotated, saved, sixteen, whole

GREY, RGB = Config(size=40, channels=1).build(), Config(size=40, channels=3).build()
BAD = list(malformed())


def difference(item: np.ndarray, picture: pillow.Image) -> float:
    return float(np.abs(item.astype(float) - np.asarray(picture).reshape(item.shape)).mean())


@pytest.mark.parametrize("name, data", list(whole()), ids=lambda v: v if isinstance(v, str) else "")
def test_each_format_is_read(name: str, data: bytes) -> None:
    exact = name.rpartition(".")[2] in ("png", "bmp", "tif")
    centre = photo().crop((4, 0, 44, 40))
    assert difference(RGB.from_bytes(data, name), centre) <= (0 if exact else 5)


@pytest.mark.parametrize("name, data, why", BAD, ids=[name for name, _, _ in BAD])
def test_a_malformed_file_is_one_clear_sentence(name: str, data: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(MaquetteError) as error:
        RGB.read(tmp_path / name)
    assert error.value.code == "MQ-3001"
    assert error.value.where == str(tmp_path / name)
    reason = str(error.value.values["reason"])
    assert re.search(why, reason)
    assert "\n" not in reason and "0x" not in reason and "BytesIO" not in reason and len(reason) < 120


def test_there_are_enough_malformed_files() -> None:
    assert len(BAD) >= 60


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    import resource

    data = bomb(12_000)  # 144 megapixels from 140 kB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(MaquetteError, match="megapixels"):
        RGB.from_bytes(data, "bomb.png")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_turns_the_picture_upright(orientation: int, format: str) -> None:
    item = RGB.from_bytes(rotated(orientation, format), "turned")
    assert difference(item, photo(40, 40)) < 5


def test_unreadable_exif_does_not_cost_the_picture() -> None:
    data = saved(photo(40, 40), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12garbage")
    assert difference(RGB.from_bytes(data, "odd.jpg"), photo(40, 40)) < 5


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bits_are_rounded_to_eight(format: str) -> None:
    read = Config(size=8).build().from_bytes(sixteen(format), "deep")
    ramp = np.linspace(0, 65535, 64).round()[28:36] / 257
    assert np.array_equal(read[0, :, 0], ramp.round())


def test_sixteen_bits_the_other_way_round() -> None:
    ramp = np.linspace(0, 65535, 64).round().astype(">u2")
    data = saved(pillow.frombytes("I;16B", (64, 8), np.tile(ramp, (8, 1)).tobytes()), "TIFF")
    assert np.array_equal(Config(size=8).build().from_bytes(data, "deep.tif")[0, :, 0], (ramp[28:36] / 257).round())


def test_cmyk_becomes_rgb() -> None:
    red = pillow.new("CMYK", (16, 16), (0, 255, 255, 0))
    for format in ("JPEG", "TIFF"):
        item = Config(size=8, channels=3).build().from_bytes(saved(red, format), "print")
        assert np.abs(item.astype(int) - [255, 0, 0]).max() <= 3


def test_a_palette_becomes_its_colours() -> None:
    flat = pillow.new("P", (16, 16), 1)
    flat.putpalette([0, 0, 0, 10, 200, 30])
    for format in ("PNG", "GIF", "BMP", "TIFF"):
        item = Config(size=8, channels=3).build().from_bytes(saved(flat, format), "palette")
        assert (item == [10, 200, 30]).all()


def test_one_bit_is_black_and_white() -> None:
    item = Config(size=8).build().from_bytes(saved(pillow.new("1", (16, 16), 1), "PNG"), "bit.png")
    assert (item == 255).all()


@pytest.mark.parametrize(
    "picture, how",
    [
        (pillow.new("RGBA", (16, 16), (255, 0, 0, 128)), {}),
        (pillow.new("LA", (16, 16), (0, 0)), {}),
        (pillow.new("RGB", (16, 16), (9, 9, 9)), {"transparency": (9, 9, 9)}),
        (pillow.new("L", (16, 16), 7), {"transparency": 7}),
        (pillow.new("P", (16, 16), 0), {"transparency": 0}),
        (pillow.fromarray(np.full((16, 16), 300, np.uint16)), {"transparency": 300}),
    ],
    ids=["half red", "grey and alpha", "clear colour", "clear grey", "clear index", "clear 16-bit grey"],
)
def test_transparency_is_laid_over_white(picture: pillow.Image, how: dict) -> None:
    item = Config(size=8, channels=3).build().from_bytes(saved(picture, "PNG", **how), "clear.png")
    expected = [255, 127, 127] if picture.mode == "RGBA" else [255, 255, 255]
    assert np.abs(item.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_read(format: str) -> None:
    item = Config(size=16, channels=3).build().from_bytes(frames(format), "moving")
    assert np.abs(item.astype(int) - [255, 0, 0]).max() <= 2


def test_the_centre_square_is_kept_and_made_smaller_without_aliasing() -> None:
    stripes = np.zeros((64, 96), np.uint8)
    stripes[:, 16:80:2] = 255  # one pixel wide: averaged they are an even grey
    item = Config(size=16).build().from_bytes(saved(pillow.fromarray(stripes)), "stripes.png")
    assert np.abs(item.astype(int) - 127.5).max() < 12


def test_a_large_photo_is_decoded_coarsely_and_still_right() -> None:
    fine = RGB.from_bytes(saved(photo(1600, 1600), "PNG"), "fine.png")
    coarse = RGB.from_bytes(saved(photo(1600, 1600), "JPEG", quality=95), "coarse.jpg")
    assert np.abs(fine.astype(float) - coarse).mean() < 3


def test_links_are_followed_and_pipes_are_not_waited_for(tmp_path: Path) -> None:
    import os

    (tmp_path / "real.png").write_bytes(saved(photo()))
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    assert RGB.read(tmp_path / "link.png").shape == (40, 40, 3)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "gone.png")
    for name, why in (("pipe.png", "not a regular file"), ("nowhere.png", "not there"), ("absent.png", "not there")):
        with pytest.raises(MaquetteError, match=why):
            RGB.read(tmp_path / name)


def test_a_file_too_large_to_be_a_picture_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(decode.MAX_BYTES + 1)
    with pytest.raises(MaquetteError, match="268,435,457 bytes"):
        RGB.read(tmp_path / "huge.png")


@pytest.mark.parametrize("suffix", FORMATS)
def test_damaged_copies_never_raise_anything_else(suffix: str) -> None:
    """300 mutants of each format: pixels or MQ-3001, whatever Pillow thinks of them."""
    data, refused = dict(whole())[f"good.{suffix}"], 0
    for mutant in mutants(data, 300, seed=len(suffix) * 100 + ord(suffix[0])):
        for act in (RGB.from_bytes, RGB.facts, read_mark):
            try:
                act(mutant, f"mutant.{suffix}")
            except MaquetteError as bad:
                assert bad.code == "MQ-3001"
                refused += 1
    assert refused > 30


def test_threads_share_the_hush_and_leave_warnings_as_they_were() -> None:
    before = list(warnings.filters)
    data = saved(photo(40, 40), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12garbage")
    failures: list[Exception] = []

    def work() -> None:
        try:
            for _ in range(40):
                RGB.from_bytes(data, "odd.jpg")
        except Exception as bad:
            failures.append(bad)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and warnings.filters == before


def test_what_pillow_raises_of_its_own_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for bad in (SyntaxError("x"), EOFError(), MemoryError(), RecursionError(), KeyError("<_io.BytesIO at 0x7f00>")):

        def broken(*_: object, bad: Exception = bad, **__: object) -> None:
            raise bad

        monkeypatch.setattr(decode.pillow, "open", broken)
        with pytest.raises(MaquetteError) as error:
            GREY.from_bytes(saved(photo()), "a.png")
        assert error.value.code == "MQ-3001" and "0x" not in str(error.value)


def test_facts_tell_what_reading_will_change() -> None:
    def notes(data: bytes, name: str) -> set[str]:
        return {note.split(",")[0].split(":")[0] for note in RGB.facts(data, name).notes}

    assert notes(saved(photo(), "JPEG"), "photo.png") == {"JPEG under another suffix"}
    assert notes(saved(photo(), "JPEG"), "photo.jpeg") == set()
    assert notes(frames("GIF"), "moving.gif") == {"several frames"}
    assert notes(saved(photo(mode="CMYK"), "JPEG"), "print.jpg") == {"CMYK"}
    assert notes(sixteen("PNG"), "deep.png") == {"16-bit"}
    assert notes(saved(photo(mode="RGBA")), "clear.png") == {"transparent"}
    assert notes(rotated(6), "turned.jpg") == {"turned by its EXIF orientation"}
    assert RGB.facts(saved(photo(48, 40)), "a.png").size == (48, 40)
    assert RGB.facts(saved(photo(48, 40)), "a.png").off == ""
    assert "smaller than 40" in RGB.facts(saved(photo(39, 50)), "a.png").off
    assert "cut away" in RGB.facts(saved(photo(100, 40)), "a.png").off
