"""One model of several that began from the same weights: federated averaging, w <- sum_k (n_k / n) w_k.

McMahan et al. 2016, "Communication-Efficient Learning of Deep Networks from Decentralized Data", Algorithm 1. Each
client trains from the last average on data that stay where they are (`maquette train --from`); a bundle leaves it.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maquette import __version__
from maquette.bundle import Bundle, differing, find_bundle, made_for, read_bundle, save_bundle
from maquette.core.errors import MaquetteError, shown
from maquette.verbs.train import free_folder


def average(
    models: Sequence[Path | str], out: Path | str | None = None, weights: Sequence[int | float] | None = None
) -> Path:
    """A bundle whose weights are the mean of those of `models`; returns its folder.

    Its card counts the items of all, so that averages can be averaged in their turn.

    Args:
        models: runs or bundles of one model, medium, codec and set of labels, begun from the same weights.
        out: by default `bundles/average`, numbered when that is taken.
        weights: one positive number n_k for each; by default how many training items its card says it learnt from.

    Raises:
        MaquetteError: MQ-7042 models that differ, MQ-2118 a card without items where no weights are given, MQ-2002
            weights that are not one positive number for each, MQ-5005 when `out` is there already, and what
            `find_bundle` and `read_bundle` raise.
    """
    target = free_folder(Path("bundles"), "average") if out is None else Path(out)
    if target.exists():
        raise MaquetteError("MQ-5005", str(target))
    bundles = [read_bundle(find_bundle(path)) for path in models]
    if not bundles:
        raise MaquetteError("MQ-2002", path="models", wanted="at least one run or bundle", value="none")
    first = bundles[0]
    for path, bundle in zip(models, bundles, strict=True):
        if names := differing(_facts(first), _facts(bundle)):
            raise MaquetteError("MQ-7042", str(path), first=models[0], differing=", ".join(names))
    counts = _counts(models, bundles, weights)
    total = math.fsum(counts)
    mean = weighted_mean([bundle.weights for bundle in bundles], [n / total for n in counts])
    parts = first.medium_config, first.model_config, first.classes, mean
    save_bundle(target, *parts, _card(target.name, bundles, counts), first.coding, first.along)
    return target


def weighted_mean(states: Sequence[Mapping[str, Tensor]], shares: Sequence[float]) -> dict[str, Tensor]:
    """sum_k shares[k] states[k], in double precision; the shares sum to 1.

    Whole numbers are counts (how many batches a normalisation has seen), and the largest is kept: it changes nothing
    that a model computes, and there is no such thing as 2.5 batches.
    """

    def mean(parts: list[Tensor]) -> Tensor:
        if not parts[0].is_floating_point():
            return torch.stack(parts).amax(0)
        total = torch.zeros_like(parts[0], dtype=torch.float64)
        for part, share in zip(parts, shares, strict=True):
            total.add_(part, alpha=share)
        return total.to(parts[0].dtype)

    return {name: mean([state[name] for state in states]) for name in states[0]}


def _facts(bundle: Bundle) -> dict[str, Any]:
    """What must be the same for two models' weights to mean the same, number by number."""
    model = {f"model.{name}": value for name, value in bundle.model_config.to_tree().items()}
    return model | made_for(bundle.medium_config, bundle.classes, bundle.coding, bundle.along)


def _counts(
    models: Sequence[Path | str], bundles: list[Bundle], weights: Sequence[int | float] | None
) -> list[int | float]:
    """n_k of each."""
    if weights is None:
        for path, bundle in zip(models, bundles, strict=True):
            if not _positive(bundle.card.get("items")):
                raise MaquetteError(
                    "MQ-2118", str(path), what="items", todo="give --weights, one number for each model"
                )
        return [bundle.card["items"] for bundle in bundles]
    if len(weights) != len(bundles) or not all(map(_positive, weights)):
        wanted = f"one positive number for each of {len(bundles)} models"
        raise MaquetteError("MQ-2002", path="--weights", wanted=wanted, value=shown(list(weights), 60))
    return list(weights)


def _positive(n: Any) -> bool:
    return isinstance(n, int | float) and not isinstance(n, bool) and 0 < n < 2**53


def _card(name: str, bundles: list[Bundle], counts: list[int | float]) -> dict[str, Any]:
    """What is known of the whole: n = sum n_k, and by hash which weights were averaged."""

    def said(key: str) -> str:
        return ", ".join(dict.fromkeys(str(bundle.card.get(key, "not stated")) for bundle in bundles))

    averaged = [f"{n:g} x {bundle.digest}" for n, bundle in zip(counts, bundles, strict=True)]
    card = {"name": name, "data": said("data"), "licence": said("licence"), "items": sum(counts)}
    codec = {key: value for key, value in bundles[0].card.items() if key in ("codec", "codec_sha256")}
    return card | codec | {"maquette": __version__, "averaged": averaged}
