"""The learning-rate range test."""

import xml.etree.ElementTree as xml
from pathlib import Path

import pytest

from maquette.train.lr_find import HIGH, LOW, Sweep, find_rates, sweep
from tests.train import tiny


def test_the_suggestion_is_a_tenth_of_the_best() -> None:
    assert Sweep([1e-3, 1e-2, 1e-1], [3.0, 1.0, 2.0]).suggestion == pytest.approx(1e-3)


@pytest.mark.parametrize("player", ["left", "right"])
def test_a_sweep_rises_until_the_loss_bursts(player: str) -> None:
    learner = tiny.learner(budget="1000steps", optimizers={"right": {"name": "sgd", "betas": [0.9, 0.0]}})
    found = sweep(learner, player, steps=40)
    assert found.rates[0] == LOW and found.rates[-1] <= HIGH * 1.0001 and len(found.rates) == len(found.losses)
    factor = found.rates[1] / found.rates[0]
    assert all(b / a == pytest.approx(factor) for a, b in zip(found.rates, found.rates[1:], strict=False))
    assert 1e-5 < found.suggestion < 0.5


def test_every_player_has_its_curve(tmp_path: Path) -> None:
    found = find_rates(tiny.ring(), steps=30, picture=tmp_path / "rates.svg")
    assert found.keys() == {"model"} and found["model"].suggestion < 0.5
    texts = [e.text or "" for e in xml.parse(tmp_path / "rates.svg").iter()]
    assert any(text.startswith("model: ") for text in texts) and "1e-06" in texts


def test_a_rate_that_is_far_too_high_ends_it() -> None:
    learner = tiny.learner(budget="1000steps", optimizers={"right": {"name": "sgd", "betas": [0.99, 0.0]}})
    assert len(sweep(learner, "right", steps=300).rates) < 300
