"""The compiled loop against the net that it stands for, and against the choices that torch would make."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maquette.core import cancel, devices
from maquette.core.types import Condition
from maquette.models.logistic import draw_levels
from maquette.nets import dilated
from maquette.nets.dilated import Dilated

looped = pytest.importorskip("maquette.nets.looped", reason="extra `fast` is not installed", exc_type=ImportError)

VOCAB, LENGTH = 11, 60
TINY = dilated.Config.tiny()
SHAPES = {
    "tiny": (TINY, 0, 0),
    "three taps, and places that are known ahead": (
        dilated.Config(kernel=3, width=8, skip=10, layers=3, dilations=(1, 3, 20)), 0, 0
    ),
    "told a label": (TINY, 3, 0),
    "told frames": (TINY, 0, 4),
    "told both, wider than a block": (dilated.Config(width=40, skip=70, layers=3, dilations=(2, 16, 1)), 3, 4),
}  # fmt: skip
DRAW = looped.Choice(False, False, np.float32(1), np.float32(0))


def made(shape: str) -> tuple[Dilated, nn.Embedding]:
    """A net of numbers by a table, stirred: what begins at zero would hide what depends on it."""
    torch.manual_seed(0)
    config, vector, grid = SHAPES[shape]
    net, table = (
        config.build((config.width, LENGTH), (VOCAB, LENGTH), vector, grid=grid),
        nn.Embedding(VOCAB + 1, config.width),
    )
    for p in net.parameters():
        p.data += 0.3 * torch.randn_like(p)
    return net.eval().requires_grad_(False), table.requires_grad_(False)


def told(shape: str, n: int) -> Condition:
    _, vector, grid = SHAPES[shape]
    g = torch.Generator().manual_seed(1)
    return Condition(
        vector=torch.randn(n, vector, generator=g) if vector else None,
        grid=torch.randn(n, grid, 5, generator=g) if grid else None,
    )


def numbers(n: int) -> Tensor:
    return torch.randint(VOCAB, (n, LENGTH), generator=torch.Generator().manual_seed(2))


def agree(said: Tensor, wanted: Tensor) -> None:
    """Logits to rounding, probabilities within 1e-5."""
    torch.testing.assert_close(said, wanted, rtol=1e-4, atol=5e-5)
    torch.testing.assert_close(said.softmax(-1), wanted.softmax(-1), rtol=0, atol=1e-5)


def filled(loop, n: int, condition: Condition, choice=DRAW, seed: int = 3) -> tuple[Tensor, Tensor]:
    """What is drawn, [n, LENGTH + 1] with what stands first, and the uniform numbers that it was drawn by."""
    x = torch.full((n, LENGTH + 1), -1)
    x[:, 0] = VOCAB
    u = torch.rand(1, n, LENGTH, generator=torch.Generator().manual_seed(seed))
    assert list(loop.draw(x, u, choice, condition)) == [LENGTH + 1]
    return x, u[0]


@pytest.mark.parametrize("n", [1, 7])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_says_what_the_net_says(shape: str, n: int) -> None:
    """In one go and in pieces; of as many rows as fit into registers, and of more."""
    (net, table), condition, x = made(shape), told(shape, n), numbers(n)
    whole = net.run(table(x), condition)[0]
    loop = looped.Loop(net, table.weight, VOCAB, "fp32")
    agree(loop.read(x, loop.begin(n, condition)), whole)
    memory = loop.begin(n, condition)
    parts = [loop.read(part, memory) for part in x.split([1, 2, 40, 17], 1)]
    agree(torch.cat(parts, 1), whole)


@pytest.mark.parametrize("storage", ["int8", pytest.param("bf16", marks=pytest.mark.slow)])
def test_it_says_what_a_net_of_rounded_weights_says(storage) -> None:
    shape = "three taps, and places that are known ahead"
    (net, table), condition, x = made(shape), told(shape, 2), numbers(2)
    loop = looped.Loop(net, table.weight, VOCAB, storage)
    if storage == "int8":
        devices.round_weights(net)
    for part in net.modules() if storage == "bf16" else ():
        if isinstance(part, nn.Linear):
            part.weight.data = part.weight.data.bfloat16().float()
    whole = net.run(table(x), condition)[0]
    agree(loop.read(x, loop.begin(2, condition)), whole)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_drawn_is_what_the_nets_probabilities_and_the_numbers_make(shape: str) -> None:
    """Read again by the net as a whole, each value is where the distribution function passes its number."""
    n = 3
    (net, table), condition = made(shape), told(shape, n)
    x, u = filled(looped.Loop(net, table.weight, VOCAB, "fp32"), n, condition)
    below = net.run(table(x[:, :-1]), condition)[0].double().softmax(-1).cumsum(-1)
    found = (below <= u[..., None]).sum(-1)
    assert torch.equal(x[:, 1:], found.clamp(max=VOCAB - 1)) and len(x.unique()) > 5


def test_the_likeliest_is_the_argmax_of_the_whole_forward_pass() -> None:
    (net, table), condition = made("told both, wider than a block"), told("told both, wider than a block", 2)
    x, _ = filled(looped.Loop(net, table.weight, VOCAB, "fp32"), 2, condition, DRAW._replace(greedy=True))
    assert torch.equal(x[:, 1:], net.run(table(x[:, :-1]), condition)[0].argmax(-1))


def test_temperature_and_the_least_share_are_torchs() -> None:
    (net, table), condition = made("tiny"), Condition()
    choice = DRAW._replace(temperature=np.float32(0.5), least=np.float32(0.2))
    x, u = filled(looped.Loop(net, table.weight, VOCAB, "fp32"), 4, condition, choice)
    logits = net.run(table(x[:, :-1]), condition)[0].double() / 0.5
    p = logits.masked_fill(logits < logits.amax(-1, keepdim=True) + np.log(0.2), -torch.inf).softmax(-1)
    below = p.cumsum(-1)
    assert torch.equal(x[:, 1:], (below <= u[..., None] * below[..., -1:]).sum(-1))


def test_a_row_is_the_same_to_the_bit_whoever_stands_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 13 rows on one thread and on two, and alone."""
    net, table = made("told both, wider than a block")
    condition = told("told both, wider than a block", 13)
    loop = looped.Loop(net, table.weight, VOCAB, "fp32")
    said = loop.read(numbers(13), loop.begin(13, condition))
    alone = [loop.read(numbers(13)[i : i + 1], loop.begin(1, condition.rows(slice(i, i + 1)))) for i in range(13)]
    assert torch.equal(said, torch.cat(alone))
    one, _ = filled(loop, 13, condition)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert torch.equal(one, filled(loop, 13, condition)[0])


