"""What is done between steps: logging, validation, sheets, checkpoints. None of it changes a bit of what is learnt."""

import math
import time
from collections.abc import Callable

import numpy as np
from torch import Tensor

from maquette.bundle import read_card, save_bundle
from maquette.core import files
from maquette.core.errors import Sentence
from maquette.core.types import Given, Stats, Tokens
from maquette.data.batches import held_out
from maquette.media.base import Medium
from maquette.train import log, looking
from maquette.train.curves import plot
from maquette.train.learner import Learner
from maquette.train.log import Log
from maquette.train.run import Run
from maquette.train.warnings import Warnings

HELD_OUT, HELD_OUT_TOKENS = 512, 1 << 16
"""How many held-out items a validation looks at, always the same ones; of sequences fewer, of so many tokens in all."""
LOOKS = 0.1
"""Share of a budget of seconds beyond which validation and sheets take no more of it: a minute is for learning."""
MEASURES = {
    "bits_per_dim": "比特/维",
    "bits_per_byte": "比特/字节",
    "bits_per_step": "比特/步",
    "bits_per_code": "比特/编码",
    "perplexity": "困惑度",
}
"""What likelihoods are called in Chinese."""
SPOKEN = 16
"""Samples that are written out where they are words."""
TOGETHER, TOGETHER_TOKENS = 64, 1 << 13
"""How many at once at least, more than a small training batch has; of sequences no more than so many tokens."""


