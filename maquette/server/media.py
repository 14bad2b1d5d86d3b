"""What is known of a model without loading it: its medium, and what it is given."""

from functools import lru_cache

from maquette.bundle import Outline, read_outline
from maquette.media.base import Medium
from maquette.server.engine import Served


class Media:
    """Outlines of models by their digest, so that a bundle is read once."""

    def __init__(self) -> None:
        self._outline = lru_cache(256)(_outline)
        self._medium = lru_cache(256)(_medium)

    def outline(self, served: Served) -> Outline:
        return self._outline(served)

    def of(self, served: Served) -> Medium:
        return self._medium(served)


def _outline(served: Served) -> Outline:
    return read_outline(served.folder)


def _medium(served: Served) -> Medium:
    return read_outline(served.folder).medium_config.build()
