"""Path length and R1 on linear maps by hand, truncation, style mixing, and the two players."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Condition, Given, Real, Sampling, Tokens
from maquette.models import stylegan2

PICTURE = Real((1, 8, 8), levels=256)


def batch(n: int = 8, space: Real = PICTURE, step: int = 0, classes: int = 0) -> Batch:
    rng = Seeds.for_batch(0, step, n)
    given = Given(label=rng.integers(classes) if classes else None)
    return Batch(rng.normal(*space.shape).clamp(-1, 1), given, Seeds.for_batch(1, step, n))


def small(space: Real = PICTURE, classes: int = 0, **fields: Any) -> stylegan2.StyleGAN2:
    torch.manual_seed(0)
    return stylegan2.Config(**{"width": 8, "widest": 16, "latent": 8, "depth": 2, **fields}).build(space, classes)


def draw(model: stylegan2.StyleGAN2, n: int = 6, psi: float = 1.0, seed: int = 3, label: int | None = None) -> Tensor:
    how, rng = Sampling(temperature=psi), Seeds.for_samples(seed, n)
    given = Given(label=None if label is None else torch.full((n,), label))
    with torch.no_grad():
        return model.eval().draw(model.predictor(model.condition(given, n)), model.start(n, how, rng), how, rng)


# -- regularisation by hand -------------------------------------------------------------------------------------------


class Stretch(nn.Module):
    """g(w) = 3 w, as a picture."""

    layers = 1

    def forward(self, styles: Tensor, rng: Seeds) -> Tensor:
        return 3 * styles[:, 0].reshape(-1, 1, 4, 4)


class Slope(nn.Module):
    """D(x) = <c, x> with |c| = 5."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Parameter(torch.zeros(64).index_fill(0, torch.tensor([0]), 3.0).index_fill(0, torch.tensor([9]), 4))

    def forward(self, x: Tensor, vector: None = None) -> Tensor:
        return x.flatten(1) @ self.c[:, None]


def test_path_length_of_a_linear_map() -> None:
    """J = 3 I, so |J^T y| = 3 |y|; held against a = 0 and a = 3 (Karras et al. 2020b, eq. 4)."""
    space = Real((1, 4, 4))
    model = small(space, latent=16, path=2.0, path_every=8)
    model.generator.synthesis = Stretch()  # type: ignore[assignment]
    rng = batch(space=space).rng.fork(3)
    rng.normal(16)  # z, which such a map does not ask for
    y = (rng.normal(1, 4, 4) / 4).flatten(1).norm(dim=1)
    assert y.square().mean().item() == pytest.approx(1, rel=0.3), "y has unit length on average"
    for a in (0.0, 3.0):
        model.length.fill_(a)
        loss, stats = model.path_loss(batch(space=space), 0.0)
        assert loss.item() == pytest.approx(2 * 8 * (3 * y - a).square().mean().item(), rel=1e-4)
        assert stats["length"].item() == pytest.approx(3 * y.mean().item(), rel=1e-4)
    model.lengths_seen.take()
    for step, share in ((0, 1.0), (8, 0.5), (16, 1 / 3), (8000, 0.01)):
        model.length.fill_(0.0)
        model.path_loss(batch(space=space), 0.0)
        model.after_step(step)
        assert model.length.item() == pytest.approx(share * 3 * y.mean().item(), rel=1e-4)
        model.after_step(step + 1)
        assert model.length.item() == pytest.approx(share * 3 * y.mean().item(), rel=1e-4), "no turn, no change"


