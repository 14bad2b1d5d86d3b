"""Forecasts of what came to be: how near, how sure and how honest they are, beside simpler ways to foretell.

Of unseen windows a model is given the known past alone, and draws `FUTURES` futures of each. Their median is scored by
MASE (Hyndman and Koehler 2006), all of them together by CRPS and the pinball loss, and their intervals by how often
the truth lies in them (Gneiting and Raftery 2007). Errors are divided by those that repeating the last season (or the
last value, where no season is known) makes within the known past, so that series of all sizes count alike. Four ways
without a network answer the same, with as many simulated futures: the last season again, the last value, a straight
line through first and last (their errors drawn from those that they make within the known past), and an autoregressive
process, AR(p) by least squares over the training windows with p by AIC (Akaike 1974).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from maquette.core.errors import MaquetteError, Sentence
from maquette.core.seeds import Seeds
from maquette.core.waiting import watched
from maquette.data.dataset import Dataset
from maquette.evaluate.reference import picked
from maquette.evaluate.report import Score, Shot, Stamp
from maquette.evaluate.scores import cost
from maquette.evaluate.scores.intervals import Estimate, of_mean
from maquette.media.base import InTime, Medium, interval
from maquette.pipeline import DRAWING, Pipeline, Request

FUTURES = 96
"""Of each window: as many as three batches of a CPU."""
MOST, LEAST = 100, 5
"""Windows that are asked at most, and without which nothing is scored."""
ROOM = 20_000_000
"""Numbers of one way's futures that are held at most."""
DECILES = np.arange(1, 10) / 10
TAUGHT, ORDERS = 1_000, 128
"""Training windows that an autoregressive process learns from at most, and its highest order."""
SHOWN = 6
PER_WINDOW = "95 %, Student's t over windows"

Futures = np.ndarray
"""float64 [windows, futures, horizon, columns]."""


@dataclass(frozen=True)
class Forecasts:
    """What was foretold of unseen windows, and what came.

    Attributes:
        truth: [windows, horizon, columns]; known: [windows, past, columns], in the files' units.
        ways: futures by name, the model's own under "".
        unit: [windows, 1, columns], what errors are divided by.
        drawn: the model's items and what they cost.
        first: of the first windows all made items, for the picture; real: the windows themselves.
        constant: windows that were left out, as nothing happens in their past.
    """

    truth: np.ndarray
    known: np.ndarray
    ways: Mapping[str, Futures]
    unit: np.ndarray
    drawn: cost.Timed[np.ndarray]
    first: Sequence[np.ndarray]
    real: Sequence[np.ndarray]
    order: Sequence[int]
    constant: int

    def scores(self, stamp: Stamp) -> Iterator[Score]:
        """Every score of the model, beside those of the simpler ways."""
        found = {
            way: scored(futures / self.unit[:, None], self.truth / self.unit) for way, futures in self.ways.items()
        }
        for name, own in found[""].items():
            beside = {way: one[name] for way, one in found.items() if way}
            yield Score.of(name, own, stamp, NOMINAL.get(name), baselines=beside)

    def notes(self, medium: InTime) -> Iterator[str]:
        n, past, _ = self.known.shape
        after, chinese = "the last value's error", "重复最后一值的误差"
        if medium.season:
            after, chinese = (
                f"the error of repeating the last {medium.season} steps",
                f"重复最后 {medium.season} 步的误差",
            )
        yield Sentence(
            f"{n:,} unseen windows, {FUTURES} futures of each, given the {past} steps before.",
            f"{n:,} 个未见的窗口，每个在给定之前 {past} 步的条件下生成 {FUTURES} 个未来。",
        )
        yield Sentence(
            f"Errors are divided by {after} within the known past: a MASE of 1 is no better than that.",
            f"误差除以已知过去之内{chinese}：MASE 为 1 就是不比它更好。",
        )
        order = " and ".join(map(str, self.order))
        yield Sentence(
            f"AR: order {order} by AIC, by least squares over training windows.",
            f"自回归过程：阶数 {order.replace(' and ', '、')} 由 AIC 选定，在训练窗口上以最小二乘拟合。",
        )
        if self.constant:
            zh = f"有 {self.constant:,} 个窗口的过去没有任何变化，已略去。"
            yield Sentence(f"{self.constant:,} windows in whose past nothing happens are left out.", zh)

    def shot(self, medium: InTime) -> Shot:
        caption = Sentence(
            "The first unseen windows, not chosen: the end of the past, the median, 50, 80 and 95 % intervals, truth.",
            "最先的未见窗口，未经挑选：过去的末段、中位数、50 %、80 % 与 95 % 区间，以及真实值。",
        )
        return Shot("forecasts", "Forecasts", caption, medium.fan(self.first, self.real))


