"""The dilated causal net: what it sees, by hand and by the paper's equations, whole and place by place."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from maquette.core.errors import MaquetteError
from maquette.core.types import Condition
from maquette.nets import dilated
from maquette.nets.dilated import Dilated

TINY = dilated.Config.tiny()


def build(config: dilated.Config = TINY, source: int = 3, length: int = 40, vector: int = 0, grid: int = 0) -> Dilated:
    torch.manual_seed(0)
    net = config.build((source, length), (5, length), vector, grid=grid).eval()
    for p in net.parameters():
        p.data += 0.2 * torch.randn_like(p)
    return net


def told(n: int, vector: int = 0, grid: int = 0, frames: int = 4) -> Condition:
    g = torch.Generator().manual_seed(1)
    return Condition(
        vector=torch.randn(n, vector, generator=g) if vector else None,
        grid=torch.randn(n, grid, frames, generator=g) if grid else None,
    )


def seen(net: Dilated, place: int) -> list[int]:
    """The places whose inputs have a gradient from the output at `place`."""
    x = torch.randn(1, *net.source, requires_grad=True)
    net(x)[0, :, place].sum().backward()
    assert x.grad is not None
    return x.grad.abs().sum((0, 1)).nonzero()[:, 0].tolist()


@pytest.mark.parametrize(
    ("kernel", "layers", "dilations", "reach"),
    [
        (2, 3, (1, 2, 4), 8),
        (3, 3, (1, 2, 4), 15),
        (2, 4, (1, 2), 7),
        (2, 1, (5,), 6),
        (2, 20, tuple(2**i for i in range(10)), 2047),
    ],
)
def test_an_output_sees_as_far_back_as_it_says(kernel: int, layers: int, dilations: tuple, reach: int) -> None:
    """1 + (kernel - 1) sum of dilations, its own place included: 2 x 1023 + 1 for two rounds to 512."""
    config = dilated.Config(width=8, skip=16, kernel=kernel, layers=layers, dilations=dilations)
    assert config.reach == reach
    if reach > 40:
        return
    net = build(config)
    within = seen(net, 30)
    assert max(within) == 30 and min(within) == 30 - reach + 1
    if (kernel, dilations) == (2, (1, 2, 4)):
        assert within == list(range(23, 31))
    if dilations == (5,):
        assert within == [25, 30]


def test_it_is_the_papers_equations() -> None:
    """Equation 2 and figure 4 with torch's own dilated convolutions, filter and gate apart."""
    config = dilated.Config(width=4, skip=6, kernel=3, layers=3, dilations=(1, 3))
    net, condition = build(config, vector=2), told(2, vector=2)
    x = torch.randn(2, 3, 40)
    assert net.enter is not None and net.tell is not None and condition.vector is not None
    h, total = F.conv1d(x, net.enter.weight[:, :, None], net.enter.bias), torch.zeros(())
    extra = net.tell(condition.vector).view(2, 3, 8, 1)
    for i, dilation in enumerate((1, 3, 1)):
        gate, mix = net.gates[i], net.mixes[i]
        assert isinstance(gate.weight, Tensor) and isinstance(gate.bias, Tensor)
        weight = gate.weight.view(8, 3, 4).transpose(1, 2)
        padded = F.pad(h, (2 * dilation, 0))
        filtered, through = (
            F.conv1d(padded, weight[part], gate.bias[part], dilation=dilation) + extra[:, i, part]
            for part in (slice(0, 4), slice(4, 8))
        )
        z = torch.tanh(filtered) * torch.sigmoid(through)
        found = mix(z.mT).mT
        total = total + found[:, -6:]
        h = h + found[:, :4] if i < 2 else h
    wanted = net.out(net.head(total.relu().mT).relu()).mT
    torch.testing.assert_close(net(x, None, condition), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("steps", [[1] * 40, [40], [7, 1, 1, 20, 11]])
def test_place_by_place_is_the_whole(steps: list[int], kernel: int) -> None:
    net = build(dilated.Config(width=4, skip=4, kernel=kernel, layers=4, dilations=(1, 2, 3)), vector=2, grid=3)
    x, condition = torch.randn(2, 40, 3), told(2, 2, 3)
    with torch.no_grad():
        whole, none = net.run(x, condition)
        past = net.past(2, condition)
        parts = [net.run(part, condition, past)[0] for part in x.split(steps, 1)]
    assert none is None and past.at == 40
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-5, atol=1e-5)


def test_rows_of_what_is_kept_change_places() -> None:
    net, condition = build(vector=2), told(2, vector=2)
    x = torch.randn(2, 40, 3)
    turned = torch.tensor([1, 0])
    with torch.no_grad():
        whole = net.run(x[turned], condition.picked(turned))[0]
        past = net.past(2, condition)
        net.run(x[:, :20], condition, past)
        rest = net.run(x[turned, 20:], condition, past.picked(turned))[0]
    torch.testing.assert_close(rest, whole[:, 20:], rtol=1e-5, atol=1e-5)


def test_a_stretch_with_all_that_it_sees_is_that_of_the_whole() -> None:
    """Each row's own: at the beginning, where nothing is before it, and later."""
    net, condition = build(grid=2), told(3, grid=2)
    x, window, reach = torch.randn(3, 40, 3), 6, TINY.reach - 1
    start = torch.tensor([0, 3, 20])
    places = (start - reach)[:, None] + torch.arange(reach + window)
    part = x.gather(1, places.clamp(min=0)[..., None].expand(-1, -1, 3))
    with torch.no_grad():
        whole = net.run(x, condition)[0]
        found = net.run(part, condition, first=start - reach, last=window)[0]
    for row, first in enumerate(start.tolist()):
        torch.testing.assert_close(found[row], whole[row, first : first + window], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("few", [256, 0])
def test_frames_are_interpolated_between_their_centres(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch does it, and what a layer is told is that of the nearest frames alone; by a matrix and without one."""
    monkeypatch.setattr(dilated, "FEW", few)
    net, x = build(grid=2, length=24), torch.randn(2, 4, 5)
    wanted = F.interpolate(x.mT, 24, mode="linear", align_corners=False).mT
    torch.testing.assert_close(net._between(torch.arange(24)[None], 4)(x), wanted)
    torch.testing.assert_close(net._between(torch.arange(24).expand(2, -1), 4)(x), wanted)
    near = torch.randn(1, 2, 4)
    far = near.clone()
    far[:, :, 3] += 1  # frame 3 begins to be heard behind frame 1's centre, as frames see their neighbours
    x = torch.zeros(1, 3, 24)
    with torch.no_grad():
        same = net(x, None, Condition(grid=near)) == net(x, None, Condition(grid=far))
    assert same[..., :9].all() and not same[..., 10:].any()


def test_what_it_cannot_map_is_refused() -> None:
    for source, target in (((3, 8, 8), (3, 8, 8)), ((3, 8), (3, 9)), ((3,), (3,))):
        with pytest.raises(MaquetteError, match="MQ-2009"):
            TINY.build(source, target)
    with pytest.raises(MaquetteError, match="MQ-2009"):
        TINY.build((3, 8), (3, 8), timed=True)


@pytest.mark.parametrize("field", [{"width": 3}, {"skip": 0}, {"layers": 0}, {"kernel": 1}, {"dilations": ()}])
def test_settings_out_of_range_are_refused(field: dict) -> None:
    with pytest.raises(MaquetteError, match="MQ-2002"):
        dilated.Config(**field)
