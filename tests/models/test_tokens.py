"""The models of tokens one after another: likelihoods by hand, sequences learnt, drawing in any order."""

import math
from collections.abc import Callable
from types import ModuleType

import pytest
import torch

from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Condition, Features, Given, Likelihood, Marks, Sampling, Tokens
from maquette.models import gpt, lstm, maskgit, mdlm
from maquette.models.base import Model
from maquette.nets import transformer
from maquette.solvers.decoding import MAKE

Make = Callable[[Tokens], Model]
MAKERS: list[Make] = [
    lambda space: gpt.Config(net=transformer.Config.tiny()).build(space),
    lambda space: gpt.Config(net=transformer.Config.tiny(), tied=False).build(space),
    lambda space: lstm.Config.tiny().build(space),
    lambda space: lstm.Config(cell="gru", width=16, depth=2, tied=False).build(space),
]
NAMES = ["gpt", "gpt untied", "lstm", "gru"]
MARKED = Tokens((7,), 6, Marks(0, 1, 2))
every = pytest.mark.parametrize("make", MAKERS, ids=NAMES)


def built(make: Make, space: Tokens) -> Model:
    torch.manual_seed(0)
    return make(space)


def batch(x: torch.Tensor) -> Batch:
    return Batch(x, Given(), Seeds.for_batch(0, 0, len(x)))


@every
def test_the_probabilities_of_all_sequences_sum_to_one(make: Make) -> None:
    model = built(make, Tokens((3,), 4)).eval()
    x = torch.cartesian_prod(*[torch.arange(4)] * 3)
    nats = model.nll(batch(x)).detach().double()  # type: ignore[operator]
    assert math.isclose(float(torch.exp(-nats).sum()), 1.0, rel_tol=1e-5)


@every
def test_with_marks_the_first_token_is_context(make: Make) -> None:
    model = built(make, Tokens((3,), 4, Marks(0, 1, 2))).eval()
    x = torch.cartesian_prod(torch.tensor([3]), torch.arange(4), torch.arange(4))
    x = x[(x[:, 1:] != 1).all(1) & (x[:, 1] != 0)]  # a prompt and what follows an end are not counted
    assert model.nll(batch(x)).shape == (len(x),)  # type: ignore[operator]
    ends = torch.tensor([[3, 0, 0], [3, 0, 3]])
    nats = model.nll(batch(ends))  # type: ignore[operator]
    assert nats[0] < nats[1], "padding costs something"


@every
def test_padding_neither_costs_nor_is_seen(make: Make) -> None:
    """What an item is followed by in its batch changes neither its likelihood nor its features."""
    model = built(make, MARKED).eval()
    short, long = [3, 4, 5, 0, 0, 0, 0], [3, 4, 5, 4, 3, 5, 4]
    alone, beside = (batch(torch.tensor(rows)) for rows in ([short], [short, long]))
    assert isinstance(model, Likelihood) and isinstance(model, Features)
    assert torch.allclose(model.nll(alone)[0], model.nll(beside)[0], atol=1e-5)
    assert torch.allclose(model.features(alone)[0], model.features(beside)[0], atol=1e-5)


@every
def test_features_are_the_mean_of_the_states_that_tokens_are_read_from(make: Make) -> None:
    """Logits are a linear function of the states, so the mean of the ones is that of the mean of the others."""
    model = built(make, MARKED).eval()
    assert isinstance(model, Features)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.5)
        x = torch.tensor([[0, 1, 4, 2, 3, 5, 0]])  # the last three are predicted after the places 3, 4 and 5
        logits, _ = model.read(x[:, :-1], Condition())  # type: ignore[operator]
        head = model.head.weight if model.head is not None else model.table.weight[:6]  # type: ignore[union-attr,index]
        bias = getattr(model, "bias", torch.zeros(6))
        features = model.features(batch(x))
        assert torch.allclose(features @ head.T + bias, logits[:, 3:].mean(1), atol=1e-4)


