"""Adversarial losses worked by hand, the critic's bounds, labels, and the game on eight Gaussians."""

import math

import pytest
import torch
from torch import Tensor, nn

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Given, Real, Sampling, Tokens
from maquette.models import gan
from maquette.models.adversarial import Aids
from maquette.nets import convnet, mlp

PLANE, PICTURE = Real((2,)), Real((1, 16, 16), levels=256)
SMALL = mlp.Config(width=16)


def batch(n: int = 8, space: Real = PLANE, step: int = 0, classes: int = 0) -> Batch:
    rng = Seeds.for_batch(0, step, n)
    given = Given(label=rng.integers(classes) if classes else None)
    return Batch(rng.normal(*space.shape).clamp(-1, 1), given, Seeds.for_batch(1, step, n))


def small(**fields: object) -> gan.Config:
    return gan.Config(**{"generator": SMALL, "critic": SMALL, "latent": 4, **fields})  # type: ignore[arg-type]


# -- losses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "real", "made", "critic", "generator"),
    [
        # D = 1/2 everywhere: 2 ln 2 and ln 2 (Goodfellow et al. 2014, section 4)
        ("non-saturating", [0.0], [0.0], 1.386294, 0.693147),
        ("non-saturating", [2.0], [-5.0], 0.126928 + 0.006715, 5.006715),
        ("hinge", [0.0], [0.0], 2.0, 0.0),
        ("hinge", [3.0, 0.5], [-2.0, 0.0], 0.25 + 0.5, 1.0),
        ("least-squares", [1.0], [0.0], 0.0, 0.5),
        ("least-squares", [0.0, 3.0], [2.0, 0.0], 0.5 * 2.5 + 0.5 * 2.0, 0.5 * 1.0),
        ("wasserstein", [3.0, 1.0], [1.0, 0.0], -1.5, -0.5),
        # the generator's is of how far made samples are ahead, here of as many real ones with score 0
        ("relativistic", [2.0], [2.0], 0.693147, 0.126928),
        ("relativistic", [0.0, 0.0], [5.0, -5.0], (5.006715 + 0.006715) / 2, (0.006715 + 5.006715) / 2),
    ],
)
def test_losses_by_hand(name: str, real: list[float], made: list[float], critic: float, generator: float) -> None:
    loss = gan.LOSSES[name]
    assert loss.critic(torch.tensor(real), torch.tensor(made)).item() == pytest.approx(critic, abs=2e-6)
    assert loss.generator(torch.tensor(made)).item() == pytest.approx(generator, abs=2e-6)


def test_the_generator_keeps_its_slope_where_the_critic_is_sure() -> None:
    """At logit -5: -0.9933 for -log D, where log(1 - D) has -0.0067 left."""
    logit = torch.tensor([-5.0], requires_grad=True)
    gan.LOSSES["non-saturating"].generator(logit).backward()
    assert logit.grad is not None and logit.grad.item() == pytest.approx(-0.993307, abs=1e-6)


def test_scores_far_out_stay_finite() -> None:
    for loss in gan.LOSSES.values():
        far = torch.tensor([1e4, -1e4])
        assert loss.critic(far, -far).isfinite() and loss.generator(far).isfinite()


def test_first_losses_of_a_silent_critic() -> None:
    model = small().build(PLANE)
    nn.init.zeros_(model.critic.net.last.weight)
    nn.init.zeros_(model.critic.net.last.bias)
    assert model.critic_loss(batch(), 0.0)[0].item() == pytest.approx(2 * math.log(2))
    assert model.generator_loss(batch(), 0.0)[0].item() == pytest.approx(math.log(2))


# -- bounds on the critic ---------------------------------------------------------------------------------------------


class Linear(nn.Module):
    """D(x) = <w, x>, whose slope is |w| everywhere."""

    def __init__(self, w: list[float]):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w))

    def forward(self, x: Tensor, t: None = None, condition: object = None) -> Tensor:
        return (x.flatten(1) @ self.w)[:, None]


class Bent(Linear):
    """D(x) = <w, x^2>, whose slope is |2 w x|."""

    def forward(self, x: Tensor, t: None = None, condition: object = None) -> Tensor:
        return super().forward(x.square())


