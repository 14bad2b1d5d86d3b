"""Few-shot episodes: what is drawn, and what features that know nothing, everything or a little come to."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from maquette.evaluate import episodes
from maquette.evaluate.episodes import ASKED, Episode
from maquette.evaluate.report import Stamp
from maquette.models import diffusion, vae
from maquette.nets import mlp
from tests.evaluate.made import SMALL, digits, pipeline

LABELS = np.repeat(np.arange(-1, 12), 40)
"""Twelve labels, and forty items without one."""


def test_an_episode_is_a_function_of_its_seed_and_number() -> None:
    def rows(number: int, seed: int) -> list[int]:
        return np.concatenate([part.ravel() for part in episodes.episode(LABELS, number, seed, 5, 2)]).tolist()

    assert rows(3, 0) == rows(3, 0)
    assert len({tuple(rows(number, seed)) for number in range(20) for seed in (0, 1)}) == 40


def test_an_episode_shows_and_asks_different_items_of_its_labels() -> None:
    often = np.zeros(12)
    for number in range(600):
        shown, asked = episodes.episode(LABELS, number, 0, 5, 3)
        assert shown.shape == (5, 3) and asked.shape == (5, ASKED)
        assert len(np.unique(np.concatenate([shown, asked], 1))) == 5 * (3 + ASKED)
        labels = LABELS[shown[:, 0]]
        assert (LABELS[shown] == labels[:, None]).all() and (LABELS[asked] == labels[:, None]).all()
        assert len(set(labels.tolist())) == 5 and -1 not in labels
        often[labels] += 1
    assert abs(often - 250).max() < 4 * np.sqrt(600 * 5 / 12 * 7 / 12), "each label as often as any other"


def test_labels_with_too_few_items_are_not_drawn() -> None:
    labels = np.repeat([0, 1, 2], [ASKED + 5, ASKED + 4, 100])
    assert episodes.drawable(labels, 5).tolist() == [0, 2] and episodes.drawable(labels, 1).tolist() == [0, 1, 2]


def test_features_that_know_nothing_are_right_by_chance() -> None:
    """One in five: as many of the items that are asked are of each label, so that answers are binomial at most."""
    rng, found, n = np.random.default_rng(0), [], 200
    for number in range(n):
        features = rng.normal(size=(len(LABELS), 8))
        found.append(episodes.right(features, episodes.episode(LABELS, number, 0, 5, 1)))
    assert abs(np.mean(found) - 0.2) < 3 * np.sqrt(0.2 * 0.8 / (n * 5 * ASKED))
    blind = episodes.accuracy(np.ones((len(LABELS), 3)), LABELS, 0, 5, 5)
    assert blind.value == pytest.approx(0.2, abs=1e-12), "who sees no difference says one label of all"


def test_features_that_tell_labels_apart_are_always_right() -> None:
    features = 100 * np.eye(13)[LABELS + 1] + np.random.default_rng(0).normal(size=(len(LABELS), 13))
    assert episodes.accuracy(features, LABELS, 0, 5, 1).value == 1


def test_two_gaussians_are_told_apart_as_often_as_they_can_be() -> None:
    """Two labels d apart in one dimension, spread 1, k shown of each: an asked item x is nearer to the mean of its own
    when (x - (a + b) / 2) (a - b) > 0, where a and b are the means of k."""
    rng, d, k = np.random.default_rng(0), 2.0, 5
    labels = np.repeat([0, 1], 4000)
    features = (rng.normal(size=8000) + d * labels)[:, None]
    found = episodes.accuracy(features, labels, 0, 2, k)
    middle, apart = np.sqrt(1 + 1 / (2 * k)), np.sqrt(2 / k)  # of x - (a + b) / 2, and of a - b: independent
    p, q = norm.cdf(d / 2 / middle), norm.cdf(d / apart)
    assert found.low is not None and found.high is not None
    assert found.low - 0.005 < p * q + (1 - p) * (1 - q) < found.high + 0.005


def test_the_mean_of_what_was_shown_is_the_prototype() -> None:
    """By hand: means 1 and 6; of what is asked 3 lies nearer to 1, and 4 and 5 to 6."""
    features = np.array([[0.0], [2.0], [5.0], [7.0], [3.0], [4.0], [5.0], [6.0]])
    assert episodes.right(features, Episode(np.array([[0, 1], [2, 3]]), np.array([[4, 5], [6, 7]]))) == 0.75


STAMP = Stamp(extractor="none", weights="", resize="none", data="", split="test", real=0, made=0, seed=0, software={})
NET = mlp.Config(width=64, depth=1)


def test_codes_stand_beside_chance_and_the_values_themselves() -> None:
    """Even an untrained encoder keeps something of real digits, and less than there was."""
    coder = pipeline(SMALL, vae.Config(latent=4, encoder=NET, decoder=NET))
    found = {score.name: score for score in episodes.scores(coder, digits(), STAMP)}
    assert set(found) == {"few_shot_1", "few_shot_5"}
    for score in found.values():
        assert score.baselines["chance"].value == 0.2
        assert 0.25 < score.value < score.baselines["values themselves"].value < 1
        assert score.stamp.real == len(digits().test)
    assert found["few_shot_5"].value > found["few_shot_1"].value
    assert [*episodes.scores(coder, digits(), STAMP)] == [*found.values()]


def test_who_sees_nothing_and_data_without_labels_have_none() -> None:
    drawer = pipeline(SMALL, diffusion.Config(net=NET))
    assert [*episodes.scores(drawer, digits(), STAMP)] == []
    coder, test = pipeline(SMALL, vae.Config(latent=4, encoder=NET, decoder=NET)), digits().test
    nameless = replace(digits(), test=replace(test, labels=np.full(len(test), -1)))
    assert [*episodes.scores(coder, nameless, STAMP)] == []
