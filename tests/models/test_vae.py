"""The ELBO against values worked by hand, likelihoods that sum to one, bounds, codes and labels."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Given, Real, Sampling, Tokens
from maquette.models import codes, laws, vae
from maquette.nets import convnet, mlp, resnet

PLANE, PICTURE = Real((2,)), Real((1, 8, 8), levels=256)
SMALL = mlp.Config(width=16)


def levels(n: int) -> Tensor:
    """The values of a space with `n` levels."""
    return torch.linspace(-1, 1, n)


def batch(n: int = 8, space: Real = PLANE, step: int = 0, classes: int = 0) -> Batch:
    rng = Seeds.for_batch(0, step, n)
    given = Given(label=rng.integers(classes) if classes else None)
    x = levels(space.levels)[rng.integers(space.levels, *space.shape)] if space.levels else rng.normal(*space.shape)
    return Batch(x, given, Seeds.for_batch(1, step, n))


def small(**fields: object) -> vae.Config:
    return vae.Config(**{"encoder": SMALL, "decoder": SMALL, "latent": 4, **fields})  # type: ignore[arg-type]


# -- the terms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mu", "sigma", "nats"), [(0, 1, 0.0), (1, 1, 0.5), (0, 2, 0.806853), (0, 0.1, 1.807585)])
def test_kl_by_hand(mu: float, sigma: float, nats: float) -> None:
    log_var = torch.full((1, 1), 2 * math.log(sigma))
    assert codes.kl_to_standard_normal(torch.full((1, 1), float(mu)), log_var).item() == pytest.approx(nats, abs=1e-6)


def test_kl_agrees_with_torch_and_adds_up() -> None:
    mu, log_var = torch.randn(5, 3), torch.randn(5, 3)
    theirs = kl_divergence(Normal(mu, (log_var / 2).exp()), Normal(0.0, 1.0)).sum(1)
    assert torch.allclose(codes.kl_to_standard_normal(mu, log_var), theirs, atol=1e-5)


def test_bernoulli_is_the_cross_entropy_on_logits() -> None:
    logits, share = torch.randn(4, 6) * 5, torch.rand(4, 6)
    theirs = F.binary_cross_entropy_with_logits(logits, share, reduction="none")
    assert torch.allclose(laws.Bernoulli(256)(logits, 2 * share - 1), theirs, atol=1e-5)


def test_an_undecided_picture_costs_784_ln_2() -> None:
    nats = laws.Bernoulli(256)(torch.zeros(1, 28, 28), torch.rand(1, 28, 28) * 2 - 1)
    assert nats.sum().item() == pytest.approx(543.427, abs=1e-2)


def test_gaussian_by_hand() -> None:
    law = laws.Gaussian(PLANE, scale=1.0)
    x = torch.randn(3, 2)
    assert torch.allclose(law(x, x), torch.full((3, 2), 0.918939), atol=1e-5)
    wide = laws.Gaussian(PLANE, scale=0.3)
    assert torch.allclose(wide(x, torch.zeros(3, 2)), -Normal(x, 0.3).log_prob(torch.zeros(3, 2)), atol=1e-4)


def test_logistic_is_the_difference_of_two_sigmoids() -> None:
    law = laws.Logistic(Real((1,), levels=16), scale=0.2)
    mean = torch.full((16, 1), 0.1)
    edges = torch.linspace(-1 - 1 / 15, 1 + 1 / 15, 17)
    edges[0], edges[-1] = -math.inf, math.inf
    by_hand = torch.sigmoid((edges - 0.1) / 0.2).diff()
    assert torch.allclose((-law(mean, levels(16)[:, None])).exp().squeeze(1), by_hand, atol=1e-6)


LAWS = {
    "bernoulli": lambda n: laws.Bernoulli(n),
    "logistic": lambda n: laws.Logistic(Real((1,), levels=n), 0.0),
    "logistic, narrow": lambda n: laws.Logistic(Real((1,), levels=n), 1e-6),
    "logistic, wide": lambda n: laws.Logistic(Real((1,), levels=n), 5.0),
}


@pytest.mark.parametrize("n", [2, 3, 16, 256])
@pytest.mark.parametrize("out", [-30.0, -2.0, -1e-3, 0.0, 0.37, 1.0, 40.0])
@pytest.mark.parametrize("name", LAWS)
def test_levels_sum_to_one(name: str, out: float, n: int) -> None:
    nats = LAWS[name](n).discrete(torch.full((n, 1), out), levels(n)[:, None])
    assert nats.isfinite().all() and nats.min() >= -1e-4
    assert (-nats.double()).exp().sum().item() == pytest.approx(1.0, abs=2e-4)


def test_a_gaussian_of_levels_is_its_density_times_their_distance() -> None:
    law = laws.Gaussian(Real((1,), levels=256), scale=0.1)
    nats = law.discrete(torch.zeros(256, 1), levels(256)[:, None])
    assert (-nats).exp().sum().item() == pytest.approx(1.0, abs=1e-3)
    narrow = laws.Gaussian(Real((1,), levels=256), scale=1e-6)
    assert narrow.discrete(torch.zeros(1, 1), torch.zeros(1, 1)).item() > 0, "no level is likelier than certain"


def test_far_levels_keep_their_slope() -> None:
    """A difference of two sigmoids would be 0 there, its log -inf and its slope lost."""
    out = torch.full((1, 1), 40.0, requires_grad=True)
    law = laws.Logistic(Real((1,), levels=256), scale=0.01)
    nats = law(out, torch.zeros(1, 1))
    nats.backward()
    assert nats.isfinite() and out.grad is not None and out.grad.item() == pytest.approx(100.0, rel=1e-3)


@pytest.mark.parametrize("law", [laws.Gaussian, laws.Logistic])
def test_the_learnt_scale_is_the_data_s(law: type) -> None:
    """With the mean at 0, the best scale of N(0, 0.2^2) is 0.2; of a logistic of scale 0.1, 0.1."""
    torch.manual_seed(0)
    made = law(Real((1,), levels=256), 0.0)
    u = torch.rand(4000, 1)
    x = torch.randn(4000, 1) * 0.2 if law is laws.Gaussian else 0.1 * (u / (1 - u)).log()
    x = ((x.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
    optimizer = torch.optim.Adam(made.parameters(), 0.05)
    for _ in range(150):
        optimizer.zero_grad()
        made(torch.zeros_like(x), x).mean().backward()
        optimizer.step()
    assert made.scale.item() == pytest.approx(0.2 if law is laws.Gaussian else 0.1, rel=0.05)


def test_a_scale_that_fell_below_a_level_comes_back() -> None:
    """It counts as a level's width, and its slope is 0 only where a step would lower it further."""
    made = laws.Gaussian(Real((1,), levels=256), 0.0)
    for x, moves in ((0.5, True), (0.0, False)):  # far from the mean a wider law is likelier, at it a narrower one
        made.log_scale = torch.nn.Parameter(torch.full((1,), math.log(1e-4)))
        assert made.scale.item() == pytest.approx(2 / 255)
        made(torch.zeros(1, 1), torch.full((1, 1), x)).sum().backward()
        assert made.log_scale.grad is not None and (made.log_scale.grad.item() < 0) is moves
        assert made.log_scale.grad.item() <= 0


