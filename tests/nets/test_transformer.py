"""The Transformer and attention, against formulas, torch's own functions and themselves."""

import math

import pytest
import torch
from torch.nn import functional as F

from maquette.core.types import Condition
from maquette.nets import transformer
from maquette.nets.attention import attend, attention_map, causal_mask, keeping_maps, rotate, turns, unit_size


def heads(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def textbook(q, k, v, mask=None) -> torch.Tensor:
    scores = torch.einsum("bhld,bhmd->bhlm", q.double(), k.double()) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return torch.einsum("bhlm,bhmd->bhld", scores.softmax(-1), v.double()).float()


@pytest.mark.parametrize("length", [1, 5, 64])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_the_formula(length: int, causal: bool) -> None:
    q, k, v = (heads(2, 3, length, 8, seed=i) for i in range(3))
    mask = causal_mask(length, length, q.device) if causal else None
    assert torch.allclose(attend(q, k, v, causal), textbook(q, k, v, mask), atol=1e-5)


def test_the_last_places_see_all_before_them() -> None:
    q, k, v = heads(1, 2, 3, 8), heads(1, 2, 7, 8, seed=1), heads(1, 2, 7, 8, seed=2)
    whole = torch.cat([heads(1, 2, 4, 8, seed=3), q], 2)
    assert torch.allclose(attend(q, k, v, causal=True), attend(whole, k, v, causal=True)[:, :, 4:], atol=1e-6)


def test_bf16_takes_another_path_to_about_the_same() -> None:
    q, k, v = (heads(2, 2, 16, 8, seed=i) for i in range(3))
    low = attend(*(x.bfloat16() for x in (q, k, v)), causal=True)
    assert low.dtype == torch.bfloat16 and torch.allclose(low.float(), attend(q, k, v, causal=True), atol=0.03)


def test_equal_scores_are_shared_among_the_allowed_keys() -> None:
    """Listing 19 of the tutorials added a 0/1 mask to the scores, which favours masked keys."""
    q, k = torch.zeros(1, 1, 1, 4), torch.zeros(1, 1, 4, 4)
    allowed = torch.tensor([True, True, False, False]).view(1, 1, 1, 4)
    assert attention_map(q, k, allowed).flatten().tolist() == [0.5, 0.5, 0, 0]


@pytest.mark.parametrize("causal", [False, True])
def test_maps_are_kept_for_those_who_ask(causal: bool) -> None:
    q, k, v = (heads(2, 3, 5, 8, seed=i) for i in range(3))
    plain = attend(q, k, v, causal)
    with keeping_maps() as maps:
        looked = attend(q, k, v, causal)
    attend(q, k, v, causal)
    assert len(maps) == 1 and torch.equal(looked, plain)
    assert torch.allclose(maps[0] @ v, plain, atol=1e-6)
    assert torch.allclose(maps[0].sum(-1), torch.ones(2, 3, 5)) and (not causal or maps[0].triu(1).abs().max() == 0)


def test_scaling_keeps_the_entropy_as_heads_widen() -> None:
    def entropy(d: int) -> float:
        map = attention_map(heads(1, 1, 200, d), heads(1, 1, 200, d, seed=1))
        return float(-(map * map.log()).sum(-1).mean())

    assert abs(entropy(256) - entropy(16)) < 0.1


def test_rotation_keeps_lengths_and_depends_on_distance_alone() -> None:
    cos, sin = turns(32, 8)
    q, k = heads(1, 1, 1, 8).expand(1, 1, 32, 8), heads(1, 1, 1, 8, seed=1).expand(1, 1, 32, 8)
    a, b = rotate(q, cos, sin), rotate(k, cos, sin)
    assert torch.allclose(a.norm(dim=-1), q.norm(dim=-1), atol=1e-5)
    scores = a[0, 0] @ b[0, 0].T
    for gap in range(5):
        assert torch.allclose(scores.diagonal(gap), scores.diagonal(gap)[0].expand(32 - gap), atol=1e-4)
    assert torch.equal(rotate(q, cos, sin)[:, :, 0], q[:, :, 0])


@pytest.mark.parametrize("unit", [False, True])
def test_rotation_has_the_derivatives_of_its_formula(unit: bool) -> None:
    cos, sin = (t.double() for t in turns(3, 8))
    x = heads(2, 3, 8, dtype=torch.float64).requires_grad_()
    turned = rotate(x, cos, sin, unit)
    plain = unit_size(rotate(x, cos, sin)) if unit else rotate(x, cos, sin)
    assert torch.allclose(turned, plain, atol=1e-6)
    assert not unit or torch.allclose(turned, F.rms_norm(rotate(x, cos, sin), (8,), eps=1e-6))
    assert torch.autograd.gradcheck(lambda x: rotate(x, cos, sin, unit), x)
    assert torch.autograd.gradgradcheck(lambda x: rotate(x, cos, sin, unit), x)


@pytest.mark.parametrize("settings", [{}, {"norm": "layer", "mlp": "gelu", "positions": "learned", "bias": True}])
def test_a_cache_gives_what_the_whole_gives(settings: dict) -> None:
    torch.manual_seed(0)
    net = transformer.Config(width=16, depth=2, heads=2, **settings).build((9, 16), (9, 16), causal=True)
    for p in net.parameters():
        torch.nn.init.normal_(p, 0.0, 0.3)
    x = torch.randn(3, 9, 16)
    whole = net(x)
    cache = transformer.Cache(net, 3, x)
    parts = [net(x[:, a:b], None, Condition(), None, cache) for a, b in ((0, 4), (4, 5), (5, 9))]
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-5)
    later = x.clone()
    later[:, 6:] += 1
    assert torch.equal(net(later)[:, :6], whole[:, :6]) and not torch.equal(net(later)[:, 6:], whole[:, 6:])


def test_a_block_begins_as_the_identity() -> None:
    net = transformer.Config.tiny().build((5, 16), (5, 16))
    x = torch.randn(2, 5, 16)
    assert torch.allclose(net(x), F.rms_norm(x, (16,)), atol=1e-6)


def test_documents_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    net = transformer.Config.tiny().build((6, 16), (6, 16), causal=True)
    for p in net.parameters():
        torch.nn.init.normal_(p, 0.0, 0.3)
    x = torch.randn(1, 6, 16)
    document = torch.tensor([0, 0, 0, 1, 1, 1])
    allowed = (document[:, None] == document) & torch.ones(6, 6, dtype=torch.bool).tril()
    other = x.clone()
    other[:, :3] += 1
    assert torch.equal(
        net(x, None, Condition(), allowed[None, None])[:, 3:], net(other, None, Condition(), allowed[None, None])[:, 3:]
    )


@pytest.mark.parametrize("unit", [False, True])
def test_the_rotation_has_its_derivative_in_both_modes(unit: bool) -> None:
    cos, sin = turns(5, 8)
    x = torch.randn(2, 5, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x: rotate(x, cos.double(), sin.double(), unit), (x,), check_forward_ad=True, check_batched_grad=False
    )
