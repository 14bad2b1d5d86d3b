"""The curves of a run as one picture that any browser opens: samples/curves.svg."""

import math
from typing import Any
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT, _PAD, _COLUMNS = 320, 190, 44, 3
_TRAINING, _HELD_OUT = "#4060a0", "#d07030"
_HIDDEN = ("rate", "grad_norm")

Series = dict[str, list[tuple[int, float]]]


def plot(lines: list[dict[str, Any]]) -> str:
    """An SVG with a panel for each statistic in `lines` of metrics.jsonl, losses first, validation over training."""
    training = series([line for line in lines if "validation" not in line])
    held_out = series([{"step": line["step"], **line["validation"]} for line in lines if "validation" in line])
    names = [name for name in training | held_out if name.rpartition(".")[2] not in _HIDDEN]
    names = sorted(names, key=lambda name: (not name.endswith("loss"), name))
    panels = [
        _panel(i, name, {_TRAINING: training.get(name, []), _HELD_OUT: held_out.get(name, [])})
        for i, name in enumerate(names)
    ]
    width, height = _WIDTH * min(_COLUMNS, len(names)), _HEIGHT * math.ceil(len(names) / _COLUMNS) + 20
    key = f'<tspan fill="{_TRAINING}">training</tspan>  <tspan fill="{_HELD_OUT}">held out, averaged weights</tspan>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        f'font-size="11" fill="#333"><rect width="100%" height="100%" fill="white"/>{"".join(panels)}'
        f'<text x="{_PAD}" y="{height - 6}">{key}</text></svg>\n'
    )


def series(lines: list[dict[str, Any]]) -> Series:
    """name -> (step, value) pairs of every finite number in `lines`."""
    found: Series = {}
    for line in lines:
        for name, value in line.items():
            if name not in ("step", "progress", "seconds") and isinstance(value, float | int):
                found.setdefault(name, []).append((line["step"], value))
    return found


def _panel(place: int, name: str, drawn: dict[str, list[tuple[int, float]]]) -> str:
    x, y = _WIDTH * (place % _COLUMNS), _HEIGHT * (place // _COLUMNS)
    points = [point for line in drawn.values() for point in line]
    low, high = min(v for _, v in points), max(v for _, v in points)
    last = max(step for step, _ in points)
    wide, tall = _WIDTH - _PAD - 14, _HEIGHT - 58

    def at(step: int, value: float) -> str:
        share = (value - low) / (high - low) if high > low else 0.5
        return f"{x + _PAD + wide * step / max(last, 1):.1f},{y + 30 + tall * (1 - share):.1f}"

    out = [f'<text x="{x + _PAD}" y="{y + 20}" font-weight="bold">{escape(name)}</text>']
    out += [f'<text x="{x + _PAD - 4}" y="{y + 36}" text-anchor="end" font-size="9">{high:.4g}</text>']
    out += [f'<text x="{x + _PAD - 4}" y="{y + 30 + tall}" text-anchor="end" font-size="9">{low:.4g}</text>']
    out += [f'<text x="{x + _PAD + wide}" y="{y + 44 + tall}" text-anchor="end" font-size="9">step {last}</text>']
    out += [f'<path d="M{at(0, low)} L{at(last, low)}" stroke="#bbb"/>']
    for colour, line in drawn.items():
        out += [f'<polyline points="{" ".join(at(*p) for p in line)}" fill="none" stroke="{colour}"/>'] if line else []
    return "".join(out)
