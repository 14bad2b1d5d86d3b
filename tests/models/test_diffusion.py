"""Diffusion on data whose exact denoiser and likelihood are known, and the promises of its config."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Condition, Given, Real, Sampling, Tokens
from maquette.models import diffusion
from maquette.models.diffusion import Diffusion
from maquette.nets import mlp, unet
from maquette.solvers import ode, paths
from maquette.solvers.guidance import guide

KINDS = {
    "ddpm": {"path": "linear", "prediction": "noise", "times": "uniform"},
    "v": {"path": "cosine", "prediction": "v", "times": "uniform"},
    "x": {"path": "cosine", "prediction": "x", "times": "uniform"},
    "edm": {"path": "edm", "prediction": "v", "times": "normal"},
    "flow": {"path": "flow", "prediction": "velocity", "times": "normal", "spread": (0.0, 1.0)},
}
FAR, SIGMA, ROWS = 0.6, 0.05, 192
LEFT, RIGHT = torch.tensor([-FAR, 0.0]), torch.tensor([FAR, 0.0])


def points(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two blobs, one for each label."""
    rng = Seeds.for_batch(seed, 0, n)
    label = rng.integers(2)
    return torch.where(label[:, None] == 0, LEFT, RIGHT) + SIGMA * rng.normal(2), label


