"""Score a run against real samples, and write its report as data and as a page."""

import contextlib
import dataclasses
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from maquette.core.errors import MaquetteError, Sentence, told
from maquette.core.waiting import awaited
from maquette.data.dataset import Dataset
from maquette.data.source import Data, open_data
from maquette.evaluate.agreement import Judge
from maquette.evaluate.chinese import named
from maquette.evaluate.evaluate import Options, of_unseen, require_flow
from maquette.evaluate.evaluate import evaluate as score
from maquette.evaluate.importer import INCEPTION, VGGISH, convert
from maquette.evaluate.reference import Reference, prepare
from maquette.evaluate.report import Report, Score
from maquette.evaluate.taught import require_labels
from maquette.evaluate.words import traits
from maquette.media.base import Medium
from maquette.pipeline import Pipeline, load
from maquette.train.run import Run
from maquette.verbs import study
from maquette.verbs.page import Study
from maquette.verbs.study import Shown

SAMPLES = 2000
"""How many samples are made and compared unless told otherwise."""


def evaluate(
    run: Path | str,
    n: int | None = None,
    data: str | None = None,
    out: Path | str | None = None,
    seed: int | None = None,
    device: str = "auto",
    inception: Path | str | None = None,
    vggish: Path | str | None = None,
    quiet: bool = False,
    precision: str = "fp32",
    exact: bool = False,
    judge: Path | str | None = None,
    taught: bool = False,
    drawn: Mapping[str, Any] = {},
) -> Shown:
    """Draw from a run or a bundle, compare with real samples, and write `report.json`, pictures and `report.html`.

    Args:
        n: how many samples; falls to what real ones there are.
        data: real samples to compare with, instead of those that the run learnt from.
        out: where the report goes, by default into the run.
        seed: of the samples made.
        inception: the published weights of the standard FID network, which are not ours to give; converted in a child
            process that can do nothing else, kept in the cache folder, and used from then on.
        vggish: those of the standard network for sound, in the same way.
        precision: of the weights; the report then says what they lose by it.
        exact: also what unseen data cost the flow of a model that removes noise, which takes minutes.
        taught: also what classifiers learn from made pictures, real ones and both, which takes minutes.
        drawn: how, where not in the model's own way: guidance, and sampling with fields of `Sampling` such as steps.
        judge: a run or bundle that compares pictures with captions, for a model that makes pictures of them.

    Raises:
        MaquetteError: no run, no data, no flow to ask, no judge of these, or too few samples to score; nothing has been
            written then.
    """
    for network, file in ((INCEPTION, inception), (VGGISH, vggish)):
        if file is not None:
            kept = convert(network, file)
            speaker(quiet)(Sentence(f"standard network kept as {kept}", f"标准网络已保存为 {kept}"))
    folder, options = Path(run), Options.from_tree({"exact": exact, "taught": taught, **drawn})
    pipeline, origin = load(folder, device, precision), opened(folder)
    if exact:
        require_flow(pipeline)
    asked = source(pipeline, origin, data)
    jury = None if judge is None else Judge.of(load(judge, device), pipeline, asked.combinations)
    dataset = open_data(asked, pipeline.medium)
    learnt = known_to(pipeline, origin, dataset)
    if taught:
        require_labels(pipeline, dataset)
    say, seed = speaker(quiet), seed or 0
    reference = None
    if pipeline.model.config.draws:
        reference = prepare(dataset, pipeline.medium, pipeline.device, n or SAMPLES, seed, say=say, learnt=learnt)
    report = measure(pipeline, dataset, n, seed, origin, reference, options, quiet, jury)
    if precision != "fp32" and reference is not None:
        lost = list(losses(report, of_unseen(load(folder, device), reference, seed), precision))
        noted = dataclasses.replace(report, notes=(*report.notes, *lost))
        noted.images.update(report.images)
        noted.clips.update(report.clips)
        report = noted
        for line in lost:
            say(line)
    out = folder if out is None else Path(out)
    wrote = report.write(out)
    words = ["maquette", "evaluate", str(run), *(["--data", data] if data else []), *(["-n", str(n)] if n else [])]
    words += [
        *(["--exact"] if exact else []),
        *(["--taught"] if taught else []),
        *(["--judge", str(judge)] if judge is not None else []),
    ]
    flags = {"guidance": drawn.get("guidance"), **drawn.get("sampling", {})}
    words += [word for name, value in flags.items() if value is not None for word in (f"--{name}", str(value))]
    shown = study.show(
        out,
        (report.name, report.name),
        (f"What {report.name} makes, held against real samples.", f"{report.name} 生成的样本与真实样本的对照。"),
        [single(report, dataset, learnt, pipeline.medium, origin, shlex.join(words))],
    )
    return dataclasses.replace(shown, paths=[wrote, *shown.paths])


