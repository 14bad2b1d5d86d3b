"""Private training: what is shortened, what noise hides, what it costs, and what cannot be promised."""

import copy
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor, nn

from maquette.bundle import read_bundle
from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Given, Real, Turn
from maquette.models import gan
from maquette.models.base import Model
from maquette.nets import mlp
from maquette.train import privacy
from maquette.train.distributed import Ranks
from maquette.train.learner import Learner
from maquette.train.loop import take_step
from maquette.train.recipe import Privacy, Recipe, Training
from maquette.train.run import Run
from maquette.train.session import prepare, resume, start
from tests.conformance import cases
from tests.models import test_contrastive
from tests.train import tiny

KEY = "0123456789abcdef" * 2
LOOSE = 1e30
"""A norm that no gradient reaches."""


def private(**train: Any) -> Recipe:
    return tiny.ring(privacy={"key": KEY}, **train)


def asked(learner: Learner) -> privacy.Private:
    assert learner.private is not None
    return learner.private


def model(kind: str) -> tuple[Model, Batch]:
    _, config, space = next(case for case in cases.model_cases() if case[1].kind() == kind)
    made = cases.built(config, space)
    return made, cases.batch_for(made)


# -- each item's gradient ---------------------------------------------------------------------------------------------


class Mean(tiny.Duel):
    """Half the squared distance of `left.bias` from a sample: the gradient at 0 is the sample with its sign turned."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.left = nn.Module()
        self.left.bias = nn.Parameter(torch.zeros(2))

    def players(self) -> dict[str, nn.Module]:
        return {"left": self.left}

    def turns(self) -> list[Turn]:
        return [Turn("left", lambda batch, _: ((self.left.bias - batch.x).square().sum(1).mean() / 2, {}))]


@pytest.mark.parametrize("way", [privacy.alone, privacy.together])
def test_two_items_are_clipped_by_hand(way: privacy.Way) -> None:
    """(3, 4) is as long as 5 and becomes (0.6, 0.8), (0.3, 0.4) is as long as ½ and stays: their sum is (0.9, 1.2)."""
    model, x = Mean(), torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    batch = Batch(x, Given(), Seeds.for_seeds([0, 1]))
    found = list(way(model, model.turns()[0], [model.left.bias], batch, 0.0))
    grads, losses = (torch.cat(parts) for parts in zip(*((g[0], told["loss"]) for g, told in found), strict=True))
    torch.testing.assert_close(grads, -x)
    torch.testing.assert_close(losses, torch.tensor([12.5, 0.125]))
    norms = privacy.norms_of([grads])
    torch.testing.assert_close(norms, torch.tensor([5.0, 0.5]))
    torch.testing.assert_close(
        next(privacy.shortened([grads], norms, 1.0)), torch.tensor([-0.9, -1.2]), rtol=2e-5, atol=0
    )


def test_no_item_is_longer_than_the_clip() -> None:
    """In double precision, over gradients of all sizes and many weights."""
    rng = torch.Generator().manual_seed(0)
    for size in 1e-3, 1.0, 1e4, 1e15:
        grads = [size * torch.randn(64, *shape, generator=rng) for shape in ((), (100,), (20, 1000))]
        norms = privacy.norms_of(grads)
        for i in range(0, 64, 8):
            short = privacy.shortened([g[i : i + 1] for g in grads], norms[i : i + 1], 0.7)
            one = torch.cat([g.flatten() for g in short])
            assert one.double().norm() <= 0.7


def plain_and_private(learner: Learner) -> tuple[list[Tensor], list[Tensor]]:
    """The sum of every turn's gradients over one batch by the ordinary way, and item by item with room for all."""
    batch, plain, sums = learner.batches(0), [], []
    for number, (_, turn) in enumerate(learner.turns.items()):
        part, weights = Batch(batch.x, batch.given, batch.rng.fork(number)), learner.weights[turn.player]
        loss, _ = turn.loss(part, 0.0)
        plain += [g * len(batch) for g in torch.autograd.grad(loss, weights)]
        again = Batch(batch.x, batch.given, batch.rng.fork(number))
        sums += asked(learner).sums(number, turn, weights, again, 0.0, learner.recipe.train.parts)[0]
    return plain, sums


