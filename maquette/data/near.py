"""Copies among pictures and films: exact ones by their bytes, near ones by a small perceptual hash.

The hash is the picture as a 12 x 12 grey thumbnail with its mean taken away and its length made 1, so that the inner
product of two is their correlation: resizing, recompression, brightness and contrast hardly change it (cropping does).
"""

from collections.abc import Iterator

import numpy as np

SIDE = 12
NEAR = 0.99
"""Correlation from which two pictures count as copies of each other."""
MOST = 50_000
"""Pictures that are compared with each other: beyond that only exact copies are found."""
BLOCK = 2048


def thumbnail(item: np.ndarray) -> np.ndarray:
    """float32 of unit length from a picture [h, w, c], of a film [f, h, w, c] that of its first and its last frame;
    zeros when it is all of one tone."""
    if item.ndim == 4:
        return np.concatenate([thumbnail(item[0]), thumbnail(item[-1])]) / np.float32(np.sqrt(2))
    grey = item.mean(2, dtype=np.float32)
    small = _pooling(grey.shape[0]) @ grey @ _pooling(grey.shape[1]).T
    small -= small.mean()
    length = float(np.linalg.norm(small))
    return (small / length if length > SIDE else np.zeros_like(small)).ravel()  # below one level a pixel it is noise


def pairs(thumbnails: np.ndarray) -> Iterator[tuple[int, int]]:
    """Row numbers i < j of near copies among [n, d] unit vectors."""
    for i in range(0, len(thumbnails), BLOCK):
        for j in range(i, len(thumbnails), BLOCK):
            alike = thumbnails[i : i + BLOCK] @ thumbnails[j : j + BLOCK].T >= NEAR
            for a, b in np.argwhere(alike):
                if i + a < j + b:
                    yield int(i + a), int(j + b)


def groups(pairs: Iterator[tuple[int, int]], n: int) -> list[list[int]]:
    """Sets of two and more row numbers that pairs connect, each in order."""
    parent = list(range(n))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    for i, j in pairs:
        parent[root(j)] = root(i)
    together: dict[int, list[int]] = {}
    for i in range(n):
        together.setdefault(root(i), []).append(i)
    return [members for members in together.values() if len(members) > 1]


def _pooling(n: int) -> np.ndarray:
    """[SIDE, n]: averages over SIDE equal stretches of n pixels, whether or not SIDE divides n."""
    edges = np.linspace(0, n, SIDE + 1)
    low = np.maximum(np.arange(n), edges[:-1, None])
    high = np.minimum(np.arange(1, n + 1), edges[1:, None])
    return (np.maximum(high - low, 0) * (SIDE / n)).astype(np.float32)
