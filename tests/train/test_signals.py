"""A signal asks training to stop: it saves at the step's end and leaves with the signal's exit code."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from maquette.train.run import Run
from maquette.train.signals import listening

ROOT = Path(__file__).parents[2]
PROGRAMME = """
import sys
from tests.train.tiny import ring
from maquette.train.session import start
start(ring(budget="100000steps", checkpoint_every=1.0, sample_every=1.0, validate_every=1.0), sys.argv[1])
"""


def test_sigterm_saves_and_stops(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", PROGRAMME, tmp_path / "run"]
    with subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.PIPE) as process:
        while not (tmp_path / "run/metrics.jsonl").exists() and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, said.decode()
    run = Run.open(tmp_path / "run")
    checkpoint = run.newest(lambda warning: pytest.fail(str(warning)))
    assert checkpoint is not None and 0 < checkpoint.step < 100_000
    assert run.metrics()[-1]["step"] == checkpoint.step
    assert f"maquette resume {tmp_path / 'run'}" in said.decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_only_asks(number: int) -> None:
    before = signal.getsignal(number)
    with listening() as signals:
        assert not signals.asked
        os.kill(os.getpid(), number)
        assert signals.asked
        with pytest.raises(SystemExit) as left:
            signals.leave()
    assert left.value.code == 128 + number
    assert signal.getsignal(number) is before


def test_the_second_stops_at_once() -> None:
    code = (
        "import os, signal\nfrom maquette.train.signals import listening\n"
        "with listening():\n    os.kill(os.getpid(), signal.SIGINT)\n    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still here')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (130, "")


def test_an_ignored_signal_stays_ignored() -> None:
    """nohup ignores SIGHUP so that training outlives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with listening() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not signals.asked
    finally:
        signal.signal(signal.SIGHUP, before)
