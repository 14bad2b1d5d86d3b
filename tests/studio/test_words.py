"""Both languages have all words, and pages use those that there are."""

import re
from pathlib import Path

import pytest

import maquette.studio
from maquette.studio.pages import PAGES
from maquette.studio.words import LANGUAGES, WORDS, choose, words

ROOT = Path(maquette.studio.__file__).parent
BUILT = r"(kind|s|m|can|unit|begun)_\w+"
"""Names that scripts put together from what the API says."""


def test_every_word_stands_in_both_languages_with_the_same_values() -> None:
    for name, texts in WORDS.items():
        assert len(texts) == len(LANGUAGES) and all(text.strip() == text != "" for text in texts), name
        assert len({tuple(sorted(re.findall(r"\{\w+\}", text))) for text in texts}) == 1, name
        assert name == "top_p" or re.search("[\u4e00-\u9fff]", texts[1]), name
        assert not re.search("[\u4e00-\u9fff]", texts[0]), name


def test_what_pages_and_scripts_ask_for_is_there_and_all_of_it_is_asked_for() -> None:
    sources = {
        path.name: path.read_text(encoding="utf-8") for path in ROOT.glob("*/*.*") if path.suffix in (".html", ".js")
    }
    sources["pages.py"] = (ROOT / "pages.py").read_text(encoding="utf-8")
    asked = set(PAGES) | {f"{name}_lede" for name in PAGES} | {"sign_in_lede"}
    for name, source in sources.items():
        if name.endswith(".html"):
            asked |= set(re.findall(r"\bw\.(\w+)", source)) | set(re.findall(r"\bw\[\"(\w+)\"\]", source))
        else:
            asked |= set(re.findall(r"\bt\(\"(\w+)\"", source))
    everything = "\n".join(sources.values())
    assert asked - WORDS.keys() == {"unit_"} & asked
    unused = {name for name in WORDS.keys() - asked if not re.fullmatch(BUILT, name) and f'"{name}"' not in everything}
    assert unused == set()


@pytest.mark.parametrize(
    ("said", "accepted", "language"),
    [
        (None, "", "en"),
        (None, "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        (None, "fr-FR,fr;q=0.9,zh-TW;q=0.5,en;q=0.4", "zh"),
        (None, "de,en;q=0.5", "en"),
        ("zh", "en-GB", "zh"),
        ("en", "zh-CN", "en"),
        ("klingon", "zh", "zh"),
        ("", ";;,,", "en"),
    ],
)
def test_the_language_of_a_page(said: str | None, accepted: str, language: str) -> None:
    assert choose(said, accepted) == language
    assert words(language).keys() == WORDS.keys()
