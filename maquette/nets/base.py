"""The contract of a network: it maps samples of one shape to tensors of another, told the time and a condition."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from jaxtyping import Float
from torch import Tensor, nn

from maquette.core import config
from maquette.core.errors import MaquetteError
from maquette.core.types import Condition

Shape = tuple[int, ...]
Layer = TypeVar("Layer", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class NetConfig(config.Config, ABC):
    """A `net:` slot of a recipe."""

    home: ClassVar[str] = "nets"

    @abstractmethod
    def build(self, source: Shape, target: Shape, vector: int = 0, timed: bool = False, sequence: int = 0) -> "Net":
        """A network from `source` to `target` (shapes without the batch axis).

        Args:
            vector: width of `Condition.vector`, 0 when the network takes none.
            timed: whether the network is told a time (one number per sample).
            sequence: width of `Condition.sequence`, 0 when the network attends to none.

        Raises:
            MaquetteError: MQ-2009 when this kind of network cannot map these shapes.
        """


class Net(nn.Module, ABC):
    """`source` and `target` are the shapes given to `build`; `vector` and `sequence` the widths in the condition."""

    source: Shape
    target: Shape
    vector: int
    sequence: int = 0

    @abstractmethod
    def forward(
        self, x: Float[Tensor, "b *source"], t: Float[Tensor, " b"] | None = None, condition: Condition = Condition()
    ) -> Float[Tensor, "b *target"]: ...


class Critic(Net):
    """A network in two parts: what it sees in a sample, and what it says of that."""

    @abstractmethod
    def see(
        self, x: Float[Tensor, "b *source"], t: Float[Tensor, " b"] | None = None, condition: Condition = Condition()
    ) -> Float[Tensor, "b *seen"]:
        """The features before the last layer."""

    @abstractmethod
    def say(self, seen: Float[Tensor, "b *seen"], condition: Condition = Condition()) -> Float[Tensor, "b *target"]: ...

    def forward(
        self, x: Float[Tensor, "b *source"], t: Float[Tensor, " b"] | None = None, condition: Condition = Condition()
    ) -> Float[Tensor, "b *target"]:
        return self.say(self.see(x, t, condition), condition)


def zeroed(layer: Layer) -> Layer:
    """The layer with all its weights 0: a branch that starts as nothing."""
    for weights in layer.parameters():
        nn.init.zeros_(weights)
    return layer


def refuse_shapes(kind: str, source: Shape, target: Shape, reason: str, todo: str) -> MaquetteError:
    """The sentence for a kind of network that cannot map `source` to `target`."""
    return MaquetteError("MQ-2009", path=kind, value=f"{source} -> {target}", reason=reason, todo=todo)


def refuse_sequence(kind: str) -> MaquetteError:
    """The sentence for a kind of network that is asked to attend to a sequence and cannot."""
    todo = "use kind unet or dit"
    return MaquetteError("MQ-2009", path="net", value=kind, reason="it attends to no sequence", todo=todo)
