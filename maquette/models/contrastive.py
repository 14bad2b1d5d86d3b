"""Pictures and captions in one space, each picture nearest to its own caption (CLIP, Radford et al. 2021, figure 3).

    s_ij = exp(t) <f(x_i), g(y_j)>,     loss = 1/2 CE_j(s_ij, j = i) + 1/2 CE_i(s_ij, i = j)

over all pairs of a batch: f and g are the towers with their outputs brought to length 1, exp(t) is learnt, begun at
1/0.07 and kept below 100 (section 2.5). For a batch of n unrelated pairs the loss is ln n. Rows with one caption are
all right for each other (as the labels of Yang et al. 2022, equation 2), and rows without a caption do not count. The
other rows are what a row is compared with, so that gradients of a batch in parts are not those of the batch.

It judges and makes nothing: see `evaluate/agreement.py` for what it is asked.
"""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import (
    Batch,
    Beside,
    Condition,
    Features,
    Given,
    Predictor,
    Real,
    Sampling,
    Space,
    Stats,
    Turn,
    TwoTowers,
)
from maquette.models.base import Model, ModelConfig, refuse_space
from maquette.nets import convnet
from maquette.nets.base import NetConfig
from maquette.nets.reading import Reading, TextEmbedder

COLDEST = math.log(100)
"""The largest t."""
NEVER = -1e9
"""The similarity of what does not count."""


@dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    """A tower of pictures and a tower of captions."""

    takes: ClassVar[tuple[str, ...]] = ("text",)
    draws: ClassVar[bool] = False

    net: NetConfig = field(default_factory=lambda: convnet.Config(norm="group", width=32, widest=256))
    """The tower of pictures: any net that maps a picture to a code."""
    reading: Reading = field(default_factory=Reading)
    """The tower of captions."""
    width: int = 128
    """Of the common space."""

    def __post_init__(self) -> None:
        self.check(self.width > 0, "width", "a positive whole number")

    def build(self, space: Space, classes: int = 0, beside: Beside = Beside()) -> "Contrastive":
        if not isinstance(space, Real) or len(space.shape) != 3:
            raise refuse_space("contrastive", "pictures", space, "choose medium.kind=image")
        if beside.text is None:
            raise MaquetteError("MQ-2150", "model", kind="contrastive")
        return Contrastive(self, space, beside)


class Contrastive(Model, Features, TwoTowers):
    accepts = (Real,)

    def __init__(self, config: Config, space: Real, beside: Beside):
        super().__init__()
        self.config: Config = config  # pyright: ignore[reportIncompatibleVariableOverride]
        self.space, self.classes, self.beside = space, 0, beside
        self.see = config.net.build(space.shape, (config.width,))
        self.read = TextEmbedder(beside.text, config.reading)
        self.say = nn.Linear(self.read.width, config.width, bias=False)
        self.scale = nn.Parameter(torch.tensor(-math.log(0.07)))

    def turns(self) -> list[Turn]:
        return [Turn("model", self.loss)]

    def loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        """Nats per row and direction; `right` is the share of pictures whose nearest caption is theirs."""
        text = batch.given.text
        assert text is not None, "captions are given"
        told = (text != 0).any(1)
        n = told.sum().clamp(min=1)
        table = (self.scale.exp() * self.of_samples(batch.x) @ self.of_texts(text).T).float()
        alike = (text[:, None] == text[None]).all(2) & told[:, None]
        target = alike / alike.sum(1, keepdim=True).clamp(min=1)
        ways = [way.masked_fill(~told, NEVER) for way in (table, table.T)]
        both = sum(F.cross_entropy(way, target, reduction="sum") for way in ways)
        right = alike.gather(1, ways[0].detach().argmax(1, keepdim=True)).sum() / n
        return both / (2 * n), {"right": right, "scale": self.scale.detach().exp()}

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        self.scale.clamp_(max=COLDEST)  # the weight itself: a bound within the loss would leave it no way back

    def of_samples(self, x: Float[Tensor, "b *space"]) -> Float[Tensor, "b d"]:
        return F.normalize(self.see(x).float(), dim=1)

    def of_texts(self, text: Int[Tensor, "b l"]) -> Float[Tensor, "b d"]:
        return F.normalize(self.say(self.read(Given(text=text), len(text)).vector).float(), dim=1)

    def features(self, batch: Batch) -> Float[Tensor, "b d"]:
        return self.of_samples(batch.x)

    def predictor(self, condition: Condition) -> Predictor:
        raise self._refusal()

    def start(self, n: int, how: Sampling, rng: Seeds) -> Tensor:
        raise self._refusal()

    def draw(self, predict: Predictor, start: Tensor, how: Sampling, rng: Seeds) -> Tensor:
        raise self._refusal()

    @staticmethod
    def _refusal() -> MaquetteError:
        return MaquetteError("MQ-2151", "model", kind="contrastive")
