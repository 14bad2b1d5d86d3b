"""Gated causal convolutions: who sees whom, and that one pixel at a time gives what the whole picture gives."""

import pytest
import torch
from torch import Tensor

from maquette.core.errors import MaquetteError
from maquette.core.types import Condition
from maquette.nets import gated


def net(source=(2, 6, 7), target=5, vector=0, **config) -> gated.Gated:
    torch.manual_seed(0)
    built = gated.Config(**({"width": 8, "layers": 4} | config)).build(source, (target, *source[1:]), vector)
    for p in built.parameters():  # nothing may hide behind a weight that begins at zero
        p.data += 0.1 * torch.randn_like(p)
    return built


@pytest.mark.parametrize("kernel", [3, 5])
def test_each_pixel_sees_all_earlier_pixels_and_no_other(kernel: int) -> None:
    """By gradients: a blind spot or a look ahead would show as a hole or a leak in this table."""
    model = net(kernel=kernel).double()
    x = torch.randn(4, 2, 6, 7, dtype=torch.float64)  # several, lest a rectifier be shut at some pixel
    jacobian = torch.autograd.functional.jacobian(lambda v: model(v).abs().sum((0, 1)).flatten(), x)
    seen = jacobian.abs().sum((1, 2)).flatten(1) > 0  # [pixel that sees, pixel seen]
    assert torch.equal(seen, torch.ones(42, 42).tril(-1).bool())


def test_a_shallow_net_sees_a_window() -> None:
    """One layer after the first, both of kernel 3: two rows up, two pixels to the left."""
    model = net(layers=1, first=3).double()
    x = torch.randn(1, 2, 6, 7, dtype=torch.float64, requires_grad=True)
    model(x)[:, :, 5, 5].abs().sum().backward()
    assert x.grad is not None
    reach = (x.grad.abs().sum((0, 1)) > 0).int()
    assert reach[:2].sum() == 0 and reach[2:5, 5].tolist() == [1, 1, 1]
    assert reach[5].tolist() == [0, 0, 1, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("source", "config"),
    [
        ((1, 8, 8), {}),
        ((3, 5, 9), {"kernel": 5, "dilations": (3, 1)}),
        ((1, 4, 4), {"dilations": (7,)}),  # taps beyond the picture
    ],
)
def test_a_walk_equals_the_whole(source: tuple[int, int, int], config: dict) -> None:
    model, (_, h, w) = net(source, vector=3, **config), source
    x, condition = torch.randn(2, *source), Condition(vector=torch.randn(2, 3))
    whole, walk = model(x, None, condition), gated.Walk(model, condition)
    for i in range(h):
        for j in range(w):
            torch.testing.assert_close(walk(x, i, j), whole[:, :, i, j], rtol=1e-4, atol=1e-5)


def test_a_walk_answers_in_any_order_and_notices_changes() -> None:
    model = net()
    x, walk = torch.randn(3, 2, 6, 7), gated.Walk(model)

    def check(x: Tensor, i: int, j: int) -> None:
        torch.testing.assert_close(walk(x, i, j), model(x)[:, :, i, j], rtol=1e-4, atol=1e-5)

    for place in [(4, 3), (4, 3), (2, 5), (2, 6), (3, 0), (5, 6), (0, 0), (5, 1)]:  # ahead, again, back, on
        check(x, *place)
    x[:, :, 5, 1] = 7.0  # not read yet: no reason to begin anew
    check(x, 5, 2)
    x[0, 1, 5, 0] = -3.0  # read before: what followed from it is void
    check(x, 5, 3)
    x[2, 0, 1, 1] = 2.0
    check(x, 5, 4)
    check(torch.randn(1, 2, 6, 7), 5, 5)  # other pictures, another number of them


def test_a_walk_computes_each_pixel_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, taken = net(), []
    step = gated.Walk._step
    monkeypatch.setattr(gated.Walk, "_step", lambda self, x, j: (taken.append(j), step(self, x, j))[1])
    x, walk = torch.randn(1, 2, 6, 7), gated.Walk(model)
    for i in range(6):
        for j in range(7):
            walk(x, i, j), walk(x, i, j)
    assert len(taken) == 42


def test_the_vector_is_told_row_by_row() -> None:
    model, x, vector = net(vector=4), torch.randn(2, 2, 6, 7), torch.randn(2, 4)
    told = model(x, None, Condition(vector=vector))
    other = model(x, None, Condition(vector=torch.stack([vector[0], -vector[1]])))
    assert torch.allclose(told[0], other[0], atol=1e-6) and not torch.allclose(told[1], other[1], atol=1e-3)


@pytest.mark.parametrize(
    ("source", "target", "timed"),
    [((2,), (2,), False), ((1, 8, 8), (1,), False), ((1, 8, 8), (4, 8, 9), False), ((1, 8, 8), (4, 8, 8), True)],
)
def test_shapes_it_cannot_map_are_refused(source, target, timed) -> None:
    with pytest.raises(MaquetteError, match="MQ-2009"):
        gated.Config().build(source, target, 0, timed)


@pytest.mark.parametrize("field", [{"kernel": 4}, {"first": 1}, {"layers": 0}, {"width": -1}, {"dilations": ()}])
def test_sizes_that_make_no_net_are_refused(field: dict) -> None:
    with pytest.raises(MaquetteError, match="MQ-2002"):
        gated.Config(**field)
