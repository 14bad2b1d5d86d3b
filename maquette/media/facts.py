"""What is told of a file before it is read: a module of its own, so that who decodes need not import torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """What a file is before it becomes an item, for `maquette data check`.

    Attributes:
        size: in the format's own units (width and height in pixels); empty when it has none.
        notes: what reading changes about it ("CMYK …", "animated …").
        off: why its size does not suit the medium; empty when it does.
        unit: what `size` is in, where that does not go without saying.
    """

    size: tuple[int | float, ...] = ()
    notes: tuple[str, ...] = ()
    off: str = ""
    unit: str = ""
