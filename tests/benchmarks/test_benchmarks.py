"""The benchmarks' own arithmetic, and that every row and contestant is what the pages say; peers are not needed."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import maquette
from benchmarks import contest, contestants, finetune, harness, pictures, quality, serving, speed, tasks
from benchmarks.harness import Measured, Round
from maquette.evaluate.report import Cost, Report, Score, Stamp
from maquette.evaluate.scores.intervals import Estimate
from maquette.verbs.recipes import read, recipes
from tests.models.made import texts


@pytest.mark.parametrize("row", speed.ROWS)
def test_a_row_pairs_contestants_that_it_has(row: str) -> None:
    module = importlib.import_module(f"benchmarks.rows.{row}")
    assert module.TITLE and module.UNIT
    assert {name for ours, peer, _ in module.PAIRS for name in (ours, peer)} <= set(module.CONTESTANTS)


def test_rows_and_contestants_are_in_the_page() -> None:
    page = (harness.HERE / "README.md").read_text(encoding="utf-8")
    assert [row for row in speed.ROWS if f"`{row}`" not in page] == []
    assert [name for name in quality.NAMES if ": " in name and f"`{name}`" not in page] == []
    assert list(contestants.CONTESTANTS) == quality.NAMES


def test_loads_of_serving_are_in_the_page_and_in_its_table() -> None:
    page = (harness.HERE / "README.md").read_text(encoding="utf-8")
    assert [load for load in serving.LOADS if f"`{load}`" not in page] == []
    ours, http = {"rate": 100.0, "p50": 0.5, "p95": 1.0}, {"rate": 93.0, "p50": 0.6, "p95": 1.25}
    told = {"processor": "p", "cores": 2, "torch": "t", "when": "2026-01-01 00:00"}
    contestants = {"engine": ours, "maquette serve": http, "naive": {"failed": "no such module"}}
    table = serving.table({"text": {"unit": "tokens", "clients": 16, "machine": told, "contestants": contestants}})
    assert "| text, 16 clients | maquette serve | 93.0 tokens | 0.93 | 0.60 s | 1.25 s |" in table
    assert "| text, 16 clients | naive | not measured | | | |" in table and table.endswith("2026-01-01.")


def test_rates_are_medians_and_disturbance_is_wall_beyond_processor_time() -> None:
    rounds = [Round(10, 1.0, 2.0, 0.1), Round(10, 2.0, 2.0, 3.0), Round(10, 4.0, 2.0, 9.0)]
    measured = Measured("a", {"threads": 2}, rounds)
    assert measured.rate == 5 and measured.cpu_rate == 5
    assert [r.disturbed(2) for r in rounds] == [False, True, True]
    assert measured.to_tree()["disturbed_rounds"] == 2


@pytest.fixture
def row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A row of two contestants in a package that children find too: one works, the other cannot be had."""
    (tmp_path / "benchmarks" / "rows").mkdir(parents=True)
    (tmp_path / "benchmarks" / "worker.py").write_text((harness.HERE / "worker.py").read_text())
    (tmp_path / "benchmarks" / "rows" / "toy.py").write_text(
        "def one():\n    return lambda: 3, {'value': 1}\n\n\n"
        "def other():\n    raise FileNotFoundError('no such checkout')\n\n\n"
        "CONTESTANTS = {'one': one, 'other': other}\n"
    )
    monkeypatch.setattr(harness, "ROOT", tmp_path)
    return "toy"


def test_contestants_take_turns_and_who_is_missing_is_said(row: str) -> None:
    one, other = harness.interleave(row, ["one", "other"], rounds=3, seconds=0.01)
    assert len(one.rounds) == 3 and one.facts["value"] == 1 and one.rate > 0
    assert "no such checkout" in other.failed and not other.rounds
    assert sys.executable


def test_the_table_of_speed_is_made_of_what_was_measured() -> None:
    machine = {"processor": "P", "cores": 2, "torch": "2", "when": "2026-01-02 03:04", "load": 0.0}
    contestants = {"ours": {"rate": 30.0}, "theirs": {"rate": 10.0}, "absent": {"failed": "why"}}
    pair = {"ours": "ours", "peer": "theirs", "goal": 2.0, "wall_and_cpu_ratio": [3.0, 2.5]}
    tree = {"title": "T", "unit": "images", "machine": machine, "pairs": [pair], "contestants": contestants}
    lines = speed.table({"row": tree}).splitlines()
    assert lines[2] == "| T | ours | 30.00 images | theirs | 3.00 | 2.50 | 2.0 |"
    assert lines[3] == "| T | theirs | 10.00 images |  |  |  |  |"
    assert lines[4].startswith("| T | absent | not measured |")


