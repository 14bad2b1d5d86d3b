"""What every model must keep. Each check takes a function that builds the model, and asserts one clause."""

import copy
import dataclasses
import functools
import json
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from maquette.core.seeds import Seeds
from maquette.core.types import Autoencoder, Batch, Denoiser, Given, Likelihood, Real, Sampling, Tokens, Turn
from maquette.models.base import Model
from maquette.nets.norm import mixes_rows
from maquette.solvers.guidance import guide
from maquette.solvers.tasks import inpaint
from tests.conformance.cases import Make, batch_for, noise

CHECKS: list[Callable[[Make], None]] = []
QUICK = Sampling(steps=3)


def check(clause: Callable[[Make], None]) -> Callable[[Make], None]:
    CHECKS.append(clause)
    return clause


# -- a loop in miniature ----------------------------------------------------------------------------------------------


def only_moves(model: Model, player: nn.Module, trainable: set[nn.Parameter]) -> None:
    own = set(player.parameters())
    for parameter in model.parameters():
        parameter.requires_grad_(parameter in trainable and parameter in own)


def train(model: Model, turns: list[Turn], steps: int, batches: Callable[[int], Batch] | None = None) -> list[float]:
    """Take `turns` for some steps, all of them always if the caller chooses the batches; the losses as they came."""
    trainable = {p for p in model.parameters() if p.requires_grad}
    optimizers = {
        name: torch.optim.AdamW([p for p in player.parameters() if p in trainable], lr=3e-3, weight_decay=0.0)
        for name, player in model.players().items()
    }
    model.train()
    losses = []
    for step in range(steps):
        batch = batches(step) if batches else batch_for(model, step)
        for turn in turns:
            if batches or step % turn.every == 0:
                only_moves(model, model.players()[turn.player], trainable)
                loss, _ = turn.loss(batch, step / steps)
                loss.backward()
                optimizers[turn.player].step()
                optimizers[turn.player].zero_grad()
                losses.append(loss.detach().item())
        model.after_step(step)
    for parameter in trainable:
        parameter.requires_grad_(True)
    return losses


def memorise(model: Model, steps: int, told: bool = True) -> Batch:
    """Train on the samples of one batch with fresh noise each time, and return it."""
    train(model, model.turns(), steps, lambda step: batch_for(model, told=told, noise=step))
    model.eval()
    return batch_for(model, told=told)


@functools.lru_cache(maxsize=1)
def _begun(make: Make) -> tuple[Model, list[str]]:
    """The model after a few steps, and the names of the weights for which no turn had a gradient.

    The steps are taken once for all clauses of a case, which follow one another.
    """
    model = make()
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    reached = set()
    hooks = [p.register_post_accumulate_grad_hook(reached.add) for p in trainable.values()]
    train(model, model.turns(), steps=6)
    for hook in hooks:
        hook.remove()
    return model.eval(), [name for name, p in trainable.items() if p not in reached]


def begun(make: Make) -> Model:
    """The model after a few steps, for the caller alone."""
    return copy.deepcopy(_begun(make)[0])


@torch.no_grad()
def draw(model: Model, n: int, seed: int = 0, first: int = 0, label: int | None = 1, how: Sampling = QUICK) -> Tensor:
    """Samples `first` to `first + n` of the request with `seed`, drawn in one batch."""
    model.eval()
    told = torch.full((n,), -1 if label is None else label) if model.classes else None
    given = Given(label=told, image=pictures(model, n, seed, first))
    rng = Seeds.for_samples(seed, n, first)
    return model.draw(model.predictor(model.condition(given, n)), model.start(n, how, rng), how, rng)


def pictures(model: Model, n: int, seed: int = 0, first: int = 0) -> Tensor | None:
    """What is given with samples `first` to `first + n` of a request, to a model that is given pictures."""
    if model.beside.image is None:
        return None
    return Seeds.for_samples(seed, n, first).fork(9).uniform(*model.beside.image.shape) * 2 - 1


# -- the clauses ------------------------------------------------------------------------------------------------------


@check
def every_parameter_has_one_player(make: Make) -> None:
    model = make()
    owners = [p for player in model.players().values() for p in set(player.parameters())]
    assert len(owners) == len(set(owners)), "a parameter belongs to two players"
    assert {p for p in model.parameters() if p.requires_grad} <= set(owners), "a trainable parameter has no player"
    assert {turn.player for turn in model.turns()} == set(model.players()), "a player has no turn, or a turn no player"


