"""The commands of pages as tests run them: in order, in a folder with a reader's files, with tiny budgets and sizes."""

import re
import shlex
from pathlib import Path

import numpy as np
from PIL import Image

from maquette.verbs.recipes import recipes
from tests.media.films import waves, written

ROOT = Path(__file__).parents[2]
SMALL = [
    (r"--budget \S+", "--budget 2steps"),
    (r"-n \d+", "-n 4"),
    (r"--trials \d+ --time \S+", "--trials 2 --budget 2steps"),
    (r"--max-tokens \d+", "--max-tokens 8"),
    (r"medium\.size=\d+", "medium.size=16"),
]
TINY = {
    "image": "medium.size=16 train.batch=8 train.samples=4 train.sample_every=1 train.validate_every=1",
    "video": "medium.size=16 train.batch=4 train.samples=4 train.sample_every=1 train.validate_every=1",
    "text": "medium.length=32 train.batch=8 train.samples=2 train.sample_every=1 train.validate_every=1",
}
"""By the folder that a recipe lies in; points are small as they are."""
SCORED = "-n 50"


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language; those of code that are excerpts of a file are not among them."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def outputs(page: Path) -> list[tuple[str, str]]:
    """Each Python block that a block of what it prints follows, and that."""
    pair = r"^```python\n(.*?)^```\n\n```text\n(.*?)^```"
    return re.findall(pair, page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[str]:
    """The shell lines of a page, without their comments."""
    lines = (line for block in blocks(page, "sh") for line in block.splitlines())
    return [line.partition("#")[0].strip() for line in lines if line.strip()]


def shortened(command: str) -> list[str]:
    """The command's words after `maquette`, small enough for a test."""
    verb = command.split()[1]
    for pattern, small in SMALL:
        command = re.sub(pattern, small, command)
    if verb in ("train", "compare", "tune"):
        kinds = {recipe.name.rpartition("/")[2]: recipe.name.partition("/")[0] for recipe in recipes()}
        named = {kinds[word] for word in command.split()[2:] if word in kinds}
        told = command.split()
        smaller = [word for kind in named for word in TINY.get(kind, "").split()]
        command += "".join(
            f" {word}" for word in smaller if not any(t.startswith(word.partition("=")[0]) for t in told)
        )
        command += "" if "--budget" in command else " --budget 2steps"
    if verb in ("evaluate", "compare", "tune"):
        command = re.sub(r" -n \d+", "", command) + f" {SCORED}"
    return shlex.split(command)[1:]


def reader(folder: Path) -> Path:
    """What a reader has: `photos/`, two classes of coloured noise; `notes/`, a few texts; `clips/`, a few films."""
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
