"""Sound, pictures and films: what blocks and means are, and one network for samples of any number of axes."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maquette.core.types import Condition
from maquette.nets import convnet, dims, fixup, resnet, unet
from maquette.nets.base import Net, NetConfig, Shape
from tests.nets.test_unet import awake

SIDES: list[Shape] = [(12,), (8, 12), (4, 8, 12)]


# -- operations -------------------------------------------------------------------------------------------------------


def test_blocks_of_sound_by_hand() -> None:
    x = torch.tensor([[[1.0, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]]])
    found = dims.unshuffled(x, 3)
    assert found.tolist() == [[[1, 4], [2, 5], [3, 6], [7, 10], [8, 11], [9, 12]]]
    assert torch.equal(dims.shuffled(found, 3), x)


@pytest.mark.parametrize("sides", SIDES, ids=str)
def test_blocks_are_put_back(sides: Shape) -> None:
    x = torch.randn(2, 3, *sides)
    small = dims.unshuffled(x, 2)
    assert small.shape == (2, 3 * 2 ** len(sides), *(side // 2 for side in sides))
    assert torch.equal(dims.shuffled(small, 2), x) and torch.equal(dims.unshuffled(x, 1), x)


def test_a_film_s_blocks_hold_those_of_its_frames() -> None:
    """The channels of a film's block are those of two pictures' blocks, the earlier first, for each channel."""
    x = torch.randn(2, 3, 4, 6, 8)
    film = dims.unshuffled(x, 2).unflatten(1, (3, 2, 4))
    for frame in (0, 1):
        for late in (0, 1):
            picture = F.pixel_unshuffle(x[:, :, 2 * frame + late], 2).unflatten(1, (3, 4))
            assert torch.equal(film[:, :, late, :, frame], picture)


def test_means_of_blocks() -> None:
    x = torch.arange(5.0).reshape(1, 1, 5)
    assert dims.pooled(x).tolist() == [[[0.5, 2.5]]] and dims.pooled(x, ceil=True).tolist() == [[[0.5, 2.5, 4.0]]]
    film = torch.randn(1, 2, 1, 5, 4)
    assert torch.allclose(dims.pooled(film, ceil=True)[:, :, 0], F.avg_pool2d(film[:, :, 0], 2, ceil_mode=True))
    assert dims.pooled(torch.randn(1, 2, 4, 4, 4), (1, 2, 2)).shape == (1, 2, 4, 2, 2)


@pytest.mark.parametrize("sides", SIDES, ids=str)
def test_a_number_of_each_channel_meets_all_its_places(sides: Shape) -> None:
    x = torch.randn(2, 3, *sides)
    mean = dims.over_places(x)
    assert torch.allclose(mean, x.flatten(2).mean(2), atol=1e-6)
    assert dims.over_places(x - dims.everywhere(mean, x)).abs().max() < 1e-6
    larger = dims.resized(dims.everywhere(mean, x), [2 * side for side in sides])
    assert larger.shape[2:] == tuple(2 * side for side in sides) and torch.allclose(dims.over_places(larger), mean)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), ((3, 4, 4), (1, 2, 2)), (4, 2)], ids=str)
@pytest.mark.parametrize("sides", [(2, 4, 4), (2, 8, 8), (3, 4, 2), (4, 4, 4)], ids=str)
@pytest.mark.parametrize("up", [False, True], ids=["down", "up"])
def test_short_films_have_the_gradients_of_long_ones(
    up: bool, sides: Shape, kernel: dims.Size, stride: dims.Size
) -> None:
    """In bf16 as in fp32, and whatever lay in the memory that they are computed in."""
    g = torch.Generator().manual_seed(0)
    own = dims.transposed(3, 16, 24, kernel, stride, 1, 0, True) if up else dims.conv(3, 16, 24, kernel, stride, 1)
    plain = (nn.ConvTranspose3d if up else nn.Conv3d)(16, 24, kernel, stride, 1)  # type: ignore[arg-type]
    plain.load_state_dict(own.state_dict())
    x = torch.randn(16, 16, *sides, generator=g)
    y = plain(x)
    towards = torch.randn(y.shape, generator=g)
    (y * towards).sum().backward()
    assert torch.allclose(own(x), y, atol=1e-5)
    for _ in range(3):
        for size in (1 << 12, 1 << 16, 1 << 20, 1 << 22):  # memory that is freed at once
            torch.full((size,), 1e30)
        own.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            (own(x) * towards).sum().backward()
        for p, q in zip(own.parameters(), plain.parameters(), strict=True):
            assert (p.grad - q.grad).norm() < 0.02 * q.grad.norm()  # type: ignore[operator, union-attr]


# -- networks ---------------------------------------------------------------------------------------------------------

UNET = unet.Config(width=8, stages=(1, 2), blocks=(1, 1), attention=8, head=8)
SPECTRAL = convnet.Config(width=8, widest=16, norm="spectral", attention=8)
GROUP = convnet.Config(width=8, widest=16, norm="group", attention=8)
NETS: dict[str, tuple[NetConfig, Any, Any, dict[str, Any]]] = {
    "unet": (UNET, 2, 1, {"timed": True}),
    "patched unet": (unet.Config(width=8, stages=(1, 2), blocks=(1, 1), attention=4, patch=2), 2, 2, {"timed": True}),
    "resnet down": (resnet.Config(width=8, widest=16), 2, (3, 4), {}),
    "resnet up": (resnet.Config(width=8, widest=16), (3, 4), 2, {}),
    "patched resnet down": (resnet.Config(width=8, widest=16, patch=2), 2, (3, 4), {}),
    "patched resnet up": (resnet.Config(width=8, widest=16, patch=2), (3, 4), 2, {}),
    "convnet up": (GROUP, (5,), 2, {}),
    "convnet down": (SPECTRAL, 2, (1,), {}),
    "convnet to a code": (GROUP, 2, (6,), {}),
    "convnet's patches": (SPECTRAL, 2, (1, 4), {}),
    "steps of four": (convnet.Config(width=8, step=4, kernel=9, norm="group"), 2, (1,), {}),
    "steps of four up": (convnet.Config(width=8, step=4, kernel=9, norm="group"), (5,), 2, {}),
    "fixup up": (fixup.Config(width=8, widest=16, blocks=1), (5,), 2, {}),
    "fixup down": (fixup.Config(width=8, widest=16, blocks=1, patch=2, deviation=True), 2, (1,), {}),
}


def shape(of: Any, sides: Shape) -> Shape:
    """That of a code as it stands, of a sample with so many channels, or of one with sides divided by the second."""
    if isinstance(of, int):
        return of, *sides
    return of if len(of) == 1 else (of[0], *(max(1, side // of[1]) for side in sides))


def made(name: str, sides: Shape) -> Net:
    config, source, target, told = NETS[name]
    torch.manual_seed(0)
    return config.build(shape(source, sides), shape(target, sides), vector=3, **told)


def run(net: nn.Module, x: Tensor) -> Tensor:
    return net(x, torch.full((len(x),), 0.3), Condition(vector=torch.linspace(-1, 1, 3).expand(len(x), 3)))


@pytest.mark.parametrize("sides", [(32,), (16, 32), (8, 16, 16)], ids=str)
@pytest.mark.parametrize("name", NETS)
def test_a_network_maps_sound_pictures_and_films_and_learns_in_every_weight(name: str, sides: Shape) -> None:
    net = awake(made(name, sides))
    x = torch.randn(4, *net.source)  # type: ignore[arg-type]
    y = run(net, x)
    assert y.shape == (4, *net.target) and y.isfinite().all()  # type: ignore[misc]
    (y * torch.randn_like(y)).sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("name", NETS)
def test_weights_have_the_same_names_whatever_the_axes(name: str) -> None:
    sound, picture, film = (set(made(name, (16,) * axes).state_dict()) for axes in (1, 2, 3))
    assert sound == picture == film


def test_weights_have_these_names() -> None:
    """Those of bundles that were written before sound and films could be mapped."""
    block = ["layer.weight", "norm.weight", "norm.bias", "modulation.weight", "modulation.bias"]
    up = convnet.Config(width=8, norm="group", attention=8).build((5,), (1, 16, 16), vector=3)
    attended = ["attention.gamma", "attention.ask.weight", "attention.answer.weight"]
    assert list(up.state_dict()) == [
        *(f"first.{name}" for name in block),
        *(f"blocks.0.{name}" for name in [*block, *attended]),
        "last.weight",
        "last.bias",
    ]
    down = convnet.Config(width=8, norm="none").build((1, 16, 16), (1,), vector=3)
    layers = ["blocks.0.layer.weight", "blocks.0.layer.bias", "blocks.1.layer.weight", "blocks.1.layer.bias"]
    assert list(down.state_dict()) == [*layers, "projection.weight", "head.weight", "head.bias"]
    net = unet.Config(width=8, stages=(1,), blocks=(1,), attention=8).build((1, 8, 8), (1, 8, 8), timed=True)
    layers = ["norm1", "conv1", "norm2", "conv2", "modulate", "attention.norm", "attention.ask", "attention.answer"]
    parts = ["time.mlp.0", "time.mlp.2", "enter", *(f"down.0.{name}" for name in layers)]
    up_layers = [*layers[:5], "skip", *layers[5:]]
    parts += [f"up.0.{name}" for name in up_layers] + [f"middle.{name}" for name in layers] + ["leave.0", "leave.2"]
    assert list(net.state_dict()) == [f"{part}.{name}" for part in parts for name in ("weight", "bias")]


def middles(own: dict[str, Tensor], weights: dict[str, Tensor]) -> None:
    """Give a net the middles of the kernels of one that has an axis more, in front of its own."""
    assert list(own) == list(weights)
    for name, value in own.items():
        source = weights[name]
        value.copy_(source.select(2, source.shape[2] // 2) if source.ndim > value.ndim else source)


ONE = {name: NETS[name] for name in ("unet", "convnet up", "convnet to a code")}
ONE["resnet"] = (resnet.Config(width=8, widest=16), 2, 3, {})


@pytest.mark.parametrize(("name", "sides"), [*((name, (16, 12)) for name in ONE), ("unet", (12,)), ("resnet", (8,))])
def test_along_a_side_of_one_a_network_is_that_of_an_axis_less(name: str, sides: Shape) -> None:
    """A film of one frame is a picture, a picture of one row is sound: only the middles of kernels meet anything."""
    config, source, target, told = ONE[name]
    one, flat = (
        config.build(shape(source, room), shape(target, room), vector=3, **told) for room in ((1, *sides), sides)
    )
    middles(flat.state_dict(), awake(one).state_dict())
    x = torch.randn(2, *flat.source)
    y = run(one, x if len(flat.source) == 1 else x.unsqueeze(2))
    torch.testing.assert_close(y if len(flat.target) == 1 else y.squeeze(2), run(flat, x), rtol=1e-3, atol=1e-4)


def test_frames_that_do_not_see_each_other_are_pictures() -> None:
    """Three frames are too few to halve. Where all but the middle of a kernel is zero each frame is mapped alone."""
    config = convnet.Config(width=8, norm="none")
    film, picture = (config.build((2, *more, 16, 16), (4, *more, 4, 4)) for more in ((3,), ()))
    with torch.no_grad():
        for weights in film.parameters():
            if weights.ndim == 5:
                weights[:, :, ::2] = 0
    middles(picture.state_dict(), film.state_dict())
    x = torch.randn(2, 2, 3, 16, 16)
    y = film(x)
    for frame in range(3):
        torch.testing.assert_close(y[:, :, frame], picture(x[:, :, frame]), rtol=1e-4, atol=1e-5)