# -- the bound --------------------------------------------------------------------------------------------------------


def test_the_loss_is_reconstruction_plus_kl() -> None:
    torch.manual_seed(0)
    model = small(likelihood="bernoulli").build(PICTURE)
    loss, stats = model.loss(batch(space=PICTURE), 1.0)
    assert loss.item() == pytest.approx((stats["reconstruction"] + stats["kl"]).item())
    for head in (model.encoder.last, model.decoder.last):
        nn.init.zeros_(head.weight), nn.init.zeros_(head.bias)
    loss, stats = model.loss(batch(space=PICTURE), 1.0)
    assert stats["kl"].item() == 0 and loss.item() == pytest.approx(64 * math.log(2))


def test_beta_and_warm_up_weigh_the_kl_term() -> None:
    torch.manual_seed(0)
    model = small(beta=4.0, warmup=0.5).build(PLANE)
    for progress, weight in ((0.0, 0.0), (0.25, 2.0), (0.5, 4.0), (1.0, 4.0)):
        loss, stats = model.loss(batch(), progress)
        assert loss.item() == pytest.approx((stats["reconstruction"] + weight * stats["kl"]).item(), rel=1e-5)


def test_the_bound_is_the_average_of_what_a_monte_carlo_run_gives() -> None:
    """The closed form of the KL term against log q(z|x) - log p(z) at many codes."""
    torch.manual_seed(0)
    model = small().build(PLANE)
    rows = batch(4)
    with torch.no_grad():
        draws = [Batch(rows.x, rows.given, Seeds.for_batch(0, s, 4)) for s in range(300)]
        exact = torch.stack([model.nll(draw) for draw in draws]).mean(0)
        by_ratios = torch.stack([model.importance_bound(draw, 1) for draw in draws]).mean(0)
    assert torch.allclose(exact, by_ratios, atol=0.15)


