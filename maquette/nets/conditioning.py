"""What a person gave -> what a network receives. Each embedder owns its null, and dropping happens here alone."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from maquette.core.seeds import Seeds
from maquette.core.types import Condition, Given


class LabelEmbedder(nn.Module):
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
