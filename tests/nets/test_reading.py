"""Captions read: what counts, what is withheld, and that padding changes nothing."""

import torch

from maquette.core.seeds import Seeds
from maquette.core.types import Condition, Given, Tokens
from maquette.nets.conditioning import joined
from maquette.nets.reading import Reading, TextEmbedder

TEXT = Tokens((5,), vocab=7)
SAID = torch.tensor([[1, 2, 0, 0, 0], [3, 4, 5, 6, 1], [0, 0, 0, 0, 0], [1, 2, 0, 0, 0], [2, 1, 0, 0, 0]])


def reader(drop: float = 0.0, text: Tokens | None = TEXT) -> TextEmbedder:
    """With weights large enough that every part of it says something."""
    torch.manual_seed(0)
    made = TextEmbedder(text, Reading.tiny(), drop)
    with torch.no_grad():
        for weights in made.parameters():
            weights.add_(0.3 * torch.randn_like(weights))
    return made


def test_a_caption_is_a_sequence_and_its_mean() -> None:
    told = reader()(Given(text=SAID), 5)
    assert told.sequence is not None and told.mask is not None and told.vector is not None
    assert told.sequence.shape == (5, 6, 16) and told.mask.sum(1).tolist() == [3, 6, 1, 3, 3]
    for row in range(5):
        counting = told.sequence[row, told.mask[row]]
        torch.testing.assert_close(told.vector[row], counting.mean(0))


def test_words_and_their_order_matter_and_other_rows_do_not() -> None:
    read = reader()
    vector = read(Given(text=SAID), 5).vector
    assert vector is not None
    torch.testing.assert_close(vector[0], vector[3])
    assert not torch.allclose(vector[0], vector[4]) and not torch.allclose(vector[0], vector[2])
    alone = read(Given(text=SAID[:1]), 1).vector
    assert alone is not None
    torch.testing.assert_close(alone[0], vector[0])


def test_what_is_padded_is_not_read() -> None:
    """The elements that count are the same beside any padding: here a longer space."""
    read, longer = reader(), reader(text=Tokens((9,), vocab=7))
    longer.load_state_dict(read.state_dict())
    short, long = read(Given(text=SAID), 5), longer(Given(text=torch.nn.functional.pad(SAID, (0, 4))), 5)
    torch.testing.assert_close(short.vector, long.vector)


def test_no_caption_is_the_null() -> None:
    read = reader()
    given, absent = read(Given(text=SAID), 5), read(Given(), 2)
    assert given.vector is not None and absent.vector is not None
    torch.testing.assert_close(absent.vector, given.vector[[2, 2]])


def test_captions_are_withheld_in_training_alone() -> None:
    read, said = reader(drop=0.5), SAID[:2].repeat(100, 1)
    null = read(Given(), 1).vector
    assert null is not None
    trained, asked = (read(Given(text=said), 200, rng).vector for rng in (Seeds.for_batch(0, 0, 200), None))
    assert trained is not None and asked is not None
    withheld = torch.isclose(trained, null, atol=1e-5).all(1)
    assert 60 < int(withheld.sum()) < 140
    torch.testing.assert_close(trained[~withheld], asked[~withheld])
    assert not torch.isclose(asked, null, atol=1e-5).all(1).any()


def test_a_model_that_is_given_no_captions_reads_none() -> None:
    none = TextEmbedder(None, Reading())
    assert none(Given(text=SAID), 5) == Condition() and none.width == 0 and not list(none.parameters())


def test_conditions_are_joined() -> None:
    a, b = torch.ones(2, 3), torch.zeros(2, 4)
    read = Condition(vector=b, sequence=torch.ones(2, 5, 4), mask=torch.ones(2, 5, dtype=torch.bool))
    both = joined(Condition(vector=a), read, Condition(grid=torch.ones(2, 1, 4, 4)))
    assert both.vector is not None and torch.equal(both.vector, torch.cat([a, b], 1))
    assert both.sequence is read.sequence and both.mask is read.mask and both.grid is not None
    assert joined(Condition(), Condition()) == Condition()
