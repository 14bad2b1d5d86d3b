"""A contest: recipes trained for equal times and evaluated, and the tables of docs that hold them against each other.

Each contestant is a process of its own that trains a recipe as it comes and evaluates it with `maquette evaluate`; the
report stays in its run. A model behind a codec trains that too, out of the same time. What was measured is stored as
soon as it ends, and what was begun is resumed; `--again` begins anew. One that fails is told of, and the others go on.
`pictures.py` and its like say who takes part.
"""

import argparse
import dataclasses
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from maquette.evaluate.report import Report
    from maquette.train.run import Run

SHEETS = ROOT / "docs" / "sheets"
CODEC = 1 / 3
"""Share of the time that goes to the codec of a model behind one."""
LABELLED = "data.conditional=true"
"""The override by which a model is told labels."""
DATA = "DATA"
"""In an override, the folder of all data sets."""
CHINESE = {
    "steps": "步数",
    "parameters": "参数",
    "items/s": "样本/秒",
    "s a sample": "秒/样本",
    "entries": "项",
    "scaled": "标度",
    "per 100 chords": "每 100 和弦",
    "nats": "奈特",
    "real against real": "真实对真实",
    "{value} ({low} to {high})": "{value}（{low} 至 {high}）",
    "- {one}, {title}: {value} {goal}": "- {one}，{title}：{value}{goal}",
    "- {one} less {other}, {title}: {value} {goal}": "- {one} 减 {other}，{title}：{value}{goal}",
    "- {one} : {other}, {title}: {value} {goal}": "- {one} 与 {other} 之比，{title}：{value}{goal}",
    "(goal: at least {goal:g})": "（目标：至少 {goal:g}）",
    "(goal: at most {goal:g})": "（目标：至多 {goal:g}）",
    "{value}, not told apart": "{value}，区分不开",
    "{value}, not comparable: {unlike} differ": "{value}，不可比：{unlike} 不同",
    "{minutes} minutes each. In brackets 95 % intervals.": "每个 {minutes} 分钟。括号内为 95 % 区间。",
    "Fréchet distances: extractor {extractor} `{weights}`, {made:,} made against {real:,} real ones of the "
    "{split} split.": (
        "Fréchet 距离：提取器 {extractor} `{weights}`，{made:,} 个生成样本对 {split} 划分的 {real:,} 个真实样本。"
    ),
    "{processor}, {cores} core(s) each, torch {torch}.": "{processor}，每个 {cores} 核，torch {torch}。",
    "Not measured yet.": "尚未测量。",
}
"""What the tables of the Chinese pages say; names of contestants stay as they are typed."""


@dataclass(frozen=True)
class Tongue:
    """What stands in a page between figures: phrases as they are written here, or as `phrases` has them."""

    suffix: str
    """Of its pages."""
    phrases: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, text: str, **values: Any) -> str:
        return self.phrases.get(text, text).format(**values)

    def interval(self, score: Any) -> str:
        """A figure, with its interval where it has one."""
        value, low, high = (None if x is None else f"{x:.3g}" for x in (score.value, score.low, score.high))
        return str(value) if low is None else self("{value} ({low} to {high})", value=value, low=low, high=high)


ENGLISH = Tongue(".md")


def chinese() -> Tongue:
    from maquette.evaluate.report import KINDS
    from maquette.verbs import page

    titles = {kind.title: page.CHINESE[name] for name, kind in KINDS.items() if name in page.CHINESE}
    return Tongue(".zh.md", page.CHINESE | titles | CHINESE)


@dataclass(frozen=True)
class Contestant:
    """A recipe on a data set below MAQUETTE_TEST_DATA, or an embedded one.

    Attributes:
        few: on so many of its training items alone.
        splits: on these alone, the last of which stands in for the test split while it trains.
    """

    row: str
    recipe: str
    data: str
    overrides: tuple[str, ...] = ()
    few: int = 0
    splits: tuple[str, ...] = ()

    @property
    def apart(self) -> bool:
        """Whether it learns from less than it is evaluated on."""
        return bool(self.few or self.splits)


@dataclass(frozen=True)
class Claim:
    """A figure of one report over that of another or of a simpler way in the same report, or less it (`less`), or alone
    (other="")."""

    one: str
    score: str
    other: str
    goal: float = 1.0
    less: bool = False


