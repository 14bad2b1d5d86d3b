"""Series: numeric columns of CSV files, a row a step, <-> windows in time.

A file is one long series whose rows are taken for equally spaced in time. An item is a window of it, float32 [length,
columns] in the file's own units; the last `horizon` steps are what is to be foretold from the steps before, the known
past. A sample is float32 [columns, length],

    x = (v - m) / (reach s)

with m and s the mean and standard deviation of each column over the window's own known past, as Kim et al. (2022,
RevIN), Salinas et al. (2020) and Ansari et al. (2024) have it: series of any level and size are alike then, a trend
leads to no values that were never seen, and nothing of the future is used. Scaled so, a model's items are deviations
from a past that was not told, until `onto` puts them onto one. `scale: data` takes m and s from the training data
instead: items are in the file's units at once, for series that are made and not foretold.
"""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from maquette.core.config import Config as AnyConfig
from maquette.core.errors import MaquetteError, Phrase
from maquette.core.exit import Mark
from maquette.core.types import Real
from maquette.media import tables
from maquette.media.base import INTERVALS, Cutter, Facts, InTime, Medium, MediumConfig, interval, read_whole

MAX_BYTES = 64 << 20
MOST_COLUMNS = 64
LEAST_SPREAD = 1e-6
"""Standard deviation, as a share of the mean, below which a past counts as constant."""


@dataclass(frozen=True, kw_only=True)
class Config(MediumConfig):
    """Windows of series."""

    columns: tuple[str, ...] | int = 1
    """The names of the columns that make a series, or how many: the first ones that hold numbers and no time."""
    length: int = 128
    """Steps of a window."""
    horizon: int = 16
    """Steps at its end that are to be foretold; 0 where windows are to be made and nothing is foretold."""
    season: int = 0
    """Steps after which the series is alike again, for baselines and scores; 0: no season is known."""
    scale: Literal["past", "data"] = "past"
    """What values are measured by: each window's own known past, or all training data."""
    reach: float = 4.0
    """How many standard deviations one unit of model space is; with `levels` what lies beyond is cut off."""
    levels: int = 0
    """How many values there are from -1 to 1, for models of tokens (`codec: interleave`); 0: a continuum."""
    stride: int = 1
    """Steps from one window that is learnt from to the next."""
    gap: int = 3
    """Missing values in a row that are interpolated in a known past; windows with more of them are left out, as are
    those with any at the end of the past or in what is foretold."""
    statistics: tuple[tuple[float, float], ...] = ()
    """For `scale: data`, mean and standard deviation of each column; filled in when training begins."""

    def __post_init__(self) -> None:
        names = self.columns if isinstance(self.columns, tuple) else ("",) * self.columns
        self.check(1 <= len(names) <= MOST_COLUMNS, "columns", f"1 to {MOST_COLUMNS} columns, or their number")
        self.check(4 <= self.length <= 65_536, "length", "a whole number from 4 to 65536")
        self.check(0 <= self.horizon <= self.length - 2, "horizon", "at least 2 steps less than length")
        self.check(0 <= self.season < self.length - self.horizon, "season", "0, or less than the known past")
        self.check(0 < self.reach <= 1000, "reach", "a positive number, at most 1000")
        self.check(self.levels == 0 or 2 <= self.levels <= 65_536, "levels", "0, or a whole number from 2 to 65536")
        self.check(self.stride >= 1, "stride", "a positive whole number")
        self.check(self.gap >= 0, "gap", "0 or a positive whole number")
        good = len(self.statistics) in (0, len(names)) and all(std > 0 for _, std in self.statistics)
        self.check(good, "statistics", "a mean and a positive standard deviation for each column")

    def build(self) -> "Series":
        return Series(self)

    def learnt(self, read: Callable[[Medium], Iterable[np.ndarray]]) -> "Config":
        if self.scale == "past" or self.statistics:
            return self
        found = list(read(replace(self, scale="past").build()))
        if not found:  # opening the data will say so
            return self
        rows = np.concatenate(found).astype(np.float64)
        centre, spread = spread_of(torch.from_numpy(rows[np.isfinite(rows).all(1)])[None])
        return replace(self, statistics=tuple(zip(centre.flatten().tolist(), spread.flatten().tolist(), strict=True)))


@dataclass(frozen=True, kw_only=True)
class _NoAugment(AnyConfig):
    """Series are not augmented; reading this refuses whatever is declared."""


