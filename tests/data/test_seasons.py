"""Series are split in time, whatever holds them, and the drawn set has the seasons that it tells of."""

from pathlib import Path

import numpy as np
import pytest

from maquette.core.errors import MaquetteError
from maquette.data import seasons
from maquette.data.check import check
from maquette.data.dataset import Dataset
from maquette.data.source import Data, documents, open_data
from maquette.media.points import Config as Points
from maquette.media.series import Config

SMALL = Config(length=20, horizon=5, gap=2)


def opened(source: Path | str, **how) -> Dataset:
    return open_data(Data(source=str(source), **how), SMALL.build())


def write(path: Path, first: int, rows: int, missing: tuple[int, ...] = ()) -> Path:
    """Numbers that tell their place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = ["" if i in missing else str(first + i) for i in range(rows)]
    path.write_text("date,v\n" + "".join(f"2024-01-01T{i:06},{cell}\n" for i, cell in enumerate(cells)))
    return path


def test_the_end_of_each_file_is_tested_on(tmp_path) -> None:
    for name, first, rows in (("a", 0, 200), ("b", 1000, 100), ("short", 5000, 21)):
        write(tmp_path / f"{name}.csv", first, rows)
    data = opened(tmp_path)
    assert len(data.train) == (180 - 19) + (90 - 19) + 2 and len(data.test) == 4 + 2
    assert data.train.items.max(where=data.train.items < 1000, initial=0) == 179
    assert data.test.items[:, -5:, 0].tolist() == [
        [float(i) for i in range(first, first + 5)] for first in (180, 185, 190, 195, 1090, 1095)
    ]
    assert data.test.items[0, 0, 0] == 165, "what is known of a test window may have been learnt from"


def test_one_file_alone_is_a_data_set(tmp_path) -> None:
    data = opened(write(tmp_path / "one.csv", 0, 200))
    assert (len(data.train), len(data.test)) == (161, 4) and data.train.names[0] == "one.csv"


def test_folders_for_splits_and_labels_are_heeded(tmp_path) -> None:
    for name, first in (("train/up/a", 0), ("train/down/b", 500), ("test/up/c", 1000)):
        write(tmp_path / f"{name}.csv", first, 40)
    data = opened(tmp_path, conditional=True)
    assert (len(data.train), len(data.test), data.classes) == (42, 5, ["down", "up"])
    assert (data.train.labels == (data.train.items[:, 0, 0] < 500)).all()
    assert data.test.items[:, -1, 0].tolist() == [1019, 1024, 1029, 1034, 1039]


def test_gaps_are_counted_and_named(tmp_path) -> None:
    write(tmp_path / "a.csv", 0, 100, missing=(30, 31, 60, 61, 62))
    data = opened(tmp_path)
    assert data.ignored == {"windows with values filled in": 14, "windows with missing values": 29}
    assert len(data.train) == 71 - 29 and np.isfinite(data.train.items).all()
    assert data.train.items[:, :, 0].tolist() == [
        list(range(int(w[0, 0]), int(w[0, 0]) + 20)) for w in data.train.items
    ]
    assert opened(tmp_path).ignored == data.ignored, "from the pack"
    report = check(tmp_path, SMALL.build())
    assert list(report.notes) == [
        "columns passed over: date", "5 values that are missing or no numbers, the first in line 32",
    ]  # fmt: skip


def test_bad_files_are_named_and_counted(tmp_path) -> None:
    write(tmp_path / "a.csv", 0, 100)
    (tmp_path / "b.csv").write_text("v\n" + "x\n" * 100)
    (tmp_path / "c.csv").write_bytes(b"\xff" * 100)
    write(tmp_path / "d.csv", 0, 10)
    data = opened(tmp_path, max_bad=0.8)
    assert dict(data.bad) == {
        "b.csv": "0 of its columns hold numbers, and 1 are asked for",
        "c.csv": "it is not UTF-8 text (byte 0)",
        "d.csv": "it has 10 rows, and a window is 20 steps",
    }


def test_statistics_are_learnt_of_the_past_alone(tmp_path) -> None:
    write(tmp_path / "a.csv", 0, 100)
    config = Config(length=20, horizon=5, scale="data")
    found = config.learnt(lambda medium: documents(Data(source=str(tmp_path)), medium))
    assert found.statistics[0] == pytest.approx((np.arange(90).mean(), np.arange(90).std()))


def test_the_drawn_series_have_their_seasons_and_sizes() -> None:
    series = [seasons.draw(np.random.default_rng(i)) for i in range(seasons.SERIES)]
    for values in series:
        steps = [np.abs(values[k:] - values[:-k]).mean() for k in (seasons.DAY // 2, seasons.DAY, seasons.WEEK)]
        assert steps[2] < steps[1] < steps[0], "a week ago is more alike than a day, a day more than half a day"
    sizes = sorted(float(values.mean()) for values in series)
    assert sizes[-1] / sizes[0] > 5


def test_the_drawn_set_follows_its_seed_and_is_split_in_time() -> None:
    medium = Config(length=64, horizon=16, stride=64).build()

    def items(seed: int) -> Dataset:
        return open_data(Data(source="seasons", seed=seed), medium)

    data = items(0)
    assert len(data.test) == 12 * 36 and "synthetic" in data.licence
    assert np.array_equal(items(0).train.items, data.train.items)
    assert not np.array_equal(items(1).train.items, data.train.items)
    with pytest.raises(MaquetteError, match="MQ-3011"):
        open_data(Data(source="seasons"), Points().build())
    with pytest.raises(MaquetteError, match="MQ-3011"):
        open_data(Data(source="ring8"), medium)
