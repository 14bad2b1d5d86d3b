"""The averaged weights that samples are drawn from (Polyak averaging, as in Karras et al. 2018)."""

import copy

import torch
from torch import nn

from maquette.models.base import Model


class Ema:
    """A copy of a model whose trainable weights follow an exponential moving average; its buffers are copied.

    The decay warms up as min(decay, (1 + step) / (10 + step)), so that the random start is soon forgotten. With a
    decay of 0 the copy equals the model. Nothing here draws random numbers or touches the model, so looking at
    samples or at the validation loss cannot change what is learnt.
    """

    def __init__(self, model: Model, decay: float):
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        names = {name for name, p in model.named_parameters() if p.requires_grad}
        self._weights = _pairs(self.model, model, lambda m: [p.data for n, p in m.named_parameters() if n in names])
        self._buffers = _pairs(self.model, model, lambda m: list(m.buffers()))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow the model after training step `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(*self._weights, 1 - decay)  # pyright: ignore
        if self._buffers[0]:
            torch._foreach_copy_(*self._buffers)  # pyright: ignore


def _pairs(average: nn.Module, model: nn.Module, tensors) -> tuple[list, list]:
    return tensors(average), tensors(model)