class Series(Medium, InTime):
    """What is read of a file is all its rows, float32 [rows, columns], NaN where there is no number."""

    suffix = ".csv"
    suffixes = frozenset({".csv"})
    dtype = np.dtype(np.float32)

    def __init__(self, config: Config):
        self.config, self.length, self.horizon, self.season = config, config.length, config.horizon, config.season
        self.names = config.columns if isinstance(config.columns, tuple) else ()
        self.count: int = len(self.names) or config.columns  # type: ignore[assignment]
        self.stored = (config.length, self.count)
        self.space: Real = Real((self.count, config.length), config.levels)  # pyright: ignore[reportIncompatibleVariableOverride]
        self.outlook = Outlook(self)

    # -- files -> rows ------------------------------------------------------------------------------------------------

    def read(self, path: Path) -> np.ndarray:
        return self.from_bytes(read_whole(path, MAX_BYTES), str(path))

    def from_bytes(self, data: bytes, name: str) -> np.ndarray:
        rows = self._table(data, name).values
        if len(rows) < self.length:
            said = f"it has {len(rows)} rows, and a window is {self.length} steps"
            reason = Phrase(said, f"只有 {len(rows)} 行，而一个窗口有 {self.length} 步")
            raise MaquetteError("MQ-3001", name, reason=reason)
        return rows

    def facts(self, data: bytes, name: str) -> Facts:
        table = self._table(data, name)
        others, notes = tables.listed(table.others), list[str]()
        if table.others:
            notes.append(Phrase(f"columns passed over: {others}", f"跳过的列：{others}"))
        if missing := int(np.isnan(table.values).sum()):
            line = table.lines[int(np.isnan(table.values).any(1).argmax())]
            said = f"{missing:,} values that are missing or no numbers, the first in line {line}"
            notes.append(Phrase(said, f"有 {missing:,} 个值缺失或不是数字，第一个在第 {line} 行"))
        return Facts(size=table.values.shape, notes=tuple(notes))

    def past(self, source: Path | str | np.ndarray) -> np.ndarray:
        known = self.length - self.horizon
        name = str(source) if isinstance(source, Path | str) else "the past"
        rows = self._table(read_whole(Path(name), MAX_BYTES), name).values if name != "the past" else source
        rows = np.asarray(rows, np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.count or len(rows) < known:
            reason = f"the model goes on from {known} rows of {self.count} columns, and here are {_shape(rows)}"
            raise MaquetteError("MQ-3001", name, reason=reason)
        rows, filled = _interpolated(rows[-known:], self.config.gap)
        if np.isnan(rows).any() or filled[-1]:
            reason = f"the last {known} rows have gaps of more than {self.config.gap} values, or one at their end"
            raise MaquetteError("MQ-3001", name, reason=reason)
        return rows

    def _table(self, data: bytes, name: str) -> tables.Table:
        try:
            return tables.read(data, self.names, self.count)
        except (ValueError, csv.Error) as bad:
            raise MaquetteError("MQ-3001", name, reason=bad) from None

    # -- rows -> windows ----------------------------------------------------------------------------------------------

    def apart(self, item: np.ndarray, share: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
        step = self.horizon or self.length
        first = len(item) - max(step, round(share * len(item))) if share else len(item)
        if share < 1 and first < self.length:  # too short to hold something out
            return [item], []
        ends = range(len(item), max(first, self.length - step) + step - 1, -step) if share else ()
        return [item[:first]] if share < 1 else [], [item[end - self.length : end] for end in reversed(ends)]

    def cutter(self) -> "Windows":
        return Windows(self.config)

    @property
    def identity(self) -> list[Any]:
        return [*super().identity, self.config.to_tree()]

    # -- windows <-> samples ------------------------------------------------------------------------------------------

    def to_tensor(self, items: np.ndarray | Tensor) -> Tensor:
        v = torch.as_tensor(items).float()
        centre, spread = self._measure(v[:, : self.length - self.horizon])
        x = ((v - centre) / (spread * self.config.reach)).transpose(1, 2).contiguous()
        if not (levels := self.space.levels):
            return x
        return x.add(1).mul((levels - 1) / 2).round().clamp(0, levels - 1).mul(2 / (levels - 1)).sub(1)

    def from_tensor(self, x: Tensor) -> np.ndarray:
        deviations = x.detach().float().cpu().transpose(1, 2) * self.config.reach
        if self.config.scale == "data":
            centre, spread = self._measure(deviations)
            deviations = deviations * spread + centre
        return deviations.contiguous().numpy()

    def onto(self, items: np.ndarray, known: np.ndarray) -> np.ndarray:
        made = items.astype(np.float64)
        if self.config.scale == "past":
            centre, spread = spread_of(torch.from_numpy(known.astype(np.float64))[None])
            made = made * spread.numpy() + centre.numpy()
        made[:, : len(known)] = known
        return made.astype(np.float32)

    def _measure(self, known: Tensor) -> tuple[Tensor, Tensor]:
        """Centre and spread of the columns [b or 1, 1, columns]."""
        if self.config.scale == "past":
            return spread_of(known)
        told = known.new_tensor(self.config.statistics or [(0.0, 1.0)] * self.count)
        return told[None, None, :, 0], told[None, None, :, 1]

    # -- windows -> files and pictures --------------------------------------------------------------------------------

    def encode(self, item: np.ndarray, mark: Mark) -> bytes:
        """Comment lines with the mark, the columns' names where they are known, a row a step; float32 survives."""
        return _written(item, self.names, mark)

    def label(self, item: np.ndarray, text: str) -> np.ndarray:
        """The item itself: it has no room for words, and its file says what it is in the first line."""
        return item

    def pictured(self, x: Tensor) -> np.ndarray:
        """The known past of what is given; steps that are hidden are at its mean."""
        return self.from_tensor(x[:, : self.count])

    def sheet(self, items: np.ndarray, columns: int = 8, titles: list[str] | None = None) -> bytes:
        """Line charts, row by row in `columns` columns, each from its own least to its largest value; what is foretold
        is in another colour."""
        from matplotlib.collections import LineCollection

        columns = max(1, min(columns, len(items)))
        rows, past = -(-len(items) // columns), self.length - self.horizon
        figure, axes = _page(1.6 * columns, 0.9 * rows + 0.2 * bool(titles))
        known, foretold, across = [], [], np.linspace(0.06, 0.94, self.length)
        for i, item in enumerate(items):
            low, high = np.nanmin(item), np.nanmax(item)
            up = 0.1 + 0.8 * (item - low) / (high - low if high > low else 1) + rows - 1 - i // columns
            for line in up.T:
                points = np.stack([across + i % columns, line], 1)
                known.append(points[:past])
                foretold.append(points[max(0, past - 1) :])
        axes.add_collection(LineCollection(known, colors=DARK, linewidths=0.8))
        axes.add_collection(LineCollection(foretold if self.horizon else [], colors=BRIGHT, linewidths=0.9))
        axes.set(xlim=(0, columns), ylim=(0, rows + 0.25 * bool(titles)))
        axes.set_axis_off()
        for i, title in enumerate((titles or [])[:columns]):
            axes.text(i + 0.5, rows + 0.05, title, ha="center", fontsize=8)
        return _png(figure)

    def fan(self, futures: Sequence[np.ndarray], truth: Sequence[np.ndarray] = ()) -> bytes:
        count, past = len(futures) * self.count, self.length - self.horizon
        columns = min(3, len(futures)) if self.count == 1 else self.count
        rows = -(-count // columns)
        figure, _ = _page((9.0 if count == 1 else 4.2) * columns, 3.0 * rows, bare=True)
        first = max(0, past - 1 - 4 * self.horizon)
        shown, ahead = np.arange(first, past) - past + 1, np.arange(self.horizon + 1)  # 0 is now
        for number in range(count):
            which, column = divmod(number, self.count)
            made = futures[which][:, :, column]
            axes = figure.add_subplot(rows, columns, number + 1)
            for level, shade in zip(reversed(INTERVALS), (0.18, 0.28, 0.42), strict=True):
                low, high = interval(made[:, past - 1 :], level)
                axes.fill_between(ahead, low, high, color=BRIGHT, alpha=shade, linewidth=0)
            axes.plot(ahead, np.median(made[:, past - 1 :], 0), color=BRIGHT, linewidth=1.4)
            axes.plot(shown, made[0, first:past], color=DARK, linewidth=1)
            if len(truth):
                axes.plot(ahead, truth[which][past - 1 :, column], color="black", linewidth=0.9, linestyle="--")
            axes.set_title(self.names[column] if self.names else "", fontsize=9)
            axes.grid(color="#e6e6e6", linewidth=0.6)
            axes.spines[:].set_color("#cccccc")
            axes.tick_params(labelsize=7, color="#999999")
        return _png(figure)

    def augment(self, items: Tensor, how: Mapping[str, Any], uniform: Tensor) -> Tensor:
        _NoAugment.from_tree(dict(how), "data.augment")
        return items


class Outlook:
    """What many futures of one past say together, as a file: their median, and the bounds of `INTERVALS`."""

    suffix = ".csv"

    def __init__(self, medium: Series):
        self.medium = medium

    def encode(self, item: np.ndarray, mark: Mark) -> bytes:
        """A row a step ahead of items [n, length, columns]: step, then of each column median, low and high of 50 % …"""
        made = item[:, self.medium.length - self.medium.horizon :]
        parts, names = [np.arange(1, self.medium.horizon + 1)], ["step"]
        for column in range(self.medium.count):
            name = self.medium.names[column] if self.medium.names else f"column {column + 1}"
            parts.append(np.median(made[:, :, column], 0))
            names.append(f"{name} median")
            for level in INTERVALS:
                parts += interval(made[:, :, column], level)
                names += [f"{name} {end} of {100 * level:g} %" for end in ("low", "high")]
        return _written(np.stack(parts, 1).astype(np.float32), names, mark)

    def label(self, item: np.ndarray, text: str) -> np.ndarray:
        return item


class Windows(Cutter):
    """Windows at each `stride` steps of a stretch of rows; what has too many gaps is left out and counted."""

    def __init__(self, config: Config):
        self.config, self.found = config, Counter[str]()
        self.passed = self.found

    def put(self, item: np.ndarray) -> list[np.ndarray]:
        """Interpolation looks ahead, so that the last step that is known must be there itself, and whatever is
        foretold is to be true."""
        length, horizon = self.config.length, self.config.horizon
        rows, filled = _interpolated(item, self.config.gap)
        strict, windows = horizon + 1 if horizon else 0, []
        for start in range(0, len(rows) - length + 1, self.config.stride):
            part, mended = rows[start : start + length], filled[start : start + length]
            if np.isnan(part).any() or mended[length - strict :].any():
                self.found["windows with missing values"] += 1
                continue
            self.found["windows with values filled in"] += bool(mended.any())
            windows.append(part)
        return windows


def spread_of(known: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [b, 1, columns] of steps [b, steps, columns]; of what is constant, its size."""
    spread, centre = torch.std_mean(known, 1, correction=0, keepdim=True)
    size = centre.abs()
    return centre, torch.where(spread > LEAST_SPREAD * size, spread, torch.where(size > 0, size, torch.ones_like(size)))


def _interpolated(rows: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """`rows` [n, columns] with gaps of at most `most` values on a straight line, and where that was done [n]."""
    missing = np.isnan(rows)
    if not missing.any():
        return rows, np.zeros(len(rows), bool)
    rows, places = rows.copy(), np.arange(len(rows))
    for column, gaps in enumerate(missing.T):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], gaps, [False]])))
        for first, after in zip(edges[::2], edges[1::2], strict=True):
            if after - first <= most and first > 0 and after < len(rows):
                ends = [first - 1, after]
                rows[first:after, column] = np.interp(places[first:after], ends, rows[ends, column])
    return rows, np.asarray((missing & ~np.isnan(rows)).any(1))


def _written(rows: np.ndarray, names: Sequence[str], mark: Mark) -> bytes:
    out = io.StringIO(newline="")
    table = csv.writer(out, lineterminator="\n")
    out.writelines(f"# {text}\n" for text in mark.lines)
    table.writerows([names] if names else [])
    table.writerows([np.format_float_positional(v, trim="-") for v in row] for row in rows)
    return out.getvalue().encode()


# -- pictures ---------------------------------------------------------------------------------------------------------

DARK, BRIGHT = "#1f4e79", "#c0504d"


def _page(width: float, height: float, bare: bool = False) -> tuple[Any, Any]:
    """A figure of so many inches and, unless it is to be bare, axes that fill it."""
    from matplotlib.figure import Figure

    if bare:
        return Figure(figsize=(width, height), dpi=100, layout="constrained"), None
    figure = Figure(figsize=(width, height), dpi=100)
    return figure, figure.add_axes((0, 0, 1, 1))


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _shape(rows: np.ndarray) -> str:
    return f"{rows.shape[0]} of {rows.shape[1]}" if rows.ndim == 2 else f"{rows.ndim} axes"