def test_the_table_of_quality_states_each_claim() -> None:
    facts = {"seconds": 600, "steps": 10, "parameters": 20, "samples_per_second": 5.0, "machine": harness.machine()}
    tree = {
        "results": {"gan": facts | {"fid": 6.0}, "gan: pytorch/examples": facts | {"fid": 10.0}},
        "floors": {"fid": 1.0},
        "stamp": {"extractor": "domain", "weights": "0" * 64, "made": 2000, "real": 2000, "split": "test"},
    }
    text = quality.table(json.loads(json.dumps(tree)))
    assert "gan : gan: pytorch/examples, fid: 0.600 (goal: at most 0.7)" in text
    assert "| real against real |" in text and "vae" not in text


def test_text_is_put_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table -->\nold\n<!-- /table -->\nafter\n")
    harness.put_between(page, "table", "new")
    assert page.read_text() == "before\n<!-- table -->\nnew\n<!-- /table -->\nafter\n"


def test_children_run_side_by_side_and_one_that_fails_stops_nobody(tmp_path: Path, capsys) -> None:
    """Scripts in place of contestants: each writes the cores that it was given; one fails with a reason."""

    def start(name: str, cores: list[int]) -> tuple[subprocess.Popen, Path]:
        code = f"import sys; sys.exit('no data') if {name!r} == 'b' else print({cores})"
        with open(tmp_path / name, "w") as log:
            return subprocess.Popen([sys.executable, "-c", code], stdout=log, stderr=log), tmp_path / name

    harness.side_by_side(["a", "b", "c"], 1, start)
    assert len(json.loads((tmp_path / "a").read_text())) == len(json.loads((tmp_path / "c").read_text())) == 1
    said = capsys.readouterr().out
    assert "b was not measured: no data" in said and "a was not" not in said
    harness.side_by_side(["a"], 10_000, start)  # more cores than there are
    assert len(json.loads((tmp_path / "a").read_text())) == len(os.sched_getaffinity(0))


def score(name: str, value: float, *baselines: float) -> dict:
    others = {f"way {b}": {"value": b, "low": b - 1, "high": b + 1} for b in baselines}
    return {"name": name, "value": value, "low": value - 1, "high": value + 1, "baselines": others}


def test_the_table_of_tasks_says_who_is_ahead() -> None:
    found = [score("chrf", 30.0, 20.0, 10.0), score("bleu", 11.0, 10.0), score("likelihood", 2.0, 5.0, 9.0)]
    answered = {one["name"]: one for one in found}
    common = {"steps": 1000, "minutes": 10.0, "machine": harness.machine()}
    tree = {
        "English to Chinese": common
        | {"recipe": "translate", "data": "pairs", "scores": answered, "examples": [["a | b", "甲", "乙\n丙"]]},
        "films": common
        | {
            "recipe": "classify",
            "data": "f",
            "scores": {"accuracy": score("accuracy", 5.0, 9.0)},
            "examples": [["x", "y"]],
        },
    }
    lines = tasks.table(tree).splitlines()
    assert lines[2].startswith(
        "| English to Chinese (translate, `pairs`) | 10 | 1,000 | chrF | 30 (29 to 31) | way 20.0 20"
    )
    assert [line.split("|")[-2].strip() for line in lines[2:6]] == [
        "ahead",
        "not told apart",
        "ahead",
        "behind",
    ]  # fewer bits are better
    assert "| a \\| b | 甲 | 乙 丙 |" in lines and "| label | made for it |" in lines


def test_a_task_that_was_measured_otherwise_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "HERE", tmp_path)
    assert not tasks.measured("films", 2)
    harness.write_json(tasks.folder_of("films") / "facts.json", tasks.terms("films", 2) | {"steps": 3})
    assert tasks.measured("films", 2) and not tasks.measured("films", 3)


def test_tasks_are_recipes_that_are_there() -> None:
    names = {recipe.name.rpartition("/")[2] for recipe in recipes()}
    for task in tasks.TASKS.values():
        assert task.recipe in names
        read(task.recipe, task.overrides)


