"""What every model offers; the loop, the pipeline and the scores know models by this page alone."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, get_args, get_type_hints

from torch import Tensor, nn

from maquette.core import config
from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Beside, Condition, Given, Predictor, Sampling, Space, Turn
from maquette.media.base import Medium, MediumConfig


@dataclass(frozen=True, kw_only=True)
class ModelConfig(config.Config, ABC):
    """The `model:` slot of a recipe."""

    home: ClassVar[str] = "models"
    takes: ClassVar[tuple[str, ...]] = ("label",)
    """What it can be given with each sample: a label, or fields of `Beside`, in which case `build` takes one."""

    search: ClassVar[dict[str, float | tuple]] = {}
    """What a search varies unless it is told: fields, each with the factor by which it may be less or more than in the
    recipe, or with choices. A number that is 0 in the recipe is something left out, and stays so."""

    draws: ClassVar[bool] = True
    """Whether it makes samples; one that only judges them is asked nothing else."""

    def at(self, rate: int) -> None:
        """Raise MQ-2009 where samples of this `rate` (of the medium, 0 where there is no time) do not suit it."""

    def fitted(self, space: Space, classes: int = 0, beside: Beside = Beside()) -> "Model":
        """`build` for a model that is given what `beside` says besides its label.

        Raises:
            MaquetteError: MQ-2136 when it cannot be given that, and what `build` raises.
        """
        wanted = {"label": classes, "image": beside.image, "text": beside.text}
        for what in (name for name, there in wanted.items() if there and name not in self.takes):
            field = {"label": "data.conditional", "image": "data.given, pair and other", "text": "data.captions"}[what]
            raise MaquetteError(
                "MQ-2136", "model", kind=self.kind(), what=f"a {what}", todo=f"leave {field} out, or take another model"
            )
        told = {"beside": beside} if {"image", "text"} & set(self.takes) else {}
        return self.build(space, classes, **told)

    @abstractmethod
    def build(self, space: Space, classes: int = 0) -> "Model":
        """A freshly initialised model of `space`, conditional on one of `classes` labels when that is not 0.

        Weights come from torch's global generator, which the caller seeds.

        Raises:
            MaquetteError: MQ-2008 when the model does not accept this kind of space.
        """

    @classmethod
    def makes(cls, what: type) -> bool:
        """Whether what it builds is a `what` (`Stream`, `Denoiser` …), as far as that is known before it is built."""
        built = get_type_hints(cls.build)["return"]
        return any(issubclass(one, what) for one in get_args(built) or (built,))

    def exports(self, medium: Medium, classes: int) -> bool:
        """Whether another library has such a model, so that `Model.export` can write it."""
        return False

    @classmethod
    def adopt(cls, folder: Path) -> "Adopted | None":
        """The model that another library keeps in `folder` as one of this kind; None when it is of no format it knows.

        Raises:
            MaquetteError: MQ-7040 when the format is known, but not all that this model does.
        """
        return None


@dataclass(frozen=True)
class Adopted:
    """What was made of a model from elsewhere: `weights` are the state_dict of what `model` builds for `medium`."""

    medium: MediumConfig
    model: ModelConfig
    weights: dict[str, Tensor]


class Model(nn.Module, ABC):
    """How to learn and what to believe. Parameters that belong to no player are frozen."""

    accepts: ClassVar[tuple[type, ...]]
    """The kinds of space it can model."""
    stepwise: ClassVar[bool] = False
    """Whether a draw may be asked for in more or fewer steps."""
    guidance: float = 1.0
    """The scale of classifier-free guidance by which it is drawn from unless told otherwise."""
    config: ModelConfig
    space: Space
    classes: int
    beside: Beside = Beside()
    """What it is given with each sample besides a label."""

    def players(self) -> dict[str, nn.Module]:
        """Who learns; each trainable parameter belongs to exactly one of them."""
        return {"model": self}

    @abstractmethod
    def turns(self) -> list[Turn]:
        """How they learn: the moves of one training step, in order."""

    def condition(self, given: Given, n: int) -> Condition:
        """What the networks receive for `n` samples asked for by `given`; an unconditional model receives nothing."""
        return Condition()

    @abstractmethod
    def predictor(self, condition: Condition) -> Predictor:
        """The network that samplers call, with `condition` filled in."""

    @abstractmethod
    def start(self, n: int, how: Sampling, rng: Seeds) -> Tensor:
        """Where drawing begins: noise, latent codes, an empty sequence. Row i uses row i of `rng` alone."""

    @abstractmethod
    def draw(self, predict: Predictor, start: Tensor, how: Sampling, rng: Seeds) -> Tensor:
        """Samples [n, *space.shape] from `start`; every step of a long draw calls `core.cancel.check()`."""

    def after_step(self, step: int) -> None:
        """The one hook: EMA targets, adaptive augmentation, codebooks. Most models leave it empty."""

    def begin(self, weights: dict[str, Tensor]) -> None:
        """Begin from the state_dict of an earlier model instead of at random; RuntimeError when it does not fit."""
        self.load_state_dict(weights)

    def learn_from(self, teacher: "Model", temperature: float, share: float) -> None:
        """From now on let `share` of the loss ask for what `teacher` believes, both made softer by `temperature`.

        The teacher does not become a part of the model: neither its state nor a copy of it holds one.

        Raises:
            MaquetteError: MQ-2140 when this kind cannot learn so, or `teacher` cannot teach it.
        """
        raise MaquetteError("MQ-2140", kind=self.config.kind(), what="learn from a teacher")

    def export(self, folder: Path, medium: Medium) -> None:
        """Write what another library opens this model by into `folder`, which `files.commit_folder` is filling.

        Raises:
            MaquetteError: MQ-7041 when no other library has such a model.
        """
        reason = f"no other library has a {self.config.kind()} model like it"
        raise MaquetteError("MQ-7041", reason=reason, todo="use its bundle, which is safetensors and JSON")

    def companions(self) -> dict[str, Callable[[Path], None]]:
        """Folders beside the bundle of a run, and what fills each of them; most models have none."""
        return {}


def refuse_space(kind: str, accepts: str, space: Space, hint: str) -> MaquetteError:
    """The sentence for a model that is given a space it cannot model."""
    return MaquetteError("MQ-2008", path="model", kind=kind, accepts=accepts, given=space, hint=hint)
