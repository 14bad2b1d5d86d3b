"""The formulas of docs/formulas.md: F1 to F36, which the tutorials print, and those that they name. Values by hand."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Condition, Given, Real, Sampling, Tokens, Turn
from maquette.evaluate.scores.frechet import Moments, frechet_distance
from maquette.evaluate.scores.histogram import kl_divergence
from maquette.evaluate.scores.inception_score import inception_score
from maquette.evaluate.scores.reconstruction import psnr, ssim
from maquette.models import codes, diffusion, gan, gpt, laws, lstm, vae
from maquette.models.adversarial import LOSSES, Aids, faced, sameness, unlike
from maquette.models.tokenwise import divergence
from maquette.nets import convnet, dilated, dims, mlp, transformer
from maquette.nets.attention import attend, attention_map, turns
from maquette.nets.convnet import SelfAttention
from maquette.nets.mlp import spectral_norm
from maquette.solvers import paths
from maquette.solvers.decoding import restrict
from maquette.solvers.style import losses as style_losses
from maquette.train.loop import take
from maquette.train.optimisers import Mover
from maquette.train.recipe import Optimizer
from maquette.verbs.average import weighted_mean
from tests.train import tiny

PAGES = [Path(__file__).parents[1] / "docs" / name for name in ("formulas.md", "formulas.zh.md")]
PLANE, PICTURE = Real((2,)), Real((1, 16, 16), levels=256)
NET = mlp.Config(width=16)
SMALLEST = transformer.Config.tiny()
GAME = LOSSES["non-saturating"]
NAMED = (
    "1606.03498 + test_inception_score", "1706.08500 + test_frechet", "PSNR + test_f24", "10.1109/TIP.2003.819861",
    "KL + test_divergence_of_samples", "1802.05957", "1411.1784 + 1802.05637", "1611.01673", "1903.05628",
    "0.9 + test_one_sided", "test_historical_averaging", "Salimans + `Deviation`", "1606.03498 + `batch`",
    "Heusel + test_two_time_scales", "1610.04490", "1705.02894", "1211.5063", "AdaGrad + RMSProp", "1512.09300",
    "1703.10593", "1508.06576", "1609.05158 + 1609.04802", "1904.09751", "1609.03499", "Transformer + 1706.03762",
    "2103.00020", "2102.12092", "1602.05629", "1503.02531", "int8", "1506.02626", "1607.00133", "1606.04080",
    "1805.08318",
)  # fmt: skip
"""What tells the rows of those that the tutorials name without writing: sources by their numbers at arXiv."""
HALF = torch.zeros(8)
"""Logits of a critic that takes everything for real with probability 1/2."""


def slope(loss, at: float) -> float:
    """The derivative of `loss` at a logit."""
    logit = torch.tensor([at], requires_grad=True)
    loss(logit).backward()
    assert logit.grad is not None
    return logit.grad.item()


def batch(space: Real | Tokens, n: int = 8) -> Batch:
    rng = Seeds.for_batch(0, 0, n)
    x = rng.integers(space.vocab, *space.shape) if isinstance(space, Tokens) else rng.normal(*space.shape)
    return Batch(x, Given(), Seeds.for_batch(1, 0, n))


# -- the game ---------------------------------------------------------------------------------------------------------


def test_f1_f20_f35_the_critic_lowers_minus_log_d_minus_log_1_minus_d() -> None:
    assert GAME.critic(HALF, HALF).item() == pytest.approx(2 * math.log(2)) == pytest.approx(1.3863, abs=1e-4)
    real, made = torch.tensor([2.0]), torch.tensor([-1.0])
    by_hand = -(torch.sigmoid(real).log() + (1 - torch.sigmoid(made)).log())
    torch.testing.assert_close(GAME.critic(real, made), by_hand[0])


def test_f2_f9_f19_f34_the_slopes_that_a_generator_is_left() -> None:
    assert slope(GAME.generator, -5.0) == pytest.approx(-0.9933, abs=1e-4)
    assert slope(LOSSES["minimax"].generator, -5.0) == pytest.approx(-0.0067, abs=1e-4)
    printed = slope(lambda logit: -(1 - torch.sigmoid(logit)).log().mean(), -5.0)
    assert printed == pytest.approx(0.0067, abs=1e-4)  # the other way: its minimum is D(G(z)) = 0
    assert GAME.generator(HALF).item() == pytest.approx(0.6931, abs=1e-4)


def test_f6_f11_f15_f18_there_is_one_value_and_two_who_play_for_it() -> None:
    """-log 4 where nobody can tell, and what one lowers the other raises."""
    value = -LOSSES["minimax"].critic(HALF, HALF)
    assert value.item() == pytest.approx(-1.3863, abs=1e-4)
    made = torch.randn(64)
    e_log_d_real = -F.softplus(-HALF).mean()
    torch.testing.assert_close(-LOSSES["minimax"].critic(HALF[:1].expand(64), made) - e_log_d_real,
                               LOSSES["minimax"].generator(made))  # fmt: skip
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.1, 0.3, 0.6])
    best = p / (p + q)  # the optimal critic of two laws; its value is -log 4 + 2 JSD
    middle = (p + q) / 2
    jsd = ((p * (p / middle).log()).sum() + (q * (q / middle).log()).sum()) / 2
    torch.testing.assert_close((p * best.log() + q * (1 - best).log()).sum(), 2 * jsd - math.log(4))


def test_f10_what_is_printed_is_best_where_the_critic_believes_everything() -> None:
    def printed(real: Tensor, made: Tensor) -> Tensor:
        return (F.logsigmoid(real) + F.logsigmoid(made)).mean()

    sure = torch.full((8,), 9.0)
    assert printed(sure, sure) > printed(sure, -sure) and printed(sure, sure).item() == pytest.approx(0, abs=1e-3)
    assert GAME.critic(sure, -sure) < GAME.critic(sure, sure)


@pytest.mark.parametrize("p", [(0.8, 0.2), (0.3, 0.7)])
def test_f32_f33_a_critic_says_how_likely_a_sample_is_real(p: tuple[float, float]) -> None:
    """Two kinds of samples, made with shares (0.3, 0.7): the best critic says p / (p + p_G) of each (Goodfellow et al.
    2014, proposition 1), and 1/2 of all where p_G = p (theorem 1)."""
    model, q, n = gan.Config(generator=NET, critic=NET, latent=4).build(PLANE), (0.3, 0.7), 10
    model.critic.net = linear(torch.zeros(1, 2))  # a score for each kind
    mover = torch.optim.SGD(model.critic.parameters(), 2.0)
    real, made = (torch.eye(2).repeat_interleave(torch.tensor([round(n * a), round(n * b)]), 0) for a, b in (p, q))
    for _ in range(300):
        mover.zero_grad()
        told = [model._judge(x, Given(), Seeds.for_batch(0, 0, n)) for x in (real, made)]
        model._against(*told).backward()
        mover.step()
    says = torch.sigmoid(model.realness(torch.eye(2)))
    torch.testing.assert_close(says, torch.tensor([a / (a + b) for a, b in zip(p, q, strict=True)]), atol=1e-3, rtol=0)
    z = torch.randn(2, 4)
    apart = model.predictor(model.condition(Given(), 2))(z)
    assert not torch.equal(apart[0], apart[1]), "G(z) is a law: other noise is another sample"


def test_f36_a_linear_critic_of_norm_3_pays_40() -> None:
    """10 (3 - 1)^2, wherever the slope is taken; and the critic's loss is a difference of means, with no sigmoid."""
    config = gan.Config(generator=NET, critic=NET, latent=4, loss="wasserstein", gradient_penalty=10.0, critic_steps=5)
    model = config.build(PLANE)
    model.critic.net = linear(torch.tensor([[3.0, 0.0]]))
    loss, stats = model.critic_loss(batch(PLANE), 0.0)
    assert (10 * stats["gradient_penalty"]).item() == pytest.approx(40, abs=1e-4)
    apart = stats["made_score"] - stats["real_score"]
    torch.testing.assert_close(loss.detach(), apart + 40, rtol=0, atol=1e-4)