def test_what_was_begun_on_other_terms_is_thrown_away(tmp_path: Path) -> None:
    folder = tmp_path / "task"
    harness.fresh(folder, {"minutes": 2}, again=False)
    for terms, again, stays in (
        ({"minutes": 2}, False, True),
        ({"minutes": 3}, False, False),
        ({"minutes": 3}, True, False),
    ):
        (folder / "begun").touch()
        harness.fresh(folder, terms, again)
        assert (folder / "begun").exists() == stays and harness.read_json(folder / "terms.json") == terms


def test_no_poem_that_is_learnt_shares_a_line_with_one_that_is_held_out() -> None:
    his = [
        {"author": finetune.POET, "text": f"甲{i}，乙{i}。\n丙，丁{i}。" if i < 2 else f"戊{i}，己{i}。"}
        for i in range(9)
    ]
    others = [{"author": "x", "text": f"庚{i}，辛{i}。"} for i in range(3)] + [{"author": "y", "text": "壬，癸。"}]
    parts = finetune.divided([*his[:5], *others], [*his[5:], {"author": "z", "text": "庚1，子。"}])
    learnt = {poem for (_, split), poems in parts.items() if split == "train" for poem in poems}
    held = [poem for (_, split), poems in parts.items() if split == "test" for poem in poems]
    assert parts["new", "test"] == [his[i]["text"] for i in (0, 4, 8)] and "庚1，子。" in parts["old", "test"]
    assert learnt == {row["text"] for row in [*his[2:4], *his[5:8], others[0], others[2], others[3]]}
    assert not any(finetune.lines_of(a) & finetune.lines_of(b) for a in learnt for b in held)


def test_frozen_tensors_are_counted_and_compared_bit_for_bit(tmp_path: Path) -> None:
    data = str(texts(tmp_path / "data", times=12))
    tiny = ["medium.length=16", "model.net.width=16", "model.net.depth=1", "model.net.heads=2", "train.batch=4"]
    tiny += ["train.samples=1", "train.precision=fp32"]
    one, other = (
        maquette.train("gpt-char", data, "2steps", tmp_path / f"base{seed}", tiny, seed=seed, quiet=True).path
        for seed in (0, 1)
    )
    words = ["train.batch=4", "train.samples=1", "train.frozen=[table.*]"]
    run = maquette.train("finetune", data, "2steps", tmp_path / "run", words, quiet=True, begin=one).path
    assert finetune.kept("half frozen", run, one, one) == {"frozen": 1, "changed": 0}
    assert finetune.kept("half frozen", run, other, one) == {"frozen": 1, "changed": 1}
    assert finetune.kept("from scratch", other, one, one) == {}
    found = finetune.more(run, one, data)
    assert found["low"] <= found["value"] <= found["high"] and finetune.more(one, one, data)["value"] == 0
    assert 0 < finetune.learnt(run) < finetune.learnt(one)


def test_the_table_of_finetuning_says_gain_loss_and_what_was_checked() -> None:
    def costs(bits: float, beside: float = 0) -> dict:
        baselines = {"5-gram": {"value": beside, "low": None, "high": None}} if beside else {}
        trees = {name: score(name, value) | {"baselines": {}} for name, value in (("perplexity", 2**bits),)}
        return trees | {"likelihood": score("likelihood", bits) | {"baselines": baselines}}

    common = {"texts": ["一 | 二", "三"], "steps": 1234, "learnt": 5678}
    ways = {finetune.BEFORE: common | {"new": costs(11, 3.5), "old": costs(5, 4.5)}}
    more = {"new": {"value": -7, "low": -7.5, "high": -6.5}, "old": {"value": 1, "low": 0.5, "high": 1.5}}
    ways |= {"LoRA": common | {"more": more, "new": costs(4), "old": costs(6), "frozen": 30, "changed": 1}}
    checks = {
        "peft": {"difference": 2e-6, "nats": {"base": 5.0, "own": 4.0, "peft": 4.0}},
        "transformers": costs(11)["likelihood"],
        "machine": harness.machine(),
    }
    precisions = {"fp32": costs(5), "int8": costs(5.5)}
    tree = {"Chinese": finetune.terms("Chinese", 10, 3) | {"ways": ways, "checks": checks, "precisions": precisions}}
    lines = finetune.table(json.loads(json.dumps(tree))).splitlines()
    prose = [line for line in lines if not line.startswith("|")]
    costs_of_new = "4 (3 to 5) | -7.000 (-7.500 to -6.500) | 16 (15 to 17)"
    costs_of_old = "6 (5 to 7) | +1.000 (+0.500 to +1.500) | 64 (63 to 65)"
    assert f"| LoRA | 1,234 | 5,678 | {costs_of_new} | {costs_of_old} |" in lines
    assert "| 5-gram of each text | | | 3.5 | | | 4.5 | | |" in lines and max(map(len, prose)) <= 130
    assert "- LoRA: 29 of 30 frozen tensors are the base's bit for bit." in lines
    assert "| int8 | 5.50000 | 45.255 | +41.421% |" in lines and "| LoRA | 一 \\| 二 | 三 |" in lines