@pytest.mark.parametrize("parts", [1, 4])
def test_without_clip_and_noise_it_is_the_ordinary_gradient(parts: int) -> None:
    """To rounding: the items are added up in another order."""
    learner = prepare(tiny.ring(batch=64, parts=parts, privacy={"clip": LOOSE}))
    for one, other in zip(*plain_and_private(learner), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def game() -> Model:
    net = mlp.Config(width=16, depth=1)
    return cases.built(gan.Config(latent=4, generator=net, critic=net), Real((2,)))


@pytest.mark.parametrize("kind", ["gan", "diffusion", "gpt", "pixelcnn", "maskgit"])
def test_items_alone_and_together_make_the_whole_in_each_family(kind: str) -> None:
    """What `torch.func` cannot follow (a text without what need not be read) is taken alone."""
    made = game() if kind == "gan" else model(kind)[0]
    whole = cases.batch_for(made)

    def batch(number: int) -> Batch:
        return Batch(whole.x, whole.given, Seeds.for_seeds(range(8)).fork(number))

    ways = privacy.ways(copy.deepcopy(made), batch(0))
    assert kind not in ("gan", "diffusion") or set(ways) == {privacy.together}
    for number, turn in enumerate(made.turns()):
        weights = [p for p in made.players()[turn.player].parameters() if p.requires_grad]
        loss, _ = turn.loss(batch(number), 0.5)
        grads = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
        for way in {privacy.alone, ways[number]}:
            each = privacy.joined(way(made, turn, weights, batch(number), 0.5))
            torch.testing.assert_close(each.mean(0), torch.cat([g.flatten() for g in grads]), rtol=1e-3, atol=1e-5)


def test_two_players_learn() -> None:
    """Both turns of a game are private."""
    train = {"budget": "2steps", "batch": 8, "privacy": {"key": KEY}}
    learner = prepare(Recipe.from_tree(tiny.RING | {"model": game().config.to_tree(), "train": train}))
    before = copy.deepcopy(learner.model.state_dict())
    notes = take_step(learner)
    assert {"critic.clipped", "generator.clipped"} <= notes.keys()
    assert all(not torch.equal(p, before[name]) for name, p in learner.model.named_parameters())


# -- the noise --------------------------------------------------------------------------------------------------------


def test_the_noise_is_normal_and_as_wide_as_it_says() -> None:
    learner = prepare(tiny.ring(batch=50, privacy={"clip": 0.5, "noise": 3.0, "key": KEY}))

    def hidden(step: int, number: int = 0) -> Tensor:
        weights = [nn.Parameter(torch.zeros(100, 400)), nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(7))]
        asked(learner).hide(number, weights, [torch.zeros_like(p) for p in weights], step)
        return torch.cat([p.grad.flatten() for p in weights if p.grad is not None])

    noise = hidden(0) * 50 / (3.0 * 0.5)
    assert stats.kstest(noise.numpy(), "norm").pvalue > 0.01
    assert noise.std().item() == pytest.approx(1.0, abs=4 / math.sqrt(2 * len(noise)))
    assert torch.equal(hidden(0), hidden(0)), "a function of the step"
    for other in hidden(1), hidden(0, 1):
        assert abs(np.corrcoef(hidden(0), other)[0, 1]) < 4 / math.sqrt(len(noise))


def test_a_sum_comes_through_the_noise() -> None:
    learner = prepare(tiny.ring(batch=50, privacy={"clip": 1e-3, "noise": 1e-3}))
    weight = nn.Parameter(torch.zeros(2))
    asked(learner).hide(0, [weight], [torch.tensor([100.0, -50.0])], 0)
    torch.testing.assert_close(weight.grad, torch.tensor([2.0, -1.0]), atol=1e-6, rtol=1e-6)


# -- batches ----------------------------------------------------------------------------------------------------------


def test_rows_come_independently_of_each_other() -> None:
    """How often each comes is binomial, and so is how many come at once."""
    batches, steps = prepare(private(batch=400)).batches, 400
    n, rate = len(batches.split), 400 / len(batches.split)
    drawn = [batches.rows(step) for step in range(steps)]
    often = np.bincount(np.concatenate(drawn), minlength=n)
    sizes = np.array([len(rows) for rows in drawn])
    assert often.mean() == pytest.approx(steps * rate, rel=0.01)
    assert often.var() == pytest.approx(steps * rate * (1 - rate), rel=0.05)
    assert sizes.var() == pytest.approx(n * rate * (1 - rate), rel=4 * math.sqrt(2 / steps))