class linear(nn.Module):
    """x -> W x, told nothing."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor, condition: object = None) -> Tensor:
        return x @ self.weight.T


# -- the variational autoencoder --------------------------------------------------------------------------------------


def test_f3_f29_a_code_is_mean_plus_spread_times_noise() -> None:
    n = 100_000
    z = codes.sample(torch.full((n, 1), 2.0), torch.full((n, 1), math.log(9.0)), Seeds.for_batch(0, 0, n))
    assert z.mean().item() == pytest.approx(2, abs=0.03) and z.var().item() == pytest.approx(9, abs=0.15)


def test_f4_f30_a_sample_is_made_of_a_code() -> None:
    model = vae.Config(encoder=NET, decoder=NET, latent=3).build(PLANE)
    assert model.predictor(model.condition(Given(), 5))(torch.randn(5, 3)).shape == (5, 2)


def test_f5_the_divergence_has_the_logarithm_with_its_sign() -> None:
    narrow = torch.tensor([[2 * math.log(0.1)]])
    right = codes.kl_to_standard_normal(torch.zeros(1, 1), narrow)
    printed = (math.log(0.1) + 0.01 + 0 - 1) / 2
    assert right.item() == pytest.approx(1.808, abs=1e-3) and printed == pytest.approx(-1.646, abs=1e-3)
    narrower = (math.log(1e-30) - 1) / 2
    assert narrower < -30  # it falls without end as sigma goes to 0: what is printed asks for that


def test_f5_what_is_seen_costs_both_halves_of_a_bernoulli() -> None:
    law, x, logit = laws.Bernoulli(2), torch.tensor([[1.0, -1.0]]), torch.tensor([[0.7, 0.7]])
    p = torch.sigmoid(logit)
    share = (x + 1) / 2
    torch.testing.assert_close(law(logit, x), -(share * p.log() + (1 - share) * (1 - p).log()))
    assert law(torch.zeros(1, 784), torch.ones(1, 784)).sum().item() == pytest.approx(543.4, abs=0.1)


def test_f7_log_q_at_its_mean() -> None:
    zero = torch.zeros(1, 2)
    assert codes.log_normal(zero, zero, zero).item() == pytest.approx(-1.8379, abs=1e-4)


def test_f12_f23_a_gaussian_at_its_mean() -> None:
    law = laws.Gaussian(Real((1,)), 1.0)
    assert law(torch.zeros(1, 1), torch.zeros(1, 1)).item() == pytest.approx(0.9189, abs=1e-4)


@pytest.mark.parametrize(("mu", "sigma", "nats"), [(0.0, 1.0, 0.0), (1.0, 1.0, 0.5), (0.0, 2.0, 0.8069)])
def test_f13_the_divergence_has_a_closed_form(mu: float, sigma: float, nats: float) -> None:
    found = codes.kl_to_standard_normal(torch.tensor([[mu]]), torch.tensor([[2 * math.log(sigma)]]))
    assert found.item() == pytest.approx(nats, abs=1e-4)


def test_f14_f31_the_two_terms_are_added_with_a_weight() -> None:
    def terms(beta: float) -> tuple[float, dict[str, Tensor]]:
        torch.manual_seed(0)
        model = vae.Config(encoder=NET, decoder=NET, latent=3, beta=beta).build(PLANE)
        loss, stats = model.loss(batch(PLANE), 1.0)
        return loss.item(), stats

    for beta in (1.0, 4.0):
        loss, stats = terms(beta)
        assert loss == pytest.approx((stats["reconstruction"] + beta * stats["kl"]).item(), rel=1e-6)


def test_f14_a_larger_weight_lowers_the_divergence_and_raises_the_error() -> None:
    """What is learnt with three weights in as many steps."""
    found = []
    for beta in (0.1, 1.0, 10.0):
        torch.manual_seed(0)
        config = vae.Config(encoder=NET, decoder=NET, latent=2, beta=beta, likelihood="gaussian", scale=0.3)
        model = config.build(PLANE)
        mover, n = torch.optim.Adam(model.parameters(), 2e-2), 32
        for step in range(60):
            mover.zero_grad()
            rng = Seeds.for_batch(0, step, n)
            loss, stats = model.loss(Batch(rng.normal(2), Given(), Seeds.for_batch(1, step, n)), 1.0)
            loss.backward()
            mover.step()
        found.append((stats["kl"].item(), stats["reconstruction"].item()))  # pyright: ignore
    divergences, errors = zip(*found, strict=True)
    assert divergences[0] > divergences[1] > divergences[2] and errors[0] < errors[1] < errors[2]


# -- one after another ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [lstm.Config(width=16), gpt.Config(net=SMALLEST)], ids=["lstm", "gpt"])
def test_f16_f21_f25_who_knows_nothing_pays_the_logarithm_of_the_vocabulary(model) -> None:
    """ln 10 = 2.3026 of ten."""
    model = model.build(Tokens((12,), 10))
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    assert model.nll(batch(model.space)).mean().item() / 12 == pytest.approx(math.log(10), rel=1e-5)


# -- diffusion --------------------------------------------------------------------------------------------------------


def test_f17_f22_who_sees_no_noise_pays_one_a_dimension() -> None:
    model = diffusion.Config(net=NET, prediction="noise", data_std=1.0).build(PLANE)
    for parameter in model.net.parameters():
        nn.init.zeros_(parameter)
    assert model.loss(batch(PLANE, 4096), 0.0)[0].item() == pytest.approx(1.0, abs=0.05)


def test_ddpm_the_linear_path_is_that_of_ho_et_al() -> None:
    """A thousand steps of beta from 1e-4 to 0.02: alpha-bar_1000 = 4.036e-5, beta~_2 / beta_2 = 0.4547."""
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    bar = (1 - beta).cumprod(0)
    assert bar[-1].item() == pytest.approx(4.036e-5, rel=1e-3) and bar[0].item() == pytest.approx(0.9999)
    assert bar[-1].sqrt().item() == pytest.approx(0.00635, abs=1e-5)
    assert ((1 - bar[0]) / (1 - bar[1])).item() == pytest.approx(0.4547, abs=1e-4)
    path = paths.PATHS["linear"]  # its limit for ever smaller steps
    ours = path.alpha(path.level(torch.arange(1, 1001, dtype=torch.float64) / 1000)) ** 2
    assert (ours - bar).abs().max() < 1.5e-3
    assert ours[-1].item() == pytest.approx(4.3e-5, rel=0.02)  # exp(-(0.1 + 19.9 / 2))


def test_ddpm_the_cosine_path_ends_in_noise() -> None:
    """Nichol and Dhariwal's with its offset and beta clipped at 0.999 ends at 2.4e-9."""
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)
    whole = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
    beta = (1 - whole[1:] / whole[:-1]).clamp(max=0.999)
    assert (1 - beta).prod().item() == pytest.approx(2.4e-9, rel=0.02)
    path = paths.PATHS["cosine"]
    t = t[1:-1]
    torch.testing.assert_close(path.alpha(path.level(t)), torch.cos(t * math.pi / 2))


