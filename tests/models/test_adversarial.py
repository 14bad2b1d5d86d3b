"""What helps a game along: by hand, switched off without a trace, and each of them within a game."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Given, Real
from maquette.models import gan
from maquette.models.adversarial import LOSSES, Aids, faced, sameness, slopes, square, unlike
from maquette.nets import convnet, mlp

PLANE, PICTURE = Real((2,)), Real((1, 8, 8), levels=256)
SMALL = mlp.Config(width=16)


def batch(n: int = 8, space: Real = PLANE, step: int = 0) -> Batch:
    x = Seeds.for_batch(0, step, n).normal(*space.shape).clamp(-1, 1)
    return Batch(x, Given(), Seeds.for_batch(1, step, n))


def game(space: Real = PLANE, **fields: Any) -> gan.GAN:
    torch.manual_seed(0)
    return gan.Config(**{"generator": SMALL, "critic": SMALL, "latent": 4, **fields}).build(space)


def aided(space: Real = PLANE, **aids: Any) -> gan.GAN:
    return game(space, aids=Aids(**aids))


def trained(model: gan.GAN, steps: int = 5) -> Tensor:
    """All weights after some steps of both players."""
    movers = {name: torch.optim.Adam(player.parameters(), 1e-2) for name, player in model.players().items()}
    for step in range(steps):
        for turn in model.turns():
            model.zero_grad()
            turn.loss(batch(step=step), step / steps)[0].backward()
            movers[turn.player].step()
        model.after_step(step)
    return torch.cat([p.detach().flatten() for p in model.parameters()])


# -- several critics --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "expected"), [("mean", 2.0), ("max", 3.0), ("softmax", (math.e**1 + 3 * math.e**3) / (math.e + math.e**3))]
)
def test_what_a_generator_faces_by_hand(how: str, expected: float) -> None:
    assert faced(torch.tensor([1.0, 3.0]), how).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("how", ["mean", "max", "softmax"])
def test_one_critic_is_the_plain_game_to_the_bit(how: str) -> None:
    assert torch.equal(trained(aided(critics=1, facing=how)), trained(game()))


def test_critics_differ_and_all_of_them_learn() -> None:
    model = aided(critics=3)
    assert len(model.critic.nets) == 3
    first = [net.last.weight.detach().clone() for net in model.critic.nets]
    assert not torch.equal(first[0], first[1]) and not torch.equal(first[1], first[2])
    trained(model)
    assert all(not torch.equal(net.last.weight, before) for net, before in zip(model.critic.nets, first, strict=True))


def test_their_losses_are_added_and_the_harshest_one_is_faced() -> None:
    model, alone = aided(critics=2, facing="max"), game()
    critics, generators = [], []
    for net in model.critic.nets:
        alone.generator.load_state_dict(model.generator.state_dict())
        alone.critic.net.load_state_dict(net.state_dict())
        critics.append(alone.critic_loss(batch(), 0.0)[0].item())
        generators.append(alone.generator_loss(batch(), 0.0)[0].item())
    assert model.critic_loss(batch(), 0.0)[0].item() == pytest.approx(sum(critics), rel=1e-5)
    assert model.generator_loss(batch(), 0.0)[0].item() == pytest.approx(max(generators), rel=1e-5)


def test_each_critic_has_its_own_slope() -> None:
    x = torch.randn(5, 2, requires_grad=True)
    score = torch.stack([x @ torch.tensor([3.0, 4.0]), x @ torch.tensor([0.0, 2.0])], 1)
    (slope,) = slopes(score, x)
    assert torch.allclose(slope, torch.tensor([5.0, 2.0]).expand(5, 2))
    assert square(slope).item() == pytest.approx(25 + 4)


# -- by hand ----------------------------------------------------------------------------------------------------------


def test_feature_matching_by_hand() -> None:
    """Means (1, 0) and (0, 2): (1 + 4) / 2, whatever the rows they are means of."""
    real, made = torch.tensor([[0.0, 1.0], [2.0, -1.0]]), torch.tensor([[0.0, 2.0], [0.0, 2.0]])
    assert unlike(real, made).item() == pytest.approx(2.5)


def test_mode_seeking_by_hand() -> None:
    """Samples 3 apart for noise 2 apart: 2/3; samples that pay no heed to noise: as bad as 1/eps."""
    z, w = torch.zeros(4, 6), torch.full((4, 6), 2.0)
    assert sameness(torch.zeros(4, 1, 2, 2), torch.full((4, 1, 2, 2), -3.0), z, w).item() == pytest.approx(2 / 3, 1e-4)
    same = torch.ones(4, 2)
    assert sameness(same, same, z, w).item() == pytest.approx(1e5, rel=1e-3)


def test_smoothing_by_hand() -> None:
    """A label of 0.9 at logit 0 costs ln 2, and the cost is least where sigmoid(logit) = 0.9."""
    model, far = aided(smoothing=0.1), torch.full((4, 1), -100.0)
    assert model._against(torch.zeros(4, 1), far).item() == pytest.approx(math.log(2), abs=1e-6)
    logit = torch.zeros(1, 1, requires_grad=True)
    for _ in range(500):
        (grad,) = torch.autograd.grad(model._against(logit, far[:1]), logit)
        logit = (logit - 2 * grad).detach().requires_grad_()
    assert logit.sigmoid().item() == pytest.approx(0.9, abs=1e-3)


# -- within a game ----------------------------------------------------------------------------------------------------


def test_noise_on_what_the_critic_sees_falls_to_nothing() -> None:
    model, x = aided(noise=0.5), torch.zeros(4000, 2)
    spreads = [model._shown(x, Seeds.for_batch(0, 0, 4000), progress).std().item() for progress in (0.0, 0.5, 1.0)]
    assert spreads == pytest.approx([0.5, 0.25, 0.0], rel=0.05)


@pytest.mark.parametrize("aids", [{"features": 3.0}, {"diversity": 0.5}], ids=str)
def test_an_aid_adds_to_the_generators_loss_alone(aids: dict[str, float]) -> None:
    plain, model = game(), aided(**aids)
    before, (loss, stats) = plain.generator_loss(batch(), 0.0)[0], model.generator_loss(batch(), 0.0)
    (name,) = set(stats) - {"made_score"}
    assert loss.item() == pytest.approx(before.item() + next(iter(aids.values())) * stats[name].item(), rel=1e-5)
    assert torch.equal(model.critic_loss(batch(), 0.0)[0], plain.critic_loss(batch(), 0.0)[0])


def test_matching_features_brings_samples_to_where_the_data_are() -> None:
    """With next to nothing of the game left, samples go where the mean of what the critic sees is that of the data."""
    model = aided(features=1e4)
    there = Batch(batch(64).x * 0.1 + torch.tensor([1.0, -0.5]), Given(), batch().rng)
    mover = torch.optim.Adam(model.generator.parameters(), 1e-2)
    away, unmet = [], []
    for step in range(100):
        model.zero_grad()
        lot = Batch(there.x, Given(), Seeds.for_batch(1, step, 64))
        loss, stats = model.generator_loss(lot, 0.0)
        loss.backward()
        mover.step()
        unmet.append(stats["features"].item())
        away.append((model._make(lot, lot.rng) - lot.x).mean(0).norm().item())
    assert unmet[-1] < 0.05 * unmet[0] and away[-1] < 0.3 * away[0]


class Peak(nn.Module):
    """D(x) = -|x - (1, 1)|^2: a critic that one sample pleases best."""

    def __init__(self) -> None:
        super().__init__()
        self.best = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor, t: None = None, condition: object = None) -> Tensor:
        return -(x - self.best).square().sum(1, keepdim=True)


def test_mode_seeking_keeps_samples_apart_where_the_critic_wants_one() -> None:
    spreads = []
    for weight in (0.0, 1.0):
        model = aided(diversity=weight)
        model.critic.net = Peak()
        mover = torch.optim.Adam(model.generator.parameters(), 1e-2)
        for step in range(100):
            model.zero_grad()
            model.generator_loss(batch(64, step=step), 0.0)[0].backward()
            mover.step()
        with torch.no_grad():
            spreads.append(model._make(batch(256), batch(256).rng).std(0).mean().item())
    assert spreads[0] < 0.1 and spreads[1] > 3 * spreads[0]


@pytest.mark.parametrize("fields", [{"critics": 0}, {"features": -1.0}, {"smoothing": 0.5}])
def test_refuses_what_cannot_be_meant(fields: dict[str, float]) -> None:
    with pytest.raises(MaquetteError, match=f"MQ-2002.*{next(iter(fields))}"):
        Aids(**fields)  # type: ignore[arg-type]


# -- augmentation -----------------------------------------------------------------------------------------------------


def pictures(**fields: Any) -> gan.GAN:
    net = convnet.Config(width=8, norm="none")
    return game(PICTURE, generator=net, critic=net, **fields)


def test_both_players_see_changed_pictures() -> None:
    plain, model = pictures(), pictures(augment=("colour", "cutout"))
    for mine, theirs in zip(model.turns(), plain.turns(), strict=True):
        assert mine.loss(batch(space=PICTURE), 0.0)[0] != theirs.loss(batch(space=PICTURE), 0.0)[0]
    model.zero_grad()
    model.generator_loss(batch(space=PICTURE), 0.0)[0].backward()
    assert all(p.grad is not None and p.grad.any() for p in model.generator.parameters())


def test_penalties_pass_through_every_change() -> None:
    model = pictures(augment=("colour", "translation", "geometry"), adapt=0.6, r1=1.0, r2=1.0, gradient_penalty=1.0)
    assert model.augmentation is not None
    model.augmentation.p.fill_(0.8)
    for turn in model.turns():
        turn.loss(batch(space=PICTURE), 0.0)[0].backward()
    assert all(p.grad.isfinite().all() for p in model.critic.parameters())


@pytest.mark.parametrize("loss", ["non-saturating", "relativistic"])
def test_p_follows_the_critic(loss: str) -> None:
    """A critic that is made to be sure raises p after the step, and in the state that a checkpoint keeps."""
    model = pictures(augment=("colour",), adapt=0.6, loss=loss)
    model._judge_both = lambda x, made, given, rng: (torch.ones(8, 1), -torch.ones(8, 1))
    stats = model.critic_loss(batch(space=PICTURE), 0.0)[1]
    assert stats["augmented"] == 0 and model.state_dict()["augmentation.p"] == 0
    model.after_step(0)
    assert model.state_dict()["augmentation.p"] > 0


def test_points_are_not_augmented() -> None:
    with pytest.raises(MaquetteError, match="MQ-2009.*augment"):
        game(augment=("colour",))


def test_sound_has_no_colours() -> None:
    small = {"generator": convnet.Config.tiny(), "critic": convnet.Config.tiny()}
    for changes in (("colour",), ("translation", "colour")):
        with pytest.raises(MaquetteError, match="MQ-2009.*no colours") as refused:
            game(Real((1, 16), levels=256), augment=changes, **small)
        assert "translation, cutout" in str(refused.value.render())
    for shape, changes in (((1, 16), ("translation", "cutout")), ((1, 4, 8, 8), ("colour", "translation", "cutout"))):
        model = game(Real(shape, levels=256), augment=changes, **small)
        model.generator_loss(batch(space=Real(shape)), 0.0)[0].backward()
        assert all(p.grad is not None and p.grad.any() for p in model.generator.parameters())


def test_every_loss_has_a_name_in_the_config() -> None:
    for loss in LOSSES:
        assert game(loss=loss).config.loss == loss
