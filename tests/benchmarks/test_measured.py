"""What `maquette advise` ranks by is what was measured: the file that comes along holds the results as they are."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks import lessons, measured, sounds
from benchmarks import plan as planned
from benchmarks.harness import ROOT, machine, read_json
from maquette.data.embedded import NAMES
from maquette.verbs import advise
from maquette.verbs.recipes import recipes


def test_the_file_that_comes_along_holds_the_results() -> None:
    again = "run python -m benchmarks.measured"
    assert advise.MEASURED.read_text(encoding="utf-8") == measured.written(measured.gathered()), again


def test_every_entry_is_a_recipe_and_every_table_a_page() -> None:
    names = {recipe.name.rpartition("/")[2] for recipe in recipes()}
    for table in advise.tables():
        assert (ROOT / "docs" / table.page).is_file() and table.examples > 0 and table.minutes > 0
        assert {entry.recipe for entry in table.entries} <= names


def report(name: str, value: float, data: str = "a") -> dict[str, Any]:
    stamp = {"extractor": "domain", "weights": "", "resize": "", "data": data, "split": "test", "real": 9, "made": 9}
    score = {
        "name": "label_accuracy", "value": value, "low": value - 0.1, "high": value + 0.1, "floor": 0.95,
        "baselines": {}, "bound": False, "stamp": stamp | {"seed": 0, "software": {"torch": name}},
    }  # fmt: skip
    return {"scores": [score], "cost": {"train_steps": 7, "samples_per_second": 4.0}}


def facts(name: str, value: float, **more: Any) -> dict[str, Any]:
    one = sounds.CONTEST.contestants[name]
    told = {"row": one.row, "recipe": one.recipe, "data": one.data, "overrides": list(one.overrides), "few": 0}
    about = {"minutes": 20.0, "images": 12.0, "machine": machine()}
    return told | about | {"reports": {name: report(name, value, **more)}}


def test_results_that_have_come_are_gathered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sound models measured alike make one table; a third, scored on other data, another."""
    found = {
        "digits mel-gan": facts("digits mel-gan", 0.4),
        "digits mel-vae": facts("digits mel-vae", 0.8),
        "digits wavenet": facts("digits wavenet", 0.9, data="b"),
    }
    results = tmp_path / "benchmarks" / "results"
    results.mkdir(parents=True)
    (results / "sounds.json").write_text(json.dumps(found))
    monkeypatch.setattr("benchmarks.contest.RESULTS", results)
    tables = [advise.Table.from_tree(t) for t in measured.gathered()["tables"] if t["medium"] == "audio"]
    assert [[entry.recipe for entry in table.entries] for table in tables] == [["mel-gan", "mel-vae"], ["wavenet"]]
    assert (tables[0].given, tables[0].examples, tables[0].floor, tables[0].better) == ("nothing", 600, 0.95, "higher")
    assert tables[0].entries[0] == advise.Entry(
        recipe="mel-gan", value=0.4, low=0.3, high=0.5, steps=7, items=12.0, sample=0.25
    )
    (best, *_) = advise.ranked(advise.Asked("audio", "nothing", 600, 20.0, "cpu"), tables)
    assert best.name == "mel-vae" and "the best of 2 measured alike" in best.reasons


def test_the_table_of_text_is_read_as_it_stands() -> None:
    rows = {(told["data"], entry["recipe"]): entry for told, entry in measured.texts()}
    page = (ROOT / "docs" / "quality.md").read_text(encoding="utf-8")
    for (data, _), entry in rows.items():
        (line,) = (line for line in page.splitlines() if line.startswith(f"| `{data}`"))
        assert f"{entry['value']:.2f}" in line
    assert rows["tinyshakespeare", "mdlm-char"]["bound"] and len(rows) == 7