# -- learning ---------------------------------------------------------------------------------------------------------


def went(steps: int, **settings) -> float:
    """Where (theta - 3)^2 is left from 0."""
    one = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(one.weight)
    mover = Mover(Optimizer(**settings), one)
    for _ in range(steps):
        (one.weight - 3).square().sum().backward()
        mover.step(0.5)
    return one.weight.item()


@pytest.mark.parametrize(
    ("settings", "first", "second"),
    [
        ({"name": "sgd", "betas": (0.0, 0.0)}, 0.6, 1.08),  # F26, F27
        ({"name": "sgd", "betas": (0.9, 0.0)}, 0.6, 1.62),
        ({"name": "adagrad"}, 0.1, 0.169502),
        ({"name": "rmsprop", "betas": (0.0, 0.99)}, 1.0, 1.55663),
        ({"name": "adamw"}, 0.1, 0.199897),
        ({"name": "adamw", "weight_decay": 0.01}, 0.1, 0.199797),
    ],
    ids=["F26 F27 descent", "momentum", "AdaGrad", "RMSProp", "Adam", "AdamW"],
)
def test_f26_f27_two_steps_of_each_rule(settings: dict, first: float, second: float) -> None:
    assert went(1, lr=0.1, **settings) == pytest.approx(first, abs=1e-5)
    assert went(2, lr=0.1, **settings) == pytest.approx(second, abs=1e-5)


