"""Sound and films mended through the command line: gaps, higher rates, frames; reports and comparisons of it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maquette.cli.main import main
from maquette.core.colour import LUMA, luma
from maquette.core.errors import MaquetteError
from maquette.evaluate import domain
from maquette.media import audio, film, video, wav
from maquette.pipeline import load
from maquette.train.run import Run
from maquette.verbs.compare import compare
from maquette.verbs.evaluate import evaluate
from maquette.verbs.sample import sample
from maquette.verbs.train import train

RATE, LENGTH = 4000, 512
MEDIUM = audio.Config(rate=RATE, samples=LENGTH)
NET = {"kind": "mlp", "width": 8, "depth": 1}


@pytest.fixture(scope="module", autouse=True)
def short(tmp_path_factory: pytest.TempPathFactory):
    patch = pytest.MonkeyPatch()
    patch.setattr(domain, "PASSES", 256)
    patch.setenv("MAQUETTE_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """180 tones, 60 of them to be tested on."""
    folder, draw = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0)
    for i in range(180):
        turn = 2 * np.pi * draw.uniform(100, 400) * np.arange(LENGTH) / RATE
        x = (16000 * np.sin(turn + draw.uniform(0, 7))).astype(np.int16)[:, None]
        path = folder / ("test" if i % 3 == 0 else "train") / f"{i:03}.wav"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(wav.write(x, RATE))
    return folder


def recipe(sounds: Path, folder: Path, name: str, given: dict | None, batch: int = 8) -> str:
    tree = {
        "data": {"source": str(sounds)} | ({"given": given} if given else {}),
        "medium": {"kind": "audio", "rate": RATE, "samples": LENGTH},
        "model": {"kind": "diffusion", "net": NET, "steps": 2},
        "train": {"budget": "2steps", "samples": 2, "validate_every": 1, "sample_every": 1, "batch": batch},
    }
    path = folder / f"{name}.yaml"
    path.write_text(f"# Sounds made whole.\n# Seconds.\n{json.dumps(tree)}\n")
    return str(path)


@pytest.fixture(scope="module")
def filler(sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("filler")
    return train(
        recipe(sounds, folder, "fill", {"kind": "gap", "share": [0.1, 0.2], "rate": RATE}),
        out=folder / "run",
        quiet=True,
    )


def test_a_gap_in_seconds_is_filled_and_the_rest_stays(filler: Run, sounds: Path, tmp_path: Path) -> None:
    path = min((sounds / "test").iterdir())
    words = ["sample", str(filler.path), "--image", str(path), "--out", str(tmp_path)]
    assert main([*words, "--gap", "0.05:0.075"]) == 0
    medium = MEDIUM.build()
    whole, made = (medium.read(p).astype(int) for p in (path, min(tmp_path.iterdir())))
    apart = np.flatnonzero((whole != made).any(1))
    assert apart.min() >= 200 and apart.max() < 300 and len(apart) > 90
    assert main([*words, "--derive", "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("gap", "code"), [("0.2:0.3", "MQ-2002"), ("0.1:0.05", "MQ-2002"), ("a:b", "MQ-2002"), ("0.1", "MQ-2002")]
)
def test_a_gap_that_is_none_is_named(filler: Run, sounds: Path, gap: str, code: str) -> None:
    path = min((sounds / "test").iterdir())
    with pytest.raises(MaquetteError) as refused:
        sample(filler.path, image=path, gap=gap)
    assert refused.value.code == code


def test_where_it_is_to_be_made_must_be_said_once(filler: Run, sounds: Path) -> None:
    path = min((sounds / "test").iterdir())
    for wrong, code in (
        ({}, "MQ-2105"),
        ({"mask": path}, "MQ-2104"),
        ({"mask": np.ones(3), "gap": ":"}, "MQ-2105"),
        ({"mask": np.ones((3, 3))}, "MQ-2106"),
    ):
        with pytest.raises(MaquetteError) as refused:
            sample(filler.path, image=path, **wrong)
        assert refused.value.code == code, wrong


def test_a_model_of_whole_sounds_fills_gaps_and_raises_rates_too(sounds: Path, tmp_path: Path) -> None:
    run = train(recipe(sounds, tmp_path, "plain", None), out=tmp_path / "run", quiet=True)
    path = min((sounds / "test").iterdir())
    made = sample(run.path, image=path, gap=(0.1, None), n=2).items
    whole = MEDIUM.build().read(path)
    assert all(np.array_equal(item[:400], whole[:400]) for item in made) and (made[0][400:] != whole[400:]).any()
    low = MEDIUM.smaller(2).build()
    low_path = tmp_path / "low.wav"
    low_path.write_bytes(wav.write(low.read(path), low.rate))
    x = MEDIUM.build().to_tensor(sample(run.path, image=low_path, factor=2, n=1).items)
    kept = torch.fft.rfft(x)[..., :120] / 2 - torch.fft.rfft(low.to_tensor(low.read(path)[None]))[..., :120]
    assert kept.abs().max() < 1, "what the lower rate holds, up to 60, is kept but for 16 bits and clipping"
    with pytest.raises(MaquetteError, match="MQ-2103"):
        sample(run.path, image=low_path, factor=5, n=1)


def test_a_lower_rate_is_brought_at_its_own(sounds: Path, tmp_path: Path) -> None:
    run = train(recipe(sounds, tmp_path, "raise", {"kind": "shrink", "factor": 2}), out=tmp_path / "run", quiet=True)
    (path, other) = sorted((sounds / "test").iterdir())[:2]
    made = sample(run.path, image=[path, other]).items
    assert made.shape == (2, LENGTH, 1)
    pipeline = load(run.path)
    assert pipeline.model.beside.image is not None and pipeline.model.beside.image.shape == (1, LENGTH)
    assert sample(run.path, image=path, derive=True).items.shape == (1, LENGTH, 1)


def take(folder: Path, samples: int, rate: int = RATE) -> Path:
    """A sound of so many samples."""
    x = (9000 * np.sin(0.3 * np.arange(samples)) * np.hanning(samples)).astype(np.int16)[:, None]
    path = folder / f"{samples}.wav"
    path.write_bytes(wav.write(x, rate))
    return path


@pytest.fixture(scope="module")
def quiet(sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("quiet")
    return train(recipe(sounds, folder, "quiet", {"kind": "noise", "level": 0.05}), out=folder / "run", quiet=True)


def test_a_longer_file_is_answered_part_by_part(quiet: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long, short = take(tmp_path, 2 * LENGTH + 100), take(tmp_path, LENGTH)
    words = ["sample", str(quiet.path), "--image", str(long), "--image", str(short), "--out", str(tmp_path / "made")]
    assert main([*words, "--visible", "AI"]) == 0 and "warning" not in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0
    paths = sorted((tmp_path / "made").glob("*.wav"))
    assert [path.stem for path in paths] == ["000000", "000003"]  # the seed of the first part
    read = [audio.Config(rate=RATE, samples=3 * LENGTH).build().stretch(path) for path in paths]
    assert [length for _, length in read] == [2 * LENGTH + 100, LENGTH]
    whole = MEDIUM.build().stretch(long)[0]
    alone = sample(quiet.path, image=list(whole)).items
    assert np.array_equal(read[0][0][0, : 2 * LENGTH + 100], np.concatenate(alone)[: 2 * LENGTH + 100])
    made = sample(quiet.path, image=[long, short], n=3, out=tmp_path / "again")
    assert len(made.items) == 7 and [path.stem for path in made.paths] == ["000000", "000003", "000004"]
    with pytest.raises(MaquetteError, match="MQ-2002"):
        sample(quiet.path, image=long, n=0.5)


def test_what_is_at_a_lower_rate_becomes_as_long_as_it_lasts(sounds: Path, tmp_path: Path) -> None:
    run = train(recipe(sounds, tmp_path, "raise", {"kind": "shrink", "factor": 2}), out=tmp_path / "run", quiet=True)
    low = take(tmp_path, 700, RATE // 2)
    (path,) = sample(run.path, image=low, out=tmp_path / "made").paths
    assert audio.Config(rate=RATE, samples=16).build().stretch(path)[1] == 1400


def test_what_is_left_out_of_a_longer_file_is_told(
    filler: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = take(tmp_path, 3 * RATE)
    assert main(["sample", str(filler.path), "--image", str(long), "--gap", "0.05:0.06", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "warning[MQ-3020]" in said.err and "first 0.128 s" in said.err and "last 2.87 s" in said.err
    assert said.out.splitlines() == [str(tmp_path / "000000.wav")]


def test_repaired_sound_is_compared(sounds: Path, tmp_path: Path) -> None:
    given = {"kind": "gap", "share": [0.1, 0.2], "rate": RATE}
    both = [recipe(sounds, tmp_path, "slow", given), recipe(sounds, tmp_path, "fast", given, 16)]
    shown = compare(both, out=tmp_path / "comparison", n=60, quiet=True)
    assert "SNR" in shown.table and "linear interpolation" in shown.table
    page = (tmp_path / "comparison" / "report.html").read_text()
    for words in ("Answer SNR", "autoregressive interpolation", "自回归插值"):
        assert words in page
    assert page.count("<audio controls") >= 4
    assert any("held-out sounds" in note for note in shown.reports[0].notes)


# -- films ------------------------------------------------------------------------------------------------------------

FRAMES = video.Config(size=8, frames=6, rate=4)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 films of a square that wanders."""
    folder = tmp_path_factory.mktemp("films")
    for i in range(12):
        x = np.full((6, 8, 8, 1), 40, np.uint8)
        for t in range(6):
            x[t, i % 5 : i % 5 + 3, t % 5 : t % 5 + 3] = 220
        (folder / f"{i:02}.mp4").write_bytes(film.write(x, 4))
    return folder


