"""What the marks of a space of sequences say about its samples, for every model of tokens."""

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn import functional as F

from maquette.core.types import Marks, Tokens


def seen(x: Int[Tensor, "b l"], space: Tokens) -> Int[Tensor, "b m"]:
    """What each prediction sees last; without marks a token of its own kind (number `vocab`) stands first."""
    return x[:, :-1] if space.marks else F.pad(x[:, :-1], (1, 0), value=space.vocab)


def predicted(x: Int[Tensor, "b l"], space: Tokens) -> Int[Tensor, "b m"]:
    """The tokens that are predicted: all, but for a first one that is context."""
    return x[:, 1:] if space.marks else x


def filled(x: Int[Tensor, "b l"], space: Tokens) -> Bool[Tensor, "b l"]:
    """Which places hold something: all but padding, an end after an end."""
    if space.marks is None:
        return torch.ones_like(x, dtype=torch.bool)
    end = x == space.marks.end
    return ~(end & F.pad(end[:, :-1], (1, 0), value=False))


def counted(x: Int[Tensor, "b l"], space: Tokens, padding: bool = False) -> Bool[Tensor, "b m"]:
    """Which predictions are learnt and scored: not those of a prompt, and not `padding` (an end after an end).

    That a question follows an answer is learnt, though the question is not: it is how an answer ends within a
    conversation.
    """
    if space.marks is None:
        return torch.ones_like(x, dtype=torch.bool)
    end, prompt, answer = space.marks
    before, after = x[:, :-1], x[:, 1:]
    place = torch.arange(before.shape[1], device=x.device).expand_as(before)
    marked = (before == end) | (before == prompt) | (before == answer)
    last = torch.where(marked, place, -1).cummax(1).values  # the mark that rules each place; -1 before any
    state = torch.where(last < 0, end, before.gather(1, last.clamp(min=0)))
    asked = (state == prompt) | ((after == prompt) & (state == end))
    return ~asked if padding else ~asked & ~((before == end) & (after == end))


def reach(x: Int[Tensor, "b l"], space: Tokens) -> Int[Tensor, "b m"]:
    """How many tokens before each prediction are in the window and of its document, the end before it included."""
    if space.marks is None:
        return torch.arange(x.shape[1], device=x.device).expand_as(x)
    before = x[:, :-1]
    place = torch.arange(before.shape[1], device=x.device).expand_as(before)
    return place - torch.where(before == space.marks.end, place, 0).cummax(1).values + 1


def apart(x: Int[Tensor, "b m"], space: Tokens) -> Bool[Tensor, "b 1 m m"] | None:
    """Which earlier places each place sees when documents do not see each other; None when no row holds two."""
    if space.marks is None:
        return None
    starts = x == space.marks.end
    if not bool(starts[:, 1:].any()):
        return None
    document = starts.cumsum(1)
    same = document[:, :, None] == document[:, None, :]
    return (same & torch.ones_like(same[0]).tril())[:, None]


def trimmed(x: Int[Tensor, "b l"], space: Tokens) -> Int[Tensor, "b m"]:
    """`x` without what comes after the last prediction that counts in any row: who reads in order loses nothing."""
    counting = counted(x, space).any(0).nonzero()
    return x[:, : int(counting[-1]) + 2] if space.marks and len(counting) else x


def exchanges(window: np.ndarray, marks: Marks) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(question, answer) of each document of a window [l] that has them; of a conversation the first two turns.

    A document counts only from the end before it to its own: one that the window cuts off is left out.
    """
    for before, end in itertools.pairwise(np.flatnonzero(window == marks.end)):
        document = window[before + 1 : end]
        turns = np.flatnonzero((document == marks.prompt) | (document == marks.answer))
        if document[turns[:2]].tolist() != [marks.prompt, marks.answer] or turns[0] != 0:
            continue
        question, answer = (part[1:] for part in np.split(document, turns[1:])[:2])
        if len(question) and len(answer):
            yield question, answer