class Tied(nn.Module):
    """A net that gives [x/2, log 1/2]: the exact posterior of x = z + N(0, 1), z ~ N(0, 1)."""

    def forward(self, x: Tensor, t: None = None, condition: object = None) -> Tensor:
        return torch.cat([x / 2, torch.full_like(x, math.log(0.5))], dim=1)


class Identity(nn.Module):
    def forward(self, x: Tensor, t: None = None, condition: object = None) -> Tensor:
        return x


def test_with_the_exact_posterior_every_bound_is_the_likelihood() -> None:
    """x = z + noise has the law N(0, 2): the ELBO's mean and each importance bound are -log N(x; 0, 2)."""
    model = small(latent=2, likelihood="gaussian", scale=1.0).build(PLANE)
    model.encoder, model.decoder = Tied(), Identity()
    rows = batch(6)
    truth = -Normal(0.0, math.sqrt(2)).log_prob(rows.x).sum(1)
    for k in (2, 10):
        assert torch.allclose(model.importance_bound(rows, k), truth, atol=1e-4)
    many = torch.stack([model.nll(Batch(rows.x, rows.given, Seeds.for_batch(0, s, 6))) for s in range(2000)])
    assert torch.allclose(many.mean(0), truth, atol=0.1)


def test_more_codes_tighten_the_bound() -> None:
    torch.manual_seed(0)
    model = small().build(PLANE)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(100):
        optimizer.zero_grad()
        model.loss(batch(64, step=step), 1.0)[0].backward()
        optimizer.step()
    with torch.no_grad():
        elbo, ten, hundred = (
            torch.stack([model.importance_bound(batch(64, step=s), k) for s in range(20)]).mean() for k in (1, 10, 100)
        )
    assert hundred <= ten + 1e-3 and ten < elbo


def test_several_codes_in_the_objective_are_the_importance_weighted_bound() -> None:
    """With the exact posterior it is the likelihood; the gradient reaches encoder and decoder."""
    model = small(latent=2, likelihood="gaussian", scale=1.0, codes=5).build(PLANE)
    model.encoder, model.decoder = Tied(), Identity()
    rows = batch(6)
    truth = -Normal(0.0, math.sqrt(2)).log_prob(rows.x).sum(1).mean()
    assert model.loss(rows, 0.5)[0].item() == pytest.approx(truth.item(), abs=1e-4)
    torch.manual_seed(0)
    model = small(codes=5).build(PLANE)
    model.loss(rows, 0.5)[0].backward()
    assert all(p.grad is not None and p.grad.any() for p in (model.encoder.last.weight, model.decoder.last.weight))


def test_free_bits_are_not_paid_for() -> None:
    """An axis whose KL is 0.5 on average costs 0.5 where 0.3 are free, and 0.8 where 0.8 are; so it learns nothing."""
    for free, paid, learns in ((0.0, 0.5, True), (0.3, 0.5, True), (0.8, 0.8, False)):
        model = small(latent=2, likelihood="gaussian", scale=1.0, free=free).build(PLANE)
        mu = torch.ones(6, 2, requires_grad=True)  # KL(N(1, 1) || N(0, 1)) = 1/2 for each axis
        model._posterior = lambda x, condition, mu=mu: (mu, torch.zeros(6, 2))  # type: ignore[method-assign]
        model.decoder = Constant()
        loss, stats = model.loss(batch(6), 1.0)
        assert (loss - stats["reconstruction"]).item() == pytest.approx(2 * paid, abs=1e-5)
        loss.backward()
        assert mu.grad is not None and bool(mu.grad.any()) == learns


