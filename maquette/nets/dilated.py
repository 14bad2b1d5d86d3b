"""Gated dilated causal convolutions along time: each place sees itself and the places before it, as far as they reach.

WaveNet (van den Oord et al. 2016, section 2 and figure 4): a layer of dilation d reads its input at the places t,
t - d, ... and is

    z = tanh(W_f * x + V_f h) sigmoid(W_g * x + V_g h),    x <- x + A z,    skip <- skip + B z

with * the dilated convolution and h the condition (equation 2 and section 2.5). What the layers skip to is summed and
goes through two 1 x 1 layers. Places are the rows of matrices and channels their columns, so that each layer is two
matrix products: one for filter and gate, one for residual and skip.

A condition may be a vector, the same at all times (a label), and a grid of frames at a lower rate (a spectrogram).
Frames are read with their two neighbours and brought to the rate of the samples by linear interpolation between their
centres: a transposed convolution whose kernel is a triangle. What a layer is told is linear in them, so it is computed
for each frame and interpolated afterwards.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from maquette.core.errors import MaquetteError
from maquette.core.types import Condition
from maquette.nets.base import Net, NetConfig, Shape, refuse_sequence

FEW = 256
"""Frames up to which they are interpolated by a matrix, which is quicker to learn through."""


@dataclass(frozen=True, kw_only=True)
class Config(NetConfig):
    """A causal network of sequences."""

    width: int = 64
    """Channels that a layer passes on, and of its filter and its gate each; even."""
    skip: int = 64
    """Channels of what all layers add up."""
    layers: int = 20
    kernel: int = 2
    """Places that a layer reads."""
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
    """Distance between these places, repeated over the layers."""

    def __post_init__(self) -> None:
        self.check(self.width > 0 and self.width % 2 == 0, "width", "a positive even number")
        self.check(self.skip > 0 and self.skip % 2 == 0, "skip", "a positive even number")
        self.check(self.layers > 0, "layers", "a positive whole number")
        self.check(self.kernel > 1, "kernel", "a whole number above 1")
        self.check(bool(self.dilations) and min(self.dilations) > 0, "dilations", "a list of positive whole numbers")

    @classmethod
    def tiny(cls) -> "Config":
        """Small enough for a test."""
        return cls(width=8, skip=8, layers=3, dilations=(1, 2, 4))

    @property
    def chosen(self) -> list[int]:
        """The dilation of each layer."""
        return [self.dilations[i % len(self.dilations)] for i in range(self.layers)]

    @property
    def reach(self) -> int:
        """Places that an output sees: its own and those before."""
        return 1 + (self.kernel - 1) * sum(self.chosen)

    def build(
        self,
        source: Shape,
        target: Shape,
        vector: int = 0,
        timed: bool = False,
        sequence: int = 0,
        grid: int = 0,
    ) -> "Dilated":
        """As every net; `grid` is the number of channels of `Condition.grid` [b, grid, frames], 0 without one."""
        if sequence:
            raise refuse_sequence("dilated")
        if timed or len(source) != 2 or len(target) != 2 or source[1] != target[1]:
            reason = f"it maps (c, l) to (d, l), not {source} to {target}" + (" at a time" if timed else "")
            raise MaquetteError(
                "MQ-2009", path="net", value="dilated", reason=reason, todo="choose another kind of net"
            )
        return Dilated(self, source, target, vector, grid)


class Dilated(Net):
    """(x, condition) -> one vector per place that depends on this place and earlier ones only.

    Where what comes in is as wide as the net there is no 1 x 1 layer before the first.
    """

    def __init__(self, config: Config, source: Shape, target: Shape, vector: int, grid: int):
        super().__init__()
        self.config, self.source, self.target, self.vector, self.grid = config, source, target, vector, grid
        width, skip, layers = config.width, config.skip, config.layers
        self.enter = nn.Linear(source[0], width) if source[0] != width else None
        self.gates = nn.ModuleList(nn.Linear(config.kernel * width, 2 * width) for _ in range(layers))
        # nobody reads what the last layer would pass on
        self.mixes = nn.ModuleList(nn.Linear(width, skip + width * (i + 1 < layers)) for i in range(layers))
        self.tell = nn.Linear(vector, 2 * width * layers, bias=False) if vector else None
        self.frames = nn.Conv1d(grid, 2 * width, 3, padding=1) if grid else None
        self.show = nn.Linear(2 * width, 2 * width * layers, bias=False) if grid else None
        self.head = nn.Linear(skip, skip)
        self.out = nn.Linear(skip, target[0])
        for layer, mix in zip(self.gates, self.mixes, strict=True):
            nn.init.normal_(layer.weight, 0.0, (config.kernel * width) ** -0.5)  # type: ignore[arg-type]
            nn.init.normal_(mix.weight, 0.0, (width * layers) ** -0.5)  # type: ignore[arg-type]
        nn.init.normal_(self.head.weight, 0.0, (2 / skip) ** 0.5)
        nn.init.normal_(self.out.weight, 0.0, skip**-0.5)
        for part in (*self.gates, *self.mixes, self.head, self.out):
            nn.init.zeros_(part.bias)  # type: ignore[arg-type]

    def forward(
        self, x: Float[Tensor, "b c l"], t: Float[Tensor, " b"] | None = None, condition: Condition = Condition()
    ) -> Float[Tensor, "b d l"]:
        return self.run(x.mT, condition)[0].mT

    def run(
        self,
        x: Float[Tensor, "b l c"],
        condition: Condition,
        past: "Past | None" = None,
        first: Int[Tensor, " b"] | None = None,
        last: int = 0,
    ) -> tuple[Float[Tensor, "b m d"], "Past | None"]:
        """The same with the channels last, of any stretch of places.

        Args:
            past: what is known of the places before these; it then holds these as well. None: there are none, or
                they are of no interest.
            first: the number of each row's first place, when that is not 0 (or where `past` ends); a negative one
                begins before the beginning, where every layer sees zeros. Not with `past`.
            last: give the outputs of so many places at the end; 0 gives all.
        """
        n, length = x.shape[:2]
        told = self.told(condition, n) if past is None else past.told
        start = torch.zeros(1, dtype=torch.int64, device=x.device) if first is None else first
        if past is not None:
            start = start + past.at
        places = start[:, None] + torch.arange(length, device=x.device)
        there = None if first is None or bool((first >= 0).all()) else (places >= 0)[..., None]
        between = None if told is None else self._between(places, told.shape[1])
        h = x if self.enter is None else self.enter(x)
        total: Tensor | None = None
        for i, (gate, mix) in enumerate(zip(self.gates, self.mixes, strict=True)):
            h = h if there is None else h * there
            y = gate(self._taps(h, i, past))
            if told is not None and between is not None:
                y = y + between(told[:, :, i])
            found = mix(gated(y))
            skipped = found[:, -last:, -self.config.skip :]
            total = skipped if total is None else total + skipped
            if i + 1 < len(self.gates):
                h = h + found[..., : -self.config.skip]
        if past is not None:
            past.at += length
        assert total is not None
        return self.out(self.head(total.relu()).relu()), past

    def past(self, n: int, condition: Condition) -> "Past":
        """Nothing yet, for `n` rows."""
        config, like = self.config, self.out.weight
        spans = [(config.kernel - 1) * dilation for dilation in config.chosen]
        return Past(0, self.told(condition, n), [like.new_zeros(n, span, config.width) for span in spans])

    def told(self, condition: Condition, n: int) -> Float[Tensor, "b frames layers two_w"] | None:
        """What each layer is told before its gate, at each frame: one where there is no grid."""
        said = None
        if self.show is not None and self.frames is not None:
            grid = condition.grid
            if grid is None:
                grid = self.frames.weight.new_zeros(n, self.grid, 1)
            said = self.show(F.gelu(self.frames(grid)).mT)
        if self.tell is not None and condition.vector is not None:
            vector = self.tell(condition.vector)[:, None]
            said = vector if said is None else said + vector
        return None if said is None else said.unflatten(-1, (self.config.layers, -1))

    def _taps(self, h: Float[Tensor, "b l w"], layer: int, past: "Past | None") -> Float[Tensor, "b l k_w"]:
        """The places that a layer reads, the oldest first."""
        dilation = self.config.chosen[layer]
        span = (self.config.kernel - 1) * dilation
        if past is not None:
            return past.taps(h, layer, dilation)
        padded = F.pad(h, (0, 0, span, 0))
        return torch.cat([padded[:, shift : shift + h.shape[1]] for shift in range(0, span, dilation)] + [h], -1)

    def _between(self, places: Int[Tensor, "n l"], frames: int) -> Callable[[Tensor], Tensor]:
        """Takes what there is of each frame [b, frames, d] to what there is at places [b, l, d]: all of a frame at its
        centre, some of two in between. `places` are of each row, or one row for all."""
        if frames == 1:
            return lambda x: x
        spot = ((places + 0.5) * (frames / self.source[1]) - 0.5).clamp(0, frames - 1)
        if frames <= FEW:
            shares = (1 - (spot[..., None] - torch.arange(frames, device=spot.device)).abs()).clamp_min(0)
            return lambda x: shares @ x
        before = spot.long()
        after, share = (before + 1).clamp(max=frames - 1), (spot - before)[..., None]

        def interpolated(x: Tensor) -> Tensor:
            row = torch.arange(len(x), device=x.device)[:, None]
            return torch.lerp(x[row, before], x[row, after], share)

        return interpolated


@dataclass
class Past:
    """What a `Dilated` net needs of earlier places to go on: the last inputs of each layer, in rings.

    Attributes:
        at: how many places there were.
        rings: [b, span, width] of each layer; place t is at t modulo span.
    """

    at: int
    told: Float[Tensor, "b frames layers two_w"] | None
    rings: list[Tensor]

    def taps(self, h: Float[Tensor, "b l w"], layer: int, dilation: int) -> Float[Tensor, "b l k_w"]:
        """What a layer of this dilation reads at the places of `h`, which come next and are kept."""
        ring, length = self.rings[layer], h.shape[1]
        span = ring.shape[1]
        if length == 1:
            taps = [ring[:, (self.at - back) % span] for back in range(span, 0, -dilation)]
            joined = torch.cat([*taps, h[:, 0]], -1)[:, None]
            ring[:, self.at % span] = h[:, 0]
            return joined
        whole = torch.cat([ring.roll(-(self.at % span), 1), h], 1)
        ring.copy_(whole[:, -span:].roll((self.at + length) % span, 1))
        return torch.cat([whole[:, shift : shift + length] for shift in range(0, span + 1, dilation)], -1)

    def picked(self, rows: Int[Tensor, " b"]) -> "Past":
        """With row i that of row `rows[i]`."""
        told = self.told if self.told is None else self.told[rows]
        return Past(self.at, told, [ring[rows] for ring in self.rings])


def gated(y: Float[Tensor, "*at two_w"]) -> Float[Tensor, "*at w"]:
    """Equation 2: the tanh of one half of the channels, let through by the sigmoid of the other."""
    filtered, gate = y.chunk(2, -1)
    return filtered.tanh() * gate.sigmoid()
