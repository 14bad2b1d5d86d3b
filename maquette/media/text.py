"""Text: UTF-8 files, and rows of tables, <-> windows of tokens.

A document is the tokens END, its text; a question and its answer are END, PROMPT, question, ANSWER, answer; a
conversation goes on so. Documents are put one after another and cut into windows of `length` + 1 tokens, each window
beginning with the last token of the one before it; a document that fits into one window is never cut. A sample is one
window; what was made is read up to the first END after its beginning.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from maquette.core.config import Config as AnyConfig
from maquette.core.config import parse_json
from maquette.core.errors import MaquetteError, Phrase
from maquette.core.exit import Mark
from maquette.core.sequences import counted
from maquette.core.types import Marks, Tokens
from maquette.media import forms, lettering, tokens
from maquette.media.base import Medium, MediumConfig, Wording, read_whole
from maquette.media.heard import Heard
from maquette.media.tokens import Kind
from maquette.media.windows import Windows

MAX_BYTES = 4 << 20
"""Of a document that comes in one piece (of a table's row: characters); longer files are read in pieces."""
SHORTEST, MOST_LENGTH = 4, 65_536
EMPTY = Phrase("it is empty", "内容为空")
_TOO_LONG = Phrase(f"it has more than {MAX_BYTES:,} characters", f"超过 {MAX_BYTES:,} 个字符")
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
    suffixes: tuple[str, ...] = (".txt", ".md")
    """Of the files that are read, in lower case: [.py] for programs."""
    vocabulary: str = ""
    """What was learnt of the data; filled in when training begins."""

    def __post_init__(self) -> None:
        self.check(tokens.LEARNT <= self.vocab <= 65_536, "vocab", f"a whole number from {tokens.LEARNT} to 65536")
        good = SHORTEST <= self.length <= MOST_LENGTH
        self.check(good, "length", f"a whole number from {SHORTEST} to {MOST_LENGTH}")
        good = all(suffix.startswith(".") and suffix.islower() for suffix in self.suffixes)
        self.check(good and bool(self.suffixes), "suffixes", "a list of suffixes such as [.py]")

    def build(self) -> "Text":
        return Text(self)

    def learnt(self, read: Callable[[Medium], Iterable[np.ndarray]]) -> "Config":
        if self.tokenizer == "byte" or self.vocabulary:
            return self
        plain = replace(self, tokenizer="byte", length=MOST_LENGTH).build()  # so long that nothing is cut
        # the last document may end within a character
        texts = (plain.tokenizer.decode(document).rstrip("\ufffd") for document in read(plain))
        return replace(self, vocabulary=tokens.learn(self.tokenizer, texts, self.vocab))


@dataclass(frozen=True, kw_only=True)
class _NoAugment(AnyConfig):
    """Text is not augmented; reading this refuses whatever is declared."""


class Text(Medium, Wording):
    """Stored items are windows [length + 1] of uint16 (of uint32 where there are more tokens); before they are cut,
    documents [n] of it."""

    suffix = ".md"
    columns = (("messages",), ("prompt", "response"), ("text",))
    piece = 64 << 10
    talks = True
    unit = "byte"

    def __init__(self, config: Config):
        self.config = config
        self.tokenizer = tokens.make(config.tokenizer, config.vocabulary)
        self.marks = self.tokenizer.marks
        self.stored = (config.length + 1,)
        self.suffixes = frozenset(config.suffixes)
        self.dtype = np.dtype(np.uint16 if self.tokenizer.vocab <= 1 << 16 else np.uint32)
        self.whole, self.asks = config.alone, config.asks
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
            reason = Phrase(f"it is not UTF-8 text (byte {bad.start})", f"不是 UTF-8 文本（第 {bad.start} 字节）")
            raise MaquetteError("MQ-3001", name, reason=reason) from None
        if text.startswith(FRONT):
            text = text.partition("\n---\n")[2].removeprefix("\n")
        text = text.replace("\r\n", "\n")
        if not text.strip():
            raise MaquetteError("MQ-3001", name, reason=EMPTY)
        return self._document([(None, text)], name)

    def from_record(self, record: Mapping[str, Any], name: str) -> np.ndarray:
        """A document from a row with `messages` (role, content), `prompt` and `response`, or `text`."""
        if record.get("messages"):
            return self._document(_turns(record["messages"], name, self.marks), name)
        if record.get("prompt") is not None and record.get("response") is not None:
            parts = [(self.marks.prompt, str(record["prompt"])), (self.marks.answer, str(record["response"]))]
        else:
            parts = [(None, str(record.get("text") or ""))]
        if not all(text.strip() for _, text in parts):
            raise MaquetteError("MQ-3001", name, reason=EMPTY)
        return self._document(parts, name)

    def _document(self, parts: Sequence[tuple[int | None, str]], name: str = "") -> np.ndarray:
        if sum(len(text) for _, text in parts) > MAX_BYTES:
            raise MaquetteError("MQ-3001", name, reason=_TOO_LONG)
        found = [np.array([self.marks.end])]
        for mark, text in parts:
            found += [np.array([] if mark is None else [mark]), self.tokenizer.encode(text)]
        return np.concatenate(found).astype(self.dtype)

    def cutter(self) -> "Windows":
        return Windows(self.config.length + 1, self.config.alone, self.marks.end, self.dtype, fitted=self._fitted)

    def _fitted(self, document: np.ndarray) -> np.ndarray:
        """A question with one answer that is too long for a window loses the question's end: cut in two, its second
        half would be taken for text."""
        over, places = len(document) - self.stored[0], np.flatnonzero(np.isin(document, self.marks[1:]))
        if over <= 0 or document[places].tolist() != [*self.marks[1:]]:
            return document
        return np.delete(document, slice(max(3, places[1] - over), places[1]))  # END, PROMPT and a token stay

    def content(self, item: np.ndarray) -> bytes:
        """The document in bytes, as the byte tokenizer would have it: the same whatever the vocabulary."""
        found = []
        for part in np.split(item, np.flatnonzero(np.isin(item, self.marks))):
            mark = [self.marks.index(token) for token in part[:1] if token in self.marks]
            text = np.frombuffer(self.tokenizer.to_bytes(part[len(mark) :]), np.uint8)
            found += [np.array(mark, np.uint16), text + np.uint16(tokens.BYTES)]
        return np.trim_zeros(np.concatenate(found), "b").tobytes()  # what fills a window is no content

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

    def asked(self, prompt: str, history: Sequence[tuple[str, str]] = ()) -> Tensor:
        """What a person gave, as the known beginning of a sample: int64 [m].

        Raises:
            MaquetteError: MQ-2121 when no room is left for an answer, MQ-2130 when there is nothing to answer, MQ-2104
                when a history is given to those who do not answer.
        """
        if history and not self.asks:
            raise MaquetteError("MQ-2104", "history", task=Phrase("hold a conversation", "对话"))
        if self.asks and not prompt.strip():
            raise MaquetteError("MQ-2130", "prompt")
        turns = [(mark, text) for turn in history for mark, text in zip(self.marks[1:], turn, strict=True)]
        parts = [*turns, (self.marks.prompt, prompt), (self.marks.answer, "")] if self.asks else [(None, prompt)]
        self._refuse_far_too_long("prompt", "".join(text for _, text in parts))
        start = self._document(parts)
        if len(start) > self.config.length:
            raise self._too_long("prompt", len(start))
        return torch.from_numpy(start.astype(np.int64))

    def template(self, text: str) -> Tensor:
        self._refuse_far_too_long("template", text)
        parts = [part for part in re.split(f"({forms.GAP})", text) if part]
        found = [np.array([-1]) if part == forms.GAP else self.tokenizer.encode(part) for part in parts]
        tokens = np.concatenate([np.empty(0, np.int64), *found])
        if len(tokens) > self.config.length:
            raise self._too_long("template", len(tokens))
        return torch.from_numpy(tokens)

    def _refuse_far_too_long(self, what: str, text: str) -> None:
        """What could not fit if each of its tokens were the longest there is, is not even encoded."""
        if len(text) > self.config.length * int(self._sizes.max()):
            raise self._too_long(what, f"more than {self.config.length}")

    def _too_long(self, what: str, tokens: int | str) -> MaquetteError:
        return MaquetteError("MQ-2121", what, what=what, tokens=tokens, most=self.config.length)

    def letters(self, han: bool) -> Bool[Tensor, " vocab"]:
        belongs = forms.is_han if han else forms.is_letter
        found = [belongs(spelt) for spelt in self.spell(range(self.space.vocab))]
        if not any(found):
            raise MaquetteError("MQ-2131", "template", what="Han characters" if han else "letters")
        return torch.tensor(found)

    def spell(self, tokens: Iterable[int]) -> list[str]:
        return [self._spelt(self.tokenizer.to_bytes(np.array([t]))) if t not in self.marks else "" for t in tokens]

    @staticmethod
    def _spelt(data: bytes) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError:
            return "".join(f"<0x{byte:02X}>" for byte in data)

    def heard(self, start: np.ndarray, stops: Sequence[str] = ()) -> Heard:
        answers = np.flatnonzero(start == self.marks.answer)
        begin = int(answers[-1]) + 1 if self.asks and len(answers) else int(start[0] == self.marks.end)
        return Heard(self.tokenizer, start.tolist(), begin, stops)

    def words(self, item: np.ndarray | str) -> str:
        """What an item says, up to its first END; of questions and answers the last answer.

        Words may stand for an item wherever one is shown or written.
        """
        if isinstance(item, str):
            return item
        item = np.asarray(item)
        ends = np.flatnonzero(item[1:] == self.marks.end)
        item = item[: ends[0] + 1] if len(ends) else item
        answers = np.flatnonzero(item == self.marks.answer)
        return self.tokenizer.decode(item[answers[-1] :] if len(answers) and self.config.asks else item)

    def documents(self, items: np.ndarray) -> Iterator[str]:
        kept = np.ones(items.shape, bool)
        kept[:, 0] = items[:, 0] == self.marks.end  # any other first token was the last of the window before
        tokens = items[kept]
        texts = map(self.tokenizer.decode, np.split(tokens, np.flatnonzero(tokens == self.marks.end)))
        return (text for text in texts if text)

    def scarce(self, items: Any, batch: int) -> MaquetteError | None:
        if len(items) >= batch:
            return None
        windows = np.asarray(items)
        told = windows != self.marks.end
        told[:, 0] = False  # an end, or the last token of the window before
        n, facts = int(told.sum()), {"tokens": int(told.sum()), "needed": self.config.length}
        if not self.config.alone and len(windows) == 1 and windows[0, -1] == self.marks.end:  # all there is, and filled
            todo = Phrase("bring more text", "请提供更多文字")
            if n >= SHORTEST:
                way = f"medium.length={n}"
                todo = Phrase(f"bring more text, or shorten the context: {way}", f"请提供更多文字，或缩短上下文：{way}")
            raise MaquetteError("MQ-3018", "data", **facts, todo=todo)
        return MaquetteError("MQ-3019", "data", **facts, windows=len(windows), batch=batch)

    def passage(self, tokens: np.ndarray) -> str:
        """The text of tokens from anywhere in an item, marks left out."""
        return self.tokenizer.decode(tokens)

    def encode(self, item: np.ndarray | str, mark: Mark) -> bytes:
        """Markdown whose front matter is the mark."""
        front = "".join(f"{name}: {text}\n" for name, text in mark.records.items())
        return f"---\n{front}---\n\n{self.words(item)}".encode("utf-8", "replace")

    def label(self, item: np.ndarray | str, text: str) -> str:
        """The words with `text` on a line before them."""
        return f"{text}\n{self.words(item)}"

    def sheet(self, items: np.ndarray | list[str], columns: int = 8, titles: list[str] | None = None) -> bytes:
        """A PNG with the beginnings of a few items, for those who look at pictures; the words are in the `.txt`."""
        return lettering.page([self.words(item) for item in items[:16]], titles)

    def augment(self, items: Tensor, how: Mapping[str, Any], uniform: Tensor) -> Tensor:
        _NoAugment.from_tree(dict(how), "data.augment")
        return items


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
