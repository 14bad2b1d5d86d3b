"""Pictures value by value: the likelihood is a probability, and what is drawn is drawn from that very probability."""

import math

import pytest
import torch
from torch import Tensor

from maquette.codecs.quantise import from_levels, to_levels
from maquette.core import cancel
from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Condition, Given, Predictor, Real, Sampling, Tokens
from maquette.models import pixelcnn
from maquette.models.logistic import bins, log_bin
from maquette.models.pixelcnn import Mixture, PixelCNN, count_parameters
from maquette.nets import gated
from maquette.solvers.decoding import invert
from maquette.solvers.guidance import guide


def build(shape=(3, 5, 6), levels=256, classes=0, stir=0.2, **config) -> PixelCNN:
    torch.manual_seed(0)
    net = gated.Config(width=8, layers=2)
    model = pixelcnn.Config(**({"net": net, "mixtures": 4, "label_width": 4} | config)).build(
        Real(shape, levels), classes
    )
    for p in model.parameters():  # an untrained model is nearly uniform, which hides mistakes
        p.data += stir * torch.randn_like(p)
    return model.eval()


def pictures(model: PixelCNN, n: int) -> Tensor:
    number = torch.randint(model.space.levels, (n, *model.space.shape), generator=torch.Generator().manual_seed(1))
    return from_levels(number, model.space.levels)


def batch(model: PixelCNN, x: Tensor, label: Tensor | None = None, step: int = 0) -> Batch:
    return Batch(x, Given(label=label), Seeds.for_batch(0, step, len(x)))


# -- the discretised logistic -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [2, 3, 16, 256])
def test_all_levels_together_have_probability_one(levels: int) -> None:
    """However narrow or wide, inside the range or far outside it."""
    values = from_levels(torch.arange(levels), levels)
    mean = torch.tensor([-30.0, -1.0, -0.7, 0.0, 0.001, 0.5, 1.0, 4.0])[:, None, None]
    log_scale = torch.tensor([-50.0, -7.0, -5.0, -3.0, -1.0, 0.0, 2.0, 6.0])[:, None]
    total = log_bin(values, mean, log_scale, levels).logsumexp(-1)
    torch.testing.assert_close(total, torch.zeros(8, 8), atol=2e-4, rtol=0)
    once = bins(mean[..., 0].expand(8, 8), log_scale[:, 0].expand(8, 8), levels)
    torch.testing.assert_close(once, log_bin(values, mean, log_scale, levels).exp(), rtol=1e-3, atol=1e-30)


def test_a_bin_is_the_difference_of_two_sigmoids() -> None:
    """Against the definition in float64, where that does not cancel; far out, against the tail's own asymptote."""
    x, mean, log_scale = torch.tensor([-1.0, -0.2, 0.0, 1.0]), torch.tensor(0.05), torch.tensor(-2.0)
    half, s = 1 / 255, math.exp(-2.0)
    upper, lower = (torch.sigmoid((x.double() - 0.05 + d) / s) for d in (half, -half))
    wanted = torch.stack([upper[0], upper[1] - lower[1], upper[2] - lower[2], 1 - lower[3]]).log()
    torch.testing.assert_close(log_bin(x, mean, log_scale, 256), wanted.float(), rtol=1e-5, atol=1e-5)
    narrow = log_bin(torch.tensor(0.8), torch.tensor(-0.5), torch.tensor(-5.0), 256)
    tail = -(1.3 - half) * math.exp(5) + math.log1p(-math.exp(-2 * half * math.exp(5)))
    assert narrow.item() == pytest.approx(tail, rel=1e-5)


def test_gradients_are_finite_everywhere() -> None:
    x = from_levels(torch.tensor([0, 1, 128, 254, 255]), 256)[:, None, None]
    mean = torch.tensor([-50.0, -1.0, 0.3, 1.0, 50.0])[:, None].requires_grad_()
    log_scale = torch.tensor([-40.0, -7.0, -3.0, 0.0, 9.0]).requires_grad_()
    log_bin(x, mean, log_scale, 256).sum().backward()
    assert mean.grad is not None and mean.grad.isfinite().all()
    assert log_scale.grad is not None and log_scale.grad.isfinite().all()


# -- mixtures ---------------------------------------------------------------------------------------------------------


def test_all_colours_together_have_probability_one() -> None:
    output = torch.randn(5, count_parameters(3, 3))
    mixture = Mixture(output, 3, levels=4)
    colours = from_levels(torch.cartesian_prod(*[torch.arange(4)] * 3), 4)
    total = torch.stack([mixture.log_prob(c.expand(5, 3)) for c in colours]).logsumexp(0)
    torch.testing.assert_close(total, torch.zeros(5), atol=1e-5, rtol=0)