def test_what_is_known_stays_and_counts() -> None:
    net, table = made("tiny")
    loop = looped.Loop(net, table.weight, VOCAB, "fp32")
    x, u = filled(loop, 2, Condition())
    again = torch.full_like(x, -1)
    again[:, :30], again[:, 45] = x[:, :30], x[:, 45]
    list(loop.draw(again, u[None], DRAW, Condition()))
    assert torch.equal(again, x)


def test_rows_change_places() -> None:
    shape = "told both, wider than a block"
    (net, table), condition, x, turned = made(shape), told(shape, 3), numbers(3), torch.tensor([2, 2, 0])
    loop = looped.Loop(net, table.weight, VOCAB, "fp32")
    memory = loop.begin(3, condition)
    loop.read(x[:, :33], memory)
    rest = loop.read(x[turned, 33:], memory.picked(turned))
    assert torch.equal(rest, loop.read(x[turned], loop.begin(3, condition.picked(turned)))[:, 33:])


def test_levels_are_drawn_as_torch_draws_them() -> None:
    torch.manual_seed(0)
    levels, n = 256, 3
    net = dataclasses.replace(TINY, width=16).build((1, LENGTH), (12, LENGTH)).eval().requires_grad_(False)
    for p in net.parameters():
        p += 0.3 * torch.randn_like(p)
    loop = looped.Loop(net, None, levels, "fp32")
    x = torch.full((n, LENGTH + 1), -1)
    x[:, 0] = levels
    u = torch.rand(2, n, LENGTH).clamp_min(2**-25)
    list(loop.draw(x, u, DRAW._replace(mixture=True, temperature=np.float32(0.7)), Condition()))
    values = (x[:, :-1] * (2 / 255) - 1).masked_fill(x[:, :-1] == levels, 0.0)
    said = net.run(values[..., None], Condition())[0]
    agree(loop.read(x[:, :-1], loop.begin(n, Condition())), said)
    wanted = [draw_levels(said[:, at], u[:, :, at].T, levels, 0.7) for at in range(LENGTH)]
    assert torch.equal(x[:, 1:], torch.stack(wanted, 1)) and len(x.unique()) > 20


def test_it_stops_when_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looped, "STRETCH", 16)
    net, table = made("tiny")
    x = torch.full((1, LENGTH + 1), -1)
    x[:, 0], token = VOCAB, cancel.Token()
    known = []
    with pytest.raises(cancel.Cancelled), cancel.working(token):
        for so_far in looped.Loop(net, table.weight, VOCAB, "fp32").draw(
            x, torch.rand(1, 1, LENGTH), DRAW, Condition()
        ):
            known.append(so_far)
            token.cancel()
    assert known == [17] and (x[:, :17] >= 0).all() and (x[:, 17:] == -1).all()
