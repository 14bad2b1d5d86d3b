"""Looking inside a model that makes pictures: where a critic looks, and what each axis of a code changes.

Saliency is the gradient of the critic's score by the pixels (Simonyan et al. 2013), averaged over noisy copies of the
picture so that it is not torn to pieces (SmoothGrad, Smilkov et al. 2017). An axis of the code counts for as much as
samples change when it alone is moved; the axes of most effect are those worth a row on a sheet.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from maquette.core import cancel
from maquette.core.seeds import Seeds
from maquette.core.types import Predictor

LOOKS = 16
"""Noisy copies of each picture."""
NOISE = 0.15
"""Their noise, as a share of the picture's range (Smilkov et al. 2017, figure 3: 10 to 20 %)."""


def saliency(
    score: Callable[[Tensor], Float[Tensor, " b"]], x: Float[Tensor, "b c h w"], rng: Seeds
) -> Float[Tensor, "b h w"]:
    """How much each pixel of each picture moves its score: the largest of its channels, 1 at the picture's largest."""
    total = torch.zeros_like(x)
    reach = NOISE * (x.flatten(1).amax(1) - x.flatten(1).amin(1))[:, None, None, None]
    for look in range(LOOKS):
        cancel.check()
        with torch.enable_grad():
            seen = (x + reach * rng.fork(look).normal(*x.shape[1:])).requires_grad_()
            total += torch.autograd.grad(score(seen).sum(), seen)[0]
    map = total.abs().amax(1)
    return map / map.amax((1, 2), keepdim=True).clamp(min=1e-12)


@torch.no_grad()
def axis_effects(
    predict: Predictor, z: Float[Tensor, "b d"], step: float = 1.0, reach: float = float("inf")
) -> Float[Tensor, " d"]:
    """How far a `step` along each axis of the code changes samples: the root mean square over samples and pixels.

    Args:
        predict: codes -> samples, as of a model that draws in one call.
        step: how far an axis is moved each way: the standard deviation of the code.
        reach: codes are moved between -reach and reach, where codes lie.
    """
    effects = []
    for axis in range(z.shape[1]):
        cancel.check()
        more, less = z.clone(), z.clone()
        here = z[:, axis].clamp(-reach, reach)
        more[:, axis], less[:, axis] = (here + step).clamp(max=reach), (here - step).clamp(min=-reach)
        share = step / (more[:, axis] - less[:, axis])
        change = (predict(more) - predict(less)).float().flatten(1) * share[:, None]
        effects.append(change.square().mean().sqrt())
    return torch.stack(effects)


@torch.no_grad()
def traversal(
    predict: Predictor, z: Float[Tensor, "1 d"], axes: Int[Tensor, " k"], reach: float = 3.0, columns: int = 7
) -> Float[Tensor, "n *space"]:
    """Samples row by row: for each of `axes` the code `z` with that axis moved from -reach to reach."""
    codes = z.repeat(len(axes) * columns, 1)
    for row, axis in enumerate(axes.tolist()):
        codes[row * columns : (row + 1) * columns, axis] = torch.linspace(-reach, reach, columns, device=z.device)
    return predict(codes)
