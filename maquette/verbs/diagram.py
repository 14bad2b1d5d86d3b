"""Drawings of how the families work and of how what one hears of is related, as SVG files.

They are written as Mermaid flowcharts (diagram.yaml), which the guide shows too; what is read of that language is what
they need: boxes from left to right, arrows with words, a title.
"""

import html
import re
import unicodedata
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from maquette.core import files
from maquette.core.config import parse_yaml
from maquette.core.errors import MaquetteError, nearest, preferred_language

FILE = Path(__file__).with_suffix(".yaml")
STYLE = (
    "svg{background:#fff;font:14px sans-serif}rect,path{fill:none;stroke:#333}rect{fill:#f4f4f5}"
    "text,.head{fill:#111;stroke:none}"
)


def diagram(name: str, out: Path | str) -> Path:
    """Write a drawing in the language of the environment: `families`, each by itself, as none descends from another, or
    `concepts`, how networks, families and ways of learning hang together.

    Raises:
        MaquetteError: MQ-2172 when there is no such drawing, MQ-2002 an `out` that is no SVG file.
    """
    if name not in sources():
        raise MaquetteError("MQ-2172", name=name, near=nearest(name, sources()))
    if Path(out).suffix.lower() != ".svg":
        raise MaquetteError("MQ-2002", path="out", wanted="a file name that ends in .svg", value=repr(str(out)))
    files.write_file(out, drawing(sources()[name][preferred_language()]).encode())
    return Path(out)


@cache
def sources() -> dict[str, dict[str, str]]:
    """The flowcharts of each drawing by language."""
    return parse_yaml(FILE.read_text(encoding="utf-8"), FILE.name)[0]


def charts(source: str) -> list[str]:
    """The flowcharts in a source of several."""
    return [f"flowchart LR{part.rstrip()}" for part in source.split("flowchart LR") if part.strip()]


def drawing(source: str) -> str:
    """Flowcharts one below another, as an SVG file that stands by itself."""
    below, parts, wide = 0.0, [], 0.0
    for chart in map(Chart, charts(source)):
        parts.append(chart.svg().replace("<svg ", f'<svg y="{below:.0f}" height="{chart.tall:.0f}" ', 1))
        below, wide = below + chart.tall + 8, max(wide, chart.right)
    size = f'width="{wide:.0f}" height="{below:.0f}" viewBox="0 0 {wide:.0f} {below:.0f}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{STYLE}</style>{"".join(parts)}</svg>\n'


SIZE, HEIGHT, BETWEEN, ROW = 14, 34, 44, 58
"""Of letters, of boxes, between columns, between the middles of rows; in pixels."""


@dataclass
class Box:
    words: str
    rank: int = 0
    x: float = 0.0
    y: float = 0.0

    @property
    def width(self) -> float:
        return width(self.words) + 22


def width(words: str) -> float:
    """About how wide the words are."""
    return sum((SIZE if unicodedata.east_asian_width(letter) in "WF" else 0.56 * SIZE for letter in words), 0.0)


