"""Wraps of a predictor of tokens: what may be said, when it is over, and how likely what was said had been.

All but `until` take predictors of the next token, `(x, at) -> logits [n, vocab]`, and of every place,
`x -> logits [n, l, vocab]`, alike; what a predictor is told besides is passed on. Where nothing stands yet, x holds
`MAKE`.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maquette.core.types import Marks, Predictor
from maquette.solvers.decoding import MAKE


def only(predict: Predictor, allowed: Bool[Tensor, " vocab"]) -> Predictor:
    """Nothing but `allowed` tokens is made; those that are known may be others."""

    def restricted(x: Int[Tensor, "n l"], *told: Any) -> Tensor:
        hidden = (x[:, told[0]] if told else x) == MAKE
        return predict(x, *told).masked_fill(hidden[..., None] & ~allowed, -torch.inf)

    return restricted


def answering(predict: Predictor, marks: Marks) -> Predictor:
    """An answer is over where a question would follow it: that is as likely to be said as both together were."""

    def folded(x: Int[Tensor, "n l"], *told: Any) -> Tensor:
        logits = predict(x, *told).float()
        over = torch.logaddexp(logits[..., marks.end], logits[..., marks.prompt])
        none = torch.tensor([marks.prompt, marks.answer], device=logits.device)
        logits = logits.index_fill(-1, none, -torch.inf)
        logits[..., marks.end] = over
        return logits

    return folded


def until(predict: Predictor, over: Callable[[Int[Tensor, "n m"]], Bool[Tensor, " n"]], end: int) -> Predictor:
    """A row says `end` as soon as it is `over`, a function of the tokens so far; when all are, nothing is computed."""
    shape = torch.Size()

    def ended(x: Int[Tensor, "n l"], at: int, *told: Any) -> Float[Tensor, "n vocab"]:
        nonlocal shape
        done = over(x[:, :at]).to(x.device)
        logits = (
            x.new_zeros(shape, dtype=torch.float32) if shape and bool(done.all()) else predict(x, at, *told).float()
        )
        shape = logits.shape
        silent = torch.full_like(logits, -torch.inf)
        silent[:, end] = 0
        return torch.where(done[:, None], silent, logits)

    return ended


def going_on(predict: Predictor, start: Int[Tensor, "n l"], end: int) -> Predictor:
    """No gap that a known token follows becomes `end`, after which the known one would no longer count."""
    known = (start != MAKE) & (start != end)
    bound = (start == MAKE) & (known.flip(1).cumsum(1).flip(1) > 0)

    def unended(x: Int[Tensor, "n l"], *told: Any) -> Tensor:
        logits, rows = predict(x, *told), bound.repeat_interleave(len(x) // len(bound), 0)
        logits = logits.clone()
        logits[..., end] = logits[..., end].masked_fill(rows[:, told[0]] if told else rows, -torch.inf)
        return logits

    return unended


class Recorder:
    """A predictor that notes, of each token that was chosen, how likely it had been: log softmax of its logits.

    Args:
        likeliest: how many of the likeliest tokens of each such place are noted as well.

    Attributes:
        chosen: float32 [n, l], natural logarithms; 0 where nothing has been chosen.
        others: int64 [n, l, likeliest], the likeliest first; how_likely: their logarithms, likewise.
    """

    def __init__(self, predict: Predictor, start: Int[Tensor, "n l"], likeliest: int = 0):
        self._predict = predict
        self._held: tuple[slice, Tensor, Tensor] | None = None
        self.chosen = torch.zeros(start.shape, device=start.device)
        self.others = torch.zeros(*start.shape, likeliest, dtype=torch.int64, device=start.device)
        self.how_likely = torch.zeros(*start.shape, likeliest, device=start.device)

    def __call__(self, x: Int[Tensor, "n l"], *told: Any) -> Tensor:
        self.note(x)
        logits = self._predict(x, *told)
        columns = slice(told[0], told[0] + 1) if told else slice(None)
        self._held = columns, x[:, columns] == MAKE, logits[:, None] if told else logits
        return logits

    def note(self, x: Int[Tensor, "n l"]) -> None:
        """`x` as it has become since the predictor was last called; to be called once more at the end."""
        if self._held is None:
            return
        (columns, hidden, logits), self._held = self._held, None
        now = hidden & (x[:, columns] != MAKE)
        likely = logits[now].float().log_softmax(1)
        self.chosen[:, columns][now] = likely.gather(1, x[:, columns][now][:, None])[:, 0]
        if self.others.shape[2]:
            best = likely.topk(self.others.shape[2], dim=1)
            self.others[:, columns][now], self.how_likely[:, columns][now] = best.indices, best.values

    def replay(self, start: Int[Tensor, "n l"], x: Int[Tensor, "n l"]) -> None:
        """Note the tokens of `x` in the gaps of `start` from left to right, as if they were being chosen now."""
        so_far = start.clone()
        for at in ((start == MAKE).any(0)).nonzero()[:, 0].tolist():
            self(so_far, at)
            so_far[:, at] = x[:, at]
        self.note(so_far)
