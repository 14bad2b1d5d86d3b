"""What the site needs beyond Markdown; MkDocs calls `on_config` and `on_page_markdown`.

The pages stay as a repository shows them: a link may lead to a source file or to the page in the other language, a
fence may hold Mermaid or LaTeX, a docstring a doctest. A site that asks no other host for a script has in their place
the reference, the page itself in the other language, SVG, MathML and a fence.
"""

import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from markdown import Extension, Markdown
from markdown.preprocessors import Preprocessor
from mkdocs.plugins import event_priority

from maquette.verbs.diagram import Chart

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