class Keeper:
    """Keeps a run's folder up to date with a learner. Rank 0 writes; the others only take part in means."""

    def __init__(self, learner: Learner, run: Run, quiet: bool):
        self.learner, self.run = learner, run
        self.log = Log(run, learner.clock, self._pace, quiet, learner.clock.step + 1)
        self._warnings = Warnings()
        self._main = learner.ranks.main
        self._looked = 0.0  # seconds, of this process
        self._best = float(read_card(run.bundle).get("held_out_loss", "inf"))

    def _pace(self, rate: float) -> Sentence:
        items = rate * self.learner.recipe.train.batch
        return Sentence(
            f"{rate:.1f} steps/s  {self.learner.medium.pace(items)}", f"{rate:.1f} 步/秒  {items:.0f} 样本/秒"
        )

    def note(self, stats: Stats) -> None:
        self.log.note(stats)

    def log_line(self, now: bool = False) -> None:
        """A line of metrics when one is due, or `now`."""
        clock = self.learner.clock
        if now or clock.over or clock.step % log.EVERY == 0:
            rates = {f"{player}.rate": m.settings.rate(clock.progress) for player, m in self.learner.movers.items()}
            if private := self.learner.private:
                rates["epsilon"] = private.epsilon(clock.step)
            self.log.flush(clock, self.learner.ranks, rates)

    def look(self, at: Callable[[], None]) -> None:
        """`validate` or `draw`; but where seconds are the budget, not while looks have had more than their share of
        those so far. The last look is always taken: it lies behind the budget."""
        clock = self.learner.clock
        if clock.limit is None or clock.over or self._looked <= LOOKS * clock.seconds_here:
            began = time.monotonic()
            at()
            self._looked += time.monotonic() - began

    def validate(self) -> None:
        """The held-out loss into both logs, and a warning if its statistics ask for one."""
        learner, split = self.learner, self.learner.dataset.test
        if not self._main or not len(split):
            return
        settings, clock, space = learner.recipe.train, learner.clock, learner.model.space
        length = math.prod(space.shape) if isinstance(space, Tokens) else 1
        batches = held_out(
            split,
            learner.medium,
            max(settings.batch, min(TOGETHER, TOGETHER_TOKENS // length)),
            max(1, min(HELD_OUT, HELD_OUT_TOKENS // length)),
            settings.seed,
            learner.device,
            learner.recipe.data.conditional,
            learner.codec,
        )
        measure = learner.codec.measure(learner.medium)
        values = looking.validate(learner.ema.model, measure, batches, learner.device, settings.precision)
        self.log.write(clock.step, {}, values, part="validation")
        loss = values.get("nats", next(iter(values.values())))
        if settings.best and loss < self._best:
            self._best = loss
            self._bundle()
        told = [name for name in values if name.startswith("bits_per_") or name == "perplexity"]
        if told:
            figures = ", ".join(f"{name.replace('_', ' ')} {values[name]:.4g}" for name in told)
            zh = ", ".join(f"{MEASURES.get(name, name)} {values[name]:.4g}" for name in told)
            self.log.say(Sentence(f"step {clock.step}  unseen data: {figures}", f"第 {clock.step} 步  未见数据：{zh}"))
        if warning := self._warnings.stats(values, clock.step, clock.progress):
            self.log.warn(warning)

    def draw(self) -> None:
        """A sheet of samples from the averaged weights and the same noise as ever, and the curves so far."""
        if not self._main:
            return
        self.run.write_sample("curves.svg", plot(self.run.metrics()).encode())
        if not self.learner.model.config.draws:
            return
        learner, clock, settings = self.learner, self.learner.clock, self.learner.recipe.train
        along, medium = learner.sheet, learner.medium
        given = Given() if along is None else along.given
        drawn = looking.draw(
            learner.ema.model, settings.samples, settings.seed, learner.device, settings.precision, along=given
        )
        x = learner.decoded(drawn)
        items = medium.from_tensor(x)
        if along is not None and given.image is not None:
            shown = learner.recipe.data.along.shown(given.image, medium)
            sheet = beside(medium, shown, items, medium.from_tensor(along.x))
        else:
            told = learner.classes and given.text is None  # else each sample has the label of its caption's row
            titles = [learner.classes[i % len(learner.classes)] for i in range(len(x))] if told else None
            sheet = medium.sheet(items, titles=titles)
        self.log.picture(clock.step, "samples", sheet)
        if (clip := medium.clip(items)) is not None:
            self.run.write_sample(f"step-{clock.step:08d}{clip[0]}", clip[1])
        if words := [said for item in items[:SPOKEN] if (said := learner.medium.words(item)) is not None]:
            self.run.write_sample(f"step-{clock.step:08d}.txt", f"\n\n{'-' * 40}\n\n".join(words).encode())
        if warning := self._warnings.samples(x, self._real(len(x)), clock.step, clock.progress):
            self.log.warn(warning)

    def save(self) -> None:
        """A checkpoint and a bundle of where the learner stands."""
        self.log_line(now=True)
        if self._main:
            self.log.sync()
            self.run.commit(self.learner.checkpoint())
            if not self._kept:
                self._bundle()

    def stopped(self) -> None:
        """Say where training stopped and how it goes on."""
        step, way = self.learner.clock.step, f"maquette resume {self.run.path}"
        self.log.say(
            Sentence(f"stopped and saved at step {step}; go on: {way}", f"已在第 {step} 步停止并保存；继续：{way}")
        )

    def finish(self) -> None:
        """What a run that reached its budget must have, even if it was killed in its last moment."""
        if not self._main:
            return
        if not self._kept and read_card(self.run.bundle).get("steps") != self.learner.clock.step:
            self._bundle()
        if private := self.learner.private:
            promise = private.promise(self.learner.clock.step)
            self.log.say(Sentence(f"private: {promise}", f"差分隐私：{promise}"))
        steps, of, zh = self.learner.clock.step, "", ""
        if self._kept:
            kept = read_card(self.run.bundle).get("steps")
            of, zh = f" of step {kept}", f"（第 {kept} 步）"
        said = f"done: {steps} steps; bundle{of} in {self.run.bundle}"
        self.log.say(Sentence(said, f"完成：{steps} 步；模型包{zh}在 {self.run.bundle}"))

    @property
    def _kept(self) -> bool:
        """Whether the bundle is that of an earlier step, which nothing but a lower loss replaces."""
        return self.learner.recipe.train.best and self._best < float("inf")

    def _bundle(self) -> None:
        learner, config = self.learner, self.learner.recipe
        card = {"name": self.run.path.name, **self.run.facts["card"], "steps": learner.clock.step}
        if self._kept:
            card["held_out_loss"] = self._best
        if learner.private:
            card["privacy"] = learner.private.promise(learner.clock.step)
        weights = learner.ema.model.state_dict()
        parts = config.medium, config.model, learner.classes, weights, card, learner.coding, config.data.along
        save_bundle(self.run.bundle, *parts)
        for name, fill in learner.ema.model.companions().items():
            files.commit_folder(self.run.path / name, fill)

    def _real(self, n: int) -> Tensor:
        items = self.learner.dataset.train.items
        return self.learner.medium.to_tensor(np.asarray(items[:: max(1, len(items) // n)][:n]))


def beside(medium: Medium, given: np.ndarray, made: np.ndarray, real: np.ndarray) -> bytes:
    """A sheet of what was given, what was made of it, and the real samples of the same rows."""
    n = min(len(given), len(made), len(real))
    rows = np.stack([given[:n], made[:n], real[:n]], 1).reshape(-1, *medium.stored)
    titles = ["given", "made", "real"]
    return medium.sheet(rows, columns=3 * min(n, 3), titles=titles * 3)
