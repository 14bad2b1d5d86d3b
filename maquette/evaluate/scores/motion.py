"""How films change from frame to frame: as much as real ones, and where originals do."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from maquette.evaluate.scores.intervals import Estimate, group_slices, jackknife, of_mean

PER_FILM = "95 %, Student's t over films"
Films = Float[Tensor, "b c f h w"]


def changes(x: Films) -> Float[Tensor, " b"]:
    """The mean absolute difference of neighbouring frames of each film."""
    return x.diff(dim=2).abs().mean((1, 2, 3, 4))


def flicker(real: Float[Tensor, " n"], made: Float[Tensor, " m"]) -> Estimate:
    """How far the mean of the `changes` of made films is from that of real ones, as a share of it: 0 for equal means, 1
    for films that stand still, more for such as flicker."""
    usual, own = float(real.double().mean()), made.double().tolist()

    def apart(kept: Sequence[float]) -> float:
        return abs(sum(kept) / len(kept) / usual - 1) if usual else float("nan")

    without = [own[: rows.start] + own[rows.stop :] for rows in group_slices(len(own))]
    return jackknife(apart(own), [apart(kept) for kept in without])


def motion_error(originals: Films, copies: Films) -> Estimate:
    """The mean absolute difference of what changes from frame to frame, over films; black to white is 2."""
    return of_mean(changes(originals - copies).tolist(), PER_FILM)
