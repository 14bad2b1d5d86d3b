"""The movers against torch's own optimisers, and their state as tensors."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from maquette.core.errors import MaquetteError
from maquette.nets import transformer
from maquette.train import optimisers
from maquette.train.optimisers import Mover, orthogonalise
from maquette.train.recipe import Optimizer


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 4))


def loss(module: nn.Module, step: int) -> torch.Tensor:
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(step))
    return module(x).square().mean()


def ours(module: nn.Module, settings: Optimizer, steps: range, mover: Mover | None = None) -> Mover:
    mover = mover or Mover(settings, module)
    for step in steps:
        loss(module, step).backward()
        mover.step(progress=0.5)
    return mover


def theirs(module: nn.Module, make: Any, decay: float) -> None:
    split = [[p for p in module.parameters() if p.ndim >= 2], [p for p in module.parameters() if p.ndim < 2]]
    optimizer = make([{"params": split[0], "weight_decay": decay}, {"params": split[1], "weight_decay": 0.0}])
    for step in range(10):
        optimizer.zero_grad()
        loss(module, step).backward()
        optimizer.step()


@pytest.mark.parametrize(
    ("settings", "make"),
    [
        ({"name": "adamw", "betas": (0.5, 0.9)}, lambda g: torch.optim.AdamW(g, 0.01, betas=(0.5, 0.9), fused=True)),
        ({"name": "sgd", "betas": (0.9, 0.0)}, lambda g: torch.optim.SGD(g, 0.01, momentum=0.9, fused=True)),
        ({"name": "rmsprop", "betas": (0.0, 0.9)}, lambda g: torch.optim.RMSprop(g, 0.01, alpha=0.9)),
        ({"name": "adagrad"}, lambda g: torch.optim.Adagrad(g, 0.01, eps=1e-8)),
    ],
    ids=lambda v: v["name"] if isinstance(v, dict) else "",
)
def test_each_rule_agrees_with_torch(settings: dict[str, Any], make: Any) -> None:
    one, other = net(), net()
    ours(one, Optimizer(**settings, lr=0.01, weight_decay=0.1), range(10))
    theirs(other, make, decay=0.1)
    for p, q in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)


def test_muon_agrees_with_torch_on_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's Muon always rounds to bfloat16, and takes no convolutions."""
    monkeypatch.setattr(optimisers, "has_fast_bf16", lambda device: True)
    one, other = nn.Linear(6, 4, bias=False), nn.Linear(6, 4, bias=False)
    other.load_state_dict(one.state_dict())
    mover = Mover(Optimizer(name="muon", lr=0.02, betas=(0.95, 0.999), weight_decay=0.1), one)
    optimizer = torch.optim.Muon(
        other.parameters(), 0.02, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    for step in range(5):
        x = torch.randn(8, 6, generator=torch.Generator().manual_seed(step))
        for module in (one, other):
            module(x).square().mean().backward()
        mover.step(0.5)
        optimizer.step()
        optimizer.zero_grad()
    torch.testing.assert_close(one.weight, other.weight, rtol=1e-5, atol=1e-5)


def test_muon_leaves_tables_and_vectors_to_adamw() -> None:
    module = nn.ModuleDict({"table": nn.Embedding(5, 4), "conv": nn.Conv2d(2, 4, 3)})
    kept = Mover(Optimizer(name="muon"), module).state
    assert {name for name in kept if name.endswith("/momentum")} == {"conv.weight/momentum"}
    assert {"table.weight/mean", "conv.bias/mean"} <= kept.keys()


def test_muon_moves_what_layers_multiply_by_and_no_table_of_places() -> None:
    torch.manual_seed(0)
    module = nn.ModuleDict(
        {
            "net": transformer.Config(width=16, depth=1, heads=2, positions="learned").build((4, 16), (4, 16)),
            "lstm": nn.LSTM(4, 4),
            "normed": nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)),
            "codebook": nn.ParameterList([torch.randn(8, 4)]),
        }
    )
    kept = Mover(Optimizer(name="muon"), module).state
    moved = {name.removesuffix("/momentum") for name in kept if name.endswith("/momentum")}
    assert {"lstm.weight_ih_l0", "lstm.weight_hh_l0", "normed.parametrizations.weight.original"} < moved
    assert {"net.places/mean", "codebook.0/mean", "lstm.bias_ih_l0/mean"} <= kept.keys()
    assert not moved & {"net.places", "codebook.0"}
    linear = {f"net.{name}.weight" for name, part in module["net"].named_modules() if isinstance(part, nn.Linear)}
    assert linear and linear <= moved


def test_orthogonalise_brings_singular_values_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((6, 20), (20, 6)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
        assert values.min() > 0.5 and values.max() < 1.4


def test_decay_spares_biases() -> None:
    module = nn.Linear(2, 2)
    with torch.no_grad():
        module.bias.fill_(1.0)
    mover = Mover(Optimizer(lr=0.1, weight_decay=0.5), module)
    before = module.weight.detach().clone()
    (0 * module(torch.ones(1, 2))).sum().backward()
    mover.step(0.5)
    torch.testing.assert_close(module.weight.detach(), before * (1 - 0.1 * 0.5))
    assert module.bias.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("name", ["adamw", "sgd", "rmsprop", "adagrad", "muon"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_what_was_remembered_goes_on_bit_for_bit(name: Any, layout: torch.memory_format) -> None:
    settings = Optimizer(name=name, lr=0.01, history=0.5 if name == "sgd" else 0.0)
    whole = net().to(memory_format=layout)  # type: ignore[call-overload]
    ours(whole, settings, range(6))
    first = net().to(memory_format=layout)  # type: ignore[call-overload]
    saved = {k: v.contiguous().clone() for k, v in ours(first, settings, range(3)).state.items()}
    second = copy.deepcopy(first)
    mover = Mover(settings, second)
    mover.load(saved)
    ours(second, settings, range(3, 6), mover)
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize("change", ["missing", "superfluous", "shape"])
def test_a_state_that_does_not_fit_is_refused(change: str) -> None:
    mover = Mover(Optimizer(), nn.Linear(2, 2))
    state = dict(mover.state)
    if change == "missing":
        del state["bias/mean"]
    else:
        state["bias/mean" if change == "shape" else "other/mean"] = torch.zeros(3)
    with pytest.raises(MaquetteError, match=r"MQ-7001.*(bias|other)/mean"):
        mover.load(state)
