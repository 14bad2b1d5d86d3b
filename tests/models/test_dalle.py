"""Caption and picture as one stream: both orders, reading on, guidance, and captions of pictures."""

import pytest
import torch
from torch.nn import functional as F

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Beside, Condition, Given, Marks, Sampling, Tokens
from maquette.models import dalle
from maquette.models.dalle import DALLE
from maquette.nets import transformer
from maquette.solvers.guidance import guide

CODES, TEXT = Tokens((2, 3), vocab=5), Tokens((4,), vocab=7)
SAID = torch.tensor([[1, 2, 0, 0], [3, 0, 0, 0], [4, 5, 6, 1], [2, 6, 3, 0]])
SHOWN = torch.tensor([[0, 1, 2, 3, 4, 0], [4, 4, 4, 0, 0, 0], [1, 0, 1, 0, 1, 0], [2, 2, 3, 3, 2, 2]]).view(4, 2, 3)
HOW = Sampling(top_k=1)


def model(backwards: float = 0.0, drop: float = 0.1) -> DALLE:
    torch.manual_seed(0)
    net = transformer.Config(width=32, depth=2, heads=2)
    made = dalle.Config(net=net, backwards=backwards, drop=drop).fitted(CODES, 0, Beside(text=TEXT))
    assert isinstance(made, DALLE)
    with torch.no_grad():  # parts begin as zero by design, which would hide what they do
        for weights in made.parameters():
            weights.add_(0.05 * torch.randn_like(weights))
    return made


def learnt(backwards: float = 0.0, steps: int = 150, drop: float = 0.1) -> DALLE:
    made = model(backwards, drop)
    adam = torch.optim.Adam(made.parameters(), 1e-2)
    for step in range(steps):
        loss, _ = made.loss(Batch(SHOWN, Given(text=SAID), Seeds.for_batch(0, step, 4)), 0.0)
        adam.zero_grad()
        loss.backward()
        adam.step()
    return made.eval()


@torch.no_grad()
def drawn(made: DALLE, text: torch.Tensor, guidance: float = 1.0) -> torch.Tensor:
    n, rng = len(text), Seeds.for_samples(0, len(text))
    predict = made.predictor(made.condition(Given(text=text), n))
    if guidance != 1:
        predict = guide(predict, made.predictor(made.condition(Given(), n)), guidance)
    return made.draw(predict, made.start(n, HOW, rng), HOW, rng)


def test_pictures_are_drawn_of_the_captions_that_they_were_learnt_with() -> None:
    made = learnt(steps=120)
    assert torch.equal(drawn(made, SAID), SHOWN)
    order = torch.tensor([2, 0, 3, 1])
    assert torch.equal(drawn(made, SAID[order]), SHOWN[order])
    assert drawn(made, SAID, guidance=2.0).shape == SHOWN.shape


@pytest.mark.slow
def test_captions_are_written_of_pictures_read_first() -> None:
    made = learnt(backwards=0.5, steps=400)  # each order has half of the rows
    assert torch.equal(made.caption(SHOWN), SAID) and torch.equal(drawn(made, SAID), SHOWN)


def test_who_has_not_learnt_to_write_captions_says_so() -> None:
    with pytest.raises(MaquetteError, match="model.backwards"):
        model().caption(SHOWN)


def test_reading_on_is_reading_at_once() -> None:
    made = model().eval()
    condition, inputs = made.condition(Given(text=SAID), 4), F.pad(SHOWN.flatten(1)[:, :-1], (1, 0), value=5)
    with torch.no_grad():
        whole, none = made.read(inputs, condition)
        state, parts = None, []
        for at in range(6):
            logits, state = made.read(inputs[:, at : at + 1], condition, state, keep=True)
            parts.append(logits)
    assert none is None
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-4, atol=1e-5)


def test_both_orders_are_one_stream_of_causes() -> None:
    """What comes later changes nothing before it; what came before does."""
    made = model().eval()
    other_picture, other_text = SHOWN.flatten(1).flip(0), SAID.flip(0)
    x, told = SHOWN.flatten(1), Condition()
    with torch.no_grad():
        words, codes = made._caption_first(x, SAID, told)
        torch.testing.assert_close(made._caption_first(other_picture, SAID, told)[0], words)
        assert not torch.allclose(made._caption_first(x, other_text, told)[1], codes)
        words, codes = made._picture_first(x, SAID, told)
        torch.testing.assert_close(made._picture_first(x, other_text, told)[1], codes)
        assert not torch.allclose(made._picture_first(other_picture, SAID, told)[0], words)


def test_what_is_asked_by_weighs_an_eighth() -> None:
    made = model(drop=0.0)
    with torch.no_grad():
        words, codes = made._caption_first(SHOWN.flatten(1), SAID, Condition())
        loss, stats = made.loss(Batch(SHOWN, Given(text=SAID), Seeds.for_batch(0, 0, 4)), 0.0)
    torch.testing.assert_close(loss, (words / 4 / 8 + codes / 6 * 7 / 8).mean())
    torch.testing.assert_close(stats["codes"], codes.mean() / 6)
    torch.testing.assert_close(stats["words"], words.sum() / (3 + 2 + 4 + 4))  # each with its end, but for the longest


def test_the_likelihood_is_of_the_picture_given_its_caption() -> None:
    made = learnt()
    own, other = (made.nll(Batch(SHOWN, Given(text=text), Seeds.for_batch(0, 0, 4))) for text in (SAID, SAID.flip(0)))
    assert own.max() < 1.5 < other.min()


def test_it_needs_captions_and_codes() -> None:
    with pytest.raises(MaquetteError, match="MQ-2150"):
        dalle.Config().build(CODES)
    with pytest.raises(MaquetteError, match="MQ-2008"):
        dalle.Config().build(Tokens((6,), 9, Marks(0, 1, 2)), 0, Beside(text=TEXT))
