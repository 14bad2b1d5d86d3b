"""Nearest training items: the search itself, and copies that were planted."""

import numpy as np
import pytest
import torch

from maquette.evaluate import neighbours
from maquette.evaluate.neighbours import near_copies, nearest, pixels
from maquette.media import image
from tests.evaluate.made import SMALL, digits


@pytest.mark.parametrize("k", [1, 4])
def test_nearest_over_blocks_is_the_nearest_of_all(k: int) -> None:
    draw = torch.Generator().manual_seed(0)
    queries, searched = torch.randn(20, 6, generator=draw), torch.randn(101, 6, generator=draw)
    found = nearest(queries, iter(searched.split(30)), k)
    expected = torch.cdist(queries, searched).square().sort(1)
    assert torch.equal(found.rows, expected.indices[:, :k])
    torch.testing.assert_close(found.distances, expected.values[:, :k], rtol=1e-4, atol=1e-5)


def test_fewer_items_than_neighbours() -> None:
    found = nearest(torch.zeros(2, 3), iter([torch.ones(2, 3)]), 5)
    assert found.rows.shape == (2, 2)


def test_large_pictures_are_averaged_down() -> None:
    medium = image.Config(size=96, channels=3).build()
    items = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    assert pixels(items, medium).shape == (2, 3 * 32 * 32)


def test_planted_copies_are_counted_and_unseen_items_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the made samples are training items with a little noise on them, the other half unseen items."""
    monkeypatch.setattr(neighbours, "BLOCK", 300)
    medium, train, test = SMALL.build(), digits().train.items, digits().test.items
    noisy = train[:50].astype(int) + np.random.default_rng(0).integers(-4, 5, train[:50].shape)
    copies, unseen = np.clip(noisy, 0, 255).astype(np.uint8), test[:50]
    measure = test[50:]
    assert near_copies(unseen, train, measure, medium).value <= 0.06
    half = near_copies(np.concatenate([copies, unseen]), train, measure, medium)
    assert half.value == pytest.approx(0.5, abs=0.03)
    assert half.low is not None and 0.35 < half.low < half.value


@pytest.mark.parametrize("levels", [8, 16])
def test_behind_a_codec_all_have_lost_as_much(levels: int) -> None:
    """A coarse codec: 2 x 2 pixels become one of a few greys. What it leaves of training items are copies, of unseen
    ones about one in a hundred; held against items as they were, none would be."""

    def left(items: np.ndarray) -> np.ndarray:
        small = items.reshape(-1, 4, 2, 4, 2, 1).mean((2, 4))
        coarse = np.rint(small / 255 * (levels - 1)) * (255 / (levels - 1))
        return coarse.astype(np.uint8).repeat(2, 1).repeat(2, 2)

    medium, train, test = SMALL.build(), digits().train.items, digits().test.items
    learnt, unseen, measure = left(np.asarray(train[:100])), left(np.asarray(test[:150])), np.asarray(test[150:])
    assert near_copies(learnt, train, measure, medium, left).value == 1
    assert near_copies(unseen, train, measure, medium, left).value < 0.1
    assert near_copies(learnt, train, measure, medium).value < 0.1


def test_a_model_that_has_memorised_is_caught() -> None:
    """It draws training items by heart, each a little darker or lighter and with noise; one that draws unseen items
    does the same to these and is not."""

    class Memory:
        def __init__(self, items: np.ndarray):
            self.items = items

        def draw(self, n: int) -> np.ndarray:
            rng = np.random.default_rng(0)
            made = self.items[rng.permutation(len(self.items))[:n]] * rng.uniform(0.95, 1.05, (n, 1, 1, 1))
            return np.clip(np.rint(made + rng.normal(0, 4, made.shape)), 0, 255).astype(np.uint8)

    medium, train, test = SMALL.build(), digits().train.items, digits().test.items
    caught, passed = (near_copies(Memory(known).draw(100), train, test[150:], medium) for known in (train, test[:150]))
    assert caught.low is not None and caught.low > 0.9
    assert passed.low is not None and passed.low <= neighbours.EXPECTED and passed.value < 0.1