def test_gradient_penalty_of_a_linear_critic() -> None:
    """Slope 3: 10 (3 - 1)^2 = 40, wherever it is taken (Gulrajani et al. 2017, eq. 3)."""
    model = small(loss="wasserstein", gradient_penalty=10.0).build(PLANE)
    model.critic.net = Linear([3.0, 0.0])
    loss, stats = model.critic_loss(batch(), 0.0)
    assert stats["gradient_penalty"].item() == pytest.approx(4.0)
    assert (loss - stats["made_score"] + stats["real_score"]).item() == pytest.approx(40.0, rel=1e-5)
    loss.backward()
    assert model.critic.net.w.grad[0] > 30, "the penalty pulls the slope down"  # d/dw 10 (w - 1)^2 = 40 at 3


def test_r1_of_a_linear_critic() -> None:
    """gamma/2 |w|^2 = 2/2 * 25, once for each of the 16 steps that it stands for."""
    model = small(r1=2.0).build(PLANE)
    model.critic.net = Linear([3.0, 4.0])
    loss, stats = model.r1_loss(batch(), 0.0)
    assert stats["r1"].item() == pytest.approx(25.0) and loss.item() == pytest.approx(16 * 25.0)
    loss.backward()
    assert torch.allclose(model.critic.net.w.grad, 16 * 2.0 * torch.tensor([3.0, 4.0]))


def test_r2_is_r1_at_made_samples() -> None:
    model = small(r2=2.0).build(PLANE)
    model.critic.net = Bent([3.0, 4.0])
    made = model._make(batch(), batch().rng.fork(1)).detach()
    loss, stats = model.r1_loss(batch(), 0.0)
    by_hand = (torch.tensor([3.0, 4.0]) * 2 * made).square().sum(1).mean()  # of <w, x^2>: 2 w x
    assert set(stats) == {"r2"} and stats["r2"].item() == pytest.approx(by_hand.item(), rel=1e-4)
    assert loss.item() == pytest.approx(16 * by_hand.item(), rel=1e-4)


@pytest.mark.parametrize("loss", ["non-saturating", "relativistic"])
def test_with_every_step_r1_and_r2_are_part_of_the_critics_loss(loss: str) -> None:
    """Huang et al. 2024: the same gradients as when they are turns of their own, from half the passes."""
    grads = []
    for apart in (False, True):
        torch.manual_seed(0)
        model = small(loss=loss, r1=2.0, r2=3.0, r1_every=1).build(PLANE, classes=3)
        assert [turn.player for turn in model.turns()] == ["critic", "generator"]
        model.apart = apart
        penalised, stats = model.critic_loss(batch(classes=3), 0.0)
        assert stats["r1"] > 0 and stats["r2"] > 0
        penalised.backward()
        grads.append(torch.cat([p.grad.flatten() for p in model.critic.parameters()]))
        assert all(p.grad is None for p in model.generator.parameters())
    torch.manual_seed(0)
    plain = small(loss=loss).build(PLANE, classes=3)
    x, made = batch(classes=3).x, plain._make(batch(classes=3), batch().rng.fork(0)).detach()
    rng, given = batch().rng.fork(0), batch(classes=3).given
    bound = sum(g / 2 * plain._slope(at, given, rng).square().mean() for g, at in ((2.0, x), (3.0, made)))
    (plain.critic_loss(batch(classes=3), 0.0)[0] + bound).backward()
    grads.append(torch.cat([p.grad.flatten() for p in plain.critic.parameters()]))
    assert torch.allclose(grads[0], grads[1], atol=1e-6) and torch.allclose(grads[0], grads[2], atol=1e-6)


def test_penalties_can_be_measured_without_gradients() -> None:
    """As a held-out loss is."""
    model = small(r1=1.0, gradient_penalty=1.0).build(PLANE)
    often = small(r1=1.0, r2=1.0, r1_every=1).build(PLANE)
    with torch.no_grad():
        assert all(turn.loss(batch(), 0.0)[0].isfinite() for turn in often.turns())
    with torch.no_grad():
        assert all(turn.loss(batch(), 0.0)[0].isfinite() for turn in model.turns())


def test_a_penalised_critic_may_not_mix_rows() -> None:
    for fields in ({"r1": 1.0}, {"r2": 1.0}, {"gradient_penalty": 10.0}):
        with pytest.raises(MaquetteError, match="MQ-2020"):
            gan.Config(critic=convnet.Config(width=8, norm="batch"), **fields).build(PICTURE)  # type: ignore[arg-type]