def foretell(
    pipeline: Pipeline, dataset: Dataset, n: int, ask: Request, say: Callable[[str], None] = lambda line: None
) -> Forecasts:
    """Let `pipeline` and the simpler ways foretell at most `n` unseen windows of `dataset`.

    Args:
        ask: how to draw, and the seed.

    Raises:
        MaquetteError: MQ-2083 when there are fewer than `LEAST`, and what the pipeline raises of a model that cannot go
            on from a past.
    """
    medium = pipeline.medium
    assert isinstance(medium, InTime) and medium.horizon, "asked for a medium that foretells"
    past, season = medium.stored[0] - medium.horizon, medium.season or 1
    room = ROOM // (FUTURES * medium.horizon * medium.stored[1])
    rows = picked(dataset.test, min(n, MOST, max(LEAST, room)), ask.seed)
    windows = np.asarray(dataset.test.items[rows]).astype(np.float64)
    unit = np.abs(windows[:, season:past] - windows[:, : past - season]).mean(1, keepdims=True)
    moving = (unit > 0).all((1, 2))
    rows, windows, unit = rows[moving], windows[moving], unit[moving]
    if len(rows) < LEAST:
        raise MaquetteError("MQ-2083", n=len(rows), least=LEAST)
    known, truth = windows[:, :past], windows[:, past:]
    zh = f"正在为 {len(rows)} 个窗口各生成 {FUTURES} 个未来"
    say(Sentence(f"drawing {FUTURES} futures of {len(rows)} windows", zh))
    drawn = cost.timed(lambda: _drawn(pipeline, dataset, rows, ask), pipeline.device)
    made = drawn.result.reshape(len(rows), FUTURES, *medium.stored)
    say(Sentence("asking simpler ways", "正在用更简单的方法作答"))
    processes = learnt_processes(dataset, medium, past, ask.seed)
    ways = simpler(known, medium.horizon, medium.season, processes, Seeds.for_samples(ask.seed, len(rows)))
    return Forecasts(
        truth=truth,
        known=known,
        ways={"": made[:, :, past:].astype(np.float64), **ways},
        unit=unit,
        drawn=drawn,
        first=list(made[:SHOWN]),
        real=list(windows[:SHOWN]),
        order=[len(process.weights) for process in processes],
        constant=int((~moving).sum()),
    )


def _drawn(pipeline: Pipeline, dataset: Dataset, rows: np.ndarray, ask: Request) -> np.ndarray:
    """Made items, all futures of a window in a row."""
    futures = _futures(pipeline, dataset, rows, ask)
    return np.concatenate([*watched(futures, DRAWING, len(rows) * FUTURES, pipeline.medium.pace, len)])


def _futures(pipeline: Pipeline, dataset: Dataset, rows: np.ndarray, ask: Request) -> Iterator[np.ndarray]:
    """Those of one window after the other; window i takes the seeds from `ask.seed` + i `FUTURES` on."""
    medium = pipeline.medium
    assert isinstance(medium, InTime)
    for number, row in enumerate(rows):
        known = np.array(dataset.test.items[row][: medium.stored[0] - medium.horizon])
        label = int(dataset.test.labels[row]) if pipeline.classes else None
        tree = {name: value for name, value in vars(ask).items() if name in ("guidance", "sampling")}
        told = pipeline.continuing(known) | {"n": FUTURES, "seed": ask.seed + number * FUTURES, "label": label}
        yield medium.onto(pipeline.generate(Request(**tree, **told)), known)


# -- scores -----------------------------------------------------------------------------------------------------------

NOMINAL = {"interval_80": 0.8, "interval_95": 0.95}


def scored(futures: Futures, truth: np.ndarray) -> dict[str, Estimate]:
    """Every score of futures [n, m, h, c] against the truth [n, h, c], means over windows with their intervals."""
    found = {
        "crps": crps(futures, truth),
        "mase": np.abs(np.median(futures, 1) - truth),
        "pinball": pinball(futures, truth),
    }
    for name, share in NOMINAL.items():
        low, high = interval(futures.swapaxes(0, 1), share)
        found[name] = ((low <= truth) & (truth <= high)).astype(float)
    means = {name: of_mean(each.mean((1, 2)).tolist(), PER_WINDOW) for name, each in found.items()}
    return {name: mean.as_share() if name in NOMINAL else mean for name, mean in means.items()}


def crps(futures: Futures, truth: np.ndarray) -> np.ndarray:
    """The continuous ranked probability score E|X - y| - E|X - X'| / 2 (Gneiting and Raftery 2007, equation 21) from m
    draws each, without bias: pairs of a draw with itself are left out (Ferro 2014)."""
    m = futures.shape[1]
    near = np.abs(futures - truth[:, None]).mean(1)
    # the sum of |x_i - x_j| over i < j, of x in order: each counts as often as there are smaller ones less larger ones
    weights = (2 * np.arange(m) - m + 1)[:, None, None]
    return near - (np.sort(futures, 1) * weights).sum(1) / (m * (m - 1))