def filmed(films: Path, folder: Path, given: dict | None) -> Run:
    tree = {
        "data": {"source": str(films)} | ({"given": given} if given else {}),
        "medium": FRAMES.to_tree() | {"kind": "video"},
        "model": {"kind": "diffusion", "net": NET, "steps": 2},
        "train": {"budget": "2steps", "samples": 2, "validate_every": 1, "sample_every": 1, "batch": 4},
    }
    (folder / "films.yaml").write_text(f"# Films made whole.\n# Seconds.\n{json.dumps(tree)}\n")
    return train(str(folder / "films.yaml"), out=folder / "run", quiet=True)


def test_a_film_begins_from_a_still(films: Path, tmp_path: Path) -> None:
    run = filmed(films, tmp_path, {"kind": "gap", "place": "still"})
    still = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    (tmp_path / "stills").mkdir()
    Image.fromarray(still).save(tmp_path / "stills/a.png")
    for image in (tmp_path / "stills/a.png", tmp_path / "stills"):
        (made,) = sample(run.path, image=image).items
        assert np.array_equal(made[0, :, :, 0], still) and (made[1:] != made[:1]).any()
    (whole,) = sample(run.path, image=films / "03.mp4", derive=True).items
    assert np.array_equal(whole[0], FRAMES.build().read(films / "03.mp4")[0])