@check
def every_player_moves_under_its_turns_alone(make: Make) -> None:
    after, unreached = _begun(make)
    assert not unreached, f"no turn has a gradient for {unreached}"
    before = {name: _copy(player) for name, player in make().players().items()}
    for name, player in after.players().items():
        assert not _equal(_copy(player), before[name]), f"{name} never moved"
    for mover in before:
        model = make()
        train(model, [turn for turn in model.turns() if turn.player == mover], steps=1)
        for name in set(before) - {mover}:
            assert _equal(_copy(model.players()[name]), before[name]), f"{name} moved in the turns of {mover}"


@check
def every_turn_lowers_its_own_loss(make: Make) -> None:
    for number, _ in enumerate(make().turns()):
        model = make()
        losses = train(model, [model.turns()[number]], 10, lambda step, model=model: batch_for(model))
        assert all(map(math.isfinite, losses)), f"turn {number}: a loss is not finite"
        assert losses[-1] < losses[0], f"turn {number}: {losses[0]:.4f} -> {losses[-1]:.4f} on one batch"


@check
def a_loss_is_a_function_of_its_batch(make: Make) -> None:
    """No hidden randomness: everything random comes from `batch.rng`, so a step can be repeated and resumed."""
    for number, _ in enumerate(make().turns()):
        one, other = make(), make()  # two, because a forward pass may move buffers: running means, power iterations
        torch.manual_seed(1)
        once = one.turns()[number].loss(batch_for(one), 0.5)[0]
        torch.manual_seed(2)
        again = other.turns()[number].loss(batch_for(other), 0.5)[0]
        assert torch.equal(once, again), f"turn {number} draws from a generator of its own"


@check
def parts_make_the_whole(make: Make) -> None:
    """The mean of the parts' losses is the loss of the whole, except where a layer averages over the batch."""
    model = make()
    if mixes_rows(model):
        return
    for number, turn in enumerate(model.turns()):
        whole = turn.loss(batch_for(model), 0.5)[0]
        parts = torch.stack([turn.loss(part, 0.5)[0] for part in batch_for(model).split(2)]).mean()
        assert torch.allclose(whole, parts, rtol=1e-4, atol=1e-5), f"turn {number}: {whole} but in parts {parts}"


@check
def a_draw_lands_in_the_space(make: Make) -> None:
    model = begun(make)
    x, space = draw(model, 3), model.space
    assert x.shape == (3, *space.shape)
    if isinstance(space, Real):
        assert x.isfinite().all(), "a sample is not finite"
        assert not space.levels or x.abs().max() <= 1.5, f"a sample reaches {x.abs().max():.2f}, far outside [-1, 1]"
    else:
        assert x.dtype == torch.int64 and x.min() >= 0 and x.max() < space.vocab, "a token is outside the vocabulary"


@check
def a_draw_obeys_its_seed(make: Make) -> None:
    model = begun(make)
    torch.manual_seed(1)
    once = draw(model, 3, seed=5)
    torch.manual_seed(2)
    assert torch.equal(once, draw(model, 3, seed=5)), "the same seed gives two samples"
    assert not torch.equal(once, draw(model, 3, seed=50)), "another seed gives the same sample"


@check
def a_draw_does_not_depend_on_the_batch_size(make: Make) -> None:
    """To rounding: a matrix product of one row may round otherwise than the same row among four."""
    model = begun(make)
    together = draw(model, 4, seed=7)
    alone = torch.cat([draw(model, 1, seed=7, first=i) for i in range(4)])
    assert torch.allclose(together, alone, rtol=1e-3, atol=1e-4), "a sample depends on its neighbours"


@check
def the_condition_matters(make: Make) -> None:
    model = begun(make)
    if not model.classes:
        return
    zero, one = draw(model, 8, label=0), draw(model, 8, label=1)
    assert not torch.equal(zero, one), "the label makes no difference"


@check
def wraps_compose(make: Make) -> None:
    """Guidance by 1 and 0 is the one predictor or the other; guided twice is still a predictor."""
    model = begun(make)
    n, rng = 3, Seeds.for_samples(0, 3)
    label = torch.ones(n, dtype=torch.int64)
    image = pictures(model, n)
    with_label = model.predictor(model.condition(Given(label=label if model.classes else None, image=image), n))
    without = model.predictor(model.condition(Given(image=image), n))

    def drawn(scale: float, twice: bool = False) -> Tensor:
        predict = guide(with_label, without, scale)
        predict = guide(predict, without, scale) if twice else predict
        with torch.no_grad():
            return model.draw(predict, model.start(n, QUICK, rng.rows(0, n)), QUICK, rng.rows(0, n))

    plain = draw(model, n, label=1 if model.classes else None)
    assert torch.allclose(drawn(1.0).double(), plain.double(), atol=1e-5), "guidance by 1 changes the sample"
    assert torch.allclose(drawn(0.0).double(), draw(model, n, label=None).double(), atol=1e-4), (
        "guidance by 0 is not null"
    )
    differs = any(not torch.equal(drawn(scale), plain) for scale in (0.0, 8.0))
    assert not model.classes or differs, "guidance makes no difference"
    assert drawn(1.5, twice=True).shape == plain.shape


