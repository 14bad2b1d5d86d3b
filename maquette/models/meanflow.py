"""MeanFlow: the average velocity over a span of the path, so that one to four steps draw a sample (Geng et al. 2025).

On rectified flow's path z_t = (1 - t) x + t noise the flow has a velocity v(z_t, t); u(z_t, r, t) is its average from r
to t along the flow through z_t (their equation 3). Differentiating (t - r) u along the flow gives

    u = v - (t - r) du/dt,    du/dt = v @u/@z + @u/@t                               (equations 6 and 8, r held fixed)

which is learnt as a regression of u on the right-hand side, with noise - x for the first v and no gradient through
du/dt (equations 9 to 11). du/dt is one derivative in forward mode, taken of those rows alone whose span is not empty;
its v is the network's own u(z_t, t, t), which varies less than noise - x (Geng et al. 2025b, "Improved Mean Flows").
Rows with r = t learn rectified flow itself. A step from t to r is z_r = z_t - (t - r) u (equation 12).

The predictor is the canonical denoiser, told in addition where a step ends, `(y, s, to) -> x_hat`. Euler's step of
`solvers/ode.py` towards that x_hat is then equation 12, however long it is; x_hat is the mean of the denoiser's own
along the way, weighted by 1 / s^2, so that guidance and the wraps for tasks mean what they mean for a denoiser. Without
`to` it is the plain denoiser, for every solver.
"""

from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from maquette.core import cancel
from maquette.core.seeds import Seeds
from maquette.core.types import (
    Batch,
    Condition,
    Denoiser,
    Given,
    Likelihood,
    Predictor,
    Real,
    Sampling,
    Space,
    Stats,
    Turn,
)
from maquette.models.base import Model, ModelConfig, refuse_space
from maquette.nets import unet
from maquette.nets.base import NetConfig
from maquette.nets.conditioning import LabelEmbedder, TimeEmbedder
from maquette.solvers import likelihood, ode, paths
from maquette.solvers.paths import per_sample

CLOCK = 0.01
"""What the network is told is the time times this: its sinusoids then turn by at most 10 along the path, and du/dt,
which is learnt from, is not the noise of features that turn by 1000."""
SMALL = 0.1
"""An error below this weighs no more than one of this size. Errors weighed by their own size seek the modes of data
where samples have few dimensions and errors vary: with the paper's 1e-3 most went to one of two equal blobs."""


@dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    """Average velocities, for samples in one to four steps."""

    search = {"spans": 2.0}

    net: NetConfig = field(default_factory=unet.Config)
    spans: float = 0.25
    """Share of training rows that learn a span; the others learn the velocity, as in rectified flow."""
    spread: tuple[float, float] = (-0.4, 1.0)
    """Mean and standard deviation of ln s of a span's two ends, s in units of `data_std`."""
    data_std: float = 0.5
    """About the standard deviation of the data."""
    levels: tuple[float, float] = (0.002, 80.0)
    """The lowest and the highest level of noise."""
    steps: int = 4
    """Of a draw, evenly spaced in time, unless a solver is asked for."""
    embed: int = 64
    """Width of a label's vector and of a span's."""
    drop: float = 0.1
    """Share of training rows whose label is hidden, so that guidance can be applied."""

    def __post_init__(self) -> None:
        self.check(0 < self.spans <= 1, "spans", "a share in (0, 1]")
        self.check(self.spread[1] > 0, "spread", "a mean and a positive standard deviation")
        self.check(self.data_std > 0, "data_std", "a positive number")
        self.check(0 < self.levels[0] < self.levels[1], "levels", "two rising positive numbers")
        self.check(self.steps > 0, "steps", "a positive whole number")
        self.check(self.embed > 0 and self.embed % 2 == 0, "embed", "a positive even number")
        self.check(0 <= self.drop < 1, "drop", "in [0, 1)")

    def build(self, space: Space, classes: int = 0) -> "MeanFlow":
        if not isinstance(space, Real):
            raise refuse_space("meanflow", "Real", space, "put a codec between that turns tokens into real numbers")
        return MeanFlow(self, space, classes)


