"""Randomness as a function of (seed, stream, step, sample): whatever the batch, the order or the number of shares."""

import pytest
import torch
from torch import Tensor

from maquette.core import seeds
from maquette.core.seeds import Between, Seeds, mix


def draws(rng: Seeds) -> list[Tensor]:
    """One of each kind, and the first kind again."""
    return [rng.normal(3), rng.uniform(2, 2), rng.integers(10, 4), rng.normal(3)]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_sample_depends_on_its_seed_and_nothing_else() -> None:
    eight = draws(Seeds.for_samples(100, 8))
    assert same([d[5:6] for d in eight], draws(Seeds.for_samples(105, 1)))
    assert same([d[2:4] for d in eight], draws(Seeds.for_samples(100, 2, first=2)))
    assert same([d[3:7] for d in eight], draws(Seeds.for_samples(100, 8).rows(3, 4)))
    assert same([d[[6, 0, 6]] for d in eight], draws(Seeds.for_seeds([106, 100, 106])))
    assert all(len(d) == 0 for d in draws(Seeds.for_samples(0, 0)))


def test_shares_of_a_batch_draw_what_the_whole_draws() -> None:
    whole = draws(Seeds.for_batch(1, 7, 8))
    for start in 0, 4:
        part = [d[start : start + 4] for d in whole]
        assert same(part, draws(Seeds.for_batch(1, 7, 8).rows(start, 4))), "accumulation"
        assert same(part, draws(Seeds.for_batch(1, 7, 4, first=start, total=8))), "ranks"
        assert same(part, draws(Seeds.for_batch(1, 7, 8).rows(start, 4).rows(0, 4)))
    within = Seeds.for_batch(1, 7, 4, first=4, total=8).rows(2, 2)
    assert same([d[6:8] for d in whole], draws(within)), "shares of a rank's rows"


def test_a_source_begins_anew_when_it_is_cut_or_forked() -> None:
    rng = Seeds.for_batch(0, 0, 4)
    first = draws(rng)
    assert not torch.equal(first[0], first[3]), "two draws of one source differ"
    assert same(first, draws(rng.rows(0, 4))) and same(draws(rng.fork(1)), draws(rng.fork(1)))


def test_streams_steps_seeds_forks_and_rows_differ() -> None:
    sources = [
        Seeds.for_batch(0, 0, 4),
        Seeds.for_batch(1, 0, 4),
        Seeds.for_batch(0, 1, 4),
        Seeds.for_batch(0, 0, 4).fork(0),
        Seeds.for_batch(0, 0, 4).fork(1),
        Seeds.for_batch(0, 0, 4).fork(0).fork(0),
        *(Seeds.for_batch(0, 0, 4, stream=s) for s in (seeds.VALIDATE, seeds.DATA, seeds.AUGMENT, seeds.BUILD)),
        Seeds.for_samples(0, 4),
        Seeds.for_samples(0, 4).fork(0),
    ]
    rows = torch.cat([s.normal(6) for s in sources])
    assert len(rows.unique(dim=0)) == 4 * len(sources)
    assert len({mix(a, b) for a in range(40) for b in range(40)} | {mix(a) for a in range(40)}) == 40 * 40 + 40
    assert all(0 <= mix(-1, 2**80, k) < 2**63 for k in range(100))


def test_distributions_are_what_they_say() -> None:
    for rng in Seeds.for_batch(0, 0, 400), Seeds.for_samples(0, 400):
        z, u, k = rng.normal(100), rng.uniform(100), rng.integers(5, 100)
        assert abs(z.mean()) < 0.02 and abs(z.std() - 1) < 0.02 and z.dtype == torch.float32
        assert u.min() >= 0 and u.max() < 1 and abs(u.mean() - 0.5) < 0.01 and abs(u.var() - 1 / 12) < 0.003
        assert k.dtype == torch.int64 and set(k.unique().tolist()) == set(range(5))
        assert torch.allclose(torch.bincount(k.flatten()) / k.numel(), torch.full((5,), 0.2), atol=0.01)
        assert abs(torch.corrcoef(torch.stack([z[:, 0], z[:, 1]]))[0, 1]) < 0.15


def test_strata_fill_the_interval_whatever_the_shares() -> None:
    whole = Seeds.for_batch(3, 0, 8).strata()
    assert torch.equal((whole * 8).floor().sort().values, torch.arange(8.0)) and not whole.equal(whole.sort().values)
    parts = [Seeds.for_batch(3, 0, 4, first, 8).strata() for first in (0, 4)]
    assert torch.equal(torch.cat(parts), whole)


def test_strata_end_below_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """7 + (1 - 2^-24) is 8 in single precision."""
    monkeypatch.setattr(torch, "rand", lambda size, generator: torch.full(size, 1 - 2**-24))
    drawn = Seeds.for_batch(3, 0, 8).strata()
    assert drawn.max() == 1 - 2**-24 and len(drawn.unique()) == 8


def test_between_two_seeds_lies_a_circle() -> None:
    n = 20_000
    left, right, share = Seeds.for_batch(0, 0, n), Seeds.for_batch(1, 0, n), torch.full((n,), 0.3)
    between = Between(left, right, share)
    z = between.normal(2)
    assert abs(z.std() - 1) < 0.02, "standard normal all the way"
    assert torch.equal(Between(left.rows(0, n), right, share * 0).normal(2), left.rows(0, n).normal(2))
    u = between.uniform(2)
    assert u.min() >= 0 and u.max() < 1 and abs(u.mean() - 0.5) < 0.01 and abs(u.var() - 1 / 12) < 0.003
    assert len(between) == n and set(between.integers(3).unique().tolist()) == {0, 1, 2}
    again = Between(left.rows(0, n), right.rows(0, n), share)
    assert torch.equal(again.rows(5, 3).fork(1).normal(2), again.fork(1).normal(2)[5:8])
