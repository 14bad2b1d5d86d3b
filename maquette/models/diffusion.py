"""Diffusion and flow matching: learn to remove noise, then walk from noise to data.

One loss for the family, with a level s per sample and y = x + s noise:

    E_{x, s, noise} w(s) |F(alpha y, t(s)) - F*|^2,   F* = the noise, x, v or the velocity

`path` says how data and noise are mixed and what clock the network is told, `prediction` what it says, `times` which
levels are practised. DDPM is cosine or linear with noise (Ho et al. 2020), progressive distillation's model is cosine
with v (Salimans and Ho 2022), EDM is edm with v and normal times (Karras et al. 2022), rectified flow is flow with
velocity (Liu et al. 2023). The predictor is the canonical denoiser `(y, s) -> x_hat` in every case, so that solvers,
guidance and tasks need not know which it was.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from maquette.core.seeds import Seeds
from maquette.core.types import (
    Batch,
    Beside,
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
from maquette.nets.conditioning import ImageEmbedder, LabelEmbedder, joined, untold
from maquette.nets.reading import Reading, TextEmbedder
from maquette.solvers import likelihood, ode, paths
from maquette.solvers.paths import per_sample


@dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    """Diffusion models and flows."""

    takes: ClassVar[tuple[str, ...]] = ("label", "image", "text")
    search = {"times": ("uniform", "normal"), "weight": ("unit", "min_snr")}

    net: NetConfig = field(default_factory=unet.Config)
    path: Literal["cosine", "linear", "edm", "flow"] = "flow"
    """How data and noise are mixed, and the clock that the network is told."""
    prediction: Literal["noise", "x", "v", "velocity"] = "velocity"
    """What the network says; the velocity goes with `flow`, v and noise with the other paths."""
    times: Literal["uniform", "normal"] = "normal"
    """Which levels are practised: uniform in the path's time, or ln s normal as `spread` says."""
    spread: tuple[float, float] = (0.0, 1.0)
    """Mean and standard deviation of ln s for normal times, s in units of `data_std`: (0, 1) is flow's logit-normal
    (Esser et al. 2024), (-0.5, 1.2) EDM's choice."""
    weight: Literal["unit", "min_snr"] = "unit"
    """min_snr: weights min(1 / s^2, 5) on the error of x (Hang et al. 2023)."""
    data_std: float = 0.5
    """About the standard deviation of the data (Karras et al.'s sigma_data)."""
    levels: tuple[float, float] = (0.002, 80.0)
    """The lowest and the highest level of noise."""
    solver: str = "dpm"
    """How samples are drawn unless told otherwise."""
    steps: int = 20
    """Levels that the solver visits."""
    schedule: Literal["karras", "log_snr", "uniform"] = "karras"
    """Where these levels lie."""
    reading: Reading = field(default_factory=Reading)
    """How captions are read, where they are given; nets that can attend to them."""
    embed: int = 64
    """Width of a label's vector."""
    drop: float = 0.1
    """Share of training rows whose label or caption is hidden, so that guidance can be applied."""
    guidance: float = 1.0
    """How strongly samples follow their label and caption unless told otherwise: 1 is as learnt."""

    def __post_init__(self) -> None:
        self.check(self.spread[1] > 0, "spread", "a mean and a positive standard deviation")
        self.check(self.data_std > 0, "data_std", "a positive number")
        self.check(0 < self.levels[0] < self.levels[1], "levels", "two rising positive numbers")
        self.check(self.steps > 0, "steps", "a positive whole number")
        self.check(self.embed > 0, "embed", "a positive whole number")
        self.check(0 <= self.drop < 1, "drop", "in [0, 1)")
        self.check(self.guidance >= 0, "guidance", "a number from 0 on")
        self.check(self.guidance == 1 or self.drop > 0, "guidance", "1 where `drop` is 0")
        ode.find(self.solver, where="model.solver")

    def build(self, space: Space, classes: int = 0, beside: Beside = Beside()) -> "Diffusion":
        if not isinstance(space, Real):
            raise refuse_space("diffusion", "Real", space, "put a codec between that turns tokens into real numbers")
        return Diffusion(self, space, classes, beside)


