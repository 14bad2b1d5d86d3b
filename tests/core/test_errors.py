"""Sentences for people: every entry of the catalogue in both languages, and every place that raises one."""

import ast
import string
from pathlib import Path

import pytest

import maquette
from maquette.core.catalogue import CATALOGUE
from maquette.core.errors import MaquetteError, Phrase, nearest, preferred_language, shown, translated

ROOT = Path(maquette.__file__).parent


def names(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("code", CATALOGUE)
def test_an_entry_says_the_same_in_both_languages(code: str) -> None:
    english, chinese = CATALOGUE[code]
    assert [names(text) for text in english] == [names(text) for text in chinese]
    assert all(name.isidentifier() for name in names("".join(english)))
    assert [bool(text) for text in english] == [bool(text) for text in chinese] and english[0]
    assert not english[0].endswith(".") and not chinese[0].endswith("。")
    fixed = [text for text in chinese if set(text) - set("{}") and not text.startswith("{")]
    assert not fixed or any("\u4e00" <= c <= "\u9fff" for c in "".join(chinese))
    assert code[3] in "12345678" and len(code) == 7


@pytest.mark.parametrize("code", CATALOGUE)
def test_an_entry_renders_in_both_languages(code: str) -> None:
    what, todo = CATALOGUE[code].en
    mistake = MaquetteError(code, "recipes/a.yaml:14", **{name: "§" for name in names(what + todo)})
    for language in "en", "zh":
        text = mistake.render(language)
        assert text.startswith(f"error[{code}]: ") and "--> recipes/a.yaml:14" in text
        assert "{" not in text.replace("{'", "").replace("${", ""), text
        assert ({"en": "do: ", "zh": "建议: "}[language] in text) == bool(todo) and "Traceback" not in text
    assert 1 <= mistake.exit_code <= 8


@pytest.mark.parametrize("code", CATALOGUE)
def test_a_sentence_that_was_kept_in_english_is_told_in_chinese(code: str) -> None:
    english, chinese = CATALOGUE[code].en[0], CATALOGUE[code].zh[0]
    values = {name: f"'{name}-7'" for name in names(english)}
    said = english.format(**values)
    assert translated(code, said, "zh") == chinese.format(**values)
    assert translated(code, said, "en") == said


def test_what_is_no_sentence_of_the_catalogue_stays() -> None:
    assert translated("MQ-2180", "the moon is full", "zh") == "the moon is full"
    assert translated("", "the moon is full", "zh") == "the moon is full"


def raises() -> list[tuple[str, str, set[str] | None]]:
    """(place, code, names of the values) of every MaquetteError made in the source; None when they are unpacked."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or ast.unparse(node.func).rpartition(".")[2] != "MaquetteError":
                continue
            if node.args and isinstance(node.args[0], ast.Constant):
                given = None if any(k.arg is None for k in node.keywords) else {k.arg or "" for k in node.keywords}
                found.append((f"{path.relative_to(ROOT)}:{node.lineno}", str(node.args[0].value), given))
    return found


def test_each_place_that_raises_gives_just_what_the_sentences_of_its_code_name() -> None:
    for place, code, given in raises():
        assert code in CATALOGUE, place
        if given is not None:
            what, todo = CATALOGUE[code].en
            # a field's own check names it by `path`, which the reader of a recipe completes
            assert names(what + todo) <= given and given - names(what + todo) <= {"path", "where"}, place


def test_what_is_raised_nowhere_is_deleted() -> None:
    source = "\n".join(p.read_text(encoding="utf-8") for p in ROOT.rglob("*.py") if p.name != "catalogue.py")
    assert [code for code in CATALOGUE if code not in source] == []


def test_a_value_is_shown_on_one_short_line() -> None:
    assert shown("a\nb\x1b[31m\u202e\ud800") == "a\\nb\\x1b[31m\\u202e\\ud800"
    assert shown("x" * 1000, 20) == "x" * 19 + "…" and shown("é 中") == "é 中"
    text = str(MaquetteError("MQ-2007", text="\x1b]0;title\x07" + "y" * 9999))
    assert "\x1b" not in text and "\x07" not in text and len(text) < 400
    hostile = MaquetteError("MQ-2007", text="{code} {0} %s")
    assert "{code} {0} %s" in str(hostile), "a value is never a template"


def test_the_language_is_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "MAQUETTE_LANG", "LC_ALL", "LC_MESSAGES", "LANG":
        monkeypatch.delenv(name, raising=False)
    assert preferred_language() == "en"
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    assert preferred_language() == "zh" and "没有" in MaquetteError("MQ-5004", "x").render()
    monkeypatch.setenv("MAQUETTE_LANG", "en")
    assert preferred_language() == "en"
    assert "there is no such file" in str(MaquetteError("MQ-5004", "x")), "the exception itself speaks English"


def test_the_nearest_name_is_offered() -> None:
    assert nearest("widht", ["width", "depth"]) == "nearest: 'width'"
    assert nearest("zzz", ["b", "a"]) == "valid: a, b" and nearest("x", []) == "there is none"


def test_words_in_a_value_follow_the_language() -> None:
    near = nearest("dcgn", ["dcgan", "vae"])
    mistake = MaquetteError("MQ-2006", name="dcgn", near=near)
    assert "nearest: 'dcgan'" in str(mistake) and "最接近的是 'dcgan'" in mistake.render("zh")
    assert "nearest" not in mistake.render("zh")
    passed_on = MaquetteError(mistake.code, "a.yaml:2", **mistake.values)  # as those do who know the place
    assert "最接近的是 'dcgan'" in passed_on.render("zh")
    assert Phrase("a\nb", "甲\n乙") == "a\\nb" and Phrase("a", "甲\n乙").zh == "甲\\n乙"
