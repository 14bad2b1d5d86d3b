"""A server that is killed loses no job, completes none twice, and its training ends in the bits of one left alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def killed(*arguments: str) -> str:
    """What the programme says, in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.crash.serving", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr[-2000:])
    assert done.returncode == 0
    return done.stdout


def test_training_goes_on_to_the_same_bits_after_a_kill() -> None:
    assert "other weights: 0" in killed("--kills", "1", "--jobs", "1", "--steps", "300", "--workers", "1")


@pytest.mark.crash
@pytest.mark.timeout(7200)
def test_fifty_kills_of_a_server_that_trains() -> None:
    assert "lost: 0, made twice: 0, not completed once: 0, other weights: 0" in killed("--jobs", "12")


@pytest.mark.crash
@pytest.mark.timeout(7200)
def test_kills_of_the_whole_server_under_a_client() -> None:
    assert "lost: 0, made twice: 0" in killed("--http", "--kills", "10", "--jobs", "8")


@pytest.mark.crash
@pytest.mark.timeout(3600)
def test_a_hundred_kills_with_light_workers() -> None:
    assert "lost: 0, made twice: 0" in killed("--fake", "--kills", "100", "--jobs", "100")
