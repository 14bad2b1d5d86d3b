"""What training may begin from instead of at random: a run, a bundle, or a model of another library."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from maquette.bundle import Coding, find_bundle, read_bundle
from maquette.core.config import choose, kinds, override
from maquette.core.errors import MaquetteError
from maquette.data.along import Along
from maquette.data.source import Data
from maquette.media.base import MediumConfig
from maquette.models import foreign
from maquette.models.base import Model, ModelConfig

ORIGIN = ("from", "from_sha256")
"""What the card of a model says of the weights that it began from."""


@dataclass(frozen=True)
class Beginning:
    """A trained model as one begins from it; `digest` is the SHA-256 of the weights as they lay there."""

    medium: MediumConfig
    model: ModelConfig
    classes: list[str]
    weights: dict[str, Tensor]
    name: str
    digest: str
    coding: Coding = Coding()
    along: Along = Along()

    def read(self, data: Data) -> Data:
        """`data` with what was given along with the samples that the weights have learnt from."""
        return replace(data, given=self.along.craft or data.given, captions=self.along.captions or data.captions)

    @property
    def origin(self) -> dict[str, str]:
        """What the card of a model says that began here: see `ORIGIN`."""
        return dict(zip(ORIGIN, (self.name, self.digest), strict=True))

    def give(self, model: Model, classes: list[str]) -> None:
        """Put the weights into `model`, which knows the labels `classes`; raises MQ-7001 when they do not fit."""
        todo = "leave medium and model as they come with the weights, and the labels too"
        if self.classes and classes != self.classes:
            reason = (
                f"the weights know the labels {', '.join(self.classes)}; the data have {', '.join(classes) or 'none'}"
            )
            raise MaquetteError("MQ-7001", self.name, reason=reason, todo=todo)
        try:
            model.begin(self.weights)
        except RuntimeError as bad:
            raise MaquetteError("MQ-7001", self.name, reason=" ".join(str(bad).split()), todo=todo) from None


def begin(source: Path | str, kind: str = "") -> Beginning:
    """What lies at `source`: a run's folder, a bundle's, one of the Hugging Face libraries, or hf:NAME on their hub.

    Args:
        kind: of model that one from elsewhere becomes; by default the first, in the order of their names, that it can.

    Raises:
        MaquetteError: MQ-5004, MQ-7030, MQ-7031 and what `read_bundle` raises; for a model from elsewhere MQ-2134 when
            it is not there, MQ-7040 when it cannot be taken over, MQ-8003 when it is a pickle.
    """
    path = Path(source).expanduser()
    if str(source).startswith(foreign.HUB) or foreign.is_model(path):
        return _adopted(str(source), kind)
    bundle = read_bundle(find_bundle(path))
    name = str(bundle.card.get("name") or path.absolute().name)
    parts = bundle.medium_config, bundle.model_config, bundle.classes, bundle.weights
    return Beginning(*parts, name, bundle.digest, bundle.coding, bundle.along)


def kind_of(overrides: Sequence[str]) -> str:
    """What `key=value` words say of model.kind; "" when they say nothing."""
    tree: Any = override({}, list(overrides)).get("model")
    kind = tree.get("kind") if isinstance(tree, dict) else None
    return kind if isinstance(kind, str) else ""


def _adopted(source: str, kind: str) -> Beginning:
    folder, refused = foreign.locate(source), None
    name = source.removeprefix(foreign.HUB) if source.startswith(foreign.HUB) else folder.absolute().name
    for each in (kind,) if kind else kinds(ModelConfig.home):
        try:
            found = choose(each, ModelConfig, "model").adopt(folder)  # type: ignore[attr-defined]
        except MaquetteError as bad:
            if bad.code != "MQ-7040":
                raise
            refused = refused or bad
            continue
        if found is not None:
            return Beginning(found.medium, found.model, [], found.weights, name, foreign.digest(folder))
    raise refused or foreign.refusal(folder, f"no {kind or 'kind of model here'} can be made of its format")
