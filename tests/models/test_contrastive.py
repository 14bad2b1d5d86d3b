"""Pictures and captions in one space: the loss by hand, what is learnt, and what is refused."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Beside, Given, Real, Sampling, Tokens
from maquette.models import contrastive
from maquette.models.contrastive import Contrastive
from maquette.nets import convnet
from maquette.nets.reading import Reading
from tests.conformance import checks

SPACE, TEXT = Real((3, 8, 8), levels=256), Tokens((3,), vocab=9)
SMALL = contrastive.Config(
    net=convnet.Config(norm="group", width=8, widest=16), reading=Reading.tiny(), width=16
)  # the tiny nets of the suite have batch norm, which would let rows see each other


def model() -> Contrastive:
    torch.manual_seed(0)
    made = SMALL.fitted(SPACE, 0, Beside(text=TEXT))
    assert isinstance(made, Contrastive)
    return made


def batch(n: int = 6, text: Tensor | None = None, seed: int = 0) -> Batch:
    """Pictures whose mean colour tells their caption."""
    said = torch.tensor([[1 + i % 8, 1 + i // 8, 0] for i in range(n)]) if text is None else text
    noise = torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    colour = torch.stack([torch.cos(said[:, 0] * (k + 1.0)) for k in range(3)], 1)
    return Batch((0.6 * colour[..., None, None] + 0.2 * noise).clamp(-1, 1), Given(text=said), Seeds.for_batch(0, 0, n))


def test_the_loss_is_that_of_the_paper() -> None:
    """Their pseudocode: labels = arange(n), the mean of cross-entropies over rows and columns."""
    made, b = model(), batch()
    assert b.given.text is not None
    table = made.scale.exp() * made.of_samples(b.x) @ made.of_texts(b.given.text).T
    right = torch.arange(6)
    expected = (F.cross_entropy(table, right) + F.cross_entropy(table.T, right)) / 2
    loss, stats = made.loss(b, 0.0)
    torch.testing.assert_close(loss, expected)
    assert stats["right"] == (table.argmax(1) == right).float().mean()
    assert made.scale.exp().item() == pytest.approx(1 / 0.07)


def test_unrelated_pairs_cost_ln_n() -> None:
    made = model()
    with torch.no_grad():
        made.scale.fill_(-20.0)  # all similarities alike
    assert made.loss(batch(), 0.0)[0].item() == pytest.approx(math.log(6), abs=1e-4)


def test_rows_of_one_caption_are_right_for_each_other() -> None:
    made = model()
    with torch.no_grad():
        made.scale.fill_(-20.0)
    same = made.loss(batch(4, torch.tensor([[1, 2, 0]] * 4)), 0.0)
    assert same[0].item() == pytest.approx(math.log(4), abs=1e-4) and same[1]["right"] == 1


def test_rows_without_a_caption_do_not_count() -> None:
    made, b = model(), batch()
    assert b.given.text is not None
    hidden = b.given.text.clone()
    hidden[[1, 4]] = 0
    kept = torch.tensor([0, 2, 3, 5])
    rest = Batch(b.x[kept], Given(text=b.given.text[kept]), Seeds.for_batch(0, 0, 4))
    whole = made.loss(Batch(b.x, Given(text=hidden), b.rng), 0.0)[0]
    torch.testing.assert_close(whole, made.loss(rest, 0.0)[0])
    assert made.loss(Batch(b.x, Given(text=torch.zeros_like(hidden)), b.rng), 0.0)[0].item() == 0


def test_the_scale_stays_below_a_hundred() -> None:
    """And learns there: a step that went too far leaves it at ln 100, with a slope."""
    made = model()
    with torch.no_grad():
        made.scale.fill_(9.0)
    made.after_step(0)
    assert made.scale.item() == pytest.approx(math.log(100))
    made.loss(batch(), 0.0)[0].backward()
    assert made.scale.grad is not None and made.scale.grad != 0


def test_pairs_are_learnt_and_told_of_other_pictures() -> None:
    made = model()
    adam = torch.optim.Adam(made.parameters(), 3e-3)
    for step in range(80):
        loss, _ = made.loss(batch(16, seed=step), 0.0)
        adam.zero_grad()
        loss.backward()
        adam.step()
    unseen = made.loss(batch(16, seed=999), 0.0)
    assert unseen[0] < 0.5 * math.log(16) and unseen[1]["right"] > 0.5
    assert all(p.grad is not None for p in made.parameters())
    features = made.features(batch(16))
    torch.testing.assert_close(features.norm(dim=1), torch.ones(16))


@pytest.mark.parametrize(
    "clause",
    [
        checks.every_parameter_has_one_player,
        checks.a_loss_is_a_function_of_its_batch,
        checks.the_config_survives_json,
        checks.the_same_config_gives_the_same_names,
    ],
    ids=lambda clause: clause.__name__,
)
def test_it_keeps_the_clauses_for_models_that_judge(clause, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "batch_for", lambda made: batch())
    clause(model)


def test_it_needs_captions_and_makes_nothing() -> None:
    with pytest.raises(MaquetteError, match="MQ-2150"):
        SMALL.build(SPACE)
    with pytest.raises(MaquetteError, match="MQ-2008"):
        SMALL.build(Tokens((6,), vocab=5), 0, Beside(text=TEXT))
    with pytest.raises(MaquetteError, match="MQ-2151"):
        model().start(2, Sampling(), Seeds.for_samples(0, 2))
