"""What is given with a sample becomes a grid of the sample's own sides."""

import pytest
import torch

from maquette.core.errors import MaquetteError
from maquette.core.types import Given, Real
from maquette.nets.conditioning import ImageEmbedder


@pytest.mark.parametrize(
    ("given", "sides"), [((2, 4), (16,)), ((2, 4, 4), (8, 12)), ((2, 2, 4, 4), (4, 8, 8)), ((2, 8), (8,))], ids=str
)
def test_a_grid_has_the_sides_of_the_samples(given: tuple[int, ...], sides: tuple[int, ...]) -> None:
    embed = ImageEmbedder(Real(given), Real((1, *sides)))
    flat = embed(Given(image=torch.full((3, *given), 0.3)), 3)
    assert flat is not None and torch.allclose(flat, torch.full((3, 2, *sides), 0.3), atol=1e-6)
    nothing = embed(Given(), 3)
    assert nothing is not None and nothing.shape == (3, 2, *sides) and not nothing.any()
    x = torch.randn(3, *given)
    found = embed(Given(image=x), 3)
    assert found is not None and (given[1:] != sides or torch.equal(found, x))


def test_without_a_picture_there_is_no_grid() -> None:
    assert ImageEmbedder(None, Real((1, 16)))(Given(), 3) is None


@pytest.mark.parametrize(("given", "space"), [((1, 8, 8), (1, 64)), ((1, 8, 8), (1, 4, 8, 8)), ((1, 8), (2,))], ids=str)
def test_what_has_other_axes_is_refused(given: tuple[int, ...], space: tuple[int, ...]) -> None:
    with pytest.raises(MaquetteError, match="MQ-2009.*data.given.*other axes"):
        ImageEmbedder(Real(given), Real(space))
