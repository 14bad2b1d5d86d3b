"""Tables that are data sets by themselves."""

from pathlib import Path

import numpy as np
import pytest

from maquette.core.errors import MaquetteError
from maquette.data.source import Data, find, open_data
from maquette.media.points import Config
from tests.data.making import GREY, labels_by_name, opened, refused, write
from tests.media.pictures import mutants

POINTS = Config().build()


def test_a_csv_of_bare_numbers_is_a_set_of_points(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    (tmp_path / "p.csv").write_text("# drawn\n" + "".join(f"{x},{y}\n" for x, y in points))
    data = open_data(Data(source=str(tmp_path / "p.csv")), POINTS)
    found = np.concatenate([data.train.items, data.test.items])
    assert np.array_equal(np.sort(found, 0), np.sort(points, 0)) and data.classes == []
    assert set(data.train.names) <= {f"p.csv:{n}" for n in range(2, 202)}


def test_a_csv_with_names_may_have_labels(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("x,label,y\n1,a,2\n3,b,4\n5,,6\n")
    data = open_data(Data(source=str(tmp_path / "p.csv")), POINTS)
    assert labels_by_name(data) == {"p.csv:2": "a", "p.csv:3": "b", "p.csv:4": None}
    rows = dict(zip(data.train.names + data.test.names, [*data.train.items, *data.test.items], strict=True))
    assert rows["p.csv:3"].tolist() == [3, 4]


def test_bad_lines_are_named(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("1,2\n3,x\n4,5,6\n7,8\n")
    data = open_data(Data(source=str(tmp_path / "p.csv"), max_bad=0.7), POINTS)
    assert [name for name, _ in data.bad] == ["p.csv:2", "p.csv:3"]


def test_a_table_of_file_names_is_a_set_of_pictures(tmp_path: Path) -> None:
    write(tmp_path, "in/a.png", "in/b.png")
    (tmp_path / "list.csv").write_text("file_name,class\nin/a.png,x\nin/b.png,y\n")
    assert labels_by_name(opened(tmp_path / "list.csv")) == {"in/a.png": "x", "in/b.png": "y"}
    (tmp_path / "list.jsonl").write_text('{"file_name": "in/a.png", "text": "one"}\n')
    assert opened(tmp_path / "list.jsonl").train.captions == ["one"]


@pytest.mark.parametrize("text, code", [("a,b\n1,2\n", "MQ-3014"), ("", "MQ-3002"), ("file_name\n", "MQ-3002")])
def test_a_table_of_nothing_is_refused(tmp_path: Path, text: str, code: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    assert refused(tmp_path / "t.csv").code == code


def test_an_empty_table_of_points_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("# nothing\n")
    with pytest.raises(MaquetteError, match="there is no row here"):
        open_data(Data(source=str(tmp_path / "t.csv")), POINTS)


@pytest.mark.parametrize(
    "name, text",
    [
        ("points.csv", 'x,"label",y\n1,"a",2\n3,b,4\n5,"c ""d""",6\n'),
        ("metadata.csv", 'file_name,label,text\na.png,1,first\nb.png,2,"second, and more"\n'),
        ("metadata.jsonl", '{"file_name": "a.png", "label": 1}\n{"file_name": "b.png", "text": "ä"}\n'),
    ],
)
def test_damaged_tables_never_raise_anything_else(tmp_path: Path, name: str, text: str) -> None:
    write(tmp_path, "a.png", "b.png")
    refusals = 0
    for mutant in mutants(text.encode(), 300, seed=1):
        (tmp_path / name).write_bytes(mutant)
        try:
            source = find(
                str(tmp_path / name if name == "points.csv" else tmp_path), POINTS if name == "points.csv" else GREY
            )
            for row in source.read().rows:
                assert row.name
        except MaquetteError as bad:
            assert bad.code in ("MQ-3002", "MQ-3014")
            refusals += 1
    assert refusals > 10