class Diffusion(Model, Likelihood, Denoiser):
    accepts = (Real,)
    bound = True

    def __init__(self, config: Config, space: Real, classes: int = 0, beside: Beside = Beside()):
        super().__init__()
        self.config: Config = config  # pyright: ignore[reportIncompatibleVariableOverride]
        self.space: Real = space  # pyright: ignore[reportIncompatibleVariableOverride]
        self.classes, self.beside, self.levels = classes, beside, config.levels
        self.guidance = config.guidance if classes or beside.text else 1.0
        self.embed = LabelEmbedder(classes, config.embed, config.drop)
        self.show = ImageEmbedder(beside.image, space)
        self.read = TextEmbedder(beside.text, config.reading, config.drop)
        source, vector = (space.shape[0] + self.show.channels, *space.shape[1:]), self.embed.width + self.read.width
        self.net = config.net.build(source, space.shape, vector=vector, timed=True, sequence=self.read.width)
        self.path, self.prediction = paths.PATHS[config.path], paths.PREDICTIONS[config.prediction]

    def turns(self) -> list[Turn]:
        return [Turn("model", self.loss)]

    def condition(self, given: Given, n: int, rng: Seeds | None = None) -> Condition:
        """With `rng`, some labels and captions are hidden. A given picture never is: it is concatenated to what is
        denoised (Saharia et al. 2022)."""
        given = untold(given, self.config.drop, rng)
        told = joined(self.embed(given, n, rng), self.read(given, n, rng))
        return replace(told, grid=self.show(given, n))

    # -- learning ---------------------------------------------------------------------------------------------------

    def loss(self, batch: Batch, progress: float) -> tuple[Float[Tensor, ""], Stats]:
        """Weighted squared error of the network's output, a mean over samples and their dimensions."""
        rng = batch.rng.fork(0)
        r = self.practised(rng.strata())
        x = batch.x / self.config.data_std
        y = x + per_sample(r, x) * rng.normal(*x.shape[1:])
        alpha = self.path.alpha(r)
        said = self.output(y, r, self.condition(batch.given, len(x), rng))
        error = (said - paths.target(self.prediction, alpha, r, y, x)).square().flatten(1).mean(1)
        if self.config.weight == "min_snr":
            error = error * self.prediction(alpha, r)[1] ** 2 * (1 / r**2).clamp(max=5.0)
        return error.mean(), {}

    def practised(self, u: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Uniform numbers -> levels in units of `data_std`, by the inverse of their distribution."""
        low, high = (u.new_tensor(level / self.config.data_std) for level in self.config.levels)
        if self.config.times == "uniform":
            first, last = self.path.time(low), self.path.time(high)
            return self.path.level(first + (last - first) * u)
        return paths.normal_levels(u, *self.config.spread, low, high)

    def output(
        self, y: Float[Tensor, "b *space"], r: Float[Tensor, " b"], condition: Condition
    ) -> Float[Tensor, "b *space"]:
        """What the network says at y of level r, both in units of `data_std`, in fp32."""
        return self.net(per_sample(self.path.alpha(r), y) * y, self.path.time(r), condition).float()

    # -- drawing ----------------------------------------------------------------------------------------------------

    def predictor(self, condition: Condition) -> Predictor:
        """The canonical denoiser `(y, s) -> x_hat`, y = x + s noise with s [b].

        Where the space has levels x_hat is kept in [-1, 1], as is the mean of data that it estimates.
        """
        std, bounded = self.config.data_std, bool(self.space.levels)

        def denoise(y: Float[Tensor, "b *space"], s: Float[Tensor, " b"]) -> Float[Tensor, "b *space"]:
            y, r = y / std, s / std
            said = self.output(y, r, condition)
            x = std * paths.denoised(self.prediction, self.path.alpha(r), r, y, said)
            return x.clamp(-1, 1) if bounded else x

        return denoise

    def start(self, n: int, how: Sampling, rng: Seeds) -> Float[Tensor, "b *space"]:
        return rng.normal(*self.space.shape) * (self.first(how) * how.temperature)

    def draw(
        self, predict: Predictor, start: Float[Tensor, "b *space"], how: Sampling, rng: Seeds
    ) -> Float[Tensor, "b *space"]:
        """Raises `MaquetteError` MQ-2040 or MQ-2042 when there is no such solver, or it has no `eta`."""
        solver = ode.find(how.solver or self.config.solver, how.eta)
        x = solver(predict, start, self.visited(how), rng)
        return x.clamp(-1, 1) if self.space.levels else x

    def first(self, how: Sampling) -> float:
        """The level at which a draw starts."""
        return paths.first_level(how.strength, self.config.data_std, *self.levels)

    def visited(self, how: Sampling) -> Float[Tensor, " levels"]:
        """The levels of a draw, and 0."""
        steps, low, high = how.steps or self.config.steps, self.levels[0], self.first(how)
        if self.config.schedule == "uniform":
            std = self.config.data_std
            return std * paths.uniform_levels(steps, low / std, high / std, self.path)
        return {"karras": paths.karras_levels, "log_snr": paths.log_snr_levels}[self.config.schedule](steps, low, high)

    # -- judging ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def nll(self, batch: Batch) -> Float[Tensor, " b"]:
        """The variational bound in nats per sample, from a few levels of each."""
        denoise = self.predictor(self.condition(batch.given, len(batch)))
        return likelihood.bound(denoise, batch.x, *self.levels, batch.rng.fork(0), self.space.levels)
