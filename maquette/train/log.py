"""What training says: metrics.jsonl, TensorBoard, and to the person who waits (on stderr; stdout is for data)."""

import contextlib
import io
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from maquette.core import files
from maquette.core.errors import MaquetteError, Sentence, told
from maquette.core.waiting import SPEAK_EVERY, duration
from maquette.train.clock import Clock
from maquette.train.distributed import Ranks
from maquette.train.run import Run

EVERY = 10
"""Steps per line of metrics: its numbers are means over them, so the device is waited for once in so many steps."""
_PARTS = 1000
"""Of the budget, as the bar counts them."""


class Log:
    """Gathers statistics without waiting for the device, and writes and shows them now and then.

    Args:
        pace: so many steps a second in words.
        quiet: write, but show nothing but warnings.
        purge: the step after which TensorBoard forgets what an earlier process logged.
    """

    def __init__(self, run: Run, clock: Clock, pace: Callable[[float], Sentence], quiet: bool, purge: int):
        self.run, self.quiet, self._pace, self._purge = run, quiet, pace, purge
        self._notes: dict[str, list[Tensor]] = {}
        self._events: Any = None
        self._at = (clock.step, time.monotonic())
        self._began, self._spoke = clock.progress, time.monotonic()
        self._bar, self._task = self._make_bar(clock) if sys.stderr.isatty() and not quiet else (None, None)

    def note(self, stats: dict[str, Tensor]) -> None:
        for name, value in stats.items():
            self._notes.setdefault(name, []).append(value)

    def flush(self, clock: Clock, ranks: Ranks, rates: dict[str, float]) -> None:
        """A line of metrics: the mean of each statistic over the steps since the last line and over the ranks."""
        if not self._notes:
            return
        rows = torch.stack([torch.stack(values).float().mean() for values in self._notes.values()])
        values = dict(zip(self._notes, ranks.mean(rows).tolist(), strict=True)) | rates
        self._notes = {}
        if ranks.main:
            self.write(clock.step, {"progress": clock.progress, "seconds": round(clock.seconds, 3)}, values)
            self._show(clock, values)

    def write(self, step: int, facts: dict[str, Any], values: dict[str, float], part: str = "") -> None:
        """`values` at `step` to both logs, under `part` when that is named; what is not finite is written as null."""
        plain = {name: value if abs(value) < float("inf") else None for name, value in values.items()}
        self.run.append({"step": step, **facts, **({part: plain} if part else plain)})
        with files.storage_errors(self.run.events):
            for name, value in values.items():
                self._tensorboard().add_scalar(f"{part}/{name}" if part else name.replace(".", "/"), value, step)

    def picture(self, step: int, name: str, png: bytes) -> None:
        """A sheet into `samples/` and TensorBoard."""
        import numpy as np
        from PIL import Image

        self.run.write_sample(f"step-{step:08d}.png", png)
        with files.storage_errors(self.run.events):
            pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
            self._tensorboard().add_image(name, pixels, step, dataformats="HWC")

    def warn(self, warning: MaquetteError) -> None:
        self._print(warning.render().replace("error[", "warning[", 1))

    def say(self, text: str) -> None:
        """`text` to the person, in their language where it is known in both."""
        if not self.quiet:
            self._print(told(text))

    def sync(self) -> None:
        """Hand everything so far to the system, so that a killed process loses none of it."""
        if self._events is not None:
            with files.storage_errors(self.run.events):
                self._events.flush()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._events is not None:
            with contextlib.suppress(OSError):  # a full disk has been told of; metrics.jsonl has it all
                self._events.close()

    def _tensorboard(self) -> Any:
        if self._events is None:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(self.run.events), purge_step=self._purge)
        return self._events

    # -- to the person ------------------------------------------------------------------------------------------------

    def _show(self, clock: Clock, values: dict[str, float]) -> None:
        now = time.monotonic()
        steps, seconds = clock.step - self._at[0], max(now - self._at[1], 1e-9)
        self._at = (clock.step, now)
        rate = steps / seconds
        losses = "  ".join(f"{name} {value:.4g}" for name, value in values.items() if name.endswith("loss"))
        pace = self._pace(rate)
        if self._bar is not None:
            self._bar.update(
                self._task, completed=_PARTS * clock.progress, losses=losses, pace=told(pace), step=clock.step
            )
        elif now - self._spoke >= SPEAK_EVERY or clock.over:
            self._spoke = now
            done = clock.progress - self._began
            left = (1 - clock.progress) * (clock.seconds_here / done) if done > 0 else 0
            where = f"{clock.progress:4.0%}  {losses}"
            said = f"step {clock.step}  {where}  {pace}  {duration(left)} left"
            self.say(Sentence(said, f"第 {clock.step} 步  {where}  {pace.zh}  剩余 {duration(left)}"))

    def _make_bar(self, clock: Clock) -> tuple[Any, Any]:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("step {task.fields[step]}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[losses]}"),
            TextColumn("{task.fields[pace]}"),
            TimeRemainingColumn(),
        )
        bar = Progress(*columns, console=Console(stderr=True), refresh_per_second=4)
        bar.start()
        return bar, bar.add_task(
            "", total=_PARTS, completed=int(_PARTS * clock.progress), losses="", pace="", step=clock.step
        )

    def _print(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)
