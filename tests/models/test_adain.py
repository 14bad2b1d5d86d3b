"""AdaIN's normalisation and losses by hand, the manners that are remembered, and colours that are taken on."""

import pytest
import torch
from torch import Tensor

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Beside, Given, Real, Sampling, Tokens
from maquette.models import adain

SPACE = Real((3, 8, 8), levels=256)


def model(space: Real = SPACE, **fields: float) -> adain.AdaIN:
    torch.manual_seed(0)
    return adain.Config(**{"width": 8, "halvings": 1, **fields}).build(space)  # type: ignore[arg-type]


def noise(seed: int, n: int = 4) -> Tensor:
    return (0.4 * Seeds.for_samples(seed, n).normal(*SPACE.shape)).clamp(-1, 1)


def batch(step: int = 0) -> Batch:
    return Batch(noise(step), Given(image=noise(step + 100)), Seeds.for_batch(0, step, 4))


def test_moments_by_hand() -> None:
    maps = torch.tensor([1.0, 3.0, 1.0, 3.0, 5.0, 5.0, 5.0, 5.0]).view(1, 2, 2, 2)
    torch.testing.assert_close(adain.moments(maps), torch.tensor([[2.0, 5.0, 1.0, 0.0]]), atol=4e-3, rtol=0)


def test_maps_take_on_the_moments_of_others_and_keep_their_shape() -> None:
    maps, others = torch.randn(2, 3, 6, 6), 3 * torch.randn(2, 3, 4, 4) + 1
    made = adain.adain(maps, adain.moments(others))
    torch.testing.assert_close(adain.moments(made), adain.moments(others), atol=1e-4, rtol=1e-4)
    own = adain.adain(maps, adain.moments(maps))
    torch.testing.assert_close(own, maps, atol=1e-5, rtol=1e-5)
    flat = (made - made.mean((2, 3), keepdim=True)) / made.std((2, 3), keepdim=True)
    wanted = (maps - maps.mean((2, 3), keepdim=True)) / maps.std((2, 3), keepdim=True)
    torch.testing.assert_close(flat, wanted, atol=1e-4, rtol=1e-4)


def test_a_distance_is_a_share() -> None:
    wanted = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    assert adain._apart(2 * wanted, wanted).item() == pytest.approx(1)
    assert adain._apart(wanted, wanted).item() == 0


def test_the_loss_is_the_sum_of_its_parts() -> None:
    """Each part from its definition, layer by layer."""
    made, rows = model(style=3.0, again=7.0), batch()
    loss, stats = made.decoder_loss(rows, 0.0)
    f, g, x, y = made.encoder, made.decoder, rows.given.image, rows.x
    assert x is not None
    target = adain.adain(f(x)[-1], adain.moments(f(y)[-1]))
    seen = f(g(target))
    content = adain._apart(seen[-1], target)
    style = (adain._apart(adain.moments(seen[0]), adain.moments(f(y)[0]))
             + adain._apart(adain.moments(seen[1]), adain.moments(f(y)[1]))) / 2  # fmt: skip
    again = ((g(f(x)[-1]) - x).square().mean() + (g(f(y)[-1]) - y).square().mean()) / 2
    torch.testing.assert_close(stats["content"], content.detach())
    torch.testing.assert_close(stats["style"], style.detach())
    torch.testing.assert_close(loss, content + 3 * style + 7 * again)
    torch.testing.assert_close(made.encoder_loss(rows, 0.0)[0], 7 * again)


def test_what_was_learnt_from_last_is_remembered_and_nothing_held_out() -> None:
    made = model().train()
    assert not made.manners.any()
    first, second = batch(0), batch(1)
    made.decoder_loss(first, 0.0)
    made.decoder_loss(second, 0.0)
    with torch.no_grad():
        torch.testing.assert_close(made.manners[:4], made.manner(second.x))
        torch.testing.assert_close(made.manners[4:8], made.manner(first.x))
    kept = made.manners.clone()
    made.eval().decoder_loss(batch(2), 0.0)
    assert torch.equal(made.manners, kept)


def test_samples_are_in_single_manners_and_cold_ones_in_the_mean() -> None:
    made = model(width=32).eval()
    made.manners.copy_(torch.eye(adain.KEPT, made.manners.shape[1]))  # so that a start shows the weights of each
    warm, cold = (made.start(50, Sampling(temperature=t), Seeds.for_samples(0, 50)) for t in (1.0, 1e-3))
    assert warm.max(1).values.mean() > 0.6 and len(set(warm.argmax(1).tolist())) > 10
    torch.testing.assert_close(cold, made.manners.mean(0).expand(50, -1), atol=1e-3, rtol=0)


def test_no_frame_is_drawn_round_a_plain_picture() -> None:
    made = model().eval()
    plain = torch.full((1, *SPACE.shape), 0.3)
    with torch.no_grad():
        drawn = made.predictor(made.condition(Given(image=plain), 1))(made.manner(plain))
    assert (drawn - drawn[:, :, 4:5, 4:5]).abs().max() < 1e-5


def test_what_it_is_made_of_is_refused() -> None:
    for space, beside, code in (
        (Tokens((4,), 5), Beside(), "MQ-2008"),
        (Real((2,)), Beside(), "MQ-2008"),
        (SPACE, Beside(image=Real((1, 8, 8))), "MQ-2009"),
        (Real((3, 10, 10)), Beside(), "MQ-2009"),  # halved twice it is 2.5
        (Real((3, 4, 4)), Beside(), "MQ-2009"),
    ):
        with pytest.raises(MaquetteError) as refused:
            adain.Config().build(space, 0, beside)
        assert refused.value.code == code


def test_colours_are_taken_on_in_one_pass() -> None:
    """Stripes of any colours: asked for others' colours the stripes stay, and their mean colour is the others'."""
    made = model(style=10.0, again=10.0)

    def stripes(seed: int, n: int = 16) -> Tensor:
        rng = Seeds.for_samples(seed, n)
        colour, contrast = 1.2 * rng.uniform(3, 1, 1) - 0.6, 0.1 + 0.3 * rng.uniform(1, 1, 1)
        wave = torch.where((torch.arange(8) + rng.integers(4, 1)) % 4 < 2, 1.0, -1.0)[:, None, None, :]
        return (colour + contrast * wave).expand(n, *SPACE.shape).contiguous()

    movers = {name: torch.optim.Adam(player.parameters(), 1e-3) for name, player in made.players().items()}
    for step in range(500):
        rows = Batch(stripes(32 * step), Given(image=stripes(32 * step + 16)), Seeds.for_batch(1, step, 16))
        for turn in made.turns():
            movers[turn.player].zero_grad()
            turn.loss(rows, 0.0)[0].backward()
            movers[turn.player].step()
    made.eval()
    content, manner = stripes(90_000), stripes(91_000)
    with torch.no_grad():
        drawn = made.predictor(made.condition(Given(image=content), 16))(made.manner(manner))

    def colours(x: Tensor) -> Tensor:
        return x.mean((2, 3))

    def waves(x: Tensor) -> Tensor:
        return (x - x.mean((2, 3), keepdim=True)).sign()

    assert (colours(drawn) - colours(manner)).abs().mean() < 0.3 * (colours(content) - colours(manner)).abs().mean()
    assert (waves(drawn) == waves(content)).float().mean() > 0.8, "by chance it would be half"
