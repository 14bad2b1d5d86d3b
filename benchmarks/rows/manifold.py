"""Precision, recall, density and coverage of 10,000 against 10,000 features of 2,048 dimensions, 5 neighbours."""

from benchmarks.rows.frechet import _contestant, features

TITLE = "precision, recall, density, coverage, 10,000 against 10,000"
UNIT = "sets of four"
PAIRS = [("maquette", "prdc", 2.4)]


def maquette():
    from maquette.core.devices import pick_device
    from maquette.evaluate.scores.prdc import prdc

    pick_device("cpu")  # as every verb does first
    return _contestant(lambda real, made: prdc(real, made, k=5).coverage.value, *features())


def peer():
    from prdc import compute_prdc

    def coverage(real, made):
        return compute_prdc(real_features=real, fake_features=made, nearest_k=5)["coverage"]

    return _contestant(coverage, *(x.numpy() for x in features()))


CONTESTANTS = {"maquette": maquette, "prdc": peer}
