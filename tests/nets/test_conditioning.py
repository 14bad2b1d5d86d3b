"""What is given becomes what a network receives: pictures a grid of the samples' sides; words and labels, or none."""

import pytest
import torch

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Given, Real
from maquette.nets.conditioning import ImageEmbedder, untold


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


def test_a_tenth_of_rows_is_told_neither_label_nor_caption() -> None:
    given = Given(label=torch.zeros(4000, dtype=torch.int64), text=torch.ones(4000, 3, dtype=torch.int64))
    rest = untold(given, 0.1, Seeds.for_samples(0, 4000))
    assert rest.label is not None and rest.text is not None
    gone = rest.label < 0
    assert torch.equal(gone, (rest.text == 0).all(1)) and torch.equal(rest.text[~gone], given.text[~gone])  # type: ignore[index]
    assert gone.float().mean().item() == pytest.approx(0.1, abs=0.015)
    assert untold(given, 0.1, None) is given  # while drawing
    alone = Given(label=given.label)
    assert untold(alone, 0.1, Seeds.for_samples(0, 4000)) is alone  # its embedder withholds it
