"""Translation between two kinds of pictures without pairs: CycleGAN (Zhu et al. 2017).

X are the given pictures, Y the samples; G: X -> Y and F: Y -> X learn against a critic of each kind (equations 1-3):

    critics:     1/2 E (D_Y(y) - 1)^2 + 1/2 E D_Y(G(x))^2, and the same of D_X and F(y)
    generators:  E (D_Y(G(x)) - 1)^2 + E (D_X(F(y)) - 1)^2
                 + cycle (E |F(G(x)) - x| + E |G(F(y)) - y|) + identity (E |G(y) - y| + E |F(x) - x|)

The half slows the critics beside the generators, which have none (their appendix and code).
Both directions are learnt. A sample is G of the given picture, and `back` is F of a sample: two predictors, and nothing
is drawn at random. The history of made pictures that the paper shows its critics is left out, so that a step depends on
its batch alone.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

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
    Translator,
    Turn,
)
from maquette.models.base import Model, ModelConfig, refuse_space
from maquette.nets import convnet, unet
from maquette.nets.base import Net, NetConfig
from maquette.nets.conditioning import ImageEmbedder

Pictures = Float[Tensor, "b c h w"]


@dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    """Two generators, one the way back of the other, against two critics."""

    takes: ClassVar[tuple[str, ...]] = ("image",)
    search = {"cycle": 3.0, "identity": 3.0}

    generator: NetConfig = field(default_factory=unet.Config)
    critic: NetConfig = field(default_factory=lambda: convnet.Config(norm="group"))
    patches: int = 4
    """A critic gives a score to each of so many by so many overlapping patches; 0: one to the whole."""
    cycle: float = 10.0
    """Weight of the distance from a picture that has gone there and back."""
    identity: float = 5.0
    """Weight of what a generator changes of a picture that is already of its kind; 0 where colours may change."""

    def __post_init__(self) -> None:
        self.check(self.patches >= 0, "patches", "0 or a positive whole number")
        for name in ("cycle", "identity"):
            self.check(getattr(self, name) >= 0, name, "0 or a positive number")

    def build(self, space: Space, classes: int = 0, beside: Beside = Beside()) -> "CycleGAN":
        """Without `beside.image` the given pictures are of the samples' space."""
        if not isinstance(space, Real) or len(space.shape) != 3:
            raise refuse_space("cyclegan", "pictures", space, "choose medium.kind=image")
        image = beside.image or Real(space.shape, space.levels)
        if image.shape != space.shape:
            reason, todo = "both kinds need one shape", "give data.other or data.pair, which are read alike"
            raise MaquetteError("MQ-2009", path="data.given", value=image, reason=reason, todo=todo)
        return CycleGAN(self, space, Beside(image=image))


class CycleGAN(Model, Translator):
    """Four networks, two players. Made pictures are squashed by tanh where the space has levels."""

    accepts = (Real,)

    def __init__(self, config: Config, space: Real, beside: Beside):
        super().__init__()
        self.config: Config = config  # pyright: ignore[reportIncompatibleVariableOverride]
        self.space: Real = space  # pyright: ignore[reportIncompatibleVariableOverride]
        self.classes, self.beside = 0, beside
        self.show = ImageEmbedder(beside.image, space)
        shape, scores = space.shape, (1, *((config.patches,) * 2 if config.patches else ()))
        self.generators = nn.ModuleDict({way: config.generator.build(shape, shape) for way in ("there", "back")})
        self.critics = nn.ModuleDict({kind: config.critic.build(shape, scores) for kind in ("given", "sample")})

    def players(self) -> dict[str, nn.Module]:
        return {"critics": self.critics, "generators": self.generators}

    def turns(self) -> list[Turn]:
        return [Turn("critics", self.critic_loss), Turn("generators", self.generator_loss)]

    def critic_loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        x, y = self._given(batch), batch.x.float()
        with torch.no_grad():
            to_y, to_x = self._there(x), self._back(y)
        sample, given = self._critic("sample", y, to_y), self._critic("given", x, to_x)
        return sample + given, {"sample": sample.detach(), "given": given.detach()}

    def generator_loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        x, y = self._given(batch), batch.x.float()
        to_y, to_x = self._there(x), self._back(y)
        fooled = (self._score("sample", to_y) - 1).square().mean() + (self._score("given", to_x) - 1).square().mean()
        cycle = _distance(self._back(to_y), x) + _distance(self._there(to_x), y)
        loss, stats = fooled + self.config.cycle * cycle, {"fooled": fooled.detach(), "cycle": cycle.detach()}
        if self.config.identity > 0:
            identity = _distance(self._there(y), y) + _distance(self._back(x), x)
            loss, stats["identity"] = loss + self.config.identity * identity, identity.detach()
        return loss, stats

    def _critic(self, kind: str, real: Pictures, made: Pictures) -> Float[Tensor, ""]:
        return ((self._score(kind, real) - 1).square().mean() + self._score(kind, made).square().mean()) / 2

    def _score(self, kind: str, x: Pictures) -> Tensor:
        return self.critics[kind](x).float()

    def _there(self, x: Pictures) -> Pictures:
        return self._squashed(self.generators["there"], x)

    def _back(self, y: Pictures) -> Pictures:
        return self._squashed(self.generators["back"], y)

    def _squashed(self, net: Net | nn.Module, x: Pictures) -> Pictures:
        made = net(x).float()
        return made.tanh() if self.space.levels else made

    def _given(self, batch: Batch) -> Pictures:
        grid = self.condition(batch.given, len(batch)).grid
        assert grid is not None, "there is always a picture, of zeros if need be"
        return grid

    # -- drawing ----------------------------------------------------------------------------------------------------

    def condition(self, given: Given, n: int) -> Condition:
        return Condition(grid=self.show(given, n))

    def predictor(self, condition: Condition) -> Predictor:
        """Nothing [b, 0] -> samples made of the given pictures."""
        return lambda start: self._there(condition.grid)  # type: ignore[arg-type]

    def back(self, condition: Condition) -> Predictor:
        return lambda start: self._back(condition.grid)  # type: ignore[arg-type]

    def start(self, n: int, how: Sampling, rng: Seeds) -> Float[Tensor, "b 0"]:
        return torch.zeros(n, 0, device=rng.device)

    def draw(self, predict: Predictor, start: Float[Tensor, "b 0"], how: Sampling, rng: Seeds) -> Pictures:
        return predict(start)


def _distance(one: Pictures, other: Pictures) -> Float[Tensor, ""]:
    return (one - other).abs().mean()
