"""`seasons`: twelve series of two years each, eight values a day, which this program draws. Nothing was measured.

Each has a level of its own (from 3 to 300), a trend that turns now and then, a day of 8 steps, a week of 56, errors
that last for some steps, an AR(1) process, and now and then a level that shifts for good:

    v_t = level (1 + trend_t + day_t + week_t + shift_t + e_t),    e_t = phi e_{t-1} + sigma z_t
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
from scipy.signal import lfilter

from maquette.core import seeds
from maquette.data.dataset import Reading, Row, Source
from maquette.media.base import Medium

NAME, VERSION = "seasons", 1
DAY, WEEK = 8, 56
STEPS, SERIES = 730 * DAY, 12
SHIFTS, TURNS = 1 / (60 * DAY), 1 / (120 * DAY)
"""How often a level shifts and a trend turns, per step."""


def source(medium: Medium, seed: int) -> Source:
    """The set, as a medium of columns of numbers reads it."""
    rows = partial(_rows, medium, seed)
    licence = "none needed: drawn by this program, synthetic"
    return Source(
        name=NAME,
        place=NAME,
        key=[NAME, VERSION, seed],
        read=lambda: Reading(rows=rows(), count=SERIES, licence=licence),
    )


def _rows(medium: Medium, seed: int) -> Iterator[Row]:
    for number in range(SERIES):
        yield Row(f"{NAME}/{number:02}", partial(_load, medium, seeds.mix(seed, seeds.BUILD, number)))


def _load(medium: Medium, key: int) -> np.ndarray:
    values = draw(np.random.default_rng(key))
    return medium.from_bytes(("value\n" + "".join(f"{value:.5g}\n" for value in values)).encode(), NAME)


def draw(rng: np.random.Generator) -> np.ndarray:
    """One series, float64 [STEPS]."""
    t = np.arange(STEPS)
    level = 10 ** rng.uniform(0.5, 2.5)
    slope = np.where(rng.random(STEPS) < TURNS, rng.normal(0, 0.4 / STEPS, STEPS), 0)
    trend = np.cumsum(rng.normal(0, 0.4 / STEPS) + np.cumsum(slope))
    shift = np.cumsum(np.where(rng.random(STEPS) < SHIFTS, rng.normal(0, 0.12, STEPS), 0))
    day = _season(rng, t / DAY, rng.uniform(0.12, 0.30))
    week = _season(rng, t / WEEK, rng.uniform(0.05, 0.15))
    phi, spread = rng.uniform(0.5, 0.9), rng.uniform(0.03, 0.08)
    errors = lfilter([1.0], [1.0, -phi], spread * np.sqrt(1 - phi**2) * rng.normal(0, 1, STEPS))
    return level * (1 + trend + shift + day + week + errors)


def _season(rng: np.random.Generator, turns: np.ndarray, size: float) -> np.ndarray:
    """A wave and two overtones of it, at random phases."""
    phases = 2 * np.pi * rng.random(3)
    overtones = np.arange(1, 4)[:, None]
    return size * (np.cos(2 * np.pi * overtones * turns + phases[:, None]) / overtones).sum(0)
