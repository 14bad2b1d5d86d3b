"""The commands of README.md do what they say: each is run in order, with its budget and numbers made small."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maquette.cli.main import main
from tests.docs.test_pages import ROOT, commands
from tests.media.films import waves, written

SMALL = [
    (r"--budget \S+", "--budget 2steps"),
    (r"-n \d+", "-n 4"),
    (r"--trials \d+ --time \S+", "--trials 2 --budget 2steps"),
    (r"medium\.size=\d+", "medium.size=16"),
]
TINY = "medium.size=16 train.batch=8 train.samples=4"
WORDS = "medium.length=32 train.batch=8 train.samples=2"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`photos/`, two classes of coloured noise, enough to score; `notes/`, a few texts; `clips/`, a few films."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "notes").mkdir()
    for number in range(20):
        (folder / "notes" / f"{number}.txt").write_text(f"Once upon a time there was number {number}.\n" * 9)
    (folder / "clips").mkdir()
    for number in range(12):
        (folder / "clips" / f"{number}.mp4").write_bytes(written(np.roll(waves(), number, 1)))
    rng = np.random.default_rng(0)
    for number in range(120):
        kind = ("dark", "light")[number % 2]
        (folder / "photos" / kind).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 128, (20, 20, 3)) + 127 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "photos" / kind / f"{number}.png")
    return folder


def shortened(command: str) -> list[str]:
    """The command's words after `maquette`, small enough for a test."""
    for pattern, small in SMALL:
        command = re.sub(pattern, small, command)
    verb = command.split()[1]
    if verb in ("train", "compare", "tune"):
        small = WORDS if "-char" in command else TINY
        command += f" {small}" if "medium.size" not in command else " train.batch=8 train.samples=4"
    if verb in ("evaluate", "compare", "tune"):
        command += " -n 50"
    return shlex.split(command)[1:]


def of_maquette(page: str) -> list[str]:
    return [line for line in commands(ROOT / page) if line.startswith("maquette ")]


def test_the_commands_of_the_readme_work(place: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(place)
    for command in of_maquette("README.md"):
        if command.startswith(
            "maquette serve "
        ):  # goes on until it is told to stop; tests/server/test_guide.py starts it
            continue
        assert main(shortened(command)) == 0, f"{command}\n{capsys.readouterr().err}"
    for made in (
        "runs/photos/recipe.json",
        "sheet.png",
        "runs/photos/report.html",
        "comparison/report.html",
        "tuning/dcgan-tuned.yaml",
    ):
        assert (place / made).stat().st_size > 0


def test_the_python_of_the_readme_works(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(block.replace("2000steps", "2steps"), names)
    assert isinstance(names["items"], np.ndarray) and len(names["items"]) == 4
