"""Music through real commands: learn the embedded tunes, go on from one, harmonise one, hear it, score it."""

import io
import json
import wave
from pathlib import Path

import mido
import numpy as np
import pytest
from PIL import Image as pillow

from maquette.cli.main import main
from maquette.core.errors import MaquetteError
from maquette.data.source import open_data
from maquette.data.tunes import TUNES, arranged
from maquette.media import marks, midi
from maquette.media.notes import HELD, sounding, transposed
from maquette.pipeline import load
from maquette.request import Request
from maquette.verbs.data import check_data
from maquette.verbs.recipes import read
from maquette.verbs.sample import sample
from maquette.verbs.train import train

RECIPE = """\
# A tiny model of tunes.
# Seconds on 2 cores.
data: {source: SOURCE, augment: {transpose: 2}}
medium: {kind: music, per_quarter: 1, steps: 24}
model: MODEL
train: {budget: 4steps, batch: 4, samples: 2, sample_every: 1, validate_every: 1, checkpoint_every: 1}
"""
MODELS = {
    "in order": "{kind: lstm, width: 16}",
    "in any order": "{kind: mdlm, net: {kind: transformer, width: 16, depth: 1, heads: 2}, steps: 8}",
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("music")
    table = folder / "tunes.jsonl"
    pieces = [transposed(arranged(name), key) for name in TUNES for key in range(-3, 3)]
    table.write_text("".join(json.dumps({"notes": sounding(piece).tolist()}) + "\n" for piece in pieces))
    made = {}
    for name, model in MODELS.items():
        recipe = folder / f"{name}.yaml"
        recipe.write_text(RECIPE.replace("MODEL", model).replace("SOURCE", str(table)))
        made[name] = train(str(recipe), out=folder / name, quiet=True).path
    return made


@pytest.fixture
def tune(tmp_path: Path) -> Path:
    """A melody of six quarters, with a note that is struck again and one that lasts."""
    path = tmp_path / "tune.mid"
    file = mido.MidiFile(ticks_per_beat=96)
    track = file.add_track("any name")
    for pitch, length in ((67, 96), (67, 96), (69, 96), (71, 192), (67, 96)):
        track += [mido.Message("note_on", note=pitch), mido.Message("note_off", note=pitch, time=length)]
    file.save(path)
    return path


MELODY = [67, 67, 69, 71, 71 + HELD, 67]


@pytest.mark.parametrize("name", MODELS)
def test_a_given_soprano_is_kept_and_the_others_are_made(name: str, runs: dict[str, Path], tune: Path) -> None:
    made = sample(runs[name], n=3, voice={"soprano": tune})
    medium = load(runs[name]).medium
    for item in made.items:
        piece = medium.sung(item)  # type: ignore[attr-defined]
        assert piece[:, 0].tolist() == MELODY
        assert len(piece) == 6
    assert not np.array_equal(made.items[0], made.items[1])
    assert np.array_equal(sample(runs[name], n=1, seed=1, voice=[f"soprano={tune}"]).items[0], made.items[1])


def test_a_folder_of_files_is_data(tmp_path: Path) -> None:
    data = tmp_path / "songs"
    data.mkdir()
    for number in range(12):
        piece = np.full((8, 4), 60 + number, np.int16)
        (data / f"{number}.mid").write_bytes(midi.write(piece, 4, 90.0))
    (data / "broken.mid").write_bytes(b"MThd")
    recipe = tmp_path / "songs.yaml"
    recipe.write_text(RECIPE.replace("MODEL", MODELS["in order"]).replace("SOURCE", str(data)))
    dataset = open_data(read(str(recipe), ["data.max_bad=0.1"]).data, read(str(recipe)).medium.build())
    assert len(dataset.train) + len(dataset.test) == 12
    assert dataset.bad == [("broken.mid", "it is cut off")]
    assert check_data(data).readable == 12, "by what the files are"


@pytest.mark.parametrize("name", MODELS)
def test_a_beginning_is_gone_on_from(name: str, runs: dict[str, Path], tune: Path) -> None:
    items = sample(runs[name], n=2, opening=tune, quarters=4).items
    assert items[:, 1:5, 0].tolist() == [MELODY[:4]] * 2
    assert (items[:, 1:5, 1:] == -1).all(), "the melody alone was given"


def test_what_is_made_can_be_moved_heard_and_read(runs: dict[str, Path], tune: Path, tmp_path: Path,
                                                  capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    command = ["sample", str(runs["in order"]), "-n", "2", "--voice", f"soprano={tune}", "--transpose", "-3"]
    assert main([*command, "--out", str(tmp_path / "out"), "--clip", str(tmp_path / "all.wav"), "--visible", "AI"]) == 0
    paths = capsys.readouterr().out.split()
    assert [Path(path).name for path in paths] == ["000000.mid", "000001.mid", "all.wav"]
    data = Path(paths[0]).read_bytes()
    piece = midi.read(data, "x", 4)
    assert sounding(piece)[-24::4, 0].tolist() == [note % HELD - 3 for note in MELODY], "after the audible label"
    assert (midi.read_mark(data) or {})["Label"] == "1"
    assert mido.MidiFile(file=io.BytesIO(data)).tracks[0].name == "AI"
    sound = Path(paths[2]).read_bytes()
    assert (marks.read_mark(sound) or {})["Label"] == "1"
    with wave.open(io.BytesIO(sound)) as file:
        assert file.getnframes() / file.getframerate() > 2 * 6 * 60 / 90


def test_a_sheet_is_a_piano_roll(runs: dict[str, Path], tmp_path: Path) -> None:
    sample(runs["in order"], n=3, grid=tmp_path / "sheet.png", visible="AI")
    with pillow.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 100


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"voice": ["sopran=tune.mid"]}, "MQ-2002"),
        ({"voice": ["soprano"]}, "MQ-2002"),
        ({"voice": {"alto": "nowhere.mid"}}, "MQ-3001"),
        ({"opening": "nowhere.mid"}, "MQ-3001"),
        ({"opening": "TUNE", "quarters": 0}, "MQ-2002"),
        ({"opening": "TUNE", "voice": ["soprano=TUNE"]}, "MQ-2105"),
        ({"quarters": 4}, "MQ-2105"),
        ({"transpose": 99}, "MQ-2002"),
        ({"clip": "all.mp3"}, "MQ-2002"),
        ({"prompt": "la la"}, "MQ-2104"),
    ],
)
def test_mistakes_are_told(wrong: dict, code: str, runs: dict[str, Path], tune: Path) -> None:
    asked = json.loads(json.dumps(wrong).replace("TUNE", str(tune)))
    with pytest.raises(MaquetteError) as refused:
        sample(runs["in order"], tune.parent / "out", n=1, **asked)
    assert refused.value.code == code and not (tune.parent / "out").exists()


