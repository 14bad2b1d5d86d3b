"""Charts of the report, drawn here as inline SVG: no script, no network, colours and type from the page's style sheet.

Every chart is 300 units wide so that its text keeps its size from a telephone to a desk, and says in `<title>`
and `<desc>` what it shows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

Number = int | float
Span = tuple[Number, Number]

WIDTH = 300.0
MARGIN = {"left": 40.0, "right": 12.0, "top": 10.0, "bottom": 36.0}


@dataclass(frozen=True)
class Series:
    """A line: `colour` is the number of a contestant's colour, `points` (x, y) in order; `second` draws it dashed."""

    name: str
    colour: int
    points: Sequence[tuple[Number, Number]]
    second: bool = False


@dataclass(frozen=True)
class Mark:
    """A value of a contestant with its 95 % interval; `y` only for a scatter."""

    name: str
    colour: int
    x: Number
    low: Number | None = None
    high: Number | None = None
    y: Number = 0.0


@dataclass(frozen=True)
class Axis:
    """A number line from `low` to `high` laid on units `start` to `end`, linear or logarithmic."""

    low: Number
    high: Number
    start: Number
    end: Number
    log: bool = False

    def __call__(self, value: Number) -> float:
        low, high, at = (_log(v) if self.log else v for v in (self.low, self.high, value))
        share = (at - low) / (high - low)
        return round(self.start + min(1.0, max(0.0, share)) * (self.end - self.start), 2)

    def ticks(self, wanted: int = 4) -> list[Number]:
        return _log_ticks(self.low, self.high) if self.log else nice_ticks(self.low, self.high, wanted)


def lines(title: str, series: Sequence[Series], x_label: str, y_label: str = "", height: Number = 170) -> str:
    """Curves over a common x axis; every line ends in a dot."""
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points if math.isfinite(y)]
    if not ys:
        return ""
    x = Axis(min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1, MARGIN["left"], WIDTH - MARGIN["right"])
    y = Axis(*_room(ys), height - MARGIN["bottom"], MARGIN["top"])
    body = _grid(x, y, height, x_label, y_label)
    for one in series:
        path = " ".join(f"{x(a)},{y(b)}" for a, b in one.points if math.isfinite(b))
        last = [(a, b) for a, b in one.points if math.isfinite(b)][-1:]
        dashed = " second" if one.second else ""
        body.append(f'<polyline class="line{dashed} c{one.colour}" points="{path}"/>')
        body += [f'<circle class="dot c{one.colour}" cx="{x(a)}" cy="{y(b)}" r="3"/>' for a, b in last]
    told = "; ".join(f"{one.name}: from {short(one.points[0][1])} to {short(one.points[-1][1])}" for one in series)
    return _svg(title, told, height, body)


def intervals(
    title: str, marks: Sequence[Mark], floor: Number | None, better: str, lowest: Number | None = None
) -> str:
    """One row a contestant: a dot with its 95 % interval, and real against real as a dashed line.

    Args:
        better: "lower" or "higher"; the arrow under the axis points that way.
        lowest: where the axis begins (0 for shares), or None to begin near the values.
    """
    row, top, bottom, left = 22.0, 6.0, 34.0, 86.0
    height = top + row * len(marks) + bottom
    values = [v for m in marks for v in (m.x, m.low, m.high) if v is not None] + ([] if floor is None else [floor])
    low, high = _room(values)
    x = Axis(low if lowest is None else min(low, lowest), high, left, WIDTH - 14)
    end = top + row * len(marks)
    body = [
        f'<line class="grid" x1="{x(t)}" y1="{top}" x2="{x(t)}" y2="{end}"/>'
        f'<text class="tick" x="{x(t)}" y="{end + 13}" text-anchor="middle">{short(t)}</text>'
        for t in x.ticks(4)
    ]
    if floor is not None:
        body.append(f'<line class="floor" x1="{x(floor)}" y1="{top}" x2="{x(floor)}" y2="{end}"/>')
    for i, mark in enumerate(marks):
        y = top + row * (i + 0.5)
        body.append(f'<text class="name" x="{left - 8}" y="{y + 4}" text-anchor="end">{escape(mark.name)}</text>')
        if mark.low is not None and mark.high is not None:
            body.append(f'<line class="bar c{mark.colour}" x1="{x(mark.low)}" y1="{y}" x2="{x(mark.high)}" y2="{y}"/>')
        body.append(f'<circle class="dot c{mark.colour}" cx="{x(mark.x)}" cy="{y}" r="4.5"/>')
    arrow = {"lower": "← better", "higher": "better →"}.get(better, "")
    anchor, at = ("start", left) if better == "lower" else ("end", WIDTH - 14)
    body.append(f'<text class="axis" x="{at}" y="{height - 6}" text-anchor="{anchor}">{arrow}</text>')
    told = "; ".join(f"{m.name} {short(m.x)}" for m in marks)
    return _svg(title, told + ("" if floor is None else f"; real against real {short(floor)}"), height, body)


