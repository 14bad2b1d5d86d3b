"""Sound and films that lack a span of time: what a model is given that fills gaps, interpolates frames or goes on."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Real
from maquette.crafts import hiding, lpc, period
from maquette.crafts.base import FILMS, SOUND, Given, Samples

Way = Callable[[np.ndarray, np.ndarray, int], list[np.ndarray]]
"""(channels [c, n], which samples are gone, rate) -> what they may have been."""


@dataclass(frozen=True, kw_only=True)
class Config(hiding.HidingConfig):
    """Some time in a row is hidden, of all channels."""

    suits: ClassVar[tuple[int, ...]] = (SOUND, FILMS)

    place: Literal["inside", "end", "between", "still"] = "inside"
    """inside: somewhere, with at least as much known on either side where there is room; end: all that comes after some
    time; of films also between: every other frame; still: all frames but the first."""
    share: tuple[float, float] = (0.05, 0.2)
    """Of the shortest and the longest span, inside or at the end, as shares of the whole."""
    rate: int = 8000
    """Of sound, samples per second: that of the medium. It says how far guesses look, and simpler ways."""
    begin: Literal["nothing", "guesses"] = "nothing"
    """What a model is given in place of what is hidden, for it to better; of sound also guesses: what an autoregressive
    process makes of it, and in channels of their own the last period before it and the first after it, again and
    again."""

    def __post_init__(self) -> None:
        low, high = self.share
        self.check(0 < low <= high < 1, "share", "two rising shares in (0, 1)")
        self.check(1000 <= self.rate <= 192_000, "rate", "a whole number from 1000 to 192000")

    def space(self, of: Real) -> Real:
        space = super().space(of)
        if self.place in ("between", "still") and len(of.shape) != FILMS:
            raise self.impossible(of, f"place={self.place} is for films, which have frames")
        if self.begin != "nothing" and len(of.shape) != SOUND:
            raise self.impossible(of, f"begin={self.begin} is for sound")
        if of.shape[1] < 3:
            raise self.impossible(of, "it is too short to have a gap")
        c, *sides = of.shape
        return replace(space, shape=(3 * c + 1, *sides)) if self.begin == "guesses" else space

    def at(self, rate: int, of: Real) -> None:
        if rate and len(of.shape) == SOUND and rate != self.rate:
            reason = f"its guesses and the ways beside it look as far as suits rate {self.rate}"
            raise self.impossible(f"sound of rate {rate}", reason, f"set data.given.rate={rate}")

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

    def identity(self) -> dict[str, Any]:
        tree = super().identity()
        del tree["rate"]  # that of the samples; runs were begun before it was said here
        return tree

    def in_parts(self) -> bool:
        return self.place == "between"

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
        return super().shown(hiding.hide(given[:, : of.shape[0]], given[:, -1:]), of)

    def simpler(self, given: Given, of: Real) -> dict[str, Samples]:
        given = hiding.hide(given[:, : of.shape[0]], given[:, -1:])
        if len(of.shape) == SOUND:
            return _of_sound(given, self.rate)
        frames = {"last frame repeated": hiding.held(given)}
        after = bool((given[:, -1, -1] > 0.5).all())  # nothing is known after what is hidden
        return frames if after and self.place != "between" else {"frame averaging": hiding.bridged(given), **frames}

    def _hide(self, x: Samples, hidden: Bool[Tensor, "b n"]) -> Given:
        hidden = hidden.view(len(x), 1, -1, *[1] * (x.ndim - 3))
        return self._begun(hiding.hide(x, hidden.to(x).expand(-1, -1, *x.shape[2:])))

    def _begun(self, given: Given) -> Float[Tensor, "b more *given"]:
        """`given` with what a model begins from in place of what is hidden."""
        if self.begin == "nothing":
            return given
        guesses = [_filled(given, way, self.rate) for way in (_process, _periods)]
        return torch.cat([*guesses, given[:, -1:]], 1)


def _of_sound(given: Given, rate: int) -> dict[str, Samples]:
    """A straight line and an autoregressive process; at the end, where both come to rest, silence and the process."""
    after = bool((given[:, -1, -1] > 0.5).all())
    found = _filled(given, _process, rate)
    if after:
        return {"silence": given[:, :-1], "autoregressive continuation": found}
    return {"linear interpolation": hiding.bridged(given), "autoregressive interpolation": found}


def _filled(given: Given, way: Way, rate: int) -> Samples:
    """What a `way` makes of each row [c, n], of which some samples [n] are gone, in its place."""
    rows = [way(row[:-1].numpy(), row[-1].numpy() > 0.5, rate) for row in given.double().cpu()]
    found = torch.from_numpy(np.stack([np.stack(row) for row in rows])).to(given).clamp(-1, 1)
    shown = given[:, :-1].repeat(1, found.shape[1] // (given.shape[1] - 1), 1)
    return hiding.keep_known(found, torch.cat([shown, given[:, -1:]], 1))


def _process(row: np.ndarray, gone: np.ndarray, rate: int) -> list[np.ndarray]:
    """An autoregressive process run across what is gone, or run on where nothing is known after it."""
    known = int(gone.argmax())
    if not gone[known:].all():
        return [lpc.across(channel, gone, rate) for channel in row]
    return [np.append(channel[:known], lpc.onward(channel[:known], len(gone) - known, rate)) for channel in row]


def _periods(row: np.ndarray, gone: np.ndarray, rate: int) -> list[np.ndarray]:
    """The last period before what is gone run on, of each channel, and then the first after it run backwards."""
    first, last = int(gone.argmax()), len(gone) - int(gone[::-1].argmax())
    made = np.zeros((2, *row.shape))
    for number, channel in enumerate(row):
        made[0, number, first:last] = period.repeated(channel[:first], last - first, rate)
        made[1, number, first:last] = period.repeated(channel[last:][::-1], last - first, rate)[::-1]
    return list(made.reshape(-1, row.shape[1]))
