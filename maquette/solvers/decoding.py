"""From logits to a token, and from a start with gaps to a whole sequence: drawn, searched for, or uncovered.

A start [n, l] holds -1 where a token is to be made and the token itself where it is known: a prompt is a known
beginning, a task such as harmonising or filling in has known tokens anywhere. Row i uses row i of its own uniform
numbers alone, each token being the inverse of its distribution function at one of them.
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maquette.core import cancel
from maquette.core.seeds import Seeds
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
        predict: `(x, at) -> logits [n, vocab]` of token number `at` given those before it in `x`; asked in order, and
            only where a row that is not over has a gap.
        u: uniform numbers in [0, 1).
        end: a made token of this number ends its row: what follows is `end` too, and known tokens are not put in.
    """
    x, over = start.clone(), torch.zeros(len(start), dtype=torch.bool, device=start.device)
    for at in range(x.shape[1]):
        known = start[:, at] != MAKE
        if bool((known | over).all()):
            x[:, at] = start[:, at] if end is None else torch.where(over, end, start[:, at])
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
def search(
    predict: Predictor, start: Int[Tensor, "n l"], beams: int, penalty: float, end: int | None = None
) -> Int[Tensor, "n l"]:
    """The likeliest sequences y that a search with `beams` hypotheses for each row finds, by

        log p(y) / ((5 + |y|) / 6)^penalty        (Wu et al. 2016, equation 14, without its term for coverage).

    Each step keeps the `beams` likeliest extensions by a token; a hypothesis that ends leaves the search and takes its
    place with it (Sutskever et al. 2014, section 3.2). So one beam is greedy decoding, and enough beams find the true
    maximum. y begins at the first gap of its row; known tokens between gaps count, those after the last do not.

    Args:
        predict, end: as in `stream`; it is asked for beams x n rows, those of one row of `start` side by side.
    """
    (n, length), device = start.shape, start.device
    gaps = start == MAKE
    begun = gaps.cumsum(1) > 0
    last = torch.where(gaps, torch.arange(length, device=device), -1).amax(1)
    scale = ((5 + begun.cumsum(1)) / 6).double() ** penalty
    longest = scale.gather(1, last.clamp(min=0)[:, None])[:, 0]
    first = torch.arange(n, device=device)[:, None] * beams
    x = start.repeat_interleave(beams, 0)
    score = torch.full((n, beams), -torch.inf, dtype=torch.float64, device=device)
    score[:, 0] = 0  # all hypotheses are alike at the beginning
    places = torch.full((n, 1), beams, device=device)
    best, best_score = start.clone(), torch.full((n,), -torch.inf, dtype=torch.float64, device=device)
    for at in range(length):
        # a hypothesis only loses, so none of what is left gets above this
        hopeful = score.amax(1) / longest > best_score
        if not bool((hopeful & (last >= at)).any()):
            break
        if not bool(begun[:, at].any()):
            continue
        cancel.check()
        gain = predict(x, at).double().log_softmax(1).view(n, beams, -1)
        vocab = gain.shape[2]
        total = score[:, :, None] + _given(gain, start[:, at], begun[:, at])
        # of equal logits, which rounding to bf16 makes, `max` takes the first as greedy decoding does
        score, index = total.flatten(1).max(1, keepdim=True) if beams == 1 else total.flatten(1).topk(beams, dim=1)
        token = index % vocab
        x = x[(first + index // vocab).flatten()]
        x[:, at] = token.flatten()
        score = score.masked_fill(torch.arange(beams, device=device) >= places, -torch.inf)
        ends = (last == at)[:, None].expand_as(token)
        if end is not None:
            ends = ends | ((token == end) & gaps[:, at, None])
        value, which = (score / scale[:, at, None]).masked_fill(~ends, -torch.inf).max(1)
        better = value > best_score
        best = torch.where(better[:, None], x[first[:, 0] + which], best)
        best_score = torch.where(better, value, best_score)
        places = places - (ends & score.isfinite()).sum(1, keepdim=True)
        score = score.masked_fill(ends, -torch.inf)
    if end is None:
        return best
    ended = ((best == end) & gaps).cumsum(1) > 0
    return torch.where(ended, end, best)


def _given(
    gain: Float[Tensor, "n beams vocab"], known: Int[Tensor, " n"], begun: Bool[Tensor, " n"]
) -> Float[Tensor, "n beams vocab"]:
    """`gain` where a token is to be made; of a known one what it adds, nothing before the first gap, and no other."""
    if bool((known == MAKE).all()):
        return gain
    token = known.clamp(min=0)[:, None, None].expand(-1, gain.shape[1], 1)
    adds = torch.where(begun[:, None, None], gain.gather(2, token), 0.0)
    alone = torch.full_like(gain, -torch.inf).scatter(2, token, adds)
    return torch.where((known == MAKE)[:, None, None], gain, alone)


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


@torch.no_grad()
def unmask_surest(
    predict: Predictor, start: Int[Tensor, "n l"], how: Sampling, rng: Seeds, steps: int, choice: float
) -> Int[Tensor, "n l"]:
    """Uncover the gaps of `start` in `steps` steps, those first whose tokens are the surest (Chang et al. 2022, 3.2).

    In each step every gap draws a token; of a row with m gaps at first, all but floor(m cos(pi/2 share)) keep theirs:
    those with the largest log p(token) + choice (1 - share) gumbel, share being that of the steps that are done. At
    least one is kept in each step, and in the last one all are.

    Args:
        predict: `x -> logits [n, l, vocab]` of every place, given those of `x` that are not -1.
        choice: how much chance has to do with what is kept; less of it gives samples that are more alike.
    """
    x, most = start, (start == MAKE).sum(1, keepdim=True)
    for step in range(steps):
        cancel.check()
        gaps, share = x == MAKE, (step + 1) / steps
        if not bool(gaps.any()):
            break
        u = rng.fork(step)
        logits = predict(x).float()
        before = x if how.repetition != 1 else x[:, :0]
        limited = restrict(logits.flatten(0, 1), before.repeat_interleave(x.shape[1], 0), how)
        token = draw(limited, u.uniform(x.shape[1]).flatten(), how).view(x.shape)
        sure = logits.log_softmax(2).gather(2, token[..., None])[..., 0]
        noise = -(-u.uniform(x.shape[1]).clamp(1e-20, 1 - 1e-7).log()).log()
        sure = (sure + choice * (1 - share) * noise).masked_fill(~gaps, -torch.inf)
        left = gaps.sum(1, keepdim=True)
        stay = torch.minimum((most * math.cos(math.pi / 2 * share)).floor().long(), (left - 1).clamp(min=0))
        stay = stay if step + 1 < steps else torch.zeros_like(stay)
        rank = sure.argsort(1, descending=True).argsort(1)  # of each gap among those of its row, the surest first
        x = torch.where(gaps & (rank < left - stay), token, x)
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
    if how.top_k == 1:
        return logits  # the likeliest one is taken, which none of the following changes
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
        if logits.device.type == "cpu":  # by one thread: torch's stay busy for a while on cores that others need
            return torch.from_numpy(logits.numpy().argmax(1))
        return logits.argmax(1)
    return invert(logits.double().softmax(1), u.double())


def invert(probabilities: Float[Tensor, "n vocab"], u: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """The number at which the distribution function first exceeds `u` in [0, 1); never one of probability 0."""
    below = probabilities.cumsum(-1)
    total = below[:, -1:]
    last = (below < total).sum(-1)  # rounding may bring u * total up to the total itself
    return (below <= u[:, None] * total).sum(-1).minimum(last)
