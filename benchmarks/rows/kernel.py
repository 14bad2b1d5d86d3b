"""KID of 10,000 against 10,000 features of 2,048 dimensions.

torch-fidelity takes the mean of 100 random subsets of 1,000; Maquette takes every pair once, with an interval.
"""

from benchmarks.peers import torchvision_stand_in
from benchmarks.rows.frechet import _contestant, features

TITLE = "KID, 2,048 dimensions, 10,000 against 10,000"
UNIT = "distances"
PAIRS = [("maquette", "torch-fidelity", 2.0)]


def maquette():
    from maquette.core.devices import pick_device
    from maquette.evaluate.scores.kernel import kernel_distance

    pick_device("cpu")  # as every verb does first
    return _contestant(lambda real, made: kernel_distance(real, made).value, *features())


def fidelity():
    with torchvision_stand_in():  # the package imports it; these functions do not use it
        from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

    def distance(real, made):
        return kid_features_to_metric(real, made, kid_subsets=100, kid_subset_size=1000, verbose=False)[
            KEY_METRIC_KID_MEAN
        ]

    return _contestant(distance, *features())


CONTESTANTS = {"maquette": maquette, "torch-fidelity": fidelity}