# -- the game ---------------------------------------------------------------------------------------------------------


def test_turns_follow_the_config() -> None:
    turns = small(r1=1.0, r1_every=4, critic_steps=5).build(PLANE).turns()
    assert [(t.player, t.every) for t in turns] == [("critic", 1), ("critic", 4), ("generator", 5)]
    assert [(t.player, t.every) for t in small().build(PLANE).turns()] == [("critic", 1), ("generator", 1)]


def test_one_pass_equals_two() -> None:
    torch.manual_seed(0)
    model = small().build(PLANE, classes=3)
    example = batch(classes=3)
    together = model.critic_loss(example, 0.0)[0]
    model.apart = True
    assert torch.allclose(model.critic_loss(example, 0.0)[0], together, atol=1e-6)


def test_a_critic_that_mixes_rows_takes_two_passes() -> None:
    critic = convnet.Config(width=8, norm="batch")
    model = gan.Config(generator=convnet.Config(width=8), critic=critic).build(PICTURE)
    sizes: list[int] = []
    model.critic.net.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    model.critic_loss(batch(space=PICTURE), 0.0)
    assert sizes == [8, 8]
    told = gan.Config(critic=convnet.Config(width=8, norm="none", deviation=True), r1=1.0).build(PICTURE)
    assert told.apart, "a batch of both would tell made samples by how much they deviate"


def test_gradients_reach_only_who_moves() -> None:
    model = small().build(PLANE)
    model.critic_loss(batch(), 0.0)[0].backward()
    assert all(p.grad is None for p in model.generator.parameters())
    model.zero_grad()
    model.critic.requires_grad_(False)
    model.generator_loss(batch(), 0.0)[0].backward()
    assert all(p.grad is None for p in model.critic.parameters())
    assert any(p.grad.abs().sum() > 0 for p in model.generator.parameters())


def test_the_generator_moves_towards_higher_scores() -> None:
    torch.manual_seed(0)
    model = small().build(PLANE)
    example = batch(64)
    before = model.generator_loss(example, 0.0)[1]["made_score"]
    optimizer = torch.optim.SGD(model.generator.parameters(), 0.05)
    model.generator_loss(example, 0.0)[0].backward()
    optimizer.step()
    assert model.generator_loss(example, 0.0)[1]["made_score"] > before


@pytest.mark.parametrize("loss", list(gan.LOSSES))
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_accumulated_gradients_are_those_of_the_whole_batch(loss: str, penalty: float) -> None:
    for turn in range(3):
        grads = []
        for parts in (1, 2, 4):
            torch.manual_seed(0)
            model = small(loss=loss, gradient_penalty=penalty, r1=1.0).build(PLANE, classes=3)
            for part in batch(classes=3).split(parts):
                (model.turns()[turn].loss(part, 0.5)[0] / parts).backward()
            grads.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        assert torch.allclose(grads[0], grads[1], atol=1e-6) and torch.allclose(grads[0], grads[2], atol=1e-6)


def test_spread_tells_a_collapse() -> None:
    model = small().build(PLANE)
    varied = model.critic_loss(batch(256), 0.0)[1]["spread"]
    for layer in (model.generator.net.first.linear, model.generator.net.last):
        nn.init.zeros_(layer.weight)
    assert model.critic_loss(batch(256), 0.0)[1]["spread"] < 1e-3 < varied


# -- samples ----------------------------------------------------------------------------------------------------------


def draw(model: gan.GAN, label: int | None = None, how: Sampling = Sampling(), n: int = 6, seed: int = 3) -> Tensor:
    given, rng = Given(label=None if label is None else torch.full((n,), label)), Seeds.for_samples(seed, n)
    with torch.no_grad():
        return model.eval().draw(model.predictor(model.condition(given, n)), model.start(n, how, rng), how, rng)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 28, 32, 64, 128])
def test_pictures_of_every_size(size: int, channels: int) -> None:
    net = convnet.Config(width=8, widest=16)
    space = Real((channels, size, size), levels=256)
    model = gan.Config(generator=net, critic=convnet.Config(width=8, widest=16, norm="spectral")).build(space)
    x = draw(model, n=2)
    assert x.shape == (2, *space.shape) and x.abs().max() <= 1
    assert all(turn.loss(batch(2, space), 0.0)[0].isfinite() for turn in model.turns())


