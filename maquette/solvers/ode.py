"""Solvers: from noise to a sample along falling levels, by any canonical denoiser `(y, s) -> x_hat`.

All have one signature, `(denoise, y, levels, rng)`: `y` [b, *space] lies at `levels[0]`, the result at `levels[-1]`
(0 gives a sample). They integrate the probability-flow equation dy/ds = (y - x_hat)/s (Karras et al. 2022, equation 3),
or, with fresh noise from `rng`, an SDE with the same marginals. Levels known, they serve every path and prediction.

| solver | order | calls of the network per level | when |
|---|---|---|---|
| dpm | 2 | 1 | the default: best at 10-30 steps |
| heun | 2 | 2 | the most exact at 20 steps and more |
| euler | 1 | 1 | the plain one; DDIM without noise is this very step |
| ddim | 1 | 1 | `eta` in [0, 1] adds fresh noise |
| ddpm | - | 1 | ancestral sampling; wants hundreds of steps, and mends errors made before |
"""

import inspect
import math
from collections.abc import Callable, Iterator
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor

from maquette.core import cancel
from maquette.core.errors import MaquetteError, nearest
from maquette.core.seeds import Seeds
from maquette.core.types import Predictor

Samples = Float[Tensor, "b *space"]
Levels = Float[Tensor, " levels"]
Solver = Callable[..., Tensor]


def euler(denoise: Predictor, y: Samples, levels: Levels, rng: Seeds | None = None) -> Samples:
    """First order; written as a mean of x_hat and y, so that a last level of 0 returns x_hat to the bit."""
    for s, s_next in _steps(levels):
        x = denoise(y, _at(s, y))
        y = x + (s_next / s) * (y - x)
    return y


def heun(denoise: Predictor, y: Samples, levels: Levels, rng: Seeds | None = None) -> Samples:
    """Second order by the trapezoidal rule, and Euler's step to level 0 (Karras et al. 2022, algorithm 1)."""
    for s, s_next in _steps(levels):
        x = denoise(y, _at(s, y))
        guess = x + (s_next / s) * (y - x)
        if s_next > 0:
            x_next = denoise(guess, _at(s_next, y))
            y = y + (s_next - s) / 2 * ((y - x) / s + (guess - x_next) / s_next)
        else:
            y = guess
    return y


def ddim(denoise: Predictor, y: Samples, levels: Levels, rng: Seeds | None = None, eta: float = 0.0) -> Samples:
    """Song, Meng and Ermon 2021, equation 12, divided by alpha: `eta` 0 is Euler's step, 1 ancestral sampling.

    The step goes down to `down`, below the next level, and fresh noise of standard deviation `up` leads back to it:
    down^2 + up^2 = s_next^2.
    """
    for s, s_next in _steps(levels):
        x = denoise(y, _at(s, y))
        up = eta * s_next * math.sqrt(1 - (s_next / s) ** 2)
        down = math.sqrt(s_next**2 - up**2)
        y = x + (down / s) * (y - x)
        if up > 0:
            y = y + up * _noise(rng, y)
    return y


def ddpm(denoise: Predictor, y: Samples, levels: Levels, rng: Seeds | None = None) -> Samples:
    """Ancestral sampling with the posterior's own variance (Ho et al. 2020, algorithm 2): DDIM with `eta` 1."""
    return ddim(denoise, y, levels, rng, eta=1.0)


def dpm(denoise: Predictor, y: Samples, levels: Levels, rng: Seeds | None = None) -> Samples:
    """DPM-Solver++(2M): second order from the last two x_hat (Lu et al. 2022b, algorithm 2), in lambda = -ln s."""
    before, h_before = None, 1.0
    for s, s_next in _steps(levels):
        x = ahead = denoise(y, _at(s, y))
        if s_next > 0:  # to level 0 a step of first order: h is infinite there
            h = math.log(s / s_next)
            if before is not None:
                ahead = x + h / (2 * h_before) * (x - before)
            before, h_before = x, h
        y = ahead + (s_next / s) * (y - ahead)
    return y


def _steps(levels: Tensor) -> Iterator[tuple[float, float]]:
    """Consecutive levels as numbers, read from the device once; looks at the cancel token before each step."""
    for pair in pairwise(levels.tolist()):
        cancel.check()
        yield pair


def _at(s: float, y: Tensor) -> Tensor:
    """The level of each sample, [b]."""
    return y.new_full((len(y),), s)


def _noise(rng: Seeds | None, like: Tensor) -> Tensor:
    if rng is None:
        raise MaquetteError("MQ-2041")
    return rng.normal(*like.shape[1:]).to(like)


# -- by name ----------------------------------------------------------------------------------------------------------


def solvers() -> dict[str, Solver]:
    """Every solver of this file by name: its public functions whose first argument is a denoiser."""
    functions = {name: f for name, f in globals().items() if inspect.isfunction(f) and not name.startswith("_")}
    return {name: f for name, f in functions.items() if next(iter(inspect.signature(f).parameters), "") == "denoise"}


def find(name: str, eta: float = 0.0, where: str = "sampling.solver") -> Solver:
    """The solver called `name`, with its share of fresh noise filled in; `where` it was named, for the error.

    Raises:
        MaquetteError: MQ-2040 when there is none of that name, MQ-2042 when it has no `eta` to set.
    """
    known = solvers()
    if name not in known:
        raise MaquetteError("MQ-2040", where, name=name, near=nearest(name, known))
    solver = known[name]
    if eta == 0:
        return solver
    if "eta" not in inspect.signature(solver).parameters:
        raise MaquetteError("MQ-2042", "sampling.eta", name=name)
    return lambda denoise, y, levels, rng=None: solver(denoise, y, levels, rng, eta=eta)
