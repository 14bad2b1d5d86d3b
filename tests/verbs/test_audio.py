"""Sound through the command line: a folder is looked over, models of two codecs learn from it, files come out."""

import io
import json
import shutil
import wave
from pathlib import Path

import numpy as np
import pytest

from maquette.cli.main import main
from maquette.media import audio
from maquette.media.marks import read_mark
from maquette.pipeline import load
from maquette.request import Request
from maquette.train.run import Run
from maquette.verbs.train import train
from tests.media.sounds import RATE, coded, raw_wav, tone

UNET = {"kind": "unet", "width": 8, "stages": [1, 2], "blocks": [1, 1], "attention": 4, "head": 8}
MODELS = {
    "mel": {"kind": "diffusion", "net": UNET, "steps": 2},
    "mulaw": {"kind": "gpt", "net": {"kind": "transformer", "width": 16, "depth": 1, "heads": 2}},
}
SAMPLES = {"mel": 1024, "mulaw": 64}


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two labels of four files each, one more of another rate and kind, and two that are no sound."""
    folder = tmp_path_factory.mktemp("sounds")
    for label, hertz in (("low", 220), ("high", 880)):
        (folder / label).mkdir()
        for i in range(4):
            (folder / label / f"{i}.wav").write_bytes(raw_wav(tone(hertz + 10 * i, 0.2).tobytes()))
    (folder / "low/other.flac").write_bytes(coded(tone(300, 0.1, 16_000, 2), "flac", "flac", 16_000))
    (folder / "low/words.mp3").write_bytes(b"these are words\n" * 9)
    (folder / "high/many.wav").write_bytes(raw_wav(bytes(6400), channels=32))
    return folder


def learnt(codec: str, sounds: Path, folder: Path) -> Run:
    recipe = {
        "data": {
            "source": str(sounds),
            "conditional": True,
            "max_bad": 0.5,
            "augment": {"gain": 6, "shift": 0.1, "polarity": 0.5, "noise": 0.01},
        },
        "medium": {"kind": "audio", "samples": SAMPLES[codec]},
        "codec": codec,
        "model": MODELS[codec],
        "train": {"budget": "2steps", "batch": 4, "samples": 4, "sample_every": 1, "validate_every": 1},
    }
    (folder / "recipe.yaml").write_text(f"# Tiny sounds.\n# Seconds.\n{json.dumps(recipe)}\n")
    return train(str(folder / "recipe.yaml"), out=folder / "run", quiet=True)


@pytest.fixture(scope="session", params=MODELS)
def run(request: pytest.FixtureRequest, sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return learnt(request.param, sounds, tmp_path_factory.mktemp(request.param))


SMALL = ["medium.samples=1024", "data.max_bad=0.5", "train.batch=4", "train.samples=2", "train.sample_every=1"]
WAVES = {
    "wavegan": ["model.generator.width=8", "model.critic.width=8"],
    "wave-flow": ["model.net.width=8", "model.net.head=8", "model.steps=2"],
    "mel-vae": ["codec=null", "model.encoder={kind: convnet, width: 8, step: 4}", "model.decoder.width=8"],
}
"""Recipes without a codec, one of them because it was told so, and what makes them small."""


@pytest.mark.parametrize("name", WAVES)
def test_waveforms_are_learnt_as_they_are(name: str, sounds: Path, tmp_path: Path) -> None:
    words = [
        "--data",
        str(sounds),
        "--budget",
        "2steps",
        "--out",
        str(tmp_path / "run"),
        "--quiet",
        *SMALL,
        *WAVES[name],
    ]
    assert main(["train", name, *words, "data.conditional=true", "train.validate_every=1"]) == 0
    pipeline = load(tmp_path / "run", "cpu")
    assert pipeline.model.space == pipeline.medium.space == audio.Config(samples=1024).build().space
    assert main(["sample", str(tmp_path / "run"), "-n", "2", "--label", "low", "--out", str(tmp_path / "made")]) == 0
    made = [pipeline.medium.read(path) for path in sorted((tmp_path / "made").glob("*.wav"))]
    assert len(made) == 2 and (made[0] != made[1]).any()


def test_a_folder_of_sound_is_looked_over(sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(sounds), "medium.samples=1024"]) == 3
    said = capsys.readouterr().out
    for line in (
        "9 of 11 files can be read",
        "in 2 classes (high 4, low 5)",
        "sizes: 0.1 to 0.2, median 0.2 s",
        "high/many.wav: it has 32 channels, at most 8 are read",
        "low/words.mp3: it is text, not sound",
        "resampled from 16,000 to 8,000 samples per second:\n  low/other.flac",
    ):
        assert line in said


def test_a_run_leaves_what_can_be_heard_beside_its_sheet(run: Run) -> None:
    assert (run.samples / "step-00000002.png").exists()
    with wave.open(str(run.samples / "step-00000002.wav")) as file:
        assert file.getframerate() == RATE and file.getnframes() > 3 * RATE // 4


def test_what_is_drawn_after_a_checkpoint_is_forgotten_with_its_sound(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "copy")
    again = Run.open(tmp_path / "copy")
    again.rewind(1)
    assert not list(again.samples.glob("step-*")) and list(run.samples.glob("step-*"))


def test_samples_are_files_that_carry_their_mark(run: Run, tmp_path: Path) -> None:
    codec = run.path.parent.name.rstrip("0123456789")
    length = SAMPLES[codec]
    assert main(["sample", str(run.path), "-n", "3", "--seed", "5", "--label", "low", "--out", str(tmp_path)]) == 0
    paths = sorted(tmp_path.glob("*.wav"))
    assert [path.name for path in paths] == ["000005.wav", "000006.wav", "000007.wav"]
    medium = audio.Config(samples=length).build()
    for path in paths:
        mark = read_mark(path.read_bytes())
        assert mark is not None and mark["ProduceID"].endswith(f"-{int(path.stem)}")
        assert medium.read(path).shape == (length, 1)
    # what was written is what was made, whatever it was made beside
    alone = load(run.path).generate(Request(n=1, seed=6, label=1))[0].astype(int)
    assert np.abs(medium.read(paths[1]).astype(int) - alone).max() <= 40


def test_an_audible_label_stands_before_the_sound(run: Run, tmp_path: Path) -> None:
    command = ["sample", str(run.path), "-n", "1", "--out", str(tmp_path), "--visible", "AI"]
    assert main(command) == 0
    (path,) = tmp_path.glob("*.wav")
    with wave.open(io.BytesIO(path.read_bytes())) as file:
        assert file.getnframes() > RATE // 2
