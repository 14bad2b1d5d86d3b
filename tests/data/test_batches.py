"""Batches are a pure function of (seed, step)."""

from collections import Counter

import numpy as np
import pytest
import torch

from maquette.core import seeds
from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch
from maquette.data.batches import Batches, held_out
from maquette.data.dataset import Split
from maquette.media.image import Config
from maquette.media.points import Config as PointsConfig

MEDIUM = Config(size=8, channels=3).build()
POINTS = PointsConfig(scale=1.0).build()
AUGMENT = {"flip": 0.5, "crop": 1, "rotate": 5, "colour": 0.2}


def numbered(n: int) -> Split:
    """Points whose first coordinate is their row."""
    return Split(np.stack([np.arange(n), np.zeros(n)], 1).astype(np.float32), np.arange(n) % 7)


def pictures(n: int) -> Split:
    return Split(np.random.default_rng(0).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8), np.arange(n) % 5)


def same(a: Batch, b: Batch) -> bool:
    labels = (a.given.label is None and b.given.label is None) or torch.equal(a.given.label, b.given.label)
    return torch.equal(a.x, b.x) and labels and torch.equal(a.rng.normal(3), b.rng.normal(3))


@pytest.mark.parametrize("batch", [1, 7, 10, 25, 64])
def test_each_epoch_is_a_permutation(batch: int) -> None:
    batches = Batches(numbered(25), POINTS, batch, seed=3)
    steps = -(-4 * 25 // batch)
    rows = torch.cat([batches(step).x[:, 0] for step in range(steps)]).int().tolist()
    epochs = [rows[i : i + 25] for i in range(0, 100, 25)]
    assert all(sorted(epoch) == list(range(25)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert batches.steps_per_epoch == -(-25 // batch)


def test_a_step_is_the_same_whatever_was_asked_before() -> None:
    split = pictures(50)

    def fresh() -> Batches:
        return Batches(split, MEDIUM, 16, seed=1, conditional=True, augment=AUGMENT)

    in_order = [fresh()(step) for step in range(12)]
    used = fresh()
    for step in [11, 0, 5, 5, 9, 1, 10, 3, 11, 2, 8, 4, 7, 6]:
        assert same(used(step), fresh()(step))
    assert all(same(batch, fresh()(step)) for step, batch in enumerate(in_order))
    assert not same(fresh()(0), fresh()(1))


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_together_are_one_process(world: int) -> None:
    def batches(rank: int = 0, world: int = 1) -> Batches:
        return Batches(pictures(30), MEDIUM, 16, 1, True, AUGMENT, rank, world)

    for step in (0, 1, 2, 17):
        whole, parts = batches()(step), [batches(rank, world)(step) for rank in range(world)]
        assert torch.equal(torch.cat([p.x for p in parts]), whole.x)
        assert torch.equal(torch.cat([p.given.label for p in parts]), whole.given.label)  # type: ignore[list-item]
        assert torch.equal(torch.cat([p.rng.normal(4) for p in parts]), whole.rng.normal(4))


def test_seeds_and_streams_differ() -> None:
    def first(seed: int = 0, stream: int = seeds.TRAIN) -> Batch:
        return Batches(numbered(40), POINTS, 8, seed, stream=stream)(0)

    assert not torch.equal(first(0).x, first(1).x)
    assert torch.equal(first().x, first(stream=seeds.SAMPLE).x)
    assert not torch.equal(first().rng.normal(1), first(stream=seeds.SAMPLE).rng.normal(1))


def test_labels_are_given_only_when_asked_for() -> None:
    batch = Batches(numbered(20), POINTS, 20, 0, conditional=True)(0)
    assert batch.given.label is not None
    assert torch.equal(batch.given.label, batch.x[:, 0].long() % 7)
    assert Batches(numbered(20), POINTS, 20, 0)(0).given.label is None


def test_augmentation_takes_its_own_stream_and_leaves_the_rest_alone() -> None:
    split = pictures(20)
    plain, changed = Batches(split, MEDIUM, 10, 5), Batches(split, MEDIUM, 10, 5, augment=AUGMENT)
    uniform = Seeds.for_batch(5, 2, 10, stream=seeds.AUGMENT).uniform(8)
    assert torch.equal(changed(2).x, MEDIUM.augment(plain(2).x, AUGMENT, uniform))
    assert torch.equal(changed(2).rng.normal(3), plain(2).rng.normal(3))


def test_mistakes_are_told_before_training() -> None:
    with pytest.raises(MaquetteError, match="MQ-2009"):
        Batches(numbered(20), POINTS, 9, 0, world=2)
    with pytest.raises(MaquetteError, match="nearest: 'flip'"):
        Batches(pictures(4), MEDIUM, 2, 0, augment={"flipp": 0.5})
    with pytest.raises(MaquetteError, match="MQ-3002"):
        Batches(numbered(0), POINTS, 2, 0)


def test_held_out_is_the_same_rows_and_noise_every_time() -> None:
    split = numbered(50)

    def batches(limit: int = 35, seed: int = 0) -> list[Batch]:
        return list(held_out(split, POINTS, 10, limit, seed, conditional=True))

    assert [len(b) for b in batches()] == [10, 10, 10, 5]
    assert all(same(a, b) for a, b in zip(batches(), batches(), strict=True))
    rows = torch.cat([b.x[:, 0] for b in batches()]).int().tolist()
    assert max(Counter(rows).values()) == 1 and rows != sorted(rows)
    assert sum(map(len, batches(limit=1000))) == 50
    assert not torch.equal(batches(seed=1)[0].x, batches()[0].x)
    assert not torch.equal(batches()[0].rng.normal(2), Batches(split, POINTS, 10, 0)(0).rng.normal(2))
    assert list(held_out(numbered(0), POINTS, 10, 35, 0)) == []
