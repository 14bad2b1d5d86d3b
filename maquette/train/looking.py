"""Looking at what has been learnt so far, always through the averaged weights and never touching what is learnt."""

import dataclasses
import math
from collections.abc import Iterable

import torch
from torch import Tensor

from maquette.codecs.base import Codes
from maquette.core import devices
from maquette.core.devices import Precision
from maquette.core.seeds import Seeds
from maquette.core.sequences import counted
from maquette.core.types import Batch, Given, Likelihood, Sampling, Tokens
from maquette.media.base import Medium
from maquette.models.base import Model

_TOGETHER = 64
"""Samples drawn in one batch."""


@torch.no_grad()
def draw(
    model: Model,
    n: int,
    seed: int,
    device: torch.device,
    precision: Precision = "fp32",
    how: Sampling = Sampling(),
    along: Given = Given(),
) -> Tensor:
    """Samples [n, *space] on the CPU; sample i has label i (modulo the classes) and the noise of seed + i.

    Args:
        along: pictures and captions of at least one row; sample i has those of row i, over and over, and their label.
    """
    made = []
    own = model.classes and (along.image is not None or along.text is not None)
    given = dataclasses.replace(along, label=along.label if own else None)
    rows = next((len(part) for part in vars(given).values() if part is not None), 0)
    for first in range(0, n, _TOGETHER):
        size = min(_TOGETHER, n - first)
        rng = Seeds.for_samples(seed, size, first, device)
        index = torch.arange(first, first + size)
        told = given.picked(index % rows).to(device) if rows else given
        if told.label is None and model.classes:
            told = dataclasses.replace(told, label=(index % model.classes).to(device))
        with devices.autocast(device, precision):
            predict = model.predictor(model.condition(told, size))
            x = model.draw(predict, model.start(size, how, rng), how, rng)
        made.append(x.cpu() if isinstance(model.space, Tokens) else x.float().cpu())
    return torch.cat(made)


def validate(
    model: Model, measure: Medium | Codes, batches: Iterable[Batch], device: torch.device, precision: Precision
) -> dict[str, float]:
    """Mean held-out loss and statistics of each player's first turn; `nats` and bits per unit of a likelihood, and of
    text the perplexity of a token.

    The model is in eval mode and frozen, so no graph is kept, except by losses that need gradients by the samples.

    Args:
        measure: says what bits are counted per.
    """
    rows: dict[str, list[Tensor]] = {}
    sizes, units, tokens, space = [], 0.0, 0, model.space
    first = {turn.player: turn for turn in reversed(model.turns())}
    for batch in batches:
        sizes.append(len(batch))
        units += float(measure.units(batch.x).sum())
        if isinstance(space, Tokens) and space.marks:
            tokens += int(counted(batch.x, space).sum())
        for number, turn in enumerate(first.values()):
            with devices.autocast(device, precision):
                loss, stats = turn.loss(Batch(batch.x, batch.given, batch.rng.fork(number)), 1.0)
            for name, value in {"loss": loss, **stats}.items():
                rows.setdefault(f"{turn.player}.{name}", []).append(value.detach().float())
        if isinstance(model, Likelihood):
            with torch.no_grad():
                nats = model.nll(Batch(batch.x, batch.given, batch.rng.fork(len(first))))
            rows.setdefault("nats", []).append(nats.float().mean())
    if not sizes:
        return {}
    share = torch.tensor(sizes, dtype=torch.float64) / sum(sizes)
    means = {name: float(torch.stack(values).double().cpu() @ share) for name, values in rows.items()}
    if "nats" in means and (isinstance(space, Tokens) or space.levels):
        means[f"bits_per_{measure.unit}"] = means["nats"] * sum(sizes) / (max(units, 1.0) * math.log(2))
    if "nats" in means and tokens:
        means["perplexity"] = math.exp(min(means["nats"] * sum(sizes) / tokens, 700.0))  # more is no longer a number
    return means