def test_what_is_random_about_a_row_depends_on_that_row_alone() -> None:
    batches = prepare(private(batch=64)).batches
    batch, rows = batches(3), batches.rows(3)
    assert torch.equal(batches._of(rows[5:6], 3).rng.normal(4), batch.rng.normal(4)[5:6])


def test_other_keys_and_other_data_have_other_rows_and_noise() -> None:
    def rows(**data: Any) -> list[int]:
        recipe = Recipe.from_tree(tiny.RING | {"data": {"source": "ring8", **data}} | {"train": tree})
        return prepare(recipe).batches.rows(0).tolist()

    tree = {"batch": 64, "privacy": {"key": KEY}}
    assert rows() == rows() != rows(seed=1)
    tree = {"batch": 64, "privacy": {}}
    assert rows() != rows(), "no key: a new one each time"


def test_an_empty_batch_is_noise_alone() -> None:
    learner = prepare(private(batch=1))
    empty = next(step for step in range(100) if len(learner.batches.rows(step)) == 0)
    learner.clock.step = empty
    before = copy.deepcopy(learner.model.state_dict())
    notes = take_step(learner)
    assert set(notes) == {"model.grad_norm"}
    assert all(not torch.equal(p, before[name]) for name, p in learner.model.named_parameters())


# -- the accountant ---------------------------------------------------------------------------------------------------


def test_epsilon_is_that_of_opacus() -> None:
    """RDPAccountant of Opacus 1.6.0, which takes the best of broken orders too: ours is never less, and hardly more."""
    for rate, noise, steps, known in (
        (0.01, 1.0, 1000, 2.1013652716430564),
        (0.01, 1.0, 10_000, 6.712738297403128),
        (0.01, 4.0, 10_000, 1.0354900660362476),
        (0.0128, 1.0, 2000, 3.7485909779514124),
        (0.0128, 2.0, 2000, 1.292781132971777),
    ):
        assert known - 1e-9 <= privacy.epsilon(Privacy(noise=noise), rate, [1], steps) <= 1.005 * known


def test_divergences_are_those_that_integrals_give() -> None:
    """ln E (p / q)^a / (a - 1) over z of N(0, sigma^2), p mixing in N(1, sigma^2) at the sampling rate."""
    for rate, noise in (0.01, 1.0), (0.1, 3.0), (0.5, 0.7), (1.0, 2.0):
        found = dict(zip(privacy.ORDERS.tolist(), privacy.renyi(rate, noise), strict=True))
        for a in 2, 3, 8, 20:

            def moment(z: float, a: int = a, rate: float = rate, noise: float = noise) -> float:
                ratio = 1 - rate + rate * math.exp((2 * z - 1) / (2 * noise**2))
                return math.exp(a * math.log(ratio) + stats.norm.logpdf(z, scale=noise))

            whole = integrate.quad(moment, -12 * noise, a + 12 * noise, epsrel=1e-10, limit=400, points=[0, a])[0]
            assert found[a] == pytest.approx(math.log(whole) / (a - 1), rel=1e-6, abs=1e-12)


def test_epsilon_bounds_the_exact_one_where_all_rows_are_taken() -> None:
    """T moves over everything are one Gaussian of deviation sigma / sqrt(T), whose delta at epsilon is known exactly
    (Balle and Wang 2018, theorem 8)."""
    for sigma, steps in (10.0, 25), (20.0, 900):
        found, m = privacy.epsilon(Privacy(noise=sigma), 1.0, [1], steps), math.sqrt(steps) / sigma
        delta = [
            stats.norm.cdf(m / 2 - e / m) - math.exp(e) * stats.norm.cdf(-m / 2 - e / m) for e in (found, 0.9 * found)
        ]
        assert delta[0] <= 1e-5 <= delta[1], "an upper bound, by less than a tenth"


