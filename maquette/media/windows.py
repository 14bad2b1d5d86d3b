"""Sequences of any length -> windows of one: what media of tokens cut their documents into."""

from collections.abc import Callable

import numpy as np

from maquette.media.base import Cutter


class Windows(Cutter):
    """Cuts sequences into windows of `size` tokens, each beginning with the last one of the window before.

    Args:
        alone: whether each window holds one sequence; else they share windows, and one that fits into a window is
            never cut.
        end: fills what is short at the end.
        shape: of a token, where it is no plain number.
        fitted: shortens a sequence that is too long to be cut.
    """

    def __init__(
        self,
        size: int,
        alone: bool,
        end: int,
        dtype: np.dtype,
        shape: tuple[int, ...] = (),
        fitted: Callable[[np.ndarray], np.ndarray] = lambda item: item,
    ):
        self.size, self.alone, self.end, self.fitted = size, alone, end, fitted
        self.apart = alone
        self.held = np.empty((0, *shape), dtype)

    def put(self, item: np.ndarray) -> list[np.ndarray]:
        size, made, item = self.size, [], self.fitted(item)
        if self.alone or len(item) <= size < len(self.held) + len(item):  # it would fit into a window, not into this
            made += self.rest()
        self.held = np.concatenate([self.held, item])
        while len(self.held) > size:
            made.append(self.held[:size])
            self.held = self.held[size - 1 :]
        return made + (self.rest() if self.alone else [])

    def rest(self) -> list[np.ndarray]:
        held, self.held = self.held, self.held[:0]
        return [self._filled(held)] if len(held) > 1 else []

    def _filled(self, window: np.ndarray) -> np.ndarray:
        missing = (self.size - len(window), *window.shape[1:])
        return np.concatenate([window, np.full(missing, self.end, window.dtype)])
