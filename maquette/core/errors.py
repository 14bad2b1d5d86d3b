"""Errors for people: what was wrong, where, what was found and expected, what to do.

The sentences stand in `catalogue.py`, in English and Chinese; a raise site gives only the values. Every mistake a
user can make ends as a `MaquetteError`; the command line prints it without a traceback and exits with its code.
"""

import difflib
import os
import re
import string
from collections.abc import Iterable

from maquette.core.catalogue import CATALOGUE

# The thousands digit of a code names its kind, and the kind its exit code (0 is success, 130 and 143 are signals).
EXIT_CODES = {"1": 1, "2": 2, "3": 3, "4": 4, "5": 5, "6": 6, "7": 7, "8": 8}


class Phrase(str):
    """A value that is words: itself in English, and `zh` for a sentence in Chinese. One short line each."""

    zh: str

    def __new__(cls, english: str, chinese: str):
        phrase = super().__new__(cls, shown(english))
        phrase.zh = shown(chinese)
        return phrase

    def __getnewargs__(self):  # pyright: ignore[reportIncompatibleMethodOverride]  # so that it can be copied
        return str(self), self.zh


class Sentence(Phrase):
    """What a page or a line says, whole and of any length: itself in English, and `zh`."""

    def __new__(cls, english: str, chinese: str):
        sentence = str.__new__(cls, english)
        sentence.zh = chinese
        return sentence


def told(text: str, language: str | None = None) -> str:
    """`text` in `language` ("en" or "zh"; default: the environment's), where it is known in both."""
    return getattr(text, "zh", text) if (language or preferred_language()) == "zh" else text


class MaquetteError(Exception):
    """A mistake that a person can mend.

    Args:
        code: `MQ-xxxx`, a key of `CATALOGUE`.
        where: file, field, step or row, written as a person would (`recipes/a.yaml:14`, `model.net.width`).
        values: what the catalogue's sentences name in braces; a `Phrase` for words in both languages.
    """

    def __init__(self, code: str, where: str = "", **values: object):
        self.code = code
        self.where = where
        self.values = {name: value if isinstance(value, Phrase) else shown(value) for name, value in values.items()}
        super().__init__(self.render("en"))

    @property
    def sentence(self) -> str:
        """What is wrong, in English, without what to do."""
        return CATALOGUE[self.code].en[0].format(**self.values)

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.code[3]]

    def values_in(self, language: str) -> dict[str, str]:
        """`values` as a sentence in `language` ("en" or "zh") says them."""
        return {name: getattr(value, "zh", value) if language == "zh" else value for name, value in self.values.items()}

    def render(self, language: str | None = None) -> str:
        """The whole message, a few lines, in `language` ("en" or "zh"; default: the environment's)."""
        entry = CATALOGUE[self.code]
        chinese = (language or preferred_language()) == "zh"
        what, todo = entry.zh if chinese else entry.en
        values = self.values_in("zh" if chinese else "en")
        lines = [f"error[{self.code}]: {what.format(**values)}"]
        if self.where:
            lines.append(f"  --> {shown(self.where, 200)}")
        if todo:
            lines.append(f"  {'建议' if chinese else 'do'}: {todo.format(**values)}")
        return "\n".join(lines)


def translated(code: str, sentence: str, language: str) -> str:
    """What was said in English under `code`, in `language`: for what is kept as text, such as the reason of a job.

    The values are found by the English sentence of the catalogue; one that is no such sentence stays as it is.
    """
    if code not in CATALOGUE or language != "zh":
        return sentence
    pattern, seen = "", set()
    for text, name, _, _ in string.Formatter().parse(CATALOGUE[code].en[0]):
        pattern += re.escape(text)
        if name is not None:
            pattern += f"(?P={name})" if name in seen else f"(?P<{name}>.*?)"
            seen.add(name)
    match = re.fullmatch(pattern, sentence, re.DOTALL)
    if match is None:
        return sentence
    parts = string.Formatter().parse(CATALOGUE[code].zh[0])
    return "".join(text + ("" if name is None else match[name]) for text, name, _, _ in parts)


def preferred_language() -> str:
    """ "zh" when MAQUETTE_LANG (or else LC_ALL, LC_MESSAGES, LANG) begins so, otherwise "en"."""
    for name in ("MAQUETTE_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(name):
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"


def shown(value: object, limit: int = 160) -> str:
    """`value` as a person may see it: one line, control characters escaped, cut at `limit` characters."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def nearest(name: str, names: Iterable[str]) -> Phrase:
    """A hint for a misspelt `name`: `nearest: 'width'`, or all valid names when none is near."""
    names = sorted(names)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return Phrase(f"nearest: {close[0]!r}", f"最接近的是 {close[0]!r}")
    if not names:
        return Phrase("there is none", "一个也没有")
    return Phrase("valid: " + ", ".join(names), "可用的有：" + ", ".join(names))