def test_epsilon_of_the_well_known_training() -> None:
    """TensorFlow Privacy's tutorial: MNIST, 60 epochs of batches of 256, noise 1.1: 3.0 by an older conversion."""
    assert 2.4 < privacy.epsilon(Privacy(noise=1.1), 256 / 60_000, [1], 60 * 60_000 // 256) < 3.0


def test_epsilon_grows_and_moves_of_one_step_share_its_rows() -> None:
    settings = Privacy(noise=2.0)
    grown = [privacy.epsilon(settings, 0.01, [1], steps) for steps in (0, 1, 10, 100)]
    assert grown[0] == 0 and grown == sorted(set(grown))
    both = privacy.epsilon(settings, 0.01, [1, 1], 100)
    assert both == pytest.approx(privacy.epsilon(Privacy(noise=math.sqrt(2)), 0.01, [1], 100))
    rare = [privacy.epsilon(settings, 0.01, [1, 16], steps) for steps in (100, 112)]
    assert grown[3] < rare[0] < both and rare[0] < rare[1]
    assert privacy.epsilon(settings, 0.01, [16], 97) == pytest.approx(privacy.epsilon(settings, 0.01, [1], 7))


# -- runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return start(tiny.ring(batch=64, privacy={}), tmp_path_factory.mktemp("private") / "run", quiet=True).path


def test_a_killed_run_ends_in_the_same_bits_and_owes_the_same(finished: Path, tmp_path: Path) -> None:
    other = tmp_path / "run"
    shutil.copytree(finished, other)
    shutil.rmtree(other / "checkpoints/step-00000012")
    resume(other, quiet=True)
    for name in "checkpoints/step-00000012/model.safetensors", "bundle/model.safetensors", "bundle/config.json":
        assert (finished / name).read_bytes() == (other / name).read_bytes(), name
    spent = [[line["epsilon"] for line in Run.open(run).metrics() if "epsilon" in line] for run in (finished, other)]
    assert spent[0] == spent[1] == sorted(spent[0]) and spent[0][-1] == pytest.approx(
        privacy.epsilon(Privacy(), 64 / 20_000, [1], 12)
    )


def test_the_card_promises_and_the_key_stays_with_the_run(finished: Path) -> None:
    run = Run.open(finished)
    assert run.recipe.train.privacy is not None
    key, card = run.recipe.train.privacy.key, read_bundle(run.bundle).card
    assert (
        card["privacy"] == asked(prepare(run.recipe)).promise(12) and "at delta 1e-05 for one item" in card["privacy"]
    )
    assert len(key) == 32 and not [p for p in run.bundle.iterdir() if key.encode() in p.read_bytes()]
    assert key in json.dumps(run.recipe.to_tree())


# -- what cannot be promised ------------------------------------------------------------------------------------------


def refused(make: Any) -> str:
    with pytest.raises(MaquetteError) as caught:
        make()
    assert caught.value.code == "MQ-2192"
    return str(caught.value)


def test_batch_norm_is_refused() -> None:
    assert "batch norm" in refused(lambda: tiny.learner(privacy={"delta": 1e-3}))


def test_what_a_loss_keeps_beside_the_weights_is_refused() -> None:
    """A codebook that follows the means of what was seen is learnt without a gradient."""
    assert "taken'" in refused(lambda: privacy.ways(*model("vqvae")))


def test_a_loss_that_only_compares_is_refused() -> None:
    """Of one pair the contrastive loss is ln 1 whatever it is."""
    made = test_contrastive.model()
    assert "nothing of one alone" in refused(lambda: privacy.ways(made, test_contrastive.batch(2)))


def test_several_processes_are_refused() -> None:
    parts = private(), tiny.dataset(), tiny.MEDIUM.build(), Ranks(0, 2), torch.device("cpu")
    assert "2 processes" in refused(lambda: Learner(*parts))


def test_too_few_items_are_refused() -> None:
    assert "20000 items" in refused(lambda: prepare(tiny.ring(batch=20_001, privacy={})))
    assert "a delta below 5e-05" in refused(lambda: prepare(tiny.ring(privacy={"delta": 5e-5})))


def test_a_vocabulary_of_the_data_is_refused() -> None:
    recipe = {"data": {"source": "pydoc"}, "medium": "text", "model": "lstm"}
    assert "a vocabulary" in refused(lambda: prepare(Recipe.from_tree(recipe | {"train": {"privacy": {}}})))


def test_settings_that_promise_nothing_are_refused() -> None:
    for wrong in {"noise": 0.0}, {"clip": 0.0}, {"delta": 0.0}, {"key": "secret"}:
        with pytest.raises(MaquetteError, match="MQ-2002"):
            Privacy(**wrong)
    with pytest.raises(MaquetteError, match="choosing costs"):
        Training(privacy=Privacy(), best=True)
