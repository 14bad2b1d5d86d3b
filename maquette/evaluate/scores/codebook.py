"""How much of a codebook is used: van den Oord et al. 2017 report it as the perplexity of the codes."""

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor


class Used(NamedTuple):
    share: float
    """Of the entries, those that occur."""
    perplexity: float
    """exp(-sum p log p), p being how often each occurs."""


def used(codes: Int[Tensor, "b *space"], vocab: int) -> Used:
    """What `codes` use of a codebook with `vocab` entries.

    >>> used(torch.tensor([[0, 0, 2, 2]]), 4)
    Used(share=0.5, perplexity=2.0)
    """
    p = torch.bincount(codes.flatten(), minlength=vocab).double() / codes.numel()
    return Used(float((p > 0).double().mean()), float(torch.special.entr(p).sum().exp()))
