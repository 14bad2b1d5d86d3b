"""Guidance: a predictor made of two. It serves denoisers `(y, s) -> x_hat` and logits `(tokens) -> logits` alike."""

from typing import Any

import torch
from torch import Tensor

from maquette.core.types import Predictor


def guide(
    conditional: Predictor,
    unconditional: Predictor,
    scale: float,
    interval: tuple[float, float] | None = None,
) -> Predictor:
    """Classifier-free guidance: `unconditional + scale (conditional - unconditional)` (Ho and Salimans 2021, eq. 6).

    A weaker model in place of `unconditional` makes it autoguidance (Karras et al. 2024). A scale of 1 is the
    conditional predictor itself and never calls the other; 0 is the unconditional one.

    Args:
        interval: for denoisers: guide only at levels s with low < s <= high (Kynkäänniemi et al. 2024); outside, only
            the conditional predictor is called.
    """
    if scale == 1:
        return conditional

    def guided(*args: Any) -> Tensor:
        if interval is not None and not interval[0] < float(args[1].max()) <= interval[1]:
            return conditional(*args)
        return torch.lerp(unconditional(*args), conditional(*args), scale)

    return guided
