"""Texts of a fixed form: templates whose gaps are filled letter by letter, and those of regular Chinese verse."""

import unicodedata

GAP = "□"
"""Where a template has a letter to be made."""

VERSE = {"五绝": (4, 5), "七绝": (4, 7), "五律": (8, 5), "七律": (8, 7)}
"""Regular verse (Wang Li 1958, 漢語詩律學): how many lines of how many characters."""
NAMES = {"wujue": "五绝", "qijue": "七绝", "wulu": "五律", "qilu": "七律"}
FORMS = (*VERSE, *NAMES)


def verse(form: str) -> str:
    """The template of a form of `FORMS`, two lines with their signs on each line of text.

    >>> verse("wujue").splitlines()
    ['□□□□□，□□□□□。', '□□□□□，□□□□□。']
    """
    lines, characters = VERSE[NAMES.get(form, form)]
    return "\n".join([f"{GAP * characters}，{GAP * characters}。"] * (lines // 2))


def is_letter(text: str) -> bool:
    """Whether `text` is one letter of any script (Unicode category L)."""
    return len(text) == 1 and unicodedata.category(text).startswith("L")


def is_han(text: str) -> bool:
    """Whether `text` is one Chinese character."""
    return is_letter(text) and unicodedata.name(text, "").startswith("CJK")


def fits(text: str, template: str) -> bool:
    """Whether `text` is `template` with a letter in each gap.

    >>> fits("ab, c", "□□, □"), fits("a, bc", "□□, □")
    (True, False)
    """
    return len(text) == len(template) and all(
        is_letter(made) if wanted == GAP else made == wanted for made, wanted in zip(text, template, strict=True)
    )
