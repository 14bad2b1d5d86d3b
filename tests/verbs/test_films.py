"""A model of films from a folder to files, through the commands that a person types."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import maquette
from maquette.cli.main import main
from maquette.media.marks import read_mark
from maquette.train.run import Run
from maquette.verbs.sample import sample
from tests.media.films import numbered, waves, written

RECIPE = """\
# A tiny model of films.
# Seconds on 2 cores.
data:
  source: {folder}
  conditional: true
  augment: {{flip: 0.5}}
medium:
  kind: video
  size: 16
  frames: 4
  rate: 8
  windows: 2
model:
  kind: diffusion
  net: {{kind: dit, patch: 2, width: 16, depth: 1, heads: 2}}
  steps: 3
train:
  budget: 3steps
  batch: 4
  samples: 3
"""


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for number in range(12):
        path = folder / ("waves", "greys")[number % 2] / f"{number}.mp4"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(written(np.roll((waves, numbered)[number % 2](9, 16, 16), number, 1)))
    return folder


@pytest.fixture(scope="module")
def run(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("films") / "tiny.yaml"
    path.write_text(RECIPE.format(folder=clips))
    return maquette.train(str(path), out=path.parent / "run", quiet=True)


def test_samples_are_films_with_marks_and_the_items_that_python_gives(run: Run, tmp_path: Path, capsys) -> None:
    out, grid = tmp_path / "made", tmp_path / "sheet.png"
    words = ["sample", str(run.path), "-n", "3", "--seed", "7", "--label", "waves", "--out", str(out)]
    assert main([*words, "--grid", str(grid)]) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert paths == [*(out / f"00000{seed}.mp4" for seed in (7, 8, 9)), grid]
    pipeline = maquette.load(run.path)
    items = maquette.sample(pipeline, n=3, seed=7, label="waves").items
    assert items.shape == (3, 4, 16, 16, 1) and items.dtype == np.uint8
    for seed, path, item in zip((7, 8, 9), paths, items, strict=False):
        mark = read_mark(path.read_bytes())
        assert mark is not None and mark["ProduceID"] == f"{pipeline.digest[:16]}-{seed}"
        assert abs(pipeline.medium.from_bytes(path.read_bytes(), "made").astype(int)[:4] - item).max() <= 3
    assert read_mark(grid.read_bytes()) is not None
    before = paths[1].read_bytes()
    assert main([*words[:3], "1", "--seed", "8", *words[6:]]) == 0 and paths[1].read_bytes() == before


def test_a_run_keeps_sheets_of_its_samples(run: Run) -> None:
    (sheet,) = sorted((run.path / "samples").glob("*.png"))[-1:]
    with Image.open(sheet) as page:
        assert page.size == (64 + 8 + 4 * 50 - 2, 4 + 3 * 52)


def test_words_are_written_onto_every_frame(run: Run, tmp_path: Path) -> None:
    plain, noted = (sample(run.path, out=tmp_path / text, n=1, visible=text).paths[0] for text in ("", "AI"))
    medium = maquette.load(run.path).medium
    changed = abs(medium.read(plain).astype(int) - medium.read(noted)).max((1, 2, 3))
    assert (changed > 30).all()


def test_a_film_may_be_begun_from_and_its_first_window_counts(run: Run, clips: Path) -> None:
    pipeline = maquette.load(run.path)
    film = clips / "waves" / "0.mp4"
    assert len(pipeline.medium.read(film)) == 8  # two windows
    begun = sample(pipeline, n=2, image=film, sampling={"strength": 0.001}).items
    assert abs(begun.astype(int) - pipeline.medium.read(film)[:4]).mean() < 6
    hidden = np.zeros((1, 4, 1, 1), bool)
    hidden[:, 2:] = True  # the last two frames are to be made
    ended = sample(pipeline, n=2, image=film, mask=hidden).items
    assert np.array_equal(ended[:, :2], np.stack([pipeline.medium.read(film)[:2]] * 2))
    assert not np.array_equal(ended[0, 2:], ended[1, 2:])


def test_what_is_no_film_is_told(run: Run, tmp_path: Path, capsys) -> None:
    (tmp_path / "words.mp4").write_text("no film")
    assert main(["sample", str(run.path), "--image", str(tmp_path / "words.mp4"), "--strength", "0.5"]) == 3
    assert "it is text, not a film" in capsys.readouterr().err
    assert main(["train", "dcgan", "--data", "moving-digits", "--out", str(tmp_path / "x")]) != 0
    assert "films" in capsys.readouterr().err


def test_who_waits_is_told_how_many_frames_a_second(run: Run, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("maquette.pipeline.BATCH", {"cpu": 2})
    monkeypatch.setattr("maquette.core.waiting.SPEAK_EVERY", 0.0)
    words = ["sample", str(run.path), "-n", "4", "--out", str(tmp_path / "made")]
    assert main(words) == 0
    said = capsys.readouterr()
    assert re.fullmatch(r"drawing 2 of 4  \S+ samples/s  \S+ frames/s  0:\d\d left\n", said.err), said.err
    assert len(said.out.splitlines()) == 4
    assert main([*words, "--quiet"]) == 0 and capsys.readouterr().err == ""


def test_training_tells_of_frames_too(clips: Path, tmp_path: Path, capsys) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE.format(folder=clips).replace("3steps", "1steps"))
    assert main(["train", str(recipe), "--out", str(tmp_path / "run")]) == 0
    assert re.search(r"100%.*samples/s  \S+ frames/s  0:00 left", capsys.readouterr().err)