def test_every_other_frame_is_made(films: Path, tmp_path: Path) -> None:
    run = filmed(films, tmp_path, {"kind": "gap", "place": "between"})
    (made,), whole = sample(run.path, image=films / "03.mp4").items, FRAMES.build().read(films / "03.mp4")
    assert np.array_equal(made[::2], whole[::2]) and all((made[i] != whole[i]).any() for i in (1, 3, 5))
    x = np.random.default_rng(0).integers(0, 256, (15, 8, 8, 1), dtype=np.uint8)
    (tmp_path / "long.mp4").write_bytes(film.write(x, 4))
    (path,) = sample(run.path, image=tmp_path / "long.mp4", out=tmp_path / "made").paths
    (items, length), (known, _) = (FRAMES.build().stretch(p) for p in (path, tmp_path / "long.mp4"))
    assert length == 15 and np.abs(items[:2, ::2].astype(int) - known[:2, ::2]).max() < 16  # but for H.264


def test_a_hole_of_a_film_is_told_by_a_picture_and_a_gap_by_seconds(films: Path, tmp_path: Path) -> None:
    whole = FRAMES.build().read(films / "03.mp4")
    hole = np.zeros((8, 8), np.uint8)
    hole[:, :3] = 255
    Image.fromarray(hole).save(tmp_path / "hole.png")
    for given in ({"kind": "mask"}, None):
        folder = tmp_path / str(given is None)
        folder.mkdir()
        run = filmed(films, folder, given)
        (made,) = sample(run.path, image=films / "03.mp4", mask=tmp_path / "hole.png", n=1).items
        assert np.array_equal(made[:, :, 3:], whole[:, :, 3:]) and (made[:, :, :3] != whole[:, :, :3]).any()
    (made,) = sample(run.path, image=films / "03.mp4", gap="0.5:1", n=1).items
    assert np.array_equal(np.delete(made, [2, 3], 0), np.delete(whole, [2, 3], 0))
    assert (made[2:4] != whole[2:4]).any()


