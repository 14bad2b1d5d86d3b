"""Text: UTF-8 files, and rows of tables, <-> windows of tokens.

A document is the tokens END, its text; a question and its answer are END, PROMPT, question, ANSWER, answer; a
conversation goes on so. Documents are put one after another and cut into windows of `length` + 1 tokens, each window
beginning with the last token of the one before it; a document that fits into one window is never cut. A sample is one
window; what was made is read up to the first END after its beginning.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maquette.core.config import Config as AnyConfig
from maquette.core.config import parse_json
from maquette.core.errors import MaquetteError
from maquette.core.exit import Mark
from maquette.core.sequences import counted
from maquette.core.types import Marks, Tokens
from maquette.media import lettering, tokens
from maquette.media.base import Cutter, Medium, MediumConfig, read_whole
from maquette.media.tokens import Kind

MAX_BYTES = 4 << 20
"""Of a document that comes in one piece; longer files are read in pieces."""
FRONT = "---\nAIGC: "
"""How a file begins that carries a mark (YAML front matter, as Markdown readers know it)."""


@dataclass(frozen=True, kw_only=True)
class Config(MediumConfig):
    """Text as tokens."""

    tokenizer: Kind = "character"
    """byte; character, with bytes for rare ones; bpe and unigram, learnt pieces of words (extra `text`); hf, the one
    that a model from elsewhere came with."""
    vocab: int = 4096
    """The most tokens that a learnt vocabulary may have."""
    length: int = 256
    """Tokens that a window predicts."""
    alone: bool = False
    """Whether each window holds one document, for data with labels; else documents share windows."""
    asks: bool = False
    """Whether a prompt is a question to answer (translation, dialogue) and not the beginning of the text."""
    vocabulary: str = ""
    """What was learnt of the data; filled in when training begins."""

    def __post_init__(self) -> None:
        self.check(tokens.LEARNT <= self.vocab <= 65_536, "vocab", f"a whole number from {tokens.LEARNT} to 65536")
        self.check(4 <= self.length <= 65_536, "length", "a whole number from 4 to 65536")

    def build(self) -> "Text":
        return Text(self)

    def learnt(self, read: Callable[[Medium], Iterable[np.ndarray]]) -> "Config":
        if self.tokenizer == "byte" or self.vocabulary:
            return self
        plain = replace(self, tokenizer="byte").build()
        texts = (plain.tokenizer.decode(document) for document in read(plain))
        return replace(self, vocabulary=tokens.learn(self.tokenizer, texts, self.vocab))


@dataclass(frozen=True, kw_only=True)
class _NoAugment(AnyConfig):
    """Text is not augmented; reading this refuses whatever is declared."""


class Text(Medium):
    """Stored items are windows [length + 1] of uint16 (of uint32 where there are more tokens); before they are cut,
    documents [n] of it."""

    suffix = ".md"
    suffixes = frozenset({".txt", ".md"})
    columns = (("messages",), ("prompt", "response"), ("text",))
    piece = 64 << 10
    talks = True
    unit = "byte"

    def __init__(self, config: Config):
        self.config = config
        self.tokenizer = tokens.make(config.tokenizer, config.vocabulary)
        self.marks = self.tokenizer.marks
        self.stored = (config.length + 1,)
        self.dtype = np.dtype(np.uint16 if self.tokenizer.vocab <= 1 << 16 else np.uint32)
        self.whole = config.alone
        self.space: Tokens = Tokens(self.stored, self.tokenizer.vocab, self.marks)  # pyright: ignore[reportIncompatibleVariableOverride]
        self._sizes = torch.from_numpy(self.tokenizer.sizes)

    # -- files and rows -> documents ----------------------------------------------------------------------------------

    def read(self, path: Path) -> np.ndarray:
        return self.from_bytes(read_whole(path, MAX_BYTES), str(path))

    def from_bytes(self, data: bytes, name: str) -> np.ndarray:
        """A document from UTF-8; a mark that Maquette wrote before it is left out."""
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as bad:
            reason = f"it is not UTF-8 text (byte {bad.start})"
            raise MaquetteError("MQ-3001", name, reason=reason) from None
        if text.startswith(FRONT):
            text = text.partition("\n---\n")[2].removeprefix("\n")
        text = text.replace("\r\n", "\n")
        if not text.strip():
            raise MaquetteError("MQ-3001", name, reason="it is empty")
        return self._document([(None, text)])

    def from_record(self, record: Mapping[str, Any], name: str) -> np.ndarray:
        """A document from a row with `messages` (role, content), `prompt` and `response`, or `text`."""
        if record.get("messages"):
            return self._document(_turns(record["messages"], name, self.marks))
        if record.get("prompt") is not None and record.get("response") is not None:
            parts = [(self.marks.prompt, str(record["prompt"])), (self.marks.answer, str(record["response"]))]
        else:
            parts = [(None, str(record.get("text") or ""))]
        if not all(text.strip() for _, text in parts):
            raise MaquetteError("MQ-3001", name, reason="it is empty")
        return self._document(parts)

    def _document(self, parts: Sequence[tuple[int | None, str]]) -> np.ndarray:
        found = [np.array([self.marks.end])]
        for mark, text in parts:
            found += [np.array([] if mark is None else [mark]), self.tokenizer.encode(text)]
        return np.concatenate(found).astype(self.dtype)

    def cutter(self) -> "Windows":
        return Windows(self.config.length + 1, self.config.alone, self.marks.end, self.dtype)

    @property
    def identity(self) -> list[Any]:
        return [*super().identity, self.config.to_tree()]

    # -- windows <-> samples ------------------------------------------------------------------------------------------

    def to_tensor(self, items: np.ndarray | Tensor) -> Tensor:
        return torch.as_tensor(np.asarray(items).astype(np.int64))

    def from_tensor(self, x: Tensor) -> np.ndarray:
        return x.detach().cpu().numpy().clip(0, self.space.vocab - 1).astype(self.dtype)

    def units(self, x: Tensor) -> Tensor:
        """Bytes of text that the learnt and scored tokens of each sample stand for."""
        return (self._sizes[x[:, 1:]] * counted(x, self.space)).sum(1)

    def asked(self, prompt: str) -> Tensor:
        """What a person gave, as the known beginning of a sample: int64 [m].

        Raises:
            MaquetteError: MQ-2121 when no room is left for an answer.
        """
        parts = [(self.marks.prompt, prompt), (self.marks.answer, "")] if self.config.asks else [(None, prompt)]
        start = self._document(parts)
        if len(start) > self.config.length:
            raise MaquetteError("MQ-2121", "prompt", tokens=len(start), most=self.config.length)
        return torch.from_numpy(start.astype(np.int64))

    def words(self, item: np.ndarray) -> str:
        """What an item says, up to its first END; of questions and answers the last answer."""
        item = np.asarray(item)
        ends = np.flatnonzero(item[1:] == self.marks.end)
        item = item[: ends[0] + 1] if len(ends) else item
        answers = np.flatnonzero(item == self.marks.answer)
        return self.tokenizer.decode(item[answers[-1] :] if len(answers) and self.config.asks else item)

    def passage(self, tokens: np.ndarray) -> str:
        """The text of tokens from anywhere in an item, marks left out."""
        return self.tokenizer.decode(tokens)

    def encode(self, item: np.ndarray, mark: Mark) -> bytes:
        """Markdown whose front matter is the mark."""
        return f"{FRONT}{json.dumps(mark.fields())}\n---\n\n{self.words(item)}".encode("utf-8", "replace")

    def label(self, item: np.ndarray, text: str) -> np.ndarray:
        """The item with `text` on a line before it; what then finds no room at the end falls away."""
        document = self._document([(None, f"{text}\n{self.words(item)}")])
        return _filled(document[: self.stored[0]], self.stored[0], self.marks.end)

    def sheet(self, items: np.ndarray, columns: int = 8, titles: list[str] | None = None) -> bytes:
        """A PNG with the beginnings of a few items, for those who look at pictures; the words are in the `.txt`."""
        return lettering.page([self.words(item) for item in items[:16]], titles)

    def augment(self, items: Tensor, how: Mapping[str, Any], uniform: Tensor) -> Tensor:
        _NoAugment.from_tree(dict(how), "data.augment")
        return items


class Windows(Cutter):
    """Cuts documents into windows of `size` tokens; what is short at the end is filled with END."""

    def __init__(self, size: int, alone: bool, end: int, dtype: np.dtype):
        self.size, self.alone, self.end = size, alone, end
        self.held = np.empty(0, dtype)

    def put(self, item: np.ndarray) -> list[np.ndarray]:
        size, made = self.size, []
        if self.alone or len(item) <= size < len(self.held) + len(item):  # it would fit into a window, not into this
            made += self.rest()
        self.held = np.concatenate([self.held, item])
        while len(self.held) > size:
            made.append(self.held[:size])
            self.held = self.held[size - 1 :]
        return made + (self.rest() if self.alone else [])

    def rest(self) -> list[np.ndarray]:
        held, self.held = self.held, self.held[:0]
        return [_filled(held, self.size, self.end)] if len(held) > 1 else []


def _filled(window: np.ndarray, size: int, end: int) -> np.ndarray:
    return np.concatenate([window, np.full(size - len(window), end, window.dtype)])


def _turns(messages: Any, name: str, marks: Marks) -> list[tuple[int | None, str]]:
    """(mark, text) of each message: an assistant's are answers, all others are asked."""
    if isinstance(messages, str):
        messages = parse_json(messages, name)
    try:
        turns = [(marks.answer if m["role"] == "assistant" else marks.prompt, str(m["content"])) for m in messages]
    except (TypeError, KeyError):
        reason = "messages is no list of {role, content}"
        raise MaquetteError("MQ-3001", name, reason=reason) from None
    if not any(mark == marks.answer for mark, _ in turns):
        raise MaquetteError("MQ-3001", name, reason="none of its messages is the assistant's")
    return turns  # type: ignore[return-value]