KINDS = {
    **dict.fromkeys(("dialogue_sgd", "faq_chatterbot", "scitldr", "tatoeba_en_zh"), ("text", "text")),
    **dict.fromkeys(("banking77", "movie_sentences_en", "reviews_zh"), ("text", "label")),
    **dict.fromkeys(("pydoc", "tang_poems", "tinyshakespeare"), ("text", "nothing")),
    **dict.fromkeys(("tones", "fsdd"), ("audio", "nothing")),
    "jsb_chorales": ("music", "nothing"),
    "moving-digits": ("video", "nothing"),
    "seasons": ("series", "nothing"),
}
"""Medium of each set, and what is given with it; pictures otherwise."""


def counted(data: str, place: str) -> int:
    return advise.look(place, *KINDS.get(data, ("image", "nothing")))[0]


@pytest.mark.parametrize("data", sorted(set(measured.EXAMPLES) & set(NAMES)))
def test_examples_of_embedded_sets_are_counted(data: str) -> None:
    assert counted(data, data) == measured.EXAMPLES[data]


@pytest.mark.slow
@pytest.mark.parametrize("data", sorted(set(measured.EXAMPLES) - set(NAMES)))
def test_examples_of_data_sets_are_counted(data: str) -> None:
    if not (folder := os.environ.get("MAQUETTE_TEST_DATA")):
        pytest.skip("needs MAQUETTE_TEST_DATA")
    pytest.importorskip("datasets")
    assert counted(data, str(Path(folder) / data)) == measured.EXAMPLES[data]


def test_the_pages_show_the_lessons_that_were_measured() -> None:
    tree = read_json(lessons.FILE)
    for page, language in lessons.PAGES.items():
        assert lessons.table(tree, language) in (ROOT / "docs" / page).read_text(encoding="utf-8")


def test_a_lesson_s_row_has_its_figures_and_says_what_is_not_measured() -> None:
    figure = {"title": "Modes found", "unit": "modes", "value": 8.0, "floor": 8.0, "at": "least", "bound": 8.0}
    one = figure | {"way": "", "met": True, "seconds": 31.6, "exit": 0, "finished": True}
    tiny = one | {"value": 3.0, "met": None, "seconds": 4.2}
    machine = {"processor": "P", "cores": 2, "torch": "T"}
    tree = {"tiny": {"machine": machine, "lessons": {"03-gan-loop": tiny, "09-environment": {"exit": 2}}}}
    rows = {line.split(" | ")[1]: line for line in lessons.table(tree, "en").splitlines() if " | " in line}
    begin = "| 2, 3 | `tutorial/03-gan-loop` | `points-gan` | Modes found | 3 (8) | 4 | "
    assert rows["`tutorial/03-gan-loop`"] == begin + "not measured yet |  | at least 8 |  |"
    assert "| failed (2) |" in rows["`tutorial/09-environment`"]
    tree["full"] = {"machine": machine, "lessons": {"03-gan-loop": one}}
    assert begin + "8 (8) | 32 | at least 8 | yes |" in lessons.table(tree, "en")
    assert "完整训练共用 1 分钟。P，2 核，torch T。" in lessons.table(tree, "zh")


def test_the_pages_show_the_plans_that_were_measured() -> None:
    tree = read_json(planned.FILE)
    assert tuple(tree) == planned.RECIPES
    for page in planned.PAGES:
        assert planned.table(tree) in (ROOT / "docs" / page).read_text(encoding="utf-8")


def test_a_plan_that_is_off_is_counted_as_off() -> None:
    one = {
        "budget": "100steps", "parameters": 10, "step": 0.5, "batch": 4, "sample": 0.1,
        "foretold": {"seconds": 90.0, "memory": 2e8}, "measured": {"seconds": 60.0, "memory": 1.9e8},
        "ratio": {"seconds": 1.5, "memory": 1.05, "disk": 1.0}, "machine": machine(),
    }  # fmt: skip
    assert "Within 30%: time 0 of 1, memory 1 of 1." in planned.table({"dcgan": one})
