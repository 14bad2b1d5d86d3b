"""Text <-> tokens: whatever the kind of our own, decode(encode(text)) == text for any Unicode.

Numbers 0 to 2 are the marks END, PROMPT and ANSWER, 3 to 258 the 256 bytes of UTF-8; what follows was learnt from the
user's own text. So a text that holds what the learnt part has not is written in bytes, and nothing is ever unknown.
What was learnt is one string, which lies in the recipe and in the bundle's config as such.

The tokenizer of a model from elsewhere (`hf`) has its own numbers, marks and losses; its string says what they are.
"""

import json
import math
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np

from maquette.core.config import parse_json
from maquette.core.errors import MaquetteError
from maquette.core.types import Marks

MARKS = Marks(end=0, prompt=1, answer=2)
BYTES = len(MARKS)
"""Number of the byte 0."""
LEARNT = BYTES + 256
"""Number of the first token that was learnt."""
MOST_LEARNT_FROM = 64 << 20
"""Characters that a vocabulary is learnt from; more does not change it."""

Kind = Literal["byte", "character", "bpe", "unigram", "hf"]

_THEIRS = "begin from the model that it belongs to: maquette train RECIPE --from FOLDER"


class Tokenizer(ABC):
    """Attributes:
    vocab: how many tokens there are.
    sizes: int64 [vocab], how many bytes of text each stands for; 0 for marks.
    marks: the tokens that are no text.
    additive: whether the bytes of a text are those of its tokens, one after another.
    """

    vocab: int
    sizes: np.ndarray
    marks: Marks = MARKS
    additive: bool = True

    @abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """Tokens int64 [n] of `text`, without marks."""

    @abstractmethod
    def to_bytes(self, tokens: np.ndarray) -> bytes:
        """UTF-8 of tokens without marks."""

    def decode(self, tokens: np.ndarray) -> str:
        """Marks are left out; bytes that are no text (a model may make such) become U+FFFD."""
        tokens = np.asarray(tokens)
        return _text(self.to_bytes(tokens[~np.isin(tokens, self.marks)]))


class Byte(Tokenizer):
    """One token a byte."""

    def __init__(self) -> None:
        self.vocab = LEARNT
        self.sizes = np.array([0] * BYTES + [1] * 256)

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(_utf8(text), np.uint8).astype(np.int64) + BYTES

    def to_bytes(self, tokens: np.ndarray) -> bytes:
        return (tokens - BYTES).astype(np.uint8).tobytes()


class Character(Tokenizer):
    """One token for each character of `alphabet`, bytes for all others."""

    def __init__(self, alphabet: str):
        points = _points(alphabet)
        self._order = np.argsort(points, kind="stable")
        self._sorted = points[self._order]
        self._pieces = [_utf8(c) for c in alphabet]
        self.vocab = LEARNT + len(points)
        self.sizes = np.array([0] * BYTES + [1] * 256 + [len(piece) for piece in self._pieces])

    def encode(self, text: str) -> np.ndarray:
        points = _points(text)
        if not len(self._sorted):
            return Byte().encode(text)
        place = np.searchsorted(self._sorted, points).clip(max=len(self._sorted) - 1)
        tokens = LEARNT + self._order[place].astype(np.int64)
        strange = self._sorted[place] != points
        if not strange.any():
            return tokens
        parts, start = [], 0
        for at in np.flatnonzero(strange):
            parts += [tokens[start:at], Byte().encode(chr(points[at]))]
            start = at + 1
        return np.concatenate([*parts, tokens[start:]])

    def to_bytes(self, tokens: np.ndarray) -> bytes:
        return b"".join(
            self._pieces[token - LEARNT] if token >= LEARNT else bytes([token - BYTES]) for token in tokens.tolist()
        )


