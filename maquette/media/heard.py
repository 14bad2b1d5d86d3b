"""Words as their tokens come: which characters are whole, what may still become a stop string, and where it ends."""

import codecs
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from maquette.media.tokens import Tokenizer


class Heard:
    """The words of one sample, token by token.

    They end before the first of `stops` that what was made holds, at the first END mark, or with the window. Bytes that
    are no text become U+FFFD.

    Args:
        start: the sample's tokens as far as they are known, negative where one is made.
        begin: number of the first token whose words count.
        stops: strings of at least one character.

    Attributes:
        text: the words so far.
        places: how many tokens have been heard, those before `begin` included.
        over: whether nothing is added any more.
        ended: "stop" when END was made or a stop string said, else "length".
    """

    def __init__(self, tokenizer: Tokenizer, start: Sequence[int], begin: int, stops: Sequence[str] = ()):
        self._tokenizer, self._start, self._stops = tokenizer, start, stops
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._longest = max(map(len, stops), default=0)
        self._tokens: list[int] = []  # those that were heard, where a token alone is not what it is among others
        self._spelt = 0  # characters that they have come to
        self._given: int | None = None  # characters before the first that was made
        self.ended: Literal["stop", "length"] = "length"
        self.text, self.places, self.over = "", begin, False

    def hear(self, tokens: Sequence[int]) -> None:
        """The tokens at number `places` and after."""
        for token in tokens:
            if self.over:
                return
            made = self._start[self.places] < 0
            self.places += 1
            if made and self._given is None:
                self._given = len(self.text)
            if token == self._tokenizer.marks.end:
                self.close()
                self.ended = "stop" if made else self.ended
            elif token not in self._tokenizer.marks:
                self._add(self._spell(token))

    def close(self) -> None:
        """Nothing more comes: what might have become a character, or a stop string, did not."""
        if not self.over:
            self._add(self._spell(None))
            self.over = True

    @property
    def sure(self) -> int:
        """How many characters of `text` stay, whatever comes: it does not end in the beginning of a stop string."""
        made = 0 if self.over or self._given is None else len(self.text) - self._given
        for n in range(min(self._longest - 1, made), 0, -1):
            if any(stop.startswith(self.text[-n:]) for stop in self._stops):
                return len(self.text) - n
        return len(self.text)

    def _spell(self, token: int | None) -> str:
        """The characters that `token` completes, or those that are left over when no more comes."""
        if self._tokenizer.additive:
            data = b"" if token is None else self._tokenizer.to_bytes(np.array([token]))
            return self._decoder.decode(data, final=token is None)
        self._tokens += [] if token is None else [token]
        whole = self._tokenizer.decode(np.array(self._tokens, np.int64))
        if token is not None and whole.endswith("\ufffd"):  # perhaps half a character
            return ""
        piece, self._spelt = whole[self._spelt :], len(whole)
        return piece

    def _add(self, piece: str) -> None:
        first = len(self.text) - self._longest + 1
        self.text += piece
        if not piece or self._given is None:
            return
        found = [at for stop in self._stops if (at := self.text.find(stop, max(self._given, first))) >= 0]
        if found:
            self.text, self.over, self.ended = self.text[: min(found)], True, "stop"


def listen(heard: Sequence[Heard], x: Int[Tensor, "n m"], to_the_end: bool = False) -> Bool[Tensor, " n"]:
    """Which samples are over, each having heard its row of the tokens so far.

    Args:
        to_the_end: whether these are all that will come.
    """
    new = min((one.places for one in heard if not one.over), default=x.shape[1])
    for one, tokens in zip(heard, x[:, new:].tolist(), strict=True):
        if not one.over:
            one.hear(tokens[one.places - new :])
        if to_the_end:
            one.close()
    return torch.tensor([one.over for one in heard])
