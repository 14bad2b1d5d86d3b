"""The guide as a web site: it builds without a warning, in both languages, asks no other host, its links lead on."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ENGLISH_ONLY = {"adr", "glossary.md", "log.md", "style.md"}
"""Decisions, the log and the style are for those who change the code; the glossary is in both languages at once."""
pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("material", "mkdocs_static_i18n", "mkdocstrings")),
    reason='the guide is built with the extra "docs"',
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guide, built as `make guide` does."""
    place = tmp_path_factory.mktemp("guide")
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(place)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return place


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "hooks", module)  # where its dataclasses look for the names of types
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, str]:
    return {page: page.read_text(encoding="utf-8") for page in site.rglob("*.html")}


def test_both_languages_have_the_same_pages(site: Path, pages: dict[Path, str]) -> None:
    chinese = {page.relative_to(site / "zh") for page in pages if page.is_relative_to(site / "zh")}
    english = {page.relative_to(site) for page in pages if not page.is_relative_to(site / "zh")}
    assert english - {Path("404.html")} == chinese != set()


def test_every_page_is_written_in_both_languages() -> None:
    written = {page for page in DOCS.rglob("*.md") if not ENGLISH_ONLY & {page.name, page.parent.name}}
    english = {page for page in written if not page.name.endswith(".zh.md")}
    assert {page.with_suffix(".zh.md") for page in english} == written - english


def test_links_lead_somewhere(site: Path, pages: dict[Path, str]) -> None:
    names = {page: set(re.findall(r'\b(?:id|name)="([^"]+)"', text)) for page, text in pages.items()}
    lost = []
    for page, text in pages.items():
        for target in set(re.findall(r'\b(?:href|src)="([^"]*)"', text)):
            address, anchor = urldefrag(target)
            if urlsplit(target).scheme or address.startswith("/") and page.name == "404.html":
                continue
            there = (page.parent / unquote(address)).resolve() if address else page
            known = there.exists() and (not anchor or there.suffix != ".html" or unquote(anchor) in names[there])
            lost += [] if known else [f"{page.relative_to(site)}: {target}"]
    assert lost == []


def test_a_reader_asks_no_other_host(pages: dict[Path, str]) -> None:
    """Neither for scripts and styles nor for fonts and pictures; links that a reader may follow are another thing."""
    fetched = re.compile(r'<(?:script|img|iframe|source|link)\b[^>]*\b(?:src|href)="(?:https?:)?//[^"]*"')
    assert [found for text in pages.values() for found in fetched.findall(text)] == []


def test_what_a_script_would_draw_is_drawn(site: Path, pages: dict[Path, str]) -> None:
    text = pages[site / "tutorials.html"]
    assert text.count("<svg xmlns") >= 4 and 'class="mermaid"' not in text and ">critic</text>" in text


def test_links_of_the_repository_become_links_of_the_site(hooks: ModuleType) -> None:
    def led(here: str, target: str, anchor: str = "") -> str:
        return hooks.link(here, "there", target, anchor)

    assert led("guide/gan.md", "vae.md", "#figures") == "[there](vae.md#figures)"
    assert led("guide/gan.md", "../../maquette/models/gan.py") == "[there][maquette.models.gan]"
    assert led("serve.md", "../deploy/nginx.conf") == "there (`deploy/nginx.conf`)"
    assert led("guide/gan.zh.md", "vae.zh.md") == "[there](vae.zh.md)"
    assert led("guide/gan.zh.md", "../pictures.md", "#words") == '<a href="../../pictures.html#words">there</a>'


def test_a_line_of_chinese_ends_without_a_space(hooks: ModuleType) -> None:
    page = SimpleNamespace(file=SimpleNamespace(src_uri="guide/gan.zh.md"))
    lines = "学习，\n`再`学\n习。\n- 一\n- 二：\n\n```text\n一\n二\n```\n| 表 |\n| 格 |\n"
    assert hooks.on_page_markdown(lines, page) == lines.replace("学习，\n", "学习，").replace("学\n习", "学习")


def test_a_drawing_goes_from_left_to_right(hooks: ModuleType) -> None:
    chart = hooks.Chart("flowchart LR\n  a[one] -->|first| b --> c\n  c --> b\n  d --> c")
    assert {name: box.rank for name, box in chart.boxes.items()} == {"a": 0, "b": 1, "c": 2, "d": 1}
    assert chart.boxes["a"].words == "one" and chart.arrows[0] == ("a", "b", "first")
    assert chart.boxes["b"].y != chart.boxes["d"].y and chart.svg().count("<rect") == 4
    assert chart.svg().count('class="head"') == 4 and ">first</text>" in chart.svg()
