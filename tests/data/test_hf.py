"""Parquet through Hugging Face `datasets`, offline."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from maquette.core.errors import MaquetteError
from maquette.data import hf
from maquette.data.source import Data, open_data
from maquette.media import audio
from maquette.media.image import Config
from maquette.media.points import Config as PointsConfig
from maquette.media.video import Config as FilmConfig
from tests.data.making import GREY, labels_by_name, opened, picture, real_data, refused
from tests.media.films import numbered, numbers, written

datasets = pytest.importorskip("datasets")


def rows(start: int, n: int, **columns: list) -> dict[str, list]:
    files = [{"bytes": picture(i), "path": None} for i in range(start, start + n)]
    return {"image": files, "label": [i % 3 for i in range(n)]} | columns


FEATURES = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["zebra", "ant", "mole"])}


def parquet(path: Path, table: dict[str, list], features: dict | None = FEATURES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = datasets.Features(features) if features else None
    datasets.Dataset.from_dict(table, features=kinds).to_parquet(path)
    return path


def test_a_folder_of_parquet_has_the_splits_of_its_file_names(tmp_path: Path) -> None:
    parquet(tmp_path / "train-00000-of-00002.parquet", rows(0, 20))
    parquet(tmp_path / "train-00001-of-00002.parquet", rows(20, 20))
    parquet(tmp_path / "test-00000-of-00001.parquet", rows(40, 6))
    for source in (str(tmp_path), f"hf:{tmp_path}"):
        data = opened(source)
        assert (len(data.train), len(data.test)) == (40, 6)
        assert data.classes == ["zebra", "ant", "mole"]  # the order of the numbers, not of the alphabet
        assert np.array_equal(data.train.items[21], GREY.from_bytes(picture(21), "x"))
        assert data.test.labels.tolist() == [0, 1, 2, 0, 1, 2]
        assert data.train.names[:2] == ["train:0", "train:1"]


def test_one_file_is_split_by_content(tmp_path: Path) -> None:
    data = opened(parquet(tmp_path / "all.parquet", rows(0, 60)))
    assert len(data.train) + len(data.test) == 60 and 1 <= len(data.test) < 20


def test_unlabelled_rows_captions_and_plain_numbers(tmp_path: Path) -> None:
    table = rows(0, 4, label=[2, -1, None, 0], text=["a", "b", None, "d"])
    data = opened(parquet(tmp_path / "a.parquet", table, FEATURES | {"text": datasets.Value("string")}))
    assert labels_by_name(data) == {"train:0": "mole", "train:1": None, "train:2": None, "train:3": "zebra"}
    captions = dict(zip(data.train.names + data.test.names, data.train.captions + data.test.captions, strict=True))
    assert captions == {"train:0": "a", "train:1": "b", "train:2": "", "train:3": "d"}
    plain = {"image": datasets.Image(), "label": datasets.Value("int64")}
    assert opened(parquet(tmp_path / "b.parquet", rows(0, 30, label=[i % 12 for i in range(30)]), plain)).classes == [
        str(i) for i in range(12)
    ]


def test_bad_pictures_are_named_by_their_row(tmp_path: Path) -> None:
    table = rows(0, 50)
    table["image"][3] = {"bytes": b"nonsense", "path": None}
    table["image"][9] = None
    data = opened(parquet(tmp_path / "train.parquet", table), max_bad=0.05)
    assert [name for name, _ in data.bad] == ["train:3", "train:9"] and "empty" in data.bad[1][1]
    assert refused(tmp_path / "train.parquet").code == "MQ-3003"


def test_files_named_by_the_table_are_read(tmp_path: Path) -> None:
    (tmp_path / "outside.png").write_bytes(picture(7))
    table = {"image": [{"bytes": None, "path": str(tmp_path / "outside.png")}] * 2, "label": [0, 1]}
    data = opened(parquet(tmp_path / "train.parquet", table))
    assert np.array_equal(data.train.items[0], GREY.from_bytes(picture(7), "x"))


def test_films_are_columns_of_files_or_lists_of_pictures(tmp_path: Path) -> None:
    medium = FilmConfig(size=16, frames=4, rate=8).build()
    films = [{"bytes": written(numbered(6, 16, 16)[n % 3 :]), "path": None} for n in range(9)]
    table = {"poster": rows(0, 9)["image"], "clip": films, "label": [n % 3 for n in range(9)]}
    kinds = {"poster": datasets.Image(), "clip": datasets.Video(), "label": FEATURES["label"]}
    data = open_data(Data(source=str(parquet(tmp_path / "train.parquet", table, kinds))), medium)
    items = np.concatenate([data.train.items, data.test.items])
    assert sorted(numbers(item)[0] for item in items) == [0, 0, 0, 1, 1, 1, 2, 2, 2]

    lists = [[{"bytes": picture(9 * n + k), "path": None} for k in range(8)] for n in range(9)]
    table = {"frames": lists, "fps": [16.0] * 9, "text": ["a film"] * 9}
    kinds = {
        "frames": datasets.List(datasets.Image()),
        "fps": datasets.Value("float32"),
        "text": datasets.Value("string"),
    }
    data = open_data(Data(source=str(parquet(tmp_path / "frames.parquet", table, kinds))), medium)
    items = dict(zip(data.train.names + data.test.names, [*data.train.items, *data.test.items], strict=True))
    assert np.array_equal(items["train:3"], [GREY.from_bytes(picture(27 + k), "x") for k in (0, 2, 4, 6)])
    assert set(data.train.captions) == {"a film"}


def test_a_change_is_seen_and_nothing_is_loaded_when_there_is_none(tmp_path: Path, monkeypatch) -> None:
    path = parquet(tmp_path / "train.parquet", rows(0, 20))
    first = opened(path).fingerprint
    monkeypatch.setattr(hf, "_opened", lambda *_: pytest.fail("opened although it is packed"))
    assert opened(path).fingerprint == first
    monkeypatch.undo()
    parquet(path, rows(5, 25))
    assert opened(path).fingerprint != first


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    words = parquet(tmp_path / "words.parquet", {"text": ["a"]}, None)
    error = refused(words)
    assert error.code == "MQ-3002" and "its columns are: text" in str(error)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and nothing more")
    assert refused(tmp_path / "broken.parquet").code == "MQ-3015"
    half = parquet(tmp_path / "half.parquet", rows(0, 50)).read_bytes()
    (tmp_path / "half.parquet").write_bytes(half[: len(half) // 2])
    assert refused(tmp_path / "half.parquet").code == "MQ-3015"
    error = refused("hf:nobody/nothing-of-the-kind")
    assert error.code == "MQ-3015" and "\n" not in str(error.values["reason"])
    with pytest.raises(MaquetteError, match="MQ-"):
        open_data(Data(source=str(parquet(tmp_path / "p.parquet", rows(0, 5)))), PointsConfig().build())


def test_damage_in_the_middle_of_a_file_is_told(tmp_path: Path) -> None:
    path = parquet(tmp_path / "train.parquet", rows(0, 400))
    data = bytearray(path.read_bytes())
    data[1000:3000] = bytes(2000)
    path.write_bytes(bytes(data))
    assert refused(path).code in ("MQ-3003", "MQ-3015")


def test_without_the_extra_the_command_that_installs_it_is_named(tmp_path: Path, monkeypatch) -> None:
    path = parquet(tmp_path / "train.parquet", rows(0, 5))
    monkeypatch.setitem(sys.modules, "datasets", None)
    error = refused(path)
    assert error.code == "MQ-3010" and "pip install 'maquette[hf]'" in str(error)


def test_datasets_is_imported_only_when_used() -> None:
    code = "import sys, maquette.data.source; sys.exit('datasets' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0


def test_spoken_digits_come_with_what_is_said_and_by_whom() -> None:
    medium = audio.Config(rate=8000, samples=4000).build()
    source = hf.find(str(real_data("fsdd")), medium, {"caption": "text"})
    reading = source.read()
    row = next(iter(reading.rows))
    assert (row.split, row.label, row.text, row.columns["speaker"]) == ("train", "0", "zero", "george")
    item = row.load()
    assert item.shape == (4000, 1) and np.abs(item).max() > 1000 and reading.classes == list("0123456789")
    speakers = next(iter(hf.find(str(real_data("fsdd")), medium, {"label": "speaker"}).read().rows))
    assert speakers.label == "george"


def test_fashion_mnist() -> None:
    """The 10,000 test pictures alone; their mean and spread are what everybody's are."""
    (path,) = real_data("fashion_mnist").glob("test-*.parquet")
    data = open_data(Data(source=str(path)), Config(size=28).build())
    items = np.concatenate([data.train.items, data.test.items])
    assert items.shape == (10_000, 28, 28, 1) and data.bad == []
    assert data.classes[0] == "T-shirt/top" and abs(len(data.test) - 1000) < 150
    assert set(np.bincount(np.concatenate([data.train.labels, data.test.labels]))) == {1000}
    assert abs(items.mean() / 255 - 0.2868) < 1e-4 and abs(items.std() / 255 - 0.3524) < 1e-4


@pytest.mark.parametrize("name, train, test", [("mnist", 8000, 2000), ("faces_64", 786, 87), ("emoji_noto", 2997, 339)])
def test_other_real_pictures(name: str, train: int, test: int) -> None:
    data = open_data(Data(source=str(real_data(name))), Config(size=32, channels=3).build())
    assert (len(data.train), len(data.test), data.bad) == (train, test, [])
    assert any(data.train.captions) == (name == "emoji_noto")


def test_real_films() -> None:
    data = open_data(
        Data(source=str(real_data("video_bbb_64"))), FilmConfig(size=64, frames=16, rate=25, channels=3).build()
    )
    assert (len(data.train), len(data.test), data.bad) == (21, 3, [])
    steps = np.abs(np.diff(data.train.items.astype(int), axis=1)).mean((1, 2, 3, 4))
    assert data.train.items.std() > 30 and (steps > 0.5).all() and steps.max() < 40  # they move, a little at a time
