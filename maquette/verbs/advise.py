"""Which recipe suits what somebody has: those of a medium, ranked by what was measured and by nothing else.

`measured.json` holds the measured tables of docs/, and is written by `python -m benchmarks.measured`. Only figures of
one table, taken alike, are held against each other: the table that was measured most nearly as is asked for leads, what
only other tables have follows, and what was not measured comes last and says so.
"""

import contextlib
import json
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import takewhile
from pathlib import Path
from textwrap import shorten
from typing import Any

from maquette.core.config import Config, read_yaml
from maquette.core.errors import MaquetteError, Phrase, Sentence, nearest
from maquette.evaluate.chinese import UNITS, named
from maquette.verbs.recipes import Listed, read, recipes

MEASURED = Path(__file__).with_name("measured.json")
NOTHING = "nothing"
"""What a recipe's samples are made from where nothing is given."""
ALONG = (
    (
        "label",
        Sentence("labels: data.conditional=true makes samples by label", "标签：data.conditional=true 可按标签生成"),
    ),
    (
        "text",
        Sentence(
            "captions: --given text ranks what makes samples from words", "说明文字：--given text 列出由文字生成的配方"
        ),
    ),
)
"""What data may have beside samples, and what can be done with it."""
MEDIA = {
    "image": "图像",
    "text": "文本",
    "audio": "声音",
    "video": "影片",
    "music": "音乐",
    "series": "序列",
    "points": "点",
}
SCORES = {
    "Accuracy by likelihood": "accuracy",
    "Agreement": "agreement_1",
    "Answer PSNR": "answer_psnr",
    "Answer SNR": "answer_snr",
    "CRPS": "crps",
    "Fréchet distance": "fid",
    "Label accuracy": "label_accuracy",
    "Nats per step": "step_nats",
    "Negative log-likelihood": "likelihood",
    "Words recognised": "words_heard",
    "chrF": "chrf",
    "loss": "损失",
}
"""Scores of the tables by the names that `chinese.py` knows."""
OTHERWISE = 10.0
"""So many times fewer or more examples, or less time, than were measured are told as not measured."""
FULL = 3
"""Places whose reasons are printed in full."""


@dataclass(frozen=True, kw_only=True)
class Entry(Config):
    """What was measured of one recipe.

    Attributes:
        overrides: what was set behind it.
        low, high: the interval of the score, where there is one.
        items: how many samples a second it learnt from.
        sample: seconds that one takes to draw.
        simpler: value, low and high of simpler ways of doing the same, by name.
        bound: whether the score is only known to be at most this.
    """

    recipe: str
    overrides: tuple[str, ...] = ()
    value: float
    low: float | None = None
    high: float | None = None
    steps: int | None = None
    items: float | None = None
    sample: float | None = None
    simpler: dict[str, tuple[float, float | None, float | None]] = field(default_factory=dict)
    bound: bool = False

    @property
    def name(self) -> str:
        return " ".join((self.recipe, *self.overrides))

    def told_apart(self, low: float | None, high: float | None) -> bool:
        """Whether its interval lies apart from another; what has none is told apart."""
        if None in (self.low, self.high, low, high):
            return True
        return self.low > high or low > self.high  # type: ignore[operator]


@dataclass(frozen=True, kw_only=True)
class Table(Config):
    """Figures that were taken alike, and can so be ranked.

    Attributes:
        page: of docs/, where they stand with all that belongs to them.
        medium, given: of its recipes: see `given_to`.
        examples: files or rows that were learnt from.
        minutes: of training, on `cores` of a processor.
        score, unit, better: which figure; lower or higher.
        floor: the figure of real samples against real ones.
    """

    page: str
    medium: str
    given: str
    data: str
    examples: int
    minutes: float
    cores: int
    score: str
    unit: str
    better: str
    floor: float | None = None
    entries: tuple[Entry, ...]

    def distance(self, examples: int, minutes: float) -> float:
        """How unlike what is asked for it was measured: by how many times in examples and in time, as logarithms."""
        return abs(math.log(self.examples / examples)) + abs(math.log(self.minutes / minutes))

    def sorted(self) -> list[Entry]:
        """Its entries by their score, the best first."""
        return sorted(self.entries, key=lambda entry: entry.value, reverse=self.better == "higher")

    def groups(self) -> Iterator[list[Entry]]:
        """Its entries, best first; those that the score does not tell apart from the best that is left come together,
        the quickest to draw first."""
        left = self.sorted()
        while left:
            alike = [entry for entry in left if entry is left[0] or not left[0].told_apart(entry.low, entry.high)]
            yield sorted(alike, key=lambda entry: entry.sample or 0.0)
            left = [entry for entry in left if entry not in alike]

    def shown(self, value: float, low: float | None = None, high: float | None = None) -> Sentence:
        """A figure of its score as a person reads it."""
        unit, between, zh = self.unit if self.unit != "share" else "", "", ""
        if low is not None and high is not None:
            between, zh = f" ({low:.3g} to {high:.3g})", f"（{low:.3g} 至 {high:.3g}）"
        english, chinese = (f" {name}" if name else "" for name in (unit, UNITS.get(unit, unit)))
        return Sentence(f"{value:.3g}{between}{english}", f"{value:.3g}{zh}{chinese}")

    @property
    def chinese(self) -> str:
        """Its score in Chinese."""
        return named(SCORES.get(self.score, self.score))


