"""Pictures value by value: p(x) = prod_i p(x_i | x_1 … x_{i-1}), in reading order, red before green before blue.

PixelCNN (van den Oord et al. 2016) with the discretised mixture of logistics of PixelCNN++ (Salimans et al. 2017,
sections 2.1 and 2.2): at each pixel the network gives the weights, means and scales of a few logistic distributions;
the means of green and blue follow the values of the channels before them. The likelihood is exact, and so is a sample:
each value is the inverse of its distribution function at one uniform number.
"""

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from maquette.codecs.quantise import from_levels, to_levels
from maquette.core import cancel
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Condition, Given, Likelihood, Predictor, Real, Sampling, Space, Stats, Turn
from maquette.models.base import Model, ModelConfig, refuse_space
from maquette.models.logistic import Mixture, count_parameters
from maquette.nets import gated
from maquette.nets.conditioning import LabelEmbedder
from maquette.solvers.decoding import invert


@dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    """An autoregressive model of pictures with an exact likelihood."""

    net: gated.Config = field(default_factory=gated.Config)
    mixtures: int = 10
    """Logistic distributions per pixel."""
    label_width: int = 64
    """Of the vector that a label becomes."""
    label_drop: float = 0.1
    """Share of training samples whose label is withheld, so that guidance has something to compare with."""

    def __post_init__(self) -> None:
        self.check(self.mixtures > 0, "mixtures", "a positive whole number")
        self.check(self.label_width > 0, "label_width", "a positive whole number")
        self.check(0 <= self.label_drop < 1, "label_drop", "in [0, 1)")

    def build(self, space: Space, classes: int = 0) -> "PixelCNN":
        if not isinstance(space, Real) or len(space.shape) != 3 or space.levels < 2:
            hint = "8-bit pictures are such a space; `maquette recipes` lists models of others"
            raise refuse_space("pixelcnn", "Real(channels, height, width) with levels", space, hint)
        return PixelCNN(self, space, classes)


class PixelCNN(Model, Likelihood):
    """Its predictor is `(x, at) -> log-probabilities [b, levels]` of value number `at` given those before it in `x`.

    Values are numbered in reading order with the channels of a pixel together: at = (row * width + column) * channels
    + channel.
    """

    accepts = (Real,)

    def __init__(self, config: Config, space: Real, classes: int):
        super().__init__()
        self.config, self.space, self.classes, self.levels = config, space, classes, space.levels
        self.embed = LabelEmbedder(classes, config.label_width, config.label_drop)
        c, h, w = space.shape
        self.net = config.net.build(space.shape, (count_parameters(config.mixtures, c), h, w), self.embed.width)
        with torch.no_grad():  # begin near the uniform distribution: narrow logistics side by side
            self.net.out.weight.mul_(0.1)
            bias = torch.zeros(config.mixtures, count_parameters(1, c))
            bias[:, 1 : 1 + c] = torch.linspace(-1, 1, config.mixtures + 2)[1:-1, None]
            bias[:, 1 + c : 1 + 2 * c] = -math.log(config.mixtures)
            self.net.out.bias = nn.Parameter(bias.flatten())

    def turns(self) -> list[Turn]:
        return [Turn("model", self.loss)]

    def loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        """Bits per value."""
        condition = self.embed(batch.given, len(batch), batch.rng.fork(0))
        bits = self._nll(batch.x, condition).mean() / (math.log(2) * math.prod(self.space.shape))
        return bits, {"bits_per_dim": bits.detach()}

    def nll(self, batch: Batch) -> Float[Tensor, " b"]:
        return self._nll(batch.x, self.embed(batch.given, len(batch)))

    def _nll(self, x: Float[Tensor, "b c h w"], condition: Condition) -> Float[Tensor, " b"]:
        x = from_levels(to_levels(x, self.levels), self.levels)  # augmentation may leave the levels
        mixture = Mixture(self.net(x, None, condition), self.space.shape[0], self.levels)
        return -mixture.log_prob(x).sum((1, 2))

    def condition(self, given: Given, n: int) -> Condition:
        return self.embed(given, n)

    def predictor(self, condition: Condition) -> Predictor:
        """Cheap when asked in order, right in any order."""
        c, _, w = self.space.shape
        walk = gated.Walk(self.net, condition)

        def predict(x: Tensor, at: int) -> Tensor:
            pixel, channel = divmod(at, c)
            i, j = divmod(pixel, w)
            mixture = Mixture(walk(x, i, j), c, self.levels)
            return mixture.next_value(x[:, :, i, j], channel)

        return predict

    def start(self, n: int, how: Sampling, rng: Seeds) -> Float[Tensor, "n c h w"]:
        """A uniform number in [0, 1) for each value to be drawn."""
        return rng.uniform(*self.space.shape)

    @torch.no_grad()
    def draw(
        self, predict: Predictor, start: Float[Tensor, "n c h w"], how: Sampling, rng: Seeds
    ) -> Float[Tensor, "n c h w"]:
        """Each value in order; a temperature below 1 sharpens its distribution, up to the likeliest value."""
        c, _, w = self.space.shape
        x = torch.zeros_like(start)
        for at in range(math.prod(self.space.shape)):
            cancel.check()
            pixel, channel = divmod(at, c)
            here = (slice(None), channel, *divmod(pixel, w))
            logits = predict(x, at).float() / max(how.temperature, 1e-6)
            x[here] = from_levels(invert(logits.softmax(-1), start[here]), self.levels)
        return x
