"""What crafts share that hide a part of the picture: how it is told, what stays, how it is filled without a model.

What is given has one channel more than the picture: 1 where pixels are hidden, which are 0 in all others.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from maquette.crafts.base import Given, Pictures

Hidden = Float[Tensor, "b 1 h w"]


def hide(x: Pictures, hidden: Hidden) -> Given:
    return torch.cat([x * (1 - hidden), hidden], dim=1)


def keep_known(made: Pictures, given: Given) -> Pictures:
    return torch.where(given[:, -1:] > 0.5, made, given[:, :-1].to(made.dtype))


def fills(given: Given) -> dict[str, Pictures]:
    """The mean of what is known of each picture, and the surface that bends least (biharmonic)."""
    known, shown = given[:, :-1], 1 - given[:, -1:]
    mean = (known * shown).sum((2, 3), keepdim=True) / shown.sum((2, 3), keepdim=True).clamp(min=1)
    smooth = torch.stack([biharmonic(row[:-1], row[-1] > 0.5) for row in given.double().cpu()])
    return {
        "mean fill": keep_known(mean.expand_as(known), given),
        "biharmonic fill": smooth.to(given).clamp(-1, 1),
    }


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