@dataclass(frozen=True)
class Asked:
    """What somebody has: `examples` of `medium`, `minutes` on a kind of `device`, and from what samples are made."""

    medium: str
    given: str
    examples: int
    minutes: float
    device: str
    data: str = ""


@dataclass(frozen=True)
class Advice:
    """One place of the ranking: `reasons` in words, the `commands` to run in order, and the figures behind them."""

    name: str
    reasons: tuple[Sentence, ...]
    commands: tuple[str, ...]
    table: Table | None = None
    entry: Entry | None = None


@dataclass(frozen=True)
class Advised:
    """All places, best first."""

    asked: Asked
    places: tuple[Advice, ...]
    notes: tuple[Sentence, ...] = ()

    def lines(self) -> Iterator[Sentence]:
        """A page for a person, in English and in Chinese: the ranking, then why and how for the first of it."""
        asked, nothing = self.asked, Sentence("", "")
        made, zh = "", ""
        if asked.given != NOTHING:
            made, zh = f" made from what is given ({asked.given})", f"（由给定内容生成：{asked.given}）"
        n, time = _examples(asked.examples), _time(asked.minutes)
        yield Sentence(
            f"{asked.medium}{made}: {n}, {time} on {asked.device}",
            f"{MEDIA.get(asked.medium, asked.medium)}{zh}：{n.zh}，在 {asked.device} 上训练 {time.zh}",
        )
        yield from (Sentence(f"note: {note}", f"提示：{note.zh}") for note in self.notes)
        width = max(len(place.name) for place in self.places)
        last: Table | str | None = ""
        for number, place in enumerate(self.places, 1):
            if place.table is not last:
                last = place.table
                yield nothing
                unmeasured = Sentence("not measured, in the order of their names:", "未测量，按名称排列：")
                yield _heading(last) if isinstance(last, Table) else unmeasured
            figures, line = _figures(place), f"{number:>3}  {place.name:<{width}}"
            yield Sentence(f"{line}  {figures}".rstrip(), f"{line}  {figures.zh}".rstrip())
        for number, place in enumerate(self.places[:FULL], 1):
            yield nothing
            yield Sentence(f"{number}. {place.name}", f"{number}. {place.name}")
            yield from (Sentence(f"   - {reason}", f"   - {reason.zh}") for reason in place.reasons)
            yield from (Sentence(f"     {command}", f"     {command}") for command in place.commands)
        yield nothing
        way = f"maquette plan {self.places[0].name}"
        yield Sentence(f"How long and how much memory here: {way}", f"在这里要多久、占多少内存：{way}")


def advise(
    medium: str | None = None,
    examples: int | None = None,
    time: str = "30min",
    device: str = "auto",
    data: str | None = None,
    given: str = NOTHING,
) -> Advised:
    """The recipes of a medium, ranked for somebody who has so many examples and so much time.

    Args:
        medium: image, text, audio, video, music, series or points; default: what `data` holds.
        examples: how many files or rows there are to learn from; default: as many as `data` has.
        time: of training: 90s, 10min or 1h.
        data: a folder or the name of a set.
        given: what samples are made from: `nothing`, `text`, `label`, `pair`, `other`, `weights`, or what is taken from
            them, such as `mask`.

    Raises:
        MaquetteError: MQ-2003 no such medium, or no recipe of it is given that; MQ-2002 a time or number that is none;
            MQ-2009 the device is not here; and what opening the data says.
    """
    from maquette.core.devices import pick_device

    minutes = minutes_of(time)
    medium = medium_of(data) if data and not medium else medium or ""
    media = {_medium(recipe) for recipe in recipes()}
    if medium not in media:
        raise MaquetteError("MQ-2003", path="--medium", kind=medium, near=nearest(medium, media))
    givens = {given_to(recipe) for recipe in advised() if _medium(recipe) == medium}
    if given not in givens:
        raise MaquetteError("MQ-2003", path="--given", kind=given, near=nearest(given, givens))
    counted, has = look(data, medium, given) if data else (0, set[str]())
    examples = counted if examples is None else examples
    if examples < 1:
        said = "how many files or rows there are (or give --data, for them to be counted)"
        wanted = Phrase(said, "文件或行的数目（也可给出 --data，由程序来数）")
        raise MaquetteError("MQ-2002", path="--examples", wanted=wanted, value=examples)
    notes = [
        Sentence(f"the data have {todo}", f"数据带有{todo.zh}")
        for name, todo in ALONG
        if name in has and name in {*givens, "label"}
    ]
    asked = Asked(medium, given, examples, minutes, pick_device(device).type, data or "")
    return Advised(asked, tuple(ranked(asked, tables(), device)), tuple(notes))


