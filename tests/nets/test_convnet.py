"""DCGAN's networks: shapes at every size, the paper's parameters and initialisation, and what they are told."""

import pytest
import torch
from torch import Tensor, nn

from maquette.core.errors import MaquetteError
from maquette.core.types import Condition
from maquette.nets import convnet

NORMS = ("batch", "group", "spectral", "none")


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 9, 28, 31, 32, 64, 127, 128])
def test_code_to_picture_and_back(size: int, channels: int) -> None:
    config = convnet.Config(width=8, widest=32, norm="group")
    up, down = config.build((5,), (channels, size, size)), config.build((channels, size, size), (6,))
    x = up(torch.randn(2, 5))
    assert x.shape == (2, channels, size, size)
    assert down(x).shape == (2, 6)


@pytest.mark.parametrize(
    ("sides", "smallest"),
    [
        ((64,), (4,)),
        ((77,), (4,)),
        ((5,), (5,)),
        ((16, 32, 32), (4, 4, 4)),
        ((16, 64, 64), (4, 4, 4)),
        ((9, 21, 28), (4, 5, 7)),  # height and width are halved together, frames by themselves
        ((3, 13, 30), (3, 6, 15)),
        ((1, 16, 16), (1, 4, 4)),
    ],
    ids=str,
)
def test_code_to_sound_or_film_and_back(sides: tuple[int, ...], smallest: tuple[int, ...]) -> None:
    config = convnet.Config(width=8, widest=32, norm="group")
    up, down = config.build((5,), (2, *sides)), config.build((2, *sides), (6,))
    x = up(torch.randn(2, 5))
    assert x.shape == (2, 2, *sides) and down(x).shape == (2, 6)
    assert up.smallest[1:] == down.see(x).shape[2:] == smallest


@pytest.mark.parametrize(
    ("step", "kernel", "side", "maps"),
    [
        (4, 25, 16384, [16384, 4096, 1024, 256, 64, 16, 4]),
        (4, 0, 8192, [8192, 2048, 512, 128, 32, 8]),
        (4, 25, 61, [61, 15]),  # (61 + 1) // 4
        (4, 25, 63, [63, 16, 4]),
        (4, 8, 63, [63, 15]),
        (2, 5, 63, [63, 32, 16, 8, 4]),
        (3, 7, 100, [100, 33, 11]),
    ],
)
def test_steps_and_kernels(step: int, kernel: int, side: int, maps: list[int]) -> None:
    """What a layer makes of a side is what was reckoned with, and its transposed layer makes the side again."""
    config = convnet.Config(width=8, widest=8, norm="group", step=step, kernel=kernel)
    up, down = config.build((5,), (1, side)), config.build((1, side), (1,))
    found = [side]
    for block in down.blocks:
        block.register_forward_hook(lambda _, args, out: found.append(out.shape[2]))
    x = up(torch.randn(2, 5))
    assert x.shape == (2, 1, side) and down(x).shape == (2, 1) and found == maps
    kernels = {part.kernel_size for part in down.modules() if isinstance(part, nn.Conv1d)}
    assert kernels == {(kernel or 2 * step,)}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", ["leaky", "relu"])
def test_every_choice_learns_in_every_parameter(norm: str, activation: str) -> None:
    config = convnet.Config(width=8, norm=norm, activation=activation)  # type: ignore[arg-type]
    up, down = config.build((4,), (1, 14, 12), vector=3), config.build((1, 14, 12), (1,), vector=3)
    told = Condition(vector=torch.randn(3, 3))
    down(up(torch.randn(3, 4), condition=told), condition=told).sum().backward()
    for net in (up, down):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize(
    ("size", "generator", "critic"), [(64, 3_576_704, 2_765_568), (32, 1_068_928, 663_296)], ids=["64", "32"]
)
def test_has_the_parameters_of_dcgan(size: int, generator: int, critic: int) -> None:
    config = convnet.Config(width=64, norm="batch", bias=False)
    assert count(config.build((100,), (3, size, size))) == generator
    assert count(config.build((3, size, size), (1,))) == critic


