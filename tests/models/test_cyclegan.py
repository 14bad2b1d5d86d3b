"""CycleGAN's losses on networks worked by hand, both ways, and what it cannot be given."""

import pytest
import torch
from torch import Tensor, nn

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Beside, Given, Real, Sampling, Tokens
from maquette.models import cyclegan
from maquette.nets import convnet, unet

SPACE = Real((1, 8, 8))
SMALL = {"generator": unet.Config.tiny(), "critic": convnet.Config(width=8, widest=16, norm="group")}


class Affine(nn.Module):
    """a x + b."""

    def __init__(self, a: float, b: float = 0.0):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(a)), b

    def forward(self, x: Tensor) -> Tensor:
        return self.a * x + self.b


class Mean(nn.Module):
    """A critic that says the mean of each picture."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3))[:, None]


def model(there: float = 1.0, back: float = 1.0, **fields: float) -> cyclegan.CycleGAN:
    made = cyclegan.Config(**{**SMALL, **fields}).build(SPACE)  # type: ignore[arg-type]
    made.generators = nn.ModuleDict({"there": Affine(there), "back": Affine(back)})
    made.critics = nn.ModuleDict({"given": Mean(), "sample": Mean()})
    return made


def batch(given: float, sample: float, n: int = 3) -> Batch:
    image, x = torch.full((n, *SPACE.shape), given), torch.full((n, *SPACE.shape), sample)
    return Batch(x, Given(image=image), Seeds.for_batch(0, 0, n))


def test_identity_networks_have_no_cycle_and_no_identity_loss() -> None:
    loss, stats = model().generator_loss(batch(0.5, -0.5), 0.0)
    assert stats["cycle"] == 0 and stats["identity"] == 0
    # the critic of samples sees 0.5, that of given pictures -0.5: (0.5 - 1)^2 + (-0.5 - 1)^2
    assert loss.item() == pytest.approx(0.25 + 2.25)


def test_losses_by_hand() -> None:
    """x = 1 goes to 2 and back to 1; y = 4 goes to 2 and back to 4. Of the players only the critics have a half."""
    made = model(there=2.0, back=0.5)
    loss, stats = made.generator_loss(batch(1.0, 4.0), 0.0)
    assert stats["cycle"].item() == pytest.approx(0)
    assert stats["identity"].item() == pytest.approx(4.0 + 0.5)
    assert loss.item() == pytest.approx((2 - 1) ** 2 + (2 - 1) ** 2 + 5 * 4.5)
    made = model(there=2.0, back=1.0, identity=0.0)
    loss, stats = made.generator_loss(batch(1.0, 4.0), 0.0)
    assert "identity" not in stats
    assert stats["cycle"].item() == pytest.approx(1.0 + 4.0)  # |2 - 1| and |8 - 4|
    assert loss.item() == pytest.approx((2 - 1) ** 2 + (4 - 1) ** 2 + 10 * 5.0)


def test_critics_by_hand_and_generators_stand_still() -> None:
    made = model(there=2.0, back=0.5)
    loss, stats = made.critic_loss(batch(1.0, 4.0), 0.0)
    assert stats["sample"].item() == pytest.approx(((4 - 1) ** 2 + 2**2) / 2)
    assert stats["given"].item() == pytest.approx(((1 - 1) ** 2 + 2**2) / 2)
    assert not loss.requires_grad, "no gradient may reach the generators"


def test_there_and_back() -> None:
    made, given = model(there=2.0, back=0.25), torch.randn(2, *SPACE.shape)
    condition = made.condition(Given(image=given), 2)
    rng = Seeds.for_samples(0, 2)
    start = made.start(2, Sampling(), rng)
    torch.testing.assert_close(made.draw(made.predictor(condition), start, Sampling(), rng), 2 * given)
    torch.testing.assert_close(made.draw(made.back(condition), start, Sampling(), rng), 0.25 * given)


def test_pictures_of_levels_stay_within_them() -> None:
    made = cyclegan.Config(**SMALL).build(Real((1, 8, 8), levels=256))  # type: ignore[arg-type]
    made.generators["there"] = Affine(100.0)
    x = made.predictor(made.condition(Given(image=torch.ones(2, 1, 8, 8)), 2))(torch.zeros(2, 0))
    assert x.max() <= 1


def test_both_kinds_are_of_one_shape() -> None:
    for space, beside, code in (
        (Tokens((4,), 5), Beside(), "MQ-2008"),
        (Real((2,)), Beside(), "MQ-2008"),
        (SPACE, Beside(image=Real((1, 4, 4))), "MQ-2009"),
    ):
        with pytest.raises(MaquetteError) as refused:
            cyclegan.Config().build(space, 0, beside)
        assert refused.value.code == code


@pytest.mark.slow
def test_colours_are_swapped_without_pairs() -> None:
    """Bright pictures to dark ones and back, where and how large the square is being kept."""
    torch.manual_seed(0)
    made = cyclegan.Config(**SMALL, identity=0.0).build(SPACE)  # type: ignore[arg-type]

    def squares(step: int, colour: float) -> Tensor:
        at = Seeds.for_batch(step, 0, 16).integers(5, 2)
        x = -torch.ones(16, *SPACE.shape)
        for row, (top, left) in zip(x, at.tolist(), strict=True):
            row[:, top : top + 3, left : left + 3] = colour
        return x

    movers = {name: torch.optim.Adam(player.parameters(), 2e-3, (0.5, 0.99)) for name, player in made.players().items()}
    for step in range(150):
        rows = Batch(squares(2 * step, 1.0), Given(image=squares(2 * step + 1, 0.0)), Seeds.for_batch(1, step, 16))
        for turn in made.turns():
            movers[turn.player].zero_grad()
            turn.loss(rows, 0.0)[0].backward()
            movers[turn.player].step()
    given = squares(999, 0.0)
    with torch.no_grad():
        bright = made.eval().predictor(made.condition(Given(image=given), 16))(torch.zeros(16, 0))
    inside = given > -0.5
    assert bright[inside].mean() > 0.5 and bright[~inside].mean() < -0.6
