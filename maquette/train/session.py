"""From a recipe to a trained run: `start` makes a run, `resume` goes on with one. Both end in the same bits."""

import copy
import dataclasses
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from maquette import __version__
from maquette.core import cancel, files
from maquette.core.errors import MaquetteError, Sentence
from maquette.core.types import Batch, Sampling
from maquette.data.dataset import Dataset
from maquette.data.source import documents, open_data, told
from maquette.train import coding, looking, teaching
from maquette.train.begin import ORIGIN, Beginning
from maquette.train.distributed import join
from maquette.train.keeper import Keeper
from maquette.train.learner import Learner, brief
from maquette.train.loop import train
from maquette.train.recipe import Recipe
from maquette.train.run import Run
from maquette.train.signals import listening

PATIENCE = 3.0
"""Seconds for the first look at a drawing; models that draw longer are believed."""


def start(recipe: Recipe, out: Path | str, quiet: bool = False, beginning: Beginning | None = None) -> Run:
    """Train `recipe` into a new folder `out`.

    Args:
        beginning: weights to begin from, which are kept as the first checkpoint; the recipe's medium and model are
            those that come with them.

    Raises:
        MaquetteError: what is wrong with the recipe, the data or the folder, before anything is written; later
            MQ-6001 (not finite) or MQ-5001 (storage), with the last checkpoint intact.
        SystemExit: 130, 143 or 129 after a signal, when a checkpoint has been written.
    """
    out = Path(out)
    if recipe.finetunes and beginning is None:
        raise MaquetteError("MQ-2142", "--from")
    if join(recipe.train.device)[0].main:
        Run.refuse_existing(out)
    learner = prepare(recipe, beginning=beginning)
    recipe = learner.recipe
    run = Run(out, recipe, facts(learner, beginning.origin if beginning else {}))
    if learner.ranks.main:
        files.require_space(out, 2 * checkpoint_bytes(learner))
    warnings = inspect(learner)
    if learner.ranks.main:
        with run.locked():
            Run.refuse_existing(out)
            run = Run.create(out, recipe, run.facts)
            learner.coding = coding.keep(learner.coding, run.coding)
            teaching.keep(recipe, run)
            if beginning is not None:
                run.commit(learner.checkpoint())
            return _work(learner, run, quiet, warnings)
    return _work(learner, run, quiet)


def resume(folder: Path | str, quiet: bool = False, budget: str | None = None) -> Run:
    """Go on with the run in `folder` from its newest whole checkpoint.

    Args:
        budget: another budget than the recipe's; schedules then follow the share of the new one.

    Raises:
        MaquetteError: as `start`; MQ-5011 no run, MQ-5013 no whole checkpoint, MQ-7010 it was made otherwise.
    """
    run = Run.open(folder)
    recipe = run.recipe
    if budget is not None:
        recipe = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, budget=budget))
    learner = prepare(recipe, kept=run)
    if not learner.ranks.main:
        learner.ranks.barrier()  # until rank 0 has put the folder in order
        return _resume(learner, run, quiet)
    with run.locked():
        learner.ranks.barrier()
        return _resume(learner, run, quiet)


def prepare(
    recipe: Recipe, dataset: Dataset | None = None, beginning: Beginning | None = None, kept: Run | None = None
) -> Learner:
    """All that training `recipe` needs, at its first step; raises `MaquetteError` for what does not fit.

    Args:
        kept: the run where an earlier start has kept codec and teacher, if it has come so far.
    """
    ranks, device = join(recipe.train.device)
    asked = recipe
    recipe = dataclasses.replace(recipe, medium=recipe.medium.learnt(lambda medium: documents(recipe.data, medium)))
    medium = recipe.medium.build()
    if not ranks.main:
        ranks.barrier()  # rank 0 packs the data, the others find them packed
    dataset = dataset or open_data(recipe.data, medium)
    if ranks.main:
        ranks.barrier()
    recipe = dataclasses.replace(recipe, data=recipe.data.learnt(dataset))
    if recipe.train.privacy and recipe != asked:
        reason = "what medium and captions learn of the data (a vocabulary, a scale) is not counted"
        raise MaquetteError("MQ-2192", reason=reason, todo="write it into the recipe, from other data")
    dataset = told(dataset, recipe.data.captions)
    found = coding.kept(kept.coding) if kept is not None else None
    if beginning is not None and beginning.coding.named == recipe.codec:
        found = beginning.coding  # with the whitening that its weights know
    found = coding.fitted(found or coding.find(recipe.codec), recipe.medium, dataset)
    teacher = teaching.find(recipe, kept)
    return Learner(recipe, dataset, medium, ranks, device, beginning, found, teacher)


def _resume(learner: Learner, run: Run, quiet: bool) -> Run:
    compare_identity(run.facts["identity"], learner.identity())
    warnings = changed_environment(run.facts)
    origin = {key: value for key, value in run.facts["card"].items() if key in ORIGIN}
    if checkpoint := run.newest(warnings.append):
        learner.restore(checkpoint)
    elif origin:
        raise MaquetteError("MQ-5013", str(run.path), reason="it was stopped before it had kept what it began from")
    if learner.ranks.main:
        run.rewind(learner.clock.step)
        if learner.recipe != run.recipe:
            run = Run.create(run.path, learner.recipe, facts(learner, origin))
    return _work(learner, run, quiet, warnings)