@check
def a_denoiser_completes(make: Make) -> None:
    """What is known is kept to the bit, under guidance too, and the rest is made."""
    model = begun(make)
    if not isinstance(model, Denoiser):
        return
    known, rng = batch_for(model).x[:3], Seeds.for_samples(0, 3)
    mask = torch.zeros(model.space.shape, dtype=torch.bool)
    mask[..., ::2] = True
    given = Given(label=torch.ones(3, dtype=torch.int64) if model.classes else None)
    guided = guide(model.predictor(model.condition(given, 3)), model.predictor(model.condition(Given(), 3)), 2.0)
    with torch.no_grad():
        x = model.draw(inpaint(guided, known, mask), model.start(3, QUICK, rng), QUICK, rng)
    assert torch.equal(x[:, mask], known[:, mask]), "what was known has changed"
    assert not torch.equal(x[:, ~mask], known[:, ~mask]), "nothing was made"


@check
def a_denoiser_says_which_levels_it_visits(make: Make) -> None:
    """They fall to 0, and the predictor is called at those alone, at the first of them first."""
    model = make()
    if not isinstance(model, Denoiser):
        return
    model.eval()
    rng, called = Seeds.for_samples(0, 2), []
    levels = model.visited(QUICK).tolist()
    predict = model.predictor(model.condition(Given(), 2))
    start = model.start(2, QUICK, rng)
    with torch.no_grad():
        model.draw(lambda y, s, *told: called.append(float(s[0])) or predict(y, s, *told), start, QUICK, rng)
    assert levels == sorted(levels, reverse=True) and levels[-1] == 0, "the levels do not fall to 0"
    nearest = [min(levels[:-1], key=lambda level: abs(level - s)) for s in called]
    assert np.allclose(called, nearest, rtol=1e-4) and nearest[0] == levels[0], "it is called at other levels"


@check
def the_config_survives_json(make: Make) -> None:
    config = make().config
    again = type(config).from_tree(json.loads(json.dumps(config.to_tree())))
    assert again == config and type(again) is type(config)


@check
def the_same_config_gives_the_same_names(make: Make) -> None:
    """Weights are found again by name and shape."""
    one, other = make(), make()
    assert {k: v.shape for k, v in one.state_dict().items()} == {k: v.shape for k, v in other.state_dict().items()}
    again = one.config.fitted(one.space, one.classes, one.beside)
    assert again.load_state_dict(one.state_dict()), "weights do not load"


@check
def a_likelihood_is_one(make: Make) -> None:
    model = make()
    if not isinstance(model, Likelihood):
        return
    learnt = memorise(model, steps=60)
    with torch.no_grad():
        seen, unseen = model.nll(learnt), model.nll(dataclasses.replace(learnt, x=noise(model.space, len(learnt))))
    assert seen.shape == (len(learnt),) and seen.isfinite().all() and unseen.isfinite().all()
    assert seen.mean() < unseen.mean(), "noise is held to be likelier than what was learnt"
    if not isinstance(model.space, Real) or model.space.levels:
        assert seen.min() >= 0, "the probability of a discrete sample is above 1"


@check
def codes_decode(make: Make) -> None:
    error = spread = torch.tensor(0.0)
    for steps in (50, 200):  # most have learnt enough after the first
        model = make()
        if not isinstance(model, Autoencoder):
            return
        x = memorise(model, steps, told=False).x
        with torch.no_grad():
            z = model.encode(x)
            back = model.decode(z)
        assert z.shape == (len(x), *model.latent.shape) and back.shape == x.shape
        if len(model.space.shape) == 2 and len(model.latent.shape) == 3:  # spectrograms of sound forget phases
            x, back = z, model.encode(back)
        if isinstance(model.space, Tokens):
            error, spread = (back != x).double().mean(), (x != x.mode(0).values).double().mean()
        else:
            error, spread = (back - x).square().mean(), (x - x.mean(0)).square().mean()
        if error < 0.7 * spread:
            return
    raise AssertionError(f"what is decoded is no nearer ({error:.3f}) than the usual sample ({spread:.3f})")


def _copy(player: nn.Module) -> list[Tensor]:
    """Its parameters, cut off; buffers are not moved by an optimiser."""
    return [p.detach().clone() for p in player.parameters()]


def _equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
