"""MeanFlow against a Gaussian whose flow is known: the identity, its derivative, steps of any length, learning."""

import pytest
import torch
from torch import Tensor

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Condition, Given, Real, Sampling, Tokens
from maquette.models import meanflow
from maquette.models.meanflow import CLOCK, MeanFlow
from maquette.nets import dit, mlp, unet
from maquette.solvers.paths import per_sample

STD = 0.6
"""Of the data, in units of `data_std`."""
SPACE = Real((3,))


def deviation(t: Tensor) -> Tensor:
    """Of z_t = (1 - t) x + t noise."""
    return ((1 - t) ** 2 * STD**2 + t**2).sqrt()


def average(z: Tensor, t: Tensor, span: Tensor) -> Tensor:
    """u: the flow of a Gaussian shrinks z_t as its deviation shrinks, z_r = z_t deviation(r) / deviation(t)."""
    return z * per_sample((1 - deviation(t - span) / deviation(t)) / span, z)


def velocity(z: Tensor, t: Tensor) -> Tensor:
    """v = z d ln deviation(t) / dt."""
    return z * per_sample((t - (1 - t) * STD**2) / deviation(t) ** 2, z)


class Exact(MeanFlow):
    """A model whose network is the flow itself."""

    def average(self, z: Tensor, t: Tensor, span: Tensor, condition: Condition) -> Tensor:
        empty = span == 0
        return torch.where(empty[:, None], velocity(z, t), average(z, t, torch.where(empty, 0.5 * t, span)))


def exact() -> Exact:
    return Exact(meanflow.Config(net=mlp.Config.tiny(), data_std=0.5), SPACE)