def test_a_medium_without_voices_says_so(run, tune: Path) -> None:
    for asked in ({"opening": tune}, {"voice": [f"soprano={tune}"]}, {"transpose": 2}, {"clip": "x.wav"}):
        with pytest.raises(MaquetteError, match="MQ-2104"):
            sample(run.path, n=1, **asked)


def test_a_report_has_the_scores_of_music(runs: dict[str, Path]) -> None:
    assert main(["evaluate", str(runs["in order"]), "-n", "50", "--quiet"]) == 0
    report = json.loads((runs["in order"] / "report.json").read_text())
    found = {score["name"]: score for score in report["scores"]}
    assert {"crossings", "out_of_range", "interval_divergence", "copied_steps", "note_accuracy"} <= found.keys()
    assert found["parallels"]["floor"] < 1, "the tunes keep the rules"
    nats, bits = found["step_nats"], found["likelihood"]
    assert nats["value"] == pytest.approx(bits["value"] * np.log(2)) and bits["unit"] == "bits per step"
    harmony = found["harmony_accuracy"]
    assert 0 <= harmony["value"] < harmony["baselines"]["likeliest chord by soprano"]["value"]


def test_nats_per_step_are_those_of_every_step_and_end_once(runs: dict[str, Path]) -> None:
    """By hand: log softmax of the model at every token, over whole pieces."""
    from maquette.core.seeds import Seeds
    from maquette.core.types import Batch, Given, Likelihood

    pipeline = load(runs["in order"])
    items = pipeline.generate(Request(n=4))
    x = pipeline.encoded(items)
    predict = pipeline.model.predictor(pipeline.model.condition(Given(), 4))
    nats = np.zeros(4)
    for at in range(1, x.shape[1]):
        paid = (x[:, at] != 0) | (x[:, at - 1] != 0)
        nats -= (predict(x, at).log_softmax(1).gather(1, x[:, at, None])[:, 0] * paid).detach().numpy()
    assert isinstance(pipeline.model, Likelihood)
    own = pipeline.model.nll(Batch(x, Given(), Seeds.for_samples(0, 4)))
    np.testing.assert_allclose(own.detach().numpy(), nats, rtol=1e-4)
