"""Which samples to learn from: the `data:` part of a recipe, and the one function that opens any source."""

from dataclasses import dataclass, field
from typing import Any

from maquette.core.config import Config


@dataclass(frozen=True, kw_only=True)
class Data(Config):
    """Which samples to learn from."""

    source: str
    """A folder, a file, the name of an embedded set, or hf:NAME for anything Hugging Face `datasets` opens."""
    conditional: bool = False
    """Whether the model is told the labels."""
    augment: dict[str, Any] = field(default_factory=dict)
    """For images: flip (share), crop (pixels of padding), rotate (degrees), colour (strength)."""
    max_bad: float = 0.01
    """The share of unreadable files up to which they are named, counted and left out."""
    seed: int = 0
    """Of the split and of what embedded sets draw."""

    def __post_init__(self) -> None:
        self.check(0 <= self.max_bad <= 1, "max_bad", "between 0 and 1")