def minutes_of(time: str) -> float:
    """The minutes of `90s`, `10min` or `1h`; raises MQ-2002 for anything else."""
    from maquette.train.recipe import Budget

    with contextlib.suppress(MaquetteError):
        budget = Budget.parse(time)
        if budget.unit == "s":
            return budget.amount / 60
    raise MaquetteError(
        "MQ-2002", path="--time", wanted=Phrase("like 90s, 10min or 1h", "90s、10min 或 1h 的形式"), value=repr(time)
    )


def ranked(asked: Asked, measured: Sequence[Table], device: str = "auto") -> Iterator[Advice]:
    """Every recipe of the medium that is given what is asked for: measured ones by their tables, then the others."""
    known = {_stem(recipe): recipe for recipe in advised()}
    fitting = [table for table in measured if (table.medium, table.given) == (asked.medium, asked.given)]
    # of tables measured equally nearly the one that holds more against each other leads
    fitting.sort(key=lambda table: (table.distance(asked.examples, asked.minutes), -len(table.entries)))
    placed: set[str] = set()
    for table in fitting:
        before = placed.copy()  # a table may have a recipe several times, with other overrides
        for group in table.groups():
            for entry in group:
                if entry.recipe in known and entry.recipe not in before:
                    placed.add(entry.recipe)
                    recipe = known[entry.recipe]
                    why = (*reasons(asked, table, entry, group), *_before(recipe))
                    yield Advice(entry.name, why, commands(asked, recipe, entry.overrides, device), table, entry)
    for stem, recipe in sorted(known.items()):
        if (_medium(recipe), given_to(recipe)) == (asked.medium, asked.given) and stem not in placed:
            why = (Sentence("not measured", "未测量"), _about(recipe), *_before(recipe))
            yield Advice(stem, why, commands(asked, recipe, (), device))


# -- why --------------------------------------------------------------------------------------------------------------


def reasons(asked: Asked, table: Table, entry: Entry, group: Sequence[Entry]) -> Iterator[Sentence]:
    """What the figures say for and against a recipe, a sentence each.

    Args:
        group: those that its score does not tell it apart from, and itself.
    """
    best, figure = table.sorted()[0], table.shown(entry.value, entry.low, entry.high)
    most, zh = ("at most ", "至多") if entry.bound else ("", "")
    time, n = _time(table.minutes), _examples(table.examples)
    yield Sentence(
        f"{table.score} {most}{figure} after {time} of {n} of {table.data} (docs/{table.page})",
        f"在 {table.data} 的 {n.zh}上训练 {time.zh}后，{table.chinese}{zh}为 {figure.zh}（docs/{table.page}）",
    )
    others = ", ".join(other.name for other in group if other is not entry)
    if others:
        quickest, zh = (
            (": the quickest to draw comes first", "：生成最快的排在前面") if entry.sample is not None else ("", "")
        )
        said = f"the score does not tell it apart from {others}{quickest}"
        yield Sentence(said, f"按此分数，它与 {others} 分不出高下{zh}")
    elif entry is best and len(table.entries) > 1:
        n = len(table.entries)
        yield Sentence(f"the best of {n} measured alike", f"同样条件下测量的 {n} 个中最好的")
    if best not in group:
        there = table.shown(best.value)
        yield Sentence(f"the best there is {best.name} with {there}", f"其中最好的是 {best.name}，为 {there.zh}")
    for way, (value, low, high) in entry.simpler.items():
        ahead, there = (entry.value < value) == (table.better == "lower"), table.shown(value)
        if not entry.told_apart(low, high):
            said, zh = f"not told apart from {way}", f"与{named(way)}分不出高下"
        else:
            said, zh = (f"ahead of {way}", f"优于{named(way)}") if ahead else (f"behind {way}", f"不如{named(way)}")
        yield Sentence(f"{said}: {there}", f"{zh}：{there.zh}")
    if entry.sample is not None:
        short = _short(entry.sample)
        yield Sentence(f"a sample takes {short} to draw there", f"在那里生成一个样本需要 {short.zh}")
    if entry.items is not None:
        here, there = (
            _times(60 * entry.items * minutes / examples)
            for minutes, examples in ((asked.minutes, asked.examples), (table.minutes, table.examples))
        )
        time, n = _time(asked.minutes), _examples(asked.examples)
        yield Sentence(
            f"at its pace there {time} go {here} through {n}; measured was after {there}",
            f"按它在那里的速度，{time.zh}可把 {n.zh}过 {here.zh}；测量是在过了 {there.zh}之后",
        )
    yield from _otherwise(asked, table)