def pinball(futures: Futures, truth: np.ndarray) -> np.ndarray:
    """max(q (y - x_q), (q - 1) (y - x_q)), a mean over the deciles x_q (Koenker and Bassett 1978)."""
    quantiles = np.quantile(futures, DECILES, axis=1, method="weibull")
    over, q = truth - quantiles, DECILES[:, None, None, None]
    return np.maximum(q * over, (q - 1) * over).mean(0)


# -- simpler ways -----------------------------------------------------------------------------------------------------


def simpler(
    known: np.ndarray, horizon: int, season: int, processes: Sequence["Process"], rng: Seeds
) -> dict[str, Futures]:
    """Futures [n, FUTURES, horizon, c] of `known` [n, past, c] by name; window i takes row i of `rng`."""
    chance = rng.uniform(FUTURES, horizon, known.shape[2]).double().numpy()
    steps = np.diff(known, axis=1)
    ways = {"AR": foretold(known, processes, chance)}
    if season:
        ways["seasonal naive"] = seasonal(known, season, chance)
    last = known[:, None, -1:]
    ways["naive"] = last + np.cumsum(drawn_from(steps - steps.mean(1, keepdims=True), chance), 2)
    ways["drift"] = last + np.cumsum(drawn_from(steps, chance), 2)
    return ways


def drawn_from(errors: np.ndarray, chance: np.ndarray) -> Futures:
    """Of errors [n or 1, k, c] the one at each of the uniform numbers `chance` [n, m, h, c]."""
    return np.take_along_axis(errors[:, None], (chance * errors.shape[1]).astype(int), 2)


def seasonal(known: np.ndarray, season: int, chance: np.ndarray) -> Futures:
    """Each step as a season before, and an error of those that this makes within the known past."""
    errors = drawn_from(known[:, season:] - known[:, :-season], chance)
    path = np.repeat(known[:, None, -season:], chance.shape[1], 1)
    for step in range(chance.shape[2]):
        path = np.concatenate([path, path[:, :, step : step + 1] + errors[:, :, step : step + 1]], 2)
    return path[:, :, season:]


@dataclass(frozen=True)
class Process:
    """x_t = constant + sum_i weights_i x_(t-i) + an error, one of `errors`."""

    constant: float
    weights: np.ndarray
    errors: np.ndarray

    @classmethod
    def learnt(cls, series: np.ndarray, most: int) -> "Process":
        """By least squares over stretches [k, length], of the order from 1 to `most` that has the lowest AIC."""
        rows = np.lib.stride_tricks.sliding_window_view(series, most + 1, axis=1).reshape(-1, most + 1)[:, ::-1]
        lags, target = np.concatenate([np.ones((len(rows), 1)), rows[:, 1:]], 1), rows[:, 0]
        square, product = lags.T @ lags, lags.T @ target
        best, lowest = np.zeros(2), np.inf
        for order in range(1, most + 1):
            part = slice(order + 1)
            found = np.linalg.lstsq(square[part, part], product[part], rcond=None)[0]
            left = max(float(target @ target - product[part] @ found), 1e-12)
            aic = len(rows) * np.log(left / len(rows)) + 2 * (order + 1)
            if aic < lowest:
                best, lowest = found, aic
        errors = target - lags[:, : len(best)] @ best
        return cls(float(best[0]), best[1:], errors - errors.mean())

    def onward(self, known: np.ndarray, chance: np.ndarray) -> np.ndarray:
        """Futures [n, m, h] of stretches [n, past] by uniform numbers [n, m, h]."""
        order = len(self.weights)
        path = np.repeat(known[:, None, -order:], chance.shape[1], 1)
        errors = self.errors[(chance * len(self.errors)).astype(int)]
        for step in range(chance.shape[2]):
            now = self.constant + path[:, :, step:] @ self.weights[::-1] + errors[:, :, step]
            path = np.concatenate([path, now[..., None]], 2)
        return path[:, :, order:]


def learnt_processes(dataset: Dataset, medium: Medium, past: int, seed: int) -> list[Process]:
    """One for each column, of windows measured by their own pasts, as `foretold` measures."""
    windows = np.asarray(dataset.train.items[picked(dataset.train, TAUGHT, seed)]).astype(np.float64)
    if not len(windows):
        raise MaquetteError("MQ-2083", n=0, least=1)
    centre, spread = _measured(windows[:, :past])
    relative = (windows - centre) / spread
    return [Process.learnt(relative[:, :, i], min(past // 2, ORDERS)) for i in range(medium.stored[1])]


def foretold(known: np.ndarray, processes: Sequence[Process], chance: np.ndarray) -> Futures:
    centre, spread = _measured(known)
    relative = (known - centre) / spread
    made = [process.onward(relative[:, :, i], chance[:, :, :, i]) for i, process in enumerate(processes)]
    return np.stack(made, 3) * spread[:, None] + centre[:, None]


def _measured(known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    spread = known.std(1, keepdims=True)
    return known.mean(1, keepdims=True), np.where(spread > 0, spread, 1.0)
