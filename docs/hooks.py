"""What the site needs beyond Markdown; MkDocs calls `on_config` and `on_page_markdown`.

The pages stay as a repository shows them: a link may lead to a source file or to the page in the other language, a
fence may hold Mermaid or LaTeX, a docstring a doctest. A site that asks no other host for a script has in their place
the reference, the page itself in the other language, SVG, MathML and a fence.
"""

import html
import posixpath
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from markdown import Extension, Markdown
from markdown.preprocessors import Preprocessor
from mkdocs.plugins import event_priority

DOCS = Path(__file__).parent
OTHER_LANGUAGE = re.compile(r"^\[(?:中文|English)\]\([^)]*\).*\n", re.MULTILINE)
LINK = re.compile(r"\[([^\]\n]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")
BROKEN = re.compile(
    r"(?<=[\u3000-\u303f\uff00-\uffef])\n(?=[^\s\d|#>!<:-])(?!```)|(?<=[\u4e00-\u9fff])\n(?=[\u3000-\u9fff\uff00-\uffef])"
)
"""The end of a line of Chinese within a paragraph, which a browser would show as a space."""
FENCES = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(^```.*?^```|`[^`\n]*`)", re.MULTILINE | re.DOTALL)
REFERENCE = {page.stem for page in (DOCS / "reference").glob("*.md")}
"""The packages that have a page there."""


@event_priority(100)  # before the plugins, which copy the list of extensions
def on_config(config: Any) -> Any:
    if not any(isinstance(one, Docstrings) for one in config.markdown_extensions):  # each language is configured anew
        config.markdown_extensions.append(Docstrings())
    fences = [{"name": "mermaid", "class": "drawn", "format": drawn}, {"name": "math", "class": "math", "format": math}]
    config.mdx_configs.setdefault("pymdownx.superfences", {})["custom_fences"] = fences
    return config


# -- links ------------------------------------------------------------------------------------------------------------


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The text of a page as the site shows it."""
    here = page.file.src_uri
    text = OTHER_LANGUAGE.sub("", markdown, count=1)
    text = LINK.sub(lambda found: link(here, *found.groups(default="")), text)
    return apart(FENCES, text, lambda words: BROKEN.sub("", words)) if here.endswith(".zh.md") else text


def apart(code: re.Pattern[str], text: str, change: Callable[[str], str]) -> str:
    """`text` with all that is not `code` changed."""
    parts = code.split(text)  # every second one is code
    parts[::2] = map(change, parts[::2])
    return "".join(parts)


def link(here: str, text: str, target: str, anchor: str) -> str:
    """A link of the page `here`, where it leads to on the site."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(here), target))
    if path.startswith("docs/"):
        path = path.removeprefix("docs/")
        if here.endswith(".zh.md") and (DOCS / path).with_suffix(".zh.md").exists():  # from Chinese to English
            there = posixpath.relpath(path.removesuffix(".md") + ".html", posixpath.join("zh", posixpath.dirname(here)))
            return f'<a href="{there}{anchor}">{text}</a>'
        return f"[{text}]({target}{anchor})"
    package, _, module = path.removesuffix(".py").removeprefix("maquette/").partition("/")
    if package in REFERENCE and module:
        return f"[{text}][maquette.{package}.{module.replace('/', '.')}]"
    return f"`{path}`" if text.strip("`") in path else f"{text} (`{path}`)"


# -- fences -----------------------------------------------------------------------------------------------------------


class Docstrings(Extension, Preprocessor):
    """A doctest in a docstring is a fence and not a quotation, and `[b, d] [b]` are two shapes and not a link."""

    def __init__(self) -> None:
        Extension.__init__(self)
        Preprocessor.__init__(self)

    def extendMarkdown(self, md: Markdown) -> None:
        md.preprocessors.register(self, "docstrings", 30)  # superfences' own is at 25

    def run(self, lines: list[str]) -> list[str]:
        text = re.sub(r"^(>>> .*\n(?:.+\n?)*)", r"```pycon\n\1\n```\n", "\n".join(lines), flags=re.MULTILINE)
        return apart(CODE, text, lambda words: re.sub(r"(\] ?)\[(?!maquette\.)", r"\1&#91;", words)).split("\n")


def math(source: str, language: str, css_class: str, options: dict, md: Markdown, **_: Any) -> str:
    """LaTeX as MathML, which browsers draw themselves; a line each."""
    return "".join(f'<div class="{css_class}">{convert(line, display="block")}</div>' for line in source.splitlines())


def drawn(source: str, language: str, css_class: str, options: dict, md: Markdown, **_: Any) -> str:
    """A Mermaid flowchart from left to right (nodes in brackets, arrows with words, a title as subgraph) as SVG."""
    return f'<div class="{css_class}">{Chart(source).svg()}</div>'


SIZE, HEIGHT, BETWEEN, ROW = 14, 34, 44, 58
"""Of letters, of boxes, between columns, between the middles of rows; in pixels."""


@dataclass
class Box:
    words: str
    rank: int = 0
    x: float = 0
    y: float = 0

    @property
    def width(self) -> float:
        return width(self.words) + 22


def width(words: str) -> float:
    """About how wide the words are."""
    return sum(SIZE if unicodedata.east_asian_width(letter) in "WF" else 0.56 * SIZE for letter in words)


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
        parts = [self._words(8, 16, self.title, "start", "bold")] if self.title else []
        parts += [self._arrow(self.boxes[a], self.boxes[b], words, self._back(a, b)) for a, b, words in self.arrows]
        for box in self.boxes.values():
            corner = f'x="{box.x:.0f}" y="{box.y - HEIGHT / 2:.0f}" width="{box.width:.0f}" height="{HEIGHT}"'
            parts += [f'<rect {corner} rx="6"/>', self._words(box.x + box.width / 2, box.y + 5, box.words)]
        tall = self.below + (54 if any(self._back(a, b) for a, b, _ in self.arrows) else 8)
        size = f'width="{self.right:.0f}" viewBox="0 0 {self.right:.0f} {tall:.0f}"'
        return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">{"".join(parts)}</svg>'

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