def test_pictures_are_squashed_and_points_are_not() -> None:
    model = small().build(PLANE)
    nn.init.constant_(model.generator.net.last.bias, 5.0)
    assert draw(model).max() > 2
    flat = small().build(Real((2,), levels=256))
    nn.init.constant_(flat.generator.net.last.bias, 50.0)
    assert draw(flat).max() == 1


def test_temperature_scales_the_noise() -> None:
    model = small().build(PLANE)
    rng = Seeds.for_samples(0, 4)
    warm, cold = (model.start(4, Sampling(temperature=t), rng.rows(0, 4)) for t in (1.0, 0.5))
    assert torch.equal(cold, 0.5 * warm)
    assert draw(model, how=Sampling(temperature=1e-4)).std(0).max() < 1e-3


def test_the_laws_of_noise() -> None:
    for noise, largest in (("normal", 3.0), ("uniform", 1.0)):
        z = small(noise=noise).build(PLANE).start(4000, Sampling(), Seeds.for_samples(0, 4000))
        assert z.shape == (4000, 4) and abs(z.mean()) < 0.03 and (z.abs().max() > largest) == (noise == "normal")
    assert z.std().item() == pytest.approx(1 / math.sqrt(3), rel=0.05)


def test_a_label_changes_what_is_made_and_what_is_thought_of_it() -> None:
    torch.manual_seed(0)
    model = gan.Config(generator=convnet.Config(width=8), critic=convnet.Config(width=8, norm="spectral")).build(
        PICTURE, classes=3
    )
    one, two, none = draw(model, 1), draw(model, 2), draw(model)
    assert not torch.allclose(one, two, atol=1e-5) and not torch.allclose(one, none, atol=1e-5)
    rng = Seeds.for_batch(0, 0, 6)
    scores = [model._judge(one, Given(label=torch.full((6,), k)), rng) for k in (1, 2)]
    assert not torch.allclose(*scores, atol=1e-6)


def test_both_players_drop_the_same_labels() -> None:
    """Else the critic would punish the generator for a label that it was not told."""
    model = small(label_drop=0.5).build(PLANE, classes=3)
    told: dict[str, Tensor] = {}
    for name, player in model.players().items():
        player.embed.register_forward_hook(
            lambda embed, _, out, name=name: told.__setitem__(name, (out.vector == embed.table.weight[-1]).all(1))
        )
    model.generator_loss(batch(64, classes=3), 0.0)
    assert torch.equal(told["critic"], told["generator"]) and 10 < told["critic"].sum() < 54


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "patches"), [((1, 16), 4), ((1, 8, 16, 16), 4)], ids=str)
def test_patches_of_sound_and_films_are_scored(shape: tuple[int, ...], patches: int) -> None:
    space = Real(shape, levels=256)
    nets = {"generator": convnet.Config.tiny(), "critic": convnet.Config(width=8, norm="spectral")}
    model = small(patches=patches, **nets).build(space)
    scores = model._judge(torch.randn(2, *shape), Given(), Seeds.for_batch(0, 0, 2))
    assert scores.shape == (2, 1, *[patches] * (len(shape) - 1))
    for turn in model.turns():
        assert turn.loss(batch(space=space), 0.0)[0].isfinite()
    assert draw(model).shape == (6, *shape) and model.realness(torch.randn(2, *shape)).shape == (2,)
    with pytest.raises(MaquetteError, match="MQ-2009.*model.patches.*no sides"):
        small(patches=2).build(PLANE)


def test_tokens_are_refused() -> None:
    with pytest.raises(MaquetteError, match="MQ-2008"):
        gan.Config().build(Tokens((4,), vocab=5))


@pytest.mark.parametrize(
    "fields",
    [
        {"latent": 0}, {"r1": -1.0}, {"critic_steps": 0}, {"label_drop": 1.0}, {"adapt": 0.6},
        {"adapt": 0.6, "augment": ("colour",), "loss": "wasserstein"}, {"augment": ("geometry",)},
        {"loss": "hinge", "aids": Aids(smoothing=0.1)},
    ],
)  # fmt: skip
def test_refuses_what_cannot_be_meant(fields: dict[str, object]) -> None:
    with pytest.raises(MaquetteError, match=f"MQ-2002.*{next(iter(fields))}"):
        gan.Config(**fields)  # type: ignore[arg-type]