def test_path_length_is_a_gradient_of_every_weight_of_the_generator() -> None:
    """The second derivative exists through all layers, and pulls lengths towards their mean."""
    model = small(path=1.0)
    model.length.fill_(0.5)
    model.path_loss(batch(), 0.0)[0].backward()
    missing = [name for name, p in model.generator.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert set(missing) <= {"synthesis.colours.0.bias", "synthesis.colours.1.bias"}, "constants have no slope"
    moved = [name for name, p in model.generator.named_parameters() if p.grad is not None and p.grad.any()]
    assert any("mapping" in name for name in moved) and any("convs" in name for name in moved)


def test_r1_of_a_linear_critic() -> None:
    """gamma/2 |c|^2 = 2/2 * 25, once for each of the 16 steps that it stands for."""
    model = small(r1=2.0)
    model.critic.net = Slope()  # type: ignore[assignment]
    loss, stats = model.r1_loss(batch(), 0.0)
    assert stats["r1"].item() == pytest.approx(25.0) and loss.item() == pytest.approx(16 * 25.0)


def test_turns_follow_the_config() -> None:
    turns = small(r1=1.0, r1_every=4, path=1.0, path_every=2).turns()
    assert [(t.player, t.every) for t in turns] == [("critic", 1), ("critic", 4), ("generator", 1), ("generator", 2)]
    assert [(t.player, t.every) for t in small(r1=0.0, path=0.0).turns()] == [("critic", 1), ("generator", 1)]


def test_regularisation_can_be_measured_without_gradients() -> None:
    model = small()
    with torch.no_grad():
        assert all(turn.loss(batch(), 0.0)[0].isfinite() for turn in model.turns())


# -- truncation -------------------------------------------------------------------------------------------------------


def test_truncation_draws_towards_one_sample() -> None:
    model = small(Real((1, 8, 8)))
    for step in range(30):
        model.generator_loss(batch(step=step), 0.0)
        model.after_step(step)
    assert draw(model, psi=1e-6).std(0).max() < 1e-4, "samples still differ"
    spreads = [draw(model, n=64, psi=psi).std(0).mean().item() for psi in (1e-6, 0.3, 0.7, 1.0)]
    assert spreads == sorted(spreads) and spreads[3] > 2 * spreads[1]
    middle = model.generator.synthesis(model._spread(model.centre[None]))
    assert torch.allclose(draw(model, n=1, psi=1e-6), middle, atol=1e-4)


def test_the_centre_is_the_mean_of_styles() -> None:
    model = small(mixing=0.0)
    with torch.no_grad():
        z = Seeds.for_batch(5, 0, 4000).normal(8)
        mean = model.generator.mapping(z).mean(0)
    for step in range(100):
        model.generator_loss(batch(32, step=step), 0.0)
        model.after_step(step)
    assert (model.centre - mean).norm() < 0.15 * mean.norm().clamp(min=0.3)
    before = model.centre.clone()
    model.eval()
    model.generator_loss(batch(), 0.0)
    model.after_step(100)
    assert torch.equal(model.centre, before), "looking moves it"


# -- style mixing -----------------------------------------------------------------------------------------------------


def test_mixed_samples_take_coarse_and_fine_from_two_styles() -> None:
    model = small(Real((1, 16, 16))).eval()
    layers, predict = model.generator.synthesis.layers, model.predictor(Condition())
    coarse, fine = Seeds.for_batch(0, 0, 8).normal(8).split(4)
    assert layers == 6 and (model.mix(coarse, fine, 0.5) == torch.stack([coarse] * 3 + [fine] * 3, 1)).all()
    for share, few in ((1e-6, coarse), (1 - 1e-6, fine)):  # neither ever has all layers
        assert (model.mix(coarse, fine, share) == few[:, None]).all(2).sum(1).tolist() == [1] * 4
    with torch.no_grad():
        same = predict(model.mix(coarse, coarse, 0.5))
        assert torch.allclose(same, predict(coarse), atol=1e-5)
        far = [(predict(model.mix(coarse, fine, share)) - same).square().mean() for share in (0.1, 0.5, 0.9)]
    assert far[0] > far[2] > 0 and far[1] > 0


@pytest.mark.parametrize(("mixing", "share"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_so_many_rows_are_mixed_in_training(mixing: float, share: float) -> None:
    model, told = small(Real((1, 16, 16)), mixing=mixing), []
    model.generator.synthesis.register_forward_pre_hook(lambda _, args: told.append(args[0].detach()))
    model.generator_loss(batch(400, Real((1, 16, 16))), 0.0)
    styles = told[0]
    changes = (styles[:, 1:] != styles[:, :-1]).any(2).sum(1)
    assert changes.max() <= 1, "more than two styles in one sample"
    assert (changes > 0).float().mean().item() == pytest.approx(share, abs=0.08)
    if mixing:
        where = (styles[:, 1:] != styles[:, :-1]).any(2).float().sum(0)
        assert (where > 0).all(), "some layers never change style"


# -- players ----------------------------------------------------------------------------------------------------------


def test_gradients_reach_only_who_moves() -> None:
    model = small()
    model.critic_loss(batch(), 0.0)[0].backward()
    assert all(p.grad is None for p in model.generator.parameters())
    assert all(p.grad is not None for p in model.critic.parameters())


def test_noise_differs_among_rows_in_training_alone() -> None:
    model = small(Real((1, 8, 8)))
    with torch.no_grad():
        for layer in model.generator.synthesis.convs:
            layer.strength.fill_(1.0)
    assert torch.equal(draw(model), draw(model))
    rng = Seeds.for_batch(0, 0, 8)
    with torch.no_grad():
        w = torch.zeros(8, 8)
        assert model.generator.synthesis(model._spread(w), rng).std(0).min() > 1e-3
        assert model.generator.synthesis(model._spread(w)).std(0).max() < 1e-5


def test_drawn_pictures_are_cut_to_the_space() -> None:
    model = small()
    with torch.no_grad():
        for layer in model.generator.synthesis.colours:
            layer.bias.fill_(2.0)
    assert draw(model).abs().max() == 1
    assert model._make(batch(), batch().rng)[0].max() > 1, "training would have no slope there"


def test_labels_matter_to_both() -> None:
    model = small(Real((1, 8, 8)), classes=3)
    assert not torch.allclose(draw(model, label=0), draw(model, label=1), atol=1e-5)
    x, rng = batch().x, Seeds.for_batch(0, 0, 8)
    scores = [model.eval()._judge(x, Given(label=torch.full((8,), k)), rng) for k in (0, 1)]
    assert not torch.allclose(*scores, atol=1e-6)


@pytest.mark.parametrize("adapt", [0.0, 0.6])
def test_augmentation_is_that_of_every_game(adapt: float) -> None:
    model = small(augment=("colour", "translation"), adapt=adapt)
    assert model.augmentation is not None
    for turn in model.turns():
        assert turn.loss(batch(), 0.0)[0].isfinite()
    model.augmentation.signs.take()
    model.augmentation.watch(torch.ones(8, 1))
    model.after_step(0)
    assert (0 < model.augmentation.p < 1) == (adapt > 0)


@pytest.mark.parametrize("space", [Real((2,)), Real((1, 3, 8)), Tokens((4,), vocab=5)], ids=str)
def test_what_is_no_picture_is_refused(space: Real) -> None:
    with pytest.raises(MaquetteError, match="MQ-2008"):
        stylegan2.Config().build(space)


@pytest.mark.parametrize("fields", [{"depth": 0}, {"mixing": 2.0}, {"path": -1.0}, {"widest": 8}, {"label_drop": 1.0}])
def test_refuses_what_cannot_be_meant(fields: dict[str, float]) -> None:
    with pytest.raises(MaquetteError, match=f"MQ-2002.*{next(iter(fields))}"):
        stylegan2.Config(**fields)  # type: ignore[arg-type]