def test_f28_adam_divides_by_the_root_of_the_second_moment() -> None:
    assert went(1, lr=0.01) == pytest.approx(0.0100, abs=1e-5) and went(1000, lr=0.01) == pytest.approx(2.999, abs=2e-3)
    theta, m, v = 0.0, 0.0, 0.0
    found = []
    for t in range(1, 7):  # as printed, the second moment subtracted
        g = 2 * (theta - 3)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        theta -= 0.01 * m / (1 - 0.9**t) + 0.999 * v / (1 - 0.999**t)
        found.append(theta)
    assert found[0] == pytest.approx(-35.9, abs=0.05) and found[-1] < -1e6


@pytest.mark.parametrize(
    ("clip", "gradient", "moved"),
    [(1.0, (3.0, 4.0), (0.6, 0.8)), (10.0, (3.0, 4.0), (3.0, 4.0)), (1.0, (3e-3, 4e-3), (3e-3, 4e-3))],
    ids=["of length 5 to 1", "short enough", "what vanishes stays as it is"],
)
def test_gradient_clipping(clip: float, gradient: tuple[float, float], moved: tuple[float, float]) -> None:
    """In the loop: one step of plain descent at rate 1."""
    plain = {"name": "sgd", "lr": 1.0, "betas": [0, 0]}
    learner = tiny.learner(clip=clip, optimizers={"right": plain})
    weight = learner.model.right.weight  # pyright: ignore
    before = weight.detach().clone()  # pyright: ignore
    turn = Turn("right", lambda rows, progress: ((weight * torch.tensor([gradient])).sum(), {}))  # pyright: ignore
    notes = take(learner, 0, turn, batch(PLANE), 0.0)
    torch.testing.assert_close(before - weight.detach(), torch.tensor([moved]), rtol=1e-4, atol=1e-7)  # pyright: ignore
    assert notes["grad_norm"].item() == pytest.approx(math.hypot(*gradient), rel=1e-5)


def test_historical_averaging_by_hand() -> None:
    """(theta - 3)^2 from 0 at rate 0.1, and once |theta - mean|^2: 0.6; then the mean is 0.3 and the slope
    -4.8 + 0.6, 1.02 and not 1.08; then 0.54 and -3.96 + 0.96, 1.32."""
    for steps, theta in ((1, 0.6), (2, 1.02), (3, 1.32)):
        assert went(steps, lr=0.1, name="sgd", betas=(0.0, 0.0), history=1.0) == pytest.approx(theta, abs=1e-6)


