"""Every codec, on every space that it takes: what is encoded lies in its space, and decoding brings it back.

A codec around an autoencoder brings back what the autoencoder itself would; one that loses something by itself brings
back what has about the same codes.
"""

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

import maquette.codecs
from maquette.codecs.base import Codec
from maquette.core.errors import MaquetteError
from maquette.core.types import Autoencoder, Real, Space, Tokens
from maquette.models.base import Model
from tests.conformance.cases import SPACES as MODELLED
from tests.conformance.cases import maker, model_cases, samples
from tests.conformance.checks import memorise


def codec_classes() -> Iterator[type[Codec]]:
    for file in sorted(Path(maquette.codecs.__file__).parent.glob("*.py")):
        for _, cls in inspect.getmembers(importlib.import_module(f"maquette.codecs.{file.stem}"), inspect.isclass):
            if issubclass(cls, Codec) and cls is not Codec and cls.__module__.endswith(file.stem):
                yield cls


SOUND = Real((1, 1024), levels=65536)
SPACES = [*MODELLED, SOUND]
NEAR = 0.1
"""How far real codes may be from those of what comes back, in [-1, 1] and on average."""
CASES = [(cls, space) for cls in codec_classes() for space in SPACES]


def lies_in(z: Tensor, space: Space) -> bool:
    if isinstance(space, Tokens):
        return (
            z.dtype == torch.int64 and z.shape[1:] == space.shape and bool((z >= 0).all() and (z < space.vocab).all())
        )
    return z.is_floating_point() and z.shape[1:] == space.shape and bool(z.isfinite().all())


def autoencoder(space: Space) -> Model | None:
    """A model of some kind that encodes samples of `space`, a little trained."""
    for _, config, found in model_cases():
        if found == space and isinstance(model := maker(config, space)(), Autoencoder):
            memorise(model, steps=5)
            return model
    return None


def build(cls: type[Codec], space: Space) -> tuple[Codec, Model | None] | None:
    """The codec and what it was built around, from what its parameters ask for; None where there is no such thing."""
    wanted = inspect.signature(cls.__init__).parameters
    parts = {"source": space, "examples": samples(space, torch.arange(16) % 2)}
    inner = autoencoder(space) if "autoencoder" in wanted else None
    if "autoencoder" in wanted and inner is None:
        return None
    parts["autoencoder"] = inner
    try:
        return cls(**{name: part for name, part in parts.items() if name in wanted}), inner
    except MaquetteError:
        return None


@torch.no_grad()
def round_trip(codec: Codec, inner: Model | None = None) -> None:
    x = samples(codec.source, torch.arange(6) % 2)
    expected = inner.decode(inner.encode(x)) if isinstance(inner, Autoencoder) else x
    z = codec.encode(x)
    assert lies_in(z, codec.space), f"what is encoded does not lie in {codec.space}"
    back = codec.decode(z)
    if not codec.lossless and inner is None:
        expected, back = z, codec.encode(back)
        if isinstance(codec.space, Real):
            assert (back - z).abs().mean() < NEAR, "what comes back has other codes"
            return
    assert back.shape == expected.shape and torch.allclose(back.double(), expected.double(), atol=1e-4), (
        "it does not come back"
    )


@pytest.mark.parametrize(("cls", "space"), CASES, ids=[f"{cls.__name__}-{space}" for cls, space in CASES])
def test_a_codec_is_reversible_or_refuses(cls: type[Codec], space: Space) -> None:
    if (built := build(cls, space)) is not None:
        round_trip(*built)


@pytest.mark.parametrize("cls", sorted({cls for cls, _ in CASES}, key=str))
def test_a_codec_takes_some_space(cls: type[Codec]) -> None:
    assert any(build(cls, space) for space in SPACES)


def test_a_broken_codec_fails() -> None:
    class Lossy(Codec):
        source, space, lossless = Real((4,)), Real((4,)), True

        def encode(self, x: Tensor) -> Tensor:
            return x.round()

        def decode(self, z: Tensor) -> Tensor:
            return z

    class Outside(Lossy):
        space = Tokens((4,), 2)

    class Drifting(Lossy):
        lossless = False

        def decode(self, z: Tensor) -> Tensor:
            return z + 1

    for broken in Lossy, Outside, Drifting:
        with pytest.raises(AssertionError):
            round_trip(broken())