def somewhere(n: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    t = 0.2 + 0.7 * torch.rand(n, generator=g, dtype=torch.float64)
    return torch.randn(n, 3, generator=g, dtype=torch.float64), t, 0.9 * t * torch.rand(n, generator=g).double()


# -- the identity -----------------------------------------------------------------------------------------------------


def test_the_average_velocity_of_the_flow_meets_the_identity() -> None:
    z, t, span = somewhere()
    goal = exact().goal(z, t, span, Condition(), velocity(z, t), torch.ones(5, dtype=torch.bool))
    torch.testing.assert_close(goal, average(z, t, span), rtol=1e-9, atol=1e-12)


def test_only_the_chosen_rows_differ_from_the_velocity() -> None:
    z, t, span = somewhere()
    chosen = torch.tensor([True, False, True, False, False])
    goal = exact().goal(z, t, span, Condition(), velocity(z, t), chosen)
    assert torch.equal(goal[~chosen], velocity(z, t)[~chosen])
    torch.testing.assert_close(goal[chosen], average(z, t, span)[chosen], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("net", [mlp.Config.tiny(), unet.Config.tiny(), dit.Config.tiny()], ids=lambda net: net.kind())
def test_the_derivative_along_the_flow_is_that_of_the_network(net, layout: torch.memory_format) -> None:
    """Against a difference of second order, the beginning of the span held fixed."""
    torch.manual_seed(0)
    model = meanflow.Config(net=net, embed=8).build(Real((3, 8, 8))).to(memory_format=layout)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    z, t, span, h = torch.randn(3, 3, 8, 8), torch.tensor([0.3, 0.5, 0.9]), torch.tensor([0.1, 0.5, 0.4]), 1e-2
    z = z.contiguous(memory_format=layout)
    with torch.no_grad():
        v = model.average(z, t, torch.zeros(3), Condition())
        ahead, behind = (model.average(z + k * h * v, t + k * h, span + k * h, Condition()) for k in (1, -1))
    difference, rise = (ahead - behind) / (2 * h), model.rise(z, t, span, Condition())
    assert (rise - difference).norm() < 0.02 * difference.norm()
    assert not rise.requires_grad


def test_the_clock_turns_slowly() -> None:
    model = meanflow.Config(net=mlp.Config.tiny()).build(SPACE)
    assert model.net.time.frequencies.max().item() * CLOCK == pytest.approx(10)
    assert model.span.frequencies.max().item() == pytest.approx(10)


# -- drawing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_any_number_of_steps_ends_where_the_flow_does(steps: int) -> None:
    model, how = exact(), Sampling(steps=steps)
    start = model.start(6, how, Seeds.for_samples(0, 6))
    x = model.draw(model.predictor(Condition()), start, how, Seeds.for_samples(0, 6))
    high = torch.tensor(80 / 0.5)
    shrunk = STD / (STD**2 + high**2).sqrt()  # y = z / (1 - t) has the deviation sqrt(STD^2 + s^2)
    torch.testing.assert_close(x, start * shrunk, rtol=1e-3, atol=1e-5)


def test_without_an_end_it_is_the_denoiser_and_the_solvers_draw_from_it() -> None:
    model = exact()
    y, s = torch.randn(4, 3), torch.tensor([0.01, 0.3, 2.0, 30.0])
    keep = (0.5 * STD) ** 2 / ((0.5 * STD) ** 2 + s**2)
    torch.testing.assert_close(model.predictor(Condition())(y, s), keep[:, None] * y, rtol=1e-3, atol=1e-4)
    how = Sampling(solver="heun", steps=40)
    rng = Seeds.for_batch(0, 0, 2000)
    x = model.draw(model.predictor(Condition()), model.start(2000, how, rng), how, rng)
    assert x.std().item() == pytest.approx(0.5 * STD, rel=0.05)


def test_where_a_step_aims_is_the_mean_of_the_denoiser_along_the_way() -> None:
    """Weighted by 1 / s^2: so it lies where data lie, which is why it may be guided and mended like a denoiser."""
    model = exact()
    predict, y = model.predictor(Condition()), torch.randn(1, 3).double()
    s, to, std = 3.0, 0.2, 0.5 * STD
    levels = torch.linspace(to, s, 20_001, dtype=torch.float64)
    path = y * ((std**2 + levels**2) / (std**2 + s**2)).sqrt()[:, None]
    weights = 1 / levels**2
    mean = (weights[:, None] * predict(path, levels)).sum(0) / weights.sum()
    aim = predict(y, torch.tensor([s]).double(), torch.tensor([to]).double())
    torch.testing.assert_close(aim[0], mean, rtol=2e-3, atol=1e-4)


# -- learning ---------------------------------------------------------------------------------------------------------

FAR, SIGMA, ROWS = 0.6, 0.05, 192


def blobs(n: int, seed: int) -> tuple[Tensor, Tensor]:
    rng = Seeds.for_batch(seed, 0, n)
    label = rng.integers(2)
    return torch.stack([(2 * label - 1) * FAR, 0.0 * label], 1) + SIGMA * rng.normal(2), label


@pytest.fixture(scope="module")
def learnt() -> MeanFlow:
    torch.manual_seed(0)
    model = meanflow.Config(net=mlp.Config(width=64, depth=3), spread=(0.0, 1.5), spans=0.5).build(Real((2,)), 2)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(600):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1 - step / 600)
        x, label = blobs(ROWS, step)
        loss, stats = model.loss(Batch(x, Given(label=label), Seeds.for_batch(1, step, ROWS)), step / 600)
        assert stats["error"] >= 0
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.requires_grad_(False)


def drawn(model: MeanFlow, label: int | None = None, **how) -> Tensor:
    n, sampling = 400, Sampling(**how)
    given = Given(label=None if label is None else torch.full((n,), label))
    rng = Seeds.for_samples(5, n)
    return model.draw(model.predictor(model.condition(given, n)), model.start(n, sampling, rng), sampling, rng)


def near(x: Tensor, side: int) -> float:
    """The share of points within 4 sigma of the centre of that side."""
    return ((x - torch.tensor([side * FAR, 0.0])).norm(dim=1) < 4 * SIGMA).float().mean().item()


@pytest.mark.parametrize("how", [{"steps": 1}, {"steps": 4}, {"steps": 30, "solver": "euler"}], ids=str)
def test_two_blobs_are_learnt_and_the_label_chooses(learnt: MeanFlow, how: dict) -> None:
    x = drawn(learnt, **how)
    assert near(x, -1) + near(x, 1) > 0.75 and min(near(x, -1), near(x, 1)) > 0.25
    assert near(drawn(learnt, label=0, **how), -1) > 0.85
    assert near(drawn(learnt, label=1, **how), 1) > 0.85


def test_no_gradient_goes_through_the_goal() -> None:
    """With spans alone and a network of one number the gradient is that of the prediction beside a fixed goal."""
    model = meanflow.Config(net=mlp.Config.tiny(), spans=1.0).build(Real((2,)))
    x, _ = blobs(8, 0)
    batch = Batch(x, Given(), Seeds.for_batch(1, 0, 8))
    seen: list[Tensor] = []
    goal = model.goal
    model.goal = lambda *args: seen.append(goal(*args)) or seen[-1]  # type: ignore[method-assign]
    loss, _ = model.loss(batch, 0.0)
    wanted = torch.autograd.grad(loss, list(model.parameters()))
    model.goal = lambda *args: seen[0].clone()  # type: ignore[method-assign]
    found = torch.autograd.grad(model.loss(batch, 0.0)[0], list(model.parameters()))
    assert not seen[0].requires_grad
    for one, other in zip(wanted, found, strict=True):
        torch.testing.assert_close(one, other)


def test_under_autocast_the_weights_still_learn() -> None:
    """Weights rounded under no_grad must not be the ones that the loss is taken of."""
    torch.manual_seed(0)
    model = meanflow.Config(net=unet.Config.tiny(), spans=0.5).build(Real((1, 8, 8), 256))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    batch = Batch(torch.randn(8, 1, 8, 8).clamp(-1, 1), Given(), Seeds.for_batch(0, 0, 8))
    exact = torch.autograd.grad(model.loss(batch, 0.0)[0], list(model.parameters()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = model.loss(batch, 0.0)
    rough = torch.autograd.grad(loss, list(model.parameters()))
    one, other = (torch.cat([g.flatten() for g in grads]) for grads in (exact, rough))
    assert torch.nn.functional.cosine_similarity(one, other, dim=0) > 0.98


# -- its edges --------------------------------------------------------------------------------------------------------


def test_tokens_are_refused() -> None:
    with pytest.raises(MaquetteError, match="codec") as bad:
        meanflow.Config().build(Tokens((8,), 5))
    assert bad.value.code == "MQ-2008"


@pytest.mark.parametrize(
    "fields",
    [
        {"spans": 0.0},
        {"spread": (0.0, 0.0)},
        {"data_std": 0.0},
        {"levels": (1.0, 0.5)},
        {"steps": 0},
        {"embed": 7},
        {"drop": 1.0},
    ],
)
def test_impossible_settings_are_refused(fields: dict) -> None:
    with pytest.raises(MaquetteError):
        meanflow.Config(**fields)
