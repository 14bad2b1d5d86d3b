"""The DiT cuts samples of one to three axes into patches and back, begins as nothing, and hears what it is told."""

import pytest
import torch
from torch.autograd import forward_ad

from maquette.core.errors import MaquetteError
from maquette.core.types import Condition
from maquette.nets import dit
from maquette.nets.dit import lattice, patched, unpatched
from tests.nets.test_unet import awake

TINY = dit.Config.tiny()


@pytest.mark.parametrize("sides", [(12,), (8, 8), (4, 10), (2, 4, 6)])
def test_samples_of_one_to_three_axes_keep_their_shape(sides: tuple[int, ...]) -> None:
    net = TINY.build((3, *sides), (1, *sides), timed=True)
    assert net(torch.randn(2, 3, *sides), torch.rand(2)).shape == (2, 1, *sides)


def test_a_patch_is_a_square_with_all_its_channels() -> None:
    x = torch.arange(2.0 * 4 * 6).reshape(1, 2, 4, 6)
    h = patched(x, 2)
    assert h.shape == (1, 6, 8)
    assert h[0, 4].tolist() == x[0, :, 2:4, 2:4].flatten().tolist()  # the second row's second patch


@pytest.mark.parametrize("sides", [(12,), (8, 6), (2, 4, 6)])
def test_patches_are_put_back(sides: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, *sides)
    assert torch.equal(unpatched(patched(x, 2), sides, 2), x)


def test_places_turn_pairs_along_each_axis() -> None:
    cos, sin = lattice((2, 3), 5, base=100.0)
    assert cos.shape == (6, 5)
    angles = torch.atan2(sin, cos)
    torch.testing.assert_close(angles[5], torch.tensor([1.0, 0.1, 2.0, 0.2, 0.0]))  # row 1, column 2, one left over


def test_it_starts_at_zero_and_learns() -> None:
    torch.manual_seed(0)
    net = TINY.build((1, 8, 8), (1, 8, 8), timed=True)
    x, t = torch.randn(2, 1, 8, 8), torch.rand(2)
    assert not net(x, t).any()
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(40):
        loss = (net(x, t) - x.flip(3)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.6


def test_a_block_begins_as_the_identity() -> None:
    net = TINY.build((1, 8, 8), (1, 8, 8), timed=True)
    h, turn = torch.randn(2, 16, 16), (net.cos[:, None, None], net.sin[:, None, None])
    assert torch.equal(net.blocks[0](h, torch.randn(2, 16), turn, Condition()), h)


def test_it_listens_to_time_vector_and_grid() -> None:
    net = awake(TINY.build((3, 8, 8), (1, 8, 8), vector=5, timed=True))
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([0.2, 0.7])
    told = Condition(vector=torch.randn(2, 5), grid=torch.randn(2, 2, 8, 8))
    out = net(x, t, told)
    assert (net(x, t.flip(0), told) - out).abs().max() > 1e-3
    assert (net(x, t, Condition(told.vector.flip(0), grid=told.grid)) - out).abs().max() > 1e-3
    assert (net(x, t, Condition(told.vector, grid=told.grid.flip(0))) - out).abs().max() > 1e-3


def test_every_patch_sees_every_other_and_knows_its_place() -> None:
    torch.manual_seed(0)
    net = awake(TINY.build((1, 8, 8), (1, 8, 8), timed=True))
    x = torch.randn(1, 1, 8, 8, requires_grad=True)
    (grad,) = torch.autograd.grad(net(x, torch.ones(1))[0, 0, 0, 0], x)
    assert (grad[0, 0].unflatten(0, (4, 2)).unflatten(2, (4, 2)).abs().amax((1, 3)) > 0).all()
    flat = net(torch.zeros(1, 1, 8, 8), torch.ones(1))
    assert flat.std() > 1e-3, "patches that look alike are told apart by their places"


def test_its_derivative_in_forward_mode() -> None:
    """By samples, time and condition together, against a difference of second order."""
    torch.manual_seed(0)
    net = awake(TINY.build((1, 8, 8), (1, 8, 8), vector=4, timed=True, sequence=3))
    x, t, vector, sequence = torch.randn(2, 1, 8, 8), torch.rand(2), torch.randn(2, 4), torch.randn(2, 5, 3)
    dx, dt, dv = torch.randn_like(x), torch.randn_like(t) * 1e-2, torch.randn_like(vector)

    def at(share: float) -> torch.Tensor:
        return net(x + share * dx, t + share * dt, Condition(vector=vector + share * dv, sequence=sequence))

    with torch.no_grad(), forward_ad.dual_level():
        duals = [forward_ad.make_dual(*pair) for pair in ((x, dx), (t, dt), (vector, dv))]
        out = net(duals[0], duals[1], Condition(vector=duals[2], sequence=sequence))
        tangent = forward_ad.unpack_dual(out).tangent
    with torch.no_grad():
        difference = (at(1e-2) - at(-1e-2)) / 2e-2
    assert (tangent - difference).norm() < 0.02 * difference.norm()


def test_bf16_agrees_with_fp32() -> None:
    torch.manual_seed(0)
    net = awake(TINY.build((3, 16, 16), (3, 16, 16), timed=True))
    x, t = torch.randn(2, 3, 16, 16), torch.rand(2)
    exact = net(x, t)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = net(x, t)
    assert (rounded - exact).norm() / exact.norm() < 0.05


@pytest.mark.parametrize(
    ("source", "target", "told"),
    [
        ((2,), (2,), {"timed": True}),
        ((1, 8, 8), (1, 4, 4), {"timed": True}),
        ((1, 9, 8), (1, 9, 8), {"timed": True}),
        ((1, 8, 8), (1, 8, 8), {}),
    ],
)
def test_impossible_shapes_are_refused(source: tuple, target: tuple, told: dict) -> None:
    with pytest.raises(MaquetteError) as bad:
        TINY.build(source, target, **told)
    assert bad.value.code == "MQ-2009"


@pytest.mark.parametrize("fields", [{"patch": 0}, {"depth": 0}, {"width": 20, "heads": 4}, {"expand": 0.0}])
def test_impossible_settings_are_refused(fields: dict) -> None:
    with pytest.raises(MaquetteError) as bad:
        dit.Config(**fields)
    assert bad.value.code == "MQ-2002"
