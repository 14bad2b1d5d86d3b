"""Curves as one picture that any browser opens: samples/curves.svg of a run, and those of a range test."""

import math
from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT, _PAD, _COLUMNS = 320, 190, 44, 3
_HIDDEN = ("rate", "grad_norm")
TRAINING, HELD_OUT = "#4060a0", "#d07030"

Line = list[tuple[float, float]]


def plot(lines: list[dict[str, Any]]) -> str:
    """An SVG with a panel for each statistic in `lines` of metrics.jsonl, losses first, validation over training."""
    training = series([line for line in lines if "validation" not in line])
    held_out = series([{"step": line["step"], **line["validation"]} for line in lines if "validation" in line])
    names = [name for name in training | held_out if name.rpartition(".")[2] not in _HIDDEN]
    names = sorted(names, key=lambda name: (not name.endswith("loss"), name))
    panels = {name: {TRAINING: training.get(name, []), HELD_OUT: held_out.get(name, [])} for name in names}
    return draw(panels, {TRAINING: "training", HELD_OUT: "held out, averaged weights"}, lambda step: f"step {step:.0f}")


def series(lines: list[dict[str, Any]]) -> dict[str, Line]:
    """name -> (step, value) pairs of every finite number in `lines`."""
    found: dict[str, Line] = {}
    for line in lines:
        for name, value in line.items():
            if name not in ("step", "progress", "seconds") and isinstance(value, float | int):
                found.setdefault(name, []).append((float(line["step"]), float(value)))
    return found


def draw(panels: dict[str, dict[str, Line]], key: dict[str, str], label: Callable[[float], str]) -> str:
    """An SVG with a panel for each name, in which each colour has a line.

    Args:
        key: what each colour means.
        label: how a place on the x axis is written.
    """
    drawn = [_panel(place, name, lines, label) for place, (name, lines) in enumerate(panels.items())]
    width, height = _WIDTH * min(_COLUMNS, len(panels)), _HEIGHT * math.ceil(len(panels) / _COLUMNS) + 20
    meaning = "  ".join(f'<tspan fill="{colour}">{escape(text)}</tspan>' for colour, text in key.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        f'font-size="11" fill="#333"><rect width="100%" height="100%" fill="white"/>{"".join(drawn)}'
        f'<text x="{_PAD}" y="{height - 6}">{meaning}</text></svg>\n'
    )


def _panel(place: int, name: str, drawn: dict[str, Line], label: Callable[[float], str]) -> str:
    x, y = _WIDTH * (place % _COLUMNS), _HEIGHT * (place // _COLUMNS)
    xs, ys = zip(*(point for line in drawn.values() for point in line), strict=True)
    wide, tall = _WIDTH - _PAD - 14, _HEIGHT - 58

    def at(point: tuple[float, float]) -> str:
        right, up = _share(point[0], xs), _share(point[1], ys)
        return f"{x + _PAD + wide * right:.1f},{y + 30 + tall * (1 - up):.1f}"

    out = [f'<text x="{x + _PAD}" y="{y + 20}" font-weight="bold">{escape(name)}</text>']
    out += [f'<text x="{x + _PAD - 4}" y="{y + 36}" text-anchor="end" font-size="9">{max(ys):.4g}</text>']
    out += [f'<text x="{x + _PAD - 4}" y="{y + 30 + tall}" text-anchor="end" font-size="9">{min(ys):.4g}</text>']
    out += [f'<text x="{x + _PAD}" y="{y + 44 + tall}" font-size="9">{label(min(xs))}</text>']
    out += [f'<text x="{x + _PAD + wide}" y="{y + 44 + tall}" text-anchor="end" font-size="9">{label(max(xs))}</text>']
    out += [f'<path d="M{x + _PAD} {y + 30 + tall}h{wide}" stroke="#bbb"/>']
    for colour, line in drawn.items():
        out += [f'<polyline points="{" ".join(map(at, line))}" fill="none" stroke="{colour}"/>'] if line else []
    return "".join(out)


def _share(value: float, values: tuple[float, ...]) -> float:
    """Where `value` lies between the least and the greatest of `values`."""
    low, high = min(values), max(values)
    return (value - low) / (high - low) if high > low else 0.5
