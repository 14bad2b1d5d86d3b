"""StyleGAN2's layers against the equations, and what its networks answer to."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from maquette.core.seeds import Seeds
from maquette.nets.style import GAIN, Dense, Judge, Mapping, Modulated, Synthesis, fused


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_modulation_is_that_of_each_rows_own_weights() -> None:
    """Equations 1-3 as they are written: one kernel for each row."""
    torch.manual_seed(0)
    layer, x, w = Modulated(6, 4, 3, 5), noise(3, 6, 8, 8), noise(3, 5, seed=1)
    style = layer.affine(w)
    for row in range(3):
        kernel = layer.weight * style[row, :, None, None]
        kernel = kernel / kernel.square().sum((1, 2, 3), keepdim=True).sqrt()
        expected = GAIN * F.conv2d(x[row : row + 1], kernel, padding=1)
        assert torch.allclose(layer(x, w, (8, 8))[row : row + 1], expected, atol=1e-5)


@pytest.mark.parametrize("doubles", [False, True])
def test_demodulation_gives_unit_variance(doubles: bool) -> None:
    """Whatever the style: the leaky unit's gain, squared, is what remains."""
    torch.manual_seed(0)
    layer = Modulated(32, 64, 3, 8, doubles)
    w = 5 * noise(16, 8)  # styles far from 1
    out = layer(noise(16, 32, 16, 16), w, (32, 32) if doubles else (16, 16))[:, :, 2:-2, 2:-2]
    assert layer.affine(w).std() > 2
    assert (out / GAIN).var().item() == pytest.approx(1, rel=0.05)


def test_a_map_doubles_by_repeating_places_before_a_convolution() -> None:
    weight, x = noise(3, 5, 3, 3), noise(2, 3, 4, 6, seed=1)
    repeated = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = F.conv2d(repeated, weight.flip(2, 3).transpose(0, 1), padding=1)
    assert torch.allclose(F.conv_transpose2d(x, fused(weight), stride=2, padding=1), expected, atol=1e-5)
    flat = F.conv_transpose2d(torch.ones(1, 3, 8, 8), fused(weight), stride=2, padding=1)[:, :, 2:-2, 2:-2]
    assert flat.std(dim=(2, 3)).max() < 1e-5, "a flat map stays flat: there is no checkerboard"


def test_colours_are_not_demodulated() -> None:
    layer, x = Modulated(6, 3, 1, 5, demodulates=False), noise(2, 6, 4, 4)
    assert torch.allclose(layer(3 * x, noise(2, 5), (4, 4)), 3 * layer(x, noise(2, 5), (4, 4)), atol=1e-5)
    demodulated = Modulated(6, 3, 1, 5)
    before = demodulated(x, noise(2, 5), (4, 4))
    with torch.no_grad():
        demodulated.weight.mul_(3)
    assert torch.allclose(demodulated(x, noise(2, 5), (4, 4)), before, atol=1e-5), "the size of its weights matters"


def test_a_slow_layer_starts_like_any_other_and_learns_slower() -> None:
    torch.manual_seed(0)
    x, moved = noise(256, 64, seed=1), []  # of another seed than the weights, which it would be equal to
    for rate in (1.0, 0.01):
        layer = Dense(64, 64, rate=rate)
        before = layer(x)
        assert before.std().item() == pytest.approx(1, rel=0.1)
        with torch.no_grad():
            layer.weight.add_(0.1)  # as an optimiser does that takes steps of one size
        moved.append((layer(x) - before).std().item())
    assert moved[1] == pytest.approx(0.01 * moved[0], rel=1e-2)


def test_a_mapping_takes_the_direction_of_noise_alone() -> None:
    mapping = Mapping(8, 3, 6, 2)
    z, told = noise(4, 8), noise(4, 3, seed=1)
    assert torch.allclose(mapping(z, told), mapping(7 * z, told), atol=1e-5)
    assert not torch.allclose(mapping(z, told), mapping(z, -told), atol=1e-3)


@pytest.mark.parametrize(("picture", "layers"), [((3, 32, 32), 8), ((1, 28, 28), 6), ((1, 9, 13), 4), ((1, 5, 4), 2)])
def test_pictures_of_every_size(picture: tuple[int, ...], layers: int) -> None:
    synthesis, judge = Synthesis(6, picture, 8, 16), Judge(picture, 0, 8, 16)
    assert synthesis.layers == layers
    x = synthesis(noise(4, 6)[:, None].expand(-1, layers, -1))
    assert x.shape == (4, *picture)
    assert judge(x).shape == (4, 1)


def test_every_layer_has_its_own_style() -> None:
    torch.manual_seed(0)
    synthesis = Synthesis(6, (1, 16, 16), 8, 16)
    styles = noise(1, synthesis.layers, 6)
    plain = synthesis(styles)
    for layer in range(synthesis.layers):
        other = styles.clone()
        other[:, layer] = -other[:, layer]
        assert not torch.allclose(synthesis(other), plain, atol=1e-4), f"layer {layer} pays no heed"


def test_noise_is_fresh_only_when_there_is_a_source_of_it() -> None:
    torch.manual_seed(0)
    synthesis = Synthesis(6, (1, 16, 16), 8, 16)
    styles = noise(2, 1, 6)[:1].expand(2, synthesis.layers, -1)
    with torch.no_grad():
        for layer in synthesis.convs:
            layer.strength.fill_(0.3)
    first, second = (synthesis(styles, Seeds.for_batch(seed, 0, 2)) for seed in (0, 1))
    assert not torch.allclose(first[0], first[1], atol=1e-3), "rows share their noise"
    assert not torch.allclose(first, second, atol=1e-3)
    fixed = synthesis(styles)
    assert torch.allclose(fixed[0], fixed[1], atol=1e-5) and torch.equal(fixed, synthesis(styles))


def test_a_judge_is_told_labels_by_projection() -> None:
    """score(x, v) - score(x, 0) is linear in v, up to the constant of v's embedding, which starts at 0."""
    torch.manual_seed(0)
    judge, x, v = Judge((1, 8, 8), 3, 8, 16), noise(4, 1, 8, 8), noise(1, 3)
    at = [judge(x, (k * v).expand(4, -1)) for k in (0.0, 1.0, 3.0)]
    assert torch.allclose(at[2] - at[0], 3 * (at[1] - at[0]), atol=1e-4)
    assert (at[1] - at[0]).std() > 1e-3


def test_signals_keep_their_size() -> None:
    torch.manual_seed(0)
    synthesis, judge = Synthesis(32, (3, 32, 32), 32, 64), Judge((3, 32, 32), 0, 32, 64)
    x = synthesis(noise(16, 32)[:, None].expand(-1, synthesis.layers, -1))
    assert 0.1 < x.std().item() < 5
    assert 0.05 < judge(noise(16, 3, 32, 32)).std().item() < 5