@dataclass(frozen=True)
class Contest:
    """Who is measured together, and where it is written down: `benchmarks.NAME`, docs/NAME.md."""

    name: str
    contestants: Mapping[str, Contestant]
    rows: Mapping[str, tuple[str, ...]]
    """The scores that are shown of each row."""
    claims: Sequence[Claim]
    codecs: Mapping[str, str] = field(default_factory=dict)
    """Whose codes the model of a recipe learns; the codec shares its overrides of data and medium, and is told no
    labels."""
    judges: Mapping[str, str] = field(default_factory=dict)
    """Who says whether what a contestant makes agrees with its captions."""
    ways: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """How else a model is drawn from than as its recipe says: fields of `maquette.evaluate.evaluate.Options`."""
    compared: tuple[str, ...] = ("compare",)
    """The rows whose runs get a page of `maquette compare`, the best first in their tables."""
    shown: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    """Which picture of its reports the docs have of a row, or of one contestant, and how much of it from the top: one
    that shows what models made, or data that nobody owns."""
    drawn: Mapping[str, str] = field(default_factory=dict)
    """The way by which what is shown of a contestant was drawn, where that is not its own."""
    illustrated: tuple[str, ...] = ()
    """The rows under whose tables these pictures stand."""

    @property
    def file(self) -> Path:
        return RESULTS / f"{self.name}.json"

    @property
    def here(self) -> Path:
        return WORK / self.name

    def folder_of(self, name: str) -> Path:
        return self.here / name.replace(",", "").replace(" ", "-")

    def terms(self, name: str, minutes: float, samples: int) -> dict[str, Any]:
        """What tells one measurement from another."""
        one = self.contestants[name]
        told = dataclasses.asdict(one) | {"overrides": list(one.overrides), "splits": list(one.splits)}
        if not one.splits:
            del told["splits"]  # what was measured before there were such stays measured
        ways = list(self.ways.get(name, {}).values())
        return told | {"ways": ways, "minutes": minutes, "samples": samples}

    # -- measuring ----------------------------------------------------------------------------------------------------

    def work(self, name: str, minutes: float, samples: int) -> None:
        """The child's part: train or go on, evaluate, and store what was found."""
        one, folder = self.contestants[name], self.folder_of(name)
        whole, words = place(one)
        data = str(some_of(Path(whole), one.few, folder / "data", one.splits)) if one.apart else whole
        left = minutes
        if codec := self.codecs.get(one.recipe):
            shared = [word for word in words if word.startswith(("data.", "medium.")) and word != LABELLED]
            trained(codec, data, CODEC * minutes, folder / "codec", shared)
            words.append(f"codec={folder / 'codec'}")
            left -= CODEC * minutes
        run = trained(one.recipe, data, left, folder / "run", words)
        reports = dict(self.evaluated(name, run, whole if one.apart else None, samples))
        cost, found = reports[name].cost, {}
        assert cost.train_steps and cost.train_seconds, "a run knows how long it was trained"
        for label, report in reports.items():
            scores = tuple(score for score in report.scores if score.name in self.rows[one.row])
            found[label] = dataclasses.replace(report, name=label, scores=scores, pictures=(), notes=()).to_tree()
        images = cost.train_steps * run.recipe.train.batch / cost.train_seconds
        told = {"images": images, "reports": found, "machine": machine()}
        write_json(folder / "facts.json", self.terms(name, minutes, samples) | told)

    def evaluated(self, name: str, run: "Run", whole: str | None, samples: int) -> Iterator[tuple[str, "Report"]]:
        """The reports of a run by their labels: of its own way of drawing, and of the others that are asked for."""
        import maquette
        from maquette.core.config import override
        from maquette.data.source import open_data
        from maquette.evaluate.agreement import Judge
        from maquette.evaluate.evaluate import Options, evaluate
        from maquette.evaluate.reference import prepare
        from maquette.evaluate.report import REPORT, Report
        from maquette.pipeline import load

        judge = self.folder_of(self.judges[name]) / "run" if name in self.judges else None
        if not (run.path / REPORT).exists():
            maquette.evaluate(run.path, samples, whole, quiet=True, judge=judge)
        yield name, Report.read(run.path)
        if name not in self.ways:
            return
        pipeline = load(run.path)
        dataset = open_data(run.recipe.data, pipeline.medium)
        reference = prepare(dataset, pipeline.medium, pipeline.device, samples)
        jury = Judge.of(load(judge), pipeline, run.recipe.data.combinations) if judge else None
        for way, how in self.ways[name].items():
            out, options = self.folder_of(name) / way.replace(" ", "-"), Options.from_tree(override({}, [how]))
            if not (out / REPORT).exists():
                evaluate(pipeline, dataset, samples, reference=reference, options=options, judge=jury).write(out)
            yield f"{name}, {way}", Report.read(out)

    def measured(self, name: str, minutes: float, samples: int) -> bool:
        facts, asked = read_json(self.folder_of(name) / "facts.json"), self.terms(name, minutes, samples)
        return {key: facts.get(key) for key in asked} == asked

    def run_all(self, asked: argparse.Namespace) -> None:
        """Measure what has not been; who judges comes before those who are judged."""
        given = asked.minutes, asked.samples

        def start(name: str, cores: list[int]) -> tuple[subprocess.Popen, Path]:
            folder = self.folder_of(name)
            fresh(folder, self.terms(name, *given), asked.again)
            words = ["--child", name, "--minutes", str(asked.minutes), "--samples", str(asked.samples)]
            return child(f"benchmarks.{self.name}", words, cores, folder / "log.txt"), folder / "log.txt"

        names = self.chosen(asked.only)
        waiting = [name for name in names if asked.again or not self.measured(name, *given)]
        for judged in (False, True):
            side_by_side([name for name in waiting if (name in self.judges) == judged], asked.cores, start)
        held = read_json(self.file)
        found = {name: read_json(self.folder_of(name) / "facts.json") for name in names if self.measured(name, *given)}
        if found:
            write_json(self.file, {name: (held | found)[name] for name in self.contestants if name in held | found})
        for row in self.compared:
            if len(met := [name for name in found if self.contestants[name].row == row]) > 1:
                print(f"\n{self.write_page(met, row)}")

    def chosen(self, only: Sequence[str]) -> list[str]:
        """Whom rows and names of contestants stand for, and who judges them."""
        names = [name for name, one in self.contestants.items() if not only or name in only or one.row in only]
        judges = {self.judges[name] for name in names if name in self.judges}
        return [name for name in self.contestants if name in names or name in judges]

    def write_page(self, names: Sequence[str], row: str) -> Path:
        """The page of `maquette compare` for the runs of a row; gives its path."""
        from maquette.data.source import open_data
        from maquette.evaluate.report import Report
        from maquette.train.run import Run
        from maquette.verbs import compare, study

        runs = {name: Run.open(self.folder_of(name) / "run") for name in names}
        reports = []
        for name, run in runs.items():
            report = Report.read(run.path)
            reports.append(dataclasses.replace(report, name=name))
            reports[-1].images.update(report.images)
            reports[-1].clips.update(report.clips)
        recipe, command = runs[names[0]].recipe, f"python -m benchmarks.{self.name} --only {row}"
        medium = recipe.medium.build()
        dataset = open_data(recipe.data, medium)
        met = compare.studied(recipe.data.source, reports, runs, dataset, medium, command)
        return study.show(self.here / row, compare.heading(len(names)), compare.lede(met), [met]).paths[-1]

    # -- tables -------------------------------------------------------------------------------------------------------

    def sheets(self, tree: Mapping[str, Any]) -> None:
        """The picture of each report that is `shown`, as one of the docs."""
        from PIL import Image

        SHEETS.mkdir(exist_ok=True)
        for name in tree:
            which, share = self.shown.get(name) or self.shown.get(self.contestants[name].row, ("", 1.0))
            way = self.drawn[name].replace(" ", "-") if name in self.drawn else "run"
            sheet = self.folder_of(name) / way / "pictures" / f"{which}.png"
            if sheet.is_file():
                whole = Image.open(sheet)
                whole.crop((0, 0, whole.width, round(whole.height * share))).save(self.sheet(name), optimize=True)

    def sheet(self, name: str) -> Path:
        return SHEETS / f"{self.folder_of(name).name}.png"

    def pictures(self, row: str, tree: Mapping[str, Any]) -> str:
        """What stands under the table of a row: the sheets of those in it that have one."""
        names = [name for name in tree if self.contestants[name].row == row and row in self.illustrated]
        there = [name for name in names if self.sheet(name).is_file()]
        return "".join(f"\n\n{name}:\n\n![{name}](sheets/{self.sheet(name).name})" for name in there)

    def table(self, row: str, tree: Mapping[str, Any], say: Tongue = ENGLISH) -> str:
        """A line for each report of a row, under it its simpler ways and real against real; then what is claimed."""
        from maquette.evaluate.report import KINDS, Report

        facts = {name: one for name, one in tree.items() if self.contestants[name].row == row}
        reports = {label: Report.from_tree(tree) for one in facts.values() for label, tree in one["reports"].items()}
        if row in self.compared:
            reports = dict(sorted(reports.items(), key=lambda pair: figure(pair[1], "fid")))
        scores = [name for name in self.rows[row] if any(report.score(name) for report in reports.values())]
        units = {name: f", {say(KINDS[name].unit)}" * (KINDS[name].unit not in ("", "share")) for name in scores}
        costs = [say(what) for what in ("steps", "parameters", "items/s", "s a sample")]
        lines = [["", *costs, *(say(KINDS[name].title) + units[name] for name in scores)]]
        lines.append(["---"] * len(lines[0]))
        shown: list[float | None] = []
        for label, report in reports.items():
            cost, found = report.cost, [report.score(name) for name in scores]
            images = f"{facts[label]['images']:,.0f}" if label in facts else ""
            costs = [f"{cost.train_steps:,}", f"{cost.parameters:,}", images, f"{1 / cost.samples_per_second:.2g}"]
            lines.append([label, *costs, *(say.interval(score) if score else "" for score in found)])
            for way in dict.fromkeys(way for score in found if score for way in score.baselines):
                others = [score.baselines.get(way) if score else None for score in found]
                told = [f"– {say(way)}", *[""] * 4, *(say.interval(other) if other else "" for other in others)]
                if told not in lines:  # a simpler way that answers the same is said once
                    lines.append(told)
            floors = [score.floor if score else None for score in found]
            if any(floor is not None for floor in floors) and floors != shown:
                lines.append(
                    [f"– {say('real against real')}", *[""] * 4, *("" if x is None else f"{x:.3g}" for x in floors)]
                )
                shown = floors
        claims = [said for claim in self.claims if (said := stated(claim, reports, say))]
        warnings = [f"- {label}: {warning}" for label, report in reports.items() for warning in report.warnings]
        said = [f"| {' | '.join(cells)} |" for cells in lines]
        text = "\n".join([*said, "", *claims, *warnings, "", *about(facts, reports, say)])
        return text if facts else say("Not measured yet.")

    def main(self, about: str) -> None:
        """The command line of `benchmarks.NAME`, whose docstring is `about`."""
        parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
        names = [*self.rows, *self.contestants]
        parser.add_argument("--minutes", type=float, default=30, help="of training for each")
        parser.add_argument("--samples", type=int, default=2000, help="drawn from each and compared")
        parser.add_argument(
            "--only", nargs="+", choices=names, default=[], metavar="NAME", help=f"of {', '.join(names)}"
        )
        parser.add_argument("--cores", type=int, default=0, help="of each, as many side by side as fit")
        parser.add_argument("--again", action="store_true", help="begin anew what was measured or begun before")
        parser.add_argument(
            "--table", action="store_true", help=f"only write docs/{self.name}.md, .zh.md and sheets from the results"
        )
        parser.add_argument("--child", choices=self.contestants, help=argparse.SUPPRESS)
        asked = parser.parse_args()
        if asked.child:
            return self.work(asked.child, asked.minutes, asked.samples)
        if not asked.table:
            self.run_all(asked)
        tree = read_json(self.file)
        if asked.table:
            self.sheets(tree)
        for row in self.rows:
            for say in (ENGLISH, chinese()) if asked.table else ():
                text = self.table(row, tree, say) + self.pictures(row, tree)
                put_between(ROOT / "docs" / f"{self.name}{say.suffix}", row, text)
            if not asked.table:
                print(f"\n{row}\n\n{self.table(row, tree)}")


