"""`check` finds what was planted, and nothing else."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pillow
from PIL import ImageEnhance

from maquette.core.errors import MaquetteError
from maquette.data import near
from maquette.data.check import check
from maquette.media.film import VARIABLE
from maquette.media.points import Config as PointsConfig
from maquette.media.video import Config as FilmConfig
from maquette.verbs.data import check as look
from tests.data.making import GREY, picture, write
from tests.media.films import numbered, waves, written
from tests.media.pictures import frames, photo, saved


def scene(number: int, size: int = 96) -> pillow.Image:
    """A smooth random picture, unlike every other."""
    rng = np.random.default_rng(number)
    coarse = pillow.fromarray(rng.integers(0, 256, (7, 7, 3), dtype=np.uint8))
    return coarse.resize((size, size), pillow.Resampling.BICUBIC)


def planted(root: Path) -> Path:
    for number in range(40):
        split, label = ("test" if number % 5 == 0 else "train"), "ab"[number % 2]
        path = root / split / label / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(saved(scene(number)))
    write_bytes = {
        "train/a/copy-of-02.png": saved(scene(2)),  # in train as well: a copy, no leak
        "test/a/copy-of-04.png": saved(scene(4)),  # 04 is in train: a leak
        "train/b/smaller-07.jpg": saved(scene(7).resize((64, 64)), "JPEG", quality=60),
        "test/b/brighter-09.png": saved(ImageEnhance.Brightness(scene(9)).enhance(1.1)),
        "train/a/empty.png": b"",
        "train/b/words.jpg": b"no picture\n",
        "train/a/tiny.png": saved(scene(50, 12)),
        "train/a/wide.png": saved(scene(51).resize((300, 80))),
        "train/a/moving.gif": frames("GIF"),
        "train/a/print.jpg": saved(scene(52).convert("CMYK"), "JPEG"),
        "train/a/really.png": saved(scene(53), "JPEG"),
        "train/notes.txt": b"x",
    }
    for name, data in write_bytes.items():
        (root / name).write_bytes(data)
    return root


def test_everything_that_was_planted_is_found_and_nothing_else(tmp_path: Path) -> None:
    report = check(planted(tmp_path), GREY)
    assert report.readable == 49
    assert [name for name, _ in report.bad] == ["train/a/empty.png", "train/b/words.jpg"]
    assert {s: sum(c.values()) for s, c in report.classes.items()} == {"train": 39, "test": 10}
    assert report.classes["test"] == {"a": 5, "b": 5}
    assert report.sizes[0] == (12, 12) and report.sizes[1] == (96, 96) and report.sizes[2] == (300, 80)
    assert report.off == [
        ("train/a/tiny.png", "12 x 12, smaller than 16 x 16"),
        ("train/a/wide.png", "300 x 80, more than half is cut away"),
    ]
    assert sorted(map(sorted, report.copies)) == [
        ["test/a/copy-of-04.png", "train/a/04.png"],
        ["train/a/02.png", "train/a/copy-of-02.png"],
    ]
    assert sorted(map(sorted, report.near)) == [
        ["test/b/brighter-09.png", "train/b/09.png"],
        ["train/b/07.png", "train/b/smaller-07.jpg"],
    ]
    assert sorted(map(sorted, report.leaks)) == [
        ["test/a/copy-of-04.png", "train/a/04.png"],
        ["test/b/brighter-09.png", "train/b/09.png"],
    ]
    assert report.notes == {
        "several frames: the first is read": ["train/a/moving.gif"],
        "CMYK, read without its colour profile": ["train/a/print.jpg"],
        "JPEG under another suffix": ["train/a/really.png"],
    }
    assert report.ignored == {".txt": 1} and report.unchecked == "" and not report.good


def test_the_report_is_a_page_for_people_and_a_tree_for_programs(tmp_path: Path) -> None:
    report = check(planted(tmp_path), GREY)
    page = "\n".join(report.lines())
    assert "49 of 51 files can be read" in page
    assert "train: 39 in 2 classes (a 22, b 17)" in page
    assert "train/a/empty.png: it is empty (0 bytes)" in page
    assert "2 groups in more than one split (leakage):" in page and "passed over: 1 .txt" in page
    tree = json.loads(json.dumps(report.to_tree()))
    assert tree["readable"] == 49 and len(tree["bad"]) == 2


def test_long_lists_are_cut_for_people_only(tmp_path: Path) -> None:
    for n in range(30):
        (tmp_path / f"{n:02}.png").write_bytes(b"")
    (tmp_path / "good.png").write_bytes(picture(1))
    report = check(tmp_path, GREY)
    assert len(report.bad) == 30 and "  … and 20 more" in report.lines()


def test_a_good_folder_has_nothing_to_mend(tmp_path: Path) -> None:
    report = check(write(tmp_path, "1.png", "2.png"), GREY)
    assert report.good and report.lines()[-1] == "nothing to mend"
    assert "all: 2, no labels" in report.lines()[1]


def test_bad_files_are_moved_and_the_folder_is_clean(tmp_path: Path) -> None:
    root, away = planted(tmp_path / "photos"), tmp_path / "bad"
    report = check(root, GREY, move_bad=away)
    assert report.moved == str(away)
    assert sorted(str(p.relative_to(away)) for p in away.rglob("*.*")) == ["train/a/empty.png", "train/b/words.jpg"]
    assert check(root, GREY).bad == [] and check(root, GREY).readable == 49
    (root / "train/a/empty.png").write_bytes(b"")
    with pytest.raises(MaquetteError, match="MQ-5005"):  # another of that name lies there: it is not overwritten
        check(root, GREY, move_bad=away)
    assert (root / "train/a/empty.png").exists()


def test_damage_behind_the_first_frame_costs_nothing(tmp_path: Path) -> None:
    data = frames("GIF")
    second = data.index(b"\x2c", data.index(b"\x2c") + 20)  # the second picture's descriptor
    (tmp_path / "moving.gif").write_bytes(data[: second + 4])
    (tmp_path / "whole.gif").write_bytes(data)
    report = check(tmp_path, GREY)
    assert report.readable == 2 and report.bad == []
    assert any("where it does not matter" in note for note in report.notes)


def test_a_table_of_points_can_be_checked(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("1,2\n3,4\n1,2\n5,x\n")
    report = check(tmp_path / "p.csv", PointsConfig().build())
    assert report.readable == 3 and report.copies == [["p.csv:1", "p.csv:3"]] and report.near == []
    assert [name for name, _ in report.bad] == ["p.csv:4"]


def test_thumbnails_survive_resizing_and_recompression_and_tell_pictures_apart() -> None:
    scenes = [scene(n) for n in range(60)]
    plain = np.stack([near.thumbnail(GREY.from_bytes(saved(s), "x")) for s in scenes])
    changed = [
        np.stack([near.thumbnail(GREY.from_bytes(saved(s.resize((40, 40)), "JPEG", quality=50), "x")) for s in scenes]),
        np.stack([near.thumbnail(GREY.from_bytes(saved(ImageEnhance.Contrast(s).enhance(0.8)), "x")) for s in scenes]),
    ]
    for other in changed:
        assert ((plain * other).sum(1) >= near.NEAR).mean() >= 0.95
    assert list(near.pairs(plain)) == []


def test_flat_pictures_are_no_near_copies_of_each_other() -> None:
    flat = np.stack([near.thumbnail(np.full((16, 16, 1), level, np.uint8)) for level in (0, 100, 255)])
    assert list(near.pairs(flat)) == []


def test_a_thumbnail_averages_whatever_the_size() -> None:
    item = photo(50, 50, "L")
    small = near.thumbnail(np.asarray(item)[:, :, None]).reshape(near.SIDE, near.SIDE)
    exact = np.asarray(item.resize((600, 600), pillow.Resampling.NEAREST), dtype=float)
    exact = exact.reshape(near.SIDE, 50, near.SIDE, 50).mean((1, 3))
    exact -= exact.mean()
    assert np.allclose(small, exact / np.linalg.norm(exact), atol=1e-5)


def test_groups_join_what_pairs_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    assert near.groups(iter([(0, 1), (1, 4), (2, 3)]), 6) == [[0, 1, 4], [2, 3]]
    vectors = np.eye(7, dtype=np.float32)[[0, 1, 2, 0, 3, 1, 0]]
    monkeypatch.setattr(near, "BLOCK", 2)
    assert sorted(near.pairs(vectors)) == [(0, 3), (0, 6), (1, 5), (3, 6)]


def test_beyond_its_limit_only_exact_copies_are_sought(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(near, "MOST", 2)
    report = check(write(tmp_path, "1.png", "2.png", "3.png"), GREY)
    assert "beyond the first 2 files" in report.unchecked and report.unchecked in report.lines()[-2]


def test_films_are_looked_over_as_pictures_are(tmp_path: Path) -> None:
    files = {
        "a/one.mp4": written(waves(16)),
        "a/same.mp4": written(waves(16)),
        "b/again.webm": written(waves(16), suffix="webm"),
        "b/other.avi": written(numbered(16), suffix="avi"),
        "b/long.mkv": written(np.roll(waves(40), 9, 1), 8, "mkv"),
        "b/short.gif": written(waves(5), suffix="gif"),
        "b/words.mp4": b"no film\n",
        "b/poster.jpg": saved(photo()),
    }
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    report = check(tmp_path, FilmConfig(size=32, frames=16, rate=8).build())
    assert report.readable == 5 and report.classes == {"": {"a": 2, "b": 3}} and report.ignored == {".jpg": 1}
    assert sorted(report.bad) == [
        ("b/short.gif", "it is over after 5 of 16 frames at 8 a second"),
        ("b/words.mp4", "it is text, not a film"),
    ]
    assert report.copies == [["a/one.mp4", "a/same.mp4"]]
    assert report.near == [["a/one.mp4", "a/same.mp4", "b/again.webm"]]
    assert report.notes == {"longer than the 2 s that are read": ["b/long.mkv"]}
    assert look(tmp_path).readable == 5  # nobody said which recipe reads the folder: films are more than pictures


def test_films_that_break_off_or_vary_are_named(tmp_path: Path) -> None:
    """An MP4 film has its header at its end; of others there is what came, if it is enough."""
    whole, steady = written(numbered(32), suffix="webm"), written(numbered(32), suffix="mkv")
    uneven = [125 * i + 100 * (i % 3 == 1) for i in range(20)]
    files = {
        "cut.mp4": written(waves(20))[:-400],
        "cut.webm": whole[: len(whole) * 9 // 10],
        "short.mkv": steady[: len(steady) * 6 // 10],
        "uneven.mkv": written(numbered(20), suffix="mkv", times=uneven),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    report = check(tmp_path, FilmConfig(size=32, frames=16, rate=8).build())
    assert [name for name, _ in report.bad] == ["cut.mp4", "short.mkv"]
    assert "or its end, which holds one, is missing" in report.bad[0][1]
    assert re.fullmatch(r"it is over after \d+ of 16 frames at 8 a second", report.bad[1][1])
    late = report.notes.pop("longer than the 2 s that are read")
    (broken,) = (note for note in report.notes if re.fullmatch(r"breaks off after 3\.\d+ of 4 s", note))
    assert report.notes == {broken: ["cut.webm"], VARIABLE: ["uneven.mkv"]} and late == ["cut.webm", "uneven.mkv"]
