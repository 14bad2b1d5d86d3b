"""Samples and held-out losses, and that looking leaves no trace."""

import math

import pytest
import torch

from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Given, Likelihood, Real
from maquette.train.looking import draw, validate
from tests.train import tiny

CPU = torch.device("cpu")


class Certain(tiny.Duel, Likelihood):
    """A model that finds every sample as improbable as its first number says."""

    def nll(self, batch: Batch) -> torch.Tensor:
        return batch.x[:, 0]


def batches(*sizes: int) -> list[Batch]:
    rows = [torch.full((n, 2), float(i + 1)) for i, n in enumerate(sizes)]
    return [Batch(x, Given(), Seeds.for_batch(0, i, len(x))) for i, x in enumerate(rows)]


def test_samples_do_not_depend_on_how_many_are_drawn() -> None:
    model = tiny.learner().ema.model
    assert torch.equal(draw(model, 70, 5, CPU)[:10], draw(model, 70, 5, CPU)[:10])
    torch.testing.assert_close(draw(model, 70, 5, CPU)[65:], draw(model, 70, 5, CPU)[65:])
    torch.testing.assert_close(draw(model, 3, 5, CPU), draw(model, 70, 5, CPU)[:3])


def test_means_weigh_batches_by_their_size() -> None:
    torch.manual_seed(0)
    model = Certain(tiny.Config(), Real((2,), levels=256)).eval().requires_grad_(False)
    found = validate(model, tiny.MEDIUM.build(), batches(3, 1), CPU, "fp32")
    assert found["nats"] == pytest.approx(1.25)  # (3 * 1 + 1 * 2) / 4
    assert found["bits_per_dim"] == pytest.approx(1.25 / (2 * math.log(2)))
    assert {"left.loss", "left.size", "right.loss"} <= found.keys() and "left.2.loss" not in found


def test_a_continuum_has_no_bits() -> None:
    model = Certain(tiny.Config(), Real((2,))).eval().requires_grad_(False)
    assert "bits_per_dim" not in validate(model, tiny.MEDIUM.build(), batches(2), CPU, "fp32")


def test_no_held_out_data_gives_nothing() -> None:
    assert validate(tiny.learner().ema.model, tiny.MEDIUM.build(), [], CPU, "fp32") == {}


def test_looking_leaves_no_trace() -> None:
    model = tiny.learner().ema.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    first = validate(model, tiny.MEDIUM.build(), batches(4), CPU, "fp32")
    draw(model, 4, 0, CPU)
    assert validate(model, tiny.MEDIUM.build(), batches(4), CPU, "fp32") == first
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
