"""The operator's rules about words: what may be asked, and what may leave.

A file of rules has categories with phrases:

    weapons: [pipe bomb, nerve agent]
    names: [Jane Roe]

A text is flagged with a category when it holds one of its phrases, whatever the case, width and spaces of the letters.
It is a plain hook for what an operator must keep out, and no judge of meaning.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from maquette.core.config import read_yaml
from maquette.core.errors import MaquetteError

MOST, LONGEST = 10_000, 200
"""Phrases of a file, and characters of a phrase."""


class Rules:
    """Args:
    categories: the phrases of each category.
    """

    def __init__(self, categories: Mapping[str, Sequence[str]]):
        self.categories = tuple(categories)
        alternatives = {
            name: sorted(map(_plain, phrases), key=len, reverse=True) for name, phrases in categories.items()
        }
        self._patterns = {
            name: re.compile("|".join(map(re.escape, phrases))) for name, phrases in alternatives.items() if phrases
        }
        self.longest = max((len(phrase) for phrases in alternatives.values() for phrase in phrases), default=0)

    def flags(self, text: str) -> dict[str, bool]:
        """Which categories `text` belongs to."""
        plain = _plain(text)
        found = {name: pattern.search(plain) is not None for name, pattern in self._patterns.items()}
        return {name: found.get(name, False) for name in self.categories}

    def check(self, *texts: str) -> None:
        """Raises MQ-8011 for a text that is flagged."""
        if any(any(self.flags(text).values()) for text in texts):
            raise MaquetteError("MQ-8011")


def read_rules(path: Path | str) -> Rules:
    """The rules of a YAML file; raises MQ-2218 for one that holds something else."""
    tree, _ = read_yaml(Path(path))
    count = 0
    for name, phrases in tree.items():
        good = isinstance(phrases, list) and all(isinstance(p, str) and 0 < len(_plain(p)) <= LONGEST for p in phrases)
        if not good or not re.fullmatch(r"[a-z][a-z0-9_/-]{0,40}", str(name)):
            raise MaquetteError("MQ-2218", str(path), reason=f"the category {name!r} is no list of short phrases")
        count += len(phrases)
    if count > MOST:
        raise MaquetteError("MQ-2218", str(path), reason=f"it has {count} phrases, at most {MOST} are kept")
    return Rules(tree)


class Flow:
    """Words of a stream on their way out: as many stay back as may be the beginning of a phrase.

    Args:
        allow: a filter of whole texts; with one, all stay back until the end.
    """

    def __init__(self, rules: Rules | None, allow: Callable[[str], bool] | None = None):
        self._rules, self._allow = rules, allow
        self._text, self._left = "", 0

    def put(self, piece: str, last: bool = False) -> str:
        """What may leave now; raises MQ-8002 when the text may not."""
        self._text += piece
        if self._rules is not None and any(self._rules.flags(self._text[-self._window(piece) :]).values()):
            raise MaquetteError("MQ-8002")
        if last and self._allow is not None and self._allow(self._text) is not True:
            raise MaquetteError("MQ-8002")
        end = len(self._text)
        if not last:
            back = end if self._allow is not None else 2 * self._rules.longest if self._rules is not None else 0
            end = max(self._left, end - back)
        piece, self._left = self._text[self._left : end], end
        return piece

    def _window(self, piece: str) -> int:
        assert self._rules is not None
        return len(piece) + 4 * self._rules.longest + 64


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text).casefold()).strip()