def place(one: Contestant) -> tuple[str, list[str]]:
    """Where its data are, and its overrides with the folder of all data put in."""
    from benchmarks.peers import test_data
    from maquette.data.embedded import NAMES

    whole = one.data if one.data in NAMES else str(test_data(one.data))
    return whole, [word.replace(DATA, str(Path(whole).parent)) for word in one.overrides]


def some_of(data: Path, n: int, folder: Path, splits: Sequence[str] = ()) -> Path:
    """A table of `n` training items of `data` (0 for all), picked by a seed, and of all that are held out, or of
    `splits` alone."""
    import numpy as np
    import pyarrow.parquet

    if not folder.exists():
        aside = folder.with_name("unfinished")
        aside.mkdir(exist_ok=True)
        for split in splits or ("test", "train"):
            (file,) = data.glob(f"{split}-*.parquet")
            shutil.copyfile(file, aside / file.name)
        if n:
            (train,) = aside.glob("train-*.parquet")
            whole = pyarrow.parquet.read_table(train)
            rows = np.sort(np.random.default_rng(0).permutation(len(whole))[:n])
            pyarrow.parquet.write_table(whole.take(rows), train)
        aside.rename(folder)
    return folder


def trained(recipe: str, data: str, minutes: float, out: Path, overrides: Sequence[str]) -> "Run":
    """A new run, or one that was begun, to its end."""
    import maquette

    if (out / "recipe.json").exists():
        return maquette.resume(out, quiet=True)
    return maquette.train(recipe, data, f"{60 * minutes:g}s", out, overrides, quiet=True)


