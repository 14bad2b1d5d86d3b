"""Templates: verse by its names, and what a letter is."""

import pytest

from maquette.media.forms import FORMS, GAP, NAMES, fits, is_han, is_letter, verse


def test_verse_has_its_lines() -> None:
    assert verse("五绝") == verse("wujue") == "□□□□□，□□□□□。\n□□□□□，□□□□□。"
    counts = {form: (verse(form).count(GAP), verse(form).count("，") + verse(form).count("。")) for form in FORMS}
    assert counts == {
        "五绝": (20, 4), "七绝": (28, 4), "五律": (40, 8), "七律": (56, 8),
        "wujue": (20, 4), "qijue": (28, 4), "wulu": (40, 8), "qilu": (56, 8),
    }  # fmt: skip
    assert set(NAMES.values()) < set(FORMS)


@pytest.mark.parametrize("text", ["a", "Ж", "ß", "あ", "한", "曉", "𠀀"])
def test_letters_of_any_script(text: str) -> None:
    assert is_letter(text) and is_han(text) == (text in "曉𠀀")


@pytest.mark.parametrize("text", ["", "ab", "1", "，", "□", " ", "\n", "⺀", "\ue000", "<0xE6>"])
def test_what_is_no_letter(text: str) -> None:
    assert not is_letter(text) and not is_han(text)


def test_a_text_fits_its_template_or_not() -> None:
    poem = "春眠不覺曉，處處聞啼鳥。\n夜來風雨聲，花落知多少。"
    assert fits(poem, verse("五绝")) and not fits(poem, verse("七绝")) and not fits(poem[:-1], verse("五绝"))
    assert fits("a, b!", "□, □!") and not fits("1, b!", "□, □!") and not fits("a; b!", "□, □!")
