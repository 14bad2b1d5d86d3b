"""The VAE/GAN's three losses by hand, and who learns from which of them."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Condition, Given, Real, Tokens
from maquette.models import vaegan
from maquette.models.codes import kl_to_standard_normal
from maquette.nets import convnet, mlp
from maquette.nets.base import Critic

PLANE, PICTURE = Real((2,)), Real((1, 8, 8), levels=256)
SMALL = mlp.Config(width=16)


def batch(n: int = 8, space: Real = PLANE, step: int = 0) -> Batch:
    x = Seeds.for_batch(0, step, n).normal(*space.shape).clamp(-1, 1)
    return Batch(x, Given(), Seeds.for_batch(1, step, n))


def small(space: Real = PLANE, **fields: Any) -> vaegan.VAEGAN:
    torch.manual_seed(0)
    nets = {"encoder": SMALL, "decoder": SMALL, "critic": SMALL, "latent": 3}
    return vaegan.Config(**{**nets, **fields}).build(space)


class Double(Critic):
    """Sees 2 x, and says nothing of it."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target, self.vector = (2,), (1,), 0
        self.word = nn.Parameter(torch.zeros(1))

    def see(self, x: Tensor, t: None = None, condition: Condition = Condition()) -> Tensor:
        return 2 * x.flatten(1)

    def say(self, seen: Tensor, condition: Condition = Condition()) -> Tensor:
        return self.word * seen.sum(1, keepdim=True)


def test_likeness_is_of_what_the_critic_sees() -> None:
    """|2 x - 2 x~|^2 / (2 s^2) with s^2 = 4 is |x - x~|^2 / 2, and the KL term is added (eq. 8)."""
    model = small()
    model.critic.net = Double()
    model.size.fill_(4.0)
    back, mu, log_var = model._again(batch(), batch().rng.fork(0))
    like = (batch().x - back).square().sum(1).mean() / 2
    kl = kl_to_standard_normal(mu, log_var).mean()
    loss, stats = model.encoder_loss(batch(), 0.0)
    assert stats["like"].item() == pytest.approx(like.item(), rel=1e-5)
    assert loss.item() == pytest.approx((like + kl).item(), rel=1e-5)


def test_first_losses_against_a_silent_critic() -> None:
    """ln 2 for real samples, reconstructions and samples each; the decoder faces the latter two."""
    model = small(gamma=0.0)
    model.critic.net = Double()
    assert model.critic_loss(batch(), 0.0)[0].item() == pytest.approx(3 * math.log(2))
    assert model.decoder_loss(batch(), 0.0)[0].item() == pytest.approx(2 * math.log(2))
    weighed = small(gamma=0.5)
    weighed.critic.net = Double()
    loss, stats = weighed.decoder_loss(batch(), 0.0)
    assert loss.item() == pytest.approx(0.5 / 2 * stats["like"].item() + 2 * math.log(2), rel=1e-5)


def test_the_spread_of_features_is_followed_wherever_their_middle_is() -> None:
    """s^2 is the variance of 2 x, taken among real samples."""
    for middle in (0.0, 30.0):
        model, there = small(), Batch(batch(4000).x + middle, Given(), batch(4000).rng)
        model.critic.net = Double()
        model.critic_loss(there, 0.0)
        model.after_step(0)
        assert model.size.item() == pytest.approx(4 * batch(4000).x.var(0).mean().item(), rel=0.05)
        before = model.size.clone()
        model.after_step(1)
        assert torch.equal(model.size, before), "nothing was seen"


def test_each_loss_reaches_its_player() -> None:
    model = small()
    for turn in model.turns():
        model.zero_grad()
        for name, player in model.players().items():
            player.requires_grad_(name == turn.player)
        turn.loss(batch(), 0.0)[0].backward()
        for name, player in model.players().items():
            reached = [p.grad is not None and p.grad.any() for p in player.parameters()]
            assert any(reached) == (name == turn.player)


def test_the_encoder_does_not_play() -> None:
    """Its loss is of likeness and prior: what the critic says leaves it alone (algorithm 1)."""
    losses = []
    for word in (0.0, 5.0):
        model = small()
        model.critic.net = Double()
        nn.init.constant_(model.critic.net.word, word)
        losses.append(model.encoder_loss(batch(), 0.0)[0].item())
    assert losses[0] == losses[1]


def test_pairs_are_augmented_alike() -> None:
    """Were the two changed apart, a perfect reconstruction would not look like its sample."""
    net = convnet.Config(width=8, norm="none")
    model = small(PICTURE, encoder=net, decoder=net, critic=net, augment=("colour", "translation", "cutout"))
    x, rng = batch(space=PICTURE).x, batch(space=PICTURE).rng
    assert torch.equal(model._see(x, Given(), rng)[1], model._see(x, Given(), rng)[1])
    assert not torch.equal(model._see(x, Given(), rng)[1], model._see(x, Given(), rng, 2)[1])
    assert all(turn.loss(batch(space=PICTURE), 0.0)[0].isfinite() for turn in model.turns())


def test_tokens_are_refused() -> None:
    with pytest.raises(MaquetteError, match="MQ-2008"):
        vaegan.Config().build(Tokens((4,), vocab=5))


@pytest.mark.parametrize("fields", [{"latent": 0}, {"gamma": -1.0}, {"adapt": 0.6}])
def test_refuses_what_cannot_be_meant(fields: dict[str, float]) -> None:
    with pytest.raises(MaquetteError, match=f"MQ-2002.*{next(iter(fields))}"):
        vaegan.Config(**fields)  # type: ignore[arg-type]