def losses(report: Report, exact: Iterable[Score], precision: str) -> Iterator[str]:
    """A sentence for each figure that is known of the weights as they were learnt."""
    for whole in exact:
        if (rounded := report.score(whole.name)) is not None:
            more = rounded.value / whole.value - 1 if whole.value else 0.0
            figures = f"{rounded.value:.5g} with weights in {precision}, {whole.value:.5g} in fp32 ({more:+.2%})"
            zh = f"权重为 {precision} 时 {rounded.value:.5g}，为 fp32 时 {whole.value:.5g}（{more:+.2%}）"
            yield Sentence(f"{whole.title}: {figures}.", f"{named(whole.name)}：{zh}。")


def measure(
    pipeline: Pipeline,
    dataset: Dataset,
    n: int | None,
    seed: int,
    run: Run | None,
    reference: Reference | None = None,
    options: Options = Options(),
    quiet: bool = False,
    judge: Judge | None = None,
) -> Report:
    """The report of a loaded model; `run` tells how long it trained."""
    seconds = max((line.get("seconds", 0.0) for line in run.metrics()), default=None) if run else None
    options = dataclasses.replace(options, train_seconds=seconds)
    how = {"reference": reference, "options": options, "judge": judge, "say": speaker(quiet)}
    with awaited(quiet):
        return score(pipeline, dataset, n or SAMPLES, seed, **how)


def single(report: Report, dataset: Dataset, learnt: Dataset, medium: Medium, run: Run | None, command: str) -> Study:
    """The study of one model that has learnt from `learnt` and is held against `dataset`."""
    return Study(
        title=report.name,
        reports=[report],
        command=command,
        facts=study.facts(learnt, [report], [run] if run else []),
        words=traits([report]),
        metrics=study.metrics({report.name: run}) if run else {},
        **study.real(dataset, medium),
        environment=study.environment([report]),
    )


def opened(folder: Path) -> Run | None:
    """The run in `folder`, or None where it is a bundle alone."""
    return Run.open(folder) if (folder / "recipe.json").exists() else None


def source(pipeline: Pipeline, run: Run | None, data: str | None) -> Data:
    """Which real samples to compare with."""
    if run is not None:
        return run.recipe.data if data is None else dataclasses.replace(run.recipe.data, source=data)
    if data is None:
        raise MaquetteError("MQ-2118", what="samples", todo="give --data")
    if pipeline.along.picture:
        raise MaquetteError("MQ-2118", what="pairs of pictures", todo="evaluate the run, whose recipe names them")
    return Data(source=data, conditional=bool(pipeline.classes), given=pipeline.along.craft)


def known_to(pipeline: Pipeline, run: Run | None, dataset: Dataset) -> Dataset:
    """What the model learnt from: `dataset`, or what the run's recipe names, if it is still there and still the same.

    Where neither is, or nothing is known, it is `dataset` all the same: the report says so.
    """
    learnt = pipeline.card.get("fingerprint")
    if run is not None and learnt != dataset.fingerprint:
        with contextlib.suppress(MaquetteError):
            own = open_data(run.recipe.data, pipeline.medium)
            return own if own.fingerprint == learnt else dataset
    return dataset


def speaker(quiet: bool) -> Callable[[str], None]:
    """Says lines to the person who waits."""
    return lambda line: None if quiet else print(told(line), file=sys.stderr, flush=True)