@pytest.mark.parametrize(("history", "away"), [(0.0, (0.5, 2.0)), (0.25, (0.0, 0.1))])
def test_historical_averaging_ends_a_game_that_goes_in_circles(history: float, away: tuple[float, float]) -> None:
    """min_x max_y xy from (1, 0): plain descent goes round (0, 0) without end, with it both come to rest there. What
    is remembered goes on to the same bits."""
    x, y = (nn.Linear(1, 1, bias=False) for _ in range(2))
    for player, at in ((x, 1.0), (y, 0.0)):
        nn.init.constant_(player.weight, at)
    how = Optimizer(name="sgd", lr=0.1, betas=(0.0, 0.0), history=history)
    movers = [Mover(how, player) for player in (x, y)]
    for step in range(600):
        for sign, player, mover in ((1, x, movers[0]), (-1, y, movers[1])):
            (sign * x.weight * y.weight).sum().backward()
            mover.step(0.0)
            (y if player is x else x).weight.grad = None
        if step == 150:
            again = [Mover(how, player) for player in (x, y)]
            for old, new in zip(movers, again, strict=True):
                new.load(old.state)
            movers = again
    assert away[0] <= math.hypot(x.weight.item(), y.weight.item()) <= away[1]


# -- attention --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("d", "spread", "plain", "largest"),
    [(4, 1.99, 1.78, 0.42), (16, 4.02, 0.91, 0.69), (64, 7.96, 0.42, 0.84), (256, 15.96, 0.19, 0.92)],
)
def test_f8_the_root_of_d_keeps_attention_open(d: int, spread: float, plain: float, largest: float) -> None:
    """Normal q and k, 16 keys, at most ln 16 = 2.773 nats: what is divided keeps 2.36, what is not closes with d."""
    torch.manual_seed(0)
    q, k = torch.randn(3000, 1, 1, d), torch.randn(3000, 1, 16, d)

    def entropy(weights: Tensor) -> float:
        return -torch.special.xlogy(weights, weights).sum(-1).mean().item()

    scores = q @ k.mT
    assert scores.std().item() == pytest.approx(spread, rel=0.03)
    assert entropy(scores.softmax(-1)) == pytest.approx(plain, abs=0.05)
    assert scores.softmax(-1).amax(-1).mean().item() == pytest.approx(largest, abs=0.02)
    assert entropy(attention_map(q, k)) == pytest.approx(2.36, abs=0.04)


def test_f8_weights_sum_to_one_and_agree_with_torch() -> None:
    q, k, v = torch.randn(3, 2, 4, 6, 8)
    torch.testing.assert_close(attention_map(q, k).sum(-1), torch.ones(2, 4, 6))
    torch.testing.assert_close(attend(q, k, v, causal=True), F.scaled_dot_product_attention(q, k, v, is_causal=True))


def test_listing_19_a_raw_mask_gives_weight_to_what_is_hidden() -> None:
    mask = torch.tensor([0.0, 0.0, 1.0, 1.0])
    raw = (torch.zeros(4) + mask).softmax(0)
    torch.testing.assert_close(raw, torch.tensor([0.134, 0.134, 0.366, 0.366]), atol=5e-4, rtol=0)
    ours = attention_map(torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 4, 2), mask.bool()[None, None, None].logical_not())
    torch.testing.assert_close(ours[0, 0, 0], torch.tensor([0.5, 0.5, 0.0, 0.0]))


def test_causality_and_positions() -> None:
    model = gpt.Config(net=SMALLEST).build(Tokens((8,), 5)).eval()
    x = torch.randint(5, (1, 8))
    changed = torch.cat([x[:, :5], (x[:, 5:] + 1) % 5], 1)
    predict = model.predictor(model.condition(Given(), 1))
    torch.testing.assert_close(predict(x, 5), predict(changed, 5))
    cos, sin = turns(4, 4)
    assert sin[1, 0].item() == pytest.approx(0.8415, abs=1e-4) and cos[0, 0] == 1


# -- judging ----------------------------------------------------------------------------------------------------------


def test_inception_score() -> None:
    sure = torch.full((40, 4), -50.0)
    sure[torch.arange(40), torch.arange(40) % 4] = 50
    assert inception_score(sure).value == pytest.approx(4) and inception_score(
        torch.ones(40, 4)
    ).value == pytest.approx(1)


def test_frechet_distance() -> None:
    def moments(mean: float, spread: float, d: int = 5) -> Moments:
        return Moments(1001, np.full(d, float(mean)), np.eye(d) * spread**2 * 1000)

    assert frechet_distance(moments(0, 1), moments(0, 1)) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(moments(0, 1), moments(2, 1)) == pytest.approx(20)
    assert frechet_distance(moments(0, 1), moments(0, 2)) == pytest.approx(5)
    draw = np.random.default_rng(0)
    for n, bias in ((2048, 1.08), (512, 4.14)):  # the same law: what is found of so few rows
        one, other = (Moments.of(draw.standard_normal((n, 64))) for _ in range(2))
        assert frechet_distance(one, other) == pytest.approx(bias, rel=0.1)


