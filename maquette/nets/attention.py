"""Attention, with its fastest path chosen here and only here."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Heads = Float[Tensor, "b heads l d"]


def attend(q: Heads, k: Float[Tensor, "b heads m d"], v: Float[Tensor, "b heads m d"]) -> Heads:
    """softmax(q k^T / sqrt(d)) v for each head (Vaswani et al. 2017, equation 1).

    On a CPU torch's fused attention is slower in bf16 than two batched products and a softmax, the more so for the
    short sequences of a picture's low resolutions (figures in docs/speed.md); elsewhere it is the fast path.
    """
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v)
    # scaled before the product, so that bf16 rounds small numbers
    weights = (q * (1 / math.sqrt(q.shape[-1]))) @ k.transpose(-1, -2)
    return torch.softmax(weights, dim=-1).to(v.dtype) @ v
