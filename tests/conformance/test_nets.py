"""Every kind of net, on every pair of shapes that it can map, told a vector or a time or neither."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from maquette.core.config import kinds
from maquette.core.errors import MaquetteError
from maquette.core.types import Condition
from maquette.nets.base import Net, NetConfig, Shape
from tests.conformance.cases import UNSUITABLE, config_class, tiny, variants

SHAPES: list[tuple[Shape, Shape]] = [
    ((2,), (2,)),
    ((6,), (1, 8, 8)),
    ((3, 8, 8), (1,)),
    ((1, 8, 8), (1, 8, 8)),
    ((3, 8, 12), (5, 8, 12)),
    ((5, 3), (5, 4)),
    ((3, 8, 8), (4, 2, 2)),
    ((4, 2, 2), (3, 8, 8)),
    ((3, 16, 16), (1, 4, 4)),
    ((1, 14, 14), (2, 7, 7)),
    ((6,), (1, 8)),
    ((2, 8), (1,)),
    ((2, 8), (1, 8)),
    ((6,), (1, 4, 8, 8)),
    ((1, 4, 8, 8), (1,)),
    ((1, 4, 4, 6), (1, 4, 4, 6)),
]
VECTOR = 4

Make = Callable[[], Net]
CHECKS: list[Callable[[Make], None]] = []


def check(clause: Callable[[Make], None]) -> Callable[[Make], None]:
    CHECKS.append(clause)
    return clause


def build(config: NetConfig, source: Shape, target: Shape, vector: int, timed: bool) -> Net | None:
    torch.manual_seed(0)
    try:
        return config.build(source, target, vector, timed)
    except MaquetteError as refused:
        assert refused.code in UNSUITABLE, refused
        return None


def net_cases() -> Iterator[tuple[str, NetConfig, Shape, Shape, int, bool]]:
    for kind in kinds("nets"):
        for name, config in variants(config_class("nets", kind)):
            assert isinstance(config, NetConfig)
            for (source, target), vector, timed in itertools.product(SHAPES, (0, VECTOR), (False, True)):
                if build(config, source, target, vector, timed) is not None:
                    told = f"{'-vector' if vector else ''}{'-timed' if timed else ''}"
                    yield (
                        f"{kind}-{name}-{source}-{target}{told}".replace(" ", ""),
                        config,
                        source,
                        target,
                        vector,
                        timed,
                    )


def inputs(net: Net, n: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, Condition]:
    g = torch.Generator().manual_seed(seed)
    vector = torch.randn(n, net.vector, generator=g) if net.vector else None
    return torch.randn(n, *net.source, generator=g), torch.rand(n, generator=g), Condition(vector=vector)


def stirred(make: Make) -> Net:
    """The net with all its weights moved a little: what begins at zero by design would hide what is not connected."""
    net = make()
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=g))
    return net


def is_timed(net: Net, x: Tensor, t: Tensor, condition: Condition) -> bool:
    """Whether the net insists on a time."""
    try:
        net(x, None, condition)
    except (AssertionError, TypeError):
        return True
    return False


@check
def it_maps_the_shapes(make: Make) -> None:
    net = make()
    x, t, condition = inputs(net)
    y = net(x, t, condition)
    assert y.shape == (len(x), *net.target) and y.isfinite().all()


@check
def the_gradient_reaches_every_parameter(make: Make) -> None:
    net = stirred(make)
    x, t, condition = inputs(net)
    y = net(x, t, condition)
    (y * torch.randn(y.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    unreached = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not unreached, f"the gradient does not reach {unreached}"


@check
def what_it_is_told_matters(make: Make) -> None:
    net = stirred(make).eval()
    x, t, condition = inputs(net)
    other_x, other_t, other = inputs(net, seed=3)
    y = net(x, t, condition)
    assert not torch.equal(y, net(other_x, t, condition)), "the input makes no difference"
    if net.vector:
        assert not torch.equal(y, net(x, t, other)), "the vector makes no difference"
    if is_timed(net, x, t, condition):
        assert not torch.equal(y, net(x, other_t, condition)), "the time makes no difference"


@check
def a_row_does_not_see_the_others(make: Make) -> None:
    net = stirred(make).eval()
    x, t, condition = inputs(net)
    alone = net(x[:1], t[:1], condition.rows(slice(0, 1)))
    assert torch.allclose(net(x, t, condition)[:1], alone, rtol=1e-3, atol=1e-4)


CASES = list(net_cases())
SEQUENCE = 3
"""Width of the sequence that those nets are given which attend to one."""
PICTURE: Shape = (1, 8, 8)


@pytest.mark.parametrize("clause", CHECKS, ids=lambda clause: clause.__name__)
@pytest.mark.parametrize(
    ("config", "source", "target", "vector", "timed"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_a_net_keeps(clause, config: NetConfig, source: Shape, target: Shape, vector: int, timed: bool) -> None:
    def make() -> Net:
        net = build(config, source, target, vector, timed)
        assert net is not None
        return net

    clause(make)


@pytest.mark.parametrize("kind", kinds("nets"))
def test_a_kind_maps_some_shapes_and_can_be_told(kind: str) -> None:
    mine = [case for case in CASES if case[1].kind() == kind]
    assert any(vector for *_, vector, _ in mine), f"{kind} maps none of {SHAPES} with a vector"


def attending(kind: str) -> Net | None:
    """The net of that kind that attends to a sequence, its weights moved a little, or None."""
    torch.manual_seed(0)
    config = tiny(config_class("nets", kind))
    assert isinstance(config, NetConfig)
    try:
        net = config.build(PICTURE, PICTURE, 0, True, SEQUENCE)
    except MaquetteError as refused:
        assert refused.code in UNSUITABLE, refused
        return None
    return stirred(lambda: net).eval()


def test_those_that_attend_to_a_sequence_are_the_ones_that_say_so() -> None:
    assert {kind for kind in kinds("nets") if attending(kind) is not None} == {"unet", "dit"}


@pytest.mark.parametrize("kind", kinds("nets"))
def test_a_sequence_matters_as_far_as_its_mask_and_reaches_every_weight(kind: str) -> None:
    net = attending(kind)
    if net is None:
        return
    assert net.sequence == SEQUENCE
    g = torch.Generator().manual_seed(4)
    x, t = torch.randn(2, *PICTURE, generator=g), torch.rand(2, generator=g)
    sequence, other = torch.randn(2, 2, 5, SEQUENCE, generator=g)
    mask = torch.arange(5) < torch.tensor([[5], [2]])
    y = net(x, t, Condition(sequence=sequence, mask=mask))
    assert (net(x, t, Condition(sequence=other, mask=mask)) - y).abs().amax((1, 2, 3)).min() > 1e-3
    hidden = torch.where(mask[..., None], sequence, other)
    torch.testing.assert_close(net(x, t, Condition(sequence=hidden, mask=mask)), y)
    short = net(x[1:], t[1:], Condition(sequence=sequence[1:, :2]))
    torch.testing.assert_close(short, y[1:], rtol=1e-3, atol=1e-4)
    (y * torch.randn(y.shape, generator=g)).sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


# -- the checks can fail ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plain:
    """What a net made by hand needs of a config."""


class Toy(Net):
    def __init__(self):
        super().__init__()
        self.source, self.target, self.vector = (3,), (2,), VECTOR
        self.linear, self.told, self.clock = nn.Linear(3, 2), nn.Linear(VECTOR, 2), nn.Linear(1, 2)

    def forward(self, x, t=None, condition=Condition()):
        assert t is not None
        return self.linear(x) + self.told(condition.vector) + self.clock(t[:, None])


class Flat(Toy):
    def forward(self, x, t=None, condition=Condition()):
        return super().forward(x, t, condition).flatten()


class Cut(Toy):
    def forward(self, x, t=None, condition=Condition()):
        return super().forward(x.detach(), t, condition) + 0 * self.clock.weight.sum()

    def __init__(self):
        super().__init__()
        self.spare = nn.Linear(1, 1)


class Untold(Toy):
    def forward(self, x, t=None, condition=Condition()):
        return super().forward(x, t, Condition(vector=torch.ones(len(x), VECTOR)))


class Timeless(Toy):
    def forward(self, x, t=None, condition=Condition()):
        assert t is not None
        return super().forward(x, torch.ones(len(x)), condition)


class Blind(Toy):
    def forward(self, x, t=None, condition=Condition()):
        return super().forward(torch.ones_like(x), t, condition)


class Mixing(Toy):
    def forward(self, x, t=None, condition=Condition()):
        return super().forward(x - x.mean(0), t, condition)


BROKEN = {
    "it_maps_the_shapes": [Flat],
    "the_gradient_reaches_every_parameter": [Cut],
    "what_it_is_told_matters": [Untold, Timeless, Blind],
    "a_row_does_not_see_the_others": [Mixing],
}


def toy(cls: type[Toy]) -> Make:
    def make() -> Net:
        torch.manual_seed(0)
        return cls()

    return make


@pytest.mark.parametrize("clause", CHECKS, ids=lambda clause: clause.__name__)
def test_the_toy_keeps(clause: Callable[[Make], None]) -> None:
    clause(toy(Toy))


@pytest.mark.parametrize("clause", CHECKS, ids=lambda clause: clause.__name__)
def test_a_broken_net_fails(clause: Callable[[Make], None]) -> None:
    for cls in BROKEN[clause.__name__]:
        with pytest.raises(AssertionError):
            clause(toy(cls))
