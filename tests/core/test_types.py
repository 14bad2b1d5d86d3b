"""The nouns that cross packages."""

import pytest
import torch

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Condition, Given, Real, Sampling, Tokens


def test_spaces_say_what_they_are() -> None:
    assert str(Real((1, 8, 8), levels=256)) == "Real(1, 8, 8) with 256 levels" and str(Real((2,))) == "Real(2,)"
    assert str(Tokens((6,), vocab=5)) == "Tokens(6,) of 5"
    assert Real((2,)) == Real((2,)) != Real((2,), levels=2)


def test_a_batch_in_parts_is_the_batch() -> None:
    given = Given(label=torch.arange(6), image=torch.randn(6, 1, 2, 2))
    batch = Batch(torch.randn(6, 3), given, Seeds.for_batch(0, 0, 6))
    parts = list(batch.split(3))
    assert [len(p) for p in parts] == [2, 2, 2]
    assert torch.equal(torch.cat([p.x for p in parts]), batch.x)
    assert torch.equal(torch.cat([p.given.label for p in parts]), given.label)  # type: ignore[misc]
    assert torch.equal(torch.cat([p.given.image for p in parts]), given.image)  # type: ignore[misc]
    assert torch.equal(torch.cat([p.rng.normal(2) for p in parts]), Seeds.for_batch(0, 0, 6).normal(2))


def test_what_is_absent_stays_absent() -> None:
    assert Given().rows(slice(0, 2)) == Given() and Given().to("cpu").label is None
    condition = Condition(vector=torch.ones(3, 2)).rows(slice(1, 3)).to("cpu")
    assert condition.vector is not None and len(condition.vector) == 2 and condition.grid is None


@pytest.mark.parametrize("field", [{"steps": -1}, {"temperature": 0.0}, {"temperature": 1e9}, {"eta": 1.5}])
def test_sampling_refuses_what_no_draw_can_use(field: dict) -> None:
    with pytest.raises(MaquetteError, match=f"MQ-2002.*{next(iter(field))}"):
        Sampling(**field)
