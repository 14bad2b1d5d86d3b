"""The series medium: which numbers of a file are read, which windows are cut of them, what is measured by what."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as pillow

from maquette.core.errors import MaquetteError
from maquette.core.exit import Mark
from maquette.media.series import Config, Series

MARK = Mark(model="ab", seed=1)
SMALL = Config(length=8, horizon=3, gap=2)


def read(text: str, **how) -> np.ndarray:
    return Config(**({"length": 4, "horizon": 1} | how)).build().from_bytes(text.encode(), "s.csv")


def walk(n: int, columns: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, columns)).cumsum(0).astype(np.float32)


# -- reading ----------------------------------------------------------------------------------------------------------


def test_columns_of_numbers_are_found_and_time_is_passed_over() -> None:
    text = "Date,shop,sales,price\n2024-01-01,a,1,10\n2024-01-02,a,2,20\n2024-01-03,b,3,30\n2024-01-04,b,4,40\n"
    assert read(text).tolist() == [[1], [2], [3], [4]]
    assert read(text, columns=2)[0].tolist() == [1, 10]
    assert read(text, columns=("price", "sales"))[-1].tolist() == [40, 4]
    facts = Config(length=4, horizon=1).build().facts(text.encode(), "s.csv")
    assert facts.size == (4, 1) and facts.notes == ("columns passed over: Date, shop, price",)


@pytest.mark.parametrize(
    "text",
    [
        "1\n2\n3\n4\n",
        "value\n1\n2\n3\n4",
        "\ufeff# a remark\nt,v\n" + "".join(f"2024-01-0{i},{i}\n" for i in range(1, 5)),
        "time;v\n" + "".join(f"{i};{i}\n" for i in range(1, 5)),
        "2024-01-01\t1\n2024-01-02\t2\n\n2024-01-03\t3\n2024-01-04\t4\n",
        '"v"\n"1"\n" 2"\n"3.0"\n"4e0"\n',
        ",v\n0,1\n1,2\n2,3\n3,4\n",
    ],
)
def test_headers_separators_and_an_index_are_no_matter(text: str) -> None:
    assert read(text).tolist() == [[1], [2], [3], [4]]


def test_what_is_no_number_is_missing_and_told() -> None:
    text = "v,w\n1,1\n-,2\n3\nnan,4\n1e99,5\n6,x\n"
    values = read(text, columns=2)
    assert np.isnan(values[:, 0]).tolist() == [False, True, False, True, True, False]
    assert np.isnan(values[:, 1]).tolist() == [False, False, True, False, False, True]
    notes = Config(length=4, horizon=1, columns=2).build().facts(text.encode(), "s.csv").notes
    assert notes == ("5 values that are missing or no numbers, the first in line 3",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        ("# only\n", "it is empty"),
        ("v\n", "it has no rows"),
        ("v\n1\n2\n", "2 rows, and a window is 4 steps"),
        ("v\na\nb\nc\nd\n", "0 of its columns hold numbers"),
        ("date,v\n2024-01-02,1\n2024-01-01,2\n2023-01-01,2\n2022-01-01,2\n", "its newest row stands first"),
        ('v\n"1\n2\n3\n4', "unexpected end of data"),
    ],
)
def test_a_file_that_is_no_series_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(MaquetteError, match="MQ-3001") as refused:
        read(text)
    assert reason in str(refused.value.values["reason"])


@pytest.mark.parametrize(
    "data", [b"\xff\xfe1\x00", b"v\n\xb1\n", b"\x00" * 50, b"," * 5000, b"1," * 4000 + b"\n", b"1," * 20_000]
)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    medium = Config(length=4, horizon=1).build()
    with pytest.raises(MaquetteError, match="MQ-3001"):
        medium.from_bytes(data, "s.csv")


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(MaquetteError) as refused:
        read("a,b\n1,2\n3,4\n5,6\n7,8\n", columns=("c",))
    assert str(refused.value.values["reason"]) == "it has no column 'c'; its columns are a, b"


def test_a_real_table_of_prices_is_read() -> None:
    from matplotlib.cbook import get_sample_data

    try:
        path = Path(str(get_sample_data("Stocks.csv", asfileobj=False)))
    except FileNotFoundError:
        pytest.skip("this matplotlib came without its sample data")
    table = [row for row in csv.reader(path.read_text().splitlines()) if row and not row[0].startswith("#")]
    column = table[0].index("IBM")
    values = Config(columns=("IBM",), length=32, horizon=12).build().read(path)[:, 0]
    assert np.array_equal(values, [np.float32(row[column] or "nan") for row in table[1:]], equal_nan=True)
    assert len(values) > 300 and np.isfinite(values).mean() > 0.7


# -- windows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [8, 10, 11, 12, 17, 50, 101])
@pytest.mark.parametrize("horizon", [0, 1, 3])
def test_no_step_that_is_tested_on_is_learnt_from(rows: int, horizon: int) -> None:
    medium = Config(length=8, horizon=horizon, season=0).build()
    item, step = np.arange(rows, dtype=np.float32)[:, None], horizon or 8
    learnt, tested = medium.apart(item, 0.2)
    ahead = [window[-step:, 0].tolist() for window in tested]
    steps = [value for future in ahead for value in future]
    assert all(len(window) == 8 for window in tested) and len(set(steps)) == len(steps)
    assert max(part.max() for part in learnt) < min(steps, default=np.inf)
    assert (rows >= 8 + max(step, round(0.2 * rows))) == bool(tested), "too short for both is learnt from"
    if tested:
        assert steps[-1] == rows - 1 and len(steps) > 0.2 * rows - step
        assert len(learnt[0]) == rows - max(step, round(0.2 * rows))
    assert [part.tolist() for part in medium.apart(item, 0.0)[0]] == [item.tolist()] and not medium.apart(item, 0.0)[1]
    whole = medium.apart(item, 1.0)
    assert not whole[0] and len(whole[1]) == (rows - 8) // step + 1 if horizon else rows // 8


def test_windows_slide_by_their_stride() -> None:
    item = np.arange(12, dtype=np.float32)[:, None]
    starts = [window[0, 0] for window in Config(length=8, horizon=3, stride=2).build().cutter().put(item)]
    assert starts == [0, 2, 4]


def cut(missing: list[int], rows: int = 8, **how) -> tuple[list[np.ndarray], dict[str, int]]:
    item = 2 * np.arange(rows, dtype=np.float32)[:, None]
    item[missing] = np.nan
    cutter = Config(**({"length": 8, "horizon": 3, "gap": 2} | how)).build().cutter()
    return cutter.put(item), dict(cutter.passed)


def test_short_gaps_in_the_past_are_filled_in_and_counted() -> None:
    (window,), passed = cut([1, 2])
    assert window[:, 0].tolist() == [0, 2, 4, 6, 8, 10, 12, 14] and passed == {"windows with values filled in": 1}
    assert cut([1, 2], rows=10)[1] == {"windows with values filled in": 3}


@pytest.mark.parametrize("missing", [[1, 2, 3], [0], [4], [5], [7], [3, 4]])
def test_long_gaps_and_any_from_the_last_known_step_on_leave_a_window_out(missing: list[int]) -> None:
    """A last known step that was filled in would tell of the future; a future that was, would not be true."""
    assert cut(missing) == ([], {"windows with missing values": 1})


def test_without_a_horizon_gaps_may_be_anywhere_inside() -> None:
    assert len(cut([6], horizon=0)[0]) == 1 and cut([7], horizon=0)[0] == []


# -- scale ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [1, 2])
def test_the_past_alone_says_what_values_are_measured_by(columns: int) -> None:
    medium = Config(length=32, horizon=8, columns=columns, reach=4.0).build()
    items = np.stack([walk(32, columns, seed) for seed in range(5)])
    x = medium.to_tensor(items)
    assert x.shape == (5, columns, 32)
    known = 4 * x[:, :, :24]
    assert torch.allclose(known.mean(2), torch.zeros(5, columns), atol=1e-5)
    assert torch.allclose(known.std(2, correction=0), torch.ones(5, columns), atol=1e-4)
    other = items.copy()
    other[:, 24:] = 99
    assert torch.equal(medium.to_tensor(other)[:, :, :24], x[:, :, :24])
    assert torch.allclose(medium.to_tensor(items * 7 - 300), x, atol=1e-3), "a series of another level and size"
    assert torch.allclose(medium.to_tensor(medium.from_tensor(x)), x, atol=1e-5)


def test_a_made_item_is_put_onto_its_past() -> None:
    medium = Config(length=32, horizon=8, columns=2).build()
    items = 100 + 5 * np.stack([walk(32, 2, seed) for seed in range(3)])
    back = medium.from_tensor(medium.to_tensor(items))
    for item, made in zip(items, back, strict=True):
        onto = medium.onto(made[None], item[:24])[0]
        assert np.array_equal(onto[:24], item[:24]) and np.allclose(onto, item, rtol=1e-4)


@pytest.mark.parametrize("value", [0.0, 5.0, -3e6])
def test_a_constant_past_is_measured_by_its_size(value: float) -> None:
    medium = Config(length=8, horizon=3).build()
    x = medium.to_tensor(np.full((1, 8, 1), value, np.float32))
    assert x.abs().max() < 1e-3
    item = np.full((8, 1), value, np.float32)
    item[5:] = value * 2 + (value == 0)
    x = medium.to_tensor(item[None]) * 4
    assert torch.allclose(x[0, 0, 5:].abs(), torch.ones(3), atol=1e-3)


def test_with_levels_samples_are_whole_levels_within_one() -> None:
    medium = Config(length=32, horizon=8, reach=1.0, levels=11).build()
    x = medium.to_tensor(walk(32)[None])
    numbers = (x + 1) * 5
    assert torch.allclose(numbers, numbers.round(), atol=1e-5) and x.min() == -1 and x.max() == 1
    assert medium.space.levels == 11


def test_scale_by_the_data_is_learnt_and_keeps_units() -> None:
    rows = walk(200, 2) * [1, 100] + [5, -7]
    rows[3] = np.nan
    config = Config(length=16, horizon=0, columns=2, scale="data").learnt(lambda medium: [rows[:100], rows[100:]])
    assert np.allclose(config.statistics, np.stack([np.nanmean(rows, 0), np.nanstd(rows, 0)], 1), rtol=1e-6)
    medium, items = config.build(), np.float32(rows[10:26])[None]
    assert np.allclose(medium.from_tensor(medium.to_tensor(items)), items, rtol=1e-4, atol=1e-3)
    assert medium.onto(items, items[0][:4]).tolist() == items.tolist()
    assert Config().learnt(lambda medium: [rows]) == Config()


# -- what a person brings, and what leaves ----------------------------------------------------------------------------


def test_the_end_of_a_file_is_the_past(tmp_path) -> None:
    medium = SMALL.build()
    (tmp_path / "past.csv").write_text("v\n" + "".join(f"{i}\n" for i in range(20)))
    assert medium.past(tmp_path / "past.csv")[:, 0].tolist() == [15, 16, 17, 18, 19]
    rows = np.arange(6, dtype=np.float32)[:, None]
    rows[2] = np.nan
    assert medium.past(rows)[:, 0].tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("rows", [np.zeros((4, 1)), np.zeros((5, 2)), np.zeros(5), [[1], [1], [1], [1], [np.nan]]])
def test_too_short_a_past_or_one_without_an_end_is_refused(rows) -> None:
    with pytest.raises(MaquetteError, match="MQ-3001"):
        SMALL.build().past(np.asarray(rows))


def test_a_written_item_is_read_back_to_the_bit(tmp_path) -> None:
    for medium in (SMALL.build(), Config(length=8, horizon=3, columns=("a b", "c,d")).build()):
        item = walk(8, medium.count) * np.float32(1e-20)
        data = medium.encode(item, MARK)
        assert b'"Label": "1"' in data.splitlines()[0]
        (tmp_path / "s.csv").write_bytes(data)
        assert np.array_equal(medium.read(tmp_path / "s.csv"), item)
        assert medium.label(item, "AI") is item


def test_an_outlook_holds_median_and_intervals() -> None:
    """Of the futures 1 … 79 in any order the interval of 80 % is from the 8th to the 72nd."""
    medium = SMALL.build()
    items = np.zeros((79, 8, 1), np.float32)
    items[:, 5:, 0] = np.random.default_rng(0).permutation(79)[:, None] + 1
    lines = medium.outlook.encode(items, MARK).decode().splitlines()
    assert lines[0].startswith('# {"AIGC"') and lines[1].split(",")[:3] == [
        "step", "column 1 median", "column 1 low of 50 %",
    ]  # fmt: skip
    assert [[float(cell) for cell in line.split(",")] for line in lines[2:]] == [
        [step, 40, 20, 60, 8, 72, 2, 78] for step in (1, 2, 3)
    ]


def test_sheets_and_fans_are_pictures(tmp_path) -> None:
    for columns in (1, 2):
        medium = Config(length=8, horizon=3, columns=columns).build()
        items = np.stack([walk(8, columns, seed) for seed in range(20)])
        items[0] = 1.0
        for png in (
            medium.sheet(items),
            medium.sheet(items[:1], titles=["a"]),
            medium.fan([items]),
            medium.fan([items, items], [items[0], items[1]]),
        ):
            assert np.asarray(pillow.open(io.BytesIO(png)).convert("L")).std() > 1
        assert medium.sheet(items) == medium.sheet(items)


def test_there_is_nothing_to_augment() -> None:
    x, medium = torch.ones(1, 1, 8), SMALL.build()
    assert medium.augment(x, {}, torch.rand(1, 8)) is x
    with pytest.raises(MaquetteError, match=r"data\.augment has no 'flip'"):
        medium.augment(x, {"flip": 0.5}, torch.rand(1, 8))


@pytest.mark.parametrize(
    "wrong",
    [
        {"columns": 0}, {"columns": 65}, {"columns": []}, {"length": 3}, {"horizon": 127}, {"season": 112},
        {"reach": 0}, {"levels": 1}, {"stride": 0}, {"gap": -1}, {"statistics": [[0, 0]]},
        {"statistics": [[0, 1], [0, 1]]},
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(MaquetteError, match="MQ-2002"):
        Config.from_tree(wrong)


def test_settings_survive_the_tree() -> None:
    for config in (Config(), Config(columns=("a", "b"), scale="data", statistics=((0.0, 1.0), (1.0, 2.0)))):
        assert Config.from_tree(config.to_tree()) == config and isinstance(config.build(), Series)
