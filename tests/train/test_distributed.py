"""Two processes train one model: equal weights on both, and the losses of one process with the same global batch."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from maquette.core.errors import MaquetteError
from maquette.train.distributed import Ranks, average_gradients
from maquette.train.learner import Learner
from maquette.train.run import Run
from tests.train import tiny

ROOT = Path(__file__).parents[2]


def run_ranks(folder: Path, world: int) -> list[dict[str, Any]]:
    """What each of `world` processes came to."""
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": f"{world}", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.train.two_ranks", folder],
            cwd=ROOT,
            env=os.environ | common | {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    for process in processes:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world)]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]], dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    return folder, run_ranks(folder / "two", 2), run_ranks(folder / "one", 1)[0]


@pytest.mark.parametrize("family", ["gan", "vae"])
def test_both_ranks_hold_the_same_weights(outcomes: Any, family: str) -> None:
    _, (first, second), _ = outcomes
    assert (first[family]["rank"], second[family]["rank"]) == (0, 1)
    assert first[family]["digest"] == second[family]["digest"]


@pytest.mark.parametrize("family", ["gan", "vae"])
def test_losses_are_those_of_one_process(outcomes: Any, family: str) -> None:
    _, (first, _), one = outcomes
    for together, alone in zip(first[family]["losses"], one[family]["losses"], strict=True):
        assert together == pytest.approx(alone, rel=1e-4, abs=1e-4)


def test_rank_0_alone_writes_a_run_that_resumes(outcomes: Any) -> None:
    folder, _, _ = outcomes
    run = Run.open(folder / "two/run")
    assert run.checkpoints()[0].name == "step-00000015"
    steps = [line["step"] for line in run.metrics() if "validation" not in line]
    assert steps == sorted(set(steps))
    assert run.facts["identity"]["processes"] == 2


def test_a_batch_that_ranks_cannot_share_is_refused() -> None:
    with pytest.raises(MaquetteError, match="MQ-2002.*train.batch"):
        Learner(tiny.recipe(batch=15), tiny.dataset(), tiny.MEDIUM.build(), Ranks(0, 2), torch.device("cpu"))


def test_one_process_needs_no_group() -> None:
    ranks, layer = Ranks(), nn.Linear(2, 2)
    layer(torch.ones(1, 2)).sum().backward()
    average_gradients(layer.parameters(), ranks)
    assert layer.bias.grad is not None and layer.bias.grad.tolist() == [1.0, 1.0]
    assert ranks.largest(1.0, 2.0) == [1.0, 2.0] and ranks.main
    ranks.barrier()