def test_a_case_is_measured_when_its_last_step_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetune, "HERE", tmp_path)
    facts = finetune.terms("English", 10, 3) | {"checks": {}}
    for checks, done in (({}, False), ({"machine": harness.machine()}, True)):
        harness.write_json(finetune.folder_of("English") / "facts.json", facts | {"checks": checks})
        assert finetune.measured("English", 10, 3) == done and not finetune.measured("English", 10, 2)


def test_what_was_evaluated_is_read_again(tmp_path: Path) -> None:
    """There is no run and no data: only the report."""
    plain = {"extractor": "none", "weights": "", "resize": "none", "data": "d", "split": "test", "real": 9, "made": 0}
    stamp = Stamp.from_tree(plain | {"seed": 0, "software": {}}, "stamp")
    found = tuple(Score.of(name, value, stamp) for name, value in (("likelihood", 2.5), ("perplexity", 30.0)))
    cost = Cost(parameters=1, samples_per_second=1.0, sampling_seconds=1.0, peak_bytes=1, device="cpu")
    report = Report(name="a", model_kind="gpt", model="", seed=0, licence="", cost=cost, scores=found)
    report.write(tmp_path / "on-new")
    costs = finetune.scores(tmp_path / "run", "data", tmp_path / "on-new")
    assert costs["likelihood"] == {"value": 2.5, "low": None, "high": None, "baselines": {}}
    assert costs["perplexity"]["value"] == 30


def test_pictures_are_of_recipes_that_are_there() -> None:
    for name, one in pictures.CONTESTANTS.items():
        recipe = read(one.recipe, one.overrides)
        codec = pictures.CODECS.get(name)
        assert (codec is not None) == (recipe.codec == f"runs/{codec}")  # another codec than the recipe's is no codec
        shared = [word for word in one.overrides if word.startswith(("data.", "medium."))]
        assert codec is None or read(codec, shared).medium == recipe.medium
        assert set(pictures.JUDGES) >= {name} or recipe.data.combinations is None
    of_row = {row: [name for name, one in pictures.CONTESTANTS.items() if one.row == row] for row in pictures.ROWS}
    assert all(of_row.values()) and sum(map(len, of_row.values())) == len(pictures.CONTESTANTS)
    page = (harness.ROOT / "docs" / "pictures.md").read_text(encoding="utf-8")
    assert all(f"<!-- {row} -->" in page and f"--only {row}" in page for row in pictures.ROWS)


def test_who_compares_is_of_one_size_and_claims_are_of_somebody() -> None:
    compared = [one for one in pictures.CONTESTANTS.values() if one.row == "compare"]
    assert len({json.dumps(read(one.recipe, one.overrides).medium.to_tree()) for one in compared}) == 1
    labels = {*pictures.CONTESTANTS, *(f"{name}, {way}" for name, ways in pictures.WAYS.items() for way in ways)}
    assert {claim.one for claim in pictures.CLAIMS} <= labels
    chosen = pictures.CONTEST.chosen
    assert chosen(["dalle"]) == ["clip", "dalle"] and chosen(["codes"])[0] == "vqvae fashion"
    assert chosen([]) == list(pictures.CONTESTANTS)