def _otherwise(asked: Asked, table: Table) -> Iterator[Sentence]:
    """In what it was measured otherwise than is asked for."""
    if asked.examples * OTHERWISE <= table.examples:
        yield Sentence("not measured with as few examples", "没有用这么少的样本测量过")
    elif asked.examples >= OTHERWISE * table.examples:
        yield Sentence("not measured with as many examples", "没有用这么多的样本测量过")
    if asked.minutes * OTHERWISE <= table.minutes:
        yield Sentence("not measured after so short a time", "没有在这么短的训练之后测量过")
    if asked.device != "cpu":
        said = f"measured on a processor, not on {asked.device}"
        yield Sentence(said, f"是在 CPU 上测量的，不是在 {asked.device} 上")


def _before(recipe: Listed) -> Iterator[Sentence]:
    """What has to be learnt before."""
    if codec := codec_of(recipe):
        said = f"it learns the codes of {codec}, which takes a third of the time before it"
        yield Sentence(said, f"它学习的是 {codec} 的编码，须先用三分之一的时间训练后者")


# -- how --------------------------------------------------------------------------------------------------------------


def commands(asked: Asked, recipe: Listed, overrides: Sequence[str] = (), device: str = "auto") -> tuple[str, ...]:
    """What to type, in order. FOLDER and OTHER stand for what only the user knows."""
    tree, seconds = _tree(recipe), 60 * asked.minutes
    shared = ["--data", asked.data or "FOLDER", *(() if device == "auto" else ("--device", device))]
    stem, codec, made = _stem(recipe), codec_of(recipe), []
    if codec:
        made.append(["maquette", "train", codec, *shared, "--budget", _budget(seconds / 3), "--out", tree["codec"]])
        seconds *= 2 / 3
    own = {"pair": "data.pair.source=OTHER", "other": "data.other=OTHER", "weights": "--from RUN"}.get(asked.given, "")
    settings = [word for word in overrides if word.startswith(("model.", "train."))]
    made.append(["maquette", "train", stem, *shared, *own.split(), "--budget", _budget(seconds), *settings])
    return tuple(shlex.join(words) for words in made)


def _budget(seconds: float) -> str:
    return f"{seconds / 60:g}min" if seconds % 60 == 0 else f"{seconds:g}s"


# -- what recipes there are, and what they are given ------------------------------------------------------------------


def advised() -> list[Listed]:
    """The recipes that make something, by what their headers say; those that only serve others make no samples."""
    listed = recipes()
    codecs = {codec_of(recipe) for recipe in listed}
    return [one for one in listed if _stem(one) not in codecs and "makes nothing" not in " ".join(one.about.split())]


def given_to(recipe: Listed) -> str:
    """What its samples are made from: `text` (captions, questions), a craft's name where something was taken from them,
    `pair` or `other` where they are made from other samples, `label` where it has to be told one, `weights` that it
    goes on from, else `nothing`."""
    tree = _tree(recipe)
    data: Mapping[str, Any] = tree["data"]
    if data.get("captions") or tree["medium"].get("asks"):
        return "text"
    if data.get("given") and _medium(recipe) != "series":  # all of those are given the past, however it is said
        return data["given"]["kind"]
    named = next((name for name in ("pair", "other") if data.get(name)), "")
    return named or ("weights" if "--from" in recipe.about else "label" if data.get("conditional") else NOTHING)


def codec_of(recipe: Listed) -> str:
    """The recipe whose run a recipe's codec is; "" where it has none, or a fixed one."""
    codec = Path(_tree(recipe).get("codec", ""))
    return codec.name if len(codec.parts) > 1 else ""


@cache
def _tree(recipe: Listed) -> dict[str, Any]:
    return read_yaml(recipe.path)[0]


def _stem(recipe: Listed) -> str:
    return recipe.name.rpartition("/")[2]


