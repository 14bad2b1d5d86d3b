"""The notebooks of docs/notebooks: plain programs in cells, which run from beginning to end."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.commands import ROOT

FOLDER = ROOT / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.py"))
QUICK = {"08-judging.py"}
"""What the default suite runs."""
SMALL = [(r'^BUDGET = ".*"', 'BUDGET = "2steps"'), (r"^STEPS = \d+", "STEPS = 2"), (r"\bn=(\d\d+)", "n=60")]
COSTS = [pytest.param(one, marks=() if one.name in QUICK else pytest.mark.slow, id=one.name) for one in NOTEBOOKS]


@pytest.mark.parametrize("notebook", COSTS)
def test_it_runs(notebook: Path, tmp_path: Path) -> None:
    """As `python NOTEBOOK` does, with a tiny budget; whatever is last of a cell need not be shown."""
    program = notebook.read_text(encoding="utf-8")
    for pattern, small in SMALL:
        program = re.sub(pattern, small, program, flags=re.MULTILINE)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout, done.stderr


def test_every_chapter_that_teaches_has_one() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| \[([^\]]+)\]", text, re.MULTILINE) == [one.name for one in NOTEBOOKS]
    chapters = set(re.findall(r"\.\./guide/(\w+)\.md", text))
    taught = {"start", "idea", "gan", "vae", "autoregressive", "diffusion", "attention", "judging", "wrong"}
    assert chapters == taught


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda one: one.name)
def test_it_is_cells(notebook: Path) -> None:
    """A title in a cell of words, then code; each cell of code begins with its mark."""
    cells = re.split(r"^# %%", notebook.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert cells[0] == "" and cells[1].startswith(" [markdown]\n# # ")
    assert any(not cell.startswith(" [markdown]") for cell in cells[1:])
    assert all(
        line.startswith("#") for cell in cells if cell.startswith(" [m") for line in cell.split("\n")[1:] if line
    )