def test_starts_as_dcgan_does() -> None:
    """Weights N(0, 0.02), gains N(1, 0.02), constants 0 (Radford et al. 2015, section 4)."""
    torch.manual_seed(0)
    up, down = (convnet.Config(norm="batch").build(*shapes) for shapes in (((100,), (3, 64, 64)), ((3, 64, 64), (1,))))
    for net in (up, down):
        weights = [m.weight for m in net.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
        gains = torch.cat([m.weight for m in net.modules() if "BatchNorm" in type(m).__name__])
        for weight in weights:
            assert weight.std().item() == pytest.approx(0.02, rel=0.05)
            assert abs(weight.mean().item()) < 1e-3
        assert gains.mean().item() == pytest.approx(1, abs=0.005) and gains.std().item() == pytest.approx(0.02, rel=0.2)
        assert all(p.eq(0).all() for name, p in net.named_parameters() if name.endswith("bias"))


def test_without_normalisation_the_signal_keeps_its_size() -> None:
    torch.manual_seed(0)
    up = convnet.Config(norm="none").build((64,), (3, 64, 64))
    down = convnet.Config(norm="none").build((3, 64, 64), (64,))
    x = up(torch.randn(64, 64))
    assert 0.5 < x.std().item() < 2.5
    assert 0.5 < down(torch.randn_like(x)).std().item() < 2.5


@pytest.mark.parametrize(("sides", "fields"), [((4096,), {"step": 4, "kernel": 25}), ((16, 32, 32), {})], ids=str)
def test_so_does_that_of_sound_and_of_films(sides: tuple[int, ...], fields: dict[str, int]) -> None:
    torch.manual_seed(0)
    config = convnet.Config(width=16, norm="none", **fields)  # type: ignore[arg-type]
    x = config.build((64,), (1, *sides))(torch.randn(16, 64))
    assert 0.5 < x.std().item() < 2.5
    assert 0.5 < config.build((1, *sides), (64,))(torch.randn_like(x)).std().item() < 2.5


def test_spectral_norm_bounds_every_matrix() -> None:
    torch.manual_seed(0)
    down = convnet.Config(width=8, norm="spectral").build((1, 16, 16), (1,))
    for _ in range(60):
        down(torch.randn(2, 1, 16, 16))
    for part in down.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            assert torch.linalg.svdvals(part.weight.flatten(1))[0].item() == pytest.approx(1, abs=5e-3)


def told(net: nn.Module, x: Tensor) -> list[Tensor]:
    return [net(x, condition=Condition(vector=v.expand(len(x), -1))) for v in (torch.zeros(3), torch.ones(3))]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("source", "target"), [((5,), (1, 8, 8)), ((1, 8, 8), (1,)), ((1, 8, 8), (6,))], ids=str)
def test_what_it_is_told_matters(source: tuple[int, ...], target: tuple[int, ...], norm: str) -> None:
    net = convnet.Config(width=8, norm=norm).build(source, target, vector=3)  # type: ignore[arg-type]
    without, with_ones = told(net, torch.randn(4, *source))
    assert not torch.allclose(without, with_ones, atol=1e-6)


def test_a_critic_is_told_by_projection() -> None:
    """D(x, v) - D(x, 0) = <V v, mean phi(x)>: linear in v, with a factor that depends on x."""
    net = convnet.Config(width=8, norm="none").build((1, 8, 8), (1,), vector=3)
    x, v = torch.randn(4, 1, 8, 8), torch.randn(1, 3)
    at = [net(x, condition=Condition(vector=(k * v).expand(4, -1))) for k in (0.0, 1.0, 3.0)]
    assert torch.allclose(at[2] - at[0], 3 * (at[1] - at[0]), atol=1e-5)
    assert (at[1] - at[0]).std() > 1e-4


