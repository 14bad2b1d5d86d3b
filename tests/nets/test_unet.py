"""The U-Net maps pictures of any size, listens to what it is told, and starts as nothing."""

import pytest
import torch
from torch.nn import functional as F

from maquette.core.errors import MaquetteError
from maquette.core.types import Condition
from maquette.nets import unet
from maquette.nets.attention import attend

TINY = unet.Config.tiny()


def awake(net: torch.nn.Module) -> torch.nn.Module:
    """The net with no weight at zero, as it is after a few steps."""
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in net.parameters():
            weights.add_(0.1 * torch.randn(weights.shape, generator=g))
    return net


@pytest.mark.parametrize(
    "size",
    [
        (8, 8),
        (28, 28),
        (32, 32),
        (13, 21),
        (9, 9),
        (128, 128),
        (1000,),
        (13,),
        (16, 32, 32),
        (5, 9, 14),
        (1, 8, 8),
    ],
)
def test_any_size_keeps_its_size(size: tuple[int, ...]) -> None:
    config = unet.Config(width=8, stages=(1, 2, 2, 2), blocks=(1, 1, 2, 1), attention=8, head=8)
    net = config.build((3, *size), (1, *size), timed=True)
    assert net(torch.randn(2, 3, *size), torch.rand(2)).shape == (2, 1, *size)


def test_it_starts_at_zero_and_learns() -> None:
    net = TINY.build((1, 8, 8), (1, 8, 8), timed=True)
    x, t = torch.randn(2, 1, 8, 8), torch.rand(2)
    assert not net(x, t).any()
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(30):
        loss = (net(x, t) - x.flip(3)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.6


def test_it_listens_to_time_vector_and_grid() -> None:
    net = awake(TINY.build((3, 8, 8), (1, 8, 8), vector=5, timed=True))
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([0.2, 0.7])
    told = Condition(vector=torch.randn(2, 5), grid=torch.randn(2, 2, 8, 8))
    out = net(x, t, told)
    assert (net(x, t.flip(0), told) - out).abs().max() > 1e-3
    assert (net(x, t, Condition(told.vector.flip(0), grid=told.grid)) - out).abs().max() > 1e-3
    assert (net(x, t, Condition(told.vector, grid=told.grid.flip(0))) - out).abs().max() > 1e-3


def test_any_width_divides_into_heads() -> None:
    for width in (8, 12, 20, 112):
        config = unet.Config(width=width, stages=(1,), blocks=(1,), attention=8, head=32)
        assert config.build((1, 4, 4), (1, 4, 4))(torch.randn(1, 1, 4, 4)).shape == (1, 1, 4, 4)


def test_rows_do_not_see_each_other() -> None:
    net = awake(TINY.build((1, 8, 8), (1, 8, 8), timed=True))
    x, t = torch.randn(4, 1, 8, 8), torch.rand(4)
    torch.testing.assert_close(net(x, t)[1:2], net(x[1:2], t[1:2]), rtol=1e-4, atol=1e-5)


def test_every_position_can_see_every_other() -> None:
    """Through attention: without it the far corner is out of reach of one stage's convolutions."""
    reach = {}
    for attention in (0, 20):
        config = unet.Config(width=8, stages=(1,), blocks=(1,), attention=attention, head=4)
        net = awake(config.build((1, 20, 20), (1, 20, 20)).double())
        for module in net.modules():  # a norm sees the whole picture; here nothing does but attention
            if isinstance(module, torch.nn.GroupNorm):
                module.forward = lambda x: x  # type: ignore[method-assign]
        x = torch.randn(1, 1, 20, 20, dtype=torch.float64, requires_grad=True)
        (grad,) = torch.autograd.grad(net(x)[0, 0, 0, 0], x)
        reach[attention] = grad[0, 0, -1, -1].abs().item()
    assert reach[0] == 0 and reach[20] > 0


def test_a_patch_costs_a_quarter_and_keeps_the_shape() -> None:
    net = unet.Config(width=8, stages=(1, 2), blocks=(1, 1), patch=2).build((1, 28, 28), (1, 28, 28))
    seen = []
    net.down[0].register_forward_hook(lambda module, given, out: seen.append(out.shape[2:]))
    assert net(torch.randn(1, 1, 28, 28)).shape == (1, 1, 28, 28)
    assert seen == [(14, 14)]


def test_bf16_and_channels_last_agree_with_fp32() -> None:
    net = awake(TINY.build((3, 16, 16), (3, 16, 16), timed=True))
    x, t = torch.randn(2, 3, 16, 16), torch.rand(2)
    exact = net(x, t)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = net(x, t)
    assert (rounded - exact).norm() / exact.norm() < 0.05
    net.to(memory_format=torch.channels_last)
    torch.testing.assert_close(net(x, t), exact, rtol=1e-3, atol=1e-4)


def test_attention_equals_torch_s() -> None:
    q, k, v = torch.randn(3, 2, 4, 10, 8, dtype=torch.float64)
    torch.testing.assert_close(
        attend(q, k[:, :, :7], v[:, :, :7]), F.scaled_dot_product_attention(q, k[:, :, :7], v[:, :, :7])
    )


def test_only_the_stages_with_attention_attend_to_a_sequence() -> None:
    net = TINY.build((1, 8, 8), (1, 8, 8), timed=True, sequence=3)  # 8 and 4 pixels a side, attention at 4
    listening = [block.listen is not None for block in (*net.down, net.middle, *net.up)]
    assert listening == [False, True, True, True, False]


def test_a_sequence_that_no_stage_would_hear_is_refused() -> None:
    with pytest.raises(MaquetteError, match="attend to a sequence") as bad:
        unet.Config(width=8, stages=(1,), blocks=(1,), attention=4).build((1, 8, 8), (1, 8, 8), sequence=3)
    assert bad.value.code == "MQ-2009"


@pytest.mark.parametrize(
    ("source", "target", "fields"),
    [
        ((2,), (2,), {}),
        ((1, 8, 8), (1, 4, 4), {}),
        ((1, 9, 9), (1, 9, 9), {"patch": 2}),
        ((1, 8), (1, 8, 8), {}),
        ((1, 3, 8, 8), (1, 3, 8, 8), {"patch": 2}),
    ],
)
def test_impossible_shapes_are_refused(source: tuple, target: tuple, fields: dict) -> None:
    with pytest.raises(MaquetteError) as bad:
        unet.Config(**fields).build(source, target)
    assert bad.value.code == "MQ-2009"


@pytest.mark.parametrize(
    "fields",
    [
        {"width": 0},
        {"stages": ()},
        {"blocks": (1, 1)},
        {"blocks": (1, 0, 1)},
        {"head": 0},
        {"patch": 0},
        {"dropout": 1.0},
    ],
)
def test_impossible_settings_are_refused(fields: dict) -> None:
    with pytest.raises(MaquetteError) as bad:
        unet.Config(**fields)
    assert bad.value.code == "MQ-2002"
