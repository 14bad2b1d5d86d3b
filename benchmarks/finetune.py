"""Going on from weights: what is gained on a new author, what is lost of the old text; see README.md beside this file.

    python -m benchmarks.finetune                     10 minutes for each base, 1 for each way of going on, all cores
    python -m benchmarks.finetune --cores 1           side by side, one core and one thread each
    python -m benchmarks.finetune --only Chinese --minutes 1 --tuning 0.2
    python -m benchmarks.finetune --table             write the table of docs/quality.md from what was measured last

A base of GPT-2's form learns an old text; from it a new author is learnt in full, with half of it frozen and at low
rank (the base exported, and opened as a model of `transformers`), and beside them from scratch with the base's tokens,
so that perplexities are of the same tokens. `maquette evaluate` says what unseen text of both costs each of them.

In both languages the new author has left too little to learn a language from, which is why one goes on from weights,
and the base has never seen a word of him:

- English: articles of Wikipedia, then the first 100 kB of tinyshakespeare (its own validation split is held out).
  Prose about everything, then verse and speeches with other spellings: much is new, and much can be forgotten.
- Chinese: Tang poems by all but Bai Juyi, of whom there are most, then three quarters of his (the rest is held out).
  The same form and nearly the same words: little is new, and little can be forgotten.

So little is known by heart within minutes, and unseen text then costs more again (docs/log.md): a way of going on has
one minute. Poems were handed down under several names, so one that shares a line with a poem that is held out is not
learnt. What was measured is stored step by step and what was begun is resumed; `--again` begins anew.
"""

import argparse
import fnmatch
import math
import re
import subprocess
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness import (
    RESULTS,
    ROOT,
    WORK,
    child,
    fresh,
    machine,
    put_between,
    read_json,
    side_by_side,
    write_json,
)
from benchmarks.peers import test_data
from benchmarks.tasks import cell

