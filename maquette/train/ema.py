"""The averaged weights that samples are drawn from (Polyak averaging, as in Karras et al. 2018)."""

import contextlib
import copy
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from maquette.models.base import Model


class Ema:
    """A copy of a model whose trainable weights follow an exponential moving average; its buffers are copied.

    The running statistics of batch normalisation are buffers that belong to weights: those of the model are not what
    averaged weights would have seen, so they are counted anew (`counting`) before anybody looks. Averaging them as well
    brings the means near, and not the variances, which are smaller under averaged weights (docs/log.md).

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
        self.norms = [
            part for part in self.model.modules() if isinstance(part, _BatchNorm) and part.track_running_stats
        ]
        for norm in self.norms:
            norm.momentum = None  # the plain mean of all that passes

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow the model after training step `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(*self._weights, 1 - decay)  # pyright: ignore
        if self._buffers[0]:
            torch._foreach_copy_(*self._buffers)  # pyright: ignore

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """Within this block batch normalisation counts its running statistics anew, as means over the batches that pass
        (Izmailov et al. 2018, section 3; the standing statistics of Brock et al. 2019); what none passes keeps its own.
        """
        for norm in self.norms:
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked.zero_()
            norm.train()
        try:
            yield
        finally:
            self.model.eval()


def _pairs(average: nn.Module, model: nn.Module, tensors) -> tuple[list, list]:
    return tensors(average), tensors(model)