def test_f24_psnr_and_ssim() -> None:
    x = torch.zeros(1, 1, 16, 16)
    assert psnr(x, x + 0.1, 1.0) == pytest.approx(20) and psnr(x, x, 1.0) == math.inf
    assert ssim(x, x, 1.0).value == pytest.approx(1)
    assert ssim(x + 0.5, x + 0.6, 1.0).value == pytest.approx(0.98361, abs=1e-5)
    one, other = (torch.tensor([[1.0, 2.0, last]]) for last in (3.0, 5.0))
    assert psnr(one, other, 1.0) == pytest.approx(-10 * math.log10(4 / 3), abs=1e-5)  # F24


def test_divergence_of_samples() -> None:
    """KL(N(0, 1) || N(1, 1)) = 1/2, and 0.497 of the tutorials' 100,000 points; the same law is near 0."""
    draw = np.random.default_rng(0)
    real, moved, same = draw.standard_normal((3, 100_000, 1)) + np.array([0, 1, 0])[:, None, None]
    assert kl_divergence(real, moved) == pytest.approx(0.5, abs=0.02)
    assert 0 <= kl_divergence(real, same) < 0.02
    ring = draw.standard_normal((4000, 2))
    assert kl_divergence(ring, np.zeros((4000, 2))) > 3 > 0.2 > kl_divergence(ring, draw.standard_normal((4000, 2))) > 0
    with pytest.raises(ValueError):
        kl_divergence(np.zeros((4, 3)), np.zeros((4, 3)))


# -- what is named and not written ------------------------------------------------------------------------------------


def test_spectral_norm() -> None:
    layer = nn.Linear(3, 3, bias=False)
    layer.weight = nn.Parameter(torch.diag(torch.tensor([2.0, 3.0, 0.5])))
    bound = spectral_norm(layer, n_power_iterations=50)
    values = torch.linalg.svdvals(bound(torch.eye(3)))
    torch.testing.assert_close(values, torch.tensor([1.0, 0.6667, 0.1667]), atol=1e-3, rtol=0)


def test_several_critics() -> None:
    one = torch.tensor([0.7])
    assert {faced(one, how).item() for how in ("mean", "max", "softmax")} == {one.item()}
    assert faced(torch.tensor([1.0, 3.0]), "mean") == 2 and faced(torch.tensor([1.0, 3.0]), "max") == 3
    assert 2 < faced(torch.tensor([1.0, 3.0]), "softmax") < 3


def test_mode_seeking_and_feature_matching() -> None:
    z, w = torch.zeros(4, 2), torch.ones(4, 2)
    near, far = sameness(z, z + 0.1, z, w), sameness(z, z + 1, z, w)
    assert far.item() == pytest.approx(1, abs=1e-3) and near.item() == pytest.approx(10, rel=1e-2)
    assert unlike(torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [2.0]])).item() == 0


def test_one_sided_smoothing_is_best_at_nine_tenths() -> None:
    model = gan.Config(generator=NET, critic=NET, latent=4, aids=Aids(smoothing=0.1)).build(PLANE)

    def real_part(logit: float) -> float:
        return (model._against(torch.full((1, 1), logit), torch.full((1, 1), -40.0))).item()

    assert real_part(0.0) == pytest.approx(0.6931, abs=1e-4)
    best = min(np.linspace(0, 5, 501), key=real_part)
    assert 1 / (1 + math.exp(-best)) == pytest.approx(0.9, abs=2e-3)


def test_two_time_scales_and_instance_noise() -> None:
    critic, generator = Optimizer(lr=4e-4), Optimizer(lr=1e-4, schedule="linear")
    assert (critic.rate(0.5), generator.rate(0.5)) == (4e-4, pytest.approx(5e-5))
    config = gan.Config(generator=NET, critic=NET, latent=4, aids=Aids(noise=0.5))
    shown = config.build(PLANE)._shown(torch.zeros(4096, 2), Seeds.for_batch(0, 0, 4096), 0.6)
    assert shown.std().item() == pytest.approx(0.5 * 0.4, rel=0.05)


def test_projection_adds_the_inner_product_of_the_label_and_the_features() -> None:
    """Miyato and Koyama 2018, eq. 3: f(x, y) = psi(h) + <Vy, h>; and what a label adds is linear in h."""
    net: Any = convnet.Config(width=8, norm="none").build((1, 8, 8), (1,), 3)
    x, y = torch.randn(4, 1, 8, 8), torch.randn(4, 3)
    seen = net.see(x)
    h = seen.flatten(2).mean(2)
    assert net.projection is not None
    plain = net.say(seen, Condition(vector=torch.zeros(4, 3)))
    told = (net.projection(y) * h).sum(1, keepdim=True)
    torch.testing.assert_close(net.say(seen, Condition(vector=y)), plain + told)


