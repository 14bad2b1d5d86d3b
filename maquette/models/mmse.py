"""The mean of what may have been (MMSE): one network, held by least squares to the sample that belongs to the given.

    min_f  E |x - f(y)|^2,    which is least for f(y) = E[x | y]

It is how Dong et al. (2016) enlarge pictures and Zhang et al. (2017) take noise away, whose network says what is
missing from the given picture, as `residual` does; it may say besides how much of what is given to add at each place,

    f(y) = y + h(y) + g(y) y,

as Wiener filters fade what cannot be trusted, and choose between guesses where y has several. Nothing scores better in
decibels (PSNR and SNR count squares), and where much may have been its answer is faint: it is no sample. One that is
drawn from p(x | y) errs by twice as much (Blau and Michaeli 2018, section 4): take `gan` or `diffusion` for what shall
look or sound real.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Beside, Condition, Given, Predictor, Real, Sampling, Space, Stats, Turn
from maquette.models.base import Model, ModelConfig, refuse_space
from maquette.nets import unet
from maquette.nets.base import NetConfig
from maquette.nets.conditioning import ImageEmbedder


@dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    """One network."""

    takes: ClassVar[tuple[str, ...]] = ("image",)

    net: NetConfig = field(default_factory=unet.Config)
    residual: bool = False
    """Whether the network says what is missing from the first channels of the given picture (h, g), and not the sample
    anew: for what is given nearly right."""

    def build(self, space: Space, classes: int = 0, beside: Beside = Beside()) -> "MMSE":
        """Without `beside.image` what is given is of the samples' space."""
        if not isinstance(space, Real) or len(space.shape) < 2:
            raise refuse_space("mmse", "sound, pictures or films", space, "choose medium.kind=audio, image or video")
        image = beside.image or Real(space.shape, space.levels)
        if self.residual and image.shape[0] < space.shape[0]:
            reason, todo = f"nothing is given that has the channels of {space}", "set model.residual=false"
            raise MaquetteError("MQ-2009", path="model.residual", value=True, reason=reason, todo=todo)
        return MMSE(self, space, Beside(image=image))


class MMSE(Model):
    """One player. What it makes of one given picture is always the same."""

    accepts = (Real,)

    def __init__(self, config: Config, space: Real, beside: Beside):
        super().__init__()
        self.config: Config = config  # pyright: ignore[reportIncompatibleVariableOverride]
        self.space: Real = space  # pyright: ignore[reportIncompatibleVariableOverride]
        self.classes, self.beside = 0, beside
        self.show = ImageEmbedder(beside.image, space)
        self.said = 1 + self.show.channels if config.residual else 1
        made = (self.said * space.shape[0], *space.shape[1:])
        self.net = config.net.build((self.show.channels, *space.shape[1:]), made)

    def turns(self) -> list[Turn]:
        return [Turn("model", self.loss)]

    def loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        made = self.predictor(self.condition(batch.given, len(batch)))(batch.x)
        return (made - batch.x.float()).square().mean(), {}

    def condition(self, given: Given, n: int) -> Condition:
        return Condition(grid=self.show(given, n))

    def predictor(self, condition: Condition) -> Predictor:
        """Anything -> the mean of x given y: what is given is the condition."""
        y = condition.grid
        assert y is not None, "there is always something given, zeros if need be"
        return lambda start: self.bettered(y) if self.config.residual else self.net(y).float()

    def bettered(self, y: Float[Tensor, "b k *sides"]) -> Float[Tensor, "b c *sides"]:
        """y + h(y) + g(y) y; g has a gain of each channel of y for each of the sample's."""
        said = self.net(y).float().unflatten(1, (-1, self.said))
        return y[:, : self.space.shape[0]] + said[:, :, 0] + (said[:, :, 1:] * y[:, None]).sum(2)

    def start(self, n: int, how: Sampling, rng: Seeds) -> Float[Tensor, "b 0"]:
        return torch.zeros(n, 0, device=rng.device)

    def draw(self, predict: Predictor, start: Float[Tensor, "b 0"], how: Sampling, rng: Seeds) -> Tensor:
        return predict(start)
