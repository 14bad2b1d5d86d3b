"""Folders of pictures: labels, splits, metadata, and what is not a readable picture."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from maquette.core.errors import MaquetteError
from maquette.data import folder, pack
from maquette.data.source import Data, open_data
from maquette.media.image import Config
from maquette.media.video import Config as FilmConfig
from tests.data.making import GREY, labels_by_name, opened, picture, refused, write
from tests.media.films import numbered, numbers, waves, written
from tests.media.pictures import frames, malformed, photo, rotated, saved, sixteen


def test_labels_come_from_the_first_folder(tmp_path: Path) -> None:
    write(tmp_path, *(f"{label}/{n}.png" for label in ("dog", "cat") for n in range(20)), "cat/deep/er/x.png")
    data = opened(tmp_path)
    assert data.classes == ["cat", "dog"]
    assert len(data.train) + len(data.test) == 41 and len(data.test) >= 1
    assert all(name.startswith(f"{label}/") for name, label in labels_by_name(data).items())


def test_numbered_folders_are_ordered_as_numbers(tmp_path: Path) -> None:
    write(tmp_path, *(f"{n}/{i}.png" for n in range(12) for i in range(3)))
    assert opened(tmp_path).classes == [str(n) for n in range(12)]


@pytest.mark.parametrize("names", [["a.png", "b.png", "c.png"], ["images/a.png", "images/b.png"]])
def test_pictures_alone_and_a_single_folder_have_no_labels(tmp_path: Path, names: list[str]) -> None:
    data = opened(write(tmp_path, *names))
    assert data.classes == [] and set(data.train.labels) | set(data.test.labels) == {-1}


def test_a_picture_beside_the_label_folders_has_no_label(tmp_path: Path) -> None:
    data = opened(write(tmp_path, "a/1.png", "b/2.png", "stray.png"))
    assert labels_by_name(data) == {"a/1.png": "a", "b/2.png": "b", "stray.png": None}


@pytest.mark.parametrize(
    "train, test", [("train", "test"), ("Training", "TEST"), ("train", "val"), ("train", "validation")]
)
def test_folders_named_after_splits_are_splits(tmp_path: Path, train: str, test: str) -> None:
    data = opened(write(tmp_path, f"{train}/a/1.png", f"{train}/b/2.png", f"{test}/a/3.png", "LICENSE.png"))
    assert sorted(data.train.names) == [f"{train}/a/1.png", f"{train}/b/2.png"]
    assert data.test.names == [f"{test}/a/3.png"]
    assert data.ignored == {f"outside {'/, '.join(sorted([train, test]))}/": 1}


def test_validation_steps_aside_for_a_test_folder(tmp_path: Path) -> None:
    data = opened(write(tmp_path, "train/1.png", "val/2.png", "test/3.png"))
    assert data.test.names == ["test/3.png"] and sum(data.ignored.values()) == 1


def test_a_training_folder_alone_is_split_by_content(tmp_path: Path) -> None:
    data = opened(write(tmp_path, *(f"train/{c}/{n}.png" for c in "ab" for n in range(40))))
    assert 1 <= len(data.test) < 20 and len(data.train) + len(data.test) == 80
    assert data.classes == ["a", "b"]


def test_copies_never_straddle_the_split_and_the_split_never_changes(tmp_path: Path) -> None:
    for n in range(60):
        for copy in range(3):
            (tmp_path / f"{n}-{copy}.png").write_bytes(picture(n))
    first = opened(tmp_path)
    test = Counter(name.partition("-")[0] for name in first.test.names)
    assert test and set(test.values()) == {3}
    for n in range(60, 120):  # the data grow: nothing changes sides
        (tmp_path / f"{n}-0.png").write_bytes(picture(n))
    grown = opened(tmp_path)
    assert set(first.test.names) <= set(grown.test.names) and set(first.train.names) <= set(grown.train.names)
    assert set(opened(tmp_path, seed=1).test.names) != set(grown.test.names)


def test_the_split_is_of_the_files_whatever_is_read_of_them(tmp_path: Path) -> None:
    """Size and colours of a medium change what is read of a picture, and nothing of what is held out."""
    write(tmp_path / "many", *(f"{n}.png" for n in range(80)))
    write(tmp_path / "few", *(f"{n}.png" for n in range(4)))
    (tmp_path / "many" / "list.csv").write_text("file_name\n" + "".join(f"{n}.png\n" for n in range(80)))
    media = [Config(size=size, channels=channels).build() for size in (8, 16, 32) for channels in (1, 3)]  # type: ignore[arg-type]

    def held(source: str, how: str) -> set[tuple[str, ...]]:
        found = Data(source=str(tmp_path / source), split=how)  # type: ignore[arg-type]
        return {tuple(open_data(found, medium).test.names) for medium in media}

    for source in ("many", "few", "many/list.csv"):
        (names,) = held(source, "content")
        assert names
        assert len(held(source, "item")) > 1, "what was done before there was a choice depends on the medium"


def test_the_split_of_films_is_of_the_files_too(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number}.mp4").write_bytes(written(np.roll(numbered(8, 16, 16), number, 0)))
    media = [FilmConfig(size=size, frames=frames, rate=8).build() for size, frames in ((16, 4), (16, 8), (32, 4))]
    held = {tuple(open_data(Data(source=str(tmp_path)), medium).test.names) for medium in media}
    assert len(held) == 1 and held != {()}


@pytest.mark.parametrize("n", [2, 3, 5])
def test_even_a_handful_has_something_on_each_side(tmp_path: Path, n: int) -> None:
    for seed in range(4):
        data = opened(write(tmp_path, *(f"{i}.png" for i in range(n))), seed=seed)
        assert len(data.train) >= 1 and len(data.test) >= 1 and len(data.train) + len(data.test) == n
        for split in (data.train, data.test):
            for name, item in zip(split.names, split.items, strict=True):
                assert np.array_equal(item, GREY.read(tmp_path / name))


def test_a_single_picture_is_learnt_from(tmp_path: Path) -> None:
    data = opened(write(tmp_path, "only.png"))
    assert (len(data.train), len(data.test)) == (1, 0)


# -- metadata ---------------------------------------------------------------------------------------------------------


def test_metadata_jsonl_gives_labels_and_texts(tmp_path: Path) -> None:
    write(tmp_path, "a.png", "in/b.png", "unnamed.png")
    lines = [{"file_name": "a.png", "label": "new", "text": "erster Ort"}, {"file_name": "in/b.png", "label": None}]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    data = opened(tmp_path)
    assert labels_by_name(data) == {"a.png": "new", "in/b.png": None}
    texts = dict(zip(data.train.names + data.test.names, data.train.captions + data.test.captions, strict=True))
    assert texts == {"a.png": "erster Ort", "in/b.png": ""}
    assert data.ignored == {"not in the metadata": 1}


def test_metadata_csv_with_whole_numbers_keeps_their_order(tmp_path: Path) -> None:
    write(tmp_path, *(f"{n}.png" for n in range(11)))
    rows = "".join(f"{n}.png,{n}\r\n" for n in range(11))
    (tmp_path / "metadata.csv").write_text("\ufefffile_name,label\r\n" + rows, encoding="utf-8")
    data = opened(tmp_path)
    assert data.classes == [str(n) for n in range(11)]
    assert all(name == f"{label}.png" for name, label in labels_by_name(data).items())


def test_metadata_inside_the_splits(tmp_path: Path) -> None:
    write(tmp_path, "train/1.png", "train/2.png", "test/1.png")
    (tmp_path / "train/metadata.csv").write_text("file_name,label\n1.png,x\n2.png,y\n")
    (tmp_path / "test/metadata.csv").write_text("file_name,label\n1.png,y\n")
    assert labels_by_name(opened(tmp_path)) == {"train/1.png": "x", "train/2.png": "y", "test/1.png": "y"}


def test_a_file_that_metadata_name_in_vain_is_a_bad_file(tmp_path: Path) -> None:
    write(tmp_path, "a.png", "b.png")
    (tmp_path / "metadata.csv").write_text("file_name,label\na.png,x\nb.png,x\ngone.png,y\n")
    assert opened(tmp_path, max_bad=0.5).bad == [("gone.png", "it is not there")]


@pytest.mark.parametrize(
    "name, text, why",
    [
        ("metadata.csv", "name,label\na.png,x\n", "row 1 has no file_name"),
        ("metadata.csv", "file_name,label\na.png,x\na.png,y\n", "a.png stands there twice"),
        ("metadata.csv", "file_name\n../../etc/passwd\n", "row 1 leads out of the folder"),
        ("metadata.csv", "file_name\n/etc/passwd\n", "leads out"),
        ("metadata.csv", 'file_name,text\na.png,"unclosed\n', "unexpected end of data"),
        ("metadata.csv", "file_name,text\na.png," + "x" * 200_000, "field larger than field limit"),
        ("metadata.jsonl", '{"file_name": "a.png"\n', "delimiter"),
        ("metadata.jsonl", '["a.png"]\n', "line 1 is not an object"),
        ("metadata.jsonl", '{"file_name": "a.png", "label": NaN}\n', "NaN"),
        ("metadata.csv", "file_name\nä.png\n".encode("utf-16"), "not UTF-8"),
    ],
)
def test_faulty_metadata_are_refused_by_row(tmp_path: Path, name: str, text: str | bytes, why: str) -> None:
    write(tmp_path, "a.png")
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    error = refused(tmp_path)
    assert error.code == "MQ-3014" and why in str(error) and error.where.endswith(name)


# -- what is no readable picture --------------------------------------------------------------------------------------


def test_hidden_files_and_other_suffixes_are_passed_over_and_counted(tmp_path: Path) -> None:
    write(tmp_path, "a.png", "B.JPG", ".hidden.png", "._a.png", ".git/x.png")
    for name in ("notes.txt", "more.txt", "raw.heic", "README"):
        (tmp_path / name).write_text("x")
    data = opened(tmp_path)
    assert sorted(data.train.names + data.test.names) == ["B.JPG", "a.png"]
    assert data.ignored == {".heic": 1, ".txt": 2, "hidden": 3, "without a suffix": 1}


def test_a_twentieth_of_bad_files_of_all_kinds_is_named_and_counted_exactly(tmp_path: Path) -> None:
    """600 files, 5 % bad of a dozen kinds, and odd but readable ones among the good."""
    write(tmp_path, *(f"{'ab'[n % 2]}/{n:03}.png" for n in range(564)))
    odd = {"print.jpg": saved(photo(mode="CMYK"), "JPEG"), "deep.png": sixteen("PNG"), "moving.gif": frames("GIF")}
    odd |= {"clear.png": saved(photo(mode="RGBA")), "turned.jpg": rotated(6), "wrong.png": saved(photo(), "JPEG")}
    for name, data in odd.items():
        (tmp_path / "a" / name).write_bytes(data)
    kinds = "empty.png zeros.png noise.jpg words.png one-pixel.png thread.png bomb-12000.png header-only.png floats.tif"
    kinds += " cut-at-0.5.gif cut-at-0.5.tif cut-at-0.6.jpg cut-at-0.5.webp cut-at-0.5.bmp sound.webp"
    bad = {name: data for name, data, _ in malformed() if name in kinds.split()}
    assert len(bad) == 15
    for name, data in bad.items():
        (tmp_path / "a" / name).write_bytes(data)
        (tmp_path / "b" / name).write_bytes(data)
    found = opened(tmp_path, max_bad=0.05)
    assert len(found.train) + len(found.test) == 570 and len(found.bad) == 30
    assert sorted(name for name, _ in found.bad) == sorted(f"{d}/{name}" for d in "ab" for name in bad)
    assert all(reason and "\n" not in reason for _, reason in found.bad)
    assert opened(tmp_path, max_bad=0.05).bad == found.bad
    error = refused(tmp_path, max_bad=0.049)  # the pack is there, and still too much is missing
    assert error.code == "MQ-3003" and "30 of 600" in str(error)
    (tmp_path / "c").mkdir()
    assert refused(write(tmp_path, "c/new.png")).code == "MQ-3003"  # changed: read anew, stopped at the default 1 %


@pytest.mark.parametrize("entries", [[], ["notes.txt", "sub/song.mp3", ".hidden.png"], ["sub/"]])
def test_a_folder_of_none_says_what_it_looked_for(tmp_path: Path, entries: list[str]) -> None:
    for name in entries:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).mkdir(exist_ok=True) if name.endswith("/") else (tmp_path / name).write_text("x")
    error = refused(tmp_path)
    assert error.code == "MQ-3002" and "there is no image file here" in str(error) and ".png" in str(error)
    assert ("passed over: 1 .mp3, 1 .txt, 1 hidden" in str(error)) == (len(entries) == 3)


def test_when_nothing_can_be_read_the_first_reason_is_given(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    error = refused(tmp_path, max_bad=1.0)
    assert error.code == "MQ-3002" and "a.png: it is empty" in str(error)
    assert not list(pack.files.cache_folder().glob(f".{tmp_path.name}*.new"))


def test_a_folder_that_may_not_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a/1.png", "b/2.png")
    scandir = folder.os.scandir

    def denied(path):
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(folder.os, "scandir", denied)
    with pytest.raises(MaquetteError, match="Permission denied"):
        folder.find(tmp_path, GREY)


def test_the_licence_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    write(tmp_path, "a.png")
    assert opened(tmp_path).licence == "not stated"
    (tmp_path / "LICENSE.txt").write_text("\nCC0 1.0 Universal\nmore\n")
    assert opened(tmp_path).licence == "CC0 1.0 Universal"


@pytest.mark.parametrize("source", ["glyfs", "no/such/folder", "photo.png"])
def test_a_source_that_is_not_there_is_refused_with_the_nearest(tmp_path: Path, source: str, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    error = refused(source)
    assert error.code == "MQ-3013" and "digits, glyphs" in str(error)
    assert ("nearest: 'glyphs'" in str(error)) == (source == "glyfs") == ("is called so" not in str(error))


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    error = refused(write(tmp_path, "one.png") / "one.png")
    assert error.code == "MQ-3013" and "by itself" in str(error) and "give a folder" in str(error)


def test_labels_that_are_asked_for_must_be_there(tmp_path: Path) -> None:
    assert refused(write(tmp_path, "a.png", "b.png"), conditional=True).code == "MQ-3012"
    assert opened(write(tmp_path, "x/a.png", "y/b.png"), conditional=True).classes == ["x", "y"]


def test_folders_of_films_and_their_captions(tmp_path: Path) -> None:
    for number, name in enumerate(["train/up/a.mp4", "train/up/b.webm", "train/down/c.avi", "test/up/d.mkv"]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(written(numbered(8, 16, 16)[number:], suffix=name.rpartition(".")[2]))
    (tmp_path / "train/up/a.txt").write_text("goes up\n")
    data = open_data(Data(source=str(tmp_path)), FilmConfig(size=16, frames=4, rate=8).build())
    assert labels_by_name(data)["train/down/c.avi"] == "down" and len(data.test) == 1
    assert dict(zip(data.train.names, data.train.captions, strict=True))["train/up/a.mp4"] == "goes up"
    assert numbers(data.test.items[0]) == [3, 4, 5, 6]


def test_a_table_may_name_films(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.mp4").write_bytes(written(numbered(8, 16, 16)[number:]))
    (tmp_path / "films.csv").write_text("file_name,label\n0.mp4,a\n1.mp4,b\n2.mp4,a\n")
    (tmp_path / "other.csv").write_text("name,label\n0.mp4,a\n")
    medium = FilmConfig(size=16, frames=4, rate=8).build()
    data = open_data(Data(source=str(tmp_path / "films.csv")), medium)
    assert labels_by_name(data) == {"0.mp4": "a", "1.mp4": "b", "2.mp4": "a"}
    with pytest.raises(MaquetteError, match="MQ-3014"):
        open_data(Data(source=str(tmp_path / "other.csv")), medium)


def test_windows_of_a_film_have_its_label_and_stay_on_its_side(tmp_path: Path) -> None:
    medium = FilmConfig(size=16, frames=4, rate=8, windows=5).build()
    for number in range(30):
        path = tmp_path / "ab"[number % 2] / f"{number}.mp4"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(written(np.roll(numbered(14, 16, 16), number, 0)))
    data = open_data(Data(source=str(tmp_path)), medium)
    assert len(data.train) + len(data.test) == 90 and not set(data.train.names) & set(data.test.names)
    assert all(name.startswith(f"{label}/") for name, label in labels_by_name(data).items())
    numbered_first = dict(zip(data.train.names, data.train.items, strict=True))  # the last window of each
    name = data.train.names[0]
    assert numbers(numbered_first[name]) == [(k - int(name[2:-4])) % 14 for k in range(8, 12)]

    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "long.mp4").write_bytes(written(waves(80, 16, 16)))
    whole = open_data(Data(source=str(tmp_path / "alone")), FilmConfig(size=16, frames=4, windows=99).build())
    assert (len(whole.train), len(whole.test)) == (18, 2)
    assert abs(whole.test.items[-1].astype(int) - waves(80, 16, 16)[76:]).mean() < 3
