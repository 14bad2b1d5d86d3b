"""Style transfer by optimisation over the picture (Gatys et al. 2016): nothing is learnt but the picture itself.

    content:  1/2 sum (F - P)^2                          F, P: maps of the picture and of the content, one layer
    style:    sum over layers of w / (4 N^2 M^2) sum (G - A)^2,    G = F F^T of N maps of M places: the Gram matrix
    total:    content + strength * style                 (equations 1, 3-7)

Each layer's maps are first brought to a mean square of 1 over content and style, so that a strength means about the
same with any network of features.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from maquette.core import cancel

Maps = Float[Tensor, "b n h w"]
Features = Callable[[Tensor], Sequence[Tensor]]
"""A picture [b, c, h, w] -> its maps in several layers, from the first to the deepest."""
RATE = 0.05
"""How far a pixel may go in the first step; from black to white it is 2."""


class Losses(NamedTuple):
    """What is lowered; both are 0 for a content that is its own style."""

    content: Float[Tensor, ""]
    style: Float[Tensor, ""]


def gram(maps: Maps) -> Float[Tensor, "b n n"]:
    """F F^T: how often two features stand at the same place, summed over places."""
    flat = maps.flatten(2)
    return flat @ flat.mT


def losses(maps: Sequence[Tensor], content: Sequence[Tensor], style: Sequence[Tensor], layer: int) -> Losses:
    """Of a picture with `maps`: its distance from the maps of `content` in one `layer`, and from the Gram matrices of
    `style` in all of them, each layer with the same weight."""
    apart = (maps[layer] - content[layer]).square().sum() / 2
    unlike = maps[0].new_zeros(())
    for own, wanted in zip(maps, style, strict=True):
        n, m = own.shape[1], own.shape[2] * own.shape[3]
        other = gram(wanted) * (m / (wanted.shape[2] * wanted.shape[3]))  # a style picture may have another size
        unlike = unlike + (gram(own) - other).square().sum() / (4 * n**2 * m**2)
    return Losses(apart, unlike / len(maps))


def stylise(
    content: Float[Tensor, "1 c h w"],
    style: Float[Tensor, "1 c h2 w2"],
    features: Features,
    strength: float = 1e3,
    steps: int = 200,
    layer: int = -1,
    say: Callable[[int, Losses], None] = lambda step, losses: None,
) -> Float[Tensor, "1 c h w"]:
    """`content` in the manner of `style`, both in [-1, 1], by Adam from the content itself, each step a little shorter.

    The paper takes L-BFGS. That stands still where the content has hardly any features, as the distance between Gram
    matrices bends downwards there.

    Args:
        features: differentiable, and the same at each call.
        layer: whose maps keep the content; the deepest by default.
        say: is told the losses before each step, counted from 1.
    """
    with torch.no_grad():
        layers = list(zip(features(content), features(style), strict=True))
        scales = [((a.square().mean() + b.square().mean()) / 2).clamp(min=1e-12).sqrt() for a, b in layers]
    kept, wanted = ([pair[which] / s for pair, s in zip(layers, scales, strict=True)] for which in (0, 1))
    picture = content.clone().requires_grad_()
    optimiser = torch.optim.Adam([picture], RATE)

    with torch.enable_grad():
        for step in range(steps):
            cancel.check()
            optimiser.param_groups[0]["lr"] = RATE * (1 - step / steps)
            optimiser.zero_grad()
            found = losses([m / s for m, s in zip(features(picture), scales, strict=True)], kept, wanted, layer)
            outside = (picture - picture.clamp(-1, 1)).square().sum()  # clamped values would have no slope
            (found.content + outside + strength * found.style).backward()
            optimiser.step()
            say(step + 1, Losses(*(loss.detach() for loss in found)))
    return picture.detach().clamp(-1, 1)