def test_films_get_their_colours_back(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Squares whose brightness tells their colour, by a model that learnt it and by one of whole films."""
    given = {"given": {"kind": "grey"}}
    for i in range(100):
        x = np.full((6, 8, 8, 3), 16 + i % 25, np.uint8)
        top = i // 2 % 4
        x[:, top : top + 4, :4] = (200, 40, 40) if i // 8 % 2 else (120, 200, 255)
        path = tmp_path / "films" / ("test" if i % 2 else "train") / f"{i:02}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(film.write(x, 4))
    medium = replace(FRAMES, channels=3)
    runs: dict[str, Run] = {}
    for name, data, model, steps in (
        ("learnt", given, {"kind": "mmse", "net": NET | {"width": 64}}, 150),
        ("plain", {}, {"kind": "diffusion", "net": NET, "steps": 2}, 2),
    ):
        tree = {
            "data": {"source": str(tmp_path / "films")} | data,
            "medium": medium.to_tree() | {"kind": "video"},
            "model": model,
            "train": {"budget": f"{steps}steps", "samples": 2, "batch": 16, "optimizers": {"model": {"lr": 3e-3}}},
        }
        (tmp_path / f"{name}.yaml").write_text(f"# Films coloured.\n# Seconds.\n{json.dumps(tree)}\n")
        runs[name] = train(str(tmp_path / f"{name}.yaml"), out=tmp_path / name, quiet=True)
    path, film_of = tmp_path / "films" / "test" / "05.mp4", medium.build().read
    whole = film_of(path).astype(float)
    grey = tmp_path / "grey.mp4"
    grey.write_bytes(film.write(luma(torch.from_numpy(whole).movedim(3, 1)).movedim(1, 3).byte().numpy(), 4))
    capsys.readouterr()
    assert main(["sample", str(runs["learnt"].path), "--image", str(grey), "--out", str(tmp_path / "made")]) == 0
    made = film_of(Path(capsys.readouterr().out.strip()))
    assert np.abs(made - whole).mean() < 0.8 * np.abs(film_of(grey) - whole).mean(), "not left grey"
    (bound,) = sample(runs["plain"].path, image=path, colour=True, n=1).items
    tone = np.array(LUMA)
    assert np.abs(bound @ tone - whole @ tone).max() < 2 and np.abs(bound - whole).max() > 8
    shown = evaluate(runs["learnt"].path, n=50, out=tmp_path / "report", quiet=True, device="cpu")
    psnr = shown.reports[0].score("answer_psnr")
    assert psnr is not None and psnr.value > psnr.baselines["left grey"].value + 1