def _work(learner: Learner, run: Run, quiet: bool, warnings: Sequence[MaquetteError] = ()) -> Run:
    keeper = Keeper(learner, run, quiet or not learner.ranks.main)
    try:
        for warning in warnings if learner.ranks.main else ():
            keeper.log.warn(warning)
        keeper.log.say(told_of(learner.dataset))
        with listening() as signals:
            train(learner, keeper, signals)
            keeper.finish()
    finally:
        keeper.log.close()
    return run


# -- before the first step --------------------------------------------------------------------------------------------


def inspect(learner: Learner) -> list[MaquetteError]:
    """Draw two samples and take every loss once, on a copy, so that what does not fit is said before training.

    Returns:
        Warnings: what will be learnt, but not well.

    Raises:
        MaquetteError: MQ-7011 shapes that do not fit; MQ-6010 a loss that is not finite; MQ-3018 too little data.
    """
    scarce = learner.medium.scarce(learner.dataset.train.items, learner.recipe.train.batch)
    _try(learner)
    return [] if scarce is None else [scarce]


def _try(learner: Learner) -> None:
    model = copy.deepcopy(learner.model)
    batch = learner.batches.some(8)
    precision = learner.recipe.train.precision
    try:
        for number, turn in enumerate(model.turns()):
            loss, _ = turn.loss(Batch(batch.x, batch.given, batch.rng.fork(number)), 0.0)
            if loss.shape != () or not loss.isfinite():
                raise MaquetteError("MQ-6010", what="loss", player=turn.player)
        if not model.config.draws:
            return
        with cancel.working(cancel.Token(PATIENCE)):
            x = looking.draw(model.eval(), 2, 0, learner.device, precision, Sampling(steps=2), batch.given)
    except cancel.Cancelled:
        return
    except (RuntimeError, ValueError, TypeError) as bad:
        raise MaquetteError("MQ-7011", "model", reason=" ".join(str(bad).split())) from bad
    if tuple(x.shape[1:]) != learner.codec.space.shape:
        who = "codec" if learner.coding.kind else "medium"
        reason = f"it draws {tuple(x.shape[1:])}, the {who} has {learner.codec.space.shape}"
        raise MaquetteError("MQ-7011", "model", reason=reason)


def checkpoint_bytes(learner: Learner) -> int:
    """About what a checkpoint takes: weights, averaged weights and two moments of each."""
    return 4 * sum(t.numel() * t.element_size() for t in learner.model.state_dict().values())


def told_of(dataset: Dataset) -> Sentence:
    """How much there is to learn from, and whether anything had to be left out."""
    train, test, left, zh = len(dataset.train.items), len(dataset.test.items), "", ""
    if bad := len(dataset.bad):
        left = f"; left out: {bad:,} that cannot be read, by name in recipe.json"
        zh = f"；略去 {bad:,} 个无法读取的，名称见 recipe.json"
    return Sentence(
        f"{train:,} samples to learn from, {test:,} held out{left}", f"可学习的样本 {train:,} 个，留出 {test:,} 个{zh}"
    )


def facts(learner: Learner, origin: dict[str, str]) -> dict[str, Any]:
    """What a reader of the run should know besides its recipe; `origin` says what it began from, if from something."""
    data, recipe = learner.dataset, learner.recipe
    card = {
        "data": recipe.data.source,
        "licence": data.licence,
        "fingerprint": data.fingerprint,
        "items": len(data.train.items),
        "budget": recipe.train.budget,
        "seed": recipe.train.seed,
        "maquette": __version__,
        "torch": torch.__version__,
    }
    if learner.coding.kind:
        card |= {"codec": learner.coding.name}
    if learner.coding.autoencoder is not None:
        card |= {"codec_sha256": learner.coding.digest}
    if learner.teacher is not None:
        card |= {"teacher": learner.teacher.card.get("name", ""), "teacher_sha256": learner.teacher.digest}
    return {
        "card": card | origin,
        "identity": learner.identity(),
        "versions": {"maquette": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "threads": torch.get_num_threads(),
        "device": str(learner.device),
        "data": {
            "fingerprint": data.fingerprint,
            "licence": data.licence,
            "train": len(data.train.items),
            "test": len(data.test.items),
            "classes": list(data.classes),
            "bad": [list(bad) for bad in data.bad],
        },
        "parameters": {name: sum(p.numel() for p in own) for name, own in learner.weights.items()},
    }


# -- is it the same run? ----------------------------------------------------------------------------------------------


def compare_identity(saved: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to resume what would not end in the same bits; raises MQ-7010 with every field that differs.

    A field that a later version of Maquette has added was not saved, and its default is what the run was made with.
    """
    then, now = brief(_plain(saved)), brief(_plain(now))
    differing = [f"{key} {then[key]} then, {now.get(key, 'nothing')} now" for key in then if then[key] != now.get(key)]
    if differing:
        raise MaquetteError("MQ-7010", differences="; ".join(differing))


def changed_environment(saved: dict[str, Any]) -> list[MaquetteError]:
    """Warnings for what may change the last bits without changing what is learnt: torch's version, threads."""
    pairs = {
        "torch": (saved["versions"]["torch"], torch.__version__),
        "threads": (saved["threads"], torch.get_num_threads()),
    }
    return [
        MaquetteError("MQ-7012", differences=f"{name} {then}, and this is {now}")
        for name, (then, now) in pairs.items()
        if then != now
    ]


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in fields.items()}
