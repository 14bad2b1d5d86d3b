"""How bright a colour is."""

from jaxtyping import Float
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in the brightness that is seen (ITU-R BT.601), as where files of colour are read as
grey."""


def luma(x: Float[Tensor, "b 3 *space"]) -> Float[Tensor, "b 1 *space"]:
    """How bright each pixel is."""
    weights = x.new_tensor(LUMA).reshape(1, 3, *[1] * (x.ndim - 2))
    return (x * weights).sum(1, keepdim=True)