class Constant(nn.Module):
    """A decoder that pays no heed to codes."""

    def forward(self, z: Tensor, t: None = None, condition: object = None) -> Tensor:
        return torch.zeros_like(z)


def test_a_grid_of_codes_is_the_autoencoder_of_latent_diffusion() -> None:
    torch.manual_seed(0)
    config = vae.Config(encoder=resnet.Config.tiny(), decoder=resnet.Config.tiny(), latent=3, factor=4)
    model = config.build(Real((1, 8, 12), levels=256)).eval()
    x = torch.zeros(2, 1, 8, 12)
    assert model.latent == Real((3, 2, 3)) and model.encode(x).shape == (2, 3, 2, 3)
    assert model.decode(model.encode(x)).shape == x.shape
    rng = Seeds.for_samples(0, 2)
    assert (
        model.draw(model.predictor(model.condition(Given(), 2)), model.start(2, Sampling(), rng), Sampling(), rng).shape
        == x.shape
    )
    for space in Real((1, 9, 8), levels=256), PLANE:
        with pytest.raises(MaquetteError, match="MQ-2008"):
            config.build(space)


@pytest.mark.parametrize(("shape", "code"), [((1, 16), (3, 4)), ((1, 8, 8, 16), (3, 2, 2, 4))], ids=str)
def test_a_grid_of_codes_of_sound_and_films(shape: tuple[int, ...], code: tuple[int, ...]) -> None:
    nets = {"encoder": resnet.Config.tiny(), "decoder": resnet.Config.tiny()}
    model = vae.Config(latent=3, factor=4, **nets).build(Real(shape, levels=256))  # type: ignore[arg-type]
    z = model.encode(torch.randn(2, *shape))
    assert model.latent == Real(code) and z.shape == (2, *code) and model.decode(z).shape == (2, *shape)
    with pytest.raises(MaquetteError, match="MQ-2008.*sides that 3 divides"):
        vae.Config(latent=3, factor=3, **nets).build(Real(shape, levels=256))  # type: ignore[arg-type]


def test_settings_that_no_bound_has_are_refused() -> None:
    for fields in ({"codes": 3, "beta": 2.0}, {"codes": 2, "free": 0.1}, {"codes": 2, "warmup": 0.5}, {"free": -1.0}):
        with pytest.raises(MaquetteError, match="MQ-2002"):
            small(**fields)


def test_nll_is_in_nats_of_levels() -> None:
    """A decoder that cannot tell shares of white apart pays ln 256 for each of 64 values."""
    model = small(likelihood="bernoulli").build(PICTURE)
    for head in (model.encoder.last, model.decoder.last):
        nn.init.zeros_(head.weight), nn.init.zeros_(head.bias)
    assert torch.allclose(model.nll(batch(space=PICTURE)), torch.full((8,), 64 * math.log(256)), atol=1e-2)


def test_accumulated_gradients_are_those_of_the_whole_batch() -> None:
    grads = []
    for parts in (1, 2, 4):
        torch.manual_seed(0)
        model = small(warmup=0.7).build(PICTURE, classes=3)
        for part in batch(space=PICTURE, classes=3).split(parts):
            (model.loss(part, 0.5)[0] / parts).backward()
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    scale = grads[0].abs().max()
    assert torch.allclose(grads[0], grads[1], atol=1e-5 * scale) and torch.allclose(
        grads[0], grads[2], atol=1e-5 * scale
    )


# -- codes and samples ------------------------------------------------------------------------------------------------


def draw(model: vae.VAE, label: int | None = None, how: Sampling = Sampling(), n: int = 6) -> Tensor:
    given, rng = Given(label=None if label is None else torch.full((n,), label)), Seeds.for_samples(3, n)
    with torch.no_grad():
        return model.eval().draw(model.predictor(model.condition(given, n)), model.start(n, how, rng), how, rng)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 28, 64, 128])