def test_a_part_of_a_table_is_always_the_same(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    for split, n in (("train", 40), ("test", 7)):
        table = pa.table({"n": list(range(n))}).replace_schema_metadata({"who": "me"})
        pyarrow.parquet.write_table(table, tmp_path / f"{split}-00000-of-00001.parquet")
    parts = [contest.some_of(tmp_path, 10, tmp_path / name) for name in ("one", "two", "one")]
    one, two, again = ([pyarrow.parquet.read_table(file) for file in sorted(part.iterdir())] for part in parts)
    assert [len(table) for table in one] == [7, 10] and one == two == again
    assert one[1].schema.metadata[b"who"] == b"me" and len(set(one[1]["n"].to_pylist())) == 10


def report(name: str, fid: float, seed: int = 0, data: str = "d", **beside: float) -> dict:
    stamp = {"extractor": "domain", "weights": "0" * 64, "resize": "none", "data": data, "split": "test", "real": 9}
    how = Stamp.from_tree(stamp | {"made": 9, "seed": seed, "software": {}}, "stamp")
    others = {way: Estimate(value, value - 1, value + 1) for way, value in beside.items()}
    found = (
        Score.of("fid", Estimate(fid, fid - 1, fid + 1), how, floor=2.0),
        Score.of("answer_psnr", Estimate(fid, fid - 1, fid + 1), how, baselines=others),
    )
    cost = {"parameters": 20, "samples_per_second": 4.0, "sampling_seconds": 1.0, "peak_bytes": 1, "device": "cpu"}
    cost |= {"train_seconds": 60.0, "train_steps": 1000}
    whole = Report(name=name, model_kind="gan", model="", seed=0, licence="", cost=Cost(**cost), scores=found)
    return whole.to_tree()


def test_the_table_of_pictures_puts_the_best_first_and_says_what_is_claimed() -> None:
    common = {"images": 1066.7, "minutes": 30.0, "machine": harness.machine()}
    runs = {"dcgan": 20.0, "r3gan": 10.0, "sagan": 19.0, "stylegan2": 5.0}
    tree = {name: common | {"reports": {name: report(name, fid, seed=i)}} for i, (name, fid) in enumerate(runs.items())}
    tree["stylegan2"]["reports"]["stylegan2"] = report("stylegan2", 5.0, data="other")
    labels = {"meanflow": 8.0, "meanflow, 4 steps": 8.0, "meanflow, 50 steps": 4.0}
    tree["meanflow"] = common | {"reports": {label: report(label, fid) for label, fid in labels.items()}}
    small = {"bicubic": 7.0, "nearest": 6.0}
    tree["superres"] = common | {"reports": {"superres": report("superres", 10.0, **small)}}
    tree = json.loads(json.dumps(tree))
    lines = pictures.CONTEST.table("compare", tree).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:9]] == [
        "meanflow, 50 steps", "– real against real", "stylegan2", "meanflow", "meanflow, 4 steps", "r3gan", "sagan",
    ]  # fmt: skip
    assert "| dcgan | 1,000 | 20 | 1,067 | 0.25 | 20 (19 to 21) |" in lines
    assert "- r3gan : dcgan, Fréchet distance: 0.5 (goal: at most 1)" in lines
    assert "- sagan : dcgan, Fréchet distance: 0.95, not told apart (goal: at most 1)" in lines
    assert "- stylegan2 : dcgan, Fréchet distance: 0.25, not comparable: data differ (goal: at most 1)" in lines
    assert "- meanflow, 4 steps : meanflow, 50 steps, Fréchet distance: 2 (goal: at most 1.3)" in lines
    lines = pictures.CONTEST.table("crafts", tree).splitlines()
    assert "| – bicubic | | | | | 7 (6 to 8) |  |" in [line.replace("|  |  |  |  |", "| | | | |") for line in lines]
    assert "- superres less bicubic, Answer PSNR: +3.00 dB (goal: at least 1.5)" in lines
    assert pictures.CONTEST.table("codes", tree) == "Not measured yet."


def test_pictures_that_were_measured_otherwise_are_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contest, "WORK", tmp_path)
    name = f"{pictures.FEW} faces, ADA"
    assert not pictures.CONTEST.measured(name, 2, 100)
    facts = json.loads(json.dumps(pictures.CONTEST.terms(name, 2, 100) | {"reports": {}}))
    harness.write_json(pictures.CONTEST.folder_of(name) / "facts.json", facts)
    assert pictures.CONTEST.measured(name, 2, 100)
    assert not pictures.CONTEST.measured(name, 3, 100) and not pictures.CONTEST.measured(name, 2, 200)