class Learnt(Tokenizer):
    """Byte-level BPE (Sennrich et al. 2016; Radford et al. 2019) or unigram pieces (Kudo 2018), by `tokenizers`."""

    def __init__(self, kind: Kind, vocabulary: str):
        self._kind = kind
        letters = alphabet()
        self._bytes = {character: byte for byte, character in enumerate(letters)}
        lines = [line.split(" ") for line in vocabulary.split("\n") if line]
        pieces = ["".join(pair) for pair in lines] if kind == "bpe" else [line[0] for line in lines]
        self._pieces = [*letters, *pieces] if kind == "bpe" else pieces
        self._lines = lines
        self._check()
        self.vocab = BYTES + len(self._pieces)
        self.sizes = np.array([0] * BYTES + [len(piece) for piece in self._pieces])

    def _check(self) -> None:
        """Raise ValueError for what the library would not take, or `to_bytes` not know."""
        known = set(self._bytes)
        if any(len(line) != 2 for line in self._lines) or not known.issuperset("".join(self._pieces)):
            raise ValueError
        if self._kind == "unigram" and (
            self._pieces[:256] != alphabet() or not all(math.isfinite(float(score)) for _, score in self._lines)
        ):
            raise ValueError
        for a, b in self._lines if self._kind == "bpe" else ():
            if a not in known or b not in known:
                raise ValueError
            known.add(a + b)

    @cached_property
    def _made(self) -> Any:
        parts = _tokenizers()
        if self._kind == "bpe":
            merges = [(a, b) for a, b in self._lines]
            model = parts.models.BPE(vocab={p: i for i, p in enumerate(self._pieces)}, merges=merges)
        else:
            scores = [float(score) for _, score in self._lines]
            model = parts.models.Unigram(list(zip(self._pieces, scores, strict=True)))
        made = parts.Tokenizer(model)
        made.pre_tokenizer = parts.pre_tokenizers.ByteLevel(add_prefix_space=False)
        return made

    def encode(self, text: str) -> np.ndarray:
        if any("\ud800" <= c <= "\udfff" for c in text):  # half a character, which the library does not take
            return Byte().encode(text)
        return np.array(self._made.encode(text).ids, dtype=np.int64) + BYTES

    def to_bytes(self, tokens: np.ndarray) -> bytes:
        text = "".join(self._pieces[token - BYTES] for token in tokens.tolist())
        return bytes(self._bytes[character] for character in text)


class Ready(Tokenizer):
    """A tokenizer.json of `tokenizers`, learnt elsewhere.

    Its vocabulary string is a line with the numbers of END, PROMPT and ANSWER, and the file's JSON. Nothing that stands
    in a text is read as a mark. Byte-level vocabularies give any Unicode back; others what their normaliser leaves of
    it, and `sizes` counts what they keep: the spaces that one drops between words count nothing.
    """

    additive = False

    def __init__(self, vocabulary: str):
        first, _, self.text = vocabulary.partition("\n")
        numbers = [int(word) for word in first.split()]
        if len(numbers) != len(Marks._fields):
            raise ValueError
        self.marks = Marks(*numbers)
        tree, self._made = _read(self.text)
        self._made.encode_special_tokens = True  # "<|endoftext|>" written in a text is those characters
        self._made.no_truncation()
        self._made.no_padding()
        pieces = self._made.get_vocab(with_added_tokens=True)
        self.vocab = 1 + max(pieces.values(), default=0)
        distinct = len({*self.marks}) == len(self.marks) and all(0 <= mark < self.vocab for mark in self.marks)
        if not distinct or self.vocab > 2 * len(pieces) + LEARNT:  # numbers with gaps, but not without end
            raise ValueError
        special = {number for number, token in self._made.get_added_tokens_decoder().items() if token.special}
        bytes_of = _byte_level(tree.get("decoder"))
        self.sizes = np.zeros(self.vocab, dtype=np.int64)
        for piece, number in pieces.items():
            if number not in special and number not in self.marks:
                self.sizes[number] = _size(piece, bytes_of)

    def encode(self, text: str) -> np.ndarray:
        """Half a character (a lone surrogate) becomes U+FFFD."""
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return np.array(self._made.encode(text, add_special_tokens=False).ids, dtype=np.int64)

    def piece(self, number: int) -> str:
        """How a token is called in the file."""
        return self._made.id_to_token(number)

    def to_bytes(self, tokens: np.ndarray) -> bytes:
        return _utf8(self._made.decode(tokens.tolist(), skip_special_tokens=True))


