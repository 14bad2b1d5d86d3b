"""The Fréchet distance of 10,000 against 10,000 features of 2,048 dimensions: from features to the number."""

import numpy as np
import torch

from benchmarks.peers import torchvision_stand_in

TITLE = "Fréchet distance, 2,048 dimensions, 10,000 against 10,000"
UNIT = "distances"
PAIRS = [("maquette", "torch-fidelity", 2.0), ("maquette", "scipy sqrtm", 2.0)]
N, D = 10_000, 2_048


def features() -> tuple[torch.Tensor, torch.Tensor]:
    """Two sets like an Inception network's: non-negative, correlated, of unequal scales."""
    g = torch.Generator().manual_seed(0)
    mixing = torch.randn(D, D, generator=g) * torch.logspace(0, -2, D)[:, None] / D**0.5
    real, made = (torch.relu(torch.randn(N, D, generator=g) @ mixing + shift) for shift in (0.0, 0.02))
    return real, made


def _contestant(distance, real, made):
    value = []

    def work() -> int:
        value[:] = [distance(real, made)]
        return 1

    work()
    return work, {"value": float(value[0])}


def maquette():
    from maquette.core.devices import pick_device
    from maquette.evaluate.scores.frechet import Moments, frechet_distance

    pick_device("cpu")  # as every verb does first
    return _contestant(lambda real, made: frechet_distance(Moments.of(real), Moments.of(made)), *features())


def fidelity():
    with torchvision_stand_in():  # the package imports it; these functions do not use it
        from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    def distance(real, made):
        statistics = [fid_features_to_statistics(x) for x in (real, made)]
        return next(iter(fid_statistics_to_metric(*statistics, verbose=False).values()))

    return _contestant(distance, *features())


def scipy():
    import scipy.linalg

    def distance(real, made):
        (m1, s1), (m2, s2) = ((x.mean(0), np.cov(x, rowvar=False)) for x in (real, made))
        root = scipy.linalg.sqrtm(s1 @ s2).real
        return ((m1 - m2) ** 2).sum() + np.trace(s1 + s2 - 2 * root)

    return _contestant(distance, *(x.double().numpy() for x in features()))


CONTESTANTS = {"maquette": maquette, "torch-fidelity": fidelity, "scipy sqrtm": scipy}
