"""What goes with each sample into a model beside its label: said once in a recipe, and kept in the bundle."""

from dataclasses import dataclass

from maquette.core.config import Config
from maquette.core.types import Beside, Real, Space
from maquette.crafts.base import CraftConfig
from maquette.data.captions import Captions


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
