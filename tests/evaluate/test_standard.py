"""The standard networks of sound and films: what VGGish is made of and sees, and distances by stand-ins for both."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from maquette.core.errors import MaquetteError
from maquette.evaluate import standard, vggish
from maquette.evaluate.importer import VGGISH, convert
from maquette.evaluate.reference import Reference
from maquette.evaluate.report import Stamp
from maquette.evaluate.vggish import VGGish, bank, pieces
from tests.evaluate.made import CPU, FILMS, SOUND, Ear, Eye, films, notes, stand_in

STAMP = Stamp(
    extractor="domain", weights="", resize="", data="", split="test", real=9, made=9, seed=0, software={"torch": ""}
)


def tone(hertz: float, seconds: float, rate: int) -> torch.Tensor:
    return 0.5 * torch.sin(2 * math.pi * hertz * torch.arange(round(seconds * rate)) / rate).view(1, 1, -1)


# -- VGGish -----------------------------------------------------------------------------------------------------------


def test_has_the_parameters_and_names_of_the_published_network() -> None:
    with torch.device("meta"):
        found = {name: tuple(p.shape) for name, p in VGGish().named_parameters()}
    layers = [f"features.{n}" for n in (0, 3, 6, 8, 11, 13)] + [f"embeddings.{n}" for n in (0, 2, 4)]
    assert [*found] == [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]
    assert sum(math.prod(shape) for shape in found.values()) == 72_141_184
    assert found["embeddings.0.weight"] == (4096, 12288) and found["features.13.weight"] == (512, 512, 3, 3)


class Maps(nn.Module):
    """Two channels, two down, two across, each value another."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.arange(8.0).view(1, 2, 2, 2)


def test_maps_are_read_with_their_channels_last() -> None:
    with torch.device("meta"):
        network = VGGish()
    network.features, network.embeddings = nn.Sequential(Maps()), nn.Sequential(nn.ConstantPad1d((0, 120), -1.0))
    assert network(torch.zeros(1, 96, 64))[0, :8].tolist() == [0, 4, 1, 5, 2, 6, 3, 7]


@pytest.mark.parametrize(("seconds", "whole"), [(0.3, 1), (0.975, 1), (1.9, 1), (1.935, 2), (10, 10)])
def test_a_sound_has_as_many_pieces_as_fit(seconds: float, whole: int) -> None:
    assert pieces(tone(440, seconds, 16_000), 16_000).shape == (whole, 96, 64)


def test_what_is_missing_of_a_piece_is_silence() -> None:
    (piece,) = pieces(tone(440, 0.3, 16_000), 16_000)
    assert (piece[30:] == math.log(vggish.OFFSET)).all() and piece[:27].max() > 2


@pytest.mark.parametrize("hertz", [200, 1000, 3000])
@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_a_tone_is_loudest_in_its_band_at_any_rate(hertz: float, rate: int) -> None:
    """Band k of 64 has its tip k + 1 steps up from 125 Hz on the mel scale, of which there are 65 up to 7500 Hz."""
    mel = [1127 * math.log1p(f / 700) for f in (125, 7500, hertz)]
    place = 65 * (mel[2] - mel[0]) / (mel[1] - mel[0]) - 1
    (piece,) = pieces(tone(hertz, 1, rate), rate)
    assert abs(float(piece.mean(0).argmax()) - place) <= 0.75
    (own,) = pieces(tone(hertz, 1, 16_000), 16_000)
    loud = (own > 0)[4:-4]  # a hundredth of full scale and more, away from both ends
    torch.testing.assert_close(piece[4:-4][loud], own[4:-4][loud], atol=0.1, rtol=0)


def test_bands_share_what_lies_between_their_tips() -> None:
    weights, frequencies = bank(), torch.linspace(0, 8000, 257)
    inside = (frequencies > 200) & (frequencies < 7000)
    torch.testing.assert_close(weights.sum(1)[inside], torch.ones(int(inside.sum())))
    assert (weights.sum(1)[(frequencies < 125) | (frequencies > 7500)] == 0).all()


def test_safe_weights_are_taken_as_they_are_and_others_refused(tmp_path: Path) -> None:
    network = stand_in(Ear, tmp_path, "ear")
    kept, given = tmp_path / network.file, tmp_path / "ear.safetensors"
    assert kept.read_bytes() == given.read_bytes()
    with pytest.raises(MaquetteError) as refused:
        convert(VGGISH, given, tmp_path / "out.safetensors")
    assert refused.value.code == "MQ-7020" and not (tmp_path / "out.safetensors").exists()


# -- distances --------------------------------------------------------------------------------------------------------

SETS = [("fad", "VGGISH", Ear, notes, SOUND), ("frame_fid", "INCEPTION", Eye, films, FILMS)]


@pytest.mark.parametrize(("name", "attribute", "build", "data", "config"), SETS, ids=["sound", "films"])
def test_noise_is_farther_than_real_samples_and_real_ones_are_beside(
    name: str, attribute: str, build: Any, data: Any, config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    medium, items = config.build(), data().train.items
    reference = object.__new__(Reference)  # as much of it as is looked at
    vars(reference).update(medium=medium, device=CPU, items=data().test.items[:100], other=items[:100])
    network = stand_in(build, tmp_path, "net")
    monkeypatch.setattr(standard, attribute, network)
    monkeypatch.setenv(network.variable, str(tmp_path / "nowhere"))
    assert not [*standard.scores(reference, items[100:200], STAMP)], "weights that are not there"
    monkeypatch.setenv(network.variable, str(tmp_path / network.file))
    noise = np.random.default_rng(0).integers(0, 255, (100, *medium.stored)).astype(medium.dtype)
    (good,), (bad,) = ([*standard.scores(reference, made, STAMP)] for made in (items[100:200], noise))
    assert (good.name, good.stamp.extractor, len(good.stamp.weights)) == (name, "net", 64)
    assert good.floor is not None and good.value < 3 * good.floor < bad.value / 5
    assert ("0.96 s" if name == "fad" else "8 frames of each film") in good.stamp.resize
