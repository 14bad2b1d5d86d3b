"""A split by combinations: what is tested on is made of parts that were learnt, but never together.

A caption such as "man rowing boat: dark skin tone" is a subject and a style; the recipe names the styles, and the
subject is what is left. A share of the pairs of a subject and a style is tested on and never learnt from, and of these
only pairs whose subject is learnt in another style, and whose style with another subject: a model that has understood
both can make the pair, one that has learnt captions by heart cannot. Rows that the source itself tests on hold subjects
that nobody has seen; they are put aside. Where captions are the same for all labels (who speaks, and what is said), the
pair is a caption and a label.
"""

import functools
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from maquette.core import files
from maquette.core.config import Config
from maquette.core.errors import MaquetteError
from maquette.data.dataset import Dataset

Pair = tuple[str, str]
"""A subject and a style."""


@dataclass(frozen=True, kw_only=True)
class Combinations(Config):
    """Which words of the captions are styles, or that labels are, and how many pairs are held out."""

    styles: tuple[str, ...] = ()
    """Words as they stand in captions, such as [dark skin tone, light skin tone], or [red, blue]."""
    labels: bool = False
    """Whether a row's label is its style, and its whole caption the subject."""
    share: float = 0.1
    """Of all pairs, those that are tested on."""

    def __post_init__(self) -> None:
        if self.labels:
            self.check(not self.styles, "styles", "left out where labels are the styles")
        else:
            self.check(len(self.styles) > 1 and all(self.styles), "styles", "at least two words, or labels=true")
        self.check(0 < self.share < 1, "share", "a share in (0, 1)")

    def pair(self, caption: str) -> Pair | None:
        """
        >>> Combinations(styles=("dark skin tone", "light skin tone")).pair("boy: dark skin tone")
        ('boy', 'dark skin tone')

        None for a caption of no style or of several; "medium-dark skin tone" is another word. An article before the
        style goes with it: "a red key" and "an orange key" are the same subject.
        """
        found = [style for style in self.styles if re.search(_word(style), caption)]
        if len(found) != 1:
            return None
        subject = re.sub(_word(found[0]), " ", caption)
        return " ".join(re.sub(r"[\s:;,]+", " ", subject).split()), found[0]

    def others(self, caption: str) -> list[str]:
        """
        >>> Combinations(styles=("red", "blue", "orange")).others("a red key")
        ['a blue key', 'an orange key']

        The same subject in each other style; [] for a caption of no style or of several.
        """
        pair = self.pair(caption)
        if pair is None:
            return []
        others = [style for style in self.styles if style != pair[1]]
        return [re.sub(_word(pair[1]), functools.partial(_said, style), caption) for style in others]


def apart(dataset: Dataset, combinations: Combinations, seed: int = 0) -> Dataset:
    """`dataset` with the held-out pairs as its test split, and as its `whole` what it was.

    Raises:
        MaquetteError: MQ-2009 when no pair can be held out.
    """
    pairs = _pairs(dataset, combinations)
    held = held_out({pair for pair in pairs if pair}, combinations.share, seed)
    if not held and combinations.labels:
        reason = "no caption stands with two labels that stand with two captions"
        todo = "name the columns: data.columns={label: COLUMN, caption: COLUMN}"
        raise MaquetteError("MQ-2009", path="data.combinations.labels", value=True, reason=reason, todo=todo)
    if not held:
        reason = "no caption has one of them whose subject has another too"
        todo = "name words that stand in the captions: `maquette data check` shows some"
        raise MaquetteError(
            "MQ-2009", path="data.combinations.styles", value=list(combinations.styles), reason=reason, todo=todo
        )
    tested = np.array([pair in held for pair in pairs])
    train, test = (dataset.train.picked(np.flatnonzero(rows)) for rows in (~tested, tested))
    how = {name: value for name, value in combinations.to_tree().items() if value}
    mark = files.digest(f"{dataset.fingerprint} {how} {seed} {sorted(held)}".encode())
    return replace(dataset, train=train, test=test, fingerprint=mark, whole=dataset)


def _pairs(dataset: Dataset, combinations: Combinations) -> Sequence[Pair | None]:
    """Of each training row; None where it has no caption or no label, or no style or several."""
    train = dataset.train
    if not combinations.labels:
        return [combinations.pair(caption) for caption in train.captions]
    each = zip(train.captions, np.asarray(train.labels).tolist(), strict=True)
    return [(caption, dataset.classes[label]) if caption and label >= 0 else None for caption, label in each]


def held_out(pairs: Iterable[Pair], share: float, seed: int) -> set[Pair]:
    """A share of `pairs`, chosen by their hashes, such that each subject and each style is left in another pair."""
    order = sorted(set(pairs), key=lambda pair: _hash(pair, seed))
    subjects, styles = Counter(subject for subject, _ in order), Counter(style for _, style in order)
    held: set[Pair] = set()
    for subject, style in order:
        if len(held) < round(share * len(order)) and min(subjects[subject], styles[style]) > 1:
            held.add((subject, style))
            subjects[subject] -= 1
            styles[style] -= 1
    return held


def _word(style: str) -> str:
    """A pattern for the style as a word of its own, with an indefinite article and the space after it as its groups."""
    return rf"(?:\b([Aa])n?(\s+))?(?<![\w-]){re.escape(style)}(?![\w-])"


def _said(style: str, place: re.Match[str]) -> str:
    """`style` in the place of another, with the article that it takes."""
    article, space = place.groups()
    return style if article is None else f"{article}{'n' * (style[0] in 'aeiou')}{space}{style}"


def _hash(pair: Pair, seed: int) -> bytes:
    return hashlib.blake2b("\0".join(pair).encode(), digest_size=8, salt=(seed % 2**64).to_bytes(8, "little")).digest()
