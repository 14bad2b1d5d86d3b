"""The ladder: a linear-Gaussian model whose likelihood is known, laws by hand, and refusals."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal as TorchNormal
from torch.distributions import kl_divergence

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Given, Real, Tokens
from maquette.models import ladder
from maquette.nets import mlp

PLANE = Real((2,))
A, S, T = 0.8, 0.5, 0.7
"""x = z_1 + T noise, z_1 = A z_2 + S noise, z_2 = noise: x is N(0, A^2 + S^2 + T^2)."""


class Linear(nn.Module):
    """x -> [gain x, what softplus makes spread^2 of], or x itself."""

    def __init__(self, gain: float = 1.0, spread: float | None = None):
        super().__init__()
        self.gain, self.spread = gain, spread

    def forward(self, x: Tensor, t: None = None, condition: object = None) -> Tensor:
        if self.spread is None:
            return self.gain * x
        return torch.cat([self.gain * x, torch.full_like(x, math.log(math.expm1(self.spread**2)))], 1)


def small(**fields: object) -> ladder.Config:
    net = mlp.Config(width=16, depth=1)
    parts = {"encoder": net, "decoder": net, "latents": (2, 2), "width": 2, "likelihood": "gaussian", "scale": T}
    return ladder.Config(**{**parts, **fields})  # type: ignore[arg-type]


def by_hand() -> ladder.Ladder:
    """The model of `A`, `S` and `T`, its messages being what x says of each code."""
    model = small().build(PLANE)
    model.encoder, model.decoder = Linear(), Linear()
    model.up, model.priors = nn.ModuleList([Linear()]), nn.ModuleList([Linear(A, S)])
    model.messages = nn.ModuleList([Linear(1.0, T), Linear(1 / A, math.hypot(S, T) / A)])
    return model


def batch(seed: int = 0, n: int = 6) -> Batch:
    return Batch(Seeds.for_batch(9, 0, n).normal(2), Given(), Seeds.for_batch(seed, 0, n))


def truth(x: Tensor) -> Tensor:
    return -TorchNormal(0.0, math.sqrt(A**2 + S**2 + T**2)).log_prob(x).sum(1)


def test_in_a_linear_normal_model_the_bound_is_the_likelihood() -> None:
    model, rows = by_hand(), batch()
    for k in (1, 3):
        torch.testing.assert_close(model.importance_bound(rows, k), truth(rows.x), atol=1e-4, rtol=0)
    many = torch.stack([model.nll(batch(seed)) for seed in range(1000)])
    torch.testing.assert_close(many.mean(0), truth(rows.x), atol=0.1, rtol=0)


def test_a_wrong_message_loosens_the_bound() -> None:
    model, rows = by_hand(), batch()
    model.messages[0] = Linear(1.0, 4 * T)
    many = torch.stack([model.nll(batch(seed)) for seed in range(1000)])
    assert many.mean() > truth(rows.x).mean() + 0.1


def test_the_posterior_of_the_top_layer_is_bayes_rule() -> None:
    """q(z_2|x) has the precision 1 + A^2 / (S^2 + T^2)."""
    model, rows = by_hand(), batch()
    heard = model.heard(rows.x, model.condition(Given(), 6))
    top, bottom = model.down(lambda law, _: law.mu, heard, rows.x)
    variance = 1 / (1 + A**2 / (S**2 + T**2))
    torch.testing.assert_close(top.drawn.log_var.exp(), torch.full((6, 2), variance))
    torch.testing.assert_close(top.drawn.mu, variance * A / (S**2 + T**2) * rows.x)
    torch.testing.assert_close(bottom.prior.mu, A * top.z)
    torch.testing.assert_close(model.encode(rows.x), bottom.z)


def test_products_and_divergences_by_hand() -> None:
    one, other = (ladder.Normal(torch.randn(4, 3), torch.randn(4, 3)) for _ in range(2))
    both = one.times(other)
    precision = (-one.log_var).exp() + (-other.log_var).exp()
    torch.testing.assert_close(both.log_var.exp(), 1 / precision)
    torch.testing.assert_close(both.mu * precision, one.mu * (-one.log_var).exp() + other.mu * (-other.log_var).exp())
    laws = [TorchNormal(law.mu, (law.log_var / 2).exp()) for law in (one, other)]
    torch.testing.assert_close(one.kl(other), kl_divergence(*laws).sum(1))


def test_the_warm_up_weighs_every_layer() -> None:
    torch.manual_seed(0)
    model = small(latents=(4, 3, 2), width=8, warmup=0.5).build(PLANE)
    for progress, weight in ((0.0, 0.0), (0.25, 0.5), (1.0, 1.0)):
        loss, stats = model.loss(batch(), progress)
        assert loss.item() == pytest.approx((stats["reconstruction"] + weight * stats["kl"]).item(), rel=1e-5)
    layers = stats["kl_1"] + stats["kl_2"] + stats["kl_3"]
    assert layers.item() == pytest.approx(stats["kl"].item(), rel=1e-5)


def test_samples_have_the_law_of_the_model() -> None:
    model = by_hand()
    noise = Seeds.for_batch(0, 0, 20_000).normal(4)
    x = model.predictor(model.condition(Given(), 1))(noise)  # means: without the noise of p(x|z)
    torch.testing.assert_close(x.std(0), torch.full((2,), math.hypot(A, S)), atol=0.02, rtol=0)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(MaquetteError, match="MQ-2008"):
        small().build(Tokens((4,), 3))
    with pytest.raises(MaquetteError, match="MQ-2008"):
        small(likelihood="logistic").build(PLANE)
    for latents in ((4,), (4, 0)):
        with pytest.raises(MaquetteError, match="MQ-2002"):
            small(latents=latents)