@pytest.mark.parametrize(
    ("source", "target", "timed"),
    [
        ((2,), (2,), False),
        ((1, 8, 8), (1, 8, 8), False),
        ((5,), (1, 3, 3), False),
        ((5,), (1, 8, 8), True),
        ((5,), (1, 3), False),
        ((5,), (1, 8, 3, 8), False),
        ((1, 8), (1, 8, 8), False),
        ((5,), (1, 8, 8, 8, 8), False),
    ],
)
def test_refuses_what_it_cannot_map(source: tuple[int, ...], target: tuple[int, ...], timed: bool) -> None:
    with pytest.raises(MaquetteError, match="MQ-2009.*convnet"):
        convnet.Config().build(source, target, timed=timed)


@pytest.mark.parametrize(
    "values",
    [
        {"width": 12},
        {"width": 0},
        {"widest": 32},
        {"widest": 100},
        {"step": 1},
        {"step": 4, "kernel": 3},
        {"kernel": 65},
    ],
)
def test_refuses_impossible_settings(values: dict[str, int]) -> None:
    with pytest.raises(MaquetteError, match="MQ-2002"):
        convnet.Config(**values)


# -- attention and deviation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
def test_attention_starts_as_nothing_and_then_looks_everywhere(norm: str) -> None:
    torch.manual_seed(0)
    attention = convnet.SelfAttention(convnet.Config(norm=norm), 2, 16)  # type: ignore[arg-type]
    h = torch.randn(2, 16, 4, 6)
    assert torch.equal(attention(h), h)
    with torch.no_grad():
        attention.gamma.fill_(1.0)
    moved = h.clone()
    moved[:, :, 0, 0] += 5
    far = (attention(moved) - attention(h))[:, :, -1, -1]
    assert far.abs().max() > 1e-6, "the last place does not see the first"


@pytest.mark.parametrize(("source", "target"), [((5,), (1, 32, 32)), ((1, 32, 32), (1,))], ids=str)
def test_attention_stands_on_one_map(source: tuple[int, ...], target: tuple[int, ...]) -> None:
    net = convnet.Config(width=8, attention=16, norm="spectral").build(source, target)
    (attention,) = (part for part in net.modules() if isinstance(part, convnet.SelfAttention))
    sizes: list[torch.Size] = []
    attention.register_forward_hook(lambda _, args, out: sizes.append(out.shape[2:]))
    net(torch.randn(2, *source))
    assert sizes == [(16, 16)]
    with pytest.raises(MaquetteError, match="MQ-2009.*no map is as small as 3"):
        convnet.Config(width=8, attention=3).build(source, target)


def test_deviation_by_hand() -> None:
    """Two features that are 0, 0, 2, 2 and 1, 1, 1, 1 in four rows deviate by 1 and 0: 1/2 on average."""
    h = torch.zeros(8, 2, 1, 1)
    h[2:4, 0], h[:4, 1] = 2.0, 1.0
    y = convnet.Deviation()(h)
    assert y.shape == (8, 3, 1, 1) and torch.equal(y[:, :2], h)
    assert torch.allclose(y[:4, 2], torch.full((4, 1, 1), 0.5), atol=1e-3)
    assert y[4:, 2].max() < 1e-3, "another group's rows count"


def test_a_critic_with_deviation_tells_copies_from_samples() -> None:
    torch.manual_seed(0)
    net = convnet.Config(width=8, norm="none", deviation=True).build((1, 8, 8), (1,))
    x = torch.randn(4, 1, 8, 8)
    together, copies = net(x)[:1], net(x[:1].expand(4, -1, -1, -1))[:1]
    assert not torch.allclose(together, copies, atol=1e-4)
    with pytest.raises(MaquetteError, match="MQ-2009.*deviation"):
        convnet.Config(deviation=True).build((5,), (1, 8, 8))