@every
def test_the_first_loss_is_that_of_guessing(make: Make) -> None:
    model = built(make, Tokens((64,), 50))
    x = torch.randint(50, (16, 64), generator=torch.Generator().manual_seed(0))
    assert abs(model.turns()[0].loss(batch(x), 0.0)[0].item() - math.log(50)) < 0.1 * math.log(50)


@every
def test_a_token_does_not_see_those_after_it(make: Make) -> None:
    model = built(make, Tokens((6,), 5)).eval()
    x = torch.randint(5, (4, 6), generator=torch.Generator().manual_seed(0))
    predict = model.predictor(Condition())
    before = [predict(x, at) for at in range(6)]
    changed = x.clone()
    changed[:, 3:] = (changed[:, 3:] + 1) % 5
    fresh = model.predictor(Condition())
    assert all(torch.allclose(before[at], fresh(changed, at), atol=1e-6) for at in range(4))


@every
def test_a_predictor_is_right_in_any_order(make: Make) -> None:
    model = built(make, MARKED).eval()
    x = torch.randint(6, (2, 7), generator=torch.Generator().manual_seed(0))
    predict = model.predictor(Condition())
    for at in (1, 2, 6, 3, 3, 5, 1):
        assert torch.allclose(predict(x, at), model.predictor(Condition())(x, at), atol=1e-5)
    other = x.flip(1)
    assert torch.allclose(predict(other, 4), model.predictor(Condition())(other, 4), atol=1e-5)


