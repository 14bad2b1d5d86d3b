"""What the two commands install: every dependency pinned, nothing local in the pins, no foreign torchvision."""

import importlib.util
import re
import tomllib
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", name)[0]).lower()


def test_every_dependency_is_pinned() -> None:
    extras = [name for names in PROJECT["optional-dependencies"].values() for name in names]
    pinned = {plain(line) for line in PINS}
    assert [name for name in PROJECT["dependencies"] + extras if plain(name) not in pinned] == []


def test_pins_are_plain_versions() -> None:
    """No build of one machine, no path, no address: the same file serves a CPU and a GPU."""
    assert [line for line in PINS if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*==[0-9][0-9a-z.]*", line)] == []
    assert "torch==2.13.0" in PINS


def test_torchvision_does_not_break_the_libraries_that_look_for_it() -> None:
    """Beside a CPU build of torch the torchvision of the registry fails at import, and others with it."""
    assert importlib.util.find_spec("torchvision") is None or torch.version.cuda, "uninstall torchvision here"


def test_continuous_integration_runs_the_tests() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text()
