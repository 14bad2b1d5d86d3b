"""Sound and films that lack a span of time: what a model is given that fills gaps, interpolates frames or goes on."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Real
from maquette.crafts import hiding, lpc
from maquette.crafts.base import FILMS, SOUND, Given, Samples


@dataclass(frozen=True, kw_only=True)
class Config(hiding.HidingConfig):
    """Some time in a row is hidden, of all channels."""

    suits: ClassVar[tuple[int, ...]] = (SOUND, FILMS)

    place: Literal["inside", "end", "between", "still"] = "inside"
    """inside: somewhere, with at least as much known on either side where there is room; end: all that comes after some
    time; of films also between: every other frame; still: all frames but the first."""
    share: tuple[float, float] = (0.05, 0.2)
    """Of the shortest and the longest span, inside or at the end, as shares of the whole."""
    begin: Literal["nothing", "autoregressive"] = "nothing"
    """What a model is given in place of what is hidden; of sound also what an autoregressive process makes of it, for
    the model to better."""

    def __post_init__(self) -> None:
        low, high = self.share
        self.check(0 < low <= high < 1, "share", "two rising shares in (0, 1)")

    def space(self, of: Real) -> Real:
        space = super().space(of)
        if self.place in ("between", "still") and len(of.shape) != FILMS:
            raise self.impossible(of, f"place={self.place} is for films, which have frames")
        if self.begin != "nothing" and len(of.shape) != SOUND:
            raise self.impossible(of, f"begin={self.begin} is for sound")
        if of.shape[1] < 3:
            raise self.impossible(of, "it is too short to have a gap")
        return space

    def take(self, x: Samples, rng: Seeds) -> Given:
        n = x.shape[2]
        low, high = self.share
        length = ((low + (high - low) * rng.fork(0).uniform()) * n).round().clamp(1, n - 2)
        margin = torch.minimum(length, ((n - length) / 2).floor())
        inside = margin + (rng.fork(1).uniform() * (n - length - 2 * margin + 1)).floor()
        first = {"inside": inside, "end": n - length}.get(self.place, torch.ones_like(length))
        last = first + length if self.place in ("inside", "end") else torch.full_like(length, n)
        at = torch.arange(n, device=length.device)
        hidden = (at >= first[:, None]) & (at < last[:, None])
        if self.place == "between":
            hidden &= at % 2 == 1
        return self._hide(x, hidden)

    def brought(self, of: Real) -> Real:
        """A picture where all comes after the first frame; else all of it, with what is to be made anew."""
        of = super().brought(of)
        return replace(of, shape=(of.shape[0], *of.shape[2:])) if self.place == "still" else of

    def bring(self, sample: Samples, of: Real, hidden: Bool[Tensor, "1 1 *holes"] | None = None) -> Given:
        if self.place in ("between", "still"):  # which frames are missing is clear, and a gap refused
            sample = super().bring(sample, of, hidden)
        elif hidden is not None:
            return self._begun(hiding.hide(sample, hidden.to(sample).expand(len(sample), 1, *sample.shape[2:])))
        elif self.place == "inside":
            raise MaquetteError("MQ-2105", first="image", second="gap")
        if self.place == "still":
            sample = sample[:, :, None].expand(-1, -1, *of.shape[1:])
        longest = replace(self, share=(self.share[1], self.share[1]))
        return longest.take(sample, Seeds.for_samples(0, len(sample)))

    def shown(self, given: Given, of: Real) -> Samples:
        return super().shown(hiding.hide(given[:, :-1], given[:, -1:]), of)

    def simpler(self, given: Given, of: Real) -> dict[str, Samples]:
        given = hiding.hide(given[:, :-1], given[:, -1:])
        if len(of.shape) == SOUND:
            return _of_sound(given)
        frames = {"last frame repeated": hiding.held(given)}
        after = bool((given[:, -1, -1] > 0.5).all())  # nothing is known after what is hidden
        return frames if after and self.place != "between" else {"frame averaging": hiding.bridged(given), **frames}

    def _hide(self, x: Samples, hidden: Bool[Tensor, "b n"]) -> Given:
        hidden = hidden.view(len(x), 1, -1, *[1] * (x.ndim - 3))
        return self._begun(hiding.hide(x, hidden.to(x).expand(-1, -1, *x.shape[2:])))

    def _begun(self, given: Given) -> Given:
        """`given` with what a model begins from in place of what is hidden."""
        return given if self.begin == "nothing" else torch.cat([_process(given), given[:, -1:]], 1)


def _process(given: Given) -> Samples:
    """Sound whose hidden samples are those of an autoregressive process, which runs on where nothing is known after."""
    found = torch.stack([_predicted(row) for row in given.double().cpu()]).to(given).clamp(-1, 1)
    return hiding.keep_known(found, given)


def _of_sound(given: Given) -> dict[str, Samples]:
    """A straight line and an autoregressive process; at the end, where both come to rest, silence and the process."""
    after = bool((given[:, -1, -1] > 0.5).all())
    found = _process(given)
    if after:
        return {"silence": given[:, :-1], "autoregressive continuation": found}
    return {"linear interpolation": hiding.bridged(given), "autoregressive interpolation": found}


def _predicted(row: Tensor) -> Tensor:
    """Run across what is hidden, or run on from what is known where nothing is known after it."""
    channels, gone = row[:-1].numpy(), row[-1].numpy() > 0.5
    known = int(gone.argmax())
    if not gone[known:].all():
        return torch.from_numpy(np.stack([lpc.across(channel, gone) for channel in channels]))
    made = [np.append(channel[:known], lpc.onward(channel[:known], len(gone) - known)) for channel in channels]
    return torch.from_numpy(np.stack(made))
