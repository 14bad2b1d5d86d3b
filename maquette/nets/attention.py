"""Attention, with its fastest path chosen here and only here."""

import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

Heads = Float[Tensor, "b heads l d"]
EPS = 1e-6
"""Added to the mean square that a vector is divided by the root of."""
_kept: ContextVar[list[Tensor] | None] = ContextVar("kept", default=None)


def attend(
    q: Heads,
    k: Float[Tensor, "b heads m d"],
    v: Float[Tensor, "b heads m d"],
    causal: bool = False,
    allowed: Bool[Tensor, "#b #heads #l m"] | None = None,
) -> Heads:
    """softmax(q k^T / sqrt(d)) v for each head (Vaswani et al. 2017, equation 1).

    Args:
        causal: query i sees keys up to m - l + i alone: the last l of m places ask.
        allowed: which keys a query sees, instead of `causal`; each must see at least one.

    On a CPU torch's fused attention is slower in bf16 than two batched products and a softmax, the more so for short
    sequences, and without a mask in fp32 as well (figures in docs/speed.md); elsewhere it is the fast path.
    """
    length, places = q.shape[2], k.shape[2]
    causal = causal and length > 1
    if (kept := _kept.get()) is not None:
        kept.append(attention_map(q.float(), k.float(), causal_mask(length, places, q.device) if causal else allowed))
    if q.device.type == "cpu":
        if torch.is_autocast_enabled("cpu"):
            q, k, v = (x.to(torch.get_autocast_dtype("cpu")) for x in (q, k, v))
        if q.dtype == torch.bfloat16 or not (causal or allowed is not None):
            mask = causal_mask(length, places, q.device) if causal else allowed
            return attention_map(q, k, mask).to(v.dtype) @ v
    if causal and length != places:
        causal, allowed = False, causal_mask(length, places, q.device)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, is_causal=causal)


@contextlib.contextmanager
def keeping_maps() -> Iterator[list[Float[Tensor, "b heads l m"]]]:
    """Within this block each attention puts its map at the end of the list that is given, for people to look at."""
    maps: list[Tensor] = []
    before = _kept.set(maps)
    try:
        yield maps
    finally:
        _kept.reset(before)


class CrossAttention(nn.Module):
    """Every place asks every element of a sequence (Vaswani et al. 2017, section 3.2.3); at first nothing comes back.

    Args:
        width: of the places.
        sequence: of the elements.
    """

    def __init__(self, width: int, sequence: int, heads: int):
        super().__init__()
        self.heads = heads
        self.ask, self.tell = nn.Linear(width, width), nn.Linear(sequence, 2 * width)
        self.answer = nn.Linear(width, width)
        nn.init.zeros_(self.answer.weight)
        nn.init.zeros_(self.answer.bias)

    def forward(
        self, x: Float[Tensor, "b l w"], sequence: Float[Tensor, "b m d"], mask: Bool[Tensor, "b m"] | None = None
    ) -> Float[Tensor, "b l w"]:
        """What each place learns; of each row's elements only those count that `mask` names, at least one."""
        q = self.ask(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = self.tell(sequence).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()
        found = attend(q, k, v, allowed=None if mask is None else mask[:, None, None])
        return self.answer(found.transpose(1, 2).flatten(2))


def attention_map(
    q: Heads, k: Float[Tensor, "b heads m d"], allowed: Bool[Tensor, "#b #heads #l m"] | None = None
) -> Float[Tensor, "b heads l m"]:
    """softmax(q k^T / sqrt(d)): how much each query takes from each key; rows sum to 1."""
    # scaled before the product, so that bf16 rounds small numbers
    weights = (q * (1 / math.sqrt(q.shape[-1]))) @ k.transpose(-1, -2)
    if allowed is not None:  # added, because the gradient of a sum costs nothing
        weights = weights + torch.zeros(allowed.shape, dtype=weights.dtype, device=q.device).masked_fill_(
            ~allowed, -torch.inf
        )
    return torch.softmax(weights, dim=-1)


def causal_mask(length: int, places: int, device: torch.device) -> Bool[Tensor, "1 1 l m"]:
    """True where the query at the i-th of the last `length` places may look: at that place and those before it."""
    mask = torch.ones(length, places, dtype=torch.bool, device=device).tril(places - length)
    return mask[None, None]


def rotate(
    x: Float[Tensor, "*b d"], cos: Float[Tensor, "*#b h"], sin: Float[Tensor, "*#b h"], unit: bool = False
) -> Float[Tensor, "*b d"]:
    """Rotary positions (Su et al. 2021): the i-th pair of channels (i, i + d/2) turned by place x frequency i.

    Args:
        unit: also divide each vector by its root mean square (`unit_size`), which turning does not change.
    """
    return _Rotation.apply(x, torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1), unit)  # type: ignore[return-value]


def unit_size(x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
    """Vectors divided by their root mean squares: the RMS norm (Zhang and Sennrich 2019) without a gain."""
    return x * _inverse_size(x)


class _Rotation(torch.autograd.Function):
    """Its derivative is the rotation back, and for unit vectors what remains beside their own direction.

    A few passes over memory each way, a quarter of what autograd would take. Forward mode turns the tangent likewise.
    """

    @staticmethod
    def forward(ctx, x: Tensor, cos: Tensor, sin: Tensor, unit: bool):
        kept = (cos, sin, *([x] if unit else []))
        ctx.save_for_backward(*kept)
        ctx.save_for_forward(*kept)
        y = _rotated(x, cos, sin)
        return y.mul_(_inverse_size(x)) if unit else y

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        cos, sin, *kept = ctx.saved_tensors
        grad = _rotated(grad, cos, -sin)
        return _beside(grad, *kept) if kept else grad, None, None, None

    @staticmethod
    def jvp(ctx, tangent: Tensor, *others: Tensor | None) -> Tensor:  # type: ignore[override]
        cos, sin, *kept = ctx.saved_tensors
        return _rotated(_beside(tangent, *kept) if kept else tangent, cos, sin)


def _beside(change: Tensor, x: Tensor) -> Tensor:
    """The derivative of x divided by its root mean square, which is symmetric: `change` without its part along x."""
    inverse = _inverse_size(x)
    along = (change * x).mean(-1, keepdim=True) * inverse.square()
    return torch.addcmul(change, x, along, value=-1) * inverse


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.addcmul(x * cos, torch.cat([b, a], -1), sin)


def _inverse_size(x: Tensor) -> Tensor:
    return (x.square().mean(-1, keepdim=True) + EPS).rsqrt()


def turns(places: int, d: int, base: float = 10_000.0) -> tuple[Float[Tensor, "l h"], Float[Tensor, "l h"]]:
    """Cosines and sines of place x base^(-2i/d), [places, d/2]."""
    angles = torch.arange(places)[:, None] * base ** (-torch.arange(0, d, 2) / d)
    return angles.cos(), angles.sin()
