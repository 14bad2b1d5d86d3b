"""Differentiable augmentation: the critic sees real and made pictures changed alike, and gradients pass through.

A critic learns few pictures by heart. Shown only changed ones it cannot, and as made pictures are changed by the same
law, the generator is not taught the changes. DiffAugment (Zhao et al. 2020) changes every picture; adaptive
augmentation (ADA, Karras et al. 2020a) makes each change with a probability p, which rises while the critic is surer
of the real pictures that it learns from than `target` says, and falls while it is less sure.

Each row is changed by its own 16 uniform numbers; what comes from beyond the border is 0. All frames of a film are
changed alike. Sound can be moved and cut: a critic that sees it moved cannot go by the phase of what upsampling leaves
in made sound, which WaveGAN hides by shuffling phases in the critic (Donahue et al. 2019, section 3.3).
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from maquette.core.seeds import Seeds
from maquette.nets import dims
from maquette.nets.tally import Tally

Change = Literal["colour", "translation", "cutout", "geometry"]
"""colour: brightness, saturation, contrast; translation: up to an eighth of a side; cutout: a square of half the sides;
geometry: turned by any angle and scaled by up to 2^0.4, which is for p below 1 alone."""

FOR_SOUND: tuple[Change, ...] = ("translation", "cutout")
"""What sound can be changed by: it has no colours and cannot be turned."""

RISE = 100_000
"""Pictures over which p can rise from 0 to 1: Karras et al. take 500,000 for training runs of millions."""
MOST = 0.8
"""Of p: above, a generator may learn the changes too (Karras et al. 2020a, section 2.2)."""
GATES = 7


class Augmentation(nn.Module):
    """Changes pictures [b, c, h, w], films [b, c, t, h, w] or, by `FOR_SOUND` alone, sound [b, c, l].

    Args:
        changes: those that are made.
        target: of the mean sign of the critic's scores of real pictures, in (0, 1), by which p is adapted from 0 on;
            0 makes every change every time.
    """

    p: Tensor

    def __init__(self, changes: tuple[Change, ...], target: float = 0.0):
        super().__init__()
        self.changes, self.target = changes, target
        self.register_buffer("p", torch.tensor(0.0 if target else 1.0))
        self.signs = Tally()

    def forward(self, x: Float[Tensor, "b c *space"], rng: Seeds) -> Float[Tensor, "b c *space"]:
        if x.ndim == 3:  # sound is a picture of one row
            return self(x[:, :, None], rng)[:, :, 0]
        u = rng.uniform(GATES + 9)
        gate, u = (u[:, :GATES] < self.p).to(x.dtype), u[:, GATES:]
        if "colour" in self.changes:
            x = _recoloured(x, gate[:, :3] * (2 * u[:, :3] - 1))
        whole = x.shape
        x = x.flatten(1, -3)  # frames beside channels: all are moved and cut alike
        moves, bends = "translation" in self.changes, "geometry" in self.changes
        if moves or bends:
            shift = gate[:, 3:4] * u[:, 3:5].sub(0.5) if moves else torch.zeros_like(u[:, 3:5])
            bend = gate[:, 4:6] * (2 * u[:, 5:7] - 1) if bends else torch.zeros_like(u[:, 5:7])
            x = _warped(x, shift / 4, math.pi * bend[:, 0], torch.exp2(0.4 * bend[:, 1]))
        x = _cut(x, gate[:, 6], u[:, 7:9]) if "cutout" in self.changes else x
        return x.view(whole)

    def watch(self, scores: Float[Tensor, "b *scores"]) -> None:
        """Note how sure the critic is of real pictures: positive scores say real."""
        if self.target:
            self.signs.note(scores.detach().sign().flatten(1).mean(1))

    @torch.no_grad()
    def adapt(self) -> None:
        """Move p by what was watched since the last time (Karras et al. 2020a, section 3, r_t)."""
        if self.target:
            sure, n = self.signs.take()
            self.p.add_((sure - self.target).sign() * n / RISE).clamp_(0, MOST)


def _recoloured(x: Tensor, by: Tensor) -> Tensor:
    """Brightness added, saturation about the grey and contrast about the mean multiplied, by [b, 3] in [-1, 1]."""
    brightness, saturation, contrast = (dims.everywhere(by[:, i, None], x) for i in range(3))
    x = x + 0.5 * brightness
    x = torch.lerp(x.mean(1, keepdim=True), x, 1 + saturation)
    return torch.lerp(x.mean(tuple(range(1, x.ndim)), keepdim=True), x, 1 + 0.5 * contrast)


def _warped(x: Tensor, shift: Tensor, angle: Tensor, scale: Tensor) -> Tensor:
    """Moved by a whole number of pixels next to `shift` [b, 2] (shares of width and height), turned, scaled."""
    h, w = x.shape[-2:]
    across, down = ((torch.arange(side, device=x.device) * 2 + 1) / side - 1 for side in (w, h))
    moved = 2 * (shift * x.new_tensor([w, h])).round() / x.new_tensor([w, h])
    cos, sin = ((part / scale)[:, None, None] for part in (angle.cos(), angle.sin()))
    # by hand, because autocast would take the product of affine_grid in bf16, which is too coarse for places
    places = [
        cos * across - sin * (h / w) * down[:, None] + moved[:, :1, None],
        sin * (w / h) * across + cos * down[:, None] + moved[:, 1:, None],
    ]
    return F.grid_sample(x, torch.stack(places, 3), mode="bilinear", padding_mode="zeros", align_corners=False)


def _cut(x: Tensor, gate: Tensor, centre: Tensor) -> Tensor:
    """0 in a rectangle of half the sides about `centre` [b, 2] (shares of height and width), where `gate` [b] is 1.

    A single row is cut whenever its gate is 1, as there is nothing above or below it.
    """
    h, w = x.shape[-2:]
    down, right = ((torch.arange(side, device=x.device) + 0.5) / side for side in (h, w))
    rows, columns = ((place - c[:, None]).abs() < 0.25 for place, c in ((down, centre[:, 0]), (right, centre[:, 1])))
    rows = rows | (h == 1)
    inside = (rows[:, :, None] & columns[:, None, :]).to(x.dtype) * gate[:, None, None]
    return x * (1 - inside)[:, None]
