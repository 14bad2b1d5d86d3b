"""A multilayer perceptron: any shape to any shape, told a time and a vector if need be."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from maquette.core.types import Condition
from maquette.nets.base import Critic, NetConfig, Shape, refuse_sequence
from maquette.nets.conditioning import TimeEmbedder

ACTIVATIONS = {"relu": nn.ReLU, "leaky": lambda: nn.LeakyReLU(0.2), "silu": nn.SiLU}


@dataclass(frozen=True, kw_only=True)
class Config(NetConfig):
    """For points, for small pictures, and wherever the axes of a sample have no order."""

    width: int = 128
    """Of every hidden layer."""
    depth: int = 3
    """Hidden layers, or residual blocks."""
    widths: tuple[int, ...] = ()
    """Of each hidden layer by itself, in place of `width` and `depth`."""
    residual: bool = False
    """Blocks `h + W2 f(W1 norm(h))` in place of layers `f(W h)`: for networks deeper than about four layers."""
    activation: Literal["relu", "leaky", "silu"] = "silu"
    """leaky has slope 0.2 below zero."""
    spectral: bool = False
    """Divide every weight matrix but the last by its largest singular value (Miyato et al. 2018): the bound that a
    critic wants. The last is left free, so that the scores' scale suits data of any scale."""

    def __post_init__(self) -> None:
        self.check(self.width > 0 and self.width % 2 == 0, "width", "a positive even number")
        self.check(self.depth > 0, "depth", "a positive whole number")
        even = all(width > 0 and width % 2 == 0 for width in self.widths)
        self.check(even, "widths", "a list of positive even numbers")
        self.check(
            not (self.widths and self.residual), "widths", "empty where blocks are residual: they have one width"
        )

    @classmethod
    def tiny(cls) -> "Config":
        """Small enough for a test."""
        return cls(width=16, depth=2)

    def build(self, source: Shape, target: Shape, vector: int = 0, timed: bool = False, sequence: int = 0) -> "MLP":
        if sequence:
            raise refuse_sequence("mlp")
        return MLP(self, source, target, vector, timed)


class MLP(Critic):
    """[b, *source] -> [b, *target]; time and vector are embedded once and added inside every hidden layer.

    `condition.grid` is concatenated to the input; its channels are counted in `source`.
    """

    def __init__(self, config: Config, source: Shape, target: Shape, vector: int = 0, timed: bool = False):
        super().__init__()
        self.source, self.target, self.vector = source, target, vector
        width, *others = config.widths or (config.width,) * (1 if config.residual else config.depth)
        told = width if vector or timed else 0
        self.time = TimeEmbedder(width) if timed else None
        self.told = nn.Linear(vector, width) if vector else None
        self.first = _Layer(config, math.prod(source), width, told)
        layers = [_Layer(config, a, b, told) for a, b in pairwise([width, *others])]
        blocks = [_Residual(config, width, width, told) for _ in range(config.depth * config.residual)]
        self.layers = nn.ModuleList([*layers, *blocks])
        self.last = nn.Linear(others[-1] if others else width, math.prod(target))

    def see(
        self, x: Float[Tensor, "b *source"], t: Float[Tensor, " b"] | None = None, condition: Condition = Condition()
    ) -> Float[Tensor, "b d"]:
        told = None
        if self.time is not None:
            assert t is not None, "a timed network is told the time"
            told = self.time(t)
        if self.told is not None:
            vector = self.told(condition.vector)
            told = vector if told is None else told + vector
        if condition.grid is not None:
            x = torch.cat([x, condition.grid], dim=1)
        h = self.first(x.flatten(1), told)
        for layer in self.layers:
            h = layer(h, told)
        return h

    def say(self, seen: Float[Tensor, "b d"], condition: Condition = Condition()) -> Float[Tensor, "b *target"]:
        return self.last(seen).reshape(len(seen), *self.target)


class _Layer(nn.Module):
    def __init__(self, config: Config, source: int, target: int, told: int):
        super().__init__()
        self.linear = _linear(config, source, target)
        self.told = _linear(config, told, target) if told else None
        self.activation = ACTIVATIONS[config.activation]()

    def forward(self, h: Tensor, told: Tensor | None) -> Tensor:
        h = self.linear(h)
        if self.told is not None:
            h = h + self.told(told)
        return self.activation(h)


class _Residual(nn.Module):
    def __init__(self, config: Config, source: int, target: int, told: int):
        super().__init__()
        self.norm = nn.LayerNorm(source)
        self.inner = _Layer(config, source, target, told)
        self.outer = _linear(config, target, target)

    def forward(self, h: Tensor, told: Tensor | None) -> Tensor:
        return h + self.outer(self.inner(self.norm(h), told))


def _linear(config: Config, source: int, target: int) -> nn.Module:
    layer = nn.Linear(source, target)
    return spectral_norm(layer) if config.spectral else layer