def test_pictures_of_every_size(size: int, channels: int) -> None:
    net = convnet.Config(width=8, widest=16)
    space = Real((channels, size, size), levels=256)
    model = vae.Config(encoder=net, decoder=net, latent=6).build(space)
    rows = batch(2, space)
    assert draw(model, n=2).shape == (2, *space.shape)
    assert model.loss(rows, 0.0)[0].isfinite() and model.nll(rows).shape == (2,)
    assert model.encode(rows.x).shape == (2, *model.latent.shape) == (2, 6)
    assert model.decode(model.encode(rows.x)).shape == rows.x.shape


def test_a_vae_learns_to_encode_and_decode() -> None:
    """Points on a circle, one angle: a code of one active unit brings them back."""
    torch.manual_seed(0)
    model = small(latent=3, warmup=0.3).build(PLANE)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    angle = torch.linspace(0, math.pi, 256)
    x = torch.stack([angle.cos(), angle.sin()], 1)
    for step in range(400):
        optimizer.zero_grad()
        model.loss(Batch(x, Given(), Seeds.for_batch(0, step, 256)), step / 400)[0].backward()
        optimizer.step()
    back = model.decode(model.encode(x))
    assert (back - x).norm(dim=1).mean() < 0.1
    assert 1 <= codes.active_units(model.encode(x)) <= 2
    radius = draw(model, n=200).norm(dim=1)
    assert 0.85 < radius.mean() < 1.1 and radius.std() < 0.15


def test_active_units_counts_axes_that_vary() -> None:
    mu = torch.stack([torch.linspace(-1, 1, 50), torch.full((50,), 3.0), 0.05 * torch.linspace(-1, 1, 50)], 1)
    assert codes.active_units(mu) == 1


def test_a_label_changes_codes_and_samples() -> None:
    torch.manual_seed(0)
    net = convnet.Config(width=8, norm="none")
    model = vae.Config(encoder=net, decoder=net, latent=4).build(PICTURE, classes=3)
    one, two, none = draw(model, 1), draw(model, 2), draw(model)
    assert not torch.allclose(one, two, atol=1e-5) and not torch.allclose(one, none, atol=1e-5)
    x = batch(6, PICTURE).x
    codes = [model._posterior(x, model.condition(Given(label=torch.full((6,), k)), 6))[0] for k in (1, 2)]
    assert not torch.allclose(*codes, atol=1e-6)


def test_samples_of_bernoulli_are_shares_of_white_in_the_space() -> None:
    model = small(likelihood="bernoulli").build(PICTURE)
    nn.init.constant_(model.decoder.last.bias, 50.0)
    assert draw(model).max() == 1
    nn.init.constant_(model.decoder.last.bias, -50.0)
    assert draw(model).min() == -1


def test_samples_of_logistic_stay_in_the_space() -> None:
    """The outer cells are open, so the mean of a surely black place may lie far below -1."""
    model = small(likelihood="logistic").build(PICTURE)
    nn.init.constant_(model.decoder.last.bias, -30.0)
    assert draw(model).min() == draw(model).max() == -1


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", ["bernoulli", "logistic"])
def test_a_likelihood_of_levels_refuses_a_continuum(likelihood: str) -> None:
    with pytest.raises(MaquetteError, match="MQ-2008.*levels"):
        small(likelihood=likelihood).build(PLANE)


def test_the_space_decides_unless_told() -> None:
    assert isinstance(small().build(PICTURE).likelihood, laws.Logistic)
    assert isinstance(small().build(PLANE).likelihood, laws.Gaussian)
    assert isinstance(small(likelihood="gaussian").build(PICTURE).likelihood, laws.Gaussian)


def test_tokens_are_refused() -> None:
    with pytest.raises(MaquetteError, match="MQ-2008"):
        vae.Config().build(Tokens((4,), vocab=5))


@pytest.mark.parametrize("fields", [{"latent": 0}, {"scale": -1.0}, {"beta": -1.0}, {"warmup": 2.0}])
def test_refuses_what_cannot_be_meant(fields: dict[str, float]) -> None:
    with pytest.raises(MaquetteError, match=f"MQ-2002.*{next(iter(fields))}"):
        vae.Config(**fields)  # type: ignore[arg-type]
