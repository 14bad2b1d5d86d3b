"""Masked tokens: how many are hidden, what the loss counts, and which are uncovered first."""

import math

import pytest
import torch
from torch import Tensor

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Given, Marks, Real, Sampling, Tokens
from maquette.models import maskgit
from maquette.nets import transformer
from maquette.solvers.decoding import MAKE, unmask_surest

GRID = Tokens((4, 4), vocab=6)
PLAIN = Sampling()


def built(**fields: object) -> maskgit.MaskGIT:
    torch.manual_seed(0)
    return maskgit.Config(net=transformer.Config.tiny(), **fields).build(GRID)  # type: ignore[arg-type]


def batch(n: int = 64, step: int = 0) -> Batch:
    return Batch(Seeds.for_batch(0, step, n).integers(6, 4, 4), Given(), Seeds.for_batch(1, step, n))


def test_the_first_loss_is_that_of_guessing_whatever_is_hidden() -> None:
    """A network that begins by telling nothing pays about ln 6 for each hidden token, with or without smoothing."""
    for smoothing in (0.0, 0.1):
        loss, stats = built(smoothing=smoothing).loss(batch(), 0.0)
        assert loss.item() == pytest.approx(math.log(6), abs=0.15) and 0 <= stats["right"] <= 1


def test_shares_follow_the_cosine_and_the_visible_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = built(smoothing=0.0), []

    def guess(tokens: Tensor, condition: object) -> Tensor:
        """Sure of the truth where a token is seen, of nothing where it is hidden."""
        seen.append(tokens)
        return torch.nn.functional.one_hot(tokens, 7)[..., :6] * 50.0

    monkeypatch.setattr(model, "guess", guess)
    loss, _ = model.loss(batch(1000), 0.0)
    hidden = (seen[0] == 6).float().sum(1)
    assert hidden.min() >= 1 and hidden.max() <= 16
    assert hidden.mean().item() == pytest.approx(16 * 2 / math.pi + 0.5, abs=0.3)  # rounded up
    assert loss.item() == pytest.approx(math.log(6), abs=1e-4)


def test_the_best_guesses_are_the_data_s_own_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows of ones and one of twos: nothing is gained by leaving p = (3/4, 1/4). With smoothing by s the best is
    (1 - s) p + s / 6, and s of what is drawn is noise."""
    p = torch.tensor([1e-12, 0.75, 0.25, 1e-12, 1e-12, 1e-12])
    rows = torch.tensor([1, 1, 1, 2]).view(4, 1, 1).expand(4, 4, 4)
    for fields, best in (({}, p), ({"smoothing": 0.3}, 0.7 * p + 0.05)):
        model, logits = built(**fields), best.log().requires_grad_()
        monkeypatch.setattr(model, "guess", lambda tokens, condition, said=logits: said.expand(*tokens.shape, 6))
        model.loss(Batch(rows, Given(), Seeds.for_batch(1, 0, 4)), 0.0)[0].backward()
        assert logits.grad is not None and logits.grad.abs().max() < 1e-5


def test_each_step_uncovers_what_the_schedule_says() -> None:
    left = []

    def predict(x: Tensor) -> Tensor:
        left.append(int((x == MAKE).sum()))
        return torch.zeros(*x.shape, 6)

    start = torch.full((1, 16), MAKE)
    made = unmask_surest(predict, start, PLAIN, Seeds.for_samples(0, 1), 4, 4.5)
    assert left == [16, *[math.floor(16 * math.cos(math.pi / 2 * t / 4)) for t in (1, 2, 3)]]
    assert made.min() >= 0


def test_the_surest_are_kept_first() -> None:
    """Place i is surer than place i + 1; without chance the places are uncovered in that order."""
    known = []
    logits = torch.zeros(1, 8, 6)
    logits[0, :, 2] = torch.linspace(14, 8, 8)

    def predict(x: Tensor) -> Tensor:
        known.append((x[0] != MAKE).nonzero().flatten().tolist())
        return logits

    made = unmask_surest(predict, torch.full((1, 8), MAKE), PLAIN, Seeds.for_samples(0, 1), 8, 0.0)
    assert made.tolist() == [[2] * 8]
    assert all(places == list(range(len(places))) for places in known) and len(known[-1]) >= 6


def test_what_is_known_stays_and_more_steps_than_gaps_do_no_harm() -> None:
    model = built().eval()
    start = torch.full((2, 4, 4), MAKE)
    start[:, 1:, :] = 3
    rng = Seeds.for_samples(0, 2)
    made = model.draw(model.predictor(model.condition(Given(), 2)), start, Sampling(steps=50), rng)
    assert made.shape == (2, 4, 4) and (made[:, 1:] == 3).all() and (made >= 0).all() and (made < 6).all()


def test_a_pattern_is_learnt_and_drawn() -> None:
    """Rows of one number each: a draw that guessed places apart would mix them."""
    model = built(smoothing=0.0)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(150):
        rows = Seeds.for_batch(0, step, 32).integers(6, 1).repeat(1, 16).view(32, 4, 4)
        loss, _ = model.loss(Batch(rows, Given(), Seeds.for_batch(1, step, 32)), 0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    rng = Seeds.for_samples(3, 32)
    with torch.no_grad():
        made = model.draw(model.predictor(model.condition(Given(), 32)), model.start(32, PLAIN, rng), PLAIN, rng)
    same = (made.flatten(1) == made.flatten(1).mode(1).values[:, None]).float().mean()
    assert same > 0.9 and len(made[:, 0, 0].unique()) > 2


def test_a_prompt_is_never_hidden() -> None:
    """Of a question and its answer (marks 0, 1, 2), the answer and what ends it are guessed."""
    model = maskgit.Config(net=transformer.Config.tiny()).build(Tokens((8,), 9, Marks(0, 1, 2)))
    x = torch.tensor([[0, 1, 5, 6, 2, 7, 8, 0]])
    assert model.made(x).tolist() == [[False, False, False, False, False, True, True, True]]
    seen: list[Tensor] = []
    model.guess = lambda tokens, condition: (seen.append(tokens), torch.zeros(*tokens.shape, 9))[1]  # type: ignore
    for step in range(50):
        model.loss(Batch(x, Given(), Seeds.for_batch(0, step, 1)), 0.0)
    shown = torch.cat(seen)
    assert (shown[:, :5] == x[:, :5]).all() and (shown[:, 5:] == 9).any(0).all()


def test_what_is_not_tokens_is_refused() -> None:
    with pytest.raises(MaquetteError, match="MQ-2008"):
        maskgit.Config().build(Real((2,)))
