"""`maquette advise`: the order and the reasons follow from the measured figures, and from nothing else."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from maquette.cli.main import main
from maquette.cli.parser import parse
from maquette.core.errors import MaquetteError
from maquette.verbs import advise as module
from maquette.verbs.advise import NOTHING, Advised, Asked, Table, advise, advised, given_to, ranked, tables
from maquette.verbs.recipes import read, recipes

CASES: dict[str, dict[str, Any]] = {
    "few pictures": {"medium": "image", "examples": 500},
    "many pictures": {"medium": "image", "examples": 60_000, "time": "10min"},
    "text": {"medium": "text", "examples": 5000},
    "points": {"medium": "points", "examples": 20_000, "time": "1min"},
    "sound": {"medium": "audio", "examples": 600},
    "pictures of captions": {"medium": "image", "examples": 3000, "given": "text"},
}


def ordered(table: Table) -> list[str]:
    """The recipes of a table: the best, those whose intervals reach into its own by the time of a draw, and so on."""
    left, order = sorted(table.entries, key=lambda e: e.value if table.better == "lower" else -e.value), []
    while left:
        low, high = left[0].low, left[0].high
        if low is None or high is None:
            tied = left[:1]
        else:
            tied = [e for e in left if e.low is not None and e.high is not None and e.low <= high and low <= e.high]
        order += [e.recipe for e in sorted(tied, key=lambda e: e.sample or 0)]
        left = [e for e in left if e not in tied]
    return list(dict.fromkeys(order))


def fitting(case: dict[str, Any]) -> list[Table]:
    given = case.get("given", NOTHING)
    return [table for table in tables() if (table.medium, table.given) == (case["medium"], given)]


@pytest.fixture(scope="module", params=CASES)
def told(request: pytest.FixtureRequest) -> tuple[dict[str, Any], Advised]:
    case = CASES[request.param]
    return case, advise(device="cpu", **case)


def test_the_order_is_that_of_the_figures(told: tuple[dict[str, Any], Advised]) -> None:
    case, page = told
    asked, met = page.asked, fitting(case)
    met.sort(key=lambda t: (t.distance(asked.examples, asked.minutes), -len(t.entries)))
    expected = list(dict.fromkeys(name for table in met for name in ordered(table)))
    measured = [place for place in page.places if place.entry is not None]
    assert list(dict.fromkeys(place.entry.recipe for place in measured if place.entry)) == expected
    assert list(page.places[: len(measured)]) == measured, "what was not measured comes last"
    everything = {one.name.rpartition("/")[2] for one in advised() if one.name.startswith(f"{case['medium']}/")}
    assert {place.name.split()[0] for place in page.places} <= everything


def test_the_reasons_are_the_figures(told: tuple[dict[str, Any], Advised]) -> None:
    _, page = told
    for place in page.places:
        if place.table is None or place.entry is None:
            assert place.reasons[0] == "not measured" and place.reasons[1]
            continue
        table, entry, why = place.table, place.entry, "\n".join(place.reasons)
        assert why.startswith(table.score) and f"{entry.value:.3g}" in place.reasons[0]
        assert f"docs/{table.page}" in why and (module.MEASURED.parents[2] / "docs" / table.page).is_file()
        few = page.asked.examples * 10 <= table.examples
        many = page.asked.examples >= 10 * table.examples
        assert ("not measured with as few" in why) == few and ("not measured with as many" in why) == many
        if entry.items:
            passes = 60 * page.asked.minutes * entry.items / page.asked.examples
            assert f"go {passes:,.0f} times" in why or f"go {passes:.3g} times" in why
        for way, (value, _, _) in entry.simpler.items():
            (said,) = (reason for reason in place.reasons if f" {way}: " in reason)
            better = (entry.value < value) == (table.better == "lower")
            assert not said.startswith("behind" if better else "ahead")


def test_the_commands_can_be_typed(told: tuple[dict[str, Any], Advised]) -> None:
    for place in told[1].places:
        for number, command in enumerate(place.commands, 1):
            asked = parse(shlex.split(command)[1:])
            assert asked.verb == "train" and asked.device == "cpu"
            recipe = read(asked.RECIPE, asked.overrides, **{"train.budget": asked.budget})
            assert number < len(place.commands) or place.name.split()[0] == asked.RECIPE
            if recipe.codec.startswith("runs/"):
                before = parse(shlex.split(place.commands[0])[1:])
                assert before.out == recipe.codec and Path(recipe.codec).name == before.RECIPE


def test_a_page_names_every_place_and_explains_the_first(told: tuple[dict[str, Any], Advised]) -> None:
    _, page = told
    text = "\n".join(page.lines())
    assert all(f"{number:>3}  {place.name}" in text for number, place in enumerate(page.places, 1))
    assert all(reason in text for place in page.places[:3] for reason in (*place.reasons, *place.commands))


# -- with figures made for the purpose --------------------------------------------------------------------------------


def made(*entries: dict[str, Any], **about: Any) -> Table:
    plain = {
        "page": "pictures.md", "medium": "image", "given": NOTHING, "data": "somewhere", "examples": 60_000,
        "minutes": 10.0, "cores": 1, "score": "Fréchet distance", "unit": "", "better": "lower",
    }  # fmt: skip
    return Table.from_tree(plain | about | {"entries": list(entries)})


def one(recipe: str, value: float, by: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"recipe": recipe, "value": value, "low": value - by, "high": value + by, "sample": 0.1} | more


def first(measured: list[Table], examples: int = 60_000, minutes: float = 10.0) -> list[str]:
    asked = Asked("image", NOTHING, examples, minutes, "cpu")
    return [place.name for place in ranked(asked, measured) if place.entry]


MANY = made(one("dcgan", 10), one("diffusion", 20), one("vae", 30))


def test_few_examples_are_advised_by_what_was_measured_with_few() -> None:
    few = made(
        one("small-data", 50), one("small-data", 80, overrides=["model.adapt=0"]), one("dcgan", 90), examples=500
    )
    assert first([MANY, few], examples=400) == ["small-data", "small-data model.adapt=0", "dcgan", "diffusion", "vae"]
    assert first([MANY, few], examples=50_000)[:3] == ["dcgan", "diffusion", "vae"]
    places = list(ranked(Asked("image", NOTHING, 400, 10.0, "cpu"), [MANY, few]))
    assert places[1].commands == ("maquette train small-data --data FOLDER --budget 10min model.adapt=0",)
    assert not any("as few" in why for why in places[0].reasons) and any("as few" in why for why in places[3].reasons)


def test_a_short_time_is_advised_by_what_was_measured_in_a_short_time() -> None:
    short = made(one("vae", 40), one("diffusion", 70), minutes=0.5)
    assert first([MANY, short], minutes=1.0) == ["vae", "diffusion", "dcgan"]
    assert first([MANY, short], minutes=30.0) == ["dcgan", "diffusion", "vae"]
    (late,) = [p for p in ranked(Asked("image", NOTHING, 60_000, 0.5, "cpu"), [MANY, short]) if p.name == "dcgan"]
    assert "not measured after so short a time" in late.reasons


def test_what_a_score_does_not_tell_apart_is_ordered_by_the_time_of_a_draw() -> None:
    tied = made(one("diffusion", 10, sample=0.5), one("dcgan", 10.5, sample=0.001), one("vae", 13, sample=0.0001))
    assert first([tied]) == ["dcgan", "diffusion", "vae"]
    clear = made(one("diffusion", 10, 0.1, sample=0.5), one("dcgan", 10.5, 0.1, sample=0.001))
    assert first([clear]) == ["diffusion", "dcgan"]
    assert first([made(one("diffusion", 10), one("dcgan", 20), better="higher")]) == ["dcgan", "diffusion"]


@pytest.mark.parametrize(("theirs", "said"), [(5.0, "behind"), (10.5, "not told apart from"), (20.0, "ahead of")])
def test_simpler_ways_stand_beside(theirs: float, said: str) -> None:
    table = made(one("dcgan", 10, simpler={"left alone": [theirs, theirs - 1, theirs + 1]}))
    (place, *_) = ranked(Asked("image", NOTHING, 60_000, 10.0, "cpu"), [table])
    assert f"{said} left alone: {theirs:.3g}" in place.reasons


def test_a_gpu_is_told_as_not_measured() -> None:
    (place, *_) = ranked(Asked("image", NOTHING, 60_000, 10.0, "cuda"), [MANY])
    assert "measured on a processor, not on cuda" in place.reasons


# -- what recipes and data are ----------------------------------------------------------------------------------------


def test_what_recipes_are_given() -> None:
    given = {recipe.name.rpartition("/")[2]: given_to(recipe) for recipe in recipes()}
    wanted = {
        "dcgan": NOTHING, "superres": "shrink", "inpaint": "mask", "pix2pix": "pair", "adain": "other", "dalle": "text",
        "speech": "text", "translate": "text", "classify": "label", "finetune": "weights", "video-next": "gap",
        "video-still": "gap", "video-mask": "mask", "video-colour": "grey",
        "forecast-diffusion": NOTHING, "forecast-gpt": NOTHING, "wavenet": NOTHING,
    }  # fmt: skip
    assert {name: given[name] for name in wanted} == wanted


def test_what_makes_nothing_is_not_advised() -> None:
    left_out = {one.name.rpartition("/")[2] for one in set(recipes()) - set(advised())}
    assert left_out == {"clip", "fsq", "mel-vqvae", "vae-grid", "video-vqvae", "vocoder", "vqvae"}


def test_a_folder_says_what_it_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(7):
        folder = tmp_path / ("dark", "light")[number // 4]
        folder.mkdir(exist_ok=True)
        Image.new("L", (9, 9), 30 * number).save(folder / f"{number}.png")
    page = advise(data=str(tmp_path), device="cpu")
    assert (page.asked.medium, page.asked.examples) == ("image", 7) and "labels" in page.notes[0]
    assert all(f"--data {tmp_path}" in place.commands[0] for place in page.places)
    assert main(["advise", "--data", str(tmp_path), "--examples", "60000", "--time", "90s"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("image: 60,000 examples, 1.5 min on ") and "--budget 90s" in out and err == ""


def test_a_set_is_known_by_its_name() -> None:
    assert {name: module.medium_of(name) for name in ("digits", "tones", "pydoc", "ring8", "seasons")} == {
        "digits": "image", "tones": "audio", "pydoc": "text", "ring8": "points", "seasons": "series",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--medium", "imge", "--examples", "5"], "MQ-2003", "nearest: 'image'"),
        (["--examples", "5"], "MQ-2003", "--medium"),
        (["--medium", "image"], "MQ-2002", "--examples"),
        (["--medium", "image", "--examples", "0"], "MQ-2002", "but 0 was given"),
        (["--medium", "image", "--examples", "many"], "MQ-2002", "a whole number"),
        (["--medium", "image", "--examples", "5", "--time", "500steps"], "MQ-2002", "--time"),
        (["--medium", "image", "--examples", "5", "--time", "soon"], "MQ-2002", "like 90s"),
        (["--medium", "image", "--examples", "5", "--given", "masc"], "MQ-2003", "nearest: 'mask'"),
        (["--medium", "image", "--examples", "5", "--device", "tpu"], "MQ-2009", "tpu"),
    ],
)
def test_mistakes_are_told(words: list[str], code: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advise", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and code in err and said in err and len(err.splitlines()) <= 3


def test_data_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(MaquetteError) as refused:
        advise("image", data=str(tmp_path / "nowhere"))
    assert refused.value.exit_code == 3
    with pytest.raises(MaquetteError) as refused:
        advise("image", data=str(tmp_path))
    assert refused.value.exit_code == 3