def figure(report: "Report", score: str) -> float:
    """Its value; infinite where there is none."""
    found = report.score(score)
    return float("inf") if found is None else found.value


def stated(claim: Claim, reports: Mapping[str, "Report"], say: Tongue = ENGLISH) -> str:
    """What was found of a claim, as a line of a list; "" where it was not measured."""
    from maquette.evaluate.report import KINDS

    one = reports[claim.one].score(claim.score) if claim.one in reports else None
    other = reports[claim.other].score(claim.score) if claim.other in reports else None
    than = other or (one and one.baselines.get(claim.other))
    if one is None or (claim.other and than is None):
        return ""
    least = KINDS[claim.score].better != "lower"
    goal = say("(goal: at least {goal:g})" if least else "(goal: at most {goal:g})", goal=claim.goal)
    told = {"one": claim.one, "title": say(one.title), "goal": goal}
    if than is None:
        return say("- {one}, {title}: {value} {goal}", value=f"{one.value:.3g}", **told)
    value = f"{one.value - than.value:+.2f} {one.unit}" if claim.less else f"{one.value / than.value:.3g}"
    bounds = one.low, one.high, than.low, than.high
    if other is not None and (unlike := one.stamp.unlike(other.stamp)):
        value = say("{value}, not comparable: {unlike} differ", value=value, unlike=", ".join(unlike))
    elif None not in bounds and one.low <= than.high and than.low <= one.high:  # type: ignore[operator]
        value = say("{value}, not told apart", value=value)
    less, over = "- {one} less {other}, {title}: {value} {goal}", "- {one} : {other}, {title}: {value} {goal}"
    return say(less if claim.less else over, other=say(claim.other), value=value, **told)


def about(facts: Mapping[str, Any], reports: Mapping[str, "Report"], say: Tongue = ENGLISH) -> Iterator[str]:
    """How it was measured, a sentence a line."""
    minutes = ", ".join(dict.fromkeys(f"{one['minutes']:g}" for one in facts.values()))
    yield say("{minutes} minutes each. In brackets 95 % intervals.", minutes=minutes)
    looked = [score.stamp for report in reports.values() for score in report.scores if score.name == "fid"]
    yield from dict.fromkeys(
        say(
            "Fréchet distances: extractor {extractor} `{weights}`, {made:,} made against {real:,} real ones of the "
            "{split} split.",
            **vars(s) | {"weights": s.weights[:12]},
        )
        for s in looked
    )
    machines = [one["machine"] for one in facts.values()]
    yield from dict.fromkeys(say("{processor}, {cores} core(s) each, torch {torch}.", **m) for m in machines)
