"""A run that is killed and resumed ends in the very bits of one that never was."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def killed(*arguments: str) -> str:
    """What the programme says; in a process of its own, because it forks."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    print(done.stdout, done.stderr[-2000:])
    assert done.returncode == 0
    return re.sub(r" \(\d+ s\)", "", done.stdout)


def test_six_kills() -> None:
    assert "identical: 6 of 6" in killed("--kills", "3", "--only", "gan", "vae", "--seed", "1")


@pytest.mark.crash
@pytest.mark.timeout(3600)
def test_fifty_kills_in_each_family() -> None:
    assert "identical: 350 of 350" in killed()


@pytest.mark.crash
def test_searches_and_pipelines() -> None:
    done = subprocess.run([sys.executable, "-m", "tests.crash.searching"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "tune: 8 kills, identical" in done.stdout and "pipeline: 6 kills, identical" in done.stdout


@pytest.mark.crash
@pytest.mark.timeout(3600)
def test_a_kill_at_every_storage_call() -> None:
    said = killed("--every-call", "--only", "diffusion")
    total = re.search(r"identical: (\d+) of (\d+)", said)
    assert total and total[1] == total[2] and int(total[1]) > 100
