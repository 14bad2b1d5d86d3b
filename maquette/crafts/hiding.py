"""What crafts share that hide a part of a sample: how it is told, what stays, how it is filled without a model.

What is given has one channel more than the sample: 1 where something is hidden, which is 0 in all others. Time is the
first axis after the channels.
"""

from abc import ABC
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from maquette.core.types import Real
from maquette.crafts.base import CraftConfig, Given, Samples

Hidden = Float[Tensor, "b 1 *space"]


@dataclass(frozen=True, kw_only=True)
class HidingConfig(CraftConfig, ABC):
    """A craft that hides a part, and tells where."""

    def space(self, of: Real) -> Real:
        c, *sides = super().space(of).shape
        return replace(of, shape=(c + 1, *sides))

    def in_parts(self) -> bool:
        return False

    def brought(self, of: Real) -> Real:
        return super().space(of)

    def unknown(self, given: Given) -> Hidden:
        return given[:, -1:]

    def keep(self, made: Samples, given: Given) -> Samples:
        return keep_known(made, given)


def hide(x: Samples, hidden: Hidden) -> Given:
    return torch.cat([x * (1 - hidden), hidden], dim=1)


def keep_known(made: Samples, given: Given) -> Samples:
    return torch.where(given[:, -1:] > 0.5, made, given[:, : made.shape[1]].to(made.dtype))


def fills(given: Given) -> dict[str, Samples]:
    """The mean of what is known of each picture or film, and the surface that bends least (biharmonic), in each frame
    by itself."""
    known, shown, axes = given[:, :-1], 1 - given[:, -1:], tuple(range(2, given.ndim))
    mean = (known * shown).sum(axes, keepdim=True) / shown.sum(axes, keepdim=True).clamp(min=1)
    smooth = torch.stack([_smooth(row[:-1], row[-1] > 0.5) for row in given.double().cpu()])
    return {
        "mean fill": keep_known(mean.expand_as(known), given),
        "biharmonic fill": smooth.to(given).clamp(-1, 1),
    }


def _smooth(x: Float[Tensor, "c *space"], hidden: Tensor) -> Float[Tensor, "c *space"]:
    if hidden.ndim == 2:
        return biharmonic(x, hidden)
    if bool((hidden == hidden[0]).all()):  # one system of equations for all frames
        return biharmonic(x.flatten(0, 1), hidden[0]).view_as(x)
    return torch.stack([biharmonic(x[:, i], hidden[i]) for i in range(len(hidden))], dim=1)


def bridged(given: Given) -> Samples:
    """What is hidden as a straight line in time from the value known before it to that known after it; where nothing is
    known on one side, the value of the other."""
    (left, before), (right, after) = _known_before(given), _known_after(given)
    left, right = torch.where(before < 0, right, left), torch.where(after < 0, left, right)
    at = _places(given)
    share = torch.where((before < 0) | (after < 0), 0, (at - before) / (after - before).clamp(min=1))
    return keep_known(left + share.to(left) * (right - left), given)


def held(given: Given) -> Samples:
    """What is hidden as what was known last; the first that is known where nothing was before."""
    (left, before), (right, _) = _known_before(given), _known_after(given)
    return keep_known(torch.where(before < 0, right, left), given)


def _places(given: Given) -> Tensor:
    """0, 1, 2 … along time, in a shape that spreads over `given`."""
    return torch.arange(given.shape[2], device=given.device).view(1, 1, -1, *[1] * (given.ndim - 3))


def _known_before(given: Given) -> tuple[Samples, Tensor]:
    """The last value that is known at each place or before it, and where it stands; -1 for none."""
    at = torch.where(given[:, -1:] > 0.5, -1, _places(given)).cummax(2).values
    x = given[:, :-1]
    return x.gather(2, at.clamp(min=0).expand_as(x)), at


def _known_after(given: Given) -> tuple[Samples, Tensor]:
    """The first value that is known at each place or after it, and where it stands; -1 for none."""
    x, at = _known_before(given.flip(2))
    return x.flip(2), torch.where(at < 0, -1, given.shape[2] - 1 - at).flip(2)


def biharmonic(x: Float[Tensor, "c h w"], hidden: Tensor) -> Float[Tensor, "c h w"]:
    """`x` with its `hidden` pixels [h, w] solved for: the sum of squared Laplacians of the whole picture is least, and
    the biharmonic equation holds there (Damelin and Hoang 2018). Beyond the border pixels are repeated."""
    from scipy import sparse
    from scipy.sparse.linalg import spsolve

    bands: Any = sparse  # whose types say less than its functions take

    def second(n: int) -> Any:  # -d^2/du^2 on n pixels in a row, mirrored at both ends
        middle = np.full(n, 2.0)
        middle[[0, -1]] = 1.0 if n > 1 else 0.0
        return bands.diags([middle, np.full(n - 1, -1.0), np.full(n - 1, -1.0)], [0, 1, -1])

    h, w = hidden.shape
    gone = hidden.flatten().numpy()
    if not gone.any() or gone.all():
        return x
    laplacian = (bands.kron(second(h), bands.eye(w)) + bands.kron(bands.eye(h), second(w))).tocsr()
    bending = (laplacian @ laplacian).tocsr()
    rows = bending[gone]
    flat = x.flatten(1).numpy().copy()
    found = spsolve(rows[:, gone].tocsc(), -(rows[:, ~gone] @ flat[:, ~gone].T))
    flat[:, gone] = found.reshape(int(gone.sum()), -1).T
    return torch.from_numpy(flat).view_as(x)