def test_channels_follow_one_another() -> None:
    """p(red) p(green | red) p(blue | red, green) is p of the pixel, and green does depend on red."""
    mixture = Mixture(torch.randn(6, count_parameters(3, 3)), 3, levels=8)
    number = torch.randint(8, (6, 3))
    x = from_levels(number, 8)
    parts = [mixture.next_value(x, c).gather(1, number[:, c, None])[:, 0] for c in range(3)]
    torch.testing.assert_close(sum(parts), mixture.log_prob(x), rtol=1e-4, atol=1e-5)
    other = torch.cat([-x[:, :1], x[:, 1:]], 1)
    assert not torch.allclose(mixture.next_value(other, 1), mixture.next_value(x, 1), atol=1e-2)
    assert torch.equal(mixture.next_value(other, 0), mixture.next_value(x, 0))


@pytest.mark.parametrize(("mixtures", "channels", "wanted"), [(10, 3, 100), (10, 1, 30), (5, 2, 30)])
def test_the_number_of_parameters_is_the_papers(mixtures: int, channels: int, wanted: int) -> None:
    assert count_parameters(mixtures, channels) == wanted


# -- likelihood -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 4, 5), (3, 4, 3)])
def test_the_likelihood_is_the_product_of_what_the_sampler_is_told(shape: tuple[int, int, int]) -> None:
    model = build(shape, classes=2)
    x, label = pictures(model, 3), torch.tensor([0, 1, -1])
    predict, number = model.predictor(model.condition(Given(label=label), 3)), to_levels(x, 256)
    total = torch.zeros(3)
    for at in range(math.prod(shape)):
        pixel, channel = divmod(at, shape[0])
        here = number[:, channel, pixel // shape[2], pixel % shape[2]]
        total += predict(x, at).gather(1, here[:, None])[:, 0]
    with torch.no_grad():
        torch.testing.assert_close(model.nll(batch(model, x, label)), -total, rtol=1e-4, atol=1e-3)


def test_an_untrained_model_knows_about_nothing() -> None:
    """It begins near the uniform distribution over 256 levels, 8 bits a value; in colour, a little nearer to grey."""
    for shape, low, high in ((1, 8, 8), 7.8, 8.6), ((3, 8, 8), 8, 11):
        model = build(shape, stir=0, mixtures=10)
        bits, stats = model.loss(batch(model, pictures(model, 8)), 0.0)
        assert low < bits.item() < high and stats["bits_per_dim"] == bits


def test_values_between_levels_count_as_the_nearest() -> None:
    model = build()
    x = pictures(model, 2)
    with torch.no_grad():
        assert torch.equal(model.nll(batch(model, x)), model.nll(batch(model, x + 0.003 * torch.rand_like(x))))


# -- drawing ----------------------------------------------------------------------------------------------------------


def reference(model: PixelCNN, condition: Condition) -> Predictor:
    """What the predictor should answer, by a whole forward pass for each value."""
    c, _, w = model.space.shape

    def predict(x: Tensor, at: int) -> Tensor:
        i, j = divmod(at // c, w)
        output = model.net(x, None, condition)[:, :, i, j]
        return Mixture(output, c, model.space.levels).next_value(x[:, :, i, j], at % c)

    return predict


@pytest.mark.parametrize("guidance", [None, 2.0])
@pytest.mark.parametrize("shape", [(1, 7, 6), (3, 4, 5)])
def test_drawing_step_by_step_gives_the_pixels_of_the_whole_net(shape: tuple[int, int, int], guidance) -> None:
    model, how = build(shape, classes=3), Sampling()
    told, untold = model.condition(Given(label=torch.arange(4) % 3), 4), model.condition(Given(), 4)
    start = model.start(4, how, Seeds.for_samples(0, 4))

    def drawn(predictor) -> Tensor:
        predict = predictor(told) if guidance is None else guide(predictor(told), predictor(untold), guidance)
        return model.draw(predict, start, how, Seeds.for_samples(0, 4))

    quick, slow = drawn(model.predictor), drawn(lambda condition: reference(model, condition))
    assert torch.equal(quick, slow)
    assert torch.equal(quick, from_levels(to_levels(quick, 256), 256)) and len(quick.unique()) > 20


def test_a_value_is_where_the_distribution_function_passes_the_number() -> None:
    p = torch.tensor([[0.25, 0.0, 0.5, 0.25, 0.0]])
    for u, level in [(0.0, 0), (0.249, 0), (0.25, 2), (0.74, 2), (0.75, 3), (1 - 2**-24, 3)]:
        assert invert(p, torch.tensor([u])).item() == level


def test_values_come_as_often_as_they_are_probable() -> None:
    model, n = build((1, 8, 8), levels=4), 400
    p = torch.tensor([0.1, 0.2, 0.3, 0.4])
    how = Sampling(temperature=1.0)
    x = model.draw(
        lambda x, at: p.log().expand(n, 4), model.start(n, how, Seeds.for_samples(0, n)), how, Seeds.for_samples(0, n)
    )
    share = torch.bincount(to_levels(x, 4).flatten(), minlength=4) / x.numel()
    torch.testing.assert_close(share, p, atol=0.01, rtol=0)


def test_temperature_sharpens_and_near_0_takes_the_likeliest() -> None:
    model, n = build((1, 6, 6), levels=3), 200
    logits = torch.tensor([0.25, 0.5, 0.25]).log()
    start = model.start(n, Sampling(), Seeds.for_samples(0, n))

    def middle(temperature: float) -> float:
        how, rng = Sampling(temperature=temperature), Seeds.for_samples(0, n)
        x = model.draw(lambda x, at: logits.expand(n, 3), start, how, rng)
        return (x == 0).float().mean().item()

    assert middle(1e-6) == middle(1e-30) == 1.0
    assert middle(0.5) == pytest.approx(2 / 3, abs=0.02)  # squares of the probabilities: 1 : 4 : 1
    assert middle(1.0) == pytest.approx(1 / 2, abs=0.02)


def test_a_sample_belongs_to_its_seed_alone() -> None:
    model, how = build((1, 6, 6)), Sampling()

    def drawn(n: int, first: int) -> Tensor:
        rng = Seeds.for_samples(7, n, first)
        return model.draw(model.predictor(Condition()), model.start(n, how, rng), how, rng)

    assert torch.equal(drawn(4, 0)[2:], drawn(2, 2))


def test_drawing_stops_when_told_to() -> None:
    model, how, asked = build((1, 6, 6)), Sampling(), []
    token = cancel.Token()

    def predict(x: Tensor, at: int) -> Tensor:
        asked.append(at)
        if at == 3:
            token.cancel()
        return torch.zeros(2, 256)

    with pytest.raises(cancel.Cancelled), cancel.working(token):
        model.draw(predict, torch.rand(2, 1, 6, 6), how, Seeds.for_samples(0, 2))
    assert asked == [0, 1, 2, 3]


# -- learning ---------------------------------------------------------------------------------------------------------


def checker(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Checkerboards of 4 x 4 in either colouring: exactly one bit, in the first pixel."""
    colour = torch.randint(2, (n,), generator=torch.Generator().manual_seed(seed))
    board = torch.arange(4)[:, None] + torch.arange(4)
    return ((board + colour[:, None, None]) % 2 * 2.0 - 1)[:, None], colour


def test_it_learns_the_entropy_of_what_it_sees() -> None:
    """One bit in 16 values; told the colouring, none. And what it draws are checkerboards, both of them."""
    model = build((1, 4, 4), levels=2, classes=2, stir=0, mixtures=2, label_drop=0.5).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for step in range(150):
        x, colour = checker(32, step)
        loss, _ = model.loss(batch(model, x, colour, step), step / 150)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, colour = checker(64, 1000)
    with torch.no_grad():
        untold, told = (model.nll(batch(model, x, label)).mean().item() / math.log(2) for label in (None, colour))
    assert 0.95 < untold < 1.1 and told < 0.1
    how, n = Sampling(), 40
    start = model.start(n, how, Seeds.for_samples(0, n))
    boards = model.draw(model.predictor(model.condition(Given(), n)), start, how, Seeds.for_samples(0, n))
    whole = (boards[:, :, 1:] * boards[:, :, :-1] < 0).all(dim=(1, 2, 3))
    assert whole.float().mean() >= 0.95 and 0.2 < (boards[:, 0, 0, 0] > 0).float().mean() < 0.8
    asked = model.condition(Given(label=torch.ones(n, dtype=torch.int64)), n)
    assert (model.draw(model.predictor(asked), start, how, Seeds.for_samples(0, n))[:, 0, 0, 0] > 0).all()


# -- what it refuses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", [Real((2,)), Real((3, 8, 8)), Real((8, 8), levels=256), Tokens((1, 8, 8), 256)])
def test_other_spaces_are_refused_with_a_hint(space) -> None:
    with pytest.raises(MaquetteError, match="pixelcnn models take .*levels, but") as refused:
        pixelcnn.Config().build(space)
    assert refused.value.code == "MQ-2008" and "do: " in str(refused.value)


@pytest.mark.parametrize("field", [{"mixtures": 0}, {"label_width": 0}, {"label_drop": 1.0}])
def test_settings_out_of_range_are_refused(field: dict) -> None:
    with pytest.raises(MaquetteError, match="MQ-2002"):
        pixelcnn.Config(**field)


@pytest.mark.parametrize("log_scale", [-1e4, -100.0, 60.0, 95.0, 1e4])
def test_no_scale_however_extreme_gives_an_infinite_slope(log_scale: float) -> None:
    x, mean = torch.tensor([-1.0, 0.0, 1.0]), torch.zeros(3, requires_grad=True)
    scale = torch.full((3,), log_scale, requires_grad=True)
    logs = log_bin(x, mean, scale, 256)
    slopes = torch.autograd.grad(logs.sum(), [mean, scale])
    assert all(bool(t.isfinite().all()) for t in (logs, *slopes))