class MeanFlow(Model, Likelihood, Denoiser):
    accepts = (Real,)
    bound = True

    def __init__(self, config: Config, space: Real, classes: int = 0):
        super().__init__()
        self.config: Config = config  # pyright: ignore[reportIncompatibleVariableOverride]
        self.space: Real = space  # pyright: ignore[reportIncompatibleVariableOverride]
        self.classes, self.levels = classes, config.levels
        self.embed = LabelEmbedder(classes, config.embed, config.drop)
        self.span = TimeEmbedder(config.embed, scale=1000 * CLOCK)
        self.net = config.net.build(space.shape, space.shape, vector=config.embed, timed=True)

    def turns(self) -> list[Turn]:
        return [Turn("model", self.loss)]

    def condition(self, given: Given, n: int) -> Condition:
        return self.embed(given, n)

    # -- learning ---------------------------------------------------------------------------------------------------

    def loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        """Mean logarithm of each row's squared error.

        Its gradient is that of the error divided by its own size: the paper's adaptive weight, with p = 1.
        """
        rng = batch.rng.fork(0)
        one, other = self.practised(rng.strata()), self.practised(rng.strata())
        chosen = rng.strata() < self.config.spans
        t = torch.where(chosen, torch.maximum(one, other), one)
        span = torch.where(chosen, (one - other).abs(), 0)
        x = batch.x / self.config.data_std
        noise = rng.normal(*x.shape[1:])
        z = x + per_sample(t, x) * (noise - x)
        condition = self.embed(batch.given, len(x), rng)
        said = self.average(z, t, span, condition)
        goal = self.goal(z, t, span, condition, noise - x, chosen)
        error = (said - goal).square().flatten(1).mean(1)
        return (error + SMALL).log().mean(), {"error": error.mean()}

    def practised(self, u: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Uniform numbers -> times."""
        low, high = (u.new_tensor(level / self.config.data_std) for level in self.levels)
        s = paths.normal_levels(u, *self.config.spread, low, high)
        return s / (1 + s)

    def average(
        self, z: Float[Tensor, "b *space"], t: Float[Tensor, " b"], span: Float[Tensor, " b"], condition: Condition
    ) -> Float[Tensor, "b *space"]:
        """u: what the network says of the velocity at z_t, averaged over the `span` that ends at t, in fp32."""
        vector = self.span(span) if condition.vector is None else condition.vector + self.span(span)
        return self.net(z, CLOCK * t, replace(condition, vector=vector)).float()

    @torch.no_grad()
    def goal(
        self,
        z: Float[Tensor, "b *space"],
        t: Float[Tensor, " b"],
        span: Float[Tensor, " b"],
        condition: Condition,
        v: Float[Tensor, "b *space"],
        chosen: Bool[Tensor, " b"],
    ) -> Float[Tensor, "b *space"]:
        """v - (t - r) du/dt for the rows that were `chosen`, v for the others."""
        (rows,) = chosen.nonzero(as_tuple=True)
        if not len(rows):
            return v
        z, t, span, condition = z[rows], t[rows], span[rows], condition.rows(rows)
        return v.index_add(0, rows, per_sample(span, z) * self.rise(z, t, span, condition), alpha=-1)

    @torch.no_grad()
    def rise(
        self, z: Float[Tensor, "b *space"], t: Float[Tensor, " b"], span: Float[Tensor, " b"], condition: Condition
    ) -> Float[Tensor, "b *space"]:
        """du/dt along the flow, the beginning of the span held fixed: t and the span grow alike."""
        v, one = self.average(z, t, torch.zeros_like(t), condition), torch.ones_like(t)
        # forward mode wants one precision throughout, and fused attention has no derivative in it
        exact = torch.autocast(z.device.type, enabled=False)
        with exact, sdpa_kernel(SDPBackend.MATH), forward_ad.dual_level():
            z, t, span = (forward_ad.make_dual(*pair) for pair in ((z, v), (t, one), (span, one)))
            risen = forward_ad.unpack_dual(self.average(z, t, span, condition)).tangent
        assert risen is not None, "what depends on its inputs has a derivative by them"
        return risen

    # -- drawing ----------------------------------------------------------------------------------------------------

    def predictor(self, condition: Condition) -> Predictor:
        """`(y, s, to) -> x_hat`, y = x + s noise with s [b], towards which a step down to the level `to` [b] goes.

        Without `to` it is the denoiser. Where the space has levels x_hat is kept in [-1, 1], as is the mean of data
        that it estimates.
        """
        std, bounded = self.config.data_std, bool(self.space.levels)

        def denoise(
            y: Float[Tensor, "b *space"], s: Float[Tensor, " b"], to: Float[Tensor, " b"] | None = None
        ) -> Float[Tensor, "b *space"]:
            t = s / (std + s)
            span = torch.zeros_like(t) if to is None else t - to / (std + to)
            z = per_sample(1 - t, y) * y / std
            x = std * (z - per_sample(t, y) * self.average(z, t, span, condition))
            return x.clamp(-1, 1) if bounded else x

        return denoise

    def start(self, n: int, how: Sampling, rng: Seeds) -> Float[Tensor, "b *space"]:
        return rng.normal(*self.space.shape) * (self.first(how) * how.temperature)

    def draw(
        self, predict: Predictor, start: Float[Tensor, "b *space"], how: Sampling, rng: Seeds
    ) -> Float[Tensor, "b *space"]:
        """By steps of the average velocity; by a solver of `solvers/ode.py`, from the velocity, when one is asked for.

        Raises `MaquetteError` MQ-2040 or MQ-2042 when there is no such solver, or it has no `eta`.
        """
        levels = self.visited(how)
        if how.solver or how.eta:
            x = ode.find(how.solver or "ddim", how.eta)(predict, start, levels, rng)
        else:
            x = self.leap(predict, start, levels)
        return x.clamp(-1, 1) if self.space.levels else x

    def leap(
        self, predict: Predictor, y: Float[Tensor, "b *space"], levels: Float[Tensor, " levels"]
    ) -> Float[Tensor, "b *space"]:
        """From the first level to the last, 0."""
        for s, to in pairwise(levels.tolist()):
            cancel.check()
            x = predict(y, y.new_full((len(y),), s), y.new_full((len(y),), to))
            y = x + (to / s) * (y - x)
        return y

    def visited(self, how: Sampling) -> Float[Tensor, " levels"]:
        """Of a solver, or such that its own steps take equal times."""
        steps, first = how.steps or self.config.steps, self.first(how)
        if how.solver or how.eta:
            return paths.karras_levels(steps, self.levels[0], first)
        t = torch.linspace(first / (self.config.data_std + first), 0, steps + 1, dtype=torch.float64)
        return self.config.data_std * t / (1 - t)

    def first(self, how: Sampling) -> float:
        """The level at which a draw starts."""
        return paths.first_level(how.strength, self.config.data_std, *self.levels)

    # -- judging ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def nll(self, batch: Batch) -> Float[Tensor, " b"]:
        """The variational bound in nats per sample, from a few levels of each."""
        denoise = self.predictor(self.embed(batch.given, len(batch)))
        return likelihood.bound(denoise, batch.x, *self.levels, batch.rng.fork(0), self.space.levels)
