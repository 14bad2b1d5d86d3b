"""Sound value by value through the pipeline: from a beginning, by labels and spectrograms, in 256 steps and 16 bits."""

from pathlib import Path

import numpy as np
import pytest
import torch

from maquette.bundle import Coding, save_bundle
from maquette.cli.main import main
from maquette.codecs.mulaw import MuLaw
from maquette.core.errors import MaquetteError
from maquette.core.types import Tokens
from maquette.crafts import mel
from maquette.data.along import Along
from maquette.media import audio, wav
from maquette.models import vae, wavenet
from maquette.models.base import ModelConfig
from maquette.nets import dilated, mlp
from maquette.pipeline import Pipeline, Request, load
from maquette.verbs.sample import sample

MEDIUM = audio.Config(rate=1000, samples=64)
TINY = wavenet.Config(net=dilated.Config.tiny(), mixtures=2)


def saved(
    folder: Path, coding: str = "", along: Along = Along(), classes: tuple[str, ...] = (), config: ModelConfig = TINY
) -> Path:
    """A bundle of an untrained model, its weights stirred."""
    torch.manual_seed(0)
    medium = MEDIUM.build()
    space = MuLaw(medium.space).space if coding else medium.space
    model = config.fitted(space, len(classes), along.beside(medium.space))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    weights, between = model.state_dict(), Coding(coding)
    save_bundle(folder, MEDIUM, config, list(classes), weights, {"name": "tiny"}, coding=between, along=along)
    return folder


@pytest.fixture(params=["", "mulaw"], ids=["16 bits", "mulaw"])
def pipeline(request: pytest.FixtureRequest, tmp_path: Path) -> Pipeline:
    return load(saved(tmp_path / "bundle", request.param, classes=("a", "b")), "cpu")


def test_a_sound_is_gone_on_from(pipeline: Pipeline) -> None:
    """What it begins with is kept, to the bit or as the law rounds it, and what follows depends on it."""
    free = pipeline.generate(Request(n=2, seed=3, label=0))
    assert free.shape == (2, 64, 1) and free.dtype == np.int16 and len(np.unique(free)) > 8
    opening = free[:, :20].copy()
    again = pipeline.generate(Request(n=2, seed=3, label=0, opening=opening))
    assert (again == free).all()
    other = pipeline.generate(Request(n=2, seed=3, label=0, opening=opening[::-1]))
    assert (other[:, :20] == opening[::-1]).all() and (other[:, 20:] != free[:, 20:]).any()
    first = pipeline.generate(Request(n=3, seed=3, label=0, opening=opening[:1]))
    assert (first[:, :20] == opening[0]).all()


def test_a_sample_belongs_to_its_seed_and_its_label(pipeline: Pipeline) -> None:
    both = pipeline.generate(Request(n=2, seed=5, label=1))
    assert (pipeline.generate(Request(n=1, seed=6, label=1))[0] == both[1]).all()
    assert (pipeline.generate(Request(n=2, seed=5, label=0)) != both).any()
    assert (pipeline.generate(Request(n=2, seed=5, label=1, guidance=3.0)) != both).any()


def test_a_file_is_gone_on_from(pipeline: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun = (9000 * np.sin(0.4 * np.arange(64))).astype(np.int16)[:, None]
    (tmp_path / "take.wav").write_bytes(wav.write(begun[:20], 1000))
    (tmp_path / "long.wav").write_bytes(wav.write(begun, 1000))
    words = [
        "sample",
        str(tmp_path / "bundle"),
        "-n",
        "2",
        "--seed",
        "3",
        "--label",
        "a",
        "--out",
        str(tmp_path / "made"),
    ]
    assert main([*words, "--opening", str(tmp_path / "take.wav")]) == 0
    wanted = pipeline.generate(Request(n=2, seed=3, label=0, opening=begun[None, :20]))
    for number, path in enumerate(sorted((tmp_path / "made").glob("*.wav"))):
        assert np.array_equal(pipeline.medium.read(path), wanted[number])
    assert main([*words, "--opening", str(tmp_path / "long.wav")]) == 2
    assert "a sound shorter than the 0.064 s that are made" in capsys.readouterr().err
    if isinstance(pipeline.model.space, Tokens):  # what comes after some time is a gap too
        made = sample(pipeline, n=2, seed=3, label=0, image=tmp_path / "long.wav", gap="0.02:").items
        assert np.array_equal(made, wanted)


@pytest.mark.parametrize("shape", [(1, 65, 1), (1, 10, 2), (0, 10, 1), (1, 0, 1)])
def test_a_beginning_that_is_none_is_refused(pipeline: Pipeline, shape: tuple[int, ...]) -> None:
    with pytest.raises(MaquetteError, match="opening") as refused:
        pipeline.generate(Request(opening=np.zeros(shape, np.int16)))
    assert refused.value.code == "MQ-2106"


def test_who_makes_all_at_once_goes_on_from_nothing(tmp_path: Path) -> None:
    flat = mlp.Config.tiny()
    config = vae.Config(encoder=flat, decoder=flat, latent=4)
    with pytest.raises(MaquetteError, match="go on from a beginning") as refused:
        load(saved(tmp_path / "vae", config=config), "cpu").generate(Request(opening=np.zeros((1, 8, 1), np.int16)))
    assert refused.value.code == "MQ-2104"


@pytest.mark.parametrize("coding", ["", "mulaw"])
def test_a_spectrogram_becomes_sound(coding: str, tmp_path: Path) -> None:
    """The given one counts; none is refused."""
    along = Along(craft=mel.Config(rate=1000))
    pipeline = load(saved(tmp_path / "bundle", coding, along), "cpu")
    shape = along.beside(MEDIUM.build().space).image.shape  # type: ignore[union-attr]
    quiet, loud = -np.ones((1, *shape), np.float32), np.ones((1, *shape), np.float32)
    one, other = (pipeline.generate(Request(n=2, given=image)) for image in (quiet, loud))
    assert one.shape == (2, 64, 1) and (one != other).any()
    with pytest.raises(MaquetteError, match="MQ-2137"):
        pipeline.generate(Request())
