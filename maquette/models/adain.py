"""A picture in the manner of any other in one pass: adaptive instance normalisation (Huang and Belongie 2017).

Samples y show the manner, given pictures x the content; f encodes and g decodes (equations 8-13):

    AdaIN(a, b) = sigma(b) (a - mu(a)) / sigma(a) + mu(b),    mu and sigma of each map of f's last layer
    decoder:  |f(g(t)) - t|^2 + style sum over layers |mu, sigma of f(g(t)) - those of f(y)|^2,    t = AdaIN(f(x), f(y))
    both:     again |g(f(x)) - x|^2 + again |g(f(y)) - y|^2

Distances of features are shares of what they are measured from, so that the weights mean the same for any encoder. That
of the paper is VGG-19, which learnt from a million labelled pictures; this one learns with its decoder, to keep what
they need to draw each picture again, and never to make the decoder's other tasks easier.

A sample is a given picture in the manner of one that was learnt from lately, or a little of several (their section
7.2); `manner` begins it with that of any other.
"""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import (
    Batch,
    Beside,
    Condition,
    Given,
    Predictor,
    Real,
    Sampling,
    Space,
    Stats,
    Stylist,
    Turn,
)
from maquette.models.base import Model, ModelConfig, refuse_space
from maquette.nets.conditioning import ImageEmbedder

Pictures = Float[Tensor, "b c h w"]
Maps = Float[Tensor, "b n h w"]
Manner = Float[Tensor, "b n2"]
"""The means of maps, then their deviations."""

KEPT = 64
"""Manners that a model remembers, the last that it learnt from."""
SHARP = 8.0
"""How far the largest of the weights that mix them stands out; with less, all samples have about the mean manner."""


@dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    """An encoder of pictures, and a decoder of what it says in another manner."""

    takes: ClassVar[tuple[str, ...]] = ("image",)

    width: int = 32
    """Channels at full resolution; each halving doubles them."""
    halvings: int = 2
    """Of the sides, until the maps whose means and deviations are the manner."""
    style: float = 10.0
    """Weight of the manner against the content."""
    again: float = 10.0
    """Weight of drawing a picture in its own manner as it was."""

    def __post_init__(self) -> None:
        self.check(self.width > 0, "width", "a positive whole number")
        self.check(1 <= self.halvings <= 6, "halvings", "a whole number from 1 to 6")
        self.check(self.style >= 0, "style", "0 or a positive number")
        self.check(self.again > 0, "again", "a positive number")

    @classmethod
    def tiny(cls) -> "Config":
        """Small enough for a test."""
        return cls(width=8, halvings=1)

    def build(self, space: Space, classes: int = 0, beside: Beside = Beside()) -> "AdaIN":
        """Without `beside.image` the given pictures are of the samples' space."""
        if not isinstance(space, Real) or len(space.shape) != 3:
            raise refuse_space("adain", "pictures", space, "choose medium.kind=image")
        image = beside.image or Real(space.shape, space.levels)
        if image.shape != space.shape:
            reason, todo = "content and manner need one shape", "give data.other, which is read alike"
            raise MaquetteError("MQ-2009", path="data.given", value=image, reason=reason, todo=todo)
        least = 2 << self.halvings
        if any(side % (least // 2) or side < least for side in space.shape[1:]):
            reason = f"the sides are no multiples of {least // 2}, or less than {least}"
            raise MaquetteError(
                "MQ-2009", path="model.halvings", value=self.halvings, reason=reason, todo="halve less often"
            )
        return AdaIN(self, space, Beside(image=image))


class AdaIN(Model, Stylist):
    accepts = (Real,)
    manners: Tensor

    def __init__(self, config: Config, space: Real, beside: Beside):
        super().__init__()
        self.config: Config = config  # pyright: ignore[reportIncompatibleVariableOverride]
        self.space: Real = space  # pyright: ignore[reportIncompatibleVariableOverride]
        self.classes, self.beside = 0, beside
        self.show = ImageEmbedder(beside.image, space)
        widths = [config.width << level for level in range(config.halvings + 1)]
        self.encoder = Encoder([space.shape[0], *widths])
        self.decoder = Decoder([*reversed(widths), space.shape[0]])
        self.register_buffer("manners", torch.zeros(KEPT, 2 * widths[-1]))

    def players(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "decoder": self.decoder}

    def turns(self) -> list[Turn]:
        return [Turn("encoder", self.encoder_loss), Turn("decoder", self.decoder_loss)]

    def encoder_loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        again = self._again(batch)
        return self.config.again * again, {"again": again.detach()}

    def decoder_loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        with torch.no_grad():
            wanted = self.encoder(batch.x)
            target = adain(self.encoder(self._given(batch))[-1], moments(wanted[-1]))
            if self.training:
                self.manners.copy_(torch.cat([moments(wanted[-1]), self.manners])[:KEPT])
        seen = self.encoder(self.decoder(target))
        content = _apart(seen[-1], target)
        style = sum(_apart(moments(own), moments(other)) for own, other in zip(seen, wanted, strict=True)) / len(seen)
        loss = content + self.config.style * style + self.config.again * self._again(batch)
        return loss, {"content": content.detach(), "style": style.detach()}  # type: ignore[union-attr]

    def _again(self, batch: Batch) -> Float[Tensor, ""]:
        both = torch.cat([self._given(batch), batch.x.float()])
        return (self.decoder(self.encoder(both)[-1]) - both).square().mean()

    def _given(self, batch: Batch) -> Pictures:
        grid = self.condition(batch.given, len(batch)).grid
        assert grid is not None, "there is always a picture, of zeros if need be"
        return grid

    # -- drawing ----------------------------------------------------------------------------------------------------

    def condition(self, given: Given, n: int) -> Condition:
        return Condition(grid=self.show(given, n))

    def predictor(self, condition: Condition) -> Predictor:
        """Manners -> the given pictures in them."""
        features = self.encoder(condition.grid)[-1]

        def predict(manner: Manner) -> Pictures:
            made = self.decoder(adain(features, manner))
            return made.clamp(-1, 1) if self.space.levels else made

        return predict

    def manner(self, x: Pictures) -> Manner:
        return moments(self.encoder(x)[-1])

    def start(self, n: int, how: Sampling, rng: Seeds) -> Manner:
        return (SHARP * how.temperature * rng.normal(KEPT)).softmax(1) @ self.manners

    def draw(self, predict: Predictor, start: Manner, how: Sampling, rng: Seeds) -> Pictures:
        return predict(start)


class Encoder(nn.Module):
    """Convolutions, the sides halved before each but the first; the maps of all of them."""

    def __init__(self, widths: list[int]):
        super().__init__()
        self.layers = nn.ModuleList(_layer(*pair) for pair in itertools.pairwise(widths))

    def forward(self, x: Pictures) -> list[Tensor]:
        maps = []
        for number, layer in enumerate(self.layers):
            x = F.relu(layer(F.avg_pool2d(x, 2) if number else x))
            maps.append(x.float())
        return maps


class Decoder(nn.Module):
    """Convolutions, the sides doubled after each but the last; without normalisation, which would undo a manner."""

    def __init__(self, widths: list[int]):
        super().__init__()
        self.layers = nn.ModuleList(_layer(*pair) for pair in itertools.pairwise(widths))

    def forward(self, maps: Maps) -> Float[Tensor, "b c h2 w2"]:
        *inner, last = self.layers
        for layer in inner:
            maps = F.interpolate(F.relu(layer(maps)), scale_factor=2.0, mode="nearest")
        return last(maps).float()


def _layer(source: int, target: int) -> nn.Conv2d:
    """Beyond the border the picture is mirrored, so that no frame is drawn (as in the paper)."""
    return nn.Conv2d(source, target, 3, padding=1, padding_mode="reflect")


def moments(maps: Maps) -> Manner:
    """The mean of each map over places, and its deviation."""
    variance, mean = torch.var_mean(maps, dim=(2, 3), correction=0)
    return torch.cat([mean, (variance + 1e-5).sqrt()], dim=1)


def adain(maps: Maps, manner: Manner) -> Maps:
    """`maps` with other means and deviations: equation 8."""
    old, new = (both[:, :, None, None].chunk(2, dim=1) for both in (moments(maps), manner))
    return new[1] * (maps - old[0]) / old[1] + new[0]


def _apart(own: Tensor, wanted: Tensor) -> Float[Tensor, ""]:
    """The squared distance of each row from what is wanted, as a share of that."""
    size = wanted.square().flatten(1).mean(1).clamp(min=1e-6)
    return ((own - wanted).square().flatten(1).mean(1) / size).mean()