def trained(config: diffusion.Config, classes: int = 0, steps: int = 400) -> Diffusion:
    torch.manual_seed(0)
    model = config.build(Real((2,)), classes)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - step / steps)
        x, label = points(ROWS, step)
        batch = Batch(x, Given(label=label if classes else None), Seeds.for_batch(1, step, ROWS))
        loss, _ = model.loss(batch, step / steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.requires_grad_(False)


def drawn(model: Diffusion, n: int = 400, label: int | None = None, guidance: float = 1.0, **how) -> Tensor:
    given = Given(label=None if label is None else torch.full((n,), label))
    predict = model.predictor(model.condition(given, n))
    if guidance != 1:
        predict = guide(predict, model.predictor(model.condition(Given(), n)), guidance)
    rng, sampling = Seeds.for_samples(5, n), Sampling(**how)
    return model.draw(predict, model.start(n, sampling, rng), sampling, rng)


def near(x: Tensor, centre: Tensor) -> float:
    """The share of points within 4 sigma of a centre."""
    return ((x - centre).norm(dim=1) < 4 * SIGMA).float().mean().item()


@pytest.fixture(scope="module")
def conditional() -> Iterator[Diffusion]:
    yield trained(diffusion.Config(net=mlp.Config(width=64, depth=3), drop=0.3), classes=2)


# -- what is learnt ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_learns_two_blobs(kind: str) -> None:
    x = drawn(trained(diffusion.Config(net=mlp.Config(width=64, depth=3), **KINDS[kind])))
    left, right = near(x, LEFT), near(x, RIGHT)
    assert left + right > 0.8 and abs(left - right) < 0.2, (left, right)


def test_a_label_chooses_the_blob_and_its_absence_neither(conditional: Diffusion) -> None:
    assert near(drawn(conditional, label=0), LEFT) > 0.9
    assert near(drawn(conditional, label=1), RIGHT) > 0.9
    free = drawn(conditional)
    assert min(near(free, LEFT), near(free, RIGHT)) > 0.25
    assert near(drawn(conditional, label=1, guidance=2.0), RIGHT) > 0.9


@pytest.mark.parametrize("solver", sorted(ode.solvers()))
def test_every_solver_draws_from_it(conditional: Diffusion, solver: str) -> None:
    assert near(drawn(conditional, label=0, solver=solver, steps=60), LEFT) > 0.8


def test_a_sample_does_not_depend_on_its_batch(conditional: Diffusion) -> None:
    whole = drawn(conditional, n=5, label=0, solver="ddpm")
    torch.testing.assert_close(drawn(conditional, n=2, label=0, solver="ddpm"), whole[:2])


# -- the mathematics ---------------------------------------------------------------------------------------------------


class Exact(torch.nn.Module):
    """A network in the model's place that answers as the exact denoiser of N(0, std^2) would."""

    def __init__(self, model: Diffusion, std: float):
        super().__init__()
        self.model, self.std = model, std

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        r = self.model.path.level(t.double())
        alpha = self.model.path.alpha(r)
        y = x_t.double() / paths.per_sample(alpha, x_t)
        keep = self.std**2 / (self.std**2 + (r * self.model.config.data_std) ** 2)
        return paths.target(self.model.prediction, alpha, r, y, paths.per_sample(keep, y) * y).float()


def exact(std: float, space: Real, **fields) -> Diffusion:
    model = diffusion.Config(net=mlp.Config(width=8), **fields).build(space)
    model.net = Exact(model, std)  # type: ignore[assignment]
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_the_predictor_is_the_canonical_denoiser(kind: str) -> None:
    denoise = exact(0.3, Real((3,)), **KINDS[kind]).predictor(Condition())
    y, s = torch.randn(4, 3), torch.tensor([0.01, 0.3, 2.0, 30.0])
    keep = 0.3**2 / (0.3**2 + s**2)
    torch.testing.assert_close(denoise(y, s), keep[:, None] * y, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("schedule", ["karras", "log_snr", "uniform"])
def test_draws_of_the_exact_model_have_the_data_s_spread(kind: str, schedule: str) -> None:
    model = exact(0.3, Real((3,)), **KINDS[kind], schedule=schedule)
    rng, how = Seeds.for_batch(0, 0, 3000), Sampling(steps=64)
    x = model.draw(model.predictor(Condition()), model.start(3000, how, rng), how, rng)
    assert x.std().item() == pytest.approx(0.3, rel=0.08)


def test_the_bound_of_the_exact_model_is_the_entropy() -> None:
    """For N(0, std^2) the variational bound is tight: its mean is the entropy, ln(std sqrt(2 pi e)) per dimension."""
    n, std, space = 40_000, 0.3, Real((4,))
    model = exact(std, space)
    x = std * Seeds.for_batch(3, 0, n).normal(4)
    nll = model.nll(Batch(x, Given(), Seeds.for_batch(4, 0, n)))
    assert nll.shape == (n,)
    assert nll.mean().item() / 4 == pytest.approx(math.log(std * math.sqrt(2 * math.pi * math.e)), abs=0.05)


def test_the_bound_of_eight_bit_data_counts_levels() -> None:
    """The same Gaussian on 256 values has ln(255 / 2) nats more per dimension, the inverse width of a value."""
    n, std = 40_000, 0.3
    model = exact(std, Real((4,), levels=256))
    x = ((std * Seeds.for_batch(3, 0, n).normal(4)).clamp(-1, 1) * 127.5 + 127.5).round() / 127.5 - 1
    nll = model.nll(Batch(x, Given(), Seeds.for_batch(4, 0, n))).mean().item() / 4
    assert nll == pytest.approx(math.log(std * math.sqrt(2 * math.pi * math.e)) + math.log(127.5), abs=0.05)


def test_a_fresh_model_s_loss_is_the_variance_of_its_target() -> None:
    model = diffusion.Config(net=unet.Config.tiny(), data_std=1.0, prediction="noise").build(Real((1, 8, 8), 256))
    batch = Batch(torch.zeros(64, 1, 8, 8), Given(), Seeds.for_batch(0, 0, 64))
    assert model.loss(batch, 0.0)[0].item() == pytest.approx(1.0, abs=0.05)


def test_levels_are_practised_over_the_whole_range_and_more_evenly_than_by_chance() -> None:
    rng = Seeds.for_batch(0, 0, 512)
    uniform = diffusion.Config(net=mlp.Config(), times="uniform").build(Real((2,)))
    t = uniform.path.time(uniform.practised(rng.strata()))
    assert t.sort().values.diff().max() < 2.1 / 512 and t.min() < 0.01 and t.max() > 0.98
    normal = diffusion.Config(net=mlp.Config(), times="normal", spread=(-0.5, 1.2)).build(Real((2,)))
    logs = normal.practised(rng.strata()).log()
    assert logs.mean().item() == pytest.approx(-0.5, abs=0.01) and logs.std().item() == pytest.approx(1.2, abs=0.02)


def test_shares_of_a_batch_have_the_loss_of_the_whole() -> None:
    model = diffusion.Config(net=mlp.Config(width=16)).build(Real((2,)), 2)
    x, label = points(16, 0)
    batch = Batch(x, Given(label=label), Seeds.for_batch(0, 3, 16))
    parts = [model.loss(part, 0.0)[0] for part in batch.split(4)]
    torch.testing.assert_close(torch.stack(parts).mean(), model.loss(batch, 0.0)[0])


def test_min_snr_weighs_the_error_of_x() -> None:
    """At s = 1 (in units of the data) SNR is 1: on noise prediction the weight is min(SNR, 5) / SNR = 1 there."""
    space, far = Real((2,)), {"levels": (0.5, 0.5000001), "prediction": "noise"}
    losses = []
    for weight in ("unit", "min_snr"):
        torch.manual_seed(0)
        model = diffusion.Config(net=mlp.Config(width=8), weight=weight, **far).build(space)
        losses.append(model.loss(Batch(torch.zeros(8, 2), Given(), Seeds.for_batch(0, 0, 8)), 0.0)[0])
    torch.testing.assert_close(*losses, rtol=1e-3, atol=1e-4)
    low = diffusion.Config(net=mlp.Config(width=8), weight="min_snr", prediction="noise", levels=(0.05, 0.0500001))
    torch.manual_seed(0)
    small = low.build(space).loss(Batch(torch.zeros(8, 2), Given(), Seeds.for_batch(0, 0, 8)), 0.0)[0]
    assert small < 0.1 * losses[0]  # 5 / SNR with SNR 100


# -- its edges ---------------------------------------------------------------------------------------------------------


def test_pictures_stay_in_range() -> None:
    model = diffusion.Config(net=unet.Config.tiny(), steps=3).build(Real((1, 8, 8), 256))
    assert drawn(model, n=2, temperature=3.0).abs().max() <= 1


def test_what_it_believes_of_a_picture_is_in_range_and_of_points_is_free() -> None:
    for space, most in ((Real((1, 8, 8), 256), 1.0), (Real((1, 8, 8)), 5.0)):
        denoise = diffusion.Config(net=unet.Config.tiny()).build(space).predictor(Condition())
        x = denoise(torch.full((1, 1, 8, 8), 5.0), torch.tensor([0.01]))
        assert x.max().item() == pytest.approx(most, rel=0.05)


def test_temperature_spreads_the_start() -> None:
    model = diffusion.Config(net=mlp.Config()).build(Real((2,)))
    rng = Seeds.for_samples(0, 500)
    assert model.start(500, Sampling(temperature=0.5), rng).std().item() == pytest.approx(40, rel=0.05)


def test_tokens_are_refused() -> None:
    with pytest.raises(MaquetteError, match="codec") as bad:
        diffusion.Config().build(Tokens((8,), 5))
    assert bad.value.code == "MQ-2008"


@pytest.mark.parametrize(
    "fields",
    [
        {"data_std": 0.0},
        {"levels": (1.0, 0.5)},
        {"levels": (0.0, 80.0)},
        {"spread": (0.0, 0.0)},
        {"steps": 0},
        {"embed": 0},
        {"drop": 1.0},
        {"solver": "huen"},
    ],
)
def test_impossible_settings_are_refused(fields: dict) -> None:
    with pytest.raises(MaquetteError):
        diffusion.Config(**fields)
