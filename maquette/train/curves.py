"""The curves of a run as one picture that opens anywhere: samples/curves.png."""

import io
import math
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_HIDDEN = ("rate", "grad_norm")
_MOST = 12
"""Panels; a model that reports more is for TensorBoard."""


def plot(lines: list[dict[str, Any]]) -> bytes:
    """A PNG with one panel for each statistic in `lines` of metrics.jsonl; validation is drawn over training."""
    training, held_out = (
        series(lines),
        series([{"step": v["step"], **v["validation"]} for v in lines if "validation" in v]),
    )
    names = sorted(name for name in training | held_out if name.rpartition(".")[2] not in _HIDDEN)
    names = sorted(names, key=lambda name: not name.endswith("loss"))[:_MOST] or ["nothing yet"]
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(4.2 * columns, 2.8 * rows), layout="constrained", dpi=100)
    for place, name in enumerate(names, 1):
        axes = figure.add_subplot(rows, columns, place)
        axes.plot(*training.get(name, ([], [])), linewidth=1, color="#4060a0", label="training")
        if name in held_out:
            axes.plot(
                *held_out[name], "o-", markersize=3, linewidth=1, color="#d07030", label="held out, averaged weights"
            )
            axes.legend(fontsize=7, frameon=False)
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    png = io.BytesIO()
    FigureCanvasAgg(figure).print_png(png)
    return png.getvalue()


def series(lines: list[dict[str, Any]]) -> dict[str, tuple[list[int], list[float]]]:
    """name -> (steps, values) of every finite number in `lines`."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    for line in lines:
        for name, value in line.items():
            if name not in ("step", "progress", "seconds") and isinstance(value, float | int):
                steps, values = found.setdefault(name, ([], []))
                steps.append(line["step"])
                values.append(value)
    return found