@pytest.mark.slow
def test_a_conditional_game_makes_what_is_asked() -> None:
    """Eight Gaussians, a label each: at least 90 % of samples lie nearest to the one that was asked for."""
    angle = torch.arange(8) * math.pi / 4
    centres = torch.stack([angle.cos(), angle.sin()], 1)
    torch.manual_seed(0)
    net, critic = mlp.Config(width=64), mlp.Config(width=64, spectral=True)
    model = gan.Config(generator=net, critic=critic, latent=4, label_drop=0.0).build(PLANE, 8)
    movers = {name: Mover(Optimizer(lr=1e-3, betas=(0.5, 0.999)), player) for name, player in model.players().items()}
    for step in range(1500):
        rng = Seeds.for_batch(0, step, 128)
        label = rng.integers(8)
        rows = Batch(centres[label] + 0.05 * rng.normal(2), Given(label=label), Seeds.for_batch(1, step, 128))
        for turn in model.turns():
            model.zero_grad()
            turn.loss(rows, step / 1500)[0].backward()
            movers[turn.player].step(0.0)
    label = torch.arange(8).repeat(100)
    with torch.no_grad():
        made = model.predictor(model.condition(Given(label=label), 800))(Seeds.for_samples(0, 800).normal(4))
    right = (torch.cdist(made, centres).argmin(1) == label).double().mean().item()
    assert right >= 0.9, f"label accuracy {right:.2f}"


def test_sub_pixel_convolution_lays_channels_out_in_blocks() -> None:
    """Shi et al. 2016, eq. 4: four channels of one place become two by two places."""
    h = torch.arange(4.0).reshape(1, 4, 1, 1)
    assert dims.shuffled(h, 2).tolist() == [[[[0, 1], [2, 3]]]]
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(dims.shuffled(dims.unshuffled(x, 4), 4), x)


def test_the_guide_s_pruning_takes_the_smallest_half() -> None:
    """The program of docs/guides/smaller.md; vectors stay as they are."""
    guide, scope = (PAGES[0].parent / "guides" / "smaller.md").read_text(encoding="utf-8"), dict[str, Any]()
    (program,) = re.findall(r"^def pruned.*?\n(?=\n)", guide, re.DOTALL | re.MULTILINE)
    exec(compile(program, "smaller.md", "exec"), scope)
    w = torch.tensor([[4.0, -1.0], [-3.0, 0.5]])
    assert scope["pruned"](w).tolist() == [[4, 0], [-3, 0]] and torch.equal(scope["pruned"](w[0]), w[0])


def test_hinge() -> None:
    assert LOSSES["hinge"].critic(HALF, HALF) == 2 and LOSSES["hinge"].generator(HALF) == 0


def test_style_of_itself_costs_nothing() -> None:
    maps = [torch.randn(1, 3, 4, 4), torch.randn(1, 5, 2, 2)]
    assert style_losses(maps, maps, maps, -1) == (0, 0)
    assert style_losses(maps, [m + 1 for m in maps], maps, -1).content > 0


def test_top_k_of_one_is_greedy_and_top_p_cuts() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0]])
    nothing = torch.empty(1, 0, dtype=torch.int64)
    assert restrict(logits, nothing, Sampling(top_k=2)).isinf().tolist() == [[True, False, False]]
    assert restrict(logits, nothing, Sampling(top_p=0.5)).isinf().tolist() == [[True, False, True]]


def test_wavenet_hears_so_far() -> None:
    config = dilated.Config(width=8, skip=8, layers=10)
    assert config.reach == 1 + sum(2**i for i in range(10)) == 1024
    assert replace(config, kernel=3).reach == 2047


def test_attention_in_pictures_begins_as_the_identity() -> None:
    h = torch.randn(2, 16, 4, 4)
    assert torch.equal(SelfAttention(convnet.Config(), 2, 16)(h), h)


def test_federated_averaging_is_the_mean_weighted_by_items() -> None:
    """(600 x 1 + 200 x 5) / 800 = 2; counts of batches are no weights, and the largest is kept."""
    states = [{"w": torch.tensor([1.0, 0.0]), "batches": torch.tensor(3)},
              {"w": torch.tensor([5.0, 8.0]), "batches": torch.tensor(4)}]  # fmt: skip
    mean = weighted_mean(states, [600 / 800, 200 / 800])
    assert mean["w"].tolist() == [2.0, 2.0] and mean["batches"].item() == 4
    assert mean["w"].dtype == torch.float32 and mean["batches"].dtype == torch.int64
    w = torch.randn(1000)
    assert torch.equal(weighted_mean([{"w": w}], [1.0])["w"], w), "one client: to the bit"
    assert torch.equal(weighted_mean([{"w": w}] * 3, [1 / 3] * 3)["w"], w), "clients that agree: to the bit"


