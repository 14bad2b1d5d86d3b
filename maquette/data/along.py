"""What goes with each sample into a model beside its label: said once in a recipe, and kept in the bundle."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from maquette.core.config import Config
from maquette.core.types import Beside, Real, Space
from maquette.crafts.base import CraftConfig
from maquette.data.captions import Captions
from maquette.media.base import Medium


@dataclass(frozen=True, kw_only=True)
class Along(Config):
    """What a trained model is given, beside a label; nothing unless something is said."""

    craft: CraftConfig | None = None
    """What was taken from the samples that it learnt from: it is given the rest."""
    picture: bool = False
    """Whether it is given another picture of the same medium."""
    captions: Captions | None = None
    """How the words that it is given become tokens."""

    def beside(self, space: Space) -> Beside:
        """The spaces of it, for samples of `space`; raises MQ-2009 where the craft does not suit them."""
        text = None if self.captions is None else self.captions.space
        if not isinstance(space, Real):
            return Beside(text=text)
        image = self.craft.space(space) if self.craft else space if self.picture else None
        return Beside(image=image, text=text)

    def shown(self, given: Tensor, medium: Medium) -> np.ndarray:
        """What is given with samples as stored items [b, *medium.stored], to be looked at beside them."""
        if self.craft is None or not isinstance(medium.space, Real):
            return medium.from_tensor(given)
        return medium.from_tensor(self.craft.shown(given, medium.space))