@every
def test_a_cycle_is_learnt_and_gone_on_with(make: Make) -> None:
    space = Tokens((12,), 5)
    model = built(make, space)
    x = (torch.arange(12) + torch.arange(5)[:, None]) % 5
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(150):
        loss, _ = model.turns()[0].loss(batch(x), 0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < math.log(5) / 12 + 0.1  # only the first token is a guess
    model.eval()
    start = torch.full((2, 12), MAKE)
    start[:, :2] = torch.tensor([[1, 2], [4, 0]])
    rng = Seeds.for_samples(0, 2)
    made = model.draw(model.predictor(Condition()), start, Sampling(temperature=0.5), rng)
    assert made.tolist() == [((torch.arange(12) + s) % 5).tolist() for s in (1, 4)]


@every
def test_a_document_does_not_depend_on_the_one_before_it(make: Make) -> None:
    """Where one attends, the mask sees to it; a recurrent state may carry something over, so it is left out here."""
    model = built(make, Tokens((7,), 6, Marks(0, 1, 2))).eval()
    if not isinstance(model, gpt.GPT):
        return
    for p in model.net.parameters():
        torch.nn.init.normal_(p, 0.0, 0.3)
    one, other = torch.tensor([[3, 4, 5, 0, 3, 4, 5]]), torch.tensor([[5, 3, 3, 0, 3, 4, 5]])
    last = [model.nats(x, Condition())[0][:, 3:] for x in (one, other)]
    assert torch.equal(*last)


@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_a_document_costs_the_same_wherever_it_stands(positions) -> None:
    torch.manual_seed(0)
    net = transformer.Config(width=16, depth=2, heads=2, positions=positions)
    model = gpt.Config(net=net).build(MARKED).eval()
    for p in model.net.parameters():
        torch.nn.init.normal_(p, 0.0, 0.3)
    behind, alone = torch.tensor([[3, 4, 5, 0, 3, 4, 5]]), torch.tensor([[0, 3, 4, 5]])
    nats = [model.nats(x, Condition())[0] for x in (behind, alone)]
    assert torch.allclose(nats[0][:, 3:], nats[1], atol=1e-5)


# -- masked diffusion -------------------------------------------------------------------------------------------------


def learnt_cycle() -> mdlm.MDLM:
    torch.manual_seed(0)
    model = mdlm.Config(net=transformer.Config(width=32, depth=2, heads=2)).build(Tokens((10,), 5))
    x = ((torch.arange(10) + torch.arange(5)[:, None]) % 5).repeat(4, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(300):
        rows = Batch(x, Given(), Seeds.for_batch(0, step, len(x)))
        loss, _ = model.loss(rows, 0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def test_masked_diffusion_learns_a_cycle_bounds_its_likelihood_and_fills_gaps() -> None:
    model = learnt_cycle()
    x = (torch.arange(10) + torch.arange(5)[:, None]) % 5
    bound = model.nll(Batch(x.repeat(40, 1), Given(), Seeds.for_batch(0, 0, 200))).mean().item()
    assert math.log(5) * 0.7 < bound < math.log(5) + 1.0  # the entropy of five equal sequences, but for chance
    start = torch.full((3, 10), MAKE)
    start[0, ::2], start[1, 1::2], start[2, :8] = x[3, ::2], x[1, 1::2], x[2, :8]
    rng = Seeds.for_samples(0, 3)
    made = model.draw(model.predictor(Condition()), start, Sampling(steps=10, top_k=1), rng)
    known = start != MAKE
    assert torch.equal(made[known], start[known])
    right = (made == x[[3, 1, 2]])[~known].float().mean().item()
    assert right > 0.6, right  # by chance 0.2


def test_the_bound_of_uniform_guesses_is_exact() -> None:
    """A model that guesses evenly pays log vocab for each token, whatever is hidden."""
    model = mdlm.Config(net=transformer.Config.tiny()).build(Tokens((400,), 7)).eval()
    torch.nn.init.zeros_(model.table.weight)
    x = torch.randint(7, (16, 400), generator=torch.Generator().manual_seed(0))
    bound = model.nll(Batch(x, Given(), Seeds.for_batch(0, 0, 16))).mean().item()
    assert abs(bound / (400 * math.log(7)) - 1) < 0.03


def test_prompts_are_never_hidden() -> None:
    model = mdlm.Config(net=transformer.Config.tiny()).build(Tokens((8,), 9, Marks(0, 1, 2)))
    x = torch.tensor([[0, 1, 5, 6, 2, 7, 0, 0]])
    assert model.made(x).int().tolist() == [[0, 0, 0, 0, 0, 1, 1, 1]]


@every
def test_tokens_of_any_axes_are_read_in_order(make: Make) -> None:
    """A grid of codes, of a picture or a film, is the sequence of its rows."""
    flat = built(make, Tokens((12,), 5)).eval()
    x = torch.randint(5, (3, 12), generator=torch.Generator().manual_seed(0))
    for shape in ((3, 4), (2, 3, 2)):
        model = built(make, Tokens(shape, 5)).eval()
        assert torch.equal(model.nll(batch(x.view(3, *shape))), flat.nll(batch(x)))  # type: ignore[operator]
        made = [
            each.draw(each.predictor(Condition()), each.start(3, Sampling(), seeds), Sampling(), seeds)
            for each in (model, flat)
            for seeds in [Seeds.for_samples(1, 3)]
        ]
        assert made[0].shape == (3, *shape) and torch.equal(made[0].flatten(1), made[1])


@pytest.mark.parametrize("kind", [maskgit, mdlm])
def test_hidden_tokens_of_any_axes_are_read_in_order(kind: ModuleType) -> None:
    models = [
        built(lambda space: kind.Config(net=transformer.Config.tiny()).build(space), Tokens(shape, 5)).eval()
        for shape in ((12,), (2, 3, 2))
    ]
    x = torch.randint(5, (4, 12), generator=torch.Generator().manual_seed(0))
    losses = [model.loss(batch(x.view(4, *model.space.shape)), 0.0)[0] for model in models]  # type: ignore[operator]
    assert torch.equal(*losses)
    how, seeds = Sampling(steps=3), Seeds.for_samples(1, 3)
    flat, film = (model.draw(model.predictor(Condition()), model.start(3, how, seeds), how, seeds) for model in models)
    assert film.shape == (3, 2, 3, 2) and torch.equal(film.flatten(1), flat)
