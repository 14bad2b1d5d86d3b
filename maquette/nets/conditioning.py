"""What a person gave -> what a network receives. Each embedder owns its null, and dropping happens here alone."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Condition, Given, Real
from maquette.nets import dims


class Embedder(nn.Module):
    """What turns a part of `Given` into a condition, and can withhold it.

    Attributes:
        width: of the vector that it gives; 0 when the model is given no such thing.
        drop: share of training rows from which it is withheld: guidance needs some.
    """

    width: int
    drop: float


def joined(*conditions: Condition) -> Condition:
    """One condition of several: their vectors side by side, and the sequence and the grid of those that have one."""
    vectors = [each.vector for each in conditions if each.vector is not None]
    read = next((each for each in conditions if each.sequence is not None), Condition())
    grid = next((each.grid for each in conditions if each.grid is not None), None)
    return Condition(torch.cat(vectors, 1) if vectors else None, read.sequence, read.mask, grid)


def untold(given: Given, share: float, rng: Seeds | None) -> Given:
    """While training, `given` with label and caption both withheld from a `share` of rows, where it has both.

    Guidance leads away from what a model makes that is told neither. Of rows from which two embedders withhold their
    parts each by itself, such are too few to learn from: one in a hundred where each withholds one in ten.
    """
    if rng is None or given.label is None or given.text is None:
        return given
    gone = rng.uniform() < share
    label, text = given.label.masked_fill(gone.to(given.label.device), -1), given.text
    return replace(given, label=label, text=text.masked_fill(gone[:, None].to(text.device), 0))


class LabelEmbedder(Embedder):
    """Class labels as a vector, with a learnt null for "no label" (Ho and Salimans 2021, classifier-free guidance).

    Args:
        classes: how many labels there are; 0 makes an embedder that gives an empty condition.
        width: of the vector.
        drop: share of training rows whose label is replaced by the null.
    """

    def __init__(self, classes: int, width: int, drop: float = 0.0):
        super().__init__()
        self.classes, self.width, self.drop = classes, width if classes else 0, drop
        self.table = nn.Embedding(classes + 1, width) if classes else None

    def forward(self, given: Given, n: int, rng: Seeds | None = None) -> Condition:
        """`Condition` for `n` rows; labels of -1 and absent ones become the null, and with `rng` some are dropped."""
        if self.table is None:
            return Condition()
        device = self.table.weight.device
        label = torch.full((n,), -1, device=device) if given.label is None else given.label.to(device)
        null = (label < 0) | (label >= self.classes)
        if rng is not None and self.drop > 0:
            null = null | (rng.uniform() < self.drop)
        return Condition(vector=self.table(torch.where(null, self.classes, label)))


class ImageEmbedder(nn.Module):
    """A given picture as a grid of the samples' height and width; where none is given, zeros. Nothing of it is learnt.

    Sound is given to sound and films to films likewise.

    Args:
        image: the space of the picture; none makes an embedder that gives no grid.
        space: of the samples; a picture of another size is resized, by bicubic interpolation (others by linear).

    Raises:
        MaquetteError: MQ-2009 when what is given has not the axes of the samples.
    """

    blank: Tensor

    def __init__(self, image: Real | None, space: Real):
        super().__init__()
        if image is not None and len(image.shape) != len(space.shape):
            reason, todo = f"samples of {space} have other axes", "give them something of their own kind"
            raise MaquetteError("MQ-2009", path="data.given", value=image, reason=reason, todo=todo)
        self.channels, self.sides = 0 if image is None else image.shape[0], space.shape[1:]
        self.register_buffer("blank", torch.zeros(self.channels, *self.sides), persistent=False)

    def forward(self, given: Given, n: int) -> Float[Tensor, "b c *sides"] | None:
        """The grid for `n` rows."""
        if not self.channels:
            return None
        if given.image is None:
            return self.blank.expand(n, *self.blank.shape)
        x = given.image.to(self.blank)
        if x.shape[2:] == self.sides:
            return x
        return F.interpolate(x, self.sides, mode="bicubic") if x.ndim == 4 else dims.resized(x, self.sides)


class TimeEmbedder(nn.Module):
    """A number per sample as `width` features: sinusoids of geometric frequencies, then a small MLP (Ho et al. 2020).

    Args:
        width: of the output; even.
        scale: what one unit of time is multiplied by before the sinusoids.
    """

    frequencies: Tensor

    def __init__(self, width: int, scale: float = 1000.0):
        super().__init__()
        half = width // 2
        self.register_buffer("frequencies", scale * torch.exp(-torch.arange(half) / half * 9.2103), persistent=False)
        self.mlp = nn.Sequential(nn.Linear(2 * half, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Float[Tensor, " b"]) -> Float[Tensor, "b d"]:
        angles = t.float()[:, None] * self.frequencies
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1))