def scatter(
    title: str, marks: Sequence[Mark], x_label: str, y_label: str, floor: Number | None, height: Number = 210
) -> str:
    """Quality (y, lower is better) against cost (x), both logarithmic where they span a lot; names beside the dots."""
    ys = [m.y for m in marks] + ([] if floor is None else [floor])
    x = _fitting([m.x for m in marks], MARGIN["left"], WIDTH - MARGIN["right"])
    y = _fitting(ys, height - MARGIN["bottom"], 2 * MARGIN["top"] + 4)
    body = _grid(x, y, height, x_label, y_label)
    if floor is not None:
        across = f'x1="{MARGIN["left"]}" x2="{WIDTH - MARGIN["right"]}"'
        body.append(f'<line class="floor" {across} y1="{y(floor)}" y2="{y(floor)}"/>')
    taken: list[tuple[float, float]] = []
    for mark in marks:
        left = x(mark.x) > WIDTH * 0.7
        at = y(mark.y) + 4
        while any(abs(at - b) < 12 and abs(x(mark.x) - a) < 90 for a, b in taken):
            at += 13
        taken.append((x(mark.x), at))
        anchor, shift = ("end", -8) if left else ("start", 8)
        body.append(f'<circle class="dot c{mark.colour}" cx="{x(mark.x)}" cy="{y(mark.y)}" r="5.5"/>')
        body.append(
            f'<text class="name" x="{x(mark.x) + shift}" y="{at}" text-anchor="{anchor}">{escape(mark.name)}</text>'
        )
    told = "; ".join(f"{m.name}: {short(m.y)} at {short(m.x)}" for m in marks)
    return _svg(title, told, height, body)


def dots(
    title: str, points: Sequence[Span], x_label: str, chosen: int, line: Sequence[Span] = (), height: Number = 190
) -> str:
    """Points, of which one is marked as chosen, and a stepped line behind them; logarithmic where they span a lot."""
    x = _fitting([a for a, _ in points], MARGIN["left"], WIDTH - MARGIN["right"])
    y = _fitting([b for _, b in points], height - MARGIN["bottom"], 2 * MARGIN["top"] + 4)
    body = _grid(x, y, height, x_label, title)
    if line:
        steps = [(line[0][0], line[0][1]), *((a, v) for (_, u), (a, b) in pairwise(line) for v in (u, b))]
        path = " ".join(f"{x(a)},{y(b)}" for a, b in steps)
        body.append(f'<polyline class="line second c0" points="{path}"/>')
    for i, (a, b) in enumerate(points):
        body.append(
            f'<circle class="dot c{int(i == chosen)}" cx="{x(a)}" cy="{y(b)}" r="{5.5 if i == chosen else 4}"/>'
        )
    told = "; ".join(f"{short(b)} at {short(a)}" for a, b in points)
    return _svg(f"{title} by {x_label}", told, height, body)


# -- numbers ----------------------------------------------------------------------------------------------------------


def short(value: Number) -> str:
    """A number as people write it: three digits that matter, thousands with k and M.

    >>> short(0.012345), short(3.0), short(1234.5), short(2_600_000)
    ('0.0123', '3', '1.23k', '2.6M')
    """
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    for unit, mark in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= unit * 0.9995:
            return _digits(value / unit) + mark
    return _digits(value)


def _digits(value: Number) -> str:
    if abs(value) < 1e-12:  # rounding noise
        return "0"
    if abs(value) < 1e-4:
        return f"{value:.1e}"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def nice_ticks(low: Number, high: Number, wanted: int = 4) -> list[Number]:
    """Round numbers (1, 2 or 5 times a power of ten apart) within [low, high], about `wanted` of them.

    >>> nice_ticks(0, 10, 4), nice_ticks(0.9, 2.2, 3)
    ([0, 5, 10], [1.0, 1.5, 2.0])
    """
    if high <= low:
        return [low]
    raw = (high - low) / wanted
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: Number, high: Number) -> list[Number]:
    powers = range(math.floor(_log(low)), math.ceil(_log(high)) + 1)
    for multiples in ((1,), (1, 3), (1, 2, 5)):
        ticks = [m * 10.0**p for p in powers for m in multiples if low <= m * 10.0**p <= high]
        if len(ticks) >= 3:
            break
    return ticks


def _log(value: Number) -> float:
    return math.log10(max(value, 1e-300))


def _room(values: Sequence[Number]) -> Span:
    """The values' range with a little room on both sides, but not below 0 when none of them is."""
    low, high = min(values), max(values)
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    return (max(0.0, low - room) if low >= 0 else low - room), high + room


def _fitting(values: Sequence[Number], start: Number, end: Number) -> Axis:
    """Logarithmic when the values are positive and span a factor of 5, else linear."""
    low, high = min(values), max(values)
    if low > 0 and high / low >= 5:
        return Axis(low / 1.6, high * 1.6, start, end, log=True)
    return Axis(*_room(values), start, end)


# -- pieces -----------------------------------------------------------------------------------------------------------


def _grid(x: Axis, y: Axis, height: Number, x_label: str, y_label: str) -> list[str]:
    left, right, bottom = MARGIN["left"], WIDTH - MARGIN["right"], height - MARGIN["bottom"]
    out = [
        f'<line class="grid" x1="{left}" x2="{right}" y1="{y(t)}" y2="{y(t)}"/>'
        f'<text class="tick" x="{left - 6}" y="{y(t) + 3.5}" text-anchor="end">{short(t)}</text>'
        for t in y.ticks(4)
    ]
    out += [
        f'<text class="tick" x="{x(t)}" y="{bottom + 14}" text-anchor="middle">{short(t)}</text>' for t in x.ticks(5)
    ]
    out.append(f'<text class="axis" x="{right}" y="{height - 6}" text-anchor="end">{escape(x_label)}</text>')
    if y_label:
        out.append(f'<text class="axis" x="0" y="10">{escape(y_label)}</text>')
    return out


def _svg(title: str, told: str, height: Number, body: Sequence[str]) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH:g} {height:g}" role="img" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{escape(title)}</title><desc>{escape(told)}</desc>{''.join(body)}</svg>"
    )