def _medium(recipe: Listed) -> str:
    return recipe.name.partition("/")[0]


# -- the user's data --------------------------------------------------------------------------------------------------


def medium_of(data: str) -> str:
    """The medium of the recipes that learn from a set of this name, or of what lies in a folder, by its suffixes."""
    from maquette.verbs.data import suited
    from maquette.verbs.recipes import find

    named = next((recipe for recipe in recipes() if _tree(recipe)["data"]["source"] == data), None)
    return _medium(named) if named else find(suited(Path(data))[0]).parent.name


def look(data: str, medium: str, given: str = NOTHING) -> tuple[int, set[str]]:
    """How many files or rows there are to learn from, and whether they have a `label` or `text`; none is decoded.

    Args:
        given: what the recipes are given that would learn from them: the first that can reads them.

    Raises:
        MaquetteError: as opening the source does, of the first recipe where none can.
    """
    from maquette.data.dataset import TEST
    from maquette.data.source import find

    fitting = [one for one in advised() if (_medium(one), given_to(one)) == (medium, given)]
    readers = {str((_tree(one)["medium"].get("suffixes"), _tree(one)["data"].get("columns"))): one for one in fitting}
    refused = None
    for recipe in readers.values():  # which files they read, and which columns: the rest is the same
        plain = read(recipe.name)
        try:
            reading = find(data, plain.medium.build(), plain.data.seed, plain.data.columns).read()
            rows = [row for row in reading.rows if row.split != TEST]
        except MaquetteError as bad:
            refused = refused or bad
            continue
        has = {"label": any(row.label for row in rows), "text": medium != "text" and any(row.text for row in rows)}
        return len(rows), {name for name, there in has.items() if there}
    assert refused is not None, "some recipe is given this"
    raise refused


# -- the measured tables ----------------------------------------------------------------------------------------------


def tables(path: Path = MEASURED) -> list[Table]:
    """The measured tables that come along."""
    return [Table.from_tree(tree) for tree in json.loads(path.read_text(encoding="utf-8"))["tables"]]


# -- words ------------------------------------------------------------------------------------------------------------


def _heading(table: Table) -> Sentence:
    floor, zh = (
        ("", "")
        if table.floor is None
        else (f"; real against real {table.floor:.3g}", f"；真实对真实为 {table.floor:.3g}")
    )
    n, time, cores = _examples(table.examples), _time(table.minutes), table.cores
    better = {"lower": "越低越好", "higher": "越高越好"}[table.better]
    return Sentence(
        f"{table.score}, {table.better} is better{floor}: {n} of {table.data}, {time} on {cores} "
        f"core{'s' * (cores > 1)} (docs/{table.page})",
        f"{table.chinese}，{better}{zh}：{table.data} 的 {n.zh}，{cores} 核训练 {time.zh}（docs/{table.page}）",
    )


def _figures(place: Advice) -> Sentence:
    if place.table is None or place.entry is None:
        about = shorten(place.reasons[1], 80, placeholder=" …")
        return Sentence(about, about)
    shown, sample = place.table.shown(place.entry.value, place.entry.low, place.entry.high), Sentence("", "")
    if place.entry.sample is not None:
        short = _short(place.entry.sample)
        sample = Sentence(f"  {short} a sample", f"  每个样本 {short.zh}")
    return Sentence(f"{shown:<22}{sample}", f"{shown.zh:<22}{sample.zh}")


def _time(minutes: float) -> Sentence:
    if minutes < 1:
        return Sentence(f"{60 * minutes:.0f} s", f"{60 * minutes:.0f} 秒")
    if minutes < 120:
        return Sentence(f"{minutes:g} min", f"{minutes:g} 分钟")
    return Sentence(f"{minutes / 60:g} h", f"{minutes / 60:g} 小时")


def _short(seconds: float) -> Sentence:
    if seconds >= 0.1:
        return Sentence(f"{seconds:.2g} s", f"{seconds:.2g} 秒")
    return Sentence(f"{1000 * seconds:.2g} ms", f"{1000 * seconds:.2g} 毫秒")


def _examples(n: int) -> Sentence:
    return Sentence(f"{n:,} example{'s' * (n != 1)}", f"{n:,} 个样本")


def _times(n: float) -> Sentence:
    said = f"{n:,.0f}" if n >= 100 else f"{n:.3g}"
    return Sentence(f"{said} times", f"{said} 遍")


def _about(recipe: Listed) -> Sentence:
    """What its header says, without the commands; recipes are written in English."""
    lines = takewhile(lambda line: not line.startswith("maquette "), recipe.about.splitlines())
    said = " ".join(" ".join(lines).split())
    return Sentence(said, said)
