"""Codes computed once: what batches give is what the codec would say, and nothing is said twice."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maquette.codecs.base import Codec, Identity
from maquette.codecs.quantise import Quantise
from maquette.core import files
from maquette.core.types import Real, Tokens
from maquette.data.batches import Batches, held_out
from maquette.data.codes import encoded, stored
from maquette.data.dataset import Dataset, Split
from maquette.media.image import Config

MEDIUM = Config(size=8).build()
CPU = torch.device("cpu")


class Counting(Codec):
    """The mean of each quarter, as reals or as one of 300 tokens; counts the rows that it has encoded."""

    source = MEDIUM.space

    def __init__(self, tokens: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()), requires_grad=False)
        self.tokens, self.rows = tokens, 0
        self.space = Tokens((2, 2), 300) if tokens else Real((1, 2, 2))

    def encode(self, x: Tensor) -> Tensor:
        self.rows += len(x)
        z = nn.functional.avg_pool2d(x, 4) * self.weight
        return ((z[:, 0] + 1) * 149.5).long() if self.tokens else z

    def decode(self, z: Tensor) -> Tensor:
        raise AssertionError("codes are only computed here, never decoded")


def dataset(seed: int = 0, train: int = 100, test: int = 10) -> Dataset:
    draw = np.random.default_rng(seed)
    splits = [
        Split(draw.integers(256, size=(n, 8, 8, 1), dtype=np.uint8), np.full(n, -1, np.int64)) for n in (train, test)
    ]
    return Dataset(
        train=splits[0], test=splits[1], classes=[], fingerprint=f"{seed:064d}", licence="", bad=[], ignored={}
    )


@pytest.mark.parametrize("tokens", [False, True])
def test_batches_of_stored_codes_are_those_of_encoding_each_time(tokens: bool) -> None:
    codec, data = Counting(tokens), dataset(int(tokens))
    once = encoded(data, MEDIUM, codec, "a codec", CPU)
    assert codec.rows == 110 and once.train.codes is not None and once.train.codes.dtype == stored(codec.space)
    for step in (0, 3):
        kept, fresh = (Batches(d.train, MEDIUM, 16, 0, codec=codec)(step).x for d in (once, data))
        assert torch.equal(kept, fresh) and kept.dtype == fresh.dtype
    kept, fresh = (list(held_out(d.test, MEDIUM, 4, 10, 0, codec=codec)) for d in (once, data))
    assert all(torch.equal(a.x, b.x) for a, b in zip(kept, fresh, strict=True)) and len(kept) == 3


def test_codes_are_computed_once_for_each_codec_and_data() -> None:
    codec = Counting()
    for data, key, rows in (
        (dataset(2), "x", 110),
        (dataset(2), "x", 110),
        (dataset(2), "y", 220),
        (dataset(3), "x", 330),
    ):
        encoded(data, MEDIUM, codec, key, CPU)
        assert codec.rows == rows


def test_damaged_codes_are_computed_again() -> None:
    codec, data = Counting(), dataset(4)
    good = np.array(encoded(data, MEDIUM, codec, "z", CPU).train.codes)
    (folder,) = (p for p in files.cache_folder().glob("codes-*") if (p / "train.codes").read_bytes() == good.tobytes())
    changed = bytearray((folder / "train.codes").read_bytes())
    changed[5] ^= 1
    (folder / "train.codes").write_bytes(changed)
    again = encoded(data, MEDIUM, codec, "z", CPU).train.codes
    assert codec.rows == 220 and again is not None and np.array_equal(again, good)


def test_an_empty_split_has_no_codes() -> None:
    once = encoded(dataset(5, test=0), MEDIUM, Counting(), "e", CPU)
    assert once.test.codes is not None and once.test.codes.shape == (0, 1, 2, 2)


@pytest.mark.parametrize("codec", [Identity(MEDIUM.space), Quantise(MEDIUM.space)])
def test_codecs_without_weights_are_not_stored(codec: Codec) -> None:
    data = dataset(6)
    assert encoded(data, MEDIUM, codec, "q", CPU) is data
    x, z = (Batches(data.train, MEDIUM, 4, 0, codec=between)(0).x for between in (None, codec))
    assert torch.equal(codec.encode(x), z)
    assert np.array_equal(MEDIUM.from_tensor(codec.decode(z)), MEDIUM.from_tensor(x))


def test_what_is_augmented_is_encoded_after_it() -> None:
    codec, data = Counting(), dataset(7)
    flipped = {"flip": 1.0}
    x = Batches(data.train, MEDIUM, 8, 0, augment=flipped)(0).x
    z = Batches(data.train, MEDIUM, 8, 0, augment=flipped, codec=codec)(0).x
    assert torch.equal(z, Counting().encode(x))
    assert not torch.equal(z, Batches(data.train, MEDIUM, 8, 0, codec=codec)(0).x)