def test_federated_averaging_of_one_full_step_each_is_one_full_step_of_all() -> None:
    """McMahan et al., section 2: sum_k (n_k / n) (w - lr g_k) = w - lr g, g being the gradient over all n rows."""
    space = Tokens((6,), 5)
    torch.manual_seed(0)
    origin = gpt.Config(net=SMALLEST).build(space).state_dict()
    rows = batch(space, 12)

    def stepped(part: slice) -> dict[str, Tensor]:
        client = gpt.Config(net=SMALLEST).build(space)
        client.load_state_dict(origin)
        mover = Mover(Optimizer(name="sgd", lr=0.5, betas=(0.0, 0.0)), client)
        client.loss(Batch(rows.x[part], Given(), rows.rng), 0.0)[0].backward()
        mover.step(0.0)
        return client.state_dict()

    central, of_two = stepped(slice(0, 12)), [stepped(slice(0, 9)), stepped(slice(9, 12))]
    torch.testing.assert_close(weighted_mean(of_two, [9 / 12, 3 / 12]), central)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(weighted_mean(of_two, [1 / 2, 1 / 2]), central)


def test_distillation_of_equal_logits_costs_nothing() -> None:
    """KL is 0 where softmax is the same, whatever is added to all logits, and never below."""
    logits = torch.randn(7, 5, dtype=torch.float64)
    for temperature in (0.5, 1.0, 4.0):
        torch.testing.assert_close(divergence(logits, logits + 3, temperature), torch.zeros(7, dtype=torch.float64))
        assert (divergence(logits, torch.randn_like(logits), temperature) > 0).all()


def test_distillation_of_two_classes_by_hand() -> None:
    """The teacher's 3/4 and 1/4 at temperature 2 against 1/2: 4 (3/4 ln 3/2 + 1/4 ln 1/2) = 0.5232; the slope
    by the first logit is 2 (1/2 - 3/4)."""
    teacher, student = torch.tensor([2 * math.log(3), 0.0]), torch.zeros(2, requires_grad=True)
    cost = divergence(student, teacher, 2.0)
    cost.backward()
    assert (
        cost.item()
        == pytest.approx(4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5)))
        == pytest.approx(0.5232, abs=1e-4)
    )
    assert student.grad is not None and student.grad.tolist() == pytest.approx([-0.5, 0.5])


def test_distillation_at_high_temperature_matches_logits() -> None:
    """Hinton et al., eq. 4: the slope by z_i goes to (z_i - v_i) / N, both logits centred."""
    student, teacher = torch.randn(2, 6, dtype=torch.float64).unbind()
    student.requires_grad_()
    divergence(student, teacher, 1e4).backward()
    z, v = (logits.detach() - logits.detach().mean() for logits in (student, teacher))
    torch.testing.assert_close(student.grad, (z - v) / 6, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_distillation_is_mixed_with_the_loss_of_the_data(share: float) -> None:
    space, config = Tokens((6,), 5), gpt.Config(net=SMALLEST)
    student, teacher = (lstm.Config(width=8).build(space), config.build(space).eval())
    rows = batch(space)
    plain, before = student.loss(rows, 0.0)
    student.learn_from(teacher, 3.0, share)
    mixed, stats = student.loss(rows, 0.0)
    z, v = (model.logits(rows.x, Condition()) for model in (student, teacher))
    told = divergence(z, v, 3.0).mean()
    torch.testing.assert_close(mixed, (1 - share) * plain + share * told)
    assert stats["from_teacher"].item() == pytest.approx(told.item())
    assert stats["nats_per_token"] == before["nats_per_token"]
    mixed.backward()
    assert all(p.grad is None for p in teacher.parameters()), "the teacher learns nothing"


# -- the page ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_has_every_formula_that_is_named_and_not_written(page: Path) -> None:
    """Each with its source and a test, in one row."""
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    for words in NAMED:
        assert any(all(word in row for word in words.split(" + ")) and "`test_" in row for row in rows), words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_names_every_formula_and_its_test(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| F")]
    numbers = [int(n) for row in rows for n in re.findall(r"F(\d+)", row.split("|")[1])]
    assert sorted(set(numbers)) == list(range(1, 37))
    tests = "".join(file.read_text(encoding="utf-8") for file in Path(__file__).parent.rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", text))
    assert named <= set(re.findall(r"def (test_\w+)", tests))
    assert named >= {name for name in globals() if name.startswith("test_") and "page" not in name}
