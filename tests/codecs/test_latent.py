"""A trained autoencoder as a codec."""

import pytest
import torch
from torch import Tensor, nn

from maquette.codecs.latent import LatentCodec
from maquette.codecs.mel import Mel
from maquette.core.errors import MaquetteError
from maquette.core.types import Autoencoder, Real, Space, Tokens

SOURCE = Real((2, 4, 4))


class Linear(nn.Module, Autoencoder):
    """Codes far from white: channel k has mean 10 k and spread 1 + k. The last, if asked for, never changes."""

    latent: Space = Real((2, 4, 4), levels=256)

    def __init__(self, constant: bool = False):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.0, 0.0 if constant else 2.0]).view(1, 2, 1, 1))
        self.shift = nn.Parameter(torch.tensor([0.0, 10.0]).view(1, 2, 1, 1))

    def encode(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift

    def decode(self, z: Tensor) -> Tensor:
        return (z - self.shift) / self.scale


class Codebook(Autoencoder):
    """Not a module, and codes are tokens."""

    latent = Tokens((4,), 8)

    def encode(self, x: Tensor) -> Tensor:
        return ((x + 1) * 3.5).round().long()

    def decode(self, z: Tensor) -> Tensor:
        return z / 3.5 - 1


def examples(n: int = 4000) -> Tensor:
    return torch.randn(n, 2, 4, 4, generator=torch.Generator().manual_seed(0))


def test_codes_are_white_and_samples_come_back() -> None:
    codec = LatentCodec(Linear(), SOURCE, examples())
    assert codec.space == Real((2, 4, 4)) and codec.source == SOURCE
    torch.testing.assert_close(codec.mean.flatten(), torch.tensor([0.0, 10.0]), atol=0.02, rtol=0)
    torch.testing.assert_close(codec.std.flatten(), torch.tensor([1.0, 2.0]), atol=0.02, rtol=0)
    z = codec.encode(examples())
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.std((0, 2, 3), correction=0), torch.ones(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(codec.decode(z), examples(), atol=1e-5, rtol=0)


def test_a_channel_that_never_changes_is_not_blown_up() -> None:
    codec = LatentCodec(Linear(constant=True), SOURCE, examples())
    z = codec.encode(examples() + 1e-3)
    assert z.isfinite().all() and z[:, 1].abs().max() < 1e-3
    alone = LatentCodec(Linear(), SOURCE, torch.zeros(3, 2, 4, 4))
    assert alone.encode(torch.zeros(1, 2, 4, 4)).abs().max() == 0


def test_tokens_pass_as_they_are() -> None:
    codec, numbers = LatentCodec(Codebook(), Real((4,)), torch.zeros(1, 4)), torch.tensor([[0, 3, 5, 7]])
    assert codec.space == Tokens((4,), 8)
    assert torch.equal(codec.encode(codec.decode(numbers)), numbers)


def test_the_autoencoder_is_frozen_and_travels_in_the_state() -> None:
    autoencoder = Linear().train()
    codec = LatentCodec(autoencoder, SOURCE, examples())
    assert not autoencoder.training and not any(p.requires_grad for p in codec.parameters())
    other = LatentCodec(Linear(), SOURCE, 5 * examples() - 3)
    other.load_state_dict(codec.state_dict())
    assert torch.equal(other.encode(examples(3)), codec.encode(examples(3)))


def test_whitening_is_what_examples_said_and_can_be_put_back() -> None:
    codec, plain = LatentCodec(Linear(), SOURCE, examples()), LatentCodec(Linear(), SOURCE)
    assert torch.equal(plain.encode(examples(3)), plain.autoencoder.encode(examples(3))), "as they are without examples"
    for name, value in codec.whitening.items():
        plain.whitening[name].copy_(value)
    assert set(codec.whitening) == {"mean", "std"} and torch.equal(plain.encode(examples(3)), codec.encode(examples(3)))
    assert LatentCodec(Codebook(), Real((4,))).whitening == {}


def test_codes_that_are_not_finite_are_refused() -> None:
    with pytest.raises(MaquetteError, match="MQ-2061"):
        LatentCodec(Linear(), SOURCE, torch.full((2, 2, 4, 4), float("nan")))


def test_codes_of_spectrograms_are_codes_of_sounds() -> None:
    """An autoencoder behind a codec that learns nothing is whitened, encodes and decodes through that."""
    source = Real((2, 16), levels=65536)
    inner = Mel(source, 250)
    assert inner.space.shape == (2, 2, 4)

    class Halves(Linear):
        latent = Real((2, 2, 4))

    x = 0.3 * torch.randn(64, 2, 16, generator=torch.Generator().manual_seed(0))
    codec = LatentCodec(Halves(), source, x, inner)
    z = codec.encode(x)
    assert z.shape == (64, 2, 2, 4) and z.mean().abs() < 1e-4
    torch.testing.assert_close(codec.decode(z), inner.decode(inner.encode(x)), atol=1e-2, rtol=0)