@lru_cache(4)
def make(kind: Kind, vocabulary: str) -> Tokenizer:
    """The tokenizer of a kind with what was learnt for it; a large one takes a second, and is wanted more than once.

    Raises:
        MaquetteError: MQ-2009 for a vocabulary that is none of this kind.
    """
    try:
        if kind == "hf":
            return Ready(vocabulary)
        return Byte() if kind == "byte" else Character(vocabulary) if kind == "character" else Learnt(kind, vocabulary)
    except ValueError:
        reason = f"it is no {kind} vocabulary"
        todo = _THEIRS if kind == "hf" else "train anew from the data"
        shown = f"{len(vocabulary)} characters"
        raise MaquetteError("MQ-2009", path="medium.vocabulary", value=shown, reason=reason, todo=todo) from None


def learn(kind: Kind, texts: Iterable[str], vocab: int) -> str:
    """A vocabulary from `texts`, of at most `vocab` tokens (characters: the most frequent ones).

    Raises:
        MaquetteError: MQ-3010 when bpe or unigram is asked for and `tokenizers` is not installed; MQ-2009 for hf.
    """
    if kind == "hf":
        reason = "it comes with a model, and is not learnt from data"
        raise MaquetteError("MQ-2009", path="medium.tokenizer", value=kind, reason=reason, todo=_THEIRS)
    texts = _at_most(texts, MOST_LEARNT_FROM)
    if kind == "byte":
        return ""
    if kind == "character":
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(text)
        kept = [c for c, _ in counts.most_common(max(0, vocab - LEARNT)) if not "\ud800" <= c <= "\udfff"]
        return "".join(sorted(kept))
    parts = _tokenizers()
    model = parts.models.BPE() if kind == "bpe" else parts.models.Unigram()
    made = parts.Tokenizer(model)
    made.pre_tokenizer = parts.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = parts.trainers.BpeTrainer if kind == "bpe" else parts.trainers.UnigramTrainer
    settings = {"vocab_size": max(256, vocab - BYTES), "initial_alphabet": alphabet(), "show_progress": False}
    made.train_from_iterator(texts, trainer(**settings))
    tree = json.loads(made.to_str())["model"]
    if kind == "bpe":
        return "\n".join(" ".join(merge) for merge in tree["merges"])
    scores = dict(tree["vocab"])
    least = min(scores.values(), default=0.0) - 10.0  # a byte that did not occur is possible, and dear
    pieces = [*alphabet(), *(piece for piece in scores if len(piece) > 1)]
    return "\n".join(f"{piece} {scores.get(piece, least):.6g}" for piece in pieces)


def alphabet() -> list[str]:
    """The printable character that stands for each byte in byte-level vocabularies (Radford et al. 2019)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in shown]
    stands = {byte: chr(byte) for byte in shown} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    return [stands[byte] for byte in range(256)]


def _tokenizers() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise MaquetteError("MQ-3010", package="tokenizers", extra="text") from None
    return tokenizers


def _read(text: str) -> tuple[dict[str, Any], Any]:
    """A tokenizer.json, and the library's tokenizer made of it; raises ValueError when it is none."""
    kind = _tokenizers().Tokenizer
    try:
        tree = parse_json(text, "medium.vocabulary")
        return dict(tree), kind.from_str(text)
    except BaseException as bad:  # the library raises bare Exceptions, and its panics are no Exceptions at all
        if isinstance(bad, Exception) or type(bad).__name__ == "PanicException":
            raise ValueError from None
        raise


def _byte_level(decoder: Any) -> bool:
    """Whether a decoder of a tokenizer.json reads each character of a piece as a byte."""
    if not isinstance(decoder, dict):
        return False
    inner = decoder.get("decoders")
    return decoder.get("type") == "ByteLevel" or (isinstance(inner, list) and any(map(_byte_level, inner)))


def _size(piece: str, bytes_of: bool) -> int:
    """How many bytes of text a piece stands for: of byte-level ones, of <0xE4> and of words with marked borders."""
    if bytes_of or re.fullmatch(r"<0x[0-9A-Fa-f]{2}>", piece):
        return len(piece) if bytes_of else 1
    return len(_utf8(piece.replace("\u2581", " ").removeprefix("##")))


def _points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace")


def _at_most(texts: Iterable[str], characters: int) -> Iterable[str]:
    for text in texts:
        yield text[:characters]
        characters -= len(text)
        if characters <= 0:
            return