@dataclass
class Chart:
    """Boxes in columns: each stands one column after the last that leads to it, arrows back apart."""

    source: str
    boxes: dict[str, Box] = field(default_factory=dict)
    arrows: list[tuple[str, str, str]] = field(default_factory=list)
    title: str = ""

    def __post_init__(self) -> None:
        for line in (line.strip() for line in self.source.splitlines()):
            if line.startswith("subgraph "):
                self.title = line.removeprefix("subgraph ")
            elif line and line != "end" and not line.startswith("flowchart"):
                self._read(line)
        for _ in self.boxes:
            for a, b, _ in self.arrows:
                if not self._back(a, b):
                    self.boxes[b].rank = max(self.boxes[b].rank, self.boxes[a].rank + 1)
        for name in self.boxes.keys() - {b for _, b, _ in self.arrows}:  # what nothing leads to stands beside its use
            self.boxes[name].rank = min(self.boxes[b].rank for a, b, _ in self.arrows if a == name) - 1
        self._place()

    def _read(self, line: str) -> None:
        """`a[one] -->|words| b[other] --> c`"""
        parts = re.split(r"\s*-->(?:\|([^|]*)\|)?\s*", line)
        names = []
        for part in parts[::2]:
            name, words = re.fullmatch(r"(\w+)(?:\[\"?(.*?)\"?\])?", part).groups()  # type: ignore[union-attr]
            self.boxes.setdefault(name, Box(words or name))
            names.append(name)
        self.arrows += [(a, b, said or "") for a, b, said in zip(names, names[1:], parts[1::2], strict=False)]

    def _back(self, a: str, b: str) -> bool:
        """Whether an arrow leads to a box that was named before where it comes from, and from there on to it."""
        order = list(self.boxes)
        return order.index(b) < order.index(a) and self._leads(b, a)

    def _leads(self, a: str, b: str) -> bool:
        seen, ahead = set(), [a]
        while ahead:
            at = ahead.pop()
            seen.add(at)
            ahead += [there for here, there, _ in self.arrows if here == at and there not in seen]
        return b in seen

    def _place(self) -> None:
        columns = [[box for box in self.boxes.values() if box.rank == rank] for rank in range(len(self.boxes))]
        self.columns = [column for column in columns if column]
        rows, x = max(map(len, self.columns)), 8.0
        for rank, column in enumerate(self.columns):
            wide = max(box.width for box in column)
            for i, box in enumerate(column):
                box.x = x + (wide - box.width) / 2
                box.y = (30 if self.title else 8) + HEIGHT / 2 + ROW * (i + (rows - len(column)) / 2)
            said = [width(words) + 16 for a, _, words in self.arrows if self.boxes[a].rank == rank]
            x += wide + max([BETWEEN, *said])
        self.right = max(box.x + box.width for box in self.boxes.values()) + 8
        self.below = max(box.y for box in self.boxes.values()) + HEIGHT / 2

    def svg(self) -> str:
        parts = [self._words(8.0, 16.0, self.title, "start", "bold")] if self.title else []
        parts += [self._arrow(self.boxes[a], self.boxes[b], words, self._back(a, b)) for a, b, words in self.arrows]
        for box in self.boxes.values():
            corner = f'x="{box.x:.0f}" y="{box.y - HEIGHT / 2:.0f}" width="{box.width:.0f}" height="{HEIGHT}"'
            parts += [f'<rect {corner} rx="6"/>', self._words(box.x + box.width / 2, box.y + 5, box.words)]
        size = f'width="{self.right:.0f}" viewBox="0 0 {self.right:.0f} {self.tall:.0f}"'
        return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">{"".join(parts)}</svg>'

    @property
    def tall(self) -> float:
        return self.below + (54 if any(self._back(a, b) for a, b, _ in self.arrows) else 8)

    def _arrow(self, a: Box, b: Box, words: str, back: bool) -> str:
        if back:  # in a bow below both
            x, y, u, v = a.x + a.width / 2, a.y + HEIGHT / 2, b.x + b.width / 2, b.y + HEIGHT / 2
            bow = max(y, v) + 40
            line = f"M{x:.0f} {y:.0f}C{x:.0f} {bow:.0f} {u:.0f} {bow:.0f} {u:.0f} {v + 7:.0f}"
            head, middle = f"M{u - 4:.0f} {v + 8:.0f}h8l-4 -8z", (x + u) / 2
            return f'<path d="{line}"/><path class="head" d="{head}"/>' + self._words(middle, bow + 6, words)
        x, y, u, v = a.x + a.width, a.y, b.x, b.y
        half = (u - x) / 2
        line = f"M{x:.0f} {y:.0f}C{x + half:.0f} {y:.0f} {u - half:.0f} {v:.0f} {u - 7:.0f} {v:.0f}"
        head = f"M{u - 8:.0f} {v - 4:.0f}v8l8 -4z"
        return f'<path d="{line}"/><path class="head" d="{head}"/>' + self._words(x + half, (y + v) / 2 - 6, words)

    @staticmethod
    def _words(x: float, y: float, words: str, anchor: str = "middle", weight: str = "normal") -> str:
        at = f'x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-weight="{weight}"'
        return f"<text {at}>{html.escape(words)}</text>" if words else ""
