"""Counter-based randomness: every draw is a function of (seed, stream, step, sample, how many drawn before).

Nothing here has state that a checkpoint would need. In training, the rows of a batch are rows of one draw for the
whole global batch, so accumulation and several ranks see the noise that one process would have seen. In sampling,
row i belongs to seed + i alone, so a sample does not depend on the batch it was drawn in.
"""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

TRAIN, VALIDATE, SAMPLE, DATA, AUGMENT, BUILD, GIVEN, NOISE = range(8)
"""Streams: draws of one never coincide with draws of another."""


def mix(*numbers: int) -> int:
    """One well-spread 63-bit seed from whole numbers.

    >>> mix(0, 1) != mix(1, 0)
    True
    """
    digest = hashlib.blake2b(",".join(map(str, numbers)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*numbers: int) -> np.random.Generator:
    """One that begins from 128 bits of `numbers`, for what nobody may guess: torch's own on a CPU begins from 32."""
    digest = hashlib.blake2b(",".join(map(str, numbers)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


class Seeds:
    """A source of random tensors with one row per sample.

    Build one with `for_batch` (training, validation) or `for_samples` (sampling). Shapes given to the draws leave
    out the batch axis.
    """

    def __init__(self, keys: list[int], each: bool, first: int, n: int, total: int, device: torch.device | str):
        self._keys, self._each, self._first, self._n, self._total = keys, each, first, n, total
        self.device = torch.device(device)
        self._drawn = 0
        self._generators: list[torch.Generator] = []

    @classmethod
    def for_batch(
        cls,
        seed: int,
        step: int,
        n: int,
        first: int = 0,
        total: int | None = None,
        stream: int = TRAIN,
        device: torch.device | str = "cpu",
    ) -> "Seeds":
        """Rows `first` to `first + n` of the global batch of `step`, which has `total` rows (default: first + n)."""
        return cls([mix(seed, stream, step)], False, first, n, total or first + n, device)

    @classmethod
    def for_samples(cls, seed: int, n: int, first: int = 0, device: torch.device | str = "cpu") -> "Seeds":
        """Samples `first` to `first + n` of a request; sample i depends on seed + i and nothing else."""
        return cls.for_seeds(range(seed + first, seed + first + n), device)

    @classmethod
    def for_seeds(cls, seeds: Sequence[int], device: torch.device | str = "cpu") -> "Seeds":
        """One sample for each of `seeds`, in any order; equal seeds give equal rows."""
        return cls([mix(seed, SAMPLE) for seed in seeds], True, 0, len(seeds), len(seeds), device)

    def __len__(self) -> int:
        return self._n

    def rows(self, start: int, n: int) -> "Seeds":
        """The same source cut to `n` rows from `start`, at its beginning."""
        keys = self._keys[start : start + n] if self._each else self._keys
        return Seeds(keys, self._each, self._first + start, n, self._total, self.device)

    def fork(self, number: int) -> "Seeds":
        """An independent source for the same rows (one per turn, per solver …)."""
        return Seeds([mix(k, number) for k in self._keys], self._each, self._first, self._n, self._total, self.device)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal, float32, [n, *shape]."""
        return self._draw(shape, lambda size, g: torch.randn(size, generator=g))

    def uniform(self, *shape: int) -> Tensor:
        """Uniform on [0, 1), float32, [n, *shape]."""
        return self._draw(shape, lambda size, g: torch.rand(size, generator=g))

    def integers(self, high: int, *shape: int) -> Tensor:
        """Whole numbers in [0, high), int64, [n, *shape]."""
        return self._draw(shape, lambda size, g: torch.randint(high, size, generator=g))

    def strata(self) -> Tensor:
        """Uniform on [0, 1), [n], the rows of a global batch one in each of `total` equal intervals, in random order.

        A mean over the batch of a function of these varies less than one of independent draws.
        """
        if self._each:
            return self.uniform()

        def make(size: tuple[int], g: torch.Generator) -> Tensor:
            drawn = (torch.randperm(*size, generator=g) + torch.rand(size, generator=g)) / size[0]
            return drawn.clamp(max=1 - 2**-24)  # rounding may bring the last interval up to 1

        return self._draw((), make)

    def _draw(self, shape, make) -> Tensor:
        # Drawn on the CPU always, so that a CPU and a GPU start from the same noise; the global batch is drawn whole,
        # because torch's generator gives a prefix of a draw other values than the same prefix of a longer one.
        self._drawn += 1
        if self._each:
            if not self._generators:
                self._generators = [torch.Generator().manual_seed(key) for key in self._keys]
            rows = [make(shape, g) for g in self._generators]
            drawn = torch.stack(rows) if rows else make((0, *shape), None)
        else:
            generator = torch.Generator().manual_seed(mix(self._keys[0], self._drawn))
            drawn = make((self._total, *shape), generator)[self._first : self._first + self._n]
        return drawn.to(self.device, non_blocking=True)


class Between(Seeds):
    """Randomness on the way from each row of one source to the same row of another: what interpolation draws from.

    Two independent normals a and b turn into each other as cos(u) a + sin(u) b, u = share * pi / 2: a great circle,
    and standard normal all the way, which a straight line is not. Uniform numbers go the same way through the normal
    distribution function. At a share of 0 a row is the left one, to the bit.

    Args:
        share: [n] in [0, 1), how far each row has come.
    """

    def __init__(self, left: Seeds, right: Seeds, share: Tensor):
        self._left, self._right, self._share, self._each = left, right, share, True
        self.device = left.device

    def __len__(self) -> int:
        return len(self._left)

    def rows(self, start: int, n: int) -> "Between":
        part = slice(start, start + n)
        return Between(self._left.rows(start, n), self._right.rows(start, n), self._share[part])

    def fork(self, number: int) -> "Between":
        return Between(self._left.fork(number), self._right.fork(number), self._share)

    def normal(self, *shape: int) -> Tensor:
        left, right = self._left.normal(*shape), self._right.normal(*shape)
        return torch.where(self._spread(left) == 0, left, self._turned(left, right))

    def uniform(self, *shape: int) -> Tensor:
        left, right = self._left.uniform(*shape), self._right.uniform(*shape)
        turned = torch.special.ndtr(self._turned(torch.special.ndtri(left), torch.special.ndtri(right)))
        return torch.where(self._spread(left) == 0, left, turned.clamp(0, 1 - 2**-24))

    def integers(self, high: int, *shape: int) -> Tensor:
        left, right = self._left.integers(high, *shape), self._right.integers(high, *shape)
        return torch.where(self._spread(left) < 0.5, left, right)

    def _turned(self, left: Tensor, right: Tensor) -> Tensor:
        angle = self._spread(left).to(left.dtype) * (math.pi / 2)
        return angle.cos() * left + angle.sin() * right

    def _spread(self, like: Tensor) -> Tensor:
        return self._share.to(like.device).reshape(-1, *[1] * (like.ndim - 1))
