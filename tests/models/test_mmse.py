"""Least squares: the loss by hand, the mean that it finds, and what it cannot be given."""

import math

import pytest
import torch

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Beside, Given, Real, Sampling, Tokens
from maquette.models import mmse
from maquette.nets import mlp, unet

SPACE = Real((1, 8, 8))


def answers(model: mmse.MMSE, image: torch.Tensor) -> torch.Tensor:
    n, how, rng = len(image), Sampling(), Seeds.for_samples(0, len(image))
    return model.draw(model.predictor(model.condition(Given(image=image), n)), model.start(n, how, rng), how, rng)


def test_the_loss_by_hand() -> None:
    """A new residual network adds little or nothing: 0.5 for what is 0.25 costs a sixteenth."""
    model = mmse.Config(net=unet.Config.tiny(), residual=True).build(SPACE)
    for weight in model.net.parameters():
        torch.nn.init.zeros_(weight)
    batch = Batch(torch.full((3, 1, 8, 8), 0.25), Given(image=torch.full((3, 1, 8, 8), 0.5)), Seeds.for_batch(0, 0, 3))
    assert model.loss(batch, 0.0)[0].item() == pytest.approx(1 / 16)
    assert torch.equal(answers(model, batch.given.image), batch.given.image)  # type: ignore[arg-type]


@pytest.mark.parametrize("residual", [False, True])
def test_it_finds_the_mean_of_what_may_have_been(residual: bool) -> None:
    """x ~ N(0, 1) is given with noise of standard deviation 1/2: E[x | y] = y / (1 + 1/4), off by 1/5 of a variance."""
    torch.manual_seed(0)
    space = Real((1, 2))
    model = mmse.Config(net=mlp.Config(width=32, depth=2), residual=residual).build(space)
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(600):
        rng = Seeds.for_batch(0, step, 256)
        x = rng.normal(1, 2)
        adam.zero_grad()
        model.loss(Batch(x, Given(image=x + 0.5 * rng.fork(1).normal(1, 2)), rng), 0.0)[0].backward()
        adam.step()
    y = torch.linspace(-1.5, 1.5, 14).view(7, 1, 2)
    assert torch.allclose(answers(model, y), y / 1.25, atol=0.08)


@pytest.mark.parametrize("given", [Real((2, 16)), Real((1, 4))], ids=["a channel more", "a lower rate"])
def test_it_may_say_what_is_missing_from_the_given(given: Real) -> None:
    """A U-Net's last layer begins at zero: what is given comes out, of the samples' size."""
    config = mmse.Config(net=unet.Config.tiny(), residual=True)
    model = config.build(Real((1, 16), levels=256), beside=Beside(image=given)).eval()
    x = torch.linspace(-1, 1, math.prod(given.shape)).view(1, *given.shape)
    condition = model.condition(Given(image=x), 1)
    assert condition.grid is not None
    assert torch.equal(answers(model, x), condition.grid[:, :1])


def test_it_may_choose_between_guesses() -> None:
    """Given the sample in one of three channels beside two of noise, a gain of each is all it needs: -1, 1 and 0."""
    space, given = Real((1, 4)), Real((3, 4))
    model = mmse.Config(net=unet.Config.tiny(), residual=True).build(space, beside=Beside(image=given))

    class Gains(torch.nn.Module):
        def forward(self, y: torch.Tensor) -> torch.Tensor:
            return torch.tensor([0.5, -1.0, 1.0, 0.0]).view(1, 4, 1).expand(len(y), 4, 4)

    model.net = Gains()  # type: ignore[assignment]
    y = Seeds.for_samples(0, 5).normal(3, 4)
    torch.testing.assert_close(answers(model, y), y[:, 1:2] + 0.5)


def test_what_it_cannot_be_given() -> None:
    with pytest.raises(MaquetteError, match="sound, pictures or films"):
        mmse.Config().build(Tokens((6,), 5))
    with pytest.raises(MaquetteError, match="channels"):
        mmse.Config(net=unet.Config.tiny(), residual=True).build(Real((3, 8, 8)), beside=Beside(image=Real((1, 8, 8))))
