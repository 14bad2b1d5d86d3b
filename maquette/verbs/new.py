"""A folder for a project of one's own: data, recipe, scripts, and places for what comes of them."""

from pathlib import Path

from maquette.core import files
from maquette.core.errors import MaquetteError
from maquette.verbs.recipes import find

ABOUT = """# {name}

    data/       your samples: pictures (or sounds, films, texts) in folders; a folder's name is its samples' label
    recipe.yaml what is learnt, and how
    models/     runs, with their checkpoints and bundles
    outputs/    what was made
    scripts/    train.sh trains, samples and writes a report

    sh scripts/train.sh

`maquette show recipe.yaml` says what every setting means; `maquette data check data/` what is wrong with the samples.
"""
SCRIPT = """#!/bin/sh
# Train, draw a sheet of samples, write a report. Everything is beside this folder; run it from anywhere.
set -eu
cd "$(dirname "$0")/.."
maquette data check data/ --recipe recipe.yaml || [ $? = 3 ]  # 3: there are findings; training passes over few of them
maquette train recipe.yaml --data data/ --out "models/$(date +%Y%m%d-%H%M%S)" "$@"
run=$(ls -d models/*/ | tail -n 1)
maquette sample "$run" -n 64 --grid "outputs/$(basename "$run").png"
maquette evaluate "$run"
"""
IGNORED = "data/\nmodels/\noutputs/\n"


def new(folder: Path | str, recipe: str = "dcgan") -> Path:
    """Make the project's folder, whole or not at all.

    Args:
        recipe: the one to begin from; its file is copied, to be changed.

    Raises:
        MaquetteError: MQ-5005 when there is something there already, MQ-2006 no such recipe.
    """
    folder = Path(folder)
    if folder.exists():
        raise MaquetteError("MQ-5005", str(folder))
    source = find(recipe).read_bytes()
    aside = folder.with_name(f".{folder.name}.new")
    if aside.exists():  # what a killed one left
        files.remove_folder(aside)
    for name in ("data", "models", "outputs", "scripts"):
        files.make_folder(aside / name)
    files.write_file(aside / "recipe.yaml", source)
    files.write_file(aside / "README.md", ABOUT.format(name=folder.name).encode())
    files.write_file(aside / ".gitignore", IGNORED.encode())
    files.write_file(aside / "scripts" / "train.sh", SCRIPT.encode())
    files.move_file(aside, folder)
    return folder
