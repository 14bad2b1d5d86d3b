"""Drawing tokens one after another: from logits to a token, and from a start with gaps to a whole sequence.

A start [n, l] holds -1 where a token is to be made and the token itself where it is known: a prompt is a known
beginning, a task such as harmonising or filling in has known tokens anywhere. Row i uses row i of its own uniform
numbers alone, each token being the inverse of its distribution function at one of them.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from maquette.core import cancel
from maquette.core.types import Predictor, Sampling, Tokens

MAKE = -1
"""Where a start says that a token is to be made."""


def blank(n: int, space: Tokens, device: torch.device) -> Int[Tensor, "n *space"]:
    """A start of nothing but gaps; in a space with marks the end of an earlier document stands first."""
    start = torch.full((n, *space.shape), MAKE, device=device)
    if space.marks:
        start[:, 0] = space.marks.end
    return start


def decode(
    predict: Predictor, start: Int[Tensor, "n l"], u: Float[Tensor, "n l"], how: Sampling, end: int | None = None
) -> Int[Tensor, "n l"]:
    """The whole sequences; see `stream`."""
    made = start
    for _, made in stream(predict, start, u, how, end):  # noqa: B007 (the last one is wanted)
        pass
    return torch.where(made == MAKE, 0 if end is None else end, made)


@torch.no_grad()
def stream(
    predict: Predictor, start: Int[Tensor, "n l"], u: Float[Tensor, "n l"], how: Sampling, end: int | None = None
) -> Iterator[tuple[int, Int[Tensor, "n l"]]]:
    """(place, all tokens so far) after each token that was made; the tensor is the same one, filled in further.

    Args:
        predict: `(x, at) -> logits [n, vocab]` of token number `at` given those before it in `x`; asked in order.
        u: uniform numbers in [0, 1).
        end: a made token of this number ends its row: what follows is `end` too, and known tokens are not put in.
    """
    x, over = start.clone(), torch.zeros(len(start), dtype=torch.bool, device=start.device)
    for at in range(x.shape[1]):
        if bool((known := start[:, at] != MAKE).all()) and not bool(over.any()):
            continue
        cancel.check()
        logits = restrict(predict(x, at).float(), x[:, :at], how)
        drawn = draw(logits, u[:, at], how)
        drawn = torch.where(known, start[:, at], drawn)
        if end is not None:
            drawn = torch.where(over, end, drawn)
            over |= (drawn == end) & ~known
        x[:, at] = drawn
        yield at, x
        if end is not None and bool(over.all()):
            x[:, at + 1 :] = end
            return


@torch.no_grad()
def unmask(
    predict: Predictor,
    start: Int[Tensor, "n l"],
    when: Float[Tensor, "n l"],
    which: Float[Tensor, "n l"],
    how: Sampling,
    steps: int,
) -> Int[Tensor, "n l"]:
    """Uncover the gaps of `start` in `steps` steps, those with the largest `when` first, several at a time.

    The ancestral sampler of masked diffusion (Sahoo et al. 2024, section 3.2.3): the time at which a place is uncovered
    is uniform, whatever stands there.

    Args:
        predict: `x -> logits [n, l, vocab]` of every place, given those of `x` that are not -1.
        when, which: uniform numbers in [0, 1): the time of each place, and what picks its token.
    """
    x = start
    for step in range(steps):
        cancel.check()
        now = (x == MAKE) & (when >= 1 - (step + 1) / steps)
        if not bool(now.any()):
            continue
        logits = predict(x)[now].float()
        before = x[now.nonzero()[:, 0], : None if how.repetition != 1 else 0]
        x = x.masked_scatter(now, draw(restrict(logits, before, how), which[now], how))
    return x


def restrict(logits: Float[Tensor, "n vocab"], before: Int[Tensor, "n m"], how: Sampling) -> Float[Tensor, "n vocab"]:
    """`logits` with what `how` rules out at -inf, and tokens of `before` made less likely.

    In the order of Hugging Face's processors: repetition, temperature, top-k, top-p, min-p. At least one token stays.
    """
    if how.repetition != 1:
        seen = (
            torch.zeros_like(logits, dtype=torch.int64).scatter_add_(1, before.clamp(min=0), (before >= 0).long()) > 0
        )
        less = torch.where(logits > 0, logits / how.repetition, logits * how.repetition)
        logits = torch.where(seen, less, logits)
    if how.temperature != 1:
        logits = logits / how.temperature
    if 0 < how.top_k < logits.shape[1]:
        kth = logits.topk(how.top_k, dim=1).values[:, -1:]
        logits = logits.masked_fill(logits < kth, -torch.inf)
    if how.top_p < 1:
        ordered, order = logits.sort(dim=1, descending=True)
        probability = ordered.softmax(1)
        beyond = probability.cumsum(1) - probability >= how.top_p  # what stands before it reaches p already
        logits = logits.masked_fill(torch.zeros_like(beyond).scatter_(1, order, beyond), -torch.inf)
    if how.min_p > 0:
        floor = logits.amax(1, keepdim=True) + torch.tensor(how.min_p).log()
        logits = logits.masked_fill(logits < floor, -torch.inf)
    return logits


def draw(logits: Float[Tensor, "n vocab"], u: Float[Tensor, " n"], how: Sampling) -> Int[Tensor, " n"]:
    """The token at which the distribution function first exceeds `u`; the likeliest one when only one is left."""
    if how.top_k == 1:
        return logits.argmax(1)
    below = logits.double().softmax(1).cumsum(1)
    total = below[:, -1:]
    last = (below < total).sum(1)  # rounding may bring u * total up to the total itself
    return (below <= u[:, None].double() * total).sum(1).minimum(last)