FILE = RESULTS / "finetune.json"
HERE = WORK / "finetune"
BYTES = 100_000
"""Of the new author, in English."""
POET = "白居易"
DEPTH = 6
BASE = (
    "medium.tokenizer=bpe",
    "medium.vocab=4096",
    "medium.length=128",
    f"model.net={{kind: transformer, width: 192, depth: {DEPTH}, heads: 6, norm: layer, positions: learned, mlp: gelu, "
    "bias: true, qk_norm: false}",
    "model.embed_norm=false",
)
"""GPT-2's form, which `maquette export` writes, over the recipe gpt-char."""
FROZEN = ("table.*", *(f"net.blocks.{block}.*" for block in range(DEPTH // 2)))
PRECISIONS = ("fp32", "bf16", "int8")
DRAWN = 64
"""Samples that an evaluation draws; what unseen text costs does not depend on it."""
COMPARED = 32
"""Unseen windows on which an adapter in peft is held against the bundle."""
TOGETHER = 32
"""Windows that are read at once."""
MADE = 48
"""Tokens of a continuation that is shown."""


@dataclass(frozen=True)
class Case:
    """An old text and a new author.

    Attributes:
        prepare: writes what is not there as it is learnt into a folder; gives the data of old and new.
        prompt: words of neither that the models shown go on from.
    """

    old: str
    new: str
    prepare: Callable[[Path], tuple[str, str]]
    prompt: str


@dataclass(frozen=True)
class Way:
    """How the new author is learnt: from nothing (with the base's medium and model), from the base's run, or from the
    folder that it was exported to."""

    begin: str = ""
    overrides: tuple[str, ...] = ()


WAYS = {
    "in full": Way("run"),
    "half frozen": Way("run", (f"train.frozen=[{', '.join(FROZEN)}]",)),
    "LoRA": Way("exported", ("model.kind=pretrained", "model.tune=lora")),
    "from scratch": Way(),
}
BEFORE = "the base as it is"


# -- data -------------------------------------------------------------------------------------------------------------


def prepare_english(folder: Path) -> tuple[str, str]:
    new, source = folder / "new", test_data("tinyshakespeare")
    if not new.exists():
        new.mkdir(parents=True)
        (new / "test.txt").write_text((source / "validation.txt").read_text())
        (new / "train.txt").write_text((source / "train.txt").read_text()[:BYTES].rpartition("\n\n")[0])
    return str(test_data("wikitext2_small")), str(new)


def prepare_chinese(folder: Path) -> tuple[str, str]:
    import pyarrow
    import pyarrow.parquet

    if not folder.exists():
        source = test_data("tang_poems")
        rows = {
            split: pyarrow.parquet.read_table(next(source.glob(f"{split}-*"))).to_pylist()
            for split in ("train", "test")
        }
        for (name, split), texts in divided(rows["train"], rows["test"]).items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            pyarrow.parquet.write_table(pyarrow.table({"text": texts}), folder / name / f"{split}.parquet")
    return str(folder / "old"), str(folder / "new")


def divided(train: list[dict[str, str]], test: list[dict[str, str]]) -> dict[tuple[str, str], list[str]]:
    """(old or new, train or test) -> poems of rows with `author` and `text`: every fourth of the poet is held out, and
    no poem that is learnt shares a line with one that is held out."""
    his = [row["text"] for row in (*train, *test) if row["author"] == POET]
    old, unseen = ([row["text"] for row in rows if row["author"] != POET] for rows in (train, test))
    new, held = [text for i, text in enumerate(his) if i % 4], his[::4]
    known = set().union(*map(lines_of, (*unseen, *held)))
    old, new = ([text for text in texts if not lines_of(text) & known] for texts in (old, new))
    return {("old", "train"): old, ("old", "test"): unseen, ("new", "train"): new, ("new", "test"): held}


def lines_of(poem: str) -> set[str]:
    return set(re.findall(r"\w+", poem))


CASES = {
    "English": Case(
        "Wikipedia (`wikitext2_small`)",
        "Shakespeare (100 kB of `tinyshakespeare`)",
        prepare_english,
        "The king said",
    ),
    "Chinese": Case("poems of the Tang (`tang_poems`)", "Bai Juyi (199 of his poems)", prepare_chinese, "明月"),
}


# -- what is measured -------------------------------------------------------------------------------------------------


def folder_of(name: str) -> Path:
    return HERE / name


def terms(name: str, minutes: float, tuning: float) -> dict[str, Any]:
    """What tells one measurement of a case from another."""
    ways = {way: [how.begin, *how.overrides] for way, how in WAYS.items()}
    return {"base": list(BASE), "how": ways, "minutes": minutes, "tuning": tuning, "new": CASES[name].new}


def work(name: str, minutes: float, tuning: float) -> None:
    """The child's part: everything of a case, each step stored as it ends and not done again."""
    import maquette

    case, folder = CASES[name], folder_of(name)
    old, new = case.prepare(folder / "data")
    facts = read_json(folder / "facts.json") or terms(name, minutes, tuning)

    def step(group: str, key: str, make: Callable[[], Any]) -> None:
        if key not in facts.setdefault(group, {}):
            facts[group][key] = make()
            write_json(folder / "facts.json", facts)

    def measure(way: str) -> dict[str, Any]:
        run = folder / way.replace(" ", "-")
        trained(run, lambda: begun(way, base, exported, new, tuning, run))
        return judged(run, base, old, new, case) | kept(way, run, base, exported)

    def lay() -> dict[str, Any]:
        trained(base, lambda: maquette.train("gpt-char", old, f"{60 * minutes:g}s", base, BASE, quiet=True))
        return judged(base, base, old, new, case)

    base, exported = folder / "base", folder / "exported"
    step("ways", BEFORE, lay)
    if not exported.exists():
        maquette.export_model(base, exported)
    for precision in PRECISIONS:
        step("precisions", precision, partial(scores, base, old, folder / f"base-{precision}", precision))
    for way in WAYS:
        step("ways", way, partial(measure, way))
    step("checks", "peft", lambda: opened_by_peft(folder / "LoRA", exported, new))
    step("checks", "transformers", lambda: opened_by_transformers(base, exported, new))
    step("checks", "machine", machine)


def trained(run: Path, begin: Callable[[], object]) -> None:
    """Begin a run, or go on with it to its end."""
    import maquette

    if (run / "recipe.json").exists():
        maquette.resume(run, quiet=True)
    else:
        begin()


def begun(way: str, base: Path, exported: Path, new: str, minutes: float, out: Path) -> None:
    """Train on `new` in that way."""
    import maquette
    from maquette.train.run import Run

    how, budget = WAYS[way], f"{60 * minutes:g}s"
    if how.begin:
        begin = {"run": base, "exported": exported}[how.begin]
        maquette.train("finetune", new, budget, out, how.overrides, quiet=True, begin=begin)
    else:
        recipe = Run.open(base).recipe  # its medium holds the vocabulary
        maquette.train(recipe, new, budget, out, quiet=True)


def judged(run: Path, base: Path, old: str, new: str, case: Case) -> dict[str, Any]:
    """What unseen text of old and new costs a run, and how it goes on from the prompt, the first two tries."""
    from maquette.core.types import Sampling
    from maquette.pipeline import Request, load
    from maquette.train.run import Run

    said = load(run).say(Request(n=2, prompt=case.prompt, max_tokens=MADE, sampling=Sampling(top_p=0.95)))
    found: dict[str, Any] = {name: scores(run, data, run / f"on-{name}") for name, data in (("new", new), ("old", old))}
    if run != base:
        found["more"] = {"new": more(run, base, new), "old": more(run, base, old)}
    steps = max(line["step"] for line in Run.open(run).metrics())
    return found | {"steps": steps, "texts": [one.text for one in said], "learnt": learnt(run)}


def more(run: Path, base: Path, data: str) -> dict[str, Any]:
    """How many bits per byte the windows that `maquette evaluate` looks at cost a run more than the base, pair by pair:
    whole texts differ far more from each other than two models do."""
    import torch

    from maquette.core.seeds import Seeds
    from maquette.core.types import Batch, Given
    from maquette.data.source import Data, open_data
    from maquette.evaluate.reference import HELD_OUT, picked
    from maquette.evaluate.scores.intervals import of_mean
    from maquette.pipeline import load

    nats, sizes = [], []
    for pipeline in map(load, (run, base)):
        test = open_data(Data(source=data), pipeline.medium).test
        x = pipeline.medium.to_tensor(test.items[picked(test, HELD_OUT, 0)])
        parts = [Batch(part, Given(), Seeds.for_samples(0, len(part))) for part in x.split(TOGETHER)]
        with torch.inference_mode():
            nats.append(torch.cat([pipeline.model.nll(part) for part in parts]).double())  # type: ignore[operator]
        sizes.append(pipeline.medium.units(x).double())
    assert torch.equal(*sizes), "other windows"
    estimate = of_mean(((nats[0] - nats[1]) / (sizes[0].mean() * math.log(2))).tolist(), "")
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def scores(run: Path, data: str, out: Path, precision: str = "fp32") -> dict[str, Any]:
    """Bits per byte, those of simpler ways too, and perplexity of unseen text; the report in `out` if there is one."""
    import maquette
    from maquette.evaluate.report import REPORT, Report

    if not (out / REPORT).exists():
        maquette.evaluate(run, DRAWN, data, out, quiet=True, precision=precision)
    report = Report.read(out)
    found = {name: report.score(name) for name in ("likelihood", "perplexity")}
    trees = {name: score.to_tree() for name, score in found.items() if score is not None}
    return {name: {key: tree[key] for key in ("value", "low", "high", "baselines")} for name, tree in trees.items()}


def stays(run: Path) -> Callable[[str], bool]:
    """Whether a tensor of a run's bundle was to stay as it is, by its name."""
    from maquette.train.run import Run

    recipe = Run.open(run).recipe
    if getattr(recipe.model, "tune", "full") == "lora":
        return lambda name: ".lora_" not in name
    return lambda name: any(fnmatch.fnmatchcase(name, pattern) for pattern in recipe.train.frozen)


def learnt(run: Path) -> int:
    """How many numbers of a run's weights were learnt."""
    from maquette.bundle import read_bundle

    fixed = stays(run)
    return sum(t.numel() for name, t in read_bundle(run / "bundle").weights.items() if not fixed(name))


def kept(way: str, run: Path, base: Path, exported: Path) -> dict[str, Any]:
    """Tensors that were to stay as they are, and how many have other bits than those that training began from."""
    import torch

    from maquette.bundle import read_bundle
    from maquette.train.begin import begin

    how, fixed = WAYS[way], stays(run)
    if not how.begin:
        return {}
    before = begin(base).weights if how.begin == "run" else begin(exported, "pretrained").weights
    after = read_bundle(run / "bundle").weights
    names = [name for name in before if fixed(name)]
    bits = {name: [of[name].view(torch.int32) for of in (before, after)] for name in names}
    return {"frozen": len(names), "changed": sum(not torch.equal(*pair) for pair in bits.values())}


def opened_by_peft(run: Path, exported: Path, new: str) -> dict[str, Any]:
    """The run's adapter, opened by peft over the exported base, against the run's bundle, on unseen windows."""
    import peft
    import torch
    import transformers
    from torch.nn import functional as F

    from maquette.core.types import Condition
    from maquette.data.source import Data, open_data
    from maquette.pipeline import load

    pipeline = load(run, "cpu")
    x = pipeline.medium.to_tensor(open_data(Data(source=new), pipeline.medium).test.items[:COMPARED])
    base = transformers.AutoModelForCausalLM.from_pretrained(exported).eval()
    with torch.inference_mode():
        own = pipeline.model.read(x[:, :-1], Condition())[0]  # type: ignore[operator]
        plain = base(x[:, :-1]).logits[..., : own.shape[-1]].clone()
        theirs = peft.PeftModel.from_pretrained(base, run / "adapter").eval()(x[:, :-1]).logits[..., : own.shape[-1]]
        nats = [float(F.cross_entropy(logits.flatten(0, 1), x[:, 1:].flatten())) for logits in (plain, own, theirs)]
    named = dict(zip(("base", "own", "peft"), nats, strict=True))
    return {"difference": float((own - theirs).abs().max()), "nats": named}


def opened_by_transformers(base: Path, exported: Path, new: str) -> dict[str, Any]:
    """What unseen text costs the base, and what it costs when the exported folder is opened as a `pretrained` one."""
    import maquette

    bundle = base.parent / "imported"
    if not bundle.exists():
        maquette.import_model(exported, bundle, ["model.kind=pretrained"])
    return scores(bundle, new, base.parent / "imported-on-new")["likelihood"]


def measured(name: str, minutes: float, tuning: float) -> bool:
    """Whether all of a case was measured on these terms."""
    facts, asked = read_json(folder_of(name) / "facts.json"), terms(name, minutes, tuning)
    return {key: facts.get(key) for key in asked} == asked and "machine" in facts.get("checks", {})


def run_all(asked: argparse.Namespace) -> None:
    """Measure what has not been."""
    given = asked.minutes, asked.tuning

    def start(name: str, cores: list[int]) -> tuple[subprocess.Popen, Path]:
        fresh(folder_of(name), terms(name, *given), asked.again)
        words = ["--child", name, "--minutes", str(asked.minutes), "--tuning", str(asked.tuning)]
        return child("benchmarks.finetune", words, cores, folder_of(name) / "log.txt"), folder_of(name) / "log.txt"

    names = asked.only or list(CASES)
    side_by_side([name for name in names if asked.again or not measured(name, *given)], asked.cores, start)
    held = read_json(FILE)
    found = {name: read_json(folder_of(name) / "facts.json") for name in names if measured(name, *given)}
    if found:
        write_json(FILE, {name: (held | found)[name] for name in CASES if name in held | found})


# -- tables -----------------------------------------------------------------------------------------------------------


def table(tree: dict[str, Any]) -> str:
    """For each case what was gained and lost, what was checked, the cost of precision, and samples."""
    lines: list[str] = []
    for name, facts in tree.items():
        case, m = CASES[name], facts["checks"]["machine"]
        lines += [f"**{name}: {case.old}, {facts['minutes']:g} minutes; then {case.new}, {facts['tuning']:g} minutes**"]
        lines += ["", *costs(facts), "", *checks(facts), "", *precisions(facts), ""]
        lines += [f"| | “{case.prompt}”, first try | second |", "|---|---|---|"]
        lines += [f"| {way} | {' | '.join(map(cell, one['texts']))} |" for way, one in facts["ways"].items()]
        lines += ["", f"{m['processor']}, {m['cores']} cores, torch {m['torch']}.", ""]
    return "\n".join([*lines, "In brackets 95 % intervals; “more” is against the base, window by window."])


def costs(facts: dict[str, Any]) -> list[str]:
    """A line for each way, and for each simpler way of predicting a text."""
    heads = [f"{of}: {what}" for of in ("new", "old") for what in ("bits per byte", "more", "perplexity")]
    lines = [f"| | steps | numbers learnt | {' | '.join(heads)} |", "|" + "---|" * 9]
    for way, one in facts["ways"].items():
        cells = [f"{one['steps']:,}", f"{one['learnt']:,}"]
        for of in ("new", "old"):
            change = signed(one["more"][of]) if "more" in one else ""
            cells += [figure(one[of]["likelihood"]), change, figure(one[of]["perplexity"])]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    new, old = (facts["ways"][BEFORE][of]["likelihood"]["baselines"] for of in ("new", "old"))
    return lines + [f"| {way} of each text | | | {figure(new[way])} | | | {figure(old[way])} | | |" for way in new]


def checks(facts: dict[str, Any]) -> list[str]:
    """A line for each claim, with what was found."""
    peft, nats = facts["checks"]["peft"], facts["checks"]["peft"]["nats"]
    own, theirs = facts["ways"][BEFORE]["new"]["likelihood"], facts["checks"]["transformers"]
    said = [
        f"{way}: {one['frozen'] - one['changed']} of {one['frozen']} frozen tensors are the base's bit for bit."
        for way, one in facts["ways"].items()
        if one.get("frozen")
    ]
    said += [
        f"The adapter, opened by peft over the exported base: logits differ from the bundle's by at most "
        f"{peft['difference']:.1g}, nats a token by {abs(nats['peft'] - nats['own']):.1g} ({nats['base']:.3f} without "
        f"it, {nats['peft']:.3f} with it).",
        f"The exported base in transformers pays {theirs['value']:.4f} bits per byte for the new, {own['value']:.4f} "
        "here.",
    ]
    return [line for one in said for line in textwrap.wrap(f"- {one}", 128, subsequent_indent="  ")]


def precisions(facts: dict[str, Any]) -> list[str]:
    """A line for each precision of the base's weights."""
    lines = ["| weights of the base in | old: bits per byte | perplexity | more |", "|" + "---|" * 4]
    exact = facts["precisions"]["fp32"]["perplexity"]["value"]
    for precision, found in facts["precisions"].items():
        bits, perplexity = found["likelihood"]["value"], found["perplexity"]["value"]
        change = "" if precision == "fp32" else f"{perplexity / exact - 1:+.3%}"
        lines.append(f"| {precision} | {bits:.5f} | {perplexity:.5g} | {change} |")
    return lines


def figure(score: dict[str, Any]) -> str:
    """A value with its interval."""
    value, low, high = ("" if x is None else short(x) for x in (score["value"], score["low"], score["high"]))
    return f"{value} ({low} to {high})" if low else value


def signed(change: dict[str, Any]) -> str:
    return f"{change['value']:+.3f} ({change['low']:+.3f} to {change['high']:+.3f})"


def short(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) and value >= 1000 else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="of training for each base")
    parser.add_argument("--tuning", type=float, default=1, help="minutes for each way of learning the new author")
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--cores", type=int, default=0, help="of each case, as many side by side as fit")
    parser.add_argument("--again", action="store_true", help="begin anew what was measured or begun before")
    parser.add_argument("--table", action="store_true", help="only write docs/quality.md from the results")
    parser.add_argument("--child", choices=CASES, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        return work(asked.child, asked.minutes, asked.tuning)
    if asked.table:
        return put_between(ROOT / "docs" / "quality.md", "finetune", table(read_json(FILE)))
    run_all(asked)
    return print(table(read_json(FILE)))


if __name__ == "__main__":
    main()
